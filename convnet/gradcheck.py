"""Checks the gradients of a net against differences of its cost (numerics section 17, with the originals' faults mended).

Central differences in float64 on the reference backend by default; the originals' one-sided differences on request.
Momentum buffers stay untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convnet.net import Inputs, Net
from convnet.passes import Pass
from convnet.weights import Weights

TOLERANCE = 0.02  # the originals' bound on the relative error


@dataclass(frozen=True)
class GradientCheck:
    """One weight matrix or bias vector: ``name`` as ``conv1 weights[0]``, and both gradients at the checked entries."""

    name: str
    analytic: np.ndarray
    numeric: np.ndarray

    @property
    def error(self) -> float:
        """Relative error ||numeric - analytic|| / ||numeric||; 0 where both vanish."""
        difference = float(np.linalg.norm(self.numeric - self.analytic))
        scale = max(float(np.linalg.norm(self.numeric)), float(np.linalg.norm(self.analytic)))
        return difference / scale if scale else 0.0

    def passed(self, tolerance: float = TOLERANCE) -> bool:
        return bool(np.isfinite(self.error) and self.error < tolerance)


def check_gradients(
    net: Net, inputs: Inputs, cases: int, step: float = 1e-5, one_sided: bool = False, samples: int | None = None
) -> list[GradientCheck]:
    """Check every matrix and bias vector, or ``samples`` random entries of each; leaves the weights as they were."""
    for weights in net.weights:
        weights.checking = True
    try:
        base = _cost(net, inputs, cases)
        net.backward()
        return [
            _check(net, inputs, cases, name, w, step, base if one_sided else None, samples) for name, w in named_weights(net)
        ]
    finally:
        for weights in net.weights:
            weights.checking, weights.contributions = False, 0


def named_weights(net: Net) -> Iterator[tuple[str, Weights]]:
    """Every ``Weights`` once, with the name that messages use."""
    seen: set[int] = set()
    for name, node in net.nodes.items():
        named = [(f"{name} weights[{i}]", w) for i, w in enumerate(node.weights)]
        for label, weights in [*named, (f"{name} biases", node.biases)]:
            if weights is not None and id(weights) not in seen:
                seen.add(id(weights))
                yield label, weights


def _cost(net: Net, inputs: Inputs, cases: int) -> float:
    """The total that training makes small: each cost's first value times its coefficient (numerics 12.0)."""
    net.begin_step(0.0, cases)
    net.forward(inputs, cases, Pass.GRADCHECK)
    costs = net.costs()
    return sum(layer.coeff * costs[layer.name][0] for layer in net.graph.costs)  # type: ignore[attr-defined]


def _check(
    net: Net, inputs: Inputs, cases: int, name: str, weights: Weights, step: float, base: float | None, samples: int | None
) -> GradientCheck:
    value = weights.be.download(weights.value)
    reached = weights.contributions > 0
    analytic = weights.be.download(weights.grad).reshape(-1) if reached else np.zeros(value.size)
    entries = np.arange(value.size)
    if samples is not None and samples < value.size:
        entries = np.random.RandomState(0).choice(value.size, samples, replace=False)
    numeric = np.array([_slope(net, inputs, cases, weights, value, i, step, base) for i in entries])
    # The gradient kept is of minus the sum over cases; both are shown per case.
    return GradientCheck(name, -analytic[entries] / cases, numeric / cases)


def _slope(
    net: Net, inputs: Inputs, cases: int, weights: Weights, value: np.ndarray, i: int, step: float, base: float | None
) -> float:
    def cost_at(change: float) -> float:
        moved = value.copy()
        moved.reshape(-1)[i] += change
        weights.be.copy_in(moved, weights.value)
        return _cost(net, inputs, cases)

    up = cost_at(step)
    slope = (up - base) / step if base is not None else (up - cost_at(-step)) / (2 * step)
    weights.be.copy_in(value, weights.value)
    return slope
