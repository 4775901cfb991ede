"""fc as products of the device's library; treefc's sums along the tree (``cuda/weights.cu``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.launch import Launcher

_FLOAT = 4


class FcOps(Launcher, Backend):
    """fc_* with w[f, k]; in blocks, w[:, k] holds the weights of k's own block of outputs. tree_*."""

    _integers: dict[tuple[int, ...], DeviceArray]

    def fc_forward(self, x, weights, out, scale_targets=0.0, scale_output=1.0, *, parts=1):
        K, F, N = len(x) // parts, len(out) // parts, x.shape[1]
        for p in range(parts):
            w, xp, op = weights.pointer + p * K * _FLOAT, x.pointer + p * K * N * _FLOAT, out.pointer + p * F * N * _FLOAT
            self.device.gemm(w, xp, op, F, N, K, len(x), N, N, False, False, scale_output, scale_targets)

    def fc_input_grad(self, grad, weights, into, scale_targets=0.0, scale_output=1.0, *, parts=1):
        K, F, N = len(into) // parts, len(grad) // parts, grad.shape[1]
        for p in range(parts):
            w, gp, ip = (
                weights.pointer + p * K * _FLOAT,
                grad.pointer + p * F * N * _FLOAT,
                into.pointer + p * K * N * _FLOAT,
            )
            self.device.gemm(w, gp, ip, K, N, F, len(into), N, N, True, False, scale_output, scale_targets)

    def fc_weight_grad(self, x, grad, into, scale_targets=0.0, scale_output=1.0, *, parts=1):
        K, F, N = len(x) // parts, len(grad) // parts, x.shape[1]
        for p in range(parts):
            gp, xp, ip = grad.pointer + p * F * N * _FLOAT, x.pointer + p * K * N * _FLOAT, into.pointer + p * K * _FLOAT
            self.device.gemm(gp, xp, ip, F, K, N, N, N, len(x), False, True, scale_output, scale_targets)

    def tree_forward(self, offsets, effective, parents, top_down):
        nodes, columns = offsets.shape
        self.each(
            "weights", "tree_forward", columns, offsets, effective, self._held(parents), self._held(top_down), nodes, columns
        )

    def tree_backward(self, grad, parents, top_down, leaves):
        nodes, columns = grad.shape
        self.each(
            "weights", "tree_backward", columns, grad, self._held(parents), self._held(top_down), nodes, leaves, columns
        )

    def tree_update(self, weights, increments, grad, leaves_below, momentum, rate, decay):
        columns = weights.shape[1]
        args = (weights, increments, grad, self._held(leaves_below), columns, weights.size, momentum, rate, decay)
        self.each("weights", "tree_update", weights.size, *args)

    def _held(self, numbers: Sequence[int]) -> DeviceArray:
        """Integers on the device, copied once."""
        key = tuple(int(number) for number in numbers)
        if key not in self._integers:
            self._integers[key] = self.device.upload(np.asarray(key, np.int32))
        return self._integers[key]
