"""Which layers of a graph are split by cases, and which by outputs, in each scheme; and what must cross for that.

data    every layer has N/R cases, all outputs and whole weights
model   every weight layer has all N cases, and 1/R of its outputs and weights (2012)
hybrid  layers before the first fully-connected one as in data; it and all behind it as in model, but fed with the N/R cases
        of one rank after another, in R passes (2014, numerics 18.5)

Where a layer of the second kind reads outputs that are split, they cross: each rank sends its slice to the others. Where it
reads outputs of a layer of the first kind, the rank whose turn it is sends all of its cases. Gradients go the same way back:
every rank has a share of each, and sends it to the rank that has the output. Layers without weights go along with their
inputs, but a softmax or a cost, which sees all of them. Data do not cross: each rank reads what it needs.
"""

from collections.abc import Mapping
from typing import NamedTuple

from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.fc import FullyConnected
from convnet.layers.weighted import WeightLayer

SCHEMES = ("data", "model", "hybrid")
CASES, OUTPUTS, WHOLE = "cases", "outputs", "all"  # how a layer is split; WHOLE: every rank does all of it


class Crossing(NamedTuple):
    """What crosses before a layer: outputs of ``source``, whole or in slices, and whether their gradients come ``back``."""

    source: Layer
    is_sliced: bool
    back: bool


def splits(graph: Graph, scheme: str) -> dict[str, str]:
    """Return how each layer is split in a scheme. Of data, each rank has its cases, or all."""
    found: dict[str, str] = {}
    for name, layer in graph.layers.items():
        below = [found[source.name] for source in layer.sources]
        starts = isinstance(layer, FullyConnected) or (scheme == "model" and not below)
        if scheme == "data" or not (starts or set(below) - {CASES}):
            found[name] = CASES
        elif isinstance(layer, WeightLayer):
            found[name] = OUTPUTS
        else:
            goes_along = set(below) == {OUTPUTS} and not layer.is_cost and layer.function != "softmax"
            found[name] = OUTPUTS if goes_along else WHOLE
    return found


def crossings(graph: Graph, how: Mapping[str, str]) -> dict[str, list[Crossing]]:
    """Return what crosses before each layer, every output once: before the first that wants more of it than is there."""
    needed: dict[str, list[Crossing]] = {}
    with_gradient, places = graph.gradient_layers(), graph.places
    for source in graph.layers.values():
        split = how[source.name]
        readers = [reader for reader in source.consumers if how[reader.name] != split or _mixes(reader, how)]
        if source.sources and readers and split != WHOLE:
            back = source.name in with_gradient and any(_mixes(reader, how) for reader in readers)
            first = min(readers, key=lambda reader: places[reader.name])
            needed.setdefault(first.name, []).append(Crossing(source, split == OUTPUTS, back))
    return needed


def _mixes(layer: Layer, how: Mapping[str, str]) -> bool:
    """Whether each output of a layer that is split by outputs depends on many inputs."""
    return how[layer.name] == OUTPUTS and isinstance(layer, WeightLayer)
