"""Neurons, softmax and dropout: the host side of ``cuda/neuron.cu``."""

from typing import Any

from convnet.backends.arguments import NEURONS, Activation
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.device import Dim
from convnet.backends.cuda.launch import NEURON_NAMES, THREADS, Launcher, blocks_for, ceil_div, rows_for
from convnet.backends.philox import Key

_NAMES = {"KIND": NEURON_NAMES}
_READS_X = ("abs", "drelu", "softrelu", "square", "log")
_READS_Y = ("logistic", "relu", "brelu", "tanh", "sqrt")


class NeuronOps(Launcher, Backend):
    """neuron_*, nrelu, softmax_*, dropout."""

    def neuron_forward(self, x: Array, out: Array, *, activation: Activation) -> None:
        kind, a, b = activation
        self._each_neuron("neuron_forward", out.size, x, out, out.size, a, b, kind=kind)

    def neuron_input_grad(
        self, x: Array, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0, *, activation: Activation
    ) -> None:
        kind, a, b = activation
        reads = (x if kind in _READS_X else None, y if kind in _READS_Y else None)
        args = (*reads, grad, input_grad, input_grad.size, a, b, scale_targets)
        self._each_neuron("neuron_input_grad", input_grad.size, *args, kind=kind)

    def nrelu_forward(self, x: Array, out: Array, *, key: Key) -> None:
        runs, length, blocks = key.runs(out.shape)
        self._each_neuron("nrelu_forward", runs * blocks, x, out, runs, length, blocks, *key, self.now)

    def dropout(self, x: Array, out: Array, scale_targets: float = 0, *, keep: float, gain: float, key: Key) -> None:
        runs, length, blocks = key.runs(out.shape)
        args = (x, out, runs, length, blocks, keep, gain, scale_targets, *key, self.now)
        self._each_neuron("dropout", runs * blocks, *args)

    def softmax_forward(self, x: Array, out: Array) -> None:
        self._softmax("softmax_forward", x, out, *x.shape)

    def softmax_input_grad(self, y: Array, grad: Array, input_grad: Array, scale_targets: float = 0) -> None:
        self._softmax("softmax_input_grad", y, grad, input_grad, *y.shape, scale_targets)

    def _each_neuron(self, kernel: str, count: int, *args: Any, kind: str = "ident") -> None:
        self._neuron_kernel(kernel, (blocks_for(count),), (THREADS,), kind, rows_for(1), *args)

    def _softmax(self, kernel: str, x: Array, *args: Any) -> None:
        rows = rows_for(x.shape[0])
        self._neuron_kernel(kernel, (ceil_div(x.shape[1], 32),), (32, rows), "ident", rows, x, *args)

    def _neuron_kernel(self, kernel: str, grid: Dim, block: Dim, kind: str, rows: int, *args: Any) -> None:
        shapes = {"KIND": NEURONS.index(kind), "NEEDS_X": int(kind in _READS_X), "NEEDS_Y": int(kind in _READS_Y)}
        self.run("neuron", kernel, grid, block, *args, shapes=shapes, tiles={"ROWS": rows}, names=_NAMES)
