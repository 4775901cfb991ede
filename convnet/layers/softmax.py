"""softmax: y_j = exp(x_j - max) / sum, case by case (numerics section 6)."""

from convnet.layers.base import Layer
from convnet.layers.node import LayerNode


class Softmax(Layer):
    """Turns its inputs into probabilities."""

    type = "softmax"
    title = "softmax"
    function = "softmax"
    uses_inputs = False
    keeps_maps = False

    def forward(self, node: LayerNode) -> None:
        node.be.softmax_forward(node.x[0], node.out)

    def backward(self, node: LayerNode) -> None:
        if self.fused_cost:
            self.fused_cost.fused_backward(node.consumers[0], *node.input_grad(0))
        else:
            node.be.softmax_input_grad(node.out, node.grad, *node.input_grad(0))
