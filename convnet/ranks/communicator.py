"""What the ranks of a run tell each other: arrays and small values, begun and waited for.

All ranks run the same program and call the same methods in the same order. The words are MPI's: a communicator has
``size`` ranks, numbered from 0. ``mpi.py`` has the one that MPI carries; ``Solo`` is that of a process by itself.
"""

from __future__ import annotations

import math
import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import numpy as np

from convnet.errors import ConvnetError, LayerFileError, reason_of
from convnet.texts import printable


class Unreachable(Exception):
    """What carries messages has failed, as where another rank has ended; nothing can be agreed on any more."""


@dataclass(frozen=True)
class Failed:
    """What a rank tells the others instead of a value when it has met an error."""

    kind: type[Exception]
    text: str
    is_sudden: bool = False  # whether the others may be elsewhere; see ``ConvnetError``

    @classmethod
    def by(cls, error: Exception, is_sudden: bool = False) -> Self:
        """Return what others are told of an error; of the system's, with the file that it names."""
        if isinstance(error, OSError):
            where = f"{printable(error.filename)}: " if isinstance(error.filename, str) else ""
            return cls(ConvnetError, where + reason_of(error), is_sudden)
        if isinstance(error, MemoryError):
            return cls(ConvnetError, "out of memory; lower --mini", is_sudden)
        is_plain = isinstance(error, ConvnetError) and not isinstance(error, LayerFileError)  # which is more than a text
        return cls(type(error) if is_plain else ConvnetError, str(error), is_sudden)

    def error(self, who: str) -> ConvnetError:
        """Return the error that all ranks raise."""
        error: ConvnetError = self.kind(who + self.text)  # type: ignore[assignment]
        error.is_agreed = True
        return error


class Pending:
    """An exchange that has begun; this one is done."""

    def done(self) -> bool:
        """Let it go on, without waiting; return whether it is over, so that its arrays may be used."""
        return True

    def wait(self) -> None:
        """Wait until it is over, with Python's signal handlers running."""


class Communicator(ABC):
    """The ranks that work together. Arrays are C-contiguous, and as long on the rank that receives as on the one that sends.

    ``hosts`` are the names of the machines that ranks run on; ``bytes_sent`` counts what this rank has sent of arrays.
    ``saved`` is the last checkpoint, for what is said when all ranks have to end.
    """

    takes_threads = True  # whether several threads may call, each with a communicator of its own

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.bytes_sent = 0
        self.hosts = [platform.node()] * size
        self.saved = ""

    @abstractmethod
    def send(self, values: np.ndarray, to: int) -> None:
        """Begin to send an array to another rank; it must not change any more."""

    @abstractmethod
    def begin_receive(self, out: np.ndarray, source: int) -> Pending:
        """Begin to fill ``out`` with what ``source`` sends, which comes in the order in which receiving was begun."""

    def receive(self, out: np.ndarray, source: int) -> None:
        """Fill ``out`` with what ``source`` sends; wait for it."""
        self.begin_receive(out, source).wait()

    @abstractmethod
    def has_message(self, source: int) -> bool:
        """Return whether ``source`` has sent what nobody has received."""

    def all_gather(self, value: Any, patience: float = math.inf) -> list[Any]:
        """Return the small values of all ranks, in their order; wait for them. Whatever can be pickled is a value.

        Raises what a rank has met that gives ``Failed``, on all of them; ``TimeoutError`` after ``patience`` seconds.
        """
        values = self._gather(value, patience)
        failed = {rank: value for rank, value in enumerate(values) if isinstance(value, Failed)}
        if failed:
            first = min(failed)
            is_everywhere = set(failed.values()) == {failed[first]} and len(failed) == self.size
            error = failed[first].error("" if is_everywhere else f"{self.name(first)}: ")
            error.is_sudden = any(one.is_sudden for one in failed.values())
            raise error
        return values

    @abstractmethod
    def _gather(self, value: Any, patience: float) -> list[Any]:
        """Return the values of all ranks."""

    @abstractmethod
    def exchange(self, pieces: Sequence[np.ndarray], out: Sequence[np.ndarray]) -> Pending:
        """Begin to send ``pieces[r]`` to each other rank r, and to fill ``out[r]`` from it; its own are left alone.

        MPI's Ialltoallv. Until the exchange is over, what is sent must not change, and what is filled must not be read.
        """

    def share(self, parts: Sequence[np.ndarray]) -> Pending:
        """Begin to send ``parts[rank]`` to all others, and to fill ``parts[r]`` from each other rank r; MPI: Iallgatherv."""
        return self.exchange([parts[self.rank]] * self.size, parts)

    @abstractmethod
    def progress(self) -> None:
        """Let what has begun go on, without waiting: a library may move bytes only while it is called."""

    @abstractmethod
    def split(self, color: int) -> Communicator:
        """Return the communicator of the ranks that gave the same color, in the order that they have here."""

    def abort(self, text: str, patience: float = 0.0) -> NoReturn:
        """Say why on standard error, and end all ranks; only for what no rank can go on from.

        ``patience`` are seconds that what started the ranks has for it, where it will end them by itself.
        """
        say_and_end(text, patience, os._exit)

    def name(self, rank: int) -> str:
        """Return ``rank 3 on HOST``."""
        return f"rank {rank} on {self.hosts[rank]}"

    def local_rank(self) -> tuple[int, int]:
        """Return (number of this rank among those of its machine, how many these are)."""
        host = self.hosts[self.rank]
        return self.hosts[: self.rank].count(host), self.hosts.count(host)


class Solo(Communicator):
    """The communicator of one rank, which has nobody to talk to."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def send(self, *_: Any) -> None:
        raise IndexError("there is no other rank")

    def begin_receive(self, *_: Any) -> Pending:
        raise IndexError("there is no other rank")

    def has_message(self, *_: Any) -> bool:
        return False

    def _gather(self, value: Any, patience: float) -> list[Any]:  # noqa: ARG002 (there is nobody to wait for)
        return [value]

    def exchange(self, *_: Any) -> Pending:
        return Pending()

    def progress(self) -> None:
        pass

    def split(self, *_: Any) -> Communicator:
        return Solo()


def say_and_end(text: str, patience: float, end: Callable[[int], object]) -> NoReturn:
    """Say a line on standard error, as far as it takes one, and after ``patience`` seconds ``end`` with the status 1."""
    try:
        os.write(2, f"convnet: {text}\n".encode(errors="replace"))
        time.sleep(patience)
    finally:
        end(1)
    raise AssertionError("this process has ended")
