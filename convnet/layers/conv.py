"""conv: filters slid over square maps; local: the same with weights of its own at every position.

Formulas, borders and shapes: numerics section 2. ``Windowed`` is all that conv and local share.

Letters: C channels, S side of the image, k filterSize, F all filters, M modulesX (side of the output), N cases.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from convnet.backends.arguments import Array, Geometry
from convnet.generation import G2011, G2012, G2014, Generation
from convnet.language.keys import Key
from convnet.language.values import BOOL, FLOAT, INIT_FUNC, INT
from convnet.layers.base import Check
from convnet.layers.node import LayerNode
from convnet.layers.weighted import WeightLayer


class Windowed(WeightLayer):
    """Filters over square windows: geometry, checks and stored keys of conv and local."""

    most_inputs = None
    window_keys: ClassVar[tuple[Key, ...]] = (
        Key("channels", INT, "maps of the input image", each=True, least=1),
        Key("filters", INT, "filters per group", each=True, least=1),
        Key("filterSize", INT, "side of each filter", each=True, least=1),
        Key("padding", INT, "pixels of zeros around the image", 0, each=True, least=0),
        Key("stride", INT, "pixels between neighbouring windows", 1, each=True, least=1),
        Key("groups", INT, "groups of filters, each seeing its own share of the channels", 1, each=True, least=1),
        Key("randSparse", BOOL, "give each group a random set of channels", False, each=True, read_by=(G2011, G2012)),
        Key(
            "filterChannels",
            INT,
            "channels that each group sees, with randSparse",
            lambda values, i: _share(values, i),
            each=True,
            least=1,
            read_by=(G2011, G2012),
        ),
        Key("initCFunc", INIT_FUNC, "function that makes randSparse's connections", ""),
        Key("modulesX", INT, "side of the output; 0: as many windows as it takes to cover the image", 0, read_by=(G2014,)),
        Key("initW", FLOAT, "standard deviation of the initial weights", each=True),
    )

    channels: list[int]
    filters: list[int]
    filterSize: list[int]
    padding: list[int]
    stride: list[int]
    groups: list[int]
    randSparse: list[bool]
    filterChannels: list[int]
    modulesX: int

    # Set by ``shape``.
    imgSize: list[int]
    num_filters: int = 0

    def shape(self, check: Check) -> None:
        sides = [self._check_input(check, i) for i in range(len(self.inputs))]
        if check.failed or None in sides:
            return
        self.imgSize = [side for side in sides if side]
        sizes = [self.modulesX or self._modules(i) for i in range(len(self.inputs))]
        counts = [self.filters[i] * self.groups[i] for i in range(len(self.inputs))]
        if len(set(zip(counts, sizes, strict=True))) > 1:
            shown = ", ".join(f"{f}x{m}x{m}" for f, m in zip(counts, sizes, strict=True))
            check.error("filters", f"every input must give the same number and size of maps, not {shown}")
            return
        self.num_filters, self.modulesX = counts[0], sizes[0]
        self.shape_like(self.num_filters, self.modulesX)
        self._check_coverage(check)

    def _check_input(self, check: Check, i: int) -> int | None:
        side = self.image_side(check, self.channels[i], i)
        C, G, Cf = self.channels[i], self.groups[i], self.filterChannels[i]
        if C % G:
            check.error("groups", f"{C} channels cannot be shared among {G} groups")
        if self.randSparse[i]:
            self._check_sparse(check, C, G, Cf)
        elif Cf * G != C:
            check.error("filterChannels", f"{G} groups of {Cf} channels do not make {C} channels; randSparse allows it")
        if side and self.filterSize[i] > side + 2 * self.padding[i]:
            size = side + 2 * self.padding[i]
            check.error("filterSize", f"a filter of side {self.filterSize[i]} is larger than the padded image, {size}")
        if C > 3 and C % 4:
            check.limit("channels", f"the originals' kernels want at most 3 channels or a multiple of 4, not {C}")
        if self.filters[i] * G % (16 * G):
            check.limit("filters", f"the originals' kernels want a multiple of 16 filters per group, not {self.filters[i]}")
        return side

    def _check_sparse(self, check: Check, C: int, G: int, Cf: int) -> None:
        if G == 1:
            check.error("randSparse", "random connections need more than one group")
        if C % Cf:
            check.error("filterChannels", f"{C} channels are not a multiple of {Cf} filter channels")
        if G * Cf % C:
            check.error("filterChannels", f"{G} groups of {Cf} channels do not use each of {C} channels equally often")
        if Cf % 4:
            check.limit("filterChannels", f"the originals' kernels want a multiple of 4 filter channels, not {Cf}")

    def _modules(self, i: int) -> int:
        # The ceil lets the last window hang over the border by up to stride-1 pixels (numerics 2.3).
        return 1 + math.ceil((2 * self.padding[i] + self.imgSize[i] - self.filterSize[i]) / self.stride[i])

    def _check_coverage(self, check: Check) -> None:
        for i, side in enumerate(self.imgSize):
            covered = (self.modulesX - 1) * self.stride[i] + self.filterSize[i] - self.padding[i]
            if covered < side or self.stride[i] > self.filterSize[i]:
                check.warn("modulesX", f"the windows leave pixels of a side of {side} unread (they end at {covered})")

    def filter_shape(self, i: int) -> tuple[int, int, int]:
        return self.filterChannels[i], self.filterSize[i], self.filterSize[i]

    def weights_per_filter(self, i: int) -> int:
        return math.prod(self.filter_shape(i))

    def over_sample(self, i: int) -> int:
        """How often each channel is used by all groups together (``overSample``)."""
        return self.groups[i] * self.filterChannels[i] // self.channels[i]

    def macs(self) -> int:
        per_filter = sum(self.weights_per_filter(i) for i in range(len(self.inputs)))
        return self.outputs * per_filter

    def window(self) -> tuple[int, int] | None:
        return self.filterSize[0], self.stride[0]

    def geometry(self, node: LayerNode, i: int) -> Geometry:
        """Return how the windows lie on input ``i``."""
        return Geometry(self.padding[i], self.stride[i], self.groups[i], node.conns[i])

    def maps_of(self, array: Array) -> Array:
        """Return an output-shaped array as (F, M, M, N)."""
        return array.reshape(self.num_filters, self.modulesX, self.modulesX, -1)

    def forward(self, node: LayerNode) -> None:
        out, last = self.maps_of(node.out), len(node.weights) - 1
        for i, weights in enumerate(node.weights):
            images, biases = node.image(i, self.channels[i]), node.biases.value if i == last else None
            how = self.geometry(node, i)
            node.be.conv_forward(images, weights.value, out, scale_targets=min(i, 1), geometry=how, biases=biases)

    def backward(self, node: LayerNode) -> None:
        grad = self.maps_of(node.grad)
        self.bias_gradient(node, self.bias_shape()[0])
        for i, weights in enumerate(node.weights):
            if weights.learns:
                images = node.image(i, self.channels[i])
                node.be.conv_weight_grad(images, grad, *weights.target(), geometry=self.geometry(node, i))
        for i, weights in enumerate(node.weights):
            if node.wants(i):
                input_grad, scale_targets = node.image_input_grad(i, self.channels[i])
                how = self.geometry(node, i)
                node.be.conv_input_grad(grad, weights.value, input_grad, scale_targets, geometry=how)

    def stored(self, generation: Generation) -> dict[str, Any]:
        n = range(len(self.inputs))
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
            stored["overSample"] = [self.over_sample(i) if self.randSparse[i] else 1 for i in n]
        return stored


def _share(values: dict[str, Any], i: int) -> int:
    channels, groups = values["channels"], values["groups"]
    return max(1, channels[i] // groups[i]) if channels and groups else 1


class Conv(Windowed):
    """One set of filters for all positions; biases shared per filter, or one per output."""

    type = "conv"
    title = "convolutional"
    summary = "Convolves every input with its filters, sums over the inputs and adds biases."
    keys = (
        *Windowed.window_keys,
        *WeightLayer.init_keys,
        Key("sharedBiases", BOOL, "one bias per filter instead of one per output", True),
        Key(
            "partialSum",
            INT,
            "windows whose weight gradients are summed at a time; no effect on results here",
            0,
            least=0,
            read_by=(G2011, G2012),
            demanded_by=(G2011, G2012),
        ),
        Key(
            "sumWidth",
            INT,
            "side of the squares of windows summed at a time; no effect on results here",
            0,
            least=0,
            read_by=(G2014,),
            demanded_by=(G2014,),
        ),
        *WeightLayer.learning_keys,
        Key("wcNormMin", FLOAT, "least filter contrast", 0.0, "params", True, 0, read_by=(G2012, G2014)),
        Key("wcNormMax", FLOAT, "largest filter contrast; 0: no limit", 0.0, "params", True, 0, read_by=(G2012, G2014)),
    )

    sharedBiases: bool
    partialSum: int
    wcNormMin: list[float]
    wcNormMax: list[float]

    def shape(self, check: Check) -> None:
        super().shape(check)
        if self.partialSum and self.modulesX and self.modulesX**2 % self.partialSum:
            check.limit("partialSum", f"partialSum={self.partialSum} does not divide the {self.modulesX**2} windows")
        for low, high in zip(self.wcNormMin, self.wcNormMax, strict=True):
            if low > high:
                check.error("wcNormMin", f"wcNormMin={low} is larger than wcNormMax={high}")

    def weight_shape(self, i: int) -> tuple[int, int]:
        return self.weights_per_filter(i), self.num_filters

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return (*self.filter_shape(i), self.num_filters)  # w[c, ky, kx, f]

    def bias_shape(self) -> tuple[int, int]:
        return (self.num_filters if self.sharedBiases else self.outputs), 1
