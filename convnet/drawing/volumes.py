"""A net as the paper's Figure 2 draws it: volumes of maps in columns and rows, and what leads from one to the next.

A volume is what the data layer gives, a layer with weights, maps that are added up, or pooling behind which no weights
come. Layers between that keep maps as they are do not show; pooling and cropping are notes on the edges. Letters: C maps, S
their side.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from convnet.errors import ConvnetError
from convnet.graph.analysis import shape_texts
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Windowed
from convnet.layers.data import Data
from convnet.layers.eltwise import Elementwise
from convnet.layers.image import ImageLayer
from convnet.layers.local import Local
from convnet.layers.pool import CrossMapPool, Pool
from convnet.layers.weighted import WeightLayer
from convnet.texts import counted

_COLUMNS, _ROWS = 40, 12  # that can be read on a page
_UNREADABLE = f"cannot be read; at most {_COLUMNS} columns of {_ROWS} volumes can: convnet draw shows nets of any size"
_POOLS = {"max": "Max pooling", "avg": "Average pooling", "maxabs": "Max-abs pooling", "rand": "Stochastic pooling"}


class Volume(NamedTuple):
    """``maps`` of ``side`` at a place: ``column`` from 0, ``row`` downward from the middle. A vector has side 0."""

    name: str
    maps: int
    side: int
    column: int
    row: float


class Edge(NamedTuple):
    """From a volume to one that reads it by filters of ``filter_size`` on maps of ``side``; size 0: all of it.

    ``notes`` are what is said of the edge: pooling, stride.
    """

    source: str
    target: str
    filter_size: int
    side: int
    notes: tuple[str, ...]


class Volumes(NamedTuple):
    """The volumes of a net by name, and the edges between them."""

    volumes: dict[str, Volume]
    edges: list[Edge]

    @property
    def columns(self) -> int:
        return 1 + max(volume.column for volume in self.volumes.values())


def volumes_of(graph: Graph) -> Volumes:
    """Return the volumes of a graph; raises ``ConvnetError`` for one that has none, or more than can be read."""
    learning = sum(isinstance(layer, WeightLayer) for layer in graph.declared)
    if learning > _COLUMNS * _ROWS:
        raise ConvnetError(f"a figure of {learning:,} layers with weights {_UNREADABLE}")
    feeding, shapes = _feeding(graph), shape_texts(graph)
    seen: dict[str, dict[str, tuple[str, ...]]] = {}  # the volumes below each layer, with what lies between
    edges: dict[tuple[str, str], Edge] = {}
    for name, layer in graph.layers.items():
        below: dict[str, tuple[str, ...]] = {}
        for i, source in enumerate(layer.sources):
            below |= {key: notes for key, notes in seen[source.name].items() if key not in below}
            if isinstance(layer, WeightLayer):
                for start, notes in seen[source.name].items():
                    edges.setdefault((start, name), _edge(layer, i, start, notes))
        is_sum = isinstance(layer, Elementwise) and len(below) > 1 and "x" in shapes[layer.sources[0].name]
        if is_sum:
            shapes[name] = shapes[layer.sources[0].name]
        note = _note(layer, is_sum)
        is_volume = is_sum or (bool(note) and name not in feeding)
        if is_volume:
            size, side = _window_of(layer, shapes[layer.sources[0].name])
            edges |= {(start, name): Edge(start, name, size, side, (*notes, note)) for start, notes in below.items()}
        if isinstance(layer, Data | WeightLayer) or is_volume:
            seen[name] = {name: ()}
        else:
            seen[name] = {start: (*notes, note) if note else notes for start, notes in below.items()}
    if not edges:
        raise ConvnetError("the net has no layers with weights, of which Figure 2 would show the volumes")
    return Volumes(_placed(graph, list(edges.values()), shapes), list(edges.values()))


def _feeding(graph: Graph) -> set[str]:
    """Return the layers behind which a layer with weights comes."""
    feeding: set[str] = set()
    for name, layer in reversed(graph.layers.items()):
        if any(isinstance(other, WeightLayer) or other.name in feeding for other in layer.consumers):
            feeding.add(name)
    return feeding


def _note(layer: Layer, is_sum: bool) -> str:
    """Return what is said of a layer without weights that changes its maps, or puts several together, or ``''``."""
    if isinstance(layer, Pool):
        return _POOLS[layer.pool]
    if isinstance(layer, CrossMapPool):
        return "Max pooling across maps"
    if is_sum or (isinstance(layer, ImageLayer) and layer.outputs != layer.sources[0].outputs):
        return layer.title[0].upper() + layer.title[1:]
    return ""


def _window_of(layer: Layer, shape: str) -> tuple[int, int]:
    """Return the side of the window of a layer without weights, and that of the maps of ``shape`` that it reads."""
    window = layer.windows()[0]
    return (window[0] if window else 0), _maps(shape)[1] or 1


def _edge(layer: WeightLayer, i: int, start: str, notes: tuple[str, ...]) -> Edge:
    """Return the edge from a volume to a layer that reads it as its input ``i``."""
    if not isinstance(layer, Windowed):
        return Edge(start, layer.name, 0, 0, notes)
    own = [f"Stride of {layer.stride[i]}"] * (layer.stride[i] > 1) + ["Locally connected"] * isinstance(layer, Local)
    return Edge(start, layer.name, layer.filterSize[i], layer.imgSize[i], (*notes, *own))


def _placed(graph: Graph, edges: list[Edge], shapes: dict[str, str]) -> dict[str, Volume]:
    """Put every volume behind those that it reads, and beside those of its column in the order of what they read."""
    below: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        below[edge.target].append(edge.source)
    ends = {end for edge in edges for end in (edge.source, edge.target)}
    columns: dict[str, int] = {}
    for name in graph.layers:
        if name in ends:
            columns[name] = 1 + max((columns[source] for source in below[name]), default=-1)
    count = 1 + max(columns.values())
    widest = max(sum(column == place for column in columns.values()) for place in range(count))
    if count > _COLUMNS or widest > _ROWS:
        size = f"{counted(count, 'column')} of up to {counted(widest, 'volume')}"
        raise ConvnetError(f"a figure of {size} {_UNREADABLE}")
    rows: dict[str, float] = {}
    for place in range(count):
        here = [name for name, column in columns.items() if column == place]
        middle = {name: sum(rows[source] for source in below[name]) / max(1, len(below[name])) for name in here}
        for i, name in enumerate(sorted(here, key=lambda name: (round(middle[name], 6), graph.places[name]))):
            rows[name] = i - (len(here) - 1) / 2
    return {name: Volume(name, *_maps(shapes[name]), columns[name], rows[name]) for name in columns}


def _maps(shape: str) -> tuple[int, int]:
    """Return (C, S) of a text such as ``96x55x55``; of a vector, and of maps of one value, S is 0."""
    maps, _, side = shape.partition("x")
    S = int(side.partition("x")[0] or 0)
    return int(maps), S if S > 1 else 0
