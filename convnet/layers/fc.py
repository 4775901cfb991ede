"""fc: every output a weighted sum of every input; sfc: the same in independent blocks; treefc: classes in a tree.

Formulas: numerics section 4. Letters: K inputs, F outputs, N cases. Weights are stored (K, F) column-major, which is
the array w[f, k].
"""

from typing import Any, ClassVar

from convnet.backends.arguments import Activation
from convnet.generation import G2012, G2014, Generation
from convnet.language.keys import one, per_input
from convnet.language.values import INITIAL, Int, Size
from convnet.layers.label_tree import LabelTree
from convnet.layers.node import LayerNode
from convnet.layers.weighted import WeightLayer
from convnet.texts import counted


class FullyConnected(WeightLayer):
    """Every output is a weighted sum of every input, plus a bias."""

    type = "fc"
    sized_by = "outputs"
    title = "fully-connected"
    max_inputs: ClassVar[int | None] = None
    order = "F"
    folds_gradient = True
    multiplies_slope = True

    outputs = one(Size(min=1), "number of outputs")
    initW = per_input(INITIAL, "standard deviation of the initial weights", 0.01)
    parts = 1  # independent blocks of inputs and outputs

    def shape(self) -> None:
        """Leave ``outputs`` as the file gives it."""

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return self.outputs // self.parts, self.sources[i].outputs  # w[f within its block, k]

    def bias_shape(self) -> tuple[int, int]:
        return 1, self.outputs

    def macs(self) -> int:
        return sum(self.num_inputs) * self.outputs // self.parts

    def windows(self) -> list[tuple[int, int] | None]:
        return [None] * len(self.sources)

    def can_include(self, activation: Activation, training: bool) -> bool:  # noqa: ARG002
        return True

    def forward(self, node: LayerNode) -> None:
        last = len(node.weights) - 1
        for i, weights in enumerate(node.weights):
            ending = {"biases": node.biases.value, "activation": node.activation} if i == last else {}
            node.be.fc_forward(node.input(i), weights.value, node.out, min(i, 1), parts=self.parts, **ending)

    def backward(self, node: LayerNode) -> None:
        self.bias_gradient(node, self.outputs)
        for i in range(len(node.weights)):
            if node.learns(i):
                node.be.fc_weight_grad(node.input(i), node.grad, *node.weight_grad(i), parts=self.parts)
        for i, weights in enumerate(node.weights):
            if node.wants(i):
                input_grad, slope = node.input_grad(i), node.slope(i)
                node.be.fc_input_grad(node.grad, weights.value, *input_grad, parts=self.parts, slope=slope)


class SplitFullyConnected(FullyConnected):
    """A fully-connected layer in independent blocks: a block-diagonal weight matrix."""

    type = "sfc"
    title = "split fully-connected"
    read_by = (G2014,)
    key_ranks = 4, 4

    also_sized_by = "parts"

    outputs = one(Int(min=1), "outputs of each block")  # in the file; ``shape`` puts those of all blocks in their place
    parts = one(Int(min=1), "number of independent blocks")

    def shape(self) -> None:
        for features in self.num_inputs:
            if features % self.parts:
                self.check.error("parts", f"{counted(features, 'value')} cannot be cut into {self.parts} equal parts")
        self.outputs *= self.parts

    def sizes_in_file(self) -> list[int]:
        return [self.outputs // self.parts]

    def size_text(self) -> str:
        return f"{super().size_text()} in {self.parts} parts"


class TreeFullyConnected(FullyConnected):
    """A fully-connected layer over classes that form a tree; relatives share part of their weights.

    Class weights are sums along the path from the root of a tree of labels, which comes with the data set (numerics 4.5).
    Every node of the tree owns an offset column; only leaves, which are the classes, make outputs.
    """

    type = "treefc"
    title = "tree-fc"
    read_by = (G2012,)
    max_inputs = 1
    folds_gradient = False
    sized_by = ""
    outputs = 0  # not a key of this type: one for each class of the data

    tree: LabelTree  # set by ``shape``

    def shape(self) -> None:
        if self.check.data.tree is None:
            self.check.error("type", "a treefc layer needs the tree of labels of a data set")
        else:
            self.tree = self.check.data.tree
            self.outputs = self.tree.leaves

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return len(self.tree.parents), self.num_inputs[i]  # w[node, k]

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"rootLabel": self.tree.root, "tree": self.tree.children}

    def forward(self, node: LayerNode) -> None:
        offsets = node.weights[0].value
        effective = node.scratch("effective", offsets.shape)
        node.be.tree_forward(offsets, effective, self.tree.parents, self.tree.top_down)
        ending = {"biases": node.biases.value, "activation": node.activation}
        node.be.fc_forward(node.x[0], effective[: self.outputs], node.out, **ending)

    def backward(self, node: LayerNode) -> None:
        self.bias_gradient(node, self.outputs)
        weights = node.weights[0]
        if node.learns(0):
            target, scale_targets, scale_output = node.weight_grad(0)
            node.be.fc_weight_grad(node.x[0], node.grad, target[: self.outputs], scale_targets, scale_output)
            node.be.tree_backward(target, self.tree.parents, self.tree.top_down, self.outputs)
        if node.wants(0):
            effective = node.scratch("effective", weights.value.shape)
            node.be.fc_input_grad(node.grad, effective[: self.outputs], *node.input_grad(0), slope=node.slope(0))
