"""Ranks that must be alike say so before the first step, and errors of one rank become those of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from convnet.errors import ConvnetError, LayerFileError, OptionError
from convnet.ranks.communicator import Communicator, Failed
from convnet.texts import printable

_T = TypeVar("_T")
_LONGEST = 60  # letters of a value that are shown
_MOST = 8  # ranks that are named one by one


def agree(communicator: Communicator, values: Mapping[str, Any]) -> None:
    """Compare what all ranks have under the same names, such as versions and digests.

    Raises ``OptionError``, on all of them, that names what differs and on which ranks.
    """
    if lines := differences(communicator, values):
        text = "ranks differ, where all must be alike:" + "".join(f"\n    {line}" for line in lines)
        raise Failed(OptionError, text).error("")


def differences(communicator: Communicator, values: Mapping[str, Any]) -> list[str]:
    """Return a line for each name under which ranks have different values, which says which ranks have which."""
    mine = {name: printable(str(value)) for name, value in values.items()}
    of_ranks = communicator.all_gather(mine)
    lines = []
    for name in dict.fromkeys(name for theirs in of_ranks for name in theirs):
        ranks: dict[str, list[int]] = {}
        for rank, theirs in enumerate(of_ranks):
            ranks.setdefault(theirs.get(name, "nothing"), []).append(rank)
        if len(ranks) > 1:
            shown = (f"{value[:_LONGEST]} on {_ranks_text(communicator, some)}" for value, some in ranks.items())
            lines.append(f"{name}: " + ", ".join(shown))
    return lines


def together(communicator: Communicator, work: Callable[[], _T]) -> _T:
    """Return what ``work`` does on each rank; all raise if it fails on any, be it that memory is short.

    They raise what the first rank to fail has met, which is named unless all have. The others may be in ``all_gather`` of
    this communicator within ``work`` when one fails, but not in one of another, nor in an exchange of arrays. One rank by
    itself raises what it meets.
    """
    if communicator.size == 1:
        return work()
    try:
        done = work()
    except (ConvnetError, OSError, MemoryError) as error:
        fail(communicator, error)
    communicator.all_gather(None)
    return done


def fail(communicator: Communicator, error: ConvnetError | OSError | MemoryError, patience: float = math.inf) -> NoReturn:
    """Have all ranks raise an error that this one has met, if they do not already: at their next ``all_gather``.

    Without ``patience`` all come to the same one, after which they still do the same. A rank that ends has some seconds of
    it: others may be anywhere, so the error is a sudden one. Raises ``TimeoutError`` if they do not come there in time.
    """
    if getattr(error, "is_agreed", False):
        raise error
    try:
        communicator.all_gather(Failed.by(error, is_sudden=patience < math.inf), patience)
    except ConvnetError as agreed:
        if not isinstance(error, LayerFileError) or str(agreed) != str(error):
            raise agreed from error
        error.is_agreed, error.is_sudden = True, agreed.is_sudden  # which is more than its text
    raise error


def is_common(error: Exception) -> bool:
    """Return whether all ranks have met an error at the same place, so that they can still save together."""
    return isinstance(error, ConvnetError) and error.is_agreed and not error.is_sudden


def _ranks_text(communicator: Communicator, ranks: list[int]) -> str:
    """Return ``rank 2 (HOST)``, ``ranks 0, 1 (HOST)`` or ``48 ranks, such as 0 (HOST)``."""
    hosts = ", ".join(dict.fromkeys(communicator.hosts[rank] for rank in ranks[:_MOST]))
    if len(ranks) > _MOST:
        return f"{len(ranks)} ranks, such as {ranks[0]} ({communicator.hosts[ranks[0]]})"
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} ({hosts})"
