"""Normalisation across maps and within them (numerics section 9).

With d the denominators and u = -2 * power * scale * g * y / d, the gradient is g * d^-power + x * (sum of u over the
windows that hold the place), whose extent is the mirror image of the forward window for even sizes.
"""

import numpy as np

from convnet.backends.arguments import Response, Slope
from convnet.backends.base import Backend
from convnet.backends.reference.common import Array, box_sum, store


def _window_sum(kind: str, x: Array, response: Response, back: bool = False) -> Array:
    """Return sums over each place's window; with ``back``, over the places whose windows hold it."""
    size = response.size
    before = size - 1 - size // 2 if back else size // 2
    if kind != "cmrnorm":
        return box_sum(box_sum(x, before, size, axis=1), before, size, axis=2)
    if not response.blocked:
        return box_sum(x, before, size, axis=0)
    starts = np.arange(0, len(x), size)
    return np.repeat(np.add.reduceat(x, starts, axis=0), size, axis=0)[: len(x)]


def _squared(kind: str, x: Array, response: Response) -> Array:
    """Return what the denominators sum the squares of: cnorm's is x minus the mean of its own window (numerics 9.3)."""
    if kind != "cnorm":
        return x
    return x - _window_sum(kind, x, response) / _window_sum(kind, np.ones_like(x), response)


class NormOps(Backend):
    """norm_*."""

    def norm_forward(self, kind: str, images: Array, out: Array, *, response: Response) -> None:
        m = _squared(kind, images, response)
        out[...] = images * (response.min_div + response.scale * _window_sum(kind, m**2, response)) ** -response.power

    def norm_input_grad(
        self, kind: str, images: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        response: Response, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        _, scale, power, min_div, _ = response
        m = _squared(kind, images, response)
        d = min_div + scale * _window_sum(kind, m**2, response)
        u = -2 * power * scale * grad * images * d ** (-power - 1)
        with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
            store(target, grad * d**-power + m * _window_sum(kind, u, response, back=True), scale)
