"""fc as products of the device's library; treefc's sums along the tree (``cuda/weights.cu``)."""

from collections.abc import Sequence

import numpy as np

from convnet.backends.arguments import Activation, Rates, Slope
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.device import Product
from convnet.backends.cuda.launch import Launcher


class FcOps(Launcher, Backend):
    """fc_* with w[f, k]; in blocks, w[:, k] holds the weights of k's own block of outputs. tree_*."""

    _integers: dict[tuple[int, ...], Array]

    def fc_forward(
        self, x: Array, weights: Array, out: Array, scale_targets: float = 0, *,
        parts: int = 1, biases: Array | None = None, activation: Activation | None = None,
    ) -> None:  # fmt: skip
        K, F, N = len(x) // parts, len(out) // parts, x.shape[1]
        for p in range(parts):
            arrays = _from(weights, p * K), _from(x, p * K * N), _from(out, p * F * N)
            self.device.gemm(Product(F, N, K, *arrays, len(x), N, N, beta=scale_targets))
        self.add_biases(out, biases)
        self.activate(out, activation)

    def fc_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0, *,
        parts: int = 1, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        K, F, N = len(input_grad) // parts, len(grad) // parts, grad.shape[1]
        with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
            for p in range(parts):
                arrays = _from(weights, p * K), _from(grad, p * F * N), _from(target, p * K * N)
                self.device.gemm(Product(K, N, F, *arrays, len(target), N, N, transpose_a=True, beta=scale))

    def fc_weight_grad(
        self, x: Array, grad: Array, weight_grad: Array, scale_targets: float = 0, scale_output: float = 1, *, parts: int = 1
    ) -> None:
        K, F, N = len(x) // parts, len(grad) // parts, x.shape[1]
        for p in range(parts):
            arrays = _from(grad, p * F * N), _from(x, p * K * N), _from(weight_grad, p * K)
            self.device.gemm(Product(F, K, N, *arrays, N, N, len(x), False, True, scale_output, scale_targets))

    def tree_forward(self, offsets: Array, effective: Array, parents: Sequence[int], top_down: Sequence[int]) -> None:
        nodes, columns = offsets.shape
        args = (offsets, effective, self._on_device(parents), self._on_device(top_down), nodes, columns)
        self.each("weights", "tree_forward", columns, *args)

    def tree_backward(self, grad: Array, parents: Sequence[int], top_down: Sequence[int], leaves: int) -> None:
        nodes, columns = grad.shape
        args = (grad, self._on_device(parents), self._on_device(top_down), nodes, leaves, columns)
        self.each("weights", "tree_backward", columns, *args)

    def tree_update(
        self, weights: Array, increments: Array, grad: Array, *, leaves_below: Sequence[int], rates: Rates
    ) -> None:
        columns = weights.shape[1]
        args = (weights, increments, grad, self._on_device(leaves_below), columns, weights.size, *rates)
        self.each("weights", "tree_update", weights.size, *args)

    def _on_device(self, numbers: Sequence[int]) -> Array:
        """Return integers on the device, copied once."""
        key = tuple(int(number) for number in numbers)
        if key not in self._integers:
            self._integers[key] = self.device.upload(np.asarray(key, np.int32))
        return self._integers[key]


def _from(array: Array, start: int) -> Array:
    """View an array from its value number ``start`` on."""
    return array.reshape(-1)[start:] if start else array
