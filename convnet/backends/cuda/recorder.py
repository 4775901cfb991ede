"""A device that only notes what it is asked to run: for listings of kernels, and for compiling them ahead."""

from __future__ import annotations

from typing import Any

import numpy as np

from convnet.backends.cuda.array import Buffer, DeviceArray
from convnet.backends.cuda.device import Device, Dim, convert
from convnet.backends.cuda.source import Source, signatures


class Recorder(Device):
    """Remembers (source, kernel, grid, block, shared bytes) of every launch; holds no values."""

    name = "no device"

    def __init__(self, math: str = "float32", processors: int = 132, shared_memory: int = 228 << 10) -> None:
        self.math, self.processors, self.shared_memory = math, processors, shared_memory
        self.seen: list[tuple[Source, str, Dim, Dim, int]] = []
        self._next = 1 << 20

    @property
    def sources(self) -> list[Source]:
        """What was launched, each specialisation once."""
        return list(dict.fromkeys(source for source, *_ in self.seen))

    @classmethod
    def like(cls, device: Device) -> Recorder:
        """One for which the same kernels are chosen."""
        return cls(device.math, device.processors, device.shared_memory)

    def allocate(self, nbytes: int) -> Buffer:
        self._next += -(-nbytes // 256) * 256
        return Buffer(self, self._next, nbytes)

    def free(self, pointer: int, nbytes: int) -> None:
        pass

    def copy_in(self, values: np.ndarray, out: DeviceArray) -> None:
        pass

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        values.fill(0)

    def copy(self, source: int, target: int, nbytes: int) -> None:
        pass

    def launch(self, source: Source, kernel: str, grid: Dim, block: Dim, args: tuple[Any, ...], shared: int = 0) -> None:
        convert(signatures(source.file)[kernel].types, args, kernel)
        self.seen.append((source, kernel, grid, block, shared))

    def gemm(self, a, b, c, M, N, K, lda, ldb, ldc, transpose_a, transpose_b, alpha, beta) -> None:
        pass

    def sync(self) -> None:
        pass

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def send(self, values: np.ndarray, pointer: int, lane: int) -> None:
        pass

    def fetch(self, pointer: int, values: np.ndarray, lane: int) -> None:
        pass

    def copy_peer(self, other: Device, source: int, target: int, nbytes: int) -> None:
        pass

    def reaches(self, other: Device) -> bool:
        return True

    def mark(self, lane: int) -> None:
        pass

    def wait(self, lane: int, mark: Any) -> None:
        pass

    def wait_here(self, mark: Any) -> None:
        pass
