"""fc: every output a weighted sum of every input; sfc: the same in independent blocks; treefc: classes in a tree.

Formulas: numerics section 4. Letters: K inputs, F outputs, N cases. Weights are stored (K, F) column-major, which is
the array w[f, k].
"""

from __future__ import annotations

from typing import Any

from convnet.generation import G2012, G2014, Generation
from convnet.language.keys import Key
from convnet.language.values import FLOAT, INT
from convnet.layers.base import Check
from convnet.layers.node import LayerNode
from convnet.layers.weighted import WeightLayer

_INIT_W = Key("initW", FLOAT, "standard deviation of the initial weights", 0.01, each=True)


class FullyConnected(WeightLayer):
    """Outputs = sum over inputs of weights times input, plus biases."""

    type = "fc"
    title = "fully-connected"
    summary = "Every output is a weighted sum of every input, plus a bias."
    most_inputs = None
    keys = (
        Key("outputs", INT, "number of outputs", least=1),
        _INIT_W,
        *WeightLayer.init_keys,
        *WeightLayer.learning_keys,
    )
    order = "F"
    folds_gradient = True
    parts = 1  # independent blocks of inputs and outputs

    def shape(self, check: Check) -> None:
        self.outputs = self.values["outputs"]

    def weight_shape(self, i: int) -> tuple[int, int]:
        return self.num_inputs[i], self.outputs // self.parts

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return self.outputs // self.parts, self.num_inputs[i]  # w[f within its block, k]

    def bias_shape(self) -> tuple[int, int]:
        return 1, self.outputs

    def macs(self) -> int:
        return sum(self.num_inputs) * self.outputs // self.parts

    def window(self) -> tuple[int, int] | None:
        return None

    def forward(self, node: LayerNode) -> None:
        for i, weights in enumerate(node.weights):
            node.be.fc_forward(node.x[i], weights.value, node.out, min(i, 1), parts=self.parts)
        node.be.add_bias(node.out, node.biases.value)

    def backward(self, node: LayerNode) -> None:
        self.bias_gradient(node, self.outputs)
        for i, weights in enumerate(node.weights):
            if weights.learns:
                node.be.fc_weight_grad(node.x[i], node.grad, *weights.target(), parts=self.parts)
        for i, weights in enumerate(node.weights):
            if node.wants(i):
                node.be.fc_input_grad(node.grad, weights.value, *node.input_grad(i), parts=self.parts)


class SplitFullyConnected(FullyConnected):
    """Inputs and outputs cut into ``parts`` blocks; each block of outputs reads its own block of inputs."""

    type = "sfc"
    title = "split fully-connected"
    summary = "A fully-connected layer in independent blocks: a block-diagonal weight matrix."
    read_by = (G2014,)
    keys = (*FullyConnected.keys, Key("parts", INT, "number of independent blocks", least=1))

    def shape(self, check: Check) -> None:
        super().shape(check)
        for features in (*self.num_inputs, self.outputs):
            if features % self.parts:
                check.error("parts", f"{features} values cannot be cut into {self.parts} equal parts")


class TreeFullyConnected(FullyConnected):
    """A fully-connected layer whose class weights are sums along the path from the root of a tree of labels.

    The tree comes with the data set (numerics 4.5). Every node of the tree owns an offset column; only leaves,
    which are the classes, make outputs.
    """

    type = "treefc"
    title = "tree fully-connected"
    summary = "A fully-connected layer over classes that form a tree; relatives share part of their weights."
    read_by = (G2012,)
    most_inputs = 1
    keys = (_INIT_W, *WeightLayer.init_keys, *WeightLayer.learning_keys)
    folds_gradient = False

    # Set by ``shape``: each tree node's parent (itself for the root) and number of leaves, by label.
    parents: list[int]
    leaves_below: list[int]
    top_down: list[int]  # labels, parents before children
    rootLabel: int

    def shape(self, check: Check) -> None:
        tree = check.tree
        if tree is None:
            check.error("type", "a treefc layer needs the tree of labels of a data set")
            return
        self.outputs = tree.leaves
        self.rootLabel = tree.root
        self.parents, self.leaves_below, self.top_down = tree.parents, tree.leaves_below, tree.top_down

    def weight_shape(self, i: int) -> tuple[int, int]:
        return self.num_inputs[i], len(self.parents)

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return len(self.parents), self.num_inputs[i]  # w[node, k]

    def stored(self, generation: Generation) -> dict[str, Any]:
        return super().stored(generation) | {"rootLabel": self.rootLabel}

    def forward(self, node: LayerNode) -> None:
        offsets = node.weights[0].value
        effective = node.scratch("effective", offsets.shape)
        node.be.tree_forward(offsets, effective, self.parents, self.top_down)
        node.be.fc_forward(node.x[0], effective[: self.outputs], node.out)
        node.be.add_bias(node.out, node.biases.value)

    def backward(self, node: LayerNode) -> None:
        self.bias_gradient(node, self.outputs)
        weights = node.weights[0]
        if weights.learns:
            target, scale_targets, scale_output = weights.target()
            node.be.fc_weight_grad(node.x[0], node.grad, target[: self.outputs], scale_targets, scale_output)
            node.be.tree_backward(target, self.parents, self.top_down, self.outputs)
        if node.wants(0):
            effective = node.scratch("effective", weights.value.shape)
            node.be.fc_input_grad(node.grad, effective[: self.outputs], *node.input_grad(0))
