"""Costs that are sums over values: squares, robust squares, and the energies of topographic ICA (numerics section 12)."""

from typing import Any

from convnet.generation import G2012, Generation
from convnet.language.keys import one
from convnet.language.values import Int
from convnet.layers.cost import Cost, FilteredCost
from convnet.layers.node import LayerNode


class SumOfSquares(FilteredCost):
    """The sum of the squares of its input."""

    type = "cost.sum2"
    title = "sum-of-squares"
    max_inputs = min_inputs = 1
    kind = "sum2"
    first_input = ""

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            node.be.add(node.x[0], *node.input_grad(0), -2 * self.coeff)


class GatedSumOfSquares(Cost):
    """The sum of squares of its second input, each case weighed by the first."""

    type = "cost.gsum2"
    title = "gated sum-of-squares"
    read_by = (G2012,)
    kind = "gsum2"
    first_input = "gate"

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            node.be.gsum2_gate_grad(node.x[1], *node.input_grad(0), coeff=self.coeff)
        super().backward(node)


class RobustFlickr(Cost):
    """The sum of log(1 + squared error), which outliers sway little."""

    type = "cost.rflickr"
    title = "robust flickr"
    read_by = (G2012,)
    kind = "rflickr"
    row_per_class = True


class Tica(Cost):
    """Topographic ICA; prints the originals' sum of reciprocals, descends on the root energies."""

    type = "cost.tica"
    title = "TICA"
    read_by = (G2012,)
    max_inputs = min_inputs = 1
    approximate = "the printed value is not what is made small"
    first_input = ""

    channels = one(Int(min=1), "maps of the input image")
    sizeX = one(Int(min=1), "side of the window")

    imgSize: int = 0

    def shape(self) -> None:
        self.imgSize = self.image_side(self.channels) or 0
        if self.channels <= 8 or self.sizeX >= 6:
            self.check.limit("channels", "the originals' kernel wants more than 8 channels and sizeX below 6")

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"imgSize": self.imgSize, "imgPixels": self.imgSize**2}

    def forward(self, node: LayerNode) -> None:
        images = node.image(0, self.channels)
        node.be.tica_cost(images, node.scratch("reciprocals", images.shape), node.costs, size=self.sizeX)

    def backward(self, node: LayerNode) -> None:
        if node.wants(0):
            images, input_grad = node.image(0, self.channels), node.image_input_grad(0, self.channels)
            reciprocals = node.scratch("reciprocals", images.shape)
            node.be.tica_input_grad(images, reciprocals, *input_grad, size=self.sizeX, coeff=self.coeff)
