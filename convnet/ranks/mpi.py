"""The communicator that MPI carries, through mpi4py; nothing here is imported unless MPI has started this process.

Messages go from rank to rank: measured on one machine, pieces of 20 to 40 MB take half as long as by ``Ialltoallv``, which
copies a rank's own piece, too. Bytes travel in chunks, since counts of MPI-3 have 31 bits.
"""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
from mpi4py import MPI

from convnet.ranks.communicator import Communicator, Pending, Unreachable, say_and_end

_CHUNK = 1 << 30  # bytes of a message
_SMALL = 1024  # bytes that ``all_gather`` sends at first, with the length before them
_HEAD = 8  # bytes of that length
# Seconds that a wait looks without a pause, and between two looks after them. MPI may copy only while it is called: pauses
# make 60 MB take 44 ms by TCP instead of 19, and 110 instead of 6 through memory from which ranks may not read directly.
_SPIN, _NAP = 20e-3, 100e-6
_PATIENCE = 3.0  # seconds in which the thread that looks for ranks which have ended may say so, when messages fail
_TO_ONE, _TO_ALL, _VALUES = 1, 2, 3  # tags; values have their own, since a rank that fails may not have begun an exchange
_give_way = getattr(os, "sched_yield", partial(time.sleep, 0))


class MpiCommunicator(Communicator):
    """The ranks of a communicator of MPI, which is this one's alone. All ranks make it together."""

    def __init__(self, comm: MPI.Comm) -> None:
        super().__init__(comm.Get_rank(), comm.Get_size())
        self._comm = comm.Dup()
        self.takes_threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._sending: list[MPI.Request] = []
        self._going: list[_Requests] = []
        self._parts: list[MpiCommunicator] = []  # kept, with what they are still sending
        self.hosts = self.all_gather(MPI.Get_processor_name())

    def send(self, values: np.ndarray, to: int) -> None:
        self.progress()
        self._sending += self._send(values, to, _TO_ONE)

    def begin_receive(self, out: np.ndarray, source: int) -> Pending:
        return self._kept(self._receive(out, source, _TO_ONE))

    def has_message(self, source: int) -> bool:
        return self._comm.Iprobe(source, _TO_ONE)

    def _gather(self, value: Any, patience: float) -> list[Any]:
        data = pickle.dumps(value)
        head = len(data).to_bytes(_HEAD, "little") + data[: _SMALL - _HEAD]
        mine, all_heads = np.frombuffer(head.ljust(_SMALL, b"\0"), np.uint8), np.empty((self.size, _SMALL), np.uint8)
        _wait([self._comm.Iallgather(mine, all_heads)], patience)
        lengths = [int.from_bytes(row[:_HEAD].tobytes(), "little") for row in all_heads]
        if max(lengths) <= _SMALL - _HEAD:
            return [pickle.loads(row[_HEAD:].tobytes()) for row in all_heads]
        parts = [np.empty(length, np.uint8) for length in lengths]
        parts[self.rank][:] = np.frombuffer(data, np.uint8)
        sent = self.bytes_sent
        _wait(self._begin([parts[self.rank]] * self.size, parts, _VALUES), patience)
        self.bytes_sent = sent  # of arrays alone
        return [pickle.loads(part.tobytes()) for part in parts]

    def exchange(self, pieces: Sequence[np.ndarray], out: Sequence[np.ndarray]) -> Pending:
        return self._kept(self._begin(pieces, out, _TO_ALL))

    def _begin(self, pieces: Sequence[np.ndarray], out: Sequence[np.ndarray], tag: int) -> list[MPI.Request]:
        others = [(self.rank + step) % self.size for step in range(1, self.size)]  # so that not all begin with the same one
        requests = [request for other in others for request in self._receive(out[other], other, tag)]
        return requests + [request for other in others for request in self._send(pieces[other], other, tag)]

    def _kept(self, requests: list[MPI.Request]) -> Pending:
        """Return messages that have begun, kept with their arrays until they are over, though nobody waits for them."""
        self._going = [*(pending for pending in self._going if not pending.done()), _Requests(requests)]
        return self._going[-1]

    def progress(self) -> None:
        self._sending = [request for request in self._sending if not request.Test()]
        self._comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)  # any call moves all that has begun

    def split(self, color: int) -> Communicator:
        self.all_gather(None)  # whoever cannot come says so, before the others wait for it within MPI
        part = self._comm.Split(color, self.rank)
        self._parts.append(MpiCommunicator(part))
        part.Free()
        return self._parts[-1]

    def abort(self, text: str, patience: float = 0.0) -> NoReturn:
        say_and_end(text, patience, self._comm.Abort)

    def _send(self, values: np.ndarray, to: int, tag: int) -> list[MPI.Request]:
        self.bytes_sent += values.nbytes
        return [self._comm.Isend(chunk, to, tag) for chunk in _chunks(values)]

    def _receive(self, out: np.ndarray, source: int, tag: int) -> list[MPI.Request]:
        return [self._comm.Irecv(chunk, source, tag) for chunk in _chunks(out)]


class _Requests(Pending):
    """Messages that have begun."""

    def __init__(self, requests: list[MPI.Request]) -> None:
        self._requests = requests

    def done(self) -> bool:
        return _are_done(self._requests)

    def wait(self) -> None:
        _wait(self._requests)


def _wait(requests: list[MPI.Request], patience: float = math.inf) -> None:
    """Wait by looking again and again, between which Python's signal handlers run and other ranks have the processor.

    Raises ``TimeoutError`` after ``patience`` seconds.
    """
    begun = time.perf_counter()
    while not _are_done(requests):
        waited = time.perf_counter() - begun
        if waited > patience:
            raise TimeoutError
        if waited < _SPIN:
            _give_way()
        else:
            time.sleep(_NAP)


def _are_done(requests: list[MPI.Request]) -> bool:
    try:
        return MPI.Request.Testall(requests)
    except MPI.Exception as error:
        time.sleep(_PATIENCE)
        raise Unreachable(f"MPI does not reach another rank any more: {error}") from None


def _chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the bytes of a C-contiguous array by turns; none of an empty one."""
    if not values.flags.c_contiguous:
        raise ValueError("only C-contiguous arrays travel between ranks")
    data = values.reshape(-1).view(np.uint8)
    for start in range(0, data.size, _CHUNK):
        yield data[start : start + _CHUNK]
