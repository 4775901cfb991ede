"""local: like conv, with filters of its own at every position (numerics section 2).

Letters: C channels, k filterSize, F all filters, M modulesX, N cases.
"""

from __future__ import annotations

from convnet.layers.conv import Windowed
from convnet.layers.node import LayerNode


class Local(Windowed):
    """Like conv, with separate filters at every position."""

    type = "local"
    title = "locally-connected"
    folds_gradient = True

    def weight_shape(self, i: int) -> tuple[int, int]:
        return self.modulesX**2 * self.weights_per_filter(i), self.num_filters

    def kernel_shape(self, i: int) -> tuple[int, ...]:
        return (self.modulesX**2, *self.filter_shape(i), self.num_filters)  # w[m, c, ky, kx, f]

    def bias_shape(self) -> tuple[int, int]:
        return self.outputs, 1

    def forward(self, node: LayerNode) -> None:
        out = self.maps_of(node.out)
        for i, weights in enumerate(node.weights):
            images = node.image(i, self.channels[i])
            how = {**self.geometry(node, i), "biases": self.biases_after(node, i)}
            node.be.local_forward(images, weights.value, out, scale_targets=min(i, 1), **how)

    def backward(self, node: LayerNode) -> None:
        grad = self.maps_of(node.grad)
        self.bias_gradient(node, self.outputs)
        for i, weights in enumerate(node.weights):
            if weights.learns:
                images = node.image(i, self.channels[i])
                node.be.local_weight_grad(images, grad, *weights.grad_target(), **self.geometry(node, i))
        for i, weights in enumerate(node.weights):
            if node.wants(i):
                input_grad, scale_targets = node.image_input_grad(i, self.channels[i])
                node.be.local_input_grad(grad, weights.value, input_grad, scale_targets, **self.geometry(node, i))
