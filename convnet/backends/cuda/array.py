"""Arrays on a device: a buffer, an offset into it, a shape. C-ordered; slices and reshapes are views."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Buffer:
    """Memory of a device; freed with the last array that views it."""

    def __init__(self, device: Any, pointer: int, nbytes: int) -> None:
        self.device, self.pointer, self.nbytes = device, pointer, nbytes

    def __del__(self) -> None:
        self.device.free(self.pointer, self.nbytes)


class Lent(Buffer):
    """A block of an arena, for the arrays that view it; returned with the last of them."""

    def __init__(self, arena: Arena, block: Buffer) -> None:
        super().__init__(arena.device, block.pointer, block.nbytes)
        self.arena, self.block = arena, block

    def __del__(self) -> None:
        self.arena.give(self.block)


class Arena:
    """Memory for arrays that are made during captures.

    A block stays where it is while an array views it, or while any work that was captured with it can be replayed: who
    keeps the work keeps what ``begin`` returned. Replays follow each other, so that one capture after another can use a
    block; but within one capture it is used once where branches may run at the same time, which else would wait for it.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self._used: set[Buffer] = set()  # by the capture under way
        self._free: dict[int, list[weakref.ref[Buffer]]] = defaultdict(list)  # that captured work keeps, by size
        self._kept_back: list[Buffer] | None = None  # until the capture ends

    def begin(self, once: bool) -> set[Buffer]:
        """Begin a capture, which uses each block ``once``; the result holds all that it will have used."""
        self._used, self._kept_back = set(), [] if once else None
        return self._used

    def end(self) -> None:
        """End the capture."""
        kept_back, self._used, self._kept_back = self._kept_back, set(), None
        for block in kept_back or ():
            self.give(block)

    def allocate(self, nbytes: int) -> Buffer:
        size = -(-nbytes // 512) * 512
        block = None
        while block is None:
            block = self._free[size].pop()() if self._free[size] else self.device.allocate(size)
        self._used.add(block)
        return Lent(self, block)

    def give(self, block: Buffer) -> None:
        """Take back a block that no array views any more; it is freed unless captured work keeps it."""
        if self._kept_back is not None:
            self._kept_back.append(block)
            return
        self._free[block.nbytes].append(weakref.ref(block))


class Captured(NamedTuple):
    """Captured work, and the memory that it works in."""

    work: Any
    memory: set[Buffer]


class DeviceArray:
    """``shape`` values of ``dtype``, from ``offset`` bytes into a buffer."""

    __slots__ = ("buffer", "dtype", "offset", "pointer", "shape", "size", "span")

    span: tuple[int, int]  # of connections alone: the least and the greatest

    def __init__(self, buffer: Buffer, shape: Sequence[int], dtype: np.dtype | type = np.float32, offset: int = 0) -> None:
        self.buffer, self.shape = buffer, tuple(map(int, shape))
        self.dtype, self.offset = np.dtype(dtype), offset
        self.pointer = buffer.pointer + offset  # the device address of the first value; every launch asks for it
        self.size = math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: Any) -> DeviceArray:
        """View the same values in another shape; one length may be -1."""
        wanted = [int(n) for n in (shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)]
        if -1 in wanted:
            rest = -math.prod(wanted)
            wanted[wanted.index(-1)] = self.size // rest if rest else 0
        if math.prod(wanted) != self.size:
            raise ValueError(f"{self.shape} cannot be seen as {tuple(wanted)}")
        return DeviceArray(self.buffer, wanted, self.dtype, self.offset)

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Rows ``start`` to ``stop`` of the first axis."""
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise ValueError("only contiguous rows can be viewed")
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        return DeviceArray(self.buffer, (max(stop - start, 0), *self.shape[1:]), self.dtype, self.offset + start * row)

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype}, at {self.pointer:#x})"
