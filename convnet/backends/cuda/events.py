"""Events of a real device, pooled: an event is recorded again once its ``Event`` is dead.

A stream waits for what an event had recorded when the wait was issued, so an event may be recorded again at once. The
pool owns PyCUDA's events, so that an ``Event`` can be dropped in any thread, and outlive its device.
"""

from __future__ import annotations

from typing import Any


class Event:
    """A point in a stream."""

    __slots__ = ("number", "pool")

    def __init__(self, pool: EventPool, number: int) -> None:
        self.pool, self.number = pool, number

    @property
    def handle(self) -> Any:
        """PyCUDA's event; ``None`` after the device was closed, when there is nothing left to wait for."""
        events = self.pool.events
        return events[self.number] if self.number < len(events) else None

    def __del__(self) -> None:
        self.pool.unused.append(self.number)


class EventPool:
    """The events of one device."""

    def __init__(self, drv: Any) -> None:
        self.drv = drv
        self.events: list[Any] = []
        self.unused: list[int] = []  # indices into ``events``

    def record(self, stream: Any) -> Event:
        """Record an event after all that was issued to ``stream``, whose context is current."""
        try:
            number = self.unused.pop()
        except IndexError:
            number = len(self.events)
            # Blocking: the host sleeps while it waits, which leaves the processor to the decoding of pictures.
            flags = self.drv.event_flags.DISABLE_TIMING | self.drv.event_flags.BLOCKING_SYNC
            self.events.append(self.drv.Event(flags))
        event = Event(self, number)
        event.handle.record(stream)
        return event
