"""What every layer of a graph is, has and costs: memory, receptive fields, shapes, rates. ``table.py`` shows it.

Multiply-adds are of one forward pass of one case. Memory is that of training: outputs and their gradients of a minibatch,
weights and their momenta, float32, less what shares a buffer. The receptive field is the square of pixels that one output
sees through filters, pooling and crops, and the step between neighbours; the surroundings by whose energy a normalisation
divides are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer

_FLOAT = 4  # bytes
Maps = tuple[int, int]  # how many and their side


class ReceptiveField(NamedTuple):
    """The square of pixels that one output sees: its ``size``, the ``step`` to that of the next output, and where the first
    begins, (down, right), which may be outside; ``None`` where a layer below mirrors or scales pictures.
    """

    size: int
    step: int
    start: tuple[int, int] | None

    def through(self, window: tuple[int, int], begins: tuple[int, int] | None) -> ReceptiveField:
        """Return what is seen through windows of (size, stride) on this layer, the first of which ``begins`` there."""
        size, stride = window
        start = None
        if self.start and begins:
            start = self.start[0] + begins[0] * self.step, self.start[1] + begins[1] * self.step
        return ReceptiveField(self.size + (size - 1) * self.step, self.step * stride, start)

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Return where the square of an output begins, (down, right); there is a ``start``."""
        assert self.start
        return self.start[0] + row * self.step, self.start[1] + column * self.step


class Memory(NamedTuple):
    """Bytes that training takes: ``outputs`` and ``gradients`` of a minibatch, ``weights`` with biases and their momenta."""

    outputs: int
    gradients: int
    weights: int

    @property
    def total(self) -> int:
        return sum(self)


def memories(graph: Graph, mini: int) -> dict[str, Memory]:
    """Return the memory of every layer for minibatches of ``mini`` cases."""
    with_gradient = graph.gradient_layers()
    memory = {}
    for name, layer in graph.layers.items():
        size = layer.outputs * mini * _FLOAT
        acts_in_place, _ = layer.in_place()
        shares_gradient = any(other.in_place()[1] for other in layer.consumers)  # it lies in the consumer's buffer
        gradients = size if name in with_gradient and not shares_gradient else 0
        parameters = layer.parameters() if isinstance(layer, WeightLayer) else 0
        memory[name] = Memory(0 if acts_in_place else size, gradients, 2 * parameters * _FLOAT)
    return memory


def pass_effort(
    kind: str, cases: float, macs: float, inputs: float, outputs: float, weights: float, products: int
) -> tuple[float, float]:
    """Return the operations, and the bytes that must move at least, of a layer's forward, backward or update.

    ``macs``, ``inputs`` and ``outputs`` are of one case. Backward has so many ``products`` as large as forward's: the
    gradients of weights and of inputs. An update reads and writes weights and momenta, and reads gradients.
    """
    values, weights, forward = _FLOAT * cases * (inputs + outputs), _FLOAT * weights, 2 * cases * macs
    if kind == "forward":
        return forward, values + weights
    if kind == "update":
        return 0.0, 5 * weights
    return forward * products, 2 * values + 2 * weights


def receptive_fields(graph: Graph) -> dict[str, ReceptiveField | None]:
    """Return what one output of every layer sees of the data; ``None`` where it sees everything, or has no place."""
    found: dict[str, ReceptiveField | None] = {}
    for name, layer in graph.layers.items():
        parts = []
        for i, (source, window) in enumerate(zip(layer.sources, layer.windows(), strict=True)):
            if (below := found[source.name]) and window:
                parts.append(below.through(window, layer.window_start(i)))
        if not layer.sources:
            found[name] = ReceptiveField(1, 1, (0, 0))
        elif layer.is_cost or len(parts) < len(layer.sources):
            found[name] = None
        else:
            found[name] = _all_of(parts)
    return found


def _all_of(parts: Sequence[ReceptiveField]) -> ReceptiveField:
    """Return the smallest square that holds what an output sees through each of its inputs."""
    size, step = max(part.size for part in parts), max(part.step for part in parts)
    starts = [part.start for part in parts if part.start]
    if len(starts) < len(parts) or len({part.step for part in parts}) > 1:
        return ReceptiveField(size, step, None)
    down, right = (min(start[axis] for start in starts) for axis in (0, 1))
    ends = [
        start[axis] - first + part.size
        for part, start in zip(parts, starts, strict=True)
        for axis, first in ((0, down), (1, right))
    ]
    return ReceptiveField(max(ends), step, (down, right))


def shape_texts(graph: Graph) -> dict[str, str]:
    """Return ``96x55x55`` or ``1000`` for every layer: maps and their sides, seen through layers that keep them."""
    maps: dict[str, Maps | None] = {}
    texts = {}
    for name, layer in graph.layers.items():
        keeps = len(layer.sources) == 1 and layer.outputs == layer.sources[0].outputs
        maps[name] = layer.maps or (maps[layer.sources[0].name] if keeps else None)
        texts[name] = _shape_text(layer, maps[name])
    return texts


def _shape_text(layer: Layer, maps: Maps | None) -> str:
    # Data are maps for the layers that read them as such.
    reads = [channels_read(other, other.sources.index(layer)) for other in layer.consumers if not layer.sources]
    channels = max(reads, default=0)
    side = math.isqrt(layer.outputs // channels) if channels else 0
    if side and channels * side * side == layer.outputs:
        return f"{channels}x{side}x{side}"
    if maps:
        channels, side = maps
        return f"{channels}x{side}x{side}"
    return str(layer.outputs) if layer.outputs else ""


def channels_read(layer: Layer, i: int) -> int:
    """Return the maps as which a layer reads its input ``i``, or 0."""
    channels = getattr(layer, "channels", 0) or 0
    return int(channels[min(i, len(channels) - 1)] if isinstance(channels, list) else channels)


def rate_text(layer: WeightLayer) -> str:
    """Return the weights' learning rate at the beginning, and at the end if it changes: ``0.01 to 4e-05``."""
    texts = []
    for i, rate in enumerate(layer.epsW):
        start, end = (layer.weight_schedule(i).rate(rate.base, progress) for progress in (0.0, 1.0))
        texts.append(f"{start:.4g}" if start == end else f"{start:.4g} to {end:.4g}")
    return ", ".join(dict.fromkeys(texts))
