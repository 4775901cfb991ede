"""Arrays of cards that go to other ranks through page-locked memory of the host, as messages of the communicator.

An array passes three stations, beside what the device computes:

    EXCHANGE copies what is sent to the host          after the ops that make it
    messages, host to host                            after that copy, which the host looks for
    EXCHANGE copies what has come to the device       after the messages; COMPUTE waits for it in ``wait``

The host leads from one to the next whenever ``progress`` is called, or a wait looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.device import Device
from convnet.backends.cuda.transfers import COMPUTE, EXCHANGE, Pinned
from convnet.ranks.carriers import Carrier
from convnet.ranks.communicator import Communicator, Pending

Messages = Callable[[list[np.ndarray], list[np.ndarray]], Pending]  # begins to send the first, and to fill the second


class Staged(Carrier):
    """Carries arrays of ``device`` through the host.

    Its messages are of a communicator of their own: when they begin depends on when copies end, so that they would come
    between others in another order on each rank.
    """

    def __init__(self, device: Device, communicator: Communicator) -> None:
        super().__init__(communicator.split(0))
        self.device, self.whole = device, communicator
        self.going: list[_Moving] = []  # in the order in which their messages begin, on all ranks
        self._buffers: list[Pinned] = []  # free ones

    def exchange(self, pieces: Sequence[DeviceArray], out: Sequence[DeviceArray]) -> Pending:
        sent, filled = list(pieces), list(out)
        own = self.communicator.rank
        sent[own], filled[own] = sent[own][:0], filled[own][:0]
        return self._begin(sent, filled, self.communicator.exchange)

    def share(self, parts: Sequence[DeviceArray]) -> Pending:
        filled, own = list(parts), self.communicator.rank
        filled[own] = filled[own][:0]

        def share(sent: list[np.ndarray], arrived: list[np.ndarray]) -> Pending:
            return self.communicator.share([*arrived[:own], sent[0], *arrived[own + 1 :]])

        return self._begin([parts[own]], filled, share)

    def _begin(self, sent: list[DeviceArray], filled: list[DeviceArray], messages: Messages) -> Pending:
        buffer = self._buffer(sum(array.nbytes for array in (*sent, *filled)))
        moving = _Moving(self, buffer, sent, filled, messages)
        self.going.append(moving)
        return moving

    def progress(self) -> None:
        super().progress()
        for moving in list(self.going):
            if not moving.go_on():
                break

    def done_with(self, moving: _Moving) -> None:
        """Take back the memory of what is on its last way."""
        self.going.remove(moving)
        self._buffers.append(moving.buffer)
        sent = self.communicator.bytes_sent
        self.whole.bytes_sent, self.communicator.bytes_sent = self.whole.bytes_sent + sent, 0

    def _buffer(self, nbytes: int) -> Pinned:
        for buffer in self._buffers:
            if nbytes <= buffer.memory.nbytes <= 2 * nbytes and self.device.is_done(buffer.busy):
                self._buffers.remove(buffer)
                return buffer
        buffer = Pinned()
        buffer.memory = self.device.pinned(max(nbytes, 1))
        return buffer

    def _is_idle(self) -> bool:
        self.progress()
        return not self.going

    def close(self, failed: bool = False) -> None:
        if not failed:
            self.until(self._is_idle)
            for buffer in self._buffers:
                buffer.wait(self.device)
                self.device.unpin(buffer.memory)
            self._buffers.clear()


class _Moving(Pending):
    """Arrays on their way; they and the buffer are kept until the last copy is issued and waited for."""

    def __init__(
        self, carrier: Staged, buffer: Pinned, sent: list[DeviceArray], filled: list[DeviceArray], messages: Messages
    ) -> None:
        self.carrier, self.buffer, self.begin, self.arrays = carrier, buffer, messages, (sent, filled)
        self.messages: Pending | None = None
        self.arrived: Any = None  # the event after the last copy
        device = carrier.device
        arrays = [*sent, *filled]
        ends = np.cumsum([array.nbytes for array in arrays])
        places = [buffer.memory[end - array.nbytes : end] for array, end in zip(arrays, ends, strict=True)]
        views = [place.view(array.dtype) for array, place in zip(arrays, places, strict=True)]
        self.host = views[: len(sent)], views[len(sent) :]
        device.wait_event(EXCHANGE, device.record_event(COMPUTE))
        for array, values in zip(sent, self.host[0], strict=True):
            if array.size:
                device.fetch(array.pointer, values, EXCHANGE)
        self.fetched = device.record_event(EXCHANGE)

    def go_on(self) -> bool:
        """Do what can be done without waiting; return whether the messages have begun."""
        device = self.carrier.device
        if self.messages is None:
            if not device.is_done(self.fetched):
                return False
            self.messages = self.begin(*self.host)
        if self.arrived is None and self.messages.done():
            for array, values in zip(self.arrays[1], self.host[1], strict=True):
                if array.size:
                    device.send(values, array.pointer, EXCHANGE)
            self.arrived = self.buffer.busy = device.record_event(EXCHANGE)
            self.carrier.done_with(self)
        return True

    def _is_on_its_last_way(self) -> bool:
        self.carrier.progress()
        return self.arrived is not None

    def done(self) -> bool:
        return self._is_on_its_last_way() and self.carrier.device.is_done(self.arrived)

    def wait(self) -> None:
        self.carrier.until(self._is_on_its_last_way)
        self.carrier.device.wait_event(COMPUTE, self.arrived)
        self.arrays = [], []
