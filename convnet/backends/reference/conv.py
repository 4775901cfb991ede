"""conv and local, tap by tap, straight from the formulas (numerics 2.4, 2.9, 2.10).

Letters: C channels, H, W sides of the image, N cases, F filters, My, Mx sides of the output, k filter side, Cf channels
of a group. Weights of rank 5, w[m, c, ky, kx, f], are local's; their einsum has the window's y and x beside c and f.
"""

from collections.abc import Iterator

import numpy as np

from convnet.backends.arguments import Activation, Geometry, Slope
from convnet.backends.base import Backend
from convnet.backends.reference.common import Array, blas_of_one_thread, store


def _range(side: int, outputs: int, tap: int, padding: int, stride: int) -> tuple[slice, slice]:
    """Return the windows for which a tap lies inside the image along one axis, and the pixels it lies on."""
    inside = [m for m in range(outputs) if 0 <= -padding + m * stride + tap < side]
    if not inside:
        return slice(0, 0), slice(0, 0)
    first, last = inside[0], inside[-1]
    start = -padding + first * stride + tap
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


def _walk(images: Array, weights: Array, out: Array, geometry: Geometry) -> Iterator[tuple]:
    """For each group and tap yield its place in the weights, its channels and pixels, and its part of the output."""
    padding, stride, groups, conns = geometry
    (_, H, W, _), (F, My, Mx, _), (Cf, k) = images.shape, out.shape, weights.shape[-4:-2]
    for q in range(groups):
        f = slice(q * F // groups, (q + 1) * F // groups)
        channels = np.arange(q * Cf, (q + 1) * Cf) if conns is None else np.asarray(conns)[q * Cf : (q + 1) * Cf]
        for ky in range(k):
            my, y = _range(H, My, ky, padding, stride)
            for kx in range(k):
                mx, x = _range(W, Mx, kx, padding, stride)
                window = (my, mx) if weights.ndim == 5 else ()
                yield (*window, slice(None), ky, kx, f), channels, (slice(None), y, x), (f, my, mx)


def _by_window(weights: Array, out: Array) -> tuple[Array, str]:
    """Return the weights with local's windows as w[my, mx, c, ky, kx, f], and the axes of one tap in einsum's letters."""
    if weights.ndim == 4:
        return weights, "cf"
    return weights.reshape(*out.shape[1:3], *weights.shape[1:]), "yxcf"


class ConvOps(Backend):
    """conv_*. ``np.add.at`` because random connections may name a channel twice."""

    def conv_forward(
        self, images: Array, weights: Array, out: Array, scale_targets: float = 0, *,
        geometry: Geometry, biases: Array | None = None, activation: Activation | None = None,
    ) -> None:  # fmt: skip
        result = np.zeros_like(out)
        w, axes = _by_window(weights, out)
        with blas_of_one_thread():
            for tap, c, pixels, part in _walk(images, weights, out, geometry):
                result[part] += np.einsum(f"{axes},cyxn->fyxn", w[tap], images[c][pixels], optimize=axes == "cf")
        store(out, result, scale_targets)
        self.add_biases(out, biases)
        self.activate(out, activation)

    def conv_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0, *,
        geometry: Geometry, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        result = np.zeros_like(input_grad)
        w, axes = _by_window(weights, grad)
        with blas_of_one_thread():
            for tap, c, pixels, part in _walk(input_grad, weights, grad, geometry):
                np.add.at(result[pixels], c, np.einsum(f"{axes},fyxn->cyxn", w[tap], grad[part], optimize=axes == "cf"))
        with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
            store(target, result, scale)

    def conv_weight_grad(
        self, images: Array, grad: Array, weight_grad: Array, scale_targets: float = 0, scale_output: float = 1, *,
        geometry: Geometry,
    ) -> None:  # fmt: skip
        result = np.zeros_like(weight_grad)
        w, axes = _by_window(result, grad)
        with blas_of_one_thread():
            for tap, c, pixels, part in _walk(images, weight_grad, grad, geometry):
                w[tap] = np.einsum(f"cyxn,fyxn->{axes}", images[c][pixels], grad[part], optimize=axes == "cf")
        store(weight_grad, result, scale_targets, scale_output)
