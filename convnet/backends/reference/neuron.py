"""Neurons, softmax, dropout and elementwise ops (numerics sections 5, 6, 7, 10)."""

from __future__ import annotations

import numpy as np

from convnet.backends import philox
from convnet.backends.reference.common import store

_FORWARD = {
    "ident": lambda x, a, b: x,
    "logistic": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "relu": lambda x, a, b: np.where(x < 0, 0, x),
    "brelu": lambda x, a, b: np.clip(x, 0, a),
    "abs": lambda x, a, b: np.abs(x),
    "tanh": lambda x, a, b: a * (2 / (1 + np.exp(-2 * b * x)) - 1),
    "drelu": lambda x, a, b: x - a * np.tanh(x / a),
    "softrelu": lambda x, a, b: np.where(x > 4, x, np.log1p(np.exp(np.minimum(x, 4)))),
    "square": lambda x, a, b: x * x,
    "sqrt": lambda x, a, b: np.sqrt(x),
    "linear": lambda x, a, b: a * x + b,
    "log": lambda x, a, b: np.log(a + x),
}
_GRADIENT = {
    "ident": lambda g, x, y, a, b: g,
    "logistic": lambda g, x, y, a, b: g * y * (1 - y),
    "relu": lambda g, x, y, a, b: g * (y > 0),
    "brelu": lambda g, x, y, a, b: g * ((y > 0) & (y < a)),
    "abs": lambda g, x, y, a, b: g * np.where(x > 0, 1, -1),
    "tanh": lambda g, x, y, a, b: g * b * (a - y * y / a),
    "drelu": lambda g, x, y, a, b: g * np.tanh(x / a) ** 2,
    "softrelu": lambda g, x, y, a, b: np.where(x > 4, g, g / (1 + np.exp(-np.minimum(x, 4)))),
    "square": lambda g, x, y, a, b: 2 * g * x,
    "sqrt": lambda g, x, y, a, b: g / (2 * y),
    "linear": lambda g, x, y, a, b: g * a,
    "log": lambda g, x, y, a, b: g / (a + x),
}


class NeuronOps:
    """neuron_*, nrelu, softmax_*, dropout, eltmax_*."""

    def neuron_forward(self, kind, a, b, x, out):
        out[...] = _FORWARD[kind](x, a, b)

    def neuron_input_grad(self, kind, a, b, x, y, grad, into, scale_targets=0.0):
        store(into, _GRADIENT[kind](grad, x, y, a, b), scale_targets)

    def nrelu_forward(self, x, out, key):
        y = np.maximum(x, 0)
        noise = philox.gaussian(key, x.size).reshape(x.shape)
        out[...] = np.maximum(y + y * noise, 0)

    def softmax_forward(self, x, out):
        e = np.exp(x - x.max(axis=0))
        out[...] = e / e.sum(axis=0)

    def softmax_input_grad(self, y, grad, into, scale_targets=0.0):
        store(into, y * (grad - (grad * y).sum(axis=0)), scale_targets)

    def dropout(self, x, out, keep, gain, key, scale_targets=0.0):
        stays = (philox.uniform(key, x.size) < np.float32(keep)).reshape(x.shape)
        store(out, np.where(stays, gain * x, 0), scale_targets)

    def eltmax_forward(self, x, out):
        np.maximum(out, x, out=out)

    def eltmax_input_grad(self, x, y, grad, into, scale_targets=0.0):
        store(into, np.where(x == y, grad, 0), scale_targets)
