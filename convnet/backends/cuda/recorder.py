"""A device that only records its launches: for listings of kernels, and for compiling them before a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer, DeviceArray
from convnet.backends.cuda.device import Device, Dim
from convnet.backends.cuda.parameters import convert
from convnet.backends.cuda.source import Source, signatures


class Recorder(Device):
    """Records (source, kernel, grid, block, shared bytes) of every launch; stores no values."""

    name = "no device"

    def __init__(
        self, math: str = "float32", multiprocessors: int = 132, shared_memory: int = 228 << 10, tiled_for: int = 0
    ) -> None:
        self.math, self.multiprocessors, self.shared_memory = math, multiprocessors, shared_memory
        self.tiled_for = tiled_for
        self.seen: list[tuple[Source, str, Dim, Dim, int]] = []
        self._next = 1 << 20

    @property
    def sources(self) -> list[Source]:
        """The launched sources, each specialisation once."""
        return list(dict.fromkeys(source for source, *_ in self.seen))

    @classmethod
    def like(cls, device: Device) -> Recorder:
        """Make a recorder for which the same kernels are chosen as for ``device``."""
        return cls(device.math, device.multiprocessors, device.shared_memory, device.tiled_for)

    def allocate(self, nbytes: int) -> Buffer:
        self._next += -(-nbytes // 256) * 256
        return Buffer(self, self._next, nbytes)

    def download(self, array: DeviceArray) -> np.ndarray:
        return np.zeros(array.shape, array.dtype)

    def start(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int) -> None:
        convert(signatures(source.file)[kernel].types, args, kernel)
        self.seen.append((source, kernel, grid, block, shared))

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def can_access_peer(self, other: Device) -> bool:
        return isinstance(other, Recorder)

    def is_done(self, event: Any) -> bool:  # noqa: ARG002
        return True

    def _ignore(self, *_: Any, **__: Any) -> None:
        """Do nothing: there are no values to free, copy, multiply or wait for."""

    free = copy_in = copy_out = copy = multiply = sync = send = fetch = record_event = wait_event = synchronize = _ignore
