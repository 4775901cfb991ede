"""pool: the largest, the mean or a random value of each window of a map; cmpool: the largest across maps.

Windows are clipped to the image; tied maxima all get the gradient (numerics section 8).
"""

import math
from collections.abc import Mapping
from typing import Any

from convnet.backends.arguments import Activation, Window
from convnet.generation import G2012, G2014, GENERATIONS, SINCE_2012, Generation
from convnet.language.keys import one
from convnet.language.values import BOOL, INT, Choice, Int, Size
from convnet.layers.base import Check, MapLayer
from convnet.layers.node import LayerNode

POOLS = {"max": GENERATIONS, "maxabs": SINCE_2012, "avg": GENERATIONS, "rand": (G2012,)}  # which generations know them


class WindowLayer(MapLayer):
    """A layer that takes one value of each window; of an empty window there is none."""

    stride: int
    start: int

    def check_ends(self, key: str, count: int, size: int, length: int, what: str) -> bool:
        """Report windows that lie outside: before the first of ``length`` places, or behind the last."""
        if self.start + size <= 0:
            self.check.error(
                "start", f"the first window, of {size} from {self.start} on, lies before {what}", f"above {-size}"
            )
        fitting = math.ceil((length - self.start) / self.stride)
        if count > fitting:
            last = self.start + (count - 1) * self.stride
            text = f"the last of {count} windows begins at {last}, behind {what}"
            self.check.error(key, text, expected=f"at most {fitting} windows")
        return not self.check.failed


class Pool(WindowLayer):
    """Reduces each window of each map to its maximum, largest magnitude, mean, sum or a random member."""

    type = "pool"
    multiplies_slope = True

    pool = one(Choice(*POOLS), "what to take from each window")
    channels = one(Int(min=1), "maps of the input image")
    sizeX = one(Int(min=1), "side of the window")
    stride = one(Int(min=1), "pixels between neighbouring windows")
    start = one(INT, "where the first window begins, in both directions; may be negative", 0)
    outputsX = one(Int(min=0), "side of the output; 0: as many windows as it takes to cover the image", 0)
    sum = one(BOOL, "with pool=avg: add up without dividing", False, read_by=(G2014,))
    doMax = one(BOOL, "with pool=rand: take the maximum instead", False, "params", (G2012,))

    def __init__(self, name: str, values: Mapping[str, Any], check: Check) -> None:
        super().__init__(name, values, check)
        self.title = f"{self.pool}-pooling"
        self.uses_acts = self.uses_inputs = self.pool != "avg"
        self.wants_params = GENERATIONS if self.pool == "rand" else ()

    def shape_maps(self, side: int) -> None:
        check = self.check
        if self.sizeX > side:
            check.error("sizeX", f"a window of side {self.sizeX} is larger than the image, {side}")
            return
        if self.sum and self.pool != "avg":
            check.warn("sum", f"sum has no meaning with pool={self.pool}")
        if self.channels % 16:
            check.limit("channels", f"the originals' kernels want a multiple of 16 channels, not {self.channels}")
        key = "outputsX" if self.outputsX else "stride"  # which says how many windows there are
        self.outputsX = self.outputsX or 1 + math.ceil((side - self.start - self.sizeX) / self.stride)
        if self.outputsX < 1:
            check.error("start", f"windows that start at {self.start} miss the image, whose side is {side}")
            return
        what = f"the image's side of {side}"
        if self.pool != "avg" and not self.check_ends(key, self.outputsX, self.sizeX, side, what):
            return
        if self.stride > self.sizeX:
            check.warn("stride", f"windows of side {self.sizeX} every {self.stride} pixels skip pixels")
        self.shape_like(self.channels, self.outputsX)

    def windows(self) -> list[tuple[int, int] | None]:
        return [(self.sizeX, self.stride)]

    def window_start(self, i: int) -> tuple[int, int] | None:  # noqa: ARG002
        return self.start, self.start

    @property
    def op_kind(self) -> str:
        """The kind of the op: one of ``pool``, or ``sum``, or ``max`` instead of ``rand``."""
        if self.pool == "avg":
            return "sum" if self.sum else "avg"
        return "max" if self.pool == "rand" and self.doMax else self.pool

    def can_include(self, activation: Activation, training: bool) -> bool:
        """Backward looks for its outputs among its inputs; where relu made a 0, relu's derivative stops the gradient."""
        return self.op_kind != "rand" and not (training and self.uses_acts and activation.kind != "relu")

    def forward(self, node: LayerNode) -> None:
        window = Window(self.sizeX, self.start, self.stride)
        if self.op_kind == "rand":
            node.be.pool_rand_forward(*self.images(node), window=window, key=node.key())
        else:
            node.be.pool_forward(self.op_kind, *self.images(node), window=window, activation=node.activation)

    def backward(self, node: LayerNode) -> None:
        window, slope = Window(self.sizeX, self.start, self.stride), node.slope(0, self.channels)
        if self.pool == "avg":
            node.be.pool_avg_input_grad(self.op_kind, *self.gradients(node), window=window, slope=slope)
        else:
            node.be.pool_max_input_grad(*self.images(node), *self.gradients(node), window=window, slope=slope)

    def stored_uses(self, generation: Generation) -> list[str]:
        """Until 2012 the parser compared a word with ``avg`` that is never the same."""
        return ["own"] if self.pool == "avg" and generation == G2014 else super().stored_uses(generation)

    def stored(self, generation: Generation) -> dict[str, Any]:
        foreign = [key for key, kind in (("sum", "avg"), ("doMax", "rand")) if self.pool != kind]
        return {key: value for key, value in super().stored(generation).items() if key not in foreign}


class CrossMapPool(WindowLayer):
    """The maximum over neighbouring maps, pixel by pixel."""

    type = "cmpool"
    title = "cross-map max-pooling"
    sized_by = "outputs"
    read_by = (G2014,)

    pool = one(Choice("max"), "what to take")
    channels = one(Int(min=1), "maps of the input image")
    size = one(Int(min=1), "maps in each window")
    stride = one(Int(min=1), "maps between neighbouring windows")
    start = one(Int(max=0), "where the first window begins; at most 0", 0)
    outputs = (
        one(  # in the file the number of maps; ``shape`` puts that of features in its place, ``outputChannels`` has the maps
            Size(min=0), "maps of the output; 0: as many as it takes to cover the input", 0, aliases=("outputChannels",)
        )
    )

    outputChannels: int = 0

    def shape_maps(self, side: int) -> None:
        check = self.check
        if self.size > self.channels:
            check.error("size", f"a window of {self.size} maps is larger than the image's {self.channels} maps")
            return
        key = "outputs" if self.outputs else "stride"
        self.outputChannels = self.outputs or 1 + math.ceil((self.channels - self.start - self.size) / self.stride)
        covered = self.start + (self.outputChannels - 1) * self.stride + self.size
        if covered < self.channels:
            check.error("outputs", f"the windows cover only {covered} of {self.channels} maps")
            return
        if not self.check_ends(key, self.outputChannels, self.size, self.channels, f"the {self.channels} maps"):
            return
        if self.stride > self.size:
            check.warn("stride", f"windows of {self.size} maps every {self.stride} maps skip maps")
        self.shape_like(self.outputChannels, side)

    def sizes_in_file(self) -> list[int]:
        return [self.outputChannels]

    def forward(self, node: LayerNode) -> None:
        images, out = node.image(0, self.channels), node.out_image(self.outputChannels)
        node.be.cmpool_forward(images, out, window=Window(self.size, self.start, self.stride))

    def backward(self, node: LayerNode) -> None:
        images, out = node.image(0, self.channels), node.out_image(self.outputChannels)
        grad, window = node.grad_image(self.outputChannels), Window(self.size, self.start, self.stride)
        node.be.cmpool_input_grad(images, out, grad, *node.image_input_grad(0, self.channels), window=window)

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"outputChannels": self.outputChannels}
