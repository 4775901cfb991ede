"""What every layer of a graph is, has and costs: memory, receptive fields, shapes, rates, and all of it as a table.

Multiply-adds are of one forward pass of one case. Memory is that of training: outputs and their gradients of a minibatch,
weights and their momenta, float32, less what shares a buffer. The receptive field is the square of pixels that one output
sees through filters, pooling and crops, and the step between neighbours; the surroundings by whose energy a normalisation
divides are not counted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from convnet.errors import listed
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


# -- the table

_HEADS = ("layer", "type", "inputs", "output", "parameters", "multiply-adds", "outputs", "gradients", "weights",
          "field", "step", "gpu", "learning rate", "decay")  # fmt: skip
_RIGHT = range(3, 11)  # columns of numbers


def layer_table(graph: Graph, mini: int = 128) -> str:
    """Return the layers as a table: a line each, then totals; memory for minibatches of ``mini`` cases."""
    memory, fields = memories(graph, mini), receptive_fields(graph)
    shapes = shape_texts(graph)
    rows = [_row(layer, memory[name], fields[name], shapes[name]) for name, layer in graph.layers.items()]
    sums = [sum(layer[kind] for layer in memory.values()) for kind in range(len(Memory._fields))]  # of no layers, 0
    macs = sum(layer.macs() for layer in graph.layers.values())
    total = ["total", "", "", "", f"{graph.parameters():,}", f"{macs:,}", *map(_mb, sums), "", "", "", "", ""]
    widths = [max(len(row[i]) for row in [_HEADS, *rows, total]) for i in range(len(_HEADS))]
    start, stop = sum(widths[:6]) + 12, sum(widths[:9]) + 16
    over = " " * start + f"MB at {mini} cases".center(stop - start, "-")
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    lines = [over, _line(_HEADS, widths), rule, *(_line(row, widths) for row in rows), rule, _line(total, widths)]
    return "\n".join([*lines, "", _summary(graph, macs, sum(sums), mini)])


def _row(layer: Layer, memory: Memory, field: Field | None, shape: str) -> list[str]:
    weighted = layer if isinstance(layer, WeightLayer) else None
    numbers = [weighted.parameters() if weighted else 0, layer.macs()]
    sees = map(str, field) if field and layer.sources else ("" if field or layer.is_cost else "all", "")
    return [
        layer.name,
        f"{layer.type} ({layer.neuron.text})" if layer.detached_from and layer.neuron else layer.type,
        listed([source.name for source in layer.sources]),  # a table is as wide as its widest cell
        shape,
        *(f"{number:,}" if number else "" for number in numbers),
        *map(_mb, memory),
        *sees,
        ",".join(map(str, layer.gpu)) if layer.gpu[0] >= 0 else "",
        rate_text(weighted) if weighted else "",
        ", ".join(dict.fromkeys(f"{wc:.4g}" for wc in weighted.wc)) if weighted else "",
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = enumerate(zip(cells, widths, strict=True))
    return "  ".join(cell.rjust(w) if i in _RIGHT else cell.ljust(w) for i, (cell, w) in columns).rstrip()


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f}" if count else ""


def _summary(graph: Graph, macs: int, memory: int, mini: int) -> str:
    devices = sorted({number for layer in graph.layers.values() for number in layer.gpu if number >= 0})
    where = f"{len(devices)} logical device{'s' * (len(devices) != 1)}"
    what = f"{graph.generation} files, {len(graph.layers)} layers on {where}, {graph.parameters():,} parameters"
    costs = f"{macs:,} multiply-adds per case, {memory / 1e6:,.0f} MB to train on {mini} cases"
    epochs = f", for {graph.run['epochs']:,} epochs" if "epochs" in graph.run else ""
    return f"{graph.definition.path}: {what}, {costs}{epochs}."
