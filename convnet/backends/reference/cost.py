"""Costs and their gradients (numerics section 12). Sums run in float64.

Letters: K classes, N cases.
"""

from __future__ import annotations

import numpy as np

from convnet.backends.reference.common import box_sum, store


def _one_hot(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.arange(len(like))[:, None] == labels.astype(np.int64)


def _safe_log(p: np.ndarray) -> np.ndarray:
    return np.where(p > 0, np.log(np.where(p > 0, p, 1)), -50.0)


def _label_credit(scores: np.ndarray, hot: np.ndarray, k: int) -> float:
    """Sum over cases of the share of ``k`` guesses that falls to the label, ties sharing (numerics 12.1)."""
    own = (scores * hot).sum(axis=0)
    above, level = (scores > own).sum(axis=0), (scores == own).sum(axis=0)
    return float(np.clip((k - above) / np.maximum(level, 1), 0, 1).sum())


def _target_credit(targets: np.ndarray, scores: np.ndarray, weigh: bool) -> float:
    """Sum over cases of the largest outputs' targets, shared among ties; any positive one counts whole unless ``weigh``."""
    best = scores == scores.max(axis=0)
    hit = (best * targets).sum(axis=0) if weigh else (best & (targets > 0)).any(axis=0)
    return float((hit / best.sum(axis=0)).sum())


class CostOps:
    """Every *_cost, *_input_grad, *_fused_grad and *_gate_grad."""

    def logreg_cost(self, labels, probs, costs, topk):
        hot, cases = _one_hot(labels, probs), probs.shape[1]
        with np.errstate(divide="ignore"):
            logs = np.log((probs * hot).sum(axis=0, dtype=np.float64))
        costs[:] = [-logs.sum(), cases - _label_credit(probs, hot, 1), cases - _label_credit(probs, hot, topk)]

    def logreg_input_grad(self, labels, probs, into, coeff, scale_targets=0.0):
        hot = _one_hot(labels, probs)
        store(into, np.where(hot, coeff / np.where(hot, probs, 1), 0), scale_targets)

    def logreg_fused_grad(self, labels, probs, into, coeff, scale_targets=0.0):
        store(into, coeff * (_one_hot(labels, probs) - probs), scale_targets)

    def crossent_cost(self, targets, probs, costs):
        value = -(targets * _safe_log(probs)).sum(dtype=np.float64)
        costs[:] = [value, probs.shape[1] - _target_credit(targets, probs, weigh=False)]

    def crossent_input_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        store(into, coeff * targets / probs, scale_targets)

    def crossent_fused_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        store(into, coeff * (targets - probs * targets.sum(axis=0)), scale_targets)

    def crossent2_cost(self, targets, probs, costs):
        costs[:] = [_binomial(targets, probs, 1.0)]

    def crossent2_input_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        self.bce_input_grad(targets, probs, into, coeff, scale_targets, pos_weight=1.0)

    def crossent2_fused_grad(self, targets, probs, into, coeff, scale_targets=0.0):
        store(into, coeff * (targets - probs), scale_targets)

    def bce_cost(self, targets, probs, costs, *, pos_weight):
        wrong = ((probs > 0.5) != targets).sum() / len(probs)
        error = probs.shape[1] - _target_credit(targets, probs, weigh=True)
        costs[:] = [_binomial(targets, probs, pos_weight), wrong, error]

    def bce_input_grad(self, targets, probs, into, coeff, scale_targets=0.0, *, pos_weight):
        t, y = targets, probs
        with np.errstate(divide="ignore", invalid="ignore"):
            store(into, coeff * (pos_weight * t / y + (t - 1) / (1 - y)), scale_targets)

    def bce_fused_grad(self, targets, probs, into, coeff, scale_targets=0.0, *, pos_weight):
        t, y = targets, probs
        store(into, coeff * (pos_weight * t * (1 - y) + (t - 1) * y), scale_targets)

    def dce_cost(self, targets, probs, costs, *, pos_weight):
        declared, positive = probs > 0.5, targets > 0
        wrong = (declared != targets).sum() / len(probs)
        counts = [declared.sum(axis=1), positive.sum(axis=1), (declared & positive).sum(axis=1)]
        costs[:2] = [_binomial(targets, probs, pos_weight), wrong]
        costs[2:] = np.stack(counts, axis=1).reshape(-1)

    def sum2_cost(self, x, costs):
        costs[:] = [np.square(x, dtype=np.float64).sum()]

    def gsum2_cost(self, gates, x, costs):
        costs[:] = [(gates * np.square(x, dtype=np.float64)).sum()]

    def gsum2_gate_grad(self, gates, x, into, coeff, scale_targets=0.0):
        store(into, -coeff * np.square(x).sum(axis=0, keepdims=True), scale_targets)

    def gsum2_input_grad(self, gates, x, into, coeff, scale_targets=0.0):
        store(into, -2 * coeff * gates * x, scale_targets)

    def rflickr_cost(self, targets, predictions, costs):
        costs[:] = [np.log1p(np.square(predictions - targets, dtype=np.float64)).sum()]

    def rflickr_input_grad(self, targets, predictions, into, coeff, scale_targets=0.0):
        error = predictions - targets
        store(into, -coeff * 2 * error / (1 + error * error), scale_targets)

    def tica_cost(self, images, reciprocals, costs, size):
        energy = box_sum(box_sum(images**2, size // 2, size, axis=1), size // 2, size, axis=2)
        reciprocals[...] = 1 / (0.001 + np.sqrt(energy))
        costs[:] = [reciprocals.sum(dtype=np.float64)]

    def tica_input_grad(self, images, reciprocals, into, size, coeff, scale_targets=0.0):
        back = size - 1 - size // 2
        total = box_sum(box_sum(reciprocals, back, size, axis=1), back, size, axis=2)
        store(into, -coeff * images * total, scale_targets)

    def msm_cost(self, labels, energies, costs, *, set_size):
        hot, cases = _one_hot(labels, energies), energies.shape[1]
        logs = np.log((_set_marginals(energies, set_size) * hot).sum(axis=0))
        correct = [_label_credit(energies, hot, 1), _label_credit(energies, hot, set_size)]
        costs[:] = [-logs.sum(), cases - correct[0], cases - correct[1]]

    def msm_input_grad(self, labels, energies, into, coeff, scale_targets=0.0, *, set_size):
        hot = _one_hot(labels, energies)
        # With the label in the set, the rest is a set of set_size - 1 of the other classes.
        others = _set_marginals(np.where(hot, -np.inf, energies), set_size - 1)
        store(into, coeff * (hot + others - _set_marginals(energies, set_size)), scale_targets)


def _binomial(targets: np.ndarray, probs: np.ndarray, weight: float) -> float:
    p = probs.astype(np.float64)
    return float(-(weight * targets * _safe_log(p) + (1 - targets) * _safe_log(1 - p)).sum())


def _set_marginals(energies: np.ndarray, size: int) -> np.ndarray:
    """P(i in set) over sets of ``size`` classes drawn with probability proportional to exp(sum of their energies).

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


def _lattice(e: np.ndarray, size: int) -> np.ndarray:
    """log of the sum over all ways to draw j of the first i classes, as [i, j, n]."""
    table = np.full((len(e) + 1, size + 1, e.shape[1]), -np.inf)
    table[0, 0] = 0
    for i, energy in enumerate(e):
        table[i + 1] = table[i]
        table[i + 1, 1:] = np.logaddexp(table[i, 1:], table[i, :-1] + energy)
    return table
