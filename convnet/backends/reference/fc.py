"""fc as matrix products, in blocks for sfc; treefc's sums along the tree (numerics section 4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convnet.backends.reference.common import store


def _blocks(parts: int, inputs: int, outputs: int) -> Iterator[tuple[slice, slice]]:
    K, F = inputs // parts, outputs // parts
    for p in range(parts):
        yield slice(p * K, (p + 1) * K), slice(p * F, (p + 1) * F)


class FcOps:
    """fc_* with w[f, k]; in blocks, w[:, k] holds the weights of k's own block of outputs."""

    def fc_forward(self, x, weights, out, scale_targets=0.0, scale_output=1.0, *, parts=1):
        for k, f in _blocks(parts, len(x), len(out)):
            store(out[f], weights[:, k] @ x[k], scale_targets, scale_output)

    def fc_input_grad(self, grad, weights, into, scale_targets=0.0, scale_output=1.0, *, parts=1):
        for k, f in _blocks(parts, len(into), len(grad)):
            store(into[k], weights[:, k].T @ grad[f], scale_targets, scale_output)

    def fc_weight_grad(self, x, grad, into, scale_targets=0.0, scale_output=1.0, *, parts=1):
        for k, f in _blocks(parts, len(x), len(grad)):
            store(into[:, k], grad[f] @ x[k].T, scale_targets, scale_output)

    def tree_forward(self, offsets, effective, parents, top_down):
        for v in top_down:
            effective[v] = offsets[v] if parents[v] == v else offsets[v] + effective[parents[v]]

    def tree_backward(self, grad, parents, top_down, leaves):
        grad[leaves:] = 0
        for v in reversed(top_down[1:]):
            grad[parents[v]] += grad[v]

    def tree_update(self, weights, increments, grad, leaves_below, momentum, rate, decay):
        size = np.asarray(leaves_below, weights.dtype)[:, None]
        increments[...] = momentum * increments + rate / size * (grad - decay / size * weights)
        weights += increments
