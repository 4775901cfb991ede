"""Weight updates and constraints: the host side of ``cuda/weights.cu``."""

from __future__ import annotations

import math

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import Launcher


class WeightOps(Launcher, Backend):
    """update, super_update, limit_norm, limit_contrast."""

    def update(self, weights, increments, grad, momentum, rate, decay):
        args = (weights, increments, grad, weights.size, int(grad is not None), momentum, rate, decay)
        self.each("weights", "update", weights.size, *args)

    def super_update(self, weights, increments, grad, mean, square, momentum, rate, decay, epsilon):
        args = (weights, increments, grad, mean, square, weights.size, momentum, rate, decay, epsilon)
        self.each("weights", "super_update", weights.size, *args)

    def limit_norm(self, weights, limit, hard):
        outer, rows, inner = weights.shape
        self.each("weights", "limit_norm", outer * inner, weights, outer, rows, inner, limit, int(hard))

    def limit_contrast(self, weights, least, most):
        outer, rows, inner = weights.shape
        high = most if math.isfinite(most) else 3e38
        self.each("weights", "limit_contrast", outer * inner, weights, outer, rows, inner, least, high)
