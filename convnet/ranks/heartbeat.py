"""Each rank tells rank 0, and rank 0 tells all, that it lives; one that is not heard of ends all with one clear line.

A thread does it, so that a rank which computes, tests or saves for minutes is heard of meanwhile. A rank of this machine
that was killed is noticed at once, before what started it ends the others.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Self

import numpy as np

from convnet.ranks.communicator import Communicator
from convnet.storage.owner import Owner

BEAT, LIMIT = 1.0, 15.0  # seconds between two signs of life, and without one until a rank is given up
_LOOK = 0.1  # seconds between two looks at the ranks of this machine
_PATIENCE = 2.0  # seconds that what started ranks has to notice by itself that one has ended
_LIVES, _LEAVES = np.array([1], np.uint8), np.array([0], np.uint8)


class Heartbeat:
    """Signs of life of all ranks inside a ``with``, which all of them enter and leave together."""

    def __init__(self, communicator: Communicator, beat: float = BEAT, limit: float = LIMIT) -> None:
        self._communicator, self._beat, self._limit = communicator, beat, limit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="convnet-heartbeat", daemon=True)
        self._own = communicator.split(0)
        self._me = Owner.myself()
        self._owners = self._own.all_gather(self._me)
        others = range(1, communicator.size) if communicator.rank == 0 else [0]
        self._heard = dict.fromkeys(others, time.monotonic())

    def __enter__(self) -> Self:
        if all(self._communicator.all_gather(self._communicator.takes_threads)):
            self._thread.start()
        elif self._communicator.rank == 0:
            print("convnet: this MPI takes no threads: ranks that stop answering are not noticed", file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        told = looked = time.monotonic()
        self._tell(_LIVES)
        while self._heard and not self._stopping.wait(_LOOK):
            now = time.monotonic()
            if now - looked > self._limit / 2:  # this machine slept, or this process was stopped: others seem silent
                self._heard = dict.fromkeys(self._heard, now)
            looked = now
            if now - told > self._beat:
                self._tell(_LIVES)
                told = now
            self._listen()
            for rank, heard in self._heard.items():
                if self._owners[rank].is_gone(self._me):
                    self._give_up(rank, "has ended by itself or was killed", _PATIENCE)
                if now - heard > self._limit:
                    self._give_up(rank, f"does not answer any more ({now - heard:.0f} s)")
        self._tell(_LEAVES)
        while self._heard:  # so that no message is left
            self._listen()
            time.sleep(0.001)

    def _tell(self, sign: np.ndarray) -> None:
        for rank in self._heard:
            self._own.send(sign, rank)

    def _listen(self) -> None:
        sign = np.empty(1, np.uint8)
        for rank in list(self._heard):
            while rank in self._heard and self._own.has_message(rank):
                self._own.receive(sign, rank)
                self._heard[rank] = time.monotonic()
                if sign == _LEAVES:
                    del self._heard[rank]

    def _give_up(self, rank: int, what: str, patience: float = 0.0) -> None:
        """End all; where rank 0 is missed, the next rank says so, and others only if it does not."""
        time.sleep(max(0, self._communicator.rank - 1))
        saved = self._communicator.saved
        last = f"the last checkpoint is {saved}" if saved else "there is no checkpoint of this run"
        self._communicator.abort(f"{self._communicator.name(rank)} {what}: all ranks end; {last}", patience)
