"""A device that only records its launches: for listings of kernels, and for compiling them before a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer, DeviceArray
from convnet.backends.cuda.device import Device, Dim, Product, convert
from convnet.backends.cuda.source import Source, signatures


class Recorder(Device):
    """Records (source, kernel, grid, block, shared bytes) of every launch; stores no values."""

    name = "no device"

    def __init__(self, math: str = "float32", processors: int = 132, shared_memory: int = 228 << 10) -> None:
        self.math, self.processors, self.shared_memory = math, processors, shared_memory
        self.seen: list[tuple[Source, str, Dim, Dim, int]] = []
        self._next = 1 << 20

    @property
    def sources(self) -> list[Source]:
        """The launched sources, each specialisation once."""
        return list(dict.fromkeys(source for source, *_ in self.seen))

    @classmethod
    def like(cls, device: Device) -> Recorder:
        """Make a recorder for which the same kernels are chosen as for ``device``."""
        return cls(device.math, device.processors, device.shared_memory)

    def allocate(self, nbytes: int) -> Buffer:
        self._next += -(-nbytes // 256) * 256
        return Buffer(self, self._next, nbytes)

    def free(self, pointer: int, nbytes: int) -> None:
        pass

    def copy_in(self, values: np.ndarray, out: DeviceArray) -> None:
        pass

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        pass

    def download(self, array: DeviceArray) -> np.ndarray:
        return np.zeros(array.shape, array.dtype)

    def copy(self, source: int, target: int, nbytes: int) -> None:
        pass

    def launch(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int = 0) -> None:
        convert(signatures(source.file)[kernel].types, args, kernel)
        self.seen.append((source, kernel, grid, block, shared))

    def gemm(self, product: Product) -> None:
        pass

    def sync(self) -> None:
        pass

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def send(self, values: np.ndarray, pointer: int, stream: int) -> None:
        pass

    def fetch(self, pointer: int, values: np.ndarray, stream: int) -> None:
        pass

    def can_access_peer(self, other: Device) -> bool:
        return isinstance(other, Recorder)

    def record_event(self, stream: int) -> None:
        pass

    def wait_event(self, stream: int, event: Any) -> None:
        pass

    def synchronize(self, event: Any) -> None:
        pass
