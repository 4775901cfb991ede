"""softmax: positive values that add up to one, case by case (numerics section 6)."""

from __future__ import annotations

from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class Softmax(Layer):
    """y_j = exp(x_j - max) / sum. Its gradient joins that of a cost which is its only consumer in one formula."""

    type = "softmax"
    title = "softmax"
    summary = "Turns its inputs into probabilities."
    uses_inputs = False

    def shape(self, check: Check) -> None:
        self.outputs = self.num_inputs[0]

    def forward(self, node: LayerNode) -> None:
        node.be.softmax_forward(node.x[0], node.out)

    def backward(self, node: LayerNode) -> None:
        if self.fused_cost:
            self.fused_cost.fused_backward(node.consumers[0], *node.input_grad(0))
        else:
            node.be.softmax_input_grad(node.out, node.grad, *node.input_grad(0))
