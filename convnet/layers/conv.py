"""conv: filters slid over square maps; local: the same with weights of its own at every position.

Formulas, borders and shapes: numerics section 2. ``Windowed`` is all that conv and local share.

Letters: C channels, S side of the image, k filterSize, F all filters, M modulesX (side of the output), N cases.
"""

import math
from typing import Any

from convnet.backends.arguments import Activation, Geometry
from convnet.generation import G2014, SINCE_2012, UNTIL_2012, Generation
from convnet.language.keys import one, per_input
from convnet.language.values import BOOL, INIT_FUNC, INITIAL, INT, Float, Int, Size
from convnet.layers.node import LayerNode
from convnet.layers.weighted import WeightLayer
from convnet.texts import counted

USUAL_SUM_WIDTH = 4  # 2014 demands sumWidth, and divides by it; this is what its own files say


def _share(values: dict[str, Any], i: int) -> int:
    channels, groups = values["channels"], values["groups"]
    return max(1, channels[i] // groups[i]) if channels and groups else 1


class Windowed(WeightLayer):
    """Filters over square windows: geometry, checks and stored keys of conv and local."""

    max_inputs = None
    multiplies_slope = True
    sized_by, also_sized_by = "filters", "groups"

    channels = per_input(Int(min=1), "maps of the input image")
    filters = per_input(Size(min=1), "filters per group")
    filterSize = per_input(Int(min=1), "side of each filter")
    padding = per_input(Int(min=0), "pixels of zeros around the image", 0)
    stride = per_input(Int(min=1), "pixels between neighbouring windows", 1)
    groups = per_input(Int(min=1), "groups of filters, each seeing its own share of the channels", 1)
    randSparse = per_input(BOOL, "give each group a random set of channels", False, read_by=UNTIL_2012)
    filterChannels = per_input(Int(min=1), "channels that each group sees, with randSparse", _share, read_by=UNTIL_2012)
    initCFunc = one(INIT_FUNC, "function that makes randSparse's connections", "")
    modulesX = one(INT, "side of the output; 0: as many windows as it takes to cover the image", 0, read_by=(G2014,))
    initW = per_input(INITIAL, "standard deviation of the initial weights")

    # Set by ``shape``.
    imgSize: list[int]
    num_filters: int = 0

    def shape(self) -> None:
        sides = [self._checked_side(i) for i in range(len(self.inputs))]
        if self.check.failed:
            return
        self.imgSize = [side for side in sides if side]
        sizes = [self.modulesX or self.covering_side(i) for i in range(len(self.imgSize))]
        counts = [filters * groups for filters, groups in zip(self.filters, self.groups, strict=True)]
        if len(set(zip(counts, sizes, strict=True))) > 1:
            if any(other.check.failed and other.sources == self.sources for other in self.sources[0].consumers):
                self.check.failed = True  # another layer has said so of the same inputs
                return
            named = zip(self.sources, counts, sizes, strict=True)
            shown = ", ".join(f"{f}x{m}x{m} of '{source.written_name}'" for source, f, m in named)
            self.check.error("filters", f"every input must give the same number and size of maps, not {shown}")
            return
        self.num_filters, self.modulesX = counts[0], sizes[0]
        self.shape_like(self.num_filters, self.modulesX)
        for i, side in enumerate(self.imgSize):
            covered = (self.modulesX - 1) * self.stride[i] + self.filterSize[i] - self.padding[i]
            if covered < side or self.stride[i] > self.filterSize[i]:
                self.check.warn("modulesX", f"the windows leave pixels of a side of {side} unread (they end at {covered})")

    def covering_side(self, i: int) -> int:
        """Return how many windows it takes to cover a side of input ``i``.

        The last may hang over the border by up to stride-1 pixels (numerics 2.3).
        """
        return 1 + math.ceil((2 * self.padding[i] + self.imgSize[i] - self.filterSize[i]) / self.stride[i])

    def _checked_side(self, i: int) -> int | None:
        """Return the side of input ``i``, after reporting which of its keys do not fit each other."""
        check, side = self.check, self.image_side(self.channels[i], i)
        C, G, Cf = self.channels[i], self.groups[i], self.filterChannels[i]
        if side is None:
            return None  # what does not fit the wrong number of channels may fit the right one
        if C % G:
            check.error("groups", f"{counted(C, 'channel')} cannot be shared among {G} groups")
        elif self.randSparse[i]:
            if G == 1:
                check.error("randSparse", "random connections need more than one group")
                return side
            if C % Cf:
                check.error("filterChannels", f"{C} channels are not a multiple of {Cf} filter channels")
            if G * Cf % C:
                check.error("filterChannels", f"{G} groups of {Cf} channels do not use each of {C} channels equally often")
            if Cf % 4:
                check.limit("filterChannels", f"the originals' kernels want a multiple of 4 filter channels, not {Cf}")
        elif Cf * G != C:
            check.error("filterChannels", f"{G} groups of {Cf} channels do not make {C} channels; randSparse allows it")
        if self.filterSize[i] > side + 2 * self.padding[i]:
            size = side + 2 * self.padding[i]
            check.error("filterSize", f"a filter of side {self.filterSize[i]} is larger than the padded image, {size}")
        if C > 3 and C % 4:
            check.limit("channels", f"the originals' kernels want at most 3 channels or a multiple of 4, not {C}")
        if self.filters[i] % 16:
            check.limit("filters", f"the originals' kernels want a multiple of 16 filters per group, not {self.filters[i]}")
        return side

    def filter_shape(self, i: int) -> tuple[int, int, int]:
        return self.filterChannels[i], self.filterSize[i], self.filterSize[i]

    def weights_per_filter(self, i: int) -> int:
        return math.prod(self.filter_shape(i))

    def over_sample(self, i: int) -> int:
        """Return how often each channel is used by all groups together (``overSample``)."""
        return self.groups[i] * self.filterChannels[i] // self.channels[i]

    def macs(self) -> int:
        return self.outputs * sum(self.weights_per_filter(i) for i in range(len(self.inputs)))

    def windows(self) -> list[tuple[int, int] | None]:
        return list(zip(self.filterSize, self.stride, strict=True))

    def window_start(self, i: int) -> tuple[int, int] | None:
        return -self.padding[i], -self.padding[i]

    def geometry(self, node: LayerNode, i: int) -> Geometry:
        """Return how the windows lie on input ``i``."""
        return Geometry(self.padding[i], self.stride[i], self.groups[i], node.conns[i])

    def can_include(self, activation: Activation, training: bool) -> bool:  # noqa: ARG002
        return True

    def forward(self, node: LayerNode) -> None:
        out, last = node.out_image(self.num_filters), len(node.weights) - 1
        for i, weights in enumerate(node.weights):
            images, geometry = node.image(i, self.channels[i]), self.geometry(node, i)
            ending = {"biases": node.biases.value, "activation": node.activation} if i == last else {}
            node.be.conv_forward(images, weights.value, out, min(i, 1), geometry=geometry, **ending)

    def backward(self, node: LayerNode) -> None:
        grad = node.grad_image(self.num_filters)
        self.bias_gradient(node, self.bias_shape()[0])
        for i in range(len(node.weights)):
            if node.learns(i):
                images = node.image(i, self.channels[i])
                node.be.conv_weight_grad(images, grad, *node.weight_grad(i), geometry=self.geometry(node, i))
        for i, weights in enumerate(node.weights):
            if node.wants(i):
                input_grad, slope = node.image_input_grad(i, self.channels[i]), node.slope(i, self.channels[i])
                node.be.conv_input_grad(grad, weights.value, *input_grad, geometry=self.geometry(node, i), slope=slope)

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation) | {
            "filters": self.num_filters,
            "padding": [-p for p in self.padding],
            "filterPixels": [k * k for k in self.filterSize],
            "filterChannels": self.filterChannels,
            "modulesX": self.modulesX,
            "imgSize": self.imgSize,
            "imgPixels": [side * side for side in self.imgSize],
            "modules": self.modulesX**2,
        }
        if generation != G2014:
            stored["overSample"] = [self.over_sample(i) if sparse else 1 for i, sparse in enumerate(self.randSparse)]
        return stored


class Conv(Windowed):
    """Convolves every input with its filters, sums over the inputs and adds biases."""

    type = "conv"
    title = "convolutional"
    key_ranks = 2, 4

    sharedBiases = one(BOOL, "one bias per filter instead of one per output", True)
    partialSum = one(
        Int(min=0), "windows whose weight gradients are summed at a time; no effect on results here", 0,
        read_by=UNTIL_2012, demanded_by=UNTIL_2012,
    )  # fmt: skip
    sumWidth = one(
        Int(min=0), "side of the squares of windows summed at a time; no effect on results here", 0,
        read_by=(G2014,), demanded_by=(G2014,),
    )  # fmt: skip
    wcNormMin = per_input(Float(min=0), "smallest filter contrast", 0.0, "params", SINCE_2012)
    wcNormMax = per_input(Float(min=0), "largest filter contrast; 0: no limit", 0.0, "params", SINCE_2012)

    def shape(self) -> None:
        super().shape()
        if self.partialSum and self.modulesX and self.modulesX**2 % self.partialSum:
            self.check.limit("partialSum", f"partialSum={self.partialSum} does not divide the {self.modulesX**2} windows")
        for low, high in zip(self.wcNormMin, self.wcNormMax, strict=True):
            if low > high:
                self.check.error("wcNormMin", f"wcNormMin={low} is larger than wcNormMax={high}")

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return (*self.filter_shape(i), self.num_filters)  # w[c, ky, kx, f]

    def stored(self, generation: Generation) -> dict[str, Any]:
        stored = super().stored(generation)
        if generation == G2014 and "sumWidth" not in self.check.places:
            stored["sumWidth"] = USUAL_SUM_WIDTH
        return stored

    def bias_shape(self) -> tuple[int, int]:
        return (self.num_filters if self.sharedBiases else self.outputs), 1
