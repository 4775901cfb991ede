"""Arrays of cards that go to other ranks through page-locked memory of the host, as messages of the communicator.

An array passes three stations, beside what the device computes:

    EXCHANGE copies what is sent to the host          after the ops that make it
    messages, host to host                            after that copy, which the host looks for
    EXCHANGE copies what has come to the device       after the messages; COMPUTE waits for it in ``wait``

The host leads from one to the next whenever an exchange begins, ``progress`` is called, or a wait looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.device import Device
from convnet.backends.cuda.transfers import COMPUTE, EXCHANGE
from convnet.ranks.carriers import Carrier
from convnet.ranks.communicator import Communicator, Pending

_NOTHING = np.empty(0, np.float32)  # in this rank's own place


class Staged(Carrier):
    """Carries arrays of ``device`` through the host.

    Its messages are of a communicator of their own: when they begin depends on when copies end, so that they would come
    between others in another order on each rank.
    """

    def __init__(self, device: Device, communicator: Communicator) -> None:
        super().__init__(communicator.split(0))
        self.device, self.whole = device, communicator
        self.going: list[_Moving] = []  # in the order in which their messages begin, on all ranks
        self._buffers: list[np.ndarray] = []  # free page-locked memory

    def exchange(self, pieces: Sequence[DeviceArray], out: Sequence[DeviceArray]) -> Pending:
        self.progress()
        self.going.append(_Moving(self, pieces, out))
        return self.going[-1]

    def progress(self) -> None:
        super().progress()
        for moving in list(self.going):
            if not moving.go_on():
                break
            if moving.arrived is not None and self.device.is_done(moving.arrived):
                self.going.remove(moving)
                self._buffers.append(moving.memory)

    def take_memory(self, nbytes: int) -> np.ndarray:
        """Return page-locked bytes that nothing uses."""
        for i, memory in enumerate(self._buffers):
            if nbytes <= memory.nbytes <= 2 * nbytes:
                return self._buffers.pop(i)
        return self.device.pinned(max(nbytes, 1))

    def _is_idle(self) -> bool:
        self.progress()
        return not self.going

    def close(self, failed: bool = False) -> None:
        if not failed:
            self.until(self._is_idle)
        while self._buffers:
            self.device.unpin(self._buffers.pop())


class _Moving(Pending):
    """Arrays on their way; the carrier keeps them until the last copy is done, whether or not anybody waits for it."""

    def __init__(self, carrier: Staged, pieces: Sequence[DeviceArray], out: Sequence[DeviceArray]) -> None:
        self.carrier, self.pieces, self.out = carrier, pieces, out
        self.messages: Pending | None = None
        self.arrived: Any = None  # the event after the last copy
        device, others = carrier.device, carrier.others
        sent = dict.fromkeys(pieces[other] for other in others)  # one array for all may be copied once
        arrays = [*sent, *(out[other] for other in others)]
        self.memory = memory = carrier.take_memory(sum(array.nbytes for array in arrays))
        self.host: dict[DeviceArray, np.ndarray] = {}
        for array in arrays:
            self.host[array], memory = memory[: array.nbytes].view(array.dtype), memory[array.nbytes :]
        device.wait_event(EXCHANGE, device.record_event(COMPUTE))
        for array in sent:
            if array.size:
                device.fetch(array.pointer, self.host[array], EXCHANGE)
        self.fetched = device.record_event(EXCHANGE)

    def go_on(self) -> bool:
        """Do what can be done without waiting; return whether the messages have begun."""
        carrier, device = self.carrier, self.carrier.device
        if self.messages is None:
            if not device.is_done(self.fetched):
                return False
            sent, filled = ([self.host.get(array, _NOTHING) for array in arrays] for arrays in (self.pieces, self.out))
            self.messages = carrier.communicator.exchange(sent, filled)
            carrier.whole.bytes_sent += sum(sent[other].nbytes for other in carrier.others)
        if self.arrived is None and self.messages.done():
            for array in (self.out[other] for other in carrier.others):
                if array.size:
                    device.send(self.host[array], array.pointer, EXCHANGE)
            self.arrived = device.record_event(EXCHANGE)
        return True

    def _is_on_its_last_way(self) -> bool:
        self.carrier.progress()
        return self.arrived is not None

    def done(self) -> bool:
        return self._is_on_its_last_way() and self.carrier.device.is_done(self.arrived)

    def wait(self) -> None:
        self.carrier.until(self._is_on_its_last_way)
        self.carrier.device.wait_event(COMPUTE, self.arrived)
