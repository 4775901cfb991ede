"""neuron: a function applied to every value. ``neuron=`` of any layer becomes a layer of this type behind it.

Functions and derivatives: numerics section 7.
"""

from __future__ import annotations

from typing import Any

from convnet.backends.arguments import Activation
from convnet.generation import Generation
from convnet.language.neurons import TYPES, Neuron
from convnet.layers.base import Check, Layer
from convnet.layers.node import LayerNode


class NeuronLayer(Layer):
    """Applies ``neuron`` to its input. Takes over the buffer of its input where nobody needs the old values."""

    type = "neuron"
    title = "neuron"
    summary = "Applies a function to every value."
    elementwise = True

    neuron: Neuron | None

    @property
    def uses_acts(self) -> bool:  # type: ignore[override]
        return self.neuron is not None and TYPES[self.neuron.type].uses == "y"

    @property
    def uses_inputs(self) -> bool:  # type: ignore[override]
        return self.neuron is not None and TYPES[self.neuron.type].uses == "x"

    @property
    def approximate(self) -> str:  # type: ignore[override]
        return "noise counts as a constant" if self.neuron is not None and self.neuron.type == "nrelu" else ""

    def shape(self, check: Check) -> None:
        if self.neuron is None:
            check.error("neuron", "a neuron layer needs a neuron", expected="neuron=relu, for example")
            return
        self.outputs = self.num_inputs[0]
        self.maps = None

    def forward(self, node: LayerNode) -> None:
        assert self.neuron is not None
        if self.neuron.type == "nrelu":
            node.be.nrelu_forward(node.x[0], node.out, key=node.key())
        else:
            node.be.neuron_forward(node.x[0], node.out, activation=Activation(self.neuron.type, *self.neuron.values))

    def backward(self, node: LayerNode) -> None:
        assert self.neuron is not None
        if self.fused_cost:
            self.fused_cost.fused_backward(node.consumers[0], *node.input_grad(0))
            return
        kind = "relu" if self.neuron.type == "nrelu" else self.neuron.type
        activation = Activation(kind, *self.neuron.values)
        node.be.neuron_input_grad(node.x[0], node.out, node.grad, *node.input_grad(0), activation=activation)

    def stored(self, generation: Generation) -> dict[str, Any]:
        assert self.neuron is not None
        uses = {"usesActs": "acts" in self.stored_flags, "usesInputs": "inputs" in self.stored_flags}
        return {"neuron": {"type": self.neuron.type, "params": dict(self.neuron.params), **uses}}

    @property
    def stored_flags(self) -> str:  # type: ignore[override]
        described = TYPES[self.neuron.type] if self.neuron else None
        return {"y": "acts", "x": "inputs"}.get((described.stored_uses or described.uses) if described else "", "")
