"""Neurons, softmax and dropout: the host side of ``cuda/neuron.cu``."""

from __future__ import annotations

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import Launcher, ceil_div, rows_for

_KINDS = (
    "ident", "logistic", "relu", "brelu", "abs", "tanh", "drelu", "softrelu", "square", "sqrt", "linear", "log",
)  # fmt: skip
_NUMBERS = {kind.upper(): i for i, kind in enumerate(_KINDS)}
_READS_X = ("abs", "drelu", "softrelu", "square", "log")
_READS_Y = ("logistic", "relu", "brelu", "tanh", "sqrt")
_TILES = {**_NUMBERS, "ROWS": 8}


class NeuronOps(Launcher, Backend):
    """neuron_*, nrelu, softmax_*, dropout."""

    def neuron_forward(self, kind, a, b, x, out):
        self.each("neuron", "neuron_forward", out.size, x, out, out.size, a, b, shapes=_shapes(kind), tiles=_TILES)

    def neuron_input_grad(self, kind, a, b, x, y, grad, into, scale_targets=0.0):
        args = (x if kind in _READS_X else None, y if kind in _READS_Y else None, grad, into, into.size, a, b, scale_targets)
        self.each("neuron", "neuron_input_grad", into.size, *args, shapes=_shapes(kind), tiles=_TILES)

    def nrelu_forward(self, x, out, key):
        count = ceil_div(out.size, 4)
        self.each("neuron", "nrelu_forward", count, x, out, out.size, *key, self.now, shapes=_shapes("ident"), tiles=_TILES)

    def dropout(self, x, out, keep, gain, key, scale_targets=0.0):
        args = (x, out, out.size, keep, gain, scale_targets, *key, self.now)
        self.each("neuron", "dropout", ceil_div(out.size, 4), *args, shapes=_shapes("ident"), tiles=_TILES)

    def softmax_forward(self, x, out):
        self._softmax("softmax_forward", x.shape, x, out, *x.shape)

    def softmax_input_grad(self, y, grad, into, scale_targets=0.0):
        self._softmax("softmax_input_grad", y.shape, y, grad, into, *y.shape, scale_targets)

    def _softmax(self, kernel: str, shape: tuple[int, int], *args) -> None:
        rows = rows_for(shape[0])
        tiles = {"THREADS": 256, **_TILES, "ROWS": rows}
        self.run("neuron", kernel, (ceil_div(shape[1], 32),), (32, rows), *args, shapes=_shapes("ident"), tiles=tiles)


def _shapes(kind: str) -> dict[str, int]:
    return {"KIND": _NUMBERS[kind.upper()], "NEEDS_X": int(kind in _READS_X), "NEEDS_Y": int(kind in _READS_Y)}
