"""neuron: a function applied to every value; softmax: y_j = exp(x_j - max) / sum, case by case.

``neuron=`` of any layer becomes a neuron layer behind it. Functions and derivatives: numerics sections 6 and 7.
"""

from collections.abc import Mapping
from typing import Any

from convnet.backends.arguments import Activation
from convnet.generation import Generation
from convnet.language.neurons import TYPES, Neuron
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class NeuronLayer(Layer):
    """Applies a function to every value."""

    type = "neuron"
    title = "neuron"
    elementwise = True
    keeps_maps = False
    neuron: Neuron  # ``None`` only where the file's is wrong or missing, and nothing runs

    def __init__(self, name: str, values: Mapping[str, Any], check: Check) -> None:
        super().__init__(name, values, check)
        if self.neuron:
            described = TYPES[self.neuron.type]
            self.function = self.neuron.type
            self.uses_acts, self.uses_inputs = described.uses == "y", described.uses == "x"
            self.stored_flags = {"y": "acts", "x": "inputs"}.get(described.stored_uses or described.uses, "")
            self.approximate = "noise counts as a constant" if self.function == "nrelu" else ""

    def shape(self) -> None:
        if self.neuron is None:
            self.check.error("neuron", "a neuron layer needs a neuron", expected="neuron=relu, for example")
        else:
            super().shape()

    @property
    def activation(self) -> Activation | None:
        plain = self.neuron and not self.neuron.params and self.function != "nrelu"
        return Activation(self.function) if plain else None

    def forward(self, node: LayerNode) -> None:
        if self.function == "nrelu":
            node.be.nrelu_forward(node.x[0], node.out, key=node.key())
        else:
            node.be.neuron_forward(node.x[0], node.out, activation=Activation(self.function, *self.neuron.values))

    def backward(self, node: LayerNode) -> None:
        if self.fused_cost and not node.has_grad:
            self.fused_cost.fused_backward(node.consumers[0], *node.input_grad(0))
            return
        activation = Activation("relu" if self.function == "nrelu" else self.function, *self.neuron.values)
        node.be.neuron_input_grad(node.x[0], node.out, node.grad, *node.input_grad(0), activation=activation)

    def stored(self, generation: Generation) -> dict[str, Any]:
        uses = {"usesActs": "acts" in self.stored_flags, "usesInputs": "inputs" in self.stored_flags}
        neuron = {"type": self.neuron.type, "params": dict(self.neuron.params), **uses}
        return super().stored(generation) | {"neuron": neuron}


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
        if self.fused_cost and not node.has_grad:
            self.fused_cost.fused_backward(node.consumers[0], *node.input_grad(0))
        else:
            node.be.softmax_input_grad(node.out, node.grad, *node.input_grad(0))
