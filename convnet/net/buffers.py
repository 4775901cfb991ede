"""Buffers of a running net: taken when first written, returned when no consumer remains.

A step asks for the same sizes in the same order every time, so after the first step nothing is allocated.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager

from convnet.backends.base import Array, Backend


class BufferPool:
    """Free float buffers of one backend, by size. ``poison`` fills returned ones with NaN, to catch late readers."""

    def __init__(self, be: Backend) -> None:
        self.be, self.poison = be, False
        self.allocated = 0  # floats in all buffers so far
        self._free: list[tuple[int, int, Array]] = []  # (size, serial number, buffer), sorted
        self._returned = 0
        self._kept_back: list[Array] | None = None  # what is given back inside ``keeping``
        self._made: list[Array] = []  # inside ``keeping``
        self._unwanted: set[int] = set()  # identities of buffers to drop, not to take back

    def take(self, floats: int) -> Array:
        """Return a buffer of at least ``floats``: the smallest free one that is not over twice as large, or a new one."""
        at = bisect_left(self._free, (floats, 0))
        if at < len(self._free) and self._free[at][0] <= 2 * floats:
            return self._free.pop(at)[2]
        self.allocated += floats
        buffer = self.be.empty((floats,))
        if self._kept_back is not None:
            self._made.append(buffer)
        return buffer

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Hand out nothing inside that was given back inside: ops that may run at the same time would wait for it.

        That takes more memory; where it fails, the buffers that were made inside are dropped.
        """
        self._kept_back, self._made = [], []
        try:
            yield
        except BaseException:
            self._unwanted.update(map(id, self._made))
            raise
        finally:
            kept_back, self._kept_back, self._made = self._kept_back, None, []
            for buffer in kept_back:
                self._insert(buffer)

    def give(self, buffer: Array) -> None:
        """Take back a buffer whose contents nobody needs."""
        if self.poison:
            self.be.fill(buffer, float("nan"))
        if self._kept_back is not None:
            self._kept_back.append(buffer)
            return
        self._insert(buffer)

    def _insert(self, buffer: Array) -> None:
        if id(buffer) in self._unwanted:
            self._unwanted.remove(id(buffer))
            self.allocated -= buffer.shape[0]
            return
        self._returned += 1
        insort(self._free, (buffer.shape[0], self._returned, buffer))
