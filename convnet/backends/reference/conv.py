"""conv and local, tap by tap, straight from the formulas (numerics 2.4, 2.9, 2.10).

Letters: C channels, S side of the image, N cases, F filters, M output side, k filter side, Cf channels of a group.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convnet.backends.reference.common import store


def _range(side: int, outputs: int, tap: int, padding: int, stride: int) -> tuple[slice, slice]:
    """Windows for which a tap lies inside the image along one axis, and the pixels it lies on."""
    inside = [m for m in range(outputs) if 0 <= -padding + m * stride + tap < side]
    if not inside:
        return slice(0, 0), slice(0, 0)
    first, last = inside[0], inside[-1]
    start = -padding + first * stride + tap
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


def _walk(
    image: tuple[int, ...], out: tuple[int, ...], k: int, Cf: int, padding: int, stride: int, groups: int, conns
) -> Iterator[tuple]:
    """For each group and tap: (filters, channels, (ky, kx), windows y and x, pixels y and x)."""
    _, H, W, _ = image
    F, My, Mx, _ = out
    for q in range(groups):
        filters = slice(q * F // groups, (q + 1) * F // groups)
        channels = np.arange(q * Cf, (q + 1) * Cf) if conns is None else np.asarray(conns)[q * Cf : (q + 1) * Cf]
        for ky in range(k):
            my, y = _range(H, My, ky, padding, stride)
            for kx in range(k):
                mx, x = _range(W, Mx, kx, padding, stride)
                yield filters, channels, ky, kx, my, mx, y, x


class ConvOps:
    """conv_* and local_*. ``np.add.at`` because random connections may name a channel twice."""

    def conv_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0,
        *, padding, stride, groups=1, conns=None, biases=None,
    ):  # fmt: skip
        result = np.zeros_like(out)
        Cf, k = filters.shape[:2]
        for f, c, ky, kx, my, mx, y, x in _walk(images.shape, out.shape, k, Cf, padding, stride, groups, conns):
            result[f, my, mx] += np.einsum("cf,cyxn->fyxn", filters[:, ky, kx, f], images[c][:, y, x], optimize=True)
        store(out, result, scale_targets, scale_output)
        self.add_biases(out, biases)

    def conv_input_grad(
        self, grad, filters, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        result = np.zeros_like(into)
        Cf, k = filters.shape[:2]
        for f, c, ky, kx, my, mx, y, x in _walk(into.shape, grad.shape, k, Cf, padding, stride, groups, conns):
            part = np.einsum("cf,fyxn->cyxn", filters[:, ky, kx, f], grad[f, my, mx], optimize=True)
            np.add.at(result[:, y, x], c, part)
        store(into, result, scale_targets, scale_output)

    def conv_weight_grad(
        self, images, grad, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        result = np.zeros_like(into)
        Cf, k = into.shape[:2]
        for f, c, ky, kx, my, mx, y, x in _walk(images.shape, grad.shape, k, Cf, padding, stride, groups, conns):
            result[:, ky, kx, f] = np.einsum("cyxn,fyxn->cf", images[c][:, y, x], grad[f, my, mx], optimize=True)
        store(into, result, scale_targets, scale_output)

    def local_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0,
        *, padding, stride, groups=1, conns=None, biases=None,
    ):  # fmt: skip
        result = np.zeros_like(out)
        Cf, k = filters.shape[1:3]
        w = filters.reshape(*out.shape[1:3], *filters.shape[1:])  # w[my, mx, c, ky, kx, f]
        for f, c, ky, kx, my, mx, y, x in _walk(images.shape, out.shape, k, Cf, padding, stride, groups, conns):
            result[f, my, mx] += np.einsum("yxcf,cyxn->fyxn", w[my, mx, :, ky, kx, f], images[c][:, y, x])
        store(out, result, scale_targets, scale_output)
        self.add_biases(out, biases)

    def local_input_grad(
        self, grad, filters, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        result = np.zeros_like(into)
        Cf, k = filters.shape[1:3]
        w = filters.reshape(*grad.shape[1:3], *filters.shape[1:])
        for f, c, ky, kx, my, mx, y, x in _walk(into.shape, grad.shape, k, Cf, padding, stride, groups, conns):
            part = np.einsum("yxcf,fyxn->cyxn", w[my, mx, :, ky, kx, f], grad[f, my, mx])
            np.add.at(result[:, y, x], c, part)
        store(into, result, scale_targets, scale_output)

    def local_weight_grad(
        self, images, grad, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        result = np.zeros_like(into)
        Cf, k = into.shape[1:3]
        w = result.reshape(*grad.shape[1:3], *into.shape[1:])
        for f, c, ky, kx, my, mx, y, x in _walk(images.shape, grad.shape, k, Cf, padding, stride, groups, conns):
            w[my, mx, :, ky, kx, f] = np.einsum("cyxn,fyxn->yxcf", images[c][:, y, x], grad[f, my, mx])
        store(into, result, scale_targets, scale_output)
