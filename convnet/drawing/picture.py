"""What a picture of a graph shows: a box for each declared layer, with its neuron in it, and the edges between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from convnet.graph.analysis import memories, rate_text, receptive_fields, shape_texts
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Windowed
from convnet.layers.data import Data
from convnet.layers.norm import Norm
from convnet.layers.pool import CrossMapPool, Pool
from convnet.layers.weighted import WeightLayer
from convnet.texts import bytes_text, listed, times

Device = tuple[int, ...]
HOST: Device = ()  # of data layers


@dataclass(frozen=True)
class Box:
    """A layer: what is written in its box, (maps, side) of its output as ``volume``, and (name, text) ``details``."""

    name: str
    label: str
    device: Device
    weight: str
    volume: tuple[int, int]
    details: list[tuple[str, str]]


@dataclass(frozen=True)
class Edge:
    """From a layer to one that reads it. ``sent`` counts the bytes of a minibatch that another device reads."""

    source: str
    target: str
    shape: str
    sent: int


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn; ``mini`` is the size of the minibatches."""

    title: str
    subtitle: str
    boxes: dict[str, Box]
    edges: list[Edge]
    mini: int

    @cached_property
    def devices(self) -> list[Device]:
        """The devices of all boxes but the host, sorted."""
        return sorted({box.device for box in self.boxes.values()} - {HOST})

    @property
    def sent(self) -> int:
        """Bytes between devices per minibatch, in one direction."""
        return sum(edge.sent for edge in self.edges)


def picture_of(graph: Graph, title: str, mini: int) -> Picture:
    """Return the picture of a graph for minibatches of ``mini`` cases."""
    edges, shapes = [], shape_texts(graph)
    for layer in graph.declared:
        for source in dict.fromkeys(layer.sources):
            box = source.sources[0] if source.detached_from else source  # a neuron is in its layer's box
            width = 2 if box.quantF == "half" else 4
            sent = source.outputs * mini * width * _crossing(box, layer) // len(box.gpu)
            edges.append(Edge(box.name, layer.name, times(shapes[source.name]), sent))
    macs = sum(layer.macs() for layer in graph.declared)
    counts = f"{len(graph.layers)} layers, {graph.parameters():,} parameters, {macs:,} multiply-adds per case"
    return Picture(title, counts, _boxes(graph, mini, shapes), edges, mini)


def _boxes(graph: Graph, mini: int, shapes: Mapping[str, str]) -> dict[str, Box]:
    memory, fields = memories(graph, mini), receptive_fields(graph)
    places = {_device(layer) for layer in graph.declared} - {HOST}
    neurons = {neuron.detached_from: neuron.neuron.text for neuron in graph.neurons if neuron.neuron}
    boxes = {}
    for layer in graph.declared:
        neuron, shape, field = neurons.get(layer.name, ""), shapes[layer.name], fields[layer.name]
        learned, weight = [], ""
        if isinstance(layer, WeightLayer):
            learned = [("parameters", f"{layer.parameters():,}"), ("multiply-adds", f"{layer.macs():,}")]
            learned += [("learning rate", rate_text(layer))]
            weight = _short(layer.parameters())
        details = [
            ("type", layer.type),
            ("inputs", listed(layer.inputs)),
            ("output", times(shape)),
            ("neuron", neuron),
            *learned,
            ("memory", bytes_text(memory[layer.name].total)),
            ("receptive field", f"{field.size}, every {field.step}" if field and layer.sources else ""),
            ("device", (", ".join(map(str, _device(layer))) or "host") if len(places) > 1 else ""),
        ]
        label = times(_label(layer)) + (f", {neuron}" if neuron else "")
        maps, _, side = shape.partition("x")
        volume = (int(maps or 0), int(side.partition("x")[0] or 1))
        shown = [(name, text) for name, text in details if text]
        boxes[layer.name] = Box(layer.name, label, _device(layer), weight, volume, shown)
    return boxes


def _label(layer: Layer) -> str:
    """Return what a layer does, in a few words."""
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


def _device(layer: Layer) -> Device:
    return tuple(sorted(set(layer.gpu))) if layer.gpu[0] >= 0 else HOST


def _crossing(source: Layer, target: Layer) -> int:
    """Return how many replicas of ``source`` are read on another device than their own (numerics 18.5)."""
    if HOST in (_device(source), _device(target)):
        return 0
    return sum(device != target.gpu[r % len(target.gpu)] for r, device in enumerate(source.gpu))


def _short(count: int) -> str:
    if count >= 1e6:
        return f"{count / 1e6:.1f} M"
    return f"{count / 1e3:.0f} k" if count >= 1000 else str(count)
