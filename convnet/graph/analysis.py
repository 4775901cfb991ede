"""What every layer of a graph is, has and costs: memory, receptive fields, shapes, rates. ``table.py`` shows it.

Multiply-adds are of one forward pass of one case. Memory is that of training: outputs and their gradients of a minibatch,
weights and their momenta, float32, less what shares a buffer. The receptive field is the square of pixels that one output
sees through filters, pooling and crops, and the step between neighbours; the surroundings by whose energy a normalisation
divides are not counted.
"""

import math
from typing import NamedTuple

from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.weighted import WeightLayer

_FLOAT = 4  # bytes
Maps = tuple[int, int]  # how many and their side
Field = tuple[int, int]  # size and step of a receptive field, in pixels of the data


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


def receptive_fields(graph: Graph) -> dict[str, Field | None]:
    """Return (size, step) of every layer's receptive field; ``None`` where an output sees everything, or has no place."""
    fields: dict[str, Field | None] = {}
    for name, layer in graph.layers.items():
        seen = []
        for source, window in zip(layer.sources, layer.windows(), strict=True):
            below = fields[source.name]
            if below and window:
                seen.append((below[0] + (window[0] - 1) * below[1], below[1] * window[1]))
        if not layer.sources:
            fields[name] = (1, 1)
        elif layer.is_cost or len(seen) < len(layer.sources):
            fields[name] = None
        else:
            fields[name] = (max(size for size, _ in seen), max(step for _, step in seen))
    return fields


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
