"""Dropout: hs (2012) and its later name dropout2, which scale at test time; dropout (2014), which scales in training.

Semantics of each pass: numerics section 10. The mask is a function of (seed, layer, step), never stored.
"""

from __future__ import annotations

from convnet.backends.arguments import Array
from convnet.generation import G2012, G2014, GENERATIONS
from convnet.language.keys import Key
from convnet.language.values import BOOL, FLOAT
from convnet.layers.base import Layer
from convnet.layers.modes import Mode
from convnet.layers.node import LayerNode

_KEEP_HELP = "probability that a unit stays"
_ENABLE_HELP = "whether units are dropped in training"


class Dropout2(Layer):
    """In training a unit stays with probability ``keep``; in other passes, and without ``enable``, all are scaled by it."""

    type = "dropout2"
    title = "dropout2"
    summary = "Drops units in training and scales all by keep otherwise; hs under its 2014 name."
    read_by = (G2014,)
    keys = (
        Key("keep", FLOAT, _KEEP_HELP, 0.5, "params", least=0, most=1),
        Key("enable", BOOL, _ENABLE_HELP, True, "params"),
    )
    wants_params = GENERATIONS
    elementwise = True
    uses_acts = uses_inputs = False
    stored_flags = ""

    keep: float
    enable: bool

    train_gain = 1.0  # what a unit that stays is multiplied by in training

    def test_gain(self) -> float:
        """What every unit is multiplied by when none is dropped."""
        return self.keep

    def _apply(self, node: LayerNode, values: Array, out: Array, scale_targets: float = 0) -> None:
        if node.mode is Mode.TRAIN and self.enable:
            node.be.dropout(values, out, scale_targets, keep=self.keep, gain=self.train_gain, key=node.key())
        else:
            node.be.add(values, out, scale_targets, self.test_gain())

    def forward(self, node: LayerNode) -> None:
        self._apply(node, node.x[0], node.out)

    def backward(self, node: LayerNode) -> None:
        self._apply(node, node.grad, *node.input_grad(0))


class HiddenSex(Dropout2):
    """2012's dropout: ``keep`` stands in the definition, ``enable`` in the parameters, both demanded."""

    type = "hs"
    title = "hidden-sex"
    summary = "2012's dropout: drops units in training and scales all by keep otherwise."
    read_by = (G2012,)
    keys = (
        Key("keep", FLOAT, _KEEP_HELP, least=0, most=1),
        Key("enable", BOOL, _ENABLE_HELP, home="params"),
    )


class Dropout(Dropout2):
    """2014's inverted dropout: units that stay are scaled by 1/keep in training; otherwise the identity."""

    type = "dropout"
    title = "dropout"
    summary = "Drops units in training and scales those that stay by 1/keep; the identity otherwise."

    @property
    def train_gain(self) -> float:  # type: ignore[override]
        return 1 / self.keep if self.keep else 0.0

    def test_gain(self) -> float:
        return 1.0
