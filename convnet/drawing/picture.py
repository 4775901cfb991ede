"""What a picture of a graph shows: a box for each declared layer, with its neuron in it, and the edges between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from convnet.graph.analysis import memories, rate_text, receptive_fields, shape_text
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Windowed
from convnet.layers.data import Data
from convnet.layers.norm import Norm
from convnet.layers.pool import CrossMapPool, Pool
from convnet.layers.weighted import WeightLayer

Device = tuple[int, ...]
HOST: Device = ()  # where data come from
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Box:
    """A layer: what is written in its box, and ``details`` for whoever asks. ``volume`` is (maps, side) of its output."""

    name: str
    label: str
    device: Device
    weight: str
    volume: tuple[int, int]
    details: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Edge:
    """From a layer to one that reads it. ``sent`` is the bytes per minibatch that cross from one device to another."""

    source: str
    target: str
    shape: str
    sent: int


@dataclass(frozen=True)
class Picture:
    """All there is to draw."""

    title: str
    subtitle: str
    boxes: dict[str, Box]
    edges: list[Edge]
    mini: int

    @property
    def devices(self) -> list[Device]:
        return sorted({box.device for box in self.boxes.values()} - {HOST})

    @property
    def sent(self) -> int:
        """Bytes per minibatch and direction between devices."""
        return sum(edge.sent for edge in self.edges)


def picture_of(graph: Graph, title: str, mini: int) -> Picture:
    """The picture of a graph for minibatches of ``mini`` cases."""
    edges = []
    for layer in graph.declared:
        for source in dict.fromkeys(layer.sources):
            below = _declared(graph, source)
            crosses = HOST not in (_device(below), _device(layer)) and not _shares(below, layer)
            width = 2 if below.quantF == "half" else 4
            sent = source.outputs * mini * width if crosses else 0
            edges.append(Edge(below.name, layer.name, times(shape_text(source)), sent))
    macs = sum(layer.macs() for layer in graph.declared)
    counts = f"{len(graph.layers)} layers, {graph.parameters():,} parameters, {macs:,} multiply-adds per case"
    return Picture(title, counts, _boxes(graph, mini), edges, mini)


def _boxes(graph: Graph, mini: int) -> dict[str, Box]:
    memory, fields = memories(graph, mini), receptive_fields(graph)
    neurons = {neuron.detached_from: neuron.neuron.text for neuron in graph.neurons if neuron.neuron}
    boxes = {}
    for layer in graph.declared:
        neuron, shape, seen = neurons.get(layer.name, ""), shape_text(layer), fields[layer.name]
        details = [("type", layer.type), ("inputs", ", ".join(layer.inputs)), ("output", times(shape)), ("neuron", neuron)]
        if isinstance(layer, WeightLayer):
            details += [("parameters", f"{layer.parameters():,}"), ("multiply-adds", f"{layer.macs():,}")]
            details += [("learning rate", rate_text(layer))]
        details += [("memory", megabytes(memory[layer.name].total))]
        details += [("receptive field", f"{seen[0]}, every {seen[1]}" if seen and layer.sources else "")]
        details += [("device", ", ".join(map(str, _device(layer))) or "host")]
        maps, _, side = shape.partition("x")
        volume = (int(maps or 0), int(side.partition("x")[0] or 1))
        weight = _short(layer.parameters()) if isinstance(layer, WeightLayer) else ""
        label = times(_label(layer)) + (f", {neuron}" if neuron else "")
        shown = [(name, text) for name, text in details if text]
        boxes[layer.name] = Box(layer.name, label, _device(layer), weight, volume, shown)
    return boxes


def _label(layer: Layer) -> str:
    """What a layer does, in a few words."""
    if isinstance(layer, Windowed):
        window = f"{layer.filterSize[0]}x{layer.filterSize[0]}" + (f" / {layer.stride[0]}" if layer.stride[0] > 1 else "")
        groups = f", {layer.groups[0]} groups" if layer.groups[0] > 1 else ""
        return f"{layer.type} {window}{groups}"
    if isinstance(layer, Pool):
        return f"{layer.pool} pool {layer.sizeX}x{layer.sizeX} / {layer.stride}"
    if isinstance(layer, CrossMapPool):
        return f"max over {layer.size} maps"
    if isinstance(layer, Norm):
        return f"{layer.type} over {layer.size} maps" if layer.across else f"{layer.type} {layer.size}x{layer.size}"
    if isinstance(layer, Data):
        return f"matrix {layer.dataIdx} of the data"
    keep = getattr(layer, "keep", None)
    return f"{layer.type}, keep {keep:g}" if keep is not None else layer.type


def _declared(graph: Graph, layer: Layer) -> Layer:
    return layer.sources[0] if layer.detached_from else layer


def _device(layer: Layer) -> Device:
    return tuple(sorted(set(layer.gpu))) if layer.gpu[0] >= 0 else HOST


def _shares(source: Layer, target: Layer) -> bool:
    """Whether the target's devices all hold the source's output already."""
    return set(_device(target)) <= set(_device(source)) or len(source.gpu) == len(target.gpu) > 1


def times(text: str) -> str:
    """``96x55x55`` with multiplication signs."""
    pieces = text.split("x")
    glued = pieces[0]
    for before, piece in pairwise(pieces):
        glued += (TIMES if before[-1:].isdigit() and piece[:1].isdigit() else "x") + piece
    return glued


def megabytes(count: int) -> str:
    """Bytes as a person reads them: ``11.1 MB``, ``40 kB``."""
    if count >= 950_000:
        return f"{count / 1e6:,.1f} MB"
    return f"{count / 1e3:,.0f} kB" if count >= 1000 else f"{count} B"


def _short(count: int) -> str:
    if count >= 1e6:
        return f"{count / 1e6:.1f} M"
    return f"{count / 1e3:.0f} k" if count >= 1000 else str(count)
