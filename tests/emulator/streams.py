"""An emulated device whose lanes of work run as late, or as early, as the waits between them allow."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection
from typing import Any

from convnet.backends.cuda.array import Buffer
from convnet.backends.cuda.transfers import COMPUTE, COPY
from emulator.device import EmulatedDevice


class Mark:
    """A place in a lane; reached when everything issued before it is done."""

    def __init__(self, device: LanedDevice, lane: int) -> None:
        self.device, self.lane, self.reached = device, lane, False

    def reach(self) -> None:
        """Do the work before it, if that is not done."""
        while not self.reached:
            self.device.step(self.lane)


class LanedDevice(EmulatedDevice):
    """Lanes in ``early`` do their work when it is issued; the others when the host, or another lane, waits for it.

    Memory freed is given out again at once, as a real device's is, whatever work on it is still to be done.
    """

    def __init__(self, early: Collection[int] = (), peers: bool = True) -> None:
        super().__init__(peers=peers)
        self.early = early
        self.waiting: dict[int, deque[Callable[[], Any]]] = {COMPUTE: deque(), COPY: deque()}
        self._given_back: dict[int, list[int]] = defaultdict(list)

    def allocate(self, nbytes: int) -> Buffer:
        again = self._given_back[nbytes]
        return Buffer(self, again.pop(), nbytes) if again else super().allocate(nbytes)

    def free(self, pointer: int, nbytes: int) -> None:
        self._given_back[nbytes].append(pointer)

    def do(self, lane: int, work: Callable[[], Any]) -> None:
        self.waiting[lane].append(work)
        if lane in self.early:
            self.drain(lane)

    def drain(self, lane: int) -> None:
        while self.waiting[lane]:
            self.step(lane)

    def step(self, lane: int) -> None:
        """Do the next piece of work of a lane."""
        self.waiting[lane].popleft()()

    def mark(self, lane: int) -> Mark:
        super().mark(lane)
        mark = Mark(self, lane)
        self.issue(lane, lambda: setattr(mark, "reached", True))
        return mark

    def wait(self, lane: int, mark: Mark) -> None:
        super().wait(lane, mark)
        self.issue(lane, mark.reach)

    def wait_here(self, mark: Mark) -> None:
        mark.reach()
