"""Costs and their gradients (numerics section 12). Sums run in float64.

Letters: K classes, N cases.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convnet.backends.base import Backend
from convnet.backends.reference.common import Array, box_sum, store


def _one_hot(labels: Array, like: Array) -> Array:
    return np.arange(len(like))[:, None] == labels.astype(np.int64)


def _safe_log(p: Array) -> Array:
    return np.where(p > 0, np.log(np.where(p > 0, p, 1)), -50.0)


def _label_credit(scores: Array, hot: Array, k: int) -> float:
    """Sum over cases the share of ``k`` guesses that falls to the label, ties sharing (numerics 12.1)."""
    score = (scores * hot).sum(axis=0)
    above, level = (scores > score).sum(axis=0), (scores == score).sum(axis=0)
    return float(np.clip((k - above) / np.maximum(level, 1), 0, 1).sum())


def _target_credit(targets: Array, scores: Array, weigh: bool) -> float:
    """Sum over cases the largest outputs' targets, shared among ties; any positive one counts 1 unless ``weigh``."""
    best = scores == scores.max(axis=0)
    hit = (best * targets).sum(axis=0) if weigh else (best & (targets > 0)).any(axis=0)
    return float((hit / best.sum(axis=0)).sum())


class _Values(NamedTuple):
    """What a gradient reads: labels, targets or gates t, predictions y, coeff c, and the weight w of positive targets."""

    t: Array
    y: Array
    c: float
    w: float

    @property
    def hot(self) -> Array:
        """[j == label]."""
        return _one_hot(self.t, self.y)


_GRADIENTS = {
    "logreg": lambda v: np.where(v.hot, v.c / np.where(v.hot, v.y, 1), 0),
    "logreg_fused": lambda v: v.c * (v.hot - v.y),
    "crossent": lambda v: v.c * v.t / v.y,
    "crossent_fused": lambda v: v.c * (v.t - v.y * v.t.sum(axis=0)),
    "bce": lambda v: v.c * (v.w * v.t / v.y + (v.t - 1) / (1 - v.y)),
    "bce_fused": lambda v: v.c * (v.w * v.t * (1 - v.y) + (v.t - 1) * v.y),
    "gsum2": lambda v: -2 * v.c * v.t * v.y,
    "rflickr": lambda v: -v.c * 2 * (v.y - v.t) / (1 + (v.y - v.t) * (v.y - v.t)),
}


class CostOps(Backend):
    """Every *_cost, cost_input_grad, and the gradients of gates, tica and msm."""

    def logreg_cost(self, labels: Array, probs: Array, costs: Array, *, topk: int) -> None:
        hot, cases = _one_hot(labels, probs), probs.shape[1]
        with np.errstate(divide="ignore"):
            logs = np.log((probs * hot).sum(axis=0, dtype=np.float64))
        costs[:] = [-logs.sum(), cases - _label_credit(probs, hot, 1), cases - _label_credit(probs, hot, topk)]

    def crossent_cost(self, targets: Array, probs: Array, costs: Array) -> None:
        value = -(targets * _safe_log(probs)).sum(dtype=np.float64)
        costs[:] = [value, probs.shape[1] - _target_credit(targets, probs, weigh=False)]

    def bce_cost(self, targets: Array, probs: Array, costs: Array, *, pos_weight: float) -> None:
        p = probs.astype(np.float64)
        value = -(pos_weight * targets * _safe_log(p) + (1 - targets) * _safe_log(1 - p)).sum()
        wrong = ((probs > 0.5) != targets).sum() / len(probs)
        error = probs.shape[1] - _target_credit(targets, probs, weigh=True)
        costs[:] = [value, wrong, error][: len(costs)]

    def dce_cost(self, targets: Array, probs: Array, costs: Array, *, pos_weight: float) -> None:
        self.bce_cost(targets, probs, costs[:2], pos_weight=pos_weight)
        declared, positive = probs > 0.5, targets > 0
        counts = [declared.sum(axis=1), positive.sum(axis=1), (declared & positive).sum(axis=1)]
        costs[2:] = np.stack(counts, axis=1).reshape(-1)

    def sum2_cost(self, x: Array, costs: Array) -> None:
        costs[:] = [np.square(x, dtype=np.float64).sum()]

    def gsum2_cost(self, gates: Array, x: Array, costs: Array) -> None:
        costs[:] = [(gates * np.square(x, dtype=np.float64)).sum()]

    def rflickr_cost(self, targets: Array, predictions: Array, costs: Array) -> None:
        costs[:] = [np.log1p(np.square(predictions - targets, dtype=np.float64)).sum()]

    def cost_input_grad(
        self,
        kind: str,
        targets: Array,
        predictions: Array,
        input_grad: Array,
        scale_targets: float = 0.0,
        *,
        coeff: float,
        pos_weight: float = 1.0,
    ) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            store(input_grad, _GRADIENTS[kind](_Values(targets, predictions, coeff, pos_weight)), scale_targets)

    def gsum2_gate_grad(self, x: Array, gate_grad: Array, scale_targets: float = 0.0, *, coeff: float) -> None:
        store(gate_grad, -coeff * np.square(x).sum(axis=0, keepdims=True), scale_targets)

    def tica_cost(self, images: Array, reciprocals: Array, costs: Array, *, size: int) -> None:
        energy = box_sum(box_sum(images**2, size // 2, size, axis=1), size // 2, size, axis=2)
        reciprocals[...] = 1 / (0.001 + np.sqrt(energy))
        costs[:] = [reciprocals.sum(dtype=np.float64)]

    def tica_input_grad(
        self, images: Array, reciprocals: Array, input_grad: Array, scale_targets: float = 0.0, *, size: int, coeff: float
    ) -> None:
        back = size - 1 - size // 2
        total = box_sum(box_sum(reciprocals, back, size, axis=1), back, size, axis=2)
        store(input_grad, -coeff * images * total, scale_targets)

    def msm_cost(self, labels: Array, energies: Array, costs: Array, *, set_size: int) -> None:
        hot, cases = _one_hot(labels, energies), energies.shape[1]
        logs = np.log((_set_marginals(energies, set_size) * hot).sum(axis=0))
        correct = [_label_credit(energies, hot, 1), _label_credit(energies, hot, set_size)]
        costs[:] = [-logs.sum(), cases - correct[0], cases - correct[1]]

    def msm_input_grad(
        self, labels: Array, energies: Array, input_grad: Array, scale_targets: float = 0.0, *, set_size: int, coeff: float
    ) -> None:
        hot = _one_hot(labels, energies)
        # With the label in the set, the rest is a set of set_size - 1 of the other classes.
        others = _set_marginals(np.where(hot, -np.inf, energies), set_size - 1)
        store(input_grad, coeff * (hot + others - _set_marginals(energies, set_size)), scale_targets)


def _set_marginals(energies: Array, size: int) -> Array:
    """Return P(i in set) over sets of ``size`` classes drawn with probability proportional to exp(sum of their energies).

    Forward and backward sums over classes and sizes, in logs (numerics 12.10).
    """
    K, N = energies.shape
    e = (energies - energies.max(axis=0)).astype(np.float64)
    if size == 0:
        return np.zeros((K, N))
    forward, backward = _lattice(e, size), _lattice(e[::-1], size)
    total = forward[K, size]
    marginals = np.empty((K, N))
    for i in range(K):
        ways = [forward[i, j] + e[i] + backward[K - 1 - i, size - 1 - j] for j in range(size)]
        marginals[i] = np.exp(np.logaddexp.reduce(ways, axis=0) - total)
    return marginals


def _lattice(e: Array, size: int) -> Array:
    """Return the log of the sum over all ways to draw j of the first i classes, as [i, j, n]."""
    table = np.full((len(e) + 1, size + 1, e.shape[1]), -np.inf)
    table[0, 0] = 0
    for i, energy in enumerate(e):
        table[i + 1] = table[i]
        table[i + 1, 1:] = np.logaddexp(table[i, 1:], table[i, :-1] + energy)
    return table
