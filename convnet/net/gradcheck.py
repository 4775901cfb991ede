"""Checks the gradients of a net against differences of its cost (numerics section 17, with the originals' faults mended).

Central differences in float64 on the reference backend by default; the originals' one-sided differences on request.
Momentum buffers stay untouched. What depends on changed weights is all that is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from convnet.generation import G2011, G2012, G2014, Generation
from convnet.layers import Layer
from convnet.layers.fc import FullyConnected, TreeFullyConnected
from convnet.layers.modes import Mode
from convnet.net.net import Inputs, Net
from convnet.net.node import Node
from convnet.net.weights import Weights

TOLERANCE = 1e-4  # of the relative error, where differences are in float64
COMPAT_TOLERANCE = 0.02  # the originals' bound
# The originals' steps: conv and local weights, their biases, fc weights, fc biases (numerics 17.5).
_STEPS = {G2011: (0.001, 0.002, 0.1, 0.01), G2012: (0.02, 0.05, 0.01, 0.01), G2014: (0.02, 0.005, 0.01, 0.01)}
_TREE_STEP = 0.001
# How much one matrix may cost, in multiply-adds, and what a layer costs beside them.
_WORK, _OVERHEAD = 4e8, 4e5
_LEAST_ENTRIES, _MOST_ENTRIES = 6, 400

_SMALLER = (0.1, 0.01)  # parts of the step to try again with

Step = Callable[[Layer, bool], float]


@dataclass(frozen=True)
class GradientCheck:
    """One weight matrix or bias vector: ``name`` as ``conv1 weights[0]``, and both gradients at the checked entries.

    ``size`` counts all entries. ``approximate`` names a layer on the way to the cost that passes on an approximation.
    """

    name: str
    analytic: np.ndarray
    numeric: np.ndarray
    size: int = 0
    approximate: str = ""

    @property
    def error(self) -> float:
        """Relative error ||numeric - analytic|| / max(||numeric||, ||analytic||); 0 where both vanish."""
        difference = float(np.linalg.norm(self.numeric - self.analytic))
        scale = max(float(np.linalg.norm(self.numeric)), float(np.linalg.norm(self.analytic)))
        return difference / scale if scale else 0.0

    @property
    def empty(self) -> bool:
        """Whether neither gradient says anything: no cost that counts depends on these weights."""
        return not self.analytic.any() and not self.numeric.any()

    def passed(self, tolerance: float = TOLERANCE) -> bool:
        return bool(np.isfinite(self.error) and self.error < tolerance)

    def failed(self, tolerance: float = TOLERANCE) -> bool:
        """Not passed, although the gradient claims to be exact."""
        return not self.passed(tolerance) and not self.approximate


def check_gradients(
    net: Net, inputs: Inputs, cases: int, step: float | Step = 1e-5, one_sided: bool = False, samples: int | None = None
) -> list[GradientCheck]:
    """Check every matrix and bias vector, or ``samples`` entries of each; leaves the weights as they were."""
    return list(each_check(net, inputs, cases, step, one_sided, samples))


def each_check(
    net: Net, inputs: Inputs, cases: int, step: float | Step = 1e-5, one_sided: bool = False, samples: int | None = None
) -> Iterator[GradientCheck]:
    """As ``check_gradients``, one by one. ``samples`` 0 takes as many entries as a few seconds allow."""
    for weights in net.weights:
        weights.checking = True
    try:
        for weights in net.weights:
            weights.begin(0.0, cases)
        net.forward(inputs, cases, Mode.GRADCHECK)
        net.check_costs()
        net.backward()
        net.forward(inputs, cases, Mode.GRADCHECK)  # backward gave up the outputs
        base = _total(net)
        for name, node, weights in named_weights(net):
            size = step if isinstance(step, float) else step(node.layer, weights is node.biases)
            slope = _Slope(net, node, weights, size, base if one_sided else None)
            wanted = samples or (_affordable(net, node, cases) if samples == 0 else None)
            yield _check(name, slope, cases, wanted)
    finally:
        for weights in net.weights:
            weights.checking, weights.contributions = False, 0
        for node in net.nodes.values():
            node.release_acts()


def original_step(generation: Generation) -> Step:
    """The step that a generation's own checker used for a layer's weights, or for its biases."""

    def step(layer: Layer, biases: bool) -> float:
        if isinstance(layer, TreeFullyConnected) and not biases:
            return _TREE_STEP
        return _STEPS[generation][2 * isinstance(layer, FullyConnected) + biases]

    return step


def named_weights(net: Net) -> Iterator[tuple[str, Node, Weights]]:
    """Every ``Weights`` once, with the name that messages use and the node that comes first in using it."""
    seen: set[int] = set()
    for name, node in net.nodes.items():
        named = [(f"{name} weights[{i}]", w) for i, w in enumerate(node.weights)]
        for label, weights in [*named, (f"{name} biases", node.biases)]:
            if weights is not None and id(weights) not in seen:
                seen.add(id(weights))
                yield label, node, weights


def _total(net: Net) -> float:
    """The total that training makes small: each cost's first value times its coefficient (numerics 12.0)."""
    costs = net.costs()
    return sum(layer.coeff * costs[layer.name][0] for layer in net.graph.costs)


def _users(net: Net, weights: Weights) -> list[Node]:
    return [node for node in net.nodes.values() if any(w is weights for w in node.all_weights)]


def _affordable(net: Net, node: Node, cases: int) -> int:
    work = sum(behind.layer.macs() * cases + _OVERHEAD for behind in net.downstream([node]))
    return int(np.clip(_WORK / (2 * work), _LEAST_ENTRIES, _MOST_ENTRIES))


class _Slope:
    """Differences of the total cost when one entry of ``weights`` changes by ``step``."""

    def __init__(self, net: Net, node: Node, weights: Weights, step: float, base: float | None) -> None:
        self.net, self.weights, self.step, self.base = net, weights, step, base
        self.flat = weights.value.reshape(-1)
        self.again = net.downstream(_users(net, weights))

    def at(self, i: int) -> float:
        """The slope of entry ``i``; puts its value back, but leaves what depends on it as it was for the change."""
        return self._at(i, self.step)

    def nearest(self, i: int, slope: float, expected: float) -> float:
        """``slope``, or where smaller steps come nearer to ``expected``, theirs: a step may cross the kink of a neuron."""
        slopes = [slope, *(self._at(i, self.step * part) for part in _SMALLER)]
        return min(slopes, key=lambda found: abs(found - expected))

    def _at(self, i: int, step: float) -> float:
        before = self.weights.be.download(self.flat[i : i + 1])
        up = self._cost(i, before + step)
        slope = (up - self.base) / step if self.base is not None else (up - self._cost(i, before - step)) / 2 / step
        self.weights.be.copy_in(before, self.flat[i : i + 1])
        return slope

    def run(self) -> float:
        """The total cost with the weights as they are."""
        for node in self.again:
            node.forward()
        return _total(self.net)

    def _cost(self, i: int, value: np.ndarray) -> float:
        self.weights.be.copy_in(value, self.flat[i : i + 1])
        return self.run()

    def approximate(self) -> str:
        """``behind 'norm1' (cnorm): ...`` if some layer on the way to the cost passes on an approximation."""
        blurred = next((n.layer for n in self.again if n.layer.approximate and (n.wants_grad or n.layer.is_cost)), None)
        return f"behind '{blurred.name}' ({blurred.type}), where {blurred.approximate}" if blurred else ""


def _check(name: str, slope: _Slope, cases: int, samples: int | None) -> GradientCheck:
    weights = slope.weights
    size = slope.flat.shape[0]
    reached = weights.contributions > 0
    analytic = weights.be.download(weights.grad).reshape(-1) if reached else np.zeros(size)
    entries = _entries(analytic, samples)
    numeric = np.array([slope.at(int(i)) for i in entries])
    if slope.base is None:
        doubtful = np.abs(numeric + analytic[entries]) > 0.1 * TOLERANCE * np.abs(numeric).max(initial=0)
        for at in np.flatnonzero(doubtful):
            numeric[at] = slope.nearest(int(entries[at]), numeric[at], -analytic[entries[at]])
    slope.run()
    # The gradient kept is of minus the sum over cases; both are shown per case.
    return GradientCheck(name, -analytic[entries] / cases, numeric / cases, size, slope.approximate())


def _entries(analytic: np.ndarray, samples: int | None) -> np.ndarray:
    """All entries, or ``samples`` of them: half at random, half where the gradient is largest."""
    if samples is None or samples >= analytic.size:
        return np.arange(analytic.size)
    largest = np.argpartition(np.abs(analytic), analytic.size - samples // 2)[analytic.size - samples // 2 :]
    drawn = np.random.default_rng(0).choice(analytic.size, samples - samples // 2, replace=False)
    return np.unique(np.concatenate([largest, drawn]))
