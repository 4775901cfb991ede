"""One process of ``on_ranks.py``: a net by itself, or a rank of those that ``mpiexec`` has started.

    python ranks_side.py ADDRESS THREADS            for on_ranks.py, which listens there and calls all ranks at once

Between two calls a process waits for the next one and uses no processor, while others have their turns.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import numpy as np
from processor_ours import load, pictures_of

from convnet.backends import make_backend
from convnet.graph.graph import Graph
from convnet.net.layout import Layout
from convnet.net.net import Net
from convnet.net.parallel import ParallelNet
from convnet.net.parts import Ranks
from convnet.net.profile import Resident
from convnet.ranks.carriers import carrier_for
from convnet.ranks.communicator import Communicator
from convnet.ranks.launch import world


def layout_of(graph: Graph, scheme: str, rank: int, size: int, shards: int = 0) -> Layout:
    """Return how a net lies over ranks: as ``convnet run`` lays it, or of each rank the whole net (``data``)."""
    if scheme == "data":
        shards = shards or size
        return Layout(rank, size, shards, pieces=shards)
    return Layout.of(graph, rank, size, shards)


def busy_seconds() -> float:
    """Return the seconds in which processors of this machine were busy, or taken by its host; 0 where that is not known."""
    try:
        user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


class Rank:
    """What a process is asked to do. A net for each way that was prepared stays for the turns to come."""

    def __init__(self, communicator: Communicator, threads: int) -> None:
        self.communicator, self.threads = communicator, threads
        self.waited = 0.0
        if communicator.size > 1:
            from convnet.ranks import mpi

            mpi._wait = self._timed(mpi._wait)
        self.nets: dict[str, tuple[Net, Any, int]] = {}

    def _timed(self, wait: Callable[..., None]) -> Callable[..., None]:
        """Return a function that waits, and adds up how long."""

        def timed(*arguments: Any) -> None:
            begun = time.perf_counter()
            wait(*arguments)
            self.waited += time.perf_counter() - begun

        return timed

    def prepare(self, way: str, net: str, N: int, scheme: str, shards: int, math: str) -> float:
        """Make a net on random data and take two steps; return the milliseconds of the second."""
        data, be = load(net), make_backend("cpu", self.threads, 0, math)
        matrices = pictures_of(data, N)
        layout = layout_of(data.graph, scheme, self.communicator.rank, self.communicator.size, shards)
        if layout.is_parallel:
            running: Net = ParallelNet(data.graph, be, Ranks(self.communicator, layout, carrier_for), N)
        else:
            running = Net(data.graph, be, minibatch=N)

        def take(start: int, stop: int) -> list[Resident]:
            return [Resident(be, np.ascontiguousarray(matrix[:, start:stop])) for matrix in matrices]

        self.nets[way] = running, running.cut(take, 0, N), N
        self.steps(way, 1)
        found = self.steps(way, 1)
        return 1e3 * (found["end"] - found["begin"])

    def steps(self, way: str, count: int, before: int = 0) -> dict[str, float]:
        """Take steps, after some ``before`` that do not count: a processor that has slept is slow at first.

        Returns when they began and ended, of a step the milliseconds in waits and the bytes sent, and the seconds of
        processors that this process has taken, and all programs of the machine.
        """
        net, inputs, N = self.nets[way]
        for _ in range(before):
            net.train(inputs, N)
        self.communicator.all_gather(None)
        self.waited, sent, own, busy = 0.0, self._sent(), time.process_time(), busy_seconds()
        begin = time.perf_counter()
        for _ in range(count):
            net.train(inputs, N)
        found = {"begin": begin, "end": time.perf_counter()}
        found |= {"own": time.process_time() - own, "busy": busy_seconds() - busy}
        return found | {"waits": 1e3 * self.waited / count, "sent": (self._sent() - sent) / count}

    def _sent(self) -> int:
        """Return the bytes that this rank has sent by all communicators."""
        found = [self.communicator]
        for communicator in found:
            found += getattr(communicator, "_parts", [])
        return sum(communicator.bytes_sent for communicator in found)

    def close(self) -> None:
        self.nets.clear()


def serve(calls: Connection, rank: Rank) -> None:
    """Answer calls, ``("steps", {...})``, until the other end is closed; an answer is a value or what went wrong."""
    while True:
        try:
            do, arguments = calls.recv()
        except EOFError:
            return
        time.sleep(0.02)  # until the threads of other processes rest
        try:
            answer = getattr(rank, do)(**arguments)
        except Exception as error:
            answer = RuntimeError(f"{do}: {type(error).__name__}: {error}")
        calls.send(answer)


def main() -> int:
    address, threads = sys.argv[1:]
    with world() as communicator, Client(address) as calls:
        calls.send(communicator.rank)
        serve(calls, Rank(communicator, int(threads)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
