"""Weight updates and constraints (numerics section 13)."""

from __future__ import annotations

import numpy as np


class WeightOps:
    """update, super_update, limit_norm, limit_contrast, mean_magnitude."""

    def update(self, weights, increments, grad, momentum, rate, decay):
        if grad is not None:
            increments[...] = momentum * increments + rate * grad
        if decay > 0:
            increments -= decay * weights
        weights += increments

    def super_update(self, weights, increments, grad, mean, square, momentum, rate, decay, epsilon):
        mean[...] = momentum * mean + (1 - momentum) * grad
        square[...] = momentum * square + (1 - momentum) * grad * grad
        # 0.9 and the unsquared mean are the original's (numerics 13.8).
        increments[...] = 0.9 * increments + rate * grad / np.sqrt(square - mean + epsilon) - decay * weights
        weights += increments

    def limit_norm(self, weights, limit, hard):
        norm = np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
        scaled = (norm > 0) if hard else (norm > limit)
        weights *= np.where(scaled, limit / np.where(norm > 0, norm, 1), 1)

    def limit_contrast(self, weights, least, most):
        deviation = weights - weights.mean(axis=1, keepdims=True)
        contrast = np.sqrt(np.square(deviation).sum(axis=1, keepdims=True)) / weights.shape[1]
        wanted = np.clip(contrast, least, most)
        weights *= np.where(contrast > 0, wanted / np.where(contrast > 0, contrast, 1), 1)

    def mean_magnitude(self, x):
        return float(np.abs(x).mean(dtype=np.float64))
