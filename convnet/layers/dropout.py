"""Dropout: hs (2012) and its later name dropout2, which scale at test time; dropout (2014), which scales in training.

Semantics of each pass: numerics section 10. The mask is a function of (seed, layer, step), never stored.
"""

from convnet.backends.arguments import Array
from convnet.generation import G2012, G2014, GENERATIONS
from convnet.language.keys import one
from convnet.language.values import BOOL, Float
from convnet.layers.base import Layer
from convnet.layers.modes import Mode
from convnet.layers.node import LayerNode

_KEEP = "probability that a unit stays"
_ENABLE = "whether units are dropped in training"


class Dropout2(Layer):
    """Drops units in training and scales all by keep otherwise; hs under its 2014 name."""

    type = "dropout2"
    title = "dropout2"
    read_by = (G2014,)
    wants_params = GENERATIONS
    elementwise = True
    uses_acts = uses_inputs = False
    stored_flags = ""

    keep = one(Float(min=0, max=1), _KEEP, 0.5, "params")
    enable = one(BOOL, _ENABLE, True, "params")

    def gains(self) -> tuple[float, float]:
        """Return what a unit that stays is multiplied by in training, and every unit when none is dropped."""
        return 1.0, self.keep

    def _apply(self, node: LayerNode, values: Array, out: Array, scale_targets: float = 0) -> None:
        train_gain, test_gain = self.gains()
        if node.mode is Mode.TRAIN and self.enable:
            node.be.dropout(values, out, scale_targets, keep=self.keep, gain=train_gain, key=node.key())
        else:
            node.be.add(values, out, scale_targets, test_gain)

    def forward(self, node: LayerNode) -> None:
        self._apply(node, node.x[0], node.out)

    def backward(self, node: LayerNode) -> None:
        self._apply(node, node.grad, *node.input_grad(0))


class HiddenSex(Dropout2):
    """2012's dropout: drops units in training and scales all by keep otherwise."""

    type = "hs"
    title = "hidden sex"
    read_by = (G2012,)

    keep = one(Float(min=0, max=1), _KEEP)
    enable = one(BOOL, _ENABLE, home="params")


class Dropout(Dropout2):
    """Drops units in training and scales those that stay by 1/keep; the identity otherwise."""

    type = "dropout"
    title = "dropout"

    def gains(self) -> tuple[float, float]:
        return (1 / self.keep if self.keep else 0.0), 1.0
