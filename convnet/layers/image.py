"""Layers that treat their input as pictures: blur, nailbed, resize, rscale, crop, href, rgb2yuv, rgb2lab.

Formulas: numerics section 11. Letters: C channels, S side of the input, T side of the output, N cases.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from convnet.backends.arguments import Array
from convnet.generation import G2012, G2014, Generation
from convnet.language.keys import Key
from convnet.language.values import BOOL, FLOAT, INT, Choice
from convnet.layers.base import Check, Layer
from convnet.layers.modes import Mode
from convnet.layers.node import LayerNode

_CHANNELS = Key("channels", INT, "maps of the input image", least=1)


class ImageLayer(Layer):
    """A picture of ``channels`` maps in, one of side ``target`` out."""

    uses_acts = uses_inputs = False
    stored_flags = ""
    placed = False
    channels: int
    imgSize: int = 0

    def shape(self, check: Check) -> None:
        side = self.image_side(check, self.channels)
        if side is None:
            return
        self.imgSize = side
        target = self.target(check, side)
        if not check.failed:
            self.shape_like(self.channels, target)

    def target(self, check: Check, side: int) -> int:
        """Side of the output picture."""
        return side

    def images(self, node: LayerNode) -> tuple[Array, Array]:
        """Return input and output as (C, S, S, N) and (C, T, T, N)."""
        return node.image(0, self.channels), node.out_image(self.channels)

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"imgSize": self.imgSize, "imgPixels": self.imgSize**2}


class Blur(ImageLayer):
    """Gaussian blur, zeros outside the picture."""

    type = "blur"
    title = "Gaussian blur"
    summary = "Blurs with a Gaussian; zeros outside darken the border."
    keys = (
        _CHANNELS,
        Key("filterSize", Choice("3", "5", "7", "9"), "side of the filter"),
        Key("stdev", FLOAT, "standard deviation of the Gaussian, in pixels", least=1e-6, most=1e6),
    )

    filterSize: str
    stdev: float

    def taps(self) -> list[float]:
        """The 1-D filter, which adds up to one."""
        size = int(self.filterSize)
        raw = [math.exp(-((size // 2 - i) ** 2) / (2 * self.stdev**2)) for i in range(size)]
        return [tap / sum(raw) for tap in raw]

    def window(self) -> tuple[int, int] | None:
        return int(self.filterSize), 1

    def forward(self, node: LayerNode) -> None:
        node.be.blur(*self.images(node), taps=self.taps())

    def backward(self, node: LayerNode) -> None:
        node.be.blur(node.grad_image(self.channels), *node.image_input_grad(0, self.channels), taps=self.taps())

    def stored(self, generation: Generation) -> dict[str, Any]:
        taps = [struct.unpack("f", struct.pack("f", tap))[0] for tap in self.taps()]  # as float32, like the originals
        return super().stored(generation) | {"filterSize": int(self.filterSize), "filter": taps}


class NailBed(ImageLayer):
    """Every ``stride``-th pixel, in both directions, centred."""

    type = "nailbed"
    title = "bed-of-nails"
    summary = "Keeps every stride-th pixel."
    keys = (_CHANNELS, Key("stride", INT, "pixels between those kept", least=2))
    placed = True

    stride: int
    start: int = 0

    def target(self, check: Check, side: int) -> int:
        outputs = math.ceil(side / self.stride)
        self.start = (side - self.stride * (outputs - 1)) // 2
        return outputs

    def window(self) -> tuple[int, int] | None:
        return 1, self.stride

    def forward(self, node: LayerNode) -> None:
        node.be.nailbed_forward(*self.images(node), start=self.start, stride=self.stride)

    def backward(self, node: LayerNode) -> None:
        grad, input_grad = node.grad_image(self.channels), node.image_input_grad(0, self.channels)
        node.be.nailbed_input_grad(grad, *input_grad, start=self.start, stride=self.stride)

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"start": self.start, "outputsX": self.maps[1] if self.maps else 0}


class Resize(ImageLayer):
    """Bilinear resampling to floor(S / scale). Forward only."""

    type = "resize"
    title = "resize"
    summary = "Shrinks (scale above 1) or enlarges by bilinear interpolation; not over layers that learn."
    keys = (_CHANNELS, Key("scale", FLOAT, "side of the input over side of the output", least=0.5, most=2))
    gradient = False

    scale: float

    def target(self, check: Check, side: int) -> int:
        return math.floor(side / self.scale)

    def forward(self, node: LayerNode) -> None:
        node.be.resize(*self.images(node), self.scale)

    def stored(self, generation: Generation) -> dict[str, Any]:
        target = self.maps[1] if self.maps else 0
        return super().stored(generation) | {"tgtSize": target, "tgtPixels": target**2}


class RandomScale(ImageLayer):
    """Training: the batch shrunk by a random factor and cropped at a random place.

    In every other pass: the centre of the picture (2012), or all of it shrunk by ``maxScale`` (2014).
    """

    type = "rscale"
    title = "random scale"
    summary = (
        "Shrinks each minibatch by a random factor and crops it; when testing, a centre crop (2014: shrinks by maxScale)."
    )
    keys = (
        _CHANNELS,
        Key("maxScale", FLOAT, "largest factor", least=1, most=2),
        Key(
            "tgtSize", INT, "side of the output; 0: side of the input over maxScale", 0, least=0, demanded_by=(G2012, G2014)
        ),
    )
    gradient = False
    varies = True  # by sizes that the host draws

    maxScale: float
    tgtSize: int

    def target(self, check: Check, side: int) -> int:
        self.tgtSize = self.tgtSize or math.floor(side / self.maxScale)
        if self.tgtSize > side:
            check.error("tgtSize", f"an output of side {self.tgtSize} is larger than the image, {side}")
        return self.tgtSize

    def forward(self, node: LayerNode) -> None:
        images, out = self.images(node)
        if self.tgtSize == self.imgSize:
            node.be.crop(images, out, 0, 0)
        elif node.mode is Mode.TRAIN:
            self._forward_train(node, images, out)
        elif node.generation == G2014:
            node.be.resize(images, out, self.maxScale)
        else:
            centre = (self.imgSize - self.tgtSize) // 2
            node.be.crop(images, out, centre, centre)

    def _forward_train(self, node: LayerNode, images: Array, out: Array) -> None:
        pick, spread, down, right = node.uniforms(4)
        excess = self._draw_excess(pick)
        rescaled = self.tgtSize + excess
        if rescaled != self.imgSize:
            low, high = max(1.0, self.imgSize / (rescaled + 1)), self.imgSize / rescaled
            scaled = node.scratch("scaled", (self.channels, rescaled, rescaled, node.cases))
            node.be.resize(images, scaled, low + spread * (high - low))
            images = scaled
        node.be.crop(images, out, int(down * (excess + 1)), int(right * (excess + 1)))

    def _draw_excess(self, uniform: float) -> int:
        """r in 0..numScales-1 with probability proportional to (r+1)^2, bounded so that the crop fits the image."""
        scales = self.imgSize - int(self.imgSize / self.maxScale) + 1
        target = uniform * scales * (scales + 1) * (2 * scales + 1) / 6
        excess = 0
        while excess + 1 < scales and target >= (excess + 1) * (excess + 2) * (2 * excess + 3) / 6:
            excess += 1
        return min(excess, self.imgSize - self.tgtSize)


class Crop(ImageLayer):
    """A square cut out of the picture. Forward only (2014)."""

    type = "crop"
    title = "cropping"
    summary = "Cuts a square out of the picture; not over layers that learn."
    read_by = (G2014,)
    keys = (
        _CHANNELS,
        Key("startX", INT, "left edge", least=0),
        Key("startY", INT, "top edge; default: startX", lambda values: values["startX"], least=0),
        Key("sizeX", INT, "side of the square", least=1),
    )
    gradient = False

    startX: int
    startY: int
    sizeX: int

    def target(self, check: Check, side: int) -> int:
        for key, start in (("startX", self.startX), ("startY", self.startY)):
            if start + self.sizeX > side:
                check.error(key, f"a square from {start} to {start + self.sizeX} leaves the image, whose side is {side}")
        return self.sizeX

    def forward(self, node: LayerNode) -> None:
        node.be.crop(*self.images(node), self.startY, self.startX)


class Reflect(ImageLayer):
    """The picture mirrored left to right."""

    type = "href"
    title = "horizontal reflection"
    summary = "Mirrors the picture left to right."
    read_by = (G2012, G2014)
    keys = (_CHANNELS,)

    def target(self, check: Check, side: int) -> int:
        if self.channels > 3:
            check.limit("channels", f"the originals' kernel wants at most 3 channels, not {self.channels}")
        return side

    def forward(self, node: LayerNode) -> None:
        node.be.mirror(*self.images(node))

    def backward(self, node: LayerNode) -> None:
        node.be.mirror(node.grad_image(self.channels), *node.image_input_grad(0, self.channels))


class ColorTransform(ImageLayer):
    """Three channels in, three out. Forward only."""

    gradient = False
    channels = 3

    def forward(self, node: LayerNode) -> None:
        node.be.rgb2yuv(*self.images(node))


class RgbToYuv(ColorTransform):
    """R, G, B to luminance and two colour differences."""

    type = "rgb2yuv"
    title = "RGB --> YUV"
    summary = "Converts red, green, blue to luminance and colour differences; not over layers that learn."


class RgbToLab(ColorTransform):
    """R, G, B in [0, 1] to CIE L, a, b."""

    type = "rgb2lab"
    title = "RGB --> LAB"
    summary = "Converts red, green, blue in 0 to 1 to CIE lightness and opponents; not over layers that learn."
    keys = (Key("center", BOOL, "subtract 50 from the lightness", False),)

    center: bool

    def forward(self, node: LayerNode) -> None:
        node.be.rgb2lab(*self.images(node), self.center)


class Sum(Layer):
    """2014's ``sum``: its parser knows it, no published engine computes it."""

    type = "sum"
    title = "sum"
    summary = "Read by 2014's parser; no published program computes it, and neither does this one."
    read_by = (G2014,)
    keys = (Key("stride", INT, "inputs per output", 1, least=1),)
    computes = False

    stride: int

    def shape(self, check: Check) -> None:
        features = self.num_inputs[0]
        if features % self.stride:
            check.error("stride", f"{features} inputs are not a multiple of stride={self.stride}")
            return
        self.outputs = features // self.stride
