"""Buffers of a running net: taken when first written, returned when no consumer remains.

A step asks for the same sizes in the same order every time, so after the first step nothing is allocated.
"""

from bisect import bisect_left, insort

from convnet.backends.base import Array, Backend


class BufferPool:
    """Free float buffers of one backend, by size. ``poison`` fills returned ones with NaN, to catch late readers."""

    def __init__(self, be: Backend) -> None:
        self.be, self.poison = be, False
        self.allocated = 0  # floats in all buffers so far
        self._free: list[tuple[int, int, Array]] = []  # (size, serial number, buffer), sorted
        self._returned = 0

    def take(self, floats: int) -> Array:
        """Return a buffer of at least ``floats``: the smallest free one that is not over twice as large, or a new one."""
        at = bisect_left(self._free, (floats, 0))
        if at < len(self._free) and self._free[at][0] <= 2 * floats:
            return self._free.pop(at)[2]
        self.allocated += floats
        return self.be.empty((floats,))

    def give(self, buffer: Array) -> None:
        """Take back a buffer whose contents nobody needs."""
        if self.poison:
            self.be.fill(buffer, float("nan"))
        self._returned += 1
        insort(self._free, (buffer.shape[0], self._returned, buffer))
