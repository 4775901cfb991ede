"""Checks the gradients of a net against differences of its cost (numerics section 17, with the originals' faults mended).

Central differences in float64 on the reference backend by default; the originals' one-sided differences on request.
Momentum buffers stay untouched. What depends on changed weights is all that is computed again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from convnet.generation import G2011, G2012, G2014, Generation
from convnet.layers import Layer
from convnet.layers.base import approximation
from convnet.layers.fc import FullyConnected, TreeFullyConnected
from convnet.layers.modes import Mode
from convnet.net.net import Inputs, Net
from convnet.net.weights import Weights

TOLERANCE = 1e-4  # of the relative error, where differences are in float64
COMPAT_TOLERANCE = 0.02  # the originals' bound
# The originals' steps: conv and local weights, their biases, fc weights, fc biases (numerics 17.5).
_STEPS = {G2011: (0.001, 0.002, 0.1, 0.01), G2012: (0.02, 0.05, 0.01, 0.01), G2014: (0.02, 0.005, 0.01, 0.01)}
_TREE_STEP = 0.001
# How much one matrix may cost, in multiply-adds, and what a layer costs beside them.
_WORK, _OVERHEAD = 4e8, 4e5
_MIN_ENTRIES, _MAX_ENTRIES = 6, 400

_SMALLER = (0.1, 0.01)  # fractions of the step to try again with

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

    def passed(self, tolerance: float = TOLERANCE) -> bool:
        return bool(np.isfinite(self.error) and self.error < tolerance)

    def failed(self, tolerance: float = TOLERANCE) -> bool:
        """Return whether the gradient is wrong although it claims to be exact."""
        return not self.passed(tolerance) and not self.approximate


def check_gradients(
    net: Net, inputs: Inputs, cases: int, step: float | Step = 1e-5, one_sided: bool = False, samples: int | None = None
) -> Iterator[GradientCheck]:
    """Check every matrix and bias vector, or ``samples`` entries of each (0: as many as a few seconds allow)."""
    for weights in net.weights:
        weights.checking = True
        weights.begin(0.0, cases)
    try:
        net.forward(inputs, cases, Mode.GRADCHECK)
        net.check_costs()
        net.backward()
        net.forward(inputs, cases, Mode.GRADCHECK)  # backward has released the outputs
        base = _total(net)
        for name, node in net.nodes.items():
            entries = samples
            if samples == 0:  # as many as the work allowed is enough for
                work = sum(other.layer.macs() * cases + _OVERHEAD for other in net.downstream([node]))
                entries = int(np.clip(_WORK / (2 * work), _MIN_ENTRIES, _MAX_ENTRIES))
            for weights in node.own_weights:
                label = next(label for label, other in node.named_weights.items() if other is weights)
                size = step if isinstance(step, float) else step(node.layer, weights is node.biases)
                slope = _Slope(net, weights, size, base if one_sided else None)
                yield _check(f"{name} {label}", slope, cases, entries)
    finally:
        for weights in net.weights:
            weights.checking, weights.contributions = False, 0
        for node in net.nodes.values():
            node.release_acts()


def original_step(generation: Generation) -> Step:
    """Return the step that a generation's own checker used, by layer and for weights or biases."""

    def step(layer: Layer, biases: bool) -> float:
        if isinstance(layer, TreeFullyConnected) and not biases:
            return _TREE_STEP
        return _STEPS[generation][2 * isinstance(layer, FullyConnected) + biases]

    return step


def _total(net: Net) -> float:
    """Return the total that training makes small: each cost's first value times its coefficient (numerics 12.0)."""
    costs = net.costs()
    return sum(layer.coeff * costs[layer.name][0] for layer in net.graph.costs)


class _Slope:
    """Differences of the total cost when one entry of ``weights`` changes by ``step``; one-sided with a ``base``."""

    def __init__(self, net: Net, weights: Weights, step: float, base: float | None) -> None:
        self.net, self.weights, self.step, self.base = net, weights, step, base
        self.flat = weights.value.reshape(-1)
        self.downstream = net.downstream([node for node in net.nodes.values() if weights in node.all_weights])

    def at(self, i: int, fraction: float = 1.0) -> float:
        """Return the slope of entry ``i``; puts its value back, but leaves what depends on it as it was for the change."""
        step, before = self.step * fraction, self.weights.be.download(self.flat[i : i + 1])
        up = self._cost(i, before + step)
        slope = (up - self.base) / step if self.base is not None else (up - self._cost(i, before - step)) / 2 / step
        self.weights.be.copy_in(before, self.flat[i : i + 1])
        return slope

    def nearest(self, i: int, slope: float, expected: float) -> float:
        """Return ``slope``, or that of a smaller step nearer to ``expected``: a step may cross the kink of a neuron."""
        slopes = [slope, *(self.at(i, fraction) for fraction in _SMALLER)]
        return min(slopes, key=lambda found: abs(found - expected))

    def run(self) -> float:
        """Return the total cost with the weights as they are."""
        for node in self.downstream:
            node.forward()
        return _total(self.net)

    def _cost(self, i: int, value: np.ndarray) -> float:
        self.weights.be.copy_in(value, self.flat[i : i + 1])
        return self.run()

    def approximate(self) -> str:
        """Say if a layer on the way to the cost passes on an approximation."""
        return approximation(node.layer for node in self.downstream if node.wants_grad or node.layer.is_cost)


def _check(name: str, slope: _Slope, cases: int, samples: int | None) -> GradientCheck:
    weights = slope.weights
    size = slope.flat.shape[0]
    analytic = weights.be.download(weights.grad).reshape(-1) if weights.contributions else np.zeros(size)
    entries = _entries(analytic, samples)
    numeric = np.array([slope.at(int(i)) for i in entries])
    if slope.base is None:
        # Entries that disagree get further tries with smaller steps.
        doubtful = np.abs(numeric + analytic[entries]) > 0.1 * TOLERANCE * np.abs(numeric).max(initial=0)
        for at in np.flatnonzero(doubtful):
            numeric[at] = slope.nearest(int(entries[at]), numeric[at], -analytic[entries[at]])
    slope.run()
    # The gradient kept is of minus the sum over cases; both are shown per case.
    return GradientCheck(name, -analytic[entries] / cases, numeric / cases, size, slope.approximate())


def _entries(analytic: np.ndarray, samples: int | None) -> np.ndarray:
    """Return all entries, or ``samples`` of them: half at random, half where the gradient is largest."""
    if samples is None or samples >= analytic.size:
        return np.arange(analytic.size)
    largest = np.argpartition(np.abs(analytic), analytic.size - samples // 2)[analytic.size - samples // 2 :]
    drawn = np.random.default_rng(0).choice(analytic.size, samples - samples // 2, replace=False)
    return np.unique(np.concatenate([largest, drawn]))
