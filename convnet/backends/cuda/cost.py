"""Costs: the host side of ``cuda/cost.cu``.

Letters: K classes, N cases.
"""

from typing import Any

import numpy as np

from convnet.backends.arguments import Criterion
from convnet.backends.base import Backend
from convnet.backends.cuda.array import DeviceArray as Array
from convnet.backends.cuda.device import Dim
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div, rows_for

# Kinds of ``cost_input_grad`` and of sums, in the order of the kernels' numbers.
_KINDS = ("logreg", "logreg_fused", "crossent", "crossent_fused", "bce", "bce_fused", "sum2", "gsum2", "rflickr", "plain")
_PER_CASE = ("logreg", "logreg_fused", "gsum2")
_NAMES = {"KIND": [kind.upper() for kind in _KINDS]}
_MAX_PARTS = 256


class CostOps(Launcher, Backend):
    """cost_*, and the ops of gates and of tica."""

    def cost_forward(self, targets: Array | None, predictions: Array, costs: Array, *, criterion: Criterion) -> None:
        kind, _, topk, pos_weight, set_size = criterion
        if kind == "logreg":
            self._label_cost(targets, predictions, None, costs, topk)
        elif kind == "msm":
            self._label_cost(targets, predictions, self._marginals(predictions, None, set_size), costs, set_size)
        elif kind == "dce":
            self._target_cost("bce", targets, predictions, costs[:2], pos_weight)
            args = (targets, predictions, costs, predictions.shape[1])
            self._cost_kernel("class_counts", (len(predictions),), (THREADS,), *args)
        elif kind in ("crossent", "bce"):
            self._target_cost(kind, targets, predictions, costs, pos_weight)
        else:
            self._sum_cost(kind, predictions, targets, costs)

    def cost_input_grad(
        self, targets: Array, predictions: Array, input_grad: Array, scale_targets: float = 0, *, criterion: Criterion
    ) -> None:
        kind, coeff, _, pos_weight, set_size = criterion
        count, sums = input_grad.size, None
        if kind == "msm":
            marginals = [self._marginals(predictions, labels, set_size) for labels in (None, targets)]
            self._each_value("msm_grad", count, marginals[1], marginals[0], input_grad, count, coeff, scale_targets)
            return
        if kind == "crossent_fused":
            sums = self.device.empty((targets.shape[1],))
            self._case_sums(targets, sums, 0, 1.0, 0.0)
        args = (targets, predictions, sums, input_grad, count, input_grad.shape[-1], coeff, pos_weight, scale_targets)
        self._each_value("cost_grad", count, *args, kind=kind)

    def gsum2_gate_grad(self, x: Array, gate_grad: Array, scale_targets: float = 0, *, coeff: float) -> None:
        self._case_sums(x, gate_grad, 1, -coeff, scale_targets)

    def tica_cost(self, images: Array, reciprocals: Array, costs: Array, *, size: int) -> None:
        self._tica(images, None, reciprocals, size, 0.0, 0.0)
        self._sum_cost("plain", reciprocals, None, costs)

    def tica_input_grad(
        self, images: Array, reciprocals: Array, input_grad: Array, scale_targets: float = 0, *, size: int, coeff: float
    ) -> None:
        self._tica(images, reciprocals, input_grad, size, coeff, scale_targets)

    # -- launches -----------------------------------------------------------------------------------------------

    def _label_cost(self, labels: Array | None, scores: Array, of_label: Array | None, costs: Array, topk: int) -> None:
        (K, N), parts = scores.shape, self.device.empty((3, scores.shape[1]), np.float64)
        self._by_case("label_cost", scores, labels, scores, of_label, parts, K, N, topk)
        self._add_up(parts, costs)

    def _target_cost(self, kind: str, targets: Array | None, probs: Array, costs: Array, pos_weight: float) -> None:
        binomial = int(kind == "bce")
        (K, N), parts = probs.shape, self.device.empty((2 + binomial, probs.shape[1]), np.float64)
        self._by_case("target_cost", probs, targets, probs, parts, K, N, pos_weight, binomial)
        self._add_up(parts[: len(costs)], costs)

    def _sum_cost(self, kind: str, x: Array, other: Array | None, costs: Array) -> None:
        count = min(blocks_for(x.size), _MAX_PARTS)
        parts = self.device.empty((1, count), np.float64)
        self._cost_kernel("sum_cost", (count,), (THREADS,), x, other, parts, x.size, x.shape[-1], kind=kind)
        self._add_up(parts, costs)

    def _add_up(self, parts: Array, costs: Array) -> None:
        slots, count = parts.shape
        self._cost_kernel("total", (slots,), (THREADS,), parts, costs, count)

    def _case_sums(self, x: Array, sums: Array, squared: int, gain: float, scale_targets: float) -> None:
        self._by_case("case_sums", x, x, sums, *x.shape, squared, gain, scale_targets)

    def _tica(
        self, images: Array, reciprocals: Array | None, out: Array, size: int, coeff: float, scale_targets: float
    ) -> None:
        """Launch the forward pass, or the backward pass if ``reciprocals`` are passed."""
        _, side, _, N = images.shape
        backward = int(reciprocals is not None)
        args = (images, reciprocals, out, out.size, side, N, size, backward, coeff, scale_targets)
        self._each_value("tica", out.size, *args)

    def _marginals(self, energies: Array, labels: Array | None, size: int) -> Array:
        K, N = energies.shape
        marginals = self.device.empty((K, N), np.float64)
        tables = [self.device.empty((K + 1, size + 1, N), np.float64) for _ in range(2)]
        self._each_value("set_marginals", N, energies, labels, marginals, *tables, K, N, size)
        return marginals

    def _by_case(self, kernel: str, scores: Array, *args: Any) -> None:
        rows, blocks = rows_for(scores.shape[0]), ceil_div(scores.shape[1], 32)
        self._cost_kernel(kernel, (blocks,), (32, rows), *args, rows=rows)

    def _each_value(self, kernel: str, count: int, *args: Any, kind: str = "plain") -> None:
        self._cost_kernel(kernel, (blocks_for(count),), (THREADS,), *args, kind=kind)

    def _cost_kernel(self, kernel: str, grid: Dim, block: Dim, *args: Any, kind: str = "plain", rows: int = 8) -> None:
        shapes = {"KIND": _KINDS.index(kind), "PER_CASE": int(kind in _PER_CASE)}
        tiles = {"ROWS": rows, "THREADS": THREADS}
        self.run("cost", kernel, grid, block, *args, shapes=shapes, tiles=tiles, names=_NAMES)
