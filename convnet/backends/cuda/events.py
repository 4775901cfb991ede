"""Marks of a real device: events, which are recorded again when nobody holds their mark any more.

A stream that was told to wait for an event waits for what was recorded when it was told, so that an event may be recorded
again at once. The device holds the events themselves: a mark can be dropped in any thread, and outlive its device.
"""

from __future__ import annotations

from typing import Any


class Mark:
    """A place in a stream."""

    __slots__ = ("marks", "number")

    def __init__(self, marks: Marks, number: int) -> None:
        self.marks, self.number = marks, number

    @property
    def event(self) -> Any:
        """PyCUDA's event; ``None`` where the device was closed, and so nothing is left to wait for."""
        events = self.marks.events
        return events[self.number] if self.number < len(events) else None

    def __del__(self) -> None:
        self.marks.spare.append(self.number)


class Marks:
    """The events of one device."""

    def __init__(self, drv: Any) -> None:
        self.drv = drv
        self.events: list[Any] = []
        self.spare: list[int] = []  # places of those that nobody holds

    def record(self, stream: Any) -> Mark:
        """A mark behind all that was issued to ``stream``, whose context is current."""
        try:
            number = self.spare.pop()
        except IndexError:
            number = len(self.events)
            # The host sleeps when it waits for one: the processor has pictures to decode meanwhile.
            flags = self.drv.event_flags.DISABLE_TIMING | self.drv.event_flags.BLOCKING_SYNC
            self.events.append(self.drv.Event(flags))
        mark = Mark(self, number)
        mark.event.record(stream)
        return mark
