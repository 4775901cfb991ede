"""Ranks that must be alike say so before the first step, and errors of one rank become those of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from convnet.errors import ConvnetError, OptionError, reason_of
from convnet.ranks.communicator import Communicator, Failure, agreed
from convnet.texts import printable

_T = TypeVar("_T")
_LONGEST = 60  # letters of a value that are shown
_MOST = 8  # ranks that are named one by one


def agree(communicator: Communicator, values: Mapping[str, Any]) -> None:
    """Compare what all ranks have under the same names, such as versions and digests.

    Raises ``OptionError``, on all of them, that names what differs and on which ranks.
    """
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
    if lines:
        raise agreed(OptionError("ranks differ, where all must be alike:" + "".join(f"\n    {line}" for line in lines)))


def together(communicator: Communicator, work: Callable[[], _T]) -> _T:
    """Return what ``work`` does on each rank; all raise if it fails on any with a ``ConvnetError`` or an ``OSError``.

    They raise what the first rank to fail has met, which is named unless all have. Rank 0 may fail while others succeed.
    """
    failure: Failure | None = None
    try:
        done = work()
    except (ConvnetError, OSError) as error:
        if is_agreed(error):
            raise
        mine, failure = error, Failure(type(error), text_of(error))
    try:
        communicator.all_gather(failure)
    except ConvnetError as error:
        if failure and str(error) == failure.text:
            raise agreed(mine) from None  # with all that it knows
        raise
    return done


def is_agreed(error: BaseException) -> bool:
    """Return whether all ranks raise an error."""
    return bool(getattr(error, "is_agreed", False))


def text_of(error: ConvnetError | OSError) -> str:
    """Return what an error says; of the system's, with the file that it names."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return f"{printable(error.filename)}: {reason_of(error)}"
    return reason_of(error) if isinstance(error, OSError) else str(error)


def _ranks_text(communicator: Communicator, ranks: list[int]) -> str:
    """Return ``rank 2 (HOST)``, ``ranks 0, 1 (HOST)`` or ``48 ranks, such as 0 (HOST)``."""
    hosts = ", ".join(dict.fromkeys(communicator.hosts[rank] for rank in ranks[:_MOST]))
    if len(ranks) > _MOST:
        return f"{len(ranks)} ranks, such as {ranks[0]} ({communicator.hosts[ranks[0]]})"
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} ({hosts})"
