"""Copies between host and device, and between devices: what may run at the same time, and what must wait.

A device has three streams: COMPUTE for kernels and products, COPY for prefetched inputs, and EXCHANGE for what goes to other
ranks and comes from them (``convnet.ranks``). So three things and more go on at once:
the host packs a minibatch into page-locked memory, the one before it is copied to the device, and the device computes
on the one before that. Costs come back in the order of COMPUTE, while the host issues what follows. Where one depends on
another, an event is recorded in one stream and waited for in the other:

    a page-locked buffer is filled again     after the copy that reads it           (the host waits)
    the host reads what was fetched          after the copy                         (the host waits)
    a slot on the device is filled again     after the ops that read it             (COPY waits for COMPUTE)
    ops read a slot                          after the copy that fills it           (COMPUTE waits for COPY)
    an array goes to other ranks, is filled  after the ops that make it, read it    (EXCHANGE waits for COMPUTE)
    ops read what other ranks have sent      after it has arrived                   (COMPUTE waits for EXCHANGE)
    a copy from a peer                       after the ops there that make it       (COMPUTE here for COMPUTE there)
    ops there write over what is copied      after the copy                         (COMPUTE there for COMPUTE here)

Inside a captured step ops wait for each other by ``branches.py``. The emulator of the tests runs streams as late or as
early as these waits allow, so that a missing one shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.backends.cuda.array import DeviceArray

if TYPE_CHECKING:
    from convnet.backends.cuda.device import Device

COMPUTE, COPY, EXCHANGE = STREAMS = 0, 1, 2
_BUFFERS = 4  # page-locked buffers of a ring
_CHUNK = 16 << 20  # bytes of a buffer: larger arrays are copied in chunks
_MIN_FETCH_BUFFER = 4096  # bytes of a buffer for fetched arrays


class Pinned:
    """A page-locked buffer; ``busy`` is the event after which it may be filled again."""

    def __init__(self) -> None:
        self.memory, self.busy = np.empty(0, np.uint8), None

    def wait(self, device: Device) -> None:
        """Wait until the buffer may be filled again."""
        if self.busy is not None:
            device.synchronize(self.busy)
            self.busy = None


class Ring:
    """Page-locked buffers that are used in turn."""

    def __init__(self, device: Device) -> None:
        self.device, self.turn = device, 0
        self.buffers = [Pinned() for _ in range(_BUFFERS)]

    def next(self, nbytes: int) -> Pinned:
        """Wait for the next buffer, and make it at least ``nbytes`` long."""
        buffer = self.buffers[self.turn]
        self.turn = (self.turn + 1) % len(self.buffers)
        buffer.wait(self.device)
        if buffer.memory.nbytes < nbytes:
            self.device.unpin(buffer.memory)
            buffer.memory = np.empty(0, np.uint8)
            buffer.memory = self.device.pinned(nbytes)
        return buffer

    def send(self, values: np.ndarray, dtype: np.dtype, pointer: int, stream: int) -> Any:
        """Copy ``values``, of any memory order, to the device; returns the event of arrival.

        The caller may overwrite ``values`` as soon as this returns.
        """
        sent = None
        for part in chunks(values, _CHUNK // dtype.itemsize):
            nbytes = part.size * dtype.itemsize
            buffer = self.next(nbytes)
            memory = buffer.memory[:nbytes]
            np.copyto(memory.view(dtype).reshape(part.shape), part, casting="same_kind")
            self.device.send(memory, pointer, stream)
            sent = buffer.busy = self.device.record_event(stream)
            pointer += nbytes
        return sent


def chunks(values: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Split ``values`` into parts of at most ``most`` elements, which follow each other in C order."""
    if values.size <= most:
        yield values
        return
    rows = most * len(values) // values.size
    if rows:
        yield from (values[start : start + rows] for start in range(0, len(values), rows))
    else:
        for row in values:
            yield from chunks(row, most)


class Slot:
    """Device memory for one prefetched array after another; ``read`` is the event of the last op that read it."""

    def __init__(self, array: DeviceArray, read: Any) -> None:
        self.array, self.read = array, read


class Staged:
    """A prefetched array: ``with staged as array`` passes it to ops, once."""

    def __init__(self, transfers: Transfers, slot: Slot, shape: Sequence[int], dtype: np.dtype) -> None:
        self.transfers, self.slot, self.sent = transfers, slot, None
        self.shape, self.dtype, self.used = tuple(shape), dtype, False

    def __len__(self) -> int:
        return self.shape[0]

    def __enter__(self) -> DeviceArray:
        self.transfers.device.wait_event(COMPUTE, self.sent)
        return DeviceArray(self.slot.array.buffer, self.shape, self.dtype)

    def __exit__(self, *_: object) -> None:
        self.slot.read, self.used = self.transfers.device.record_event(COMPUTE), True
        self.transfers.slots.append(self.slot)

    def __del__(self) -> None:
        if not self.used:  # its copy may be pending, but the next copy to the slot follows it in the same stream
            self.transfers.slots.append(self.slot)


class Fetched:
    """A pending copy of an array to the host; call it for the array.

    The page-locked buffer returns to its pool when this object dies, and is filled again only after the copy.
    """

    def __init__(self, transfers: Transfers, buffer: Pinned, array: DeviceArray) -> None:
        self.transfers, self.buffer = transfers, buffer
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes
        self._values: np.ndarray | None = None  # a copy, once complete: page-locked memory ends with the device

    def __call__(self) -> np.ndarray:
        if self._values is None:
            self.buffer.wait(self.transfers.device)
            self._values = self.buffer.memory[: self.nbytes].view(self.dtype).reshape(self.shape).copy()
        return self._values

    def __del__(self) -> None:
        self.transfers.returned.append(self.buffer)


class Transfers:
    """Asynchronous copies to, from and between devices."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.slots: list[Slot] = []  # free ones
        self.upload_ring, self.prefetch_ring, self.peer_ring = Ring(device), Ring(device), Ring(device)
        self.returned: list[Pinned] = []  # free buffers for ``fetch``

    def copy_in(self, values: np.ndarray, dtype: np.dtype, pointer: int) -> None:
        """Copy to memory that ops issued before may still use."""
        self.upload_ring.send(values, dtype, pointer, COMPUTE)

    def prefetch(self, values: np.ndarray, dtype: np.dtype) -> Staged:
        """Start a copy of ``values`` beside the device's work; the caller may overwrite them as soon as this returns."""
        slot = self._slot(values.size * dtype.itemsize)
        if slot.read is not None:
            self.device.wait_event(COPY, slot.read)
        staged = Staged(self, slot, values.shape, dtype)  # returns the slot if copying fails half-way
        staged.sent = self.prefetch_ring.send(values, dtype, slot.array.pointer, COPY)
        return staged

    def fetch(self, array: DeviceArray) -> Fetched:
        """Start a copy of an array to the host, in the order of COMPUTE; calling the result waits for it."""
        buffer = next((free for free in self.returned if free.memory.nbytes >= array.nbytes), None)
        if buffer is None:
            buffer = Pinned()
            buffer.memory = self.device.pinned(max(array.nbytes, _MIN_FETCH_BUFFER))
        else:
            self.returned.remove(buffer)
            buffer.wait(self.device)
        fetched = Fetched(self, buffer, array)
        self.device.fetch(array.pointer, buffer.memory[: array.nbytes], COMPUTE)
        buffer.busy = self.device.record_event(COMPUTE)
        return fetched

    def copy_peer(self, other: Device, source: int, target: int, nbytes: int) -> None:
        """Copy from ``source`` on ``other`` to ``target`` here: directly if peer access is possible, else by the host."""
        device = self.device
        if device.can_access_peer(other):
            device.wait_event(COMPUTE, other.record_event(COMPUTE))
            device.copy(source, target, nbytes)
            other.wait_event(COMPUTE, device.record_event(COMPUTE))
            return
        for start in range(0, nbytes, _CHUNK):
            size = min(_CHUNK, nbytes - start)
            buffer = self.peer_ring.next(size)
            other.fetch(source + start, buffer.memory[:size], COMPUTE)
            device.wait_event(COMPUTE, other.record_event(COMPUTE))
            device.send(buffer.memory[:size], target + start, COMPUTE)
            buffer.busy = device.record_event(COMPUTE)

    def _slot(self, nbytes: int) -> Slot:
        fitting = [slot for slot in self.slots if nbytes <= slot.array.nbytes <= 2 * nbytes]
        if fitting:
            self.slots.remove(fitting[0])
            return fitting[0]
        # Ops issued before may still use the memory: freed memory is reused at once.
        return Slot(self.device.empty((nbytes,), np.uint8), self.device.record_event(COMPUTE))
