"""fc as matrix products, in blocks for sfc; treefc's sums along the tree (numerics section 4)."""

from collections.abc import Iterator, Sequence

import numpy as np

from convnet.backends.arguments import Activation, Rates, Slope
from convnet.backends.base import Backend
from convnet.backends.reference.common import Array, blas_of_one_thread, store


def _blocks(parts: int, inputs: int, outputs: int) -> Iterator[tuple[slice, slice]]:
    K, F = inputs // parts, outputs // parts
    for p in range(parts):
        yield slice(p * K, (p + 1) * K), slice(p * F, (p + 1) * F)


class FcOps(Backend):
    """fc_* with w[f, k]; in blocks, w[:, k] holds the weights of k's own block of outputs. tree_*."""

    def fc_forward(
        self, x: Array, weights: Array, out: Array, scale_targets: float = 0, *,
        parts: int = 1, biases: Array | None = None, activation: Activation | None = None,
    ) -> None:  # fmt: skip
        for k, f in _blocks(parts, len(x), len(out)):
            self._product(weights[:, k], x[k], out[f], scale_targets)
        self.add_biases(out, biases)
        self.activate(out, activation)

    def fc_input_grad(
        self, grad: Array, weights: Array, input_grad: Array, scale_targets: float = 0, *,
        parts: int = 1, slope: Slope | None = None,
    ) -> None:  # fmt: skip
        with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
            for k, f in _blocks(parts, len(target), len(grad)):
                self._product(weights[:, k].T, grad[f], target[k], scale)

    def fc_weight_grad(
        self, x: Array, grad: Array, weight_grad: Array, scale_targets: float = 0, scale_output: float = 1, *, parts: int = 1
    ) -> None:
        for k, f in _blocks(parts, len(x), len(grad)):
            self._product(grad[f], x[k].T, weight_grad[:, k], scale_targets, scale_output)

    def _product(self, a: Array, b: Array, out: Array, scale_targets: float, scale_output: float = 1) -> None:
        """out = scale_targets * out + scale_output * a @ b."""
        with blas_of_one_thread():
            store(out, a @ b, scale_targets, scale_output)

    def tree_forward(self, offsets: Array, effective: Array, parents: Sequence[int], top_down: Sequence[int]) -> None:
        for v in top_down:
            effective[v] = offsets[v] if parents[v] == v else offsets[v] + effective[parents[v]]

    def tree_backward(self, grad: Array, parents: Sequence[int], top_down: Sequence[int], leaves: int) -> None:
        grad[leaves:] = 0
        for v in reversed(top_down[1:]):
            grad[parents[v]] += grad[v]

    def tree_update(
        self, weights: Array, increments: Array, grad: Array, *, leaves_below: Sequence[int], rates: Rates
    ) -> None:
        size = np.asarray(leaves_below, weights.dtype)[:, None]
        momentum, rate, decay = rates
        increments[...] = momentum * increments + rate / size * (grad - decay / size * weights)
        weights += increments
