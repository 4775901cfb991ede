"""Ranks that must be alike say so before the first step, and errors of one rank become those of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from convnet.errors import ConvnetError, LayerFileError, OptionError, reason_of
from convnet.ranks.communicator import Communicator
from convnet.texts import printable

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=Exception)
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
        raise _agreed(OptionError("ranks differ, where all must be alike:" + "".join(f"\n    {line}" for line in lines)))


def together(communicator: Communicator, work: Callable[[], _T]) -> _T:
    """Return what ``work`` does on each rank; all raise if it fails on any with a ``ConvnetError`` or an ``OSError``.

    They raise what the first rank to fail has met, which is named unless all have. Rank 0 may fail while others succeed.
    """
    error: ConvnetError | OSError | None = None
    try:
        done = work()
    except (ConvnetError, OSError) as caught:
        error = caught
    failures = communicator.all_gather(error and (type(error), text_of(error)))
    failed = [rank for rank, failure in enumerate(failures) if failure]
    if not failed:
        return done
    kind, text = failures[failed[0]]
    if error is not None and all(failure == (kind, text) for failure in failures):
        raise _agreed(error)
    if len(failed) < communicator.size:
        text = f"{communicator.name(failed[0])}: {text}"
    raise _agreed(_of_kind(kind, text)) from error


def text_of(error: ConvnetError | OSError) -> str:
    """Return what an error says; of the system's, with the file that it names."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return f"{printable(error.filename)}: {reason_of(error)}"
    return reason_of(error) if isinstance(error, OSError) else str(error)


def _of_kind(kind: type[Exception], text: str) -> ConvnetError:
    """Return an error of a class, or of its base where it is made of more than a text."""
    if issubclass(kind, ConvnetError) and not issubclass(kind, LayerFileError):
        return kind(text)
    return ConvnetError(text)


def _agreed(error: _Error) -> _Error:
    """Mark an error as one that all ranks raise, so that one says it and all leave; see ``launch.world``."""
    error.is_agreed = True  # type: ignore[attr-defined]
    return error


def _ranks_text(communicator: Communicator, ranks: list[int]) -> str:
    """Return ``rank 2 (HOST)``, ``ranks 0, 1 (HOST)`` or ``48 ranks, such as 0 (HOST)``."""
    hosts = ", ".join(dict.fromkeys(communicator.hosts[rank] for rank in ranks[:_MOST]))
    if len(ranks) > _MOST:
        return f"{len(ranks)} ranks, such as {ranks[0]} ({communicator.hosts[ranks[0]]})"
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} ({hosts})"
