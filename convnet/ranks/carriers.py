"""How gradients and weights, arrays of a backend, move between ranks: who carries them.

    a processor                   the communicator itself: arrays are NumPy's
    cards, a card for each rank   NCCL, from memory of one card to that of another (``nccl.py``)
    cards otherwise               page-locked memory of the host, and the communicator (``staged.py``)

A carrier only moves arrays. Sums are made by the ops of the backend, in an order that does not depend on how many ranks
there are; a library's own sums would be in an order of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from convnet.backends.arguments import Array
from convnet.backends.base import Backend
from convnet.backends.switches import is_off
from convnet.errors import BackendError
from convnet.ranks.communicator import Communicator, Pending
from convnet.texts import counted

_LOOKS, _PAUSE = 100, 50e-6  # at what is waited for: without a pause, and seconds of a pause before each one after them
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Carrier:
    """Moves arrays as a communicator moves NumPy's: those of a processor. All ranks call the same methods in one order.

    Arrays are contiguous. Both methods begin and return at once. Until ``Pending.wait``, which is called once for each, what
    is sent must not change, and what is filled must not be read. Ops that are issued after ``wait`` find it filled.
    """

    def __init__(self, communicator: Communicator) -> None:
        self.communicator = communicator
        self.others = [rank for rank in range(communicator.size) if rank != communicator.rank]

    def exchange(self, pieces: Sequence[Array], out: Sequence[Array]) -> Pending:
        """Begin to send ``pieces[r]`` to each other rank r, and to fill ``out[r]`` from it; this rank's own stay."""
        return self.communicator.exchange(pieces, out)

    def share(self, parts: Sequence[Array]) -> Pending:
        """Begin to send ``parts[rank]`` to all others, and to fill ``parts[r]`` from each other rank r."""
        return self.exchange([parts[self.communicator.rank]] * self.communicator.size, parts)

    def progress(self) -> None:
        """Let what has begun go on, without waiting."""
        self.communicator.progress()

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait by looking again and again, so that signals are handled and what else has begun goes on."""
        looks = 0
        while not ready():
            self.communicator.progress()
            looks += 1
            time.sleep(_PAUSE if looks > _LOOKS else 0)

    def close(self, failed: bool = False) -> None:
        """Free what it holds, once all ranks have come here; those of a run that has ``failed`` are not waited for."""


def carrier_for(be: Backend, communicator: Communicator, say: Callable[[str], Any] = print) -> Carrier:
    """Return what carries arrays of ``be`` between the ranks of ``communicator``; all of them call it together.

    Where cards cannot use NCCL, ``say`` is called on rank 0, with a line that says why.
    """
    if communicator.size == 1 or be.name != "cuda":
        return Carrier(communicator)
    device = be.device  # type: ignore[attr-defined]
    if why_not := _why_not_nccl(device.card, communicator):
        from convnet.ranks.staged import Staged

        if communicator.rank == 0:
            say(f"Gradients and weights go through memory of the host, not by NCCL: {why_not}")
        return Staged(device, communicator)
    from convnet.ranks.nccl import Nccl

    return Nccl(device, communicator)


def _why_not_nccl(card: str, communicator: Communicator) -> str:
    """Return why ranks with these cards do not use NCCL, the same on all of them, or nothing."""
    from convnet.ranks.nccl import load_nccl, version_of_library

    version = why_not = ""
    try:
        if is_off("CONVNET_NCCL"):
            raise BackendError("CONVNET_NCCL is 0")
        version = version_of_library(load_nccl())
    except BackendError as error:
        why_not = str(error)
    machine = communicator.hosts[communicator.rank]
    with suppress(OSError):  # better: names may be the same on several machines, and differ between containers of one
        machine = _BOOT_ID.read_text()
    answers = communicator.all_gather((why_not, version, (machine, card)))
    for rank, (reason, *_) in enumerate(answers):
        if reason:
            return f"{communicator.name(rank)}: {reason}"
    versions = sorted({version for _, version, _ in answers})
    if len(versions) > 1:
        return f"ranks have its versions {' and '.join(versions)}"
    cards = len({place for *_, place in answers})
    return f"{communicator.size} ranks share {counted(cards, 'card')}" if cards < communicator.size else ""
