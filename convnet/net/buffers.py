"""Buffers of a running net: taken when first written, given back when nobody needs the contents any more.

A step asks for the same sizes in the same order every time, so after the first step nothing is allocated.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convnet.backends.base import Array, Backend


class BufferPool:
    """Free float buffers of one backend, by size. ``poison`` fills those given back with NaN, to catch late readers."""

    def __init__(self, be: Backend, poison: bool = False) -> None:
        self.be, self.poison = be, poison
        self.allocated = 0  # floats in all buffers made so far
        self._free: list[tuple[int, int, Array]] = []
        self._made = 0

    def take(self, floats: int) -> tuple[int, Array]:
        """(size, buffer) of at least ``floats``: the smallest free one that is not over twice as large, or a new one."""
        at = bisect_left(self._free, (floats, 0))
        if at < len(self._free) and self._free[at][0] <= 2 * floats:
            size, _, buffer = self._free.pop(at)
            return size, buffer
        self.allocated += floats
        return floats, self.be.empty((floats,))

    def give(self, size: int, buffer: Array) -> None:
        """Return a buffer whose contents nobody needs."""
        if self.poison:
            self.be.fill(buffer, float("nan"))
        self._made += 1
        insort(self._free, (size, self._made, buffer))
