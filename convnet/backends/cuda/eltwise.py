"""Memory, elementwise ops and sums: the host side of ``cuda/eltwise.cu``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div
from convnet.backends.cuda.transfers import Staged

_EACH = 4  # EACH of the source
_PARTS = 256  # blocks of a sum over everything
_TARGET_BLOCKS = 8  # of a multiprocessor
_MIN_SHARE = 8192  # columns of a row: fewer are not worth another launch


class EltwiseOps(Launcher, Backend):
    """Memory, fill, add, add_bias, sum_rows, eltmax_*, all_finite, mean_magnitude."""

    def empty(self, shape: Sequence[int]) -> Array:
        return self.device.empty(tuple(shape))

    def upload(self, values: np.ndarray) -> Array:
        return self.device.upload(np.asarray(values, np.float32))

    def copy_in(self, values: Any, out: Array) -> None:
        if isinstance(values, Staged):
            with values as arrived:
                self.device.copy(arrived.pointer, out.pointer, out.nbytes)
        else:
            self.device.copy_in(values, out)

    def prefetch(self, values: np.ndarray) -> Any:
        dtype = values.dtype if values.dtype == np.uint8 else np.dtype(np.float32)
        return self.device.transfers.prefetch(values, dtype)

    def copy_from(self, other: Backend, x: Array, out: Array) -> None:
        if isinstance(other, EltwiseOps):
            self.device.transfers.copy_peer(other.device, x.pointer, out.pointer, out.nbytes)
        else:
            super().copy_from(other, x, out)

    def download(self, array: Array) -> np.ndarray:
        return self.device.download(array)

    def fetch(self, array: Array) -> Callable[[], np.ndarray]:
        return self.device.transfers.fetch(array)

    def cost_vector(self, length: int) -> Array:
        return self.device.upload(np.zeros(length, np.float64))

    def connections(self, channels: Sequence[int]) -> Array:
        numbers = np.asarray(channels, np.int32)
        conns = self.device.upload(numbers)
        conns.span = int(numbers.min(initial=0)), int(numbers.max(initial=0))
        return conns

    def sync(self) -> None:
        self.device.sync()

    def fill(self, out: Array, value: float) -> None:
        self.each("eltwise", "fill", out.size, out, out.size, value)

    def add(self, x: Array, out: Array, scale_targets: float = 0, scale_output: float = 1) -> None:
        self.each("eltwise", "add", out.size, x, out, out.size, scale_targets, scale_output)

    def add_bias(self, out: Array, biases: Array) -> None:
        rows, columns = out.shape
        threads = _threads_for(columns)
        grid, tiles = (rows, blocks_for(columns, threads * _EACH)), {"THREADS": threads}
        self.run("eltwise", "add_bias", grid, (threads,), out, biases, columns, tiles=tiles)

    def sum_rows(self, x: Array, out: Array, scale_targets: float = 0, scale_output: float = 1) -> None:
        rows, columns = x.shape
        share = self._share_of_row(rows, columns)
        if share < columns:
            sums = self.device.empty((rows, ceil_div(columns, share)))
            self._sum_rows(x, sums, share, 0.0, 1.0)
            x, share = sums, sums.shape[1]
        self._sum_rows(x, out, share, scale_targets, scale_output)

    def _sum_rows(self, x: Array, out: Array, share: int, *scales: float) -> None:
        (rows, columns), threads = x.shape, _threads_for(share)
        grid, tiles = (rows, max(1, ceil_div(columns, share))), {"THREADS": threads}
        self.run("eltwise", "sum_rows", grid, (threads,), x, out, columns, share, *scales, tiles=tiles)

    def _share_of_row(self, rows: int, columns: int) -> int:
        """Return how much of a row a block adds up: few long rows are divided, so that no multiprocessor is idle."""
        wanted = ceil_div(self.device.multiprocessors * _TARGET_BLOCKS, rows)
        return max(1, ceil_div(columns, max(1, min(wanted, columns // _MIN_SHARE))))

    def eltmax_forward(self, x: Array, out: Array) -> None:
        self.each("eltwise", "eltmax_forward", out.size, x, out, out.size)

    def eltmax_input_grad(self, x: Array, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0) -> None:
        count = input_grad.size
        self.each("eltwise", "eltmax_input_grad", count, x, y, grad, input_grad, count, scale_targets)

    def all_finite(self, x: Array) -> bool:
        return self._sum_of_parts("count_bad", x) == 0

    def mean_magnitude(self, x: Array) -> float:
        return self._sum_of_parts("sum_magnitudes", x) / max(x.size, 1)

    def _sum_of_parts(self, kernel: str, x: Array) -> float:
        parts = self.device.empty((min(_PARTS, blocks_for(max(x.size, 1))),), np.float64)
        self.run("eltwise", kernel, (len(parts),), (THREADS,), x, parts, x.size, tiles={"THREADS": THREADS})
        return float(self.device.download(parts).sum())


def _threads_for(columns: int) -> int:
    return 64 if columns <= 256 else THREADS
