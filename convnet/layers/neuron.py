"""neuron: a function applied to every value. ``neuron=`` of any layer becomes a layer of this type behind it.

Functions and derivatives: numerics section 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convnet.generation import Generation
from convnet.language.neurons import TYPES
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class NeuronLayer(Layer):
    """Applies a function to every value."""

    type = "neuron"
    title = "neuron"
    elementwise = True
    keeps_maps = False

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

    def forward(self, node: LayerNode) -> None:
        assert self.neuron is not None
        if self.function == "nrelu":
            node.be.nrelu_forward(node.x[0], node.out, node.key())
        else:
            node.be.neuron_forward(self.function, *self.neuron.values, node.x[0], node.out)

    def backward(self, node: LayerNode) -> None:
        assert self.neuron is not None
        input_grad, scale_targets = node.input_grad(0)
        if self.fused_cost:
            self.fused_cost.fused_backward(node.consumers[0], input_grad, scale_targets)
        else:
            kind = "relu" if self.function == "nrelu" else self.function
            node.be.neuron_input_grad(kind, *self.neuron.values, node.x[0], node.out, node.grad, input_grad, scale_targets)

    def stored(self, generation: Generation) -> dict[str, Any]:
        assert self.neuron is not None
        uses = {"usesActs": "acts" in self.stored_flags, "usesInputs": "inputs" in self.stored_flags}
        neuron = {"type": self.neuron.type, "params": dict(self.neuron.params), **uses}
        return super().stored(generation) | {"neuron": neuron}
