"""Pooling within and across maps (numerics section 8).

Letters: C channels, H, W height and width, N cases; out[c, oy, ox, n].
"""

from __future__ import annotations

import numpy as np

from convnet.backends import philox
from convnet.backends.reference.common import store, windows


def _grid(images: np.ndarray, out: np.ndarray, size: int, start: int, stride: int):
    """Every window: (oy, ox, its rows, its columns)."""
    rows = windows(images.shape[1], out.shape[1], size, start, stride)
    columns = windows(images.shape[2], out.shape[2], size, start, stride)
    for oy, y in enumerate(rows):
        for ox, x in enumerate(columns):
            yield oy, ox, y, x


def _flat(images: np.ndarray, y: slice, x: slice) -> np.ndarray:
    """A window's pixels as (C, pixels, N), in row-major order."""
    part = images[:, y, x]
    return part.reshape(len(part), -1, part.shape[-1])


class PoolOps:
    """pool_* and cmpool_*."""

    def pool_max_forward(self, images, out, by_magnitude, *, size, start, stride):
        for oy, ox, y, x in _grid(images, out, size, start, stride):
            part = _flat(images, y, x)
            if not by_magnitude:
                out[:, oy, ox] = part.max(axis=1, initial=-2e38)
            elif part.shape[1] == 0:
                out[:, oy, ox] = 0
            else:
                # The later of equal magnitudes wins: look from the end.
                last = part.shape[1] - 1 - np.abs(part[:, ::-1]).argmax(axis=1)
                out[:, oy, ox] = np.take_along_axis(part, last[:, None], axis=1)[:, 0]

    def pool_avg_forward(self, images, out, undivided, *, size, start, stride):
        for oy, ox, y, x in _grid(images, out, size, start, stride):
            part = _flat(images, y, x)
            out[:, oy, ox] = part.sum(axis=1) / (1 if undivided else max(part.shape[1], 1))

    def pool_rand_forward(self, images, out, key, *, size, start, stride):
        draws = philox.uniform(key, out.size).reshape(out.shape)
        for oy, ox, y, x in _grid(images, out, size, start, stride):
            part = _flat(images, y, x)
            if part.shape[1] == 0:
                out[:, oy, ox] = 0
                continue
            weight = np.maximum(part, 0).astype(np.float32)
            weight[:] = np.where(weight.sum(axis=1, keepdims=True) > 0, weight, 1)
            mass = np.cumsum(weight, axis=1, dtype=np.float32)
            # The first member whose cumulated weight reaches the draw, which lies in (0, total].
            chosen = (mass < draws[:, oy, ox][:, None] * mass[:, -1:]).sum(axis=1)
            chosen = np.minimum(chosen, part.shape[1] - 1)
            out[:, oy, ox] = np.take_along_axis(part, chosen[:, None], axis=1)[:, 0]

    def pool_max_input_grad(self, images, out, grad, into, scale_targets=0.0, *, size, start, stride):
        result = np.zeros_like(into)
        for oy, ox, y, x in _grid(images, out, size, start, stride):
            result[:, y, x] += np.where(images[:, y, x] == out[:, None, None, oy, ox], grad[:, None, None, oy, ox], 0)
        store(into, result, scale_targets)

    def pool_avg_input_grad(self, grad, into, undivided, scale_targets=0.0, *, size, start, stride):
        result = np.zeros_like(into)
        for oy, ox, y, x in _grid(into, grad, size, start, stride):
            pixels = max((y.stop - y.start) * (x.stop - x.start), 1)
            result[:, y, x] += grad[:, None, None, oy, ox] / (1 if undivided else pixels)
        store(into, result, scale_targets)

    def cmpool_forward(self, images, out, *, size, start, stride):
        for j, channels in enumerate(windows(len(images), len(out), size, start, stride)):
            out[j] = images[channels].max(axis=0)

    def cmpool_input_grad(self, images, out, grad, into, scale_targets=0.0, *, size, start, stride):
        result = np.zeros_like(into)
        for j, channels in enumerate(windows(len(images), len(out), size, start, stride)):
            result[channels] += np.where(images[channels] == out[j], grad[j], 0)
        store(into, result, scale_targets)
