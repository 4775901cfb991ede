"""Neurons, softmax, dropout and elementwise ops (numerics 5, 6, 7 and 10)."""

from typing import NamedTuple

import numpy as np

from convnet.backends import philox
from convnet.backends.arguments import Activation
from convnet.backends.base import Backend
from convnet.backends.philox import Key
from convnet.backends.reference.common import Array, store


class _Values(NamedTuple):
    """What a neuron's function and its gradient may read: x, y = f(x), the gradient at y, and the two parameters."""

    x: Array
    a: float
    b: float
    y: Array = np.empty(0)
    g: Array = np.empty(0)


# f(x), and g * f'(x).
_NEURONS = {
    "ident": (lambda n: n.x, lambda n: n.g),
    "logistic": (lambda n: 1 / (1 + np.exp(-n.x)), lambda n: n.g * n.y * (1 - n.y)),
    "relu": (lambda n: np.where(n.x < 0, 0, n.x), lambda n: n.g * (n.y > 0)),
    "brelu": (lambda n: np.clip(n.x, 0, n.a), lambda n: n.g * ((n.y > 0) & (n.y < n.a))),
    "abs": (lambda n: np.abs(n.x), lambda n: n.g * np.where(n.x > 0, 1, -1)),
    "tanh": (lambda n: n.a * (2 / (1 + np.exp(-2 * n.b * n.x)) - 1), lambda n: n.g * n.b * (n.a - n.y * n.y / n.a)),
    "drelu": (lambda n: n.x - n.a * np.tanh(n.x / n.a), lambda n: n.g * np.tanh(n.x / n.a) ** 2),
    "softrelu": (
        lambda n: np.where(n.x > 4, n.x, np.log1p(np.exp(np.minimum(n.x, 4)))),
        lambda n: np.where(n.x > 4, n.g, n.g / (1 + np.exp(-np.minimum(n.x, 4)))),
    ),
    "square": (lambda n: n.x * n.x, lambda n: 2 * n.g * n.x),
    "sqrt": (lambda n: np.sqrt(n.x), lambda n: n.g / (2 * n.y)),
    "linear": (lambda n: n.a * n.x + n.b, lambda n: n.g * n.a),
    "log": (lambda n: np.log(n.a + n.x), lambda n: n.g / (n.a + n.x)),
}


class NeuronOps(Backend):
    """neuron_*, nrelu, softmax_*, dropout, eltmax_*."""

    def neuron_forward(self, x: Array, out: Array, *, activation: Activation) -> None:
        kind, a, b = activation
        out[...] = _NEURONS[kind][0](_Values(x, a, b))

    def neuron_input_grad(
        self, x: Array, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *, activation: Activation
    ) -> None:
        kind, a, b = activation
        store(input_grad, _NEURONS[kind][1](_Values(x, a, b, y, grad)), scale_targets)

    def nrelu_forward(self, x: Array, out: Array, *, key: Key) -> None:
        y = np.maximum(x, 0)
        out[...] = np.maximum(y + y * philox.gaussian(key, x.shape), 0)

    def softmax_forward(self, x: Array, out: Array) -> None:
        e = np.exp(x - x.max(axis=0))
        out[...] = e / e.sum(axis=0)

    def softmax_input_grad(self, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0) -> None:
        store(input_grad, y * (grad - (grad * y).sum(axis=0)), scale_targets)

    def dropout(self, x: Array, out: Array, scale_targets: float = 0, *, keep: float, gain: float, key: Key) -> None:
        stays = philox.uniform(key, x.shape) < np.float32(keep)
        store(out, np.where(stays, gain * x, 0), scale_targets)

    def eltmax_forward(self, x: Array, out: Array) -> None:
        np.maximum(out, x, out=out)

    def eltmax_input_grad(self, x: Array, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0) -> None:
        store(input_grad, np.where(x == y, grad, 0), scale_targets)
