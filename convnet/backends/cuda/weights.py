"""Weight updates and constraints: the host side of ``cuda/weights.cu``."""

import math

from convnet.backends.arguments import Rates
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.launch import THREADS, Launcher, ceil_div

_LANES, _MOST_THREADS = 32, 1024  # columns and threads of a block


class WeightOps(Launcher, Backend):
    """update, super_update, limit_norm, limit_contrast."""

    def update(self, weights: Array, increments: Array, grad: Array | None, *, rates: Rates) -> None:
        args = (weights, increments, grad, weights.size, int(grad is not None), *rates)
        self.each("weights", "update", weights.size, *args)

    def super_update(
        self, weights: Array, increments: Array, grad: Array, moments: tuple[Array, Array], *, rates: Rates, epsilon: float
    ) -> None:
        args = (weights, increments, grad, *moments, weights.size, *rates, epsilon)
        self.each("weights", "super_update", weights.size, *args)

    def limit_norm(self, weights: Array, limit: float, hard: bool) -> None:
        self._columns("limit_norm", weights, limit, int(hard))

    def limit_contrast(self, weights: Array, low: float, high: float) -> None:
        self._columns("limit_contrast", weights, low, high if math.isfinite(high) else 3e38)

    def _columns(self, kernel: str, weights: Array, *limits: float) -> None:
        """Launch blocks of one column if its values are contiguous, else of neighbouring columns."""
        outer, rows, inner = weights.shape
        lanes, threads = (1, THREADS) if inner == 1 else (_LANES, _MOST_THREADS)
        grid, tiles = (outer * ceil_div(inner, lanes),), {"THREADS": threads, "LANES": lanes}
        self.run("weights", kernel, grid, (threads,), weights, rows, inner, *limits, tiles=tiles)
