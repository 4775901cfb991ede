"""Weight updates and constraints (numerics section 13)."""

import numpy as np

from convnet.backends.arguments import Rates
from convnet.backends.base import Backend
from convnet.backends.reference.common import Array


class WeightOps(Backend):
    """update, super_update, limit_norm, limit_contrast, mean_magnitude."""

    def update(self, weights: Array, increments: Array, grad: Array | None, *, rates: Rates) -> None:
        if grad is not None:
            increments[...] = rates.momentum * increments + rates.rate * grad
        if rates.decay > 0:
            increments -= rates.decay * weights
        weights += increments

    def super_update(
        self, weights: Array, increments: Array, grad: Array, moments: tuple[Array, Array], *, rates: Rates, epsilon: float
    ) -> None:
        (mean, square), (momentum, rate, decay) = moments, rates
        mean[...] = momentum * mean + (1 - momentum) * grad
        square[...] = momentum * square + (1 - momentum) * grad * grad
        # 0.9 and the unsquared mean are the original's (numerics 13.8).
        increments[...] = 0.9 * increments + rate * grad / np.sqrt(square - mean + epsilon) - decay * weights
        weights += increments

    def limit_norm(self, weights: Array, limit: float, hard: bool) -> None:
        norm = np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
        weights *= np.where(norm > (0 if hard else limit), limit / np.where(norm > 0, norm, 1), 1)

    def limit_contrast(self, weights: Array, low: float, high: float) -> None:
        deviation = weights - weights.mean(axis=1, keepdims=True)
        contrast = np.sqrt(np.square(deviation).sum(axis=1, keepdims=True)) / weights.shape[1]
        weights *= np.where(contrast > 0, np.clip(contrast, low, high) / np.where(contrast > 0, contrast, 1), 1)

    def mean_magnitude(self, x: Array) -> float:
        return float(np.abs(x).mean(dtype=np.float64))
