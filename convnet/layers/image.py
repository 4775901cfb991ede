"""Layers that treat their input as pictures: blur, nailbed, resize, rscale, crop, href, rgb2yuv, rgb2lab.

Formulas: numerics section 11. Letters: C channels, S side of the input, T side of the output, N cases.
"""

import math
from typing import Any

from convnet.backends.arguments import Array
from convnet.generation import G2014, SINCE_2012, Generation
from convnet.language.keys import one
from convnet.language.values import BOOL, Choice, Float, Int
from convnet.layers.base import MapLayer
from convnet.layers.modes import Mode
from convnet.layers.node import LayerNode


class ImageLayer(MapLayer):
    """A picture of ``channels`` maps in, one of side ``target`` out."""

    uses_acts = uses_inputs = False
    stored_flags = ""
    placed = False

    def shape_maps(self, side: int) -> None:
        target = self.target(side)
        if not self.check.failed:
            self.shape_like(self.channels, target)

    def target(self, side: int) -> int:
        """Return T, the side of the output, for an input of ``side``."""
        return side


class Blur(ImageLayer):
    """Blurs with a Gaussian; zeros outside darken the border."""

    type = "blur"
    title = "Gaussian blur"

    filterSize = one(Choice("3", "5", "7", "9"), "side of the filter")
    stdev = one(Float(min=1e-6, max=1e6), "standard deviation of the Gaussian, in pixels")

    def taps(self) -> list[float]:
        """Return the 1-D filter, which adds up to one."""
        heights = self._heights()
        return [height / sum(heights) for height in heights]

    def _heights(self) -> list[float]:
        size = int(self.filterSize)
        return [math.exp(-((size // 2 - i) ** 2) / (2 * self.stdev**2)) for i in range(size)]

    def windows(self) -> list[tuple[int, int] | None]:
        return [(int(self.filterSize), 1)]

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return -(int(self.filterSize) // 2), -(int(self.filterSize) // 2)

    def forward(self, node: LayerNode) -> None:
        node.be.blur(*self.images(node), taps=self.taps())

    def backward(self, node: LayerNode) -> None:
        node.be.blur(*self.gradients(node), taps=self.taps())

    def stored(self, generation: Generation) -> dict[str, Any]:
        """Return ``filter`` before it is divided by its sum, which the originals did in float32."""
        return super().stored(generation) | {"filterSize": int(self.filterSize), "filter": self._heights()}


class NailBed(ImageLayer):
    """Keeps every stride-th pixel."""

    type = "nailbed"
    title = "bed-of-nails"
    placed = True

    stride = one(Int(min=2), "pixels between those kept")

    start: int = 0

    def target(self, side: int) -> int:
        outputs = math.ceil(side / self.stride)
        self.start = (side - self.stride * (outputs - 1)) // 2
        return outputs

    def windows(self) -> list[tuple[int, int] | None]:
        return [(1, self.stride)]

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return self.start, self.start

    def forward(self, node: LayerNode) -> None:
        node.be.nailbed_forward(*self.images(node), start=self.start, stride=self.stride)

    def backward(self, node: LayerNode) -> None:
        node.be.nailbed_input_grad(*self.gradients(node), start=self.start, stride=self.stride)

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"start": self.start, "outputsX": self.maps[1] if self.maps else 0}


class Resize(ImageLayer):
    """Shrinks (scale above 1) or enlarges by bilinear interpolation; not over layers that learn."""

    type = "resize"
    title = "resize"
    gradient = False

    scale = one(Float(min=0.5, max=2), "side of the input over side of the output")

    def target(self, side: int) -> int:
        return math.floor(side / self.scale)

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return None

    def forward(self, node: LayerNode) -> None:
        node.be.resize(*self.images(node), self.scale)

    def stored(self, generation: Generation) -> dict[str, Any]:
        target = self.maps[1] if self.maps else 0
        return super().stored(generation) | {"tgtSize": target, "tgtPixels": target**2}


class RandomScale(ImageLayer):
    """Shrinks each minibatch by a random factor and crops it; when testing, a centre crop (2014: shrinks by maxScale)."""

    type = "rscale"
    title = "random scale"
    gradient = False
    varies = True  # by sizes that the host draws

    maxScale = one(Float(min=1, max=2), "largest factor")
    tgtSize = one(Int(min=0), "side of the output; 0: side of the input over maxScale", 0, demanded_by=SINCE_2012)

    def target(self, side: int) -> int:
        self.tgtSize = self.tgtSize or math.floor(side / self.maxScale)
        if self.tgtSize > side:
            self.check.error("tgtSize", f"an output of side {self.tgtSize} is larger than the image, {side}")
        return self.tgtSize

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return (0, 0) if self.tgtSize == self.imgSize else None

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

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"tgtPixels": self.tgtSize**2}

    def _draw_excess(self, uniform: float) -> int:
        """Return r in 0..numScales-1 with probability proportional to (r+1)^2, bounded so that the crop fits the image."""
        scales = self.imgSize - int(self.imgSize / self.maxScale) + 1
        target = uniform * scales * (scales + 1) * (2 * scales + 1) / 6
        excess = sum(target >= r * (r + 1) * (2 * r + 1) / 6 for r in range(1, scales))
        return min(excess, self.imgSize - self.tgtSize)


class Crop(ImageLayer):
    """Cuts a square out of the picture; not over layers that learn."""

    type = "crop"
    title = "cropping"
    read_by = (G2014,)
    gradient = False

    startX = one(Int(min=0), "left edge")
    startY = one(Int(min=0), "top edge; default: startX", lambda values: values["startX"])
    sizeX = one(Int(min=1), "side of the square")

    def target(self, side: int) -> int:
        for key, start in (("startX", self.startX), ("startY", self.startY)):
            if start + self.sizeX > side:
                text = f"a square from {start} to {start + self.sizeX} leaves the image, whose side is {side}"
                self.check.error(key, text)
        return self.sizeX

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return self.startY, self.startX

    def forward(self, node: LayerNode) -> None:
        node.be.crop(*self.images(node), self.startY, self.startX)


class Reflect(ImageLayer):
    """Mirrors the picture left to right."""

    type = "href"
    title = "horizontal reflection"
    read_by = SINCE_2012
    stored_flags = "acts inputs own"

    def target(self, side: int) -> int:
        if self.channels > 3:
            self.check.limit("channels", f"the originals' kernel wants at most 3 channels, not {self.channels}")
        return side

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return None

    def forward(self, node: LayerNode) -> None:
        node.be.mirror(*self.images(node))

    def backward(self, node: LayerNode) -> None:
        node.be.mirror(*self.gradients(node))


class RgbToYuv(ImageLayer):
    """Converts red, green, blue to luminance and colour differences; not over layers that learn."""

    type = "rgb2yuv"
    title = "RGB --> YUV"
    gradient = False
    channels = 3  # not a key

    def forward(self, node: LayerNode) -> None:
        node.be.rgb2yuv(*self.images(node))

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"channels": self.channels}


class RgbToLab(RgbToYuv):
    """Converts red, green, blue in 0 to 1 to CIE lightness and opponents; not over layers that learn."""

    type = "rgb2lab"
    title = "RGB --> LAB"

    center = one(BOOL, "subtract 50 from the lightness", False)

    def forward(self, node: LayerNode) -> None:
        node.be.rgb2lab(*self.images(node), self.center)
