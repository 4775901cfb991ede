"""Costs and their gradients (numerics section 12). Sums run in float64.

Letters: K classes, N cases.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from convnet.backends.arguments import Criterion
from convnet.backends.base import Backend
from convnet.backends.reference.common import Array, box_sum, store


def _safe_log(p: Array) -> Array:
    return np.where(p > 0, np.log(np.where(p > 0, p, 1)), -50.0)


class _Values(NamedTuple):
    """What a cost and its gradient read: labels, targets or gates t, predictions y, and the constants c."""

    t: Array
    y: Array
    c: Criterion

    @property
    def hot(self) -> Array:
        """[j == label]; of a label that is none of the classes, nowhere."""
        return np.arange(len(self.y))[:, None] == np.where(self.t >= 0, np.trunc(self.t), -1)


def _label_errors(v: _Values, k: int) -> list[float]:
    """Return top-1 and top-k errors: cases minus the share of the guesses that falls to the label (numerics 12.1)."""
    score = (v.y * v.hot).sum(axis=0)
    above, level = (v.y > score).sum(axis=0), (v.y == score).sum(axis=0)
    return [len(score) - float(np.clip((guesses - above) / np.maximum(level, 1), 0, 1).sum()) for guesses in (1, k)]


def _target_errors(v: _Values, weigh: bool) -> float:
    """Return cases minus the largest outputs' targets, shared among ties; any positive one counts 1 unless ``weigh``."""
    best = v.y == v.y.max(axis=0)
    hit = (best * v.t).sum(axis=0) if weigh else (best & (v.t > 0)).any(axis=0)
    return v.y.shape[1] - float((hit / best.sum(axis=0)).sum())


def _logreg(v: _Values) -> list[float]:
    with np.errstate(divide="ignore"):
        logs = np.log((v.y * v.hot).sum(axis=0, dtype=np.float64))
    return [-logs.sum(), *_label_errors(v, v.c.topk)]


def _binomial(v: _Values) -> list[float]:
    p = v.y.astype(np.float64)
    value = -(v.c.pos_weight * v.t * _safe_log(p) + (1 - v.t) * _safe_log(1 - p)).sum()
    return [value, ((v.y > 0.5) != v.t).sum() / len(p), _target_errors(v, weigh=True)]


def _detection(v: _Values) -> list[float]:
    declared, positive = v.y > 0.5, v.t > 0
    counts = [declared.sum(axis=1), positive.sum(axis=1), (declared & positive).sum(axis=1)]
    return [*_binomial(v)[:2], *np.stack(counts, axis=1).reshape(-1)]


def _multi_softmax(v: _Values) -> list[float]:
    logs = np.log((_set_marginals(v.y, v.c.set_size) * v.hot).sum(axis=0))
    return [-logs.sum(), *_label_errors(v, v.c.set_size)]


def _multi_softmax_grad(v: _Values) -> Array:
    # With the label in the set, the rest is a set of set_size - 1 of the other classes.
    others = _set_marginals(np.where(v.hot, -np.inf, v.y), v.c.set_size - 1)
    return v.c.coeff * (v.hot + others - _set_marginals(v.y, v.c.set_size))


_COSTS: dict[str, Callable[[_Values], list[float]]] = {
    "logreg": _logreg,
    "crossent": lambda v: [-(v.t * _safe_log(v.y)).sum(dtype=np.float64), _target_errors(v, weigh=False)],
    "bce": _binomial,
    "dce": _detection,
    "sum2": lambda v: [np.square(v.y, dtype=np.float64).sum()],
    "gsum2": lambda v: [(v.t * np.square(v.y, dtype=np.float64)).sum()],
    "rflickr": lambda v: [np.log1p(np.square(v.y - v.t, dtype=np.float64)).sum()],
    "msm": _multi_softmax,
}
_GRADIENTS: dict[str, Callable[[_Values], Array]] = {
    "logreg": lambda v: np.where(v.hot, v.c.coeff / np.where(v.hot, v.y, 1), 0),
    "logreg_fused": lambda v: v.c.coeff * (v.hot - v.y),
    "crossent": lambda v: v.c.coeff * v.t / v.y,
    "crossent_fused": lambda v: v.c.coeff * (v.t - v.y * v.t.sum(axis=0)),
    "bce": lambda v: v.c.coeff * (v.c.pos_weight * v.t / v.y + (v.t - 1) / (1 - v.y)),
    "bce_fused": lambda v: v.c.coeff * (v.c.pos_weight * v.t * (1 - v.y) + (v.t - 1) * v.y),
    "gsum2": lambda v: -2 * v.c.coeff * v.t * v.y,
    "rflickr": lambda v: -v.c.coeff * 2 * (v.y - v.t) / (1 + (v.y - v.t) * (v.y - v.t)),
    "msm": _multi_softmax_grad,
}


class CostOps(Backend):
    """cost_*, and the ops of gates and of tica."""

    def cost_forward(self, targets: Array | None, predictions: Array, costs: Array, *, criterion: Criterion) -> None:
        t = predictions if targets is None else targets
        costs[:] = _COSTS[criterion.kind](_Values(t, predictions, criterion))[: len(costs)]

    def cost_input_grad(
        self, targets: Array, predictions: Array, input_grad: Array, scale_targets: float = 0, *, criterion: Criterion
    ) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            store(input_grad, _GRADIENTS[criterion.kind](_Values(targets, predictions, criterion)), scale_targets)

    def gsum2_gate_grad(self, x: Array, gate_grad: Array, scale_targets: float = 0, *, coeff: float) -> None:
        store(gate_grad, -coeff * np.square(x).sum(axis=0, keepdims=True), scale_targets)

    def tica_cost(self, images: Array, reciprocals: Array, costs: Array, *, size: int) -> None:
        energy = box_sum(box_sum(images**2, size // 2, size, axis=1), size // 2, size, axis=2)
        reciprocals[...] = 1 / (0.001 + np.sqrt(energy))
        costs[:] = [reciprocals.sum(dtype=np.float64)]

    def tica_input_grad(
        self, images: Array, reciprocals: Array, input_grad: Array, scale_targets: float = 0, *, size: int, coeff: float
    ) -> None:
        back = size - 1 - size // 2
        total = box_sum(box_sum(reciprocals, back, size, axis=1), back, size, axis=2)
        store(input_grad, -coeff * images * total, scale_targets)


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
