"""Image operations and the packing of minibatches: the host side of ``cuda/image.cu``."""

import weakref
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.launch import THREADS, Launcher, ceil_div
from convnet.backends.cuda.transfers import Staged

_CASES, _SPAN = 32, 96  # CASES and SPAN of the source


class ImageOps(Launcher, Backend):
    """blur, nailbed_*, resize, crop, mirror, rgb2yuv, rgb2lab, pack_images."""

    _cached_floats: dict[Hashable, Any]

    def blur(self, images: Array, out: Array, scale_targets: float = 0, *, taps: Sequence[float]) -> None:
        shapes, line = _shapes(images.shape, images.shape), self._floats(np.asarray(taps, np.float32))
        halfway, radius = self.device.empty(images.shape), len(taps) // 2
        self._image("blur", halfway, shapes, images, line, halfway, halfway.size, radius, 1, 0.0)
        self._image("blur", out, shapes, halfway, line, out, out.size, radius, 0, scale_targets)

    def nailbed_forward(self, images: Array, out: Array, *, start: int, stride: int) -> None:
        self._image("nailbed_forward", out, _shapes(images.shape, out.shape), images, out, out.size, start, stride)

    def nailbed_input_grad(
        self, grad: Array, input_grad: Array, scale_targets: float = 0, *, start: int, stride: int
    ) -> None:
        shapes, args = _shapes(input_grad.shape, grad.shape), (grad, input_grad, input_grad.size, start, stride)
        self._image("nailbed_input_grad", input_grad, shapes, *args, scale_targets)

    def resize(self, images: Array, out: Array, scale: float) -> None:
        self._image("resize", out, _shapes(images.shape, out.shape), images, out, out.size, scale)

    def crop(self, images: Array, out: Array, top: int, left: int) -> None:
        self._image("crop", out, _shapes(images.shape, out.shape), images, out, out.size, top, left)

    def mirror(self, images: Array, out: Array, scale_targets: float = 0) -> None:
        self._image("mirror", out, _shapes(images.shape, out.shape), images, out, out.size, scale_targets)

    def rgb2yuv(self, images: Array, out: Array) -> None:
        count = out.size // 3
        self.each("image", "rgb2yuv", count, images, out, count, shapes=_shapes(images.shape, out.shape))

    def rgb2lab(self, images: Array, out: Array, center: bool) -> None:
        count, shift = out.size // 3, 50.0 if center else 0.0
        self.each("image", "rgb2lab", count, images, out, count, shift, shapes=_shapes(images.shape, out.shape))

    def pack_images(self, pixels: Any, crops: Any, out: Array) -> None:
        N, H, W, C = pixels.shape
        shapes = _shapes((C, H, W, N), out.shape)
        blocks = ceil_div(N, _CASES) * ceil_div(shapes["OX"] * C, _SPAN) * shapes["OY"]
        places = self.device.upload(np.stack([crops.tops, crops.lefts, crops.flips], axis=1).astype(np.int32))
        shifts = self.device.upload(np.asarray(crops.shifts, np.float32).T)
        with pixels if isinstance(pixels, Staged) else nullcontext(self.device.upload(pixels)) as source:
            args = (source, places, self._mean(crops.mean), shifts, out, crops.gain)
            self.run("image", "pack", (blocks,), (THREADS,), *args, shapes=shapes, tiles={"THREADS": THREADS})

    def _image(self, kernel: str, out: Array, shapes: dict[str, int], *args: Any) -> None:
        self.each("image", kernel, out.size, *args, shapes=shapes)

    def _floats(self, values: np.ndarray) -> Array:
        """Return a few numbers on the device, which are the same from step to step: copied once."""
        key = values.tobytes()
        if key not in self._cached_floats:
            self._cached_floats[key] = self.device.upload(values)
        return self._cached_floats[key]

    def _mean(self, mean: np.ndarray) -> Array:
        """Return the mean picture on the device: copied once, and kept for as long as the host's array lives."""
        cached, key = self._cached_floats, id(mean)
        if key not in cached:
            reference = weakref.ref(mean, lambda _: cached.pop(key))
            cached[key] = reference, self.device.upload(np.ascontiguousarray(mean, np.float32))
        return cached[key][1]


def _shapes(image: tuple[int, ...], out: tuple[int, ...]) -> dict[str, int]:
    (C, H, W, N), (_, OY, OX, _) = image, out
    return {"C": C, "H": H, "W": W, "N": N, "OY": OY, "OX": OX}
