"""Neurons, softmax and dropout: the host side of ``cuda/neuron.cu``."""

from __future__ import annotations

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div, rows_for

_KINDS = (
    "ident", "logistic", "relu", "brelu", "abs", "tanh", "drelu", "softrelu", "square", "sqrt", "linear", "log",
)  # fmt: skip
_NAMES = {kind.upper(): i for i, kind in enumerate(_KINDS)}
_READS_X = ("abs", "drelu", "softrelu", "square", "log")
_READS_Y = ("logistic", "relu", "brelu", "tanh", "sqrt")


class NeuronOps(Launcher, Backend):
    """neuron_*, nrelu, softmax_*, dropout."""

    def neuron_forward(self, kind, a, b, x, out):
        self._each_neuron("neuron_forward", out.size, x, out, out.size, a, b, kind=kind)

    def neuron_input_grad(self, kind, a, b, x, y, grad, into, scale_targets=0.0):
        args = (x if kind in _READS_X else None, y if kind in _READS_Y else None, grad, into, into.size, a, b, scale_targets)
        self._each_neuron("neuron_input_grad", into.size, *args, kind=kind)

    def nrelu_forward(self, x, out, key):
        self._each_neuron("nrelu_forward", ceil_div(out.size, 4), x, out, out.size, *key, self.now)

    def dropout(self, x, out, keep, gain, key, scale_targets=0.0):
        args = (x, out, out.size, keep, gain, scale_targets, *key, self.now)
        self._each_neuron("dropout", ceil_div(out.size, 4), *args)

    def softmax_forward(self, x, out):
        self._softmax("softmax_forward", x.shape, x, out, *x.shape)

    def softmax_input_grad(self, y, grad, into, scale_targets=0.0):
        self._softmax("softmax_input_grad", y.shape, y, grad, into, *y.shape, scale_targets)

    def _each_neuron(self, kernel: str, count: int, *args, kind: str = "ident") -> None:
        self._neuron_kernel(kernel, (blocks_for(count),), (THREADS,), kind, rows_for(1), *args)

    def _softmax(self, kernel: str, shape: tuple[int, int], *args) -> None:
        rows = rows_for(shape[0])
        self._neuron_kernel(kernel, (ceil_div(shape[1], 32),), (32, rows), "ident", rows, *args)

    def _neuron_kernel(self, kernel: str, grid, block, kind: str, rows: int, *args) -> None:
        shapes = {"KIND": _KINDS.index(kind), "NEEDS_X": int(kind in _READS_X), "NEEDS_Y": int(kind in _READS_Y)}
        self.run("neuron", kernel, grid, block, *args, shapes=shapes, tiles={"ROWS": rows}, names=_NAMES)
