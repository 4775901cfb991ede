"""What a definition means, layer by layer, without running it.

convnet explain layers-imagenet.cfg                       the table of layers
convnet explain net.cfg params.cfg --data-dims 3072,1     for data of given sizes
convnet explain net.cfg --json                            what the originals would store of each layer

Multiply-adds are of one forward pass of one case. Memory is that of training: outputs and their gradients of a minibatch,
weights and their momenta, float32, less what shares a buffer. The receptive field is the square of pixels that one output
sees through filters, pooling and crops, and the step between neighbours; the surroundings by whose energy a normalisation
divides are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Windowed
from convnet.layers.norm import Norm
from convnet.layers.weighted import WeightLayer

_FLOAT = 4  # bytes
Field = tuple[int, int]  # size and step of a receptive field, in pixels of the data


# -- what the originals stored


# -- measures


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes: ``outputs`` and ``gradients`` of a minibatch, ``weights`` with biases and their momenta."""

    outputs: int
    gradients: int
    weights: int

    @property
    def total(self) -> int:
        return self.outputs + self.gradients + self.weights


def memories(graph: Graph, mini: int) -> dict[str, Memory]:
    """Memory of every layer for minibatches of ``mini`` cases."""
    wanting = graph.gradient_layers()
    found = {}
    for name, layer in graph.layers.items():
        size = layer.outputs * mini * _FLOAT
        acts_in_place, _ = layer.in_place()
        lent = any(other.in_place()[1] for other in layer.consumers)  # its gradient lies in its consumer's buffer
        parameters = layer.parameters() if isinstance(layer, WeightLayer) else 0
        gradients = size if name in wanting and not lent else 0
        found[name] = Memory(0 if acts_in_place else size, gradients, 2 * parameters * _FLOAT)
    return found


def receptive_fields(graph: Graph) -> dict[str, Field | None]:
    """(size, step) of every layer's receptive field; ``None`` where an output sees everything, or its place is lost."""
    fields: dict[str, Field | None] = {}
    for name, layer in graph.layers.items():
        seen = [_seen(fields[source.name], _window(layer, i)) for i, source in enumerate(layer.sources)]
        known = [field for field in seen if field]
        fields[name] = (max(size for size, _ in known), max(step for _, step in known)) if known else None
        if not layer.sources:
            fields[name] = (1, 1)
        if layer.is_cost or len(known) < len(seen):
            fields[name] = None
    return fields


def _seen(below: Field | None, window: Field | None) -> Field | None:
    return (below[0] + (window[0] - 1) * below[1], below[1] * window[1]) if below and window else None


def _window(layer: Layer, i: int) -> Field | None:
    if isinstance(layer, Windowed):
        return layer.filterSize[i], layer.stride[i]
    return (1, 1) if isinstance(layer, Norm) else layer.window()


def shape_text(layer: Layer) -> str:
    """``96x55x55`` or ``1000``: maps and their sides, seen through layers that keep them."""
    channels = max((_channels(other, layer) for other in layer.consumers), default=0) if not layer.sources else 0
    side = math.isqrt(layer.outputs // channels) if channels else 0
    if side and channels * side * side == layer.outputs:
        return f"{channels}x{side}x{side}"
    seen = layer
    while seen.maps is None and len(seen.sources) == 1 and seen.outputs == seen.sources[0].outputs:
        seen = seen.sources[0]
    if seen.maps:
        return "x".join(map(str, (seen.maps[0], seen.maps[1], seen.maps[1])))
    return str(layer.outputs) if layer.outputs else ""


def _channels(layer: Layer, source: Layer) -> int:
    """Maps as which ``layer`` reads ``source``, or 0."""
    given = getattr(layer, "channels", 0)
    return given[layer.sources.index(source)] if isinstance(given, list) else given or 0


def rate_text(layer: WeightLayer) -> str:
    """The weights' learning rate at the beginning, and at the end where a schedule changes it: ``0.01 to 4e-05``."""
    shown = []
    for i, rate in enumerate(layer.epsW):
        start, end = (layer.weight_schedule(i).rate(rate.base, progress) for progress in (0.0, 1.0))
        shown.append(f"{start:.4g}" if start == end else f"{start:.4g} to {end:.4g}")
    return ", ".join(dict.fromkeys(shown))


# -- the table

_HEADS = ("layer", "type", "inputs", "output", "parameters", "multiply-adds", "outputs", "gradients", "weights",
          "field", "step", "gpu", "learning rate", "decay")  # fmt: skip
_RIGHT = range(3, 11)  # columns of numbers


def layer_table(graph: Graph, mini: int = 128) -> str:
    """The layers as a table: a line each, then totals; memory for minibatches of ``mini`` cases."""
    memory, fields = memories(graph, mini), receptive_fields(graph)
    rows = [_row(layer, memory[name], fields[name]) for name, layer in graph.layers.items()]
    sums = [sum(getattr(m, part) for m in memory.values()) for part in ("outputs", "gradients", "weights")]
    macs = sum(layer.macs() for layer in graph.layers.values())
    total = ["total", "", "", "", f"{graph.parameters():,}", f"{macs:,}", *map(_mb, sums), "", "", "", "", ""]
    widths = [max(len(row[i]) for row in [_HEADS, *rows, total]) for i in range(len(_HEADS))]
    start, stop = sum(widths[:6]) + 12, sum(widths[:9]) + 16
    over = " " * start + f"MB at {mini} cases".center(stop - start, "-")
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    lines = [over, _line(_HEADS, widths), rule, *(_line(row, widths) for row in rows), rule, _line(total, widths)]
    return "\n".join([*lines, "", _summary(graph, macs, sum(sums), mini)])


def _row(layer: Layer, memory: Memory, field: Field | None) -> list[str]:
    learns = isinstance(layer, WeightLayer)
    numbers = [layer.parameters() if isinstance(layer, WeightLayer) else 0, layer.macs()]
    seen = [str(field[0]), str(field[1])] if field else ["all" if not layer.is_cost else "", ""]
    return [
        layer.name,
        layer.type if not layer.detached_from else f"{layer.type} ({layer.values['neuron'].text})",
        ", ".join(source.name for source in layer.sources),
        shape_text(layer),
        *(f"{number:,}" if number else "" for number in numbers),
        *map(_mb, (memory.outputs, memory.gradients, memory.weights)),
        *(seen if layer.sources else ["", ""]),
        ",".join(map(str, layer.gpu)) if layer.gpu[0] >= 0 else "",
        rate_text(layer) if isinstance(layer, WeightLayer) else "",
        ", ".join(dict.fromkeys(f"{wc:.4g}" for wc in layer.values["wc"])) if learns else "",
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.rjust(w) if i in _RIGHT else cell.ljust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f}" if count else ""


def _summary(graph: Graph, macs: int, memory: int, mini: int) -> str:
    devices = sorted({number for layer in graph.layers.values() for number in layer.gpu if number >= 0})
    where = f"{len(devices)} logical device{'s' * (len(devices) != 1)}"
    what = f"{graph.generation} files, {len(graph.layers)} layers on {where}, {graph.parameters():,} parameters"
    costs = f"{macs:,} multiply-adds per case, {memory / 1e6:,.0f} MB to train on {mini} cases"
    return f"{graph.definition.path}: {what}, {costs}."
