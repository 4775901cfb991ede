"""pool: the largest, the mean or a random value of each window of a map; cmpool: the largest across maps.

Formulas, clipping and ties: numerics section 8. Letters: C channels, S side of the image, O outputsX, N cases.
"""

from __future__ import annotations

import math
from typing import Any

from convnet.backends.arguments import Window
from convnet.generation import G2012, G2014, GENERATIONS, Generation
from convnet.language.keys import Key
from convnet.language.values import BOOL, INT, Choice
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class Pool(Layer):
    """Reduces windows of each map. Windows are clipped to the image; tied maxima all get the gradient."""

    type = "pool"
    summary = "Reduces each window of each map to its maximum, largest magnitude, mean, sum or a random member."
    keys = (
        Key("pool", Choice("max", "maxabs", "avg", "rand"), "what to take from each window"),
        Key("channels", INT, "maps of the input image", least=1),
        Key("sizeX", INT, "side of the window", least=1),
        Key("stride", INT, "pixels between neighbouring windows", least=1),
        Key("start", INT, "where the first window begins, in both directions; may be negative", 0),
        Key("outputsX", INT, "side of the output; 0: as many windows as it takes to cover the image", 0, least=0),
        Key("sum", BOOL, "with pool=avg: add up without dividing", False, read_by=(G2014,)),
        Key("doMax", BOOL, "with pool=rand: take the maximum instead", False, "params", read_by=(G2012,)),
    )

    pool: str
    channels: int
    sizeX: int
    stride: int
    start: int
    outputsX: int
    sum: bool
    doMax: bool
    imgSize: int = 0

    @property
    def uses_acts(self) -> bool:  # type: ignore[override]
        return self.pool != "avg"

    uses_inputs = uses_acts  # type: ignore[assignment]

    @property
    def wants_params(self) -> tuple[Generation, ...]:  # type: ignore[override]
        return GENERATIONS if self.pool == "rand" else ()

    def shape(self, check: Check) -> None:
        side = self.image_side(check, self.channels)
        if side is None:
            return
        self.imgSize = side
        if self.sizeX > side:
            check.error("sizeX", f"a window of side {self.sizeX} is larger than the image, {side}")
            return
        if self.sum and self.pool != "avg":
            check.warn("sum", f"sum has no meaning with pool={self.pool}")
        if self.stride > self.sizeX:
            check.warn("stride", f"windows of side {self.sizeX} every {self.stride} pixels skip pixels")
        if self.channels % 16:
            check.limit("channels", f"the originals' kernels want a multiple of 16 channels, not {self.channels}")
        automatic = 1 + math.ceil((side - self.start - self.sizeX) / self.stride)
        self.outputsX = self.outputsX or automatic
        if self.outputsX < 1:
            check.error("start", f"windows that start at {self.start} miss the image, whose side is {side}")
            return
        self.shape_like(self.channels, self.outputsX)

    def describe(self) -> str:
        return f"{self.pool}-pooling"

    def window(self) -> tuple[int, int] | None:
        return self.sizeX, self.stride

    @property
    def op_kind(self) -> str:
        """The kind of the op: one of ``pool``, or ``sum``, or ``max`` instead of ``rand``."""
        if self.pool == "avg":
            return "sum" if self.sum else "avg"
        return "max" if self.pool == "rand" and self.doMax else self.pool

    def forward(self, node: LayerNode) -> None:
        images, out = node.image(0, self.channels), node.out_image(self.channels)
        window = Window(self.sizeX, self.start, self.stride)
        if self.op_kind == "rand":
            node.be.pool_rand_forward(images, out, window=window, key=node.key())
        else:
            node.be.pool_forward(self.op_kind, images, out, window=window)

    def backward(self, node: LayerNode) -> None:
        grad, window = node.grad_image(self.channels), Window(self.sizeX, self.start, self.stride)
        input_grad = node.image_input_grad(0, self.channels)
        if self.pool == "avg":
            node.be.pool_avg_input_grad(self.op_kind, grad, *input_grad, window=window)
        else:
            images, out = node.image(0, self.channels), node.out_image(self.channels)
            node.be.pool_max_input_grad(images, out, grad, *input_grad, window=window)

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation)
        stored |= {"outputsX": self.outputsX, "imgSize": self.imgSize, "imgPixels": self.imgSize**2}
        for key, kind in (("sum", "avg"), ("doMax", "rand")):
            if self.pool != kind:
                stored.pop(key, None)
        return stored


class CrossMapPool(Layer):
    """Maximum over neighbouring maps at the same pixel (2014)."""

    type = "cmpool"
    title = "cross-map max-pooling"
    summary = "The maximum over neighbouring maps, pixel by pixel."
    read_by = (G2014,)
    keys = (
        Key("pool", Choice("max"), "what to take"),
        Key("channels", INT, "maps of the input image", least=1),
        Key("size", INT, "maps in each window", least=1),
        Key("stride", INT, "maps between neighbouring windows", least=1),
        Key("start", INT, "where the first window begins; at most 0", 0, most=0),
        Key(
            "outputs",
            INT,
            "maps of the output; 0: as many as it takes to cover the input",
            0,
            least=0,
            aliases=("outputChannels",),
        ),
    )

    channels: int
    size: int
    stride: int
    start: int
    imgSize: int = 0
    outputChannels: int = 0

    def shape(self, check: Check) -> None:
        side = self.image_side(check, self.channels)
        if side is None:
            return
        self.imgSize = side
        if self.size > self.channels:
            check.error("size", f"a window of {self.size} maps is larger than the image's {self.channels} maps")
            return
        if self.stride > self.size:
            check.warn("stride", f"windows of {self.size} maps every {self.stride} maps skip maps")
        automatic = 1 + math.ceil((self.channels - self.start - self.size) / self.stride)
        self.outputChannels = self.values["outputs"] or automatic
        covered = self.start + (self.outputChannels - 1) * self.stride + self.size
        if covered < self.channels:
            check.error("outputs", f"the windows cover only {covered} of {self.channels} maps")
            return
        self.shape_like(self.outputChannels, side)

    def forward(self, node: LayerNode) -> None:
        images, out = node.image(0, self.channels), node.out_image(self.outputChannels)
        node.be.cmpool_forward(images, out, window=Window(self.size, self.start, self.stride))

    def backward(self, node: LayerNode) -> None:
        images, out = node.image(0, self.channels), node.out_image(self.outputChannels)
        grad, window = node.grad_image(self.outputChannels), Window(self.size, self.start, self.stride)
        node.be.cmpool_input_grad(images, out, grad, *node.image_input_grad(0, self.channels), window=window)

    def stored(self, generation: Generation) -> dict[str, Any]:
        derived = {"outputChannels": self.outputChannels, "imgSize": self.imgSize, "imgPixels": self.imgSize**2}
        return super().stored(generation) | derived
