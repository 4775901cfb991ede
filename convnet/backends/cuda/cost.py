"""Costs: the host side of ``cuda/cost.cu``.

Letters: K classes, N cases.
"""

from __future__ import annotations

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.cuda.launch import THREADS, Launcher, blocks_for, ceil_div, rows_for

_KINDS = (
    "LOGREG", "LOGREG_FUSED", "CROSSENT", "CROSSENT_FUSED", "CROSSENT2_FUSED", "BCE", "BCE_FUSED", "SUM2", "GSUM2",
    "RFLICKR", "PLAIN",
)  # fmt: skip
_PER_CASE = ("LOGREG", "LOGREG_FUSED", "GSUM2")
_NAMES = {kind: i for i, kind in enumerate(_KINDS)}
_MOST_PARTS = 256


class CostOps(Launcher, Backend):
    """Every *_cost, *_input_grad, *_fused_grad and *_gate_grad."""

    def logreg_cost(self, labels, probs, costs, topk):
        self._label_cost(labels, probs, None, costs, topk)

    def logreg_input_grad(self, labels, probs, into, coeff, scale_targets=0.0):
        self._cost_grad("LOGREG", labels, probs, into, coeff, scale_targets)

    def logreg_fused_grad(self, labels, probs, into, coeff, scale_targets=0.0):
        self._cost_grad("LOGREG_FUSED", labels, probs, into, coeff, scale_targets)

    def crossent_cost(self, targets, probs, costs):
        self._target_cost(targets, probs, costs, 2, 1.0, 0)

    def crossent_input_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        self._cost_grad("CROSSENT", targets, probs, into, coeff, scale_targets)

    def crossent_fused_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        sums = self.device.empty((probs.shape[1],))
        self._case_sums(targets, sums, 0, 1.0, 0.0)
        self._cost_grad("CROSSENT_FUSED", targets, probs, into, coeff, scale_targets, sums=sums)

    def crossent2_cost(self, targets, probs, costs):
        self._target_cost(targets, probs, costs, 1, 1.0, 1)

    def crossent2_input_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        self._cost_grad("BCE", targets, probs, into, coeff, scale_targets)

    def crossent2_fused_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        self._cost_grad("CROSSENT2_FUSED", targets, probs, into, coeff, scale_targets)

    def bce_cost(self, targets, probs, costs, *, pos_weight):
        self._target_cost(targets, probs, costs, 3, pos_weight, 1)

    def bce_input_grad(self, targets, probs, into, coeff, scale_targets=0.0, *, pos_weight):
        self._cost_grad("BCE", targets, probs, into, coeff, scale_targets, pos_weight)

    def bce_fused_grad(self, targets, probs, into, coeff, scale_targets=0.0, *, pos_weight):
        self._cost_grad("BCE_FUSED", targets, probs, into, coeff, scale_targets, pos_weight)

    def dce_cost(self, targets, probs, costs, *, pos_weight):
        self._target_cost(targets, probs, costs, 2, pos_weight, 1)
        grid, args = (len(probs),), (targets, probs, costs, probs.shape[1])
        self._cost_kernel("class_counts", grid, (THREADS,), *args)

    def sum2_cost(self, x, costs):
        self._sum_cost("SUM2", x, None, costs)

    def gsum2_cost(self, gates, x, costs):
        self._sum_cost("GSUM2", x, gates, costs)

    def gsum2_gate_grad(self, gates, x, into, coeff, scale_targets=0.0):
        self._case_sums(x, into, 1, -coeff, scale_targets)

    def gsum2_input_grad(self, gates, x, into, coeff, scale_targets=0.0):
        self._cost_grad("GSUM2", gates, x, into, coeff, scale_targets)

    def rflickr_cost(self, targets, predictions, costs):
        self._sum_cost("RFLICKR", predictions, targets, costs)

    def rflickr_input_grad(self, targets, predictions, into, coeff, scale_targets=0.0):
        self._cost_grad("RFLICKR", targets, predictions, into, coeff, scale_targets)

    def tica_cost(self, images, reciprocals, costs, size):
        self._tica(images, None, reciprocals, size, 0, 0.0, 0.0)
        self._sum_cost("PLAIN", reciprocals, None, costs)

    def tica_input_grad(self, images, reciprocals, into, size, coeff, scale_targets=0.0):
        self._tica(images, reciprocals, into, size, 1, coeff, scale_targets)

    def msm_cost(self, labels, energies, costs, *, set_size):
        self._label_cost(labels, energies, self._marginals(energies, None, set_size), costs, set_size)

    def msm_input_grad(self, labels, energies, into, coeff, scale_targets=0.0, *, set_size):
        marginals = self._marginals(energies, None, set_size)
        given_label = self._marginals(energies, labels, set_size)
        self._each_value("msm_grad", into.size, given_label, marginals, into, into.size, coeff, scale_targets)

    # -- launches -----------------------------------------------------------------------------------------------

    def _label_cost(self, labels, scores, of_label, costs, topk: int) -> None:
        (K, N), parts = scores.shape, self.device.empty((3, scores.shape[1]), np.float64)
        self._by_case("label_cost", scores, labels, scores, of_label, parts, K, N, topk)
        self._add_up(parts, costs)

    def _target_cost(self, targets, probs, costs, slots: int, pos_weight: float, binomial: int) -> None:
        (K, N), parts = probs.shape, self.device.empty((2 + binomial, probs.shape[1]), np.float64)
        self._by_case("target_cost", probs, targets, probs, parts, K, N, pos_weight, binomial)
        self._add_up(parts[:slots], costs)

    def _sum_cost(self, kind: str, x, other, costs) -> None:
        count = min(blocks_for(x.size), _MOST_PARTS)
        parts = self.device.empty((1, count), np.float64)
        self._cost_kernel("sum_cost", (count,), (THREADS,), x, other, parts, x.size, x.shape[-1], kind=kind)
        self._add_up(parts, costs)

    def _add_up(self, parts, costs) -> None:
        slots, count = parts.shape
        self._cost_kernel("total", (slots,), (THREADS,), parts, costs, count)

    def _cost_grad(self, kind: str, t, p, into, coeff, scale_targets, pos_weight=1.0, sums=None) -> None:
        args = (t, p, sums, into, into.size, into.shape[-1], coeff, pos_weight, scale_targets)
        self._each_value("cost_grad", into.size, *args, kind=kind)

    def _case_sums(self, x, sums, squared: int, gain: float, scale_targets: float) -> None:
        K, N = x.shape
        self._by_case("case_sums", x, x, sums, K, N, squared, gain, scale_targets)

    def _tica(self, images, reciprocals, out, size: int, backward: int, coeff: float, scale_targets: float) -> None:
        _, side, _, N = images.shape
        args = (images, reciprocals, out, out.size, side, N, size, backward, coeff, scale_targets)
        self._each_value("tica", out.size, *args)

    def _marginals(self, energies, labels, size: int):
        K, N = energies.shape
        marginals = self.device.empty((K, N), np.float64)
        tables = [self.device.empty((K + 1, size + 1, N), np.float64) for _ in range(2)]
        self._each_value("set_marginals", N, energies, labels, marginals, *tables, K, N, size)
        return marginals

    def _by_case(self, kernel: str, scores, *args) -> None:
        rows, blocks = rows_for(scores.shape[0]), ceil_div(scores.shape[1], 32)
        self._cost_kernel(kernel, (blocks,), (32, rows), *args, rows=rows)

    def _cost_kernel(self, kernel: str, grid, block, *args, kind: str = "PLAIN", rows: int = 8) -> None:
        shapes = {"KIND": _KINDS.index(kind), "PER_CASE": int(kind in _PER_CASE)}
        tiles = {"ROWS": rows, "THREADS": THREADS}
        self.run("cost", kernel, grid, block, *args, shapes=shapes, tiles=tiles, names=_NAMES)

    def _each_value(self, kernel: str, count: int, *args, kind: str = "PLAIN") -> None:
        self._cost_kernel(kernel, (blocks_for(count),), (THREADS,), *args, kind=kind)
