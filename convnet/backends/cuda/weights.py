"""Weight updates and constraints: the host side of ``cuda/weights.cu``."""

from __future__ import annotations

import math

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import THREADS, Launcher, ceil_div

_LANES, _MOST_THREADS = 32, 1024  # columns and threads of a block that limits them


class WeightOps(Launcher, Backend):
    """update, super_update, limit_norm, limit_contrast."""

    def update(self, weights, increments, grad, momentum, rate, decay):
        args = (weights, increments, grad, weights.size, int(grad is not None), momentum, rate, decay)
        self.each("weights", "update", weights.size, *args)

    def super_update(self, weights, increments, grad, mean, square, momentum, rate, decay, epsilon):
        args = (weights, increments, grad, mean, square, weights.size, momentum, rate, decay, epsilon)
        self.each("weights", "super_update", weights.size, *args)

    def limit_norm(self, weights, limit, hard):
        self._columns("limit_norm", weights, limit, int(hard))

    def limit_contrast(self, weights, least, most):
        self._columns("limit_contrast", weights, least, most if math.isfinite(most) else 3e38)

    def _columns(self, kernel: str, weights, *limits: float) -> None:
        """Blocks of one column of values that follow each other, or of columns beside each other."""
        outer, rows, inner = weights.shape
        lanes, threads = (1, THREADS) if inner == 1 else (_LANES, _MOST_THREADS)
        grid, tiles = (outer * ceil_div(inner, lanes),), {"THREADS": threads, "LANES": lanes}
        self.run("weights", kernel, grid, (threads,), weights, rows, inner, *limits, tiles=tiles)
