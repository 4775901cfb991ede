"""Image operations and the packing of minibatches: the host side of ``cuda/image.cu``."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from contextlib import nullcontext
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.launch import THREADS, Launcher, ceil_div
from convnet.backends.cuda.transfers import Staged

_CASES, _SPAN = 32, 96  # CASES and SPAN of the source


class ImageOps(Launcher, Backend):
    """blur, nailbed_*, resize, crop, mirror, rgb2yuv, rgb2lab, pack_images."""

    _held_floats: dict[Hashable, Any]

    def blur(self, images, out, taps, scale_targets=0.0):
        weights = np.asarray(taps, np.float32)
        shapes, held = _shapes(images.shape, images.shape), self._floats(weights)
        halfway, radius = self.device.empty(images.shape), len(weights) // 2
        self._image("blur", halfway, shapes, images, held, halfway, halfway.size, radius, 1, 0.0)
        self._image("blur", out, shapes, halfway, held, out, out.size, radius, 0, scale_targets)

    def nailbed_forward(self, images, out, start, stride):
        self._image("nailbed_forward", out, _shapes(images.shape, out.shape), images, out, out.size, start, stride)

    def nailbed_input_grad(self, grad, into, start, stride, scale_targets=0.0):
        shapes = _shapes(into.shape, grad.shape)
        self._image("nailbed_input_grad", into, shapes, grad, into, into.size, start, stride, scale_targets)

    def resize(self, images, out, scale):
        self._image("resize", out, _shapes(images.shape, out.shape), images, out, out.size, scale)

    def crop(self, images, out, top, left):
        self._image("crop", out, _shapes(images.shape, out.shape), images, out, out.size, top, left)

    def mirror(self, images, out, scale_targets=0.0):
        self._image("mirror", out, _shapes(images.shape, out.shape), images, out, out.size, scale_targets)

    def rgb2yuv(self, images, out):
        count = out.size // 3
        self.each("image", "rgb2yuv", count, images, out, count, shapes=_shapes(images.shape, out.shape))

    def rgb2lab(self, images, out, center):
        count, shift = out.size // 3, 50.0 if center else 0.0
        self.each("image", "rgb2lab", count, images, out, count, shift, shapes=_shapes(images.shape, out.shape))

    def pack_images(self, pixels, crop, out):
        N, H, W, C = pixels.shape
        shapes = _shapes((C, H, W, N), out.shape)
        blocks = ceil_div(N, _CASES) * ceil_div(shapes["OX"] * C, _SPAN) * shapes["OY"]
        places = self.device.upload(np.stack([crop.tops, crop.lefts, crop.flips], axis=1).astype(np.int32))
        shifts = self.device.upload(np.asarray(crop.shifts, np.float32).T)
        with pixels if isinstance(pixels, Staged) else nullcontext(self.device.upload(pixels)) as moved:
            args = (moved, places, self._mean(crop.mean), shifts, out, crop.gain)
            self.run("image", "pack", (blocks,), (THREADS,), *args, shapes=shapes, tiles={"THREADS": THREADS})

    def _image(self, kernel: str, out: DeviceArray, shapes: dict[str, int], *args) -> None:
        self.each("image", kernel, out.size, *args, shapes=shapes)

    def _floats(self, values: np.ndarray) -> DeviceArray:
        """A few numbers that stay the same from step to step, copied once."""
        key = values.tobytes()
        if key not in self._held_floats:
            self._held_floats[key] = self.device.upload(values)
        return self._held_floats[key]

    def _mean(self, mean: np.ndarray) -> DeviceArray:
        """The mean picture, which is the same array from step to step: copied once, and held for as long as it lives."""
        held, key = self._held_floats, id(mean)
        if key not in held:
            alive = weakref.ref(mean, lambda _: held.pop(key))
            held[key] = alive, self.device.upload(np.ascontiguousarray(mean, np.float32))
        return held[key][1]


def _shapes(image: tuple[int, ...], out: tuple[int, ...]) -> dict[str, int]:
    (C, H, W, N), (_, OY, OX, _) = image, out
    return {"C": C, "H": H, "W": W, "N": N, "OY": OY, "OX": OX}
