"""Arrays on their way from the host to a device, and between devices: what may run at the same time, and what must wait.

A device has two lanes of work, each in order: COMPUTE for kernels and products, COPY for inputs of a step to come. So
three things go on at once: the host packs a minibatch into page-locked memory, the one before it crosses to the device,
and the device computes. Costs come back in the order of COMPUTE, while the host issues what follows. Where one needs
the other, a mark is set in one lane and waited for in the other:

    a page-locked buffer is filled again     after the copy that reads it           (the host waits)
    the host reads what was fetched          after the copy                         (the host waits)
    a slot on the device is filled again     after the ops that read it             (COPY waits for COMPUTE)
    ops read a slot                          after the copy that fills it           (COMPUTE waits for COPY)
    a copy from another device               after the ops there that make it       (COMPUTE here for COMPUTE there)
    ops there write over what is copied      after the copy                         (COMPUTE there for COMPUTE here)

The emulator of the tests runs lanes as late or as early as these waits allow, so that a missing one shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.backends.cuda.array import DeviceArray

if TYPE_CHECKING:
    from convnet.backends.cuda.device import Device

COMPUTE, COPY = 0, 1  # the lanes
_BUFFERS = 4  # page-locked buffers of a ring
_PIECE = 16 << 20  # bytes of a buffer: larger arrays go in pieces
_LEAST_FETCHED = 4096  # bytes of memory for what is fetched


class Pinned:
    """A page-locked buffer; ``busy`` is the mark after which it may be filled again."""

    def __init__(self) -> None:
        self.memory, self.busy = np.empty(0, np.uint8), None

    def make_free(self, device: Device) -> None:
        """Wait until it may be filled again."""
        if self.busy is not None:
            device.wait_here(self.busy)
            self.busy = None


class Ring:
    """Page-locked buffers in turn."""

    def __init__(self, device: Device) -> None:
        self.device, self.turn = device, 0
        self.buffers = [Pinned() for _ in range(_BUFFERS)]

    def next(self, nbytes: int) -> Pinned:
        """A buffer of at least ``nbytes`` that nobody reads any more; the host waits for it."""
        buffer = self.buffers[self.turn]
        self.turn = (self.turn + 1) % len(self.buffers)
        buffer.make_free(self.device)
        if buffer.memory.nbytes < nbytes:
            self.device.unpin(buffer.memory)
            buffer.memory = np.empty(0, np.uint8)
            buffer.memory = self.device.pinned(nbytes)
        return buffer

    def send(self, values: np.ndarray, dtype: np.dtype, pointer: int, lane: int) -> Any:
        """Copy ``values``, in any order of memory, to the device; they may change at once. Returns the mark of arrival."""
        sent = None
        for part in pieces(values, _PIECE // dtype.itemsize):
            nbytes = part.size * dtype.itemsize
            buffer = self.next(nbytes)
            memory = buffer.memory[:nbytes]
            np.copyto(memory.view(dtype).reshape(part.shape), part, casting="same_kind")
            self.device.send(memory, pointer, lane)
            sent = buffer.busy = self.device.mark(lane)
            pointer += nbytes
        return sent


def pieces(values: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Parts of at most ``most`` values that, one after the other, are ``values`` in C order."""
    if values.size <= most:
        yield values
        return
    rows = most * len(values) // values.size
    if rows:
        yield from (values[start : start + rows] for start in range(0, len(values), rows))
    else:
        for row in values:
            yield from pieces(row, most)


class Slot:
    """Memory on the device for one staged array after another; ``read`` is the mark of the last op that read it."""

    def __init__(self, array: DeviceArray, read: Any) -> None:
        self.array, self.read = array, read


class Staged:
    """A host array on its way to a device, or there: ``with staged as array`` gives it to ops, once."""

    def __init__(self, transfers: Transfers, slot: Slot, shape: Sequence[int], dtype: np.dtype) -> None:
        self.transfers, self.slot, self.sent = transfers, slot, None
        self.shape, self.dtype, self.used = tuple(shape), dtype, False

    def __len__(self) -> int:
        return self.shape[0]

    def __enter__(self) -> DeviceArray:
        self.transfers.device.wait(COMPUTE, self.sent)
        return DeviceArray(self.slot.array.buffer, self.shape, self.dtype)

    def __exit__(self, *_: object) -> None:
        self.slot.read, self.used = self.transfers.device.mark(COMPUTE), True
        self.transfers.slots.append(self.slot)

    def __del__(self) -> None:
        if not self.used:  # its copy may be under way, but whatever is put there next comes later in the same lane
            self.transfers.slots.append(self.slot)


class Fetched:
    """An array on its way to the host: a call waits for it. Its page-locked memory goes back with this object, to be
    used again after the copy, whether somebody has waited for that or not."""

    def __init__(self, transfers: Transfers, buffer: Pinned, array: DeviceArray) -> None:
        self.transfers, self.buffer = transfers, buffer
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes
        self._values: np.ndarray | None = None  # once they are here: page-locked memory ends with the device

    def __call__(self) -> np.ndarray:
        if self._values is None:
            self.buffer.make_free(self.transfers.device)
            self._values = self.buffer.memory[: self.nbytes].view(self.dtype).reshape(self.shape).copy()
        return self._values

    def __del__(self) -> None:
        self.transfers.returned.append(self.buffer)


class Transfers:
    """What a device needs for copies that do not hold up its work."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.slots: list[Slot] = []  # free ones
        self._direct, self._ahead, self._between = Ring(device), Ring(device), Ring(device)
        self.returned: list[Pinned] = []  # page-locked memory for what is fetched

    def copy_in(self, values: np.ndarray, dtype: np.dtype, pointer: int) -> None:
        """To memory that ops issued before may still use."""
        self._direct.send(values, dtype, pointer, COMPUTE)

    def prefetch(self, values: np.ndarray, dtype: np.dtype) -> Staged:
        """Begin to copy ``values`` beside the device's work; they may change at once."""
        slot = self._slot(values.size * dtype.itemsize)
        if slot.read is not None:
            self.device.wait(COPY, slot.read)
        staged = Staged(self, slot, values.shape, dtype)  # if copying fails half-way, it takes the slot back
        staged.sent = self._ahead.send(values, dtype, slot.array.pointer, COPY)
        return staged

    def fetch(self, array: DeviceArray) -> Fetched:
        """Begin to copy an array to the host, in the order of COMPUTE; the call of what is returned waits for it."""
        buffer = next((held for held in self.returned if held.memory.nbytes >= array.nbytes), None)
        if buffer is None:
            buffer = Pinned()
            buffer.memory = self.device.pinned(max(array.nbytes, _LEAST_FETCHED))
        else:
            self.returned.remove(buffer)
            buffer.make_free(self.device)
        fetched = Fetched(self, buffer, array)
        self.device.fetch(array.pointer, buffer.memory[: array.nbytes], COMPUTE)
        buffer.busy = self.device.mark(COMPUTE)
        return fetched

    def cross(self, other: Device, source: int, target: int, nbytes: int) -> None:
        """Copy from ``source`` on ``other`` to ``target`` here: directly if this device reaches it, else by the host."""
        device = self.device
        if device.reaches(other):
            device.wait(COMPUTE, other.mark(COMPUTE))
            device.copy_peer(other, source, target, nbytes)
            other.wait(COMPUTE, device.mark(COMPUTE))
            return
        for start in range(0, nbytes, _PIECE):
            self._by_the_host(other, source + start, target + start, min(_PIECE, nbytes - start))

    def _by_the_host(self, other: Device, source: int, target: int, nbytes: int) -> None:
        device, buffer = self.device, self._between.next(nbytes)
        other.fetch(source, buffer.memory[:nbytes], COMPUTE)
        device.wait(COMPUTE, other.mark(COMPUTE))
        device.send(buffer.memory[:nbytes], target, COMPUTE)
        buffer.busy = device.mark(COMPUTE)

    def _slot(self, nbytes: int) -> Slot:
        fitting = [slot for slot in self.slots if nbytes <= slot.array.nbytes <= 2 * nbytes]
        if fitting:
            self.slots.remove(fitting[0])
            return fitting[0]
        # Ops issued before may still use the memory: what was freed is given out again at once.
        return Slot(self.device.empty((nbytes,), np.uint8), self.device.mark(COMPUTE))
