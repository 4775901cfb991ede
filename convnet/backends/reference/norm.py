"""Normalisation across maps and within them (numerics section 9).

With d the denominators and u = -2 * power * scale * g * y / d, the gradient is g * d^-power + x * (sum of u over the
windows that hold the place), whose extent is the mirror image of the forward window for even sizes.
"""

from __future__ import annotations

import numpy as np

from convnet.backends.reference.common import box_sum, store


def _across(x: np.ndarray, size: int, blocked: bool) -> np.ndarray:
    if not blocked:
        return box_sum(x, size // 2, size, axis=0)
    starts = np.arange(0, len(x), size)
    return np.repeat(np.add.reduceat(x, starts, axis=0), size, axis=0)[: len(x)]


def _within(x: np.ndarray, size: int, before: int) -> np.ndarray:
    return box_sum(box_sum(x, before, size, axis=1), before, size, axis=2)


def _deviation(x: np.ndarray, size: int) -> np.ndarray:
    """x minus the mean of its own clipped window (numerics 9.3)."""
    return x - _within(x, size, size // 2) / _within(np.ones_like(x), size, size // 2)


def _gradient(x, inner, d, grad, sum_back, scale, power):
    u = -2 * power * scale * grad * x * d ** (-power - 1)
    return grad * d**-power + inner * sum_back(u)


class NormOps:
    """cmrnorm_*, rnorm_*, cnorm_*."""

    def cmrnorm_forward(self, images, out, *, size, scale, power, min_div, blocked):
        out[...] = images * (min_div + scale * _across(images**2, size, blocked)) ** -power

    def cmrnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div, blocked):
        d = min_div + scale * _across(images**2, size, blocked)

        def sum_back(u):
            # [f - size + 1 + size//2, f + size//2]: the windows that hold channel f.
            return _across(u, size, True) if blocked else box_sum(u, size - 1 - size // 2, size, axis=0)

        store(into, _gradient(images, images, d, grad, sum_back, scale, power), scale_targets)

    def rnorm_forward(self, images, out, *, size, scale, power, min_div):
        out[...] = images * (min_div + scale * _within(images**2, size, size // 2)) ** -power

    def rnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        self._spatial_grad(images, images, grad, into, scale_targets, size, scale, power, min_div)

    def cnorm_forward(self, images, out, *, size, scale, power, min_div):
        m = _deviation(images, size)
        out[...] = images * (min_div + scale * _within(m**2, size, size // 2)) ** -power

    def cnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        m = _deviation(images, size)
        self._spatial_grad(images, m, grad, into, scale_targets, size, scale, power, min_div)

    def _spatial_grad(self, x, m, grad, into, scale_targets, size, scale, power, min_div):
        d = min_div + scale * _within(m**2, size, size // 2)

        def sum_back(u):
            return _within(u, size, size - 1 - size // 2)

        store(into, _gradient(x, m, d, grad, sum_back, scale, power), scale_targets)
