"""Image operations and the packing of batches (numerics section 11).

Letters: C channels, H, W height and width of the source, S side of the crop, N cases.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.reference.common import Array, store


class ImageOps(Backend):
    """blur, nailbed_*, resize, crop, mirror, rgb2yuv, rgb2lab, pack_images."""

    def blur(self, images: Array, out: Array, scale_targets: float = 0, *, taps: Sequence[float]) -> None:
        store(out, _filter(_filter(images, taps, 2), taps, 1), scale_targets)

    def nailbed_forward(self, images: Array, out: Array, *, start: int, stride: int) -> None:
        out[...] = images[:, start::stride, start::stride][:, : out.shape[1], : out.shape[2]]

    def nailbed_input_grad(
        self, grad: Array, input_grad: Array, scale_targets: float = 0, *, start: int, stride: int
    ) -> None:
        result = np.zeros_like(input_grad)
        result[:, start::stride, start::stride][:, : grad.shape[1], : grad.shape[2]] = grad
        store(input_grad, result, scale_targets)

    def resize(self, images: Array, out: Array, scale: float) -> None:
        (y0, y1, fy), (x0, x1, fx) = (_sources(images.shape[a], out.shape[a], scale) for a in (1, 2))
        fy, fx = fy[:, None, None], fx[:, None]
        top = images[:, y0][:, :, x0] * (1 - fx) + images[:, y0][:, :, x1] * fx
        bottom = images[:, y1][:, :, x0] * (1 - fx) + images[:, y1][:, :, x1] * fx
        out[...] = top * (1 - fy) + bottom * fy

    def crop(self, images: Array, out: Array, top: int, left: int) -> None:
        out[...] = images[:, top : top + out.shape[1], left : left + out.shape[2]]

    def mirror(self, images: Array, out: Array, scale_targets: float = 0) -> None:
        store(out, images[:, :, ::-1], scale_targets)

    def rgb2yuv(self, images: Array, out: Array) -> None:
        r, g, b = images
        out[0] = 0.2126 * r + 0.7152 * g + 0.0722 * b
        out[1] = -0.09991 * r - 0.33609 * g + 0.436 * b
        out[2] = 0.615 * r - 0.55861 * g - 0.05639 * b

    def rgb2lab(self, images: Array, out: Array, center: bool) -> None:
        r, g, b = images
        x = _lab_curve(0.49 * r + 0.31 * g + 0.2 * b)
        y = _lab_curve(0.17697 * r + 0.8124 * g + 0.01063 * b)
        z = _lab_curve(0.01 * g + 0.99 * b)
        out[0] = 116 * y - 16 - (50 if center else 0)
        out[1] = 500 * (x - y)
        out[2] = 200 * (y - z)

    def pack_images(self, pixels: Any, crops: Any, out: Array) -> None:
        S = out.shape[1]
        for n, image in enumerate(pixels):
            top, left = crops.tops[n], crops.lefts[n]
            part = image[top : top + S, left : left + S].astype(out.dtype)
            part = part[:, ::-1] if crops.flips[n] else part
            out[..., n] = (part.transpose(2, 0, 1) - crops.mean + crops.shifts[n][:, None, None]) * crops.gain


def _filter(x: Array, taps: Sequence[float], axis: int) -> Array:
    """Correlate along one axis, zeros outside."""
    radius, side = len(taps) // 2, x.shape[axis]
    padded = np.pad(x, [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)])
    terms = [tap * np.take(padded, np.arange(i, i + side), axis) for i, tap in enumerate(taps)]
    return np.asarray(sum(terms), x.dtype)


def _sources(side: int, target: int, scale: float) -> tuple[Array, Array, Array]:
    """Return, for each output position, the two source pixels and the weight of the second."""
    position = np.arange(target) * scale + (0.5 * side - 0.5 * target * scale)
    position = np.clip(position, 0, max(side - 1.01, 0))
    low = np.floor(position).astype(int)
    return low, np.minimum(low + 1, side - 1), position - low


def _lab_curve(t: Array) -> Array:
    return np.where(t > 0.0088564517, np.maximum(t, 1e-9) ** 0.3333, 7.787037 * t + 0.13793103)
