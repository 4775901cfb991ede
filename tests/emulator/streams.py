"""An emulated device whose streams run as late, or as early, as the waits between them allow."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection
from typing import Any

from convnet.backends.cuda.array import Buffer
from convnet.backends.cuda.transfers import STREAMS
from emulator.device import EmulatedDevice


class Event:
    """A point in a stream; reached when everything issued before it is done."""

    def __init__(self, device: LazyStreams, stream: int) -> None:
        self.device, self.stream, self.reached, self.looked_at = device, stream, False, False

    def reach(self) -> None:
        """Do the work before it, if that is not done."""
        while not self.reached:
            self.device.step(self.stream)


class LazyStreams(EmulatedDevice):
    """Streams in ``early`` do their work when it is issued; the others when the host, or another stream, waits for it.

    Freed memory is reused at once, as on a real device, even if work on it is still pending.
    """

    def __init__(self, early: Collection[int] = (), peers: bool = True) -> None:
        super().__init__(peers=peers)
        self.early = early
        self.waiting: dict[int, deque[Callable[[], Any]]] = {stream: deque() for stream in STREAMS}
        self._freed: dict[int, list[int]] = defaultdict(list)

    def allocate(self, nbytes: int) -> Buffer:
        freed = self._freed[nbytes]
        return Buffer(self, freed.pop(), nbytes) if freed else super().allocate(nbytes)

    def free(self, pointer: int, nbytes: int) -> None:
        self._freed[nbytes].append(pointer)

    def do(self, stream: int, work: Callable[[], Any]) -> None:
        self.waiting[stream].append(work)
        if stream in self.early:
            self.drain(stream)

    def drain(self, stream: int) -> None:
        while self.waiting[stream]:
            self.step(stream)

    def step(self, stream: int) -> None:
        """Do the next piece of work of a stream."""
        self.waiting[stream].popleft()()

    def record_event(self, stream: int) -> Event:
        super().record_event(stream)
        event = Event(self, stream)
        self.issue(stream, lambda: setattr(event, "reached", True))
        return event

    def wait_event(self, stream: int, event: Event) -> None:
        super().wait_event(stream, event)
        self.issue(stream, event.reach)

    def synchronize(self, event: Event) -> None:
        event.reach()

    def is_done(self, event: Event) -> bool:
        """Whether an event is reached; from the second look on, a piece of the work before it is done each time."""
        if not event.reached and event.looked_at:
            event.device.step(event.stream)
        event.looked_at = True
        return event.reached
