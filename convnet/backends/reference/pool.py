"""Pooling within and across maps (numerics section 8).

Letters: C channels, H, W height and width, N cases; out[c, oy, ox, n].
"""

from collections.abc import Iterator

import numpy as np

from convnet.backends import philox
from convnet.backends.arguments import Activation, Slope, Window
from convnet.backends.base import Backend
from convnet.backends.philox import Key
from convnet.backends.reference.common import Array, store, windows


def _grid(images: Array, out: Array, window: Window) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield (oy, ox, rows, columns) of every window."""
    rows, columns = (windows(images.shape[axis], out.shape[axis], *window) for axis in (1, 2))
    for oy, y in enumerate(rows):
        for ox, x in enumerate(columns):
            yield oy, ox, y, x


def _pick(part: Array, index: Array) -> Array:
    """Return part[c, index[c, n], n]."""
    return np.take_along_axis(part, index[:, None], axis=1)[:, 0]


def _reduce(kind: str, part: Array) -> Array:
    """Reduce a window's pixels (C, pixels, N), in row-major order."""
    pixels = part.shape[1]
    if kind == "max":
        return part.max(axis=1, initial=-2e38)
    if kind == "maxabs":  # the later of equal magnitudes wins: look from the end
        return _pick(part, pixels - 1 - np.abs(part[:, ::-1]).argmax(axis=1)) if pixels else part.sum(axis=1)
    return part.sum(axis=1) / (1 if kind == "sum" else max(pixels, 1))


class PoolOps(Backend):
    """pool_* and cmpool_*."""

    def pool_forward(
        self, kind: str, images: Array, out: Array, *, window: Window, activation: Activation | None = None
    ) -> None:
        for oy, ox, y, x in _grid(images, out, window):
            out[:, oy, ox] = _reduce(kind, _pixels(images, y, x))
        self.activate(out, activation)

    def pool_rand_forward(self, images: Array, out: Array, *, window: Window, key: Key) -> None:
        draws = philox.uniform(key, out.shape)
        for oy, ox, y, x in _grid(images, out, window):
            part = _pixels(images, y, x)
            if part.shape[1] == 0:
                out[:, oy, ox] = 0
                continue
            weight = np.maximum(part, 0).astype(np.float32)
            weight[:] = np.where(weight.sum(axis=1, keepdims=True) > 0, weight, 1)
            mass = np.cumsum(weight, axis=1, dtype=np.float32)
            # The first member whose cumulated weight reaches the draw, which lies in (0, total].
            chosen = (mass < draws[:, oy, ox][:, None] * mass[:, -1:]).sum(axis=1)
            out[:, oy, ox] = _pick(part, np.minimum(chosen, part.shape[1] - 1))

    def pool_max_input_grad(
        self, images: Array, out: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        window: Window, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        result = np.zeros_like(input_grad)
        for oy, ox, y, x in _grid(images, out, window):
            result[:, y, x] += np.where(images[:, y, x] == out[:, None, None, oy, ox], grad[:, None, None, oy, ox], 0)
        with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
            store(target, result, scale)

    def pool_avg_input_grad(
        self, kind: str, grad: Array, input_grad: Array, scale_targets: float = 0, *,
        window: Window, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        result = np.zeros_like(input_grad)
        for oy, ox, y, x in _grid(input_grad, grad, window):
            pixels = max((y.stop - y.start) * (x.stop - x.start), 1)
            result[:, y, x] += grad[:, None, None, oy, ox] / (1 if kind == "sum" else pixels)
        with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
            store(target, result, scale)

    def cmpool_forward(self, images: Array, out: Array, *, window: Window) -> None:
        for j, channels in enumerate(windows(len(images), len(out), *window)):
            out[j] = images[channels].max(axis=0)

    def cmpool_input_grad(
        self, images: Array, out: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *, window: Window
    ) -> None:
        result = np.zeros_like(input_grad)
        for j, channels in enumerate(windows(len(images), len(out), *window)):
            result[channels] += np.where(images[channels] == out[j], grad[j], 0)
        store(input_grad, result, scale_targets)


def _pixels(images: Array, y: slice, x: slice) -> Array:
    """Return a window's pixels as (C, pixels, N), in row-major order."""
    part = images[:, y, x]
    return part.reshape(len(part), -1, part.shape[-1])
