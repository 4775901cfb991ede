"""A device of another rank, as a backend: its ops do nothing here, since that rank does them, and its arrays hold nothing.

Every rank runs the same program over the same layers, in the same order, each with its own devices and the others as
``Remote``. What crosses between two devices (``convnet.net.peers``) is a message where they belong to two ranks: the rank
that has the values sends them, the one that gets them receives, and for all others nothing happens. In 2012 one program
copied between its cards (numerics 18.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.ranks.communicator import Communicator


class Absent:
    """An array of another rank: a shape without values, unless all ranks know them."""

    def __init__(self, shape: Sequence[int], values: np.ndarray | None = None) -> None:
        self.shape, self.values = tuple(shape), values
        self.size = math.prod(self.shape)

    def __getitem__(self, rows: slice) -> Absent:
        return Absent((len(range(*rows.indices(self.shape[0]))), *self.shape[1:]))

    def reshape(self, *shape: int) -> Absent:
        known = math.prod(length for length in shape if length >= 0)
        return Absent([length if length >= 0 else self.size // known for length in shape])


def _nothing(self: Backend, *_: Any, **__: Any) -> None:
    """Do nothing."""


_nothing.is_guarded = True  # type: ignore[attr-defined]  # there are no arrays to check
_IDLE: Any = type("_IDLE", (Backend,), dict.fromkeys(Backend.__abstractmethods__, _nothing))


class Remote(_IDLE):
    """The device of ``rank``, seen from another rank of ``communicator``, whose own device ``own`` is of the same kind."""

    name = "remote"
    is_remote = True

    def __init__(self, communicator: Communicator, rank: int, own: Backend) -> None:
        self.communicator, self.rank = communicator, rank
        self.includes_neurons = own.includes_neurons  # so that both ranks have the same layers multiply by f'

    def empty(self, shape: Sequence[int]) -> Absent:
        return Absent(shape)

    def upload(self, values: np.ndarray) -> Absent:
        return Absent(values.shape)

    def cost_vector(self, length: int) -> Absent:
        return Absent((length,))

    def connections(self, channels: Sequence[int]) -> Absent:
        return Absent((len(channels),), np.asarray(channels, np.int32))

    def download(self, array: Absent) -> np.ndarray:
        """Receive the values of an array from its rank, which sends them at the same point of the program."""
        if array.values is not None:
            return array.values
        values = np.empty(array.shape, np.float32)
        self.communicator.receive(values, self.rank)
        return values

    def deliver(self, be: Backend, x: Absent, out: Array) -> Callable[[], None]:
        """Begin to receive what the rank of this device sends, unless ``be`` is a device of another rank, too."""
        if be.is_remote:
            return lambda: None
        values = out if isinstance(out, np.ndarray) and out.dtype == np.float32 else np.empty(x.shape, np.float32)
        pending = self.communicator.begin_receive(values, self.rank)

        def finish() -> None:
            pending.wait()
            if values is not out:
                be.copy_in(values, out)

        return finish

    def fetch(self, array: Absent) -> Callable[[], np.ndarray]:
        """Return zeros: what the rank itself fetches, it tells the others."""
        return lambda: np.zeros(array.shape)

    def all_finite(self, x: Absent) -> bool:  # noqa: ARG002
        return True

    def mean_magnitude(self, x: Absent) -> float:  # noqa: ARG002
        return 0.0

    def copy_from(self, other: Backend, x: Any, out: Absent) -> None:  # noqa: ARG002
        """Send ``x`` of ``other`` to the rank of this device, unless ``other`` is a device of another rank, too."""
        if not other.is_remote:
            self.communicator.send(other.download(x), self.rank)

    def memory(self) -> None:
        """Return nothing: the rank itself looks whether its layers fit."""

    def describe(self) -> str:
        return f"rank {self.rank}"
