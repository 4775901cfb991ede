"""Stands in for a data set: the sizes of data that a definition wants, worked out from the definition itself.

What a definition leaves open is the side of its pictures; sides that the historical nets had are tried until every check
of the graph passes. All else follows: labels have one row, targets as many as the predictions they are compared with,
and there are as many classes as predictions. No arrays here; ``convnet.data.random`` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from convnet.errors import LayerFileError
from convnet.graph.analysis import channels_read
from convnet.graph.builder import Builder
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.data import Data
from convnet.layers.eltwise import Concat, Elementwise
from convnet.layers.fc import FullyConnected, TreeFullyConnected
from convnet.layers.label_tree import LabelTree
from convnet.layers.local import Local
from convnet.layers.neuron import Softmax

SMALLEST = (*range(4, 33, 4), *range(40, 129, 8), *range(144, 257, 16))  # sides, for speed
USUAL = (224, 32, 28, 24, 8, *SMALLEST)  # sides, as the historical nets had them
_CROPPED = 24  # what the locally-connected nets saw: random crops of CIFAR's 32
_FEW = 100  # below so many classes a net of the usual ones sees pictures of 32 pixels
_CLASSES, _TREE_CLASSES = 10, 1000  # where nothing tells; the historical nets with trees were for ImageNet
_MAX_IN_TREE = 1_000_000  # classes for which a tree is made up


@dataclass(frozen=True)
class InferredData:
    """A checked graph and the data it was shaped for.

    ``dims`` is features by matrix index; ``kinds`` says which matrices hold a ``label``, ``target`` or ``gate``. ``side``
    is that of the pictures, 0 where their features were given. ``notes`` are sentences on what was assumed.
    """

    graph: Graph
    dims: dict[int, int]
    kinds: dict[int, str]
    classes: int
    side: int
    tree: LabelTree | None
    notes: list[str]


def infer_data(
    builder: Builder, data_dims: Sequence[int] | None = None, classes: int | None = None, sides: Sequence[int] = ()
) -> InferredData:
    """Shape the graph of ``builder`` for the data it seems to want; ``data_dims`` (features by matrix) and ``classes`` hold.

    ``sides`` of pictures are tried in their order; without them the one that [run] says, then those of the historical nets,
    224 first with 100 classes and more. Raises ``LayerFileError`` with every mistake, for the side that leaves the fewest.
    """
    builder.report_no_layers()
    dims = dict(enumerate(data_dims or ()))
    has_tree = any(isinstance(layer, TreeFullyConnected) for layer in builder.graph.declared)
    fallback = _TREE_CLASSES if has_tree and not sides else _CLASSES
    known = classes or (_other_classes(builder, fallback) if takes_classes(builder) else None)
    start = _Sizes(dims, {}, known, fallback, has_tree)
    tried: list[_Sizes] = []
    for side in (0,) if 0 in dims else sides or _usual_sides(builder, start.known):
        tried.append(start.completed(builder, side))
        if not tried[-1].mistakes:
            break
    best = min(tried, key=lambda sizes: (sizes.unshaped, sizes.mistakes))
    graph = builder.shape(best.dims, best.classes, best.tree)
    return InferredData(graph, best.dims, best.kinds, best.known, best.side, best.tree, _notes(builder, best, classes))


def expected_classes(builder: Builder) -> int:
    """Return the outputs of the first softmax as the layers below it declare them; 0 where it cannot be told.

    A net that takes any number of classes expects a few.
    """
    softmax = next((layer for layer in builder.graph.declared if isinstance(layer, Softmax)), None)
    declared = _declared_outputs(softmax, {}) if softmax else 0
    return declared or (_CLASSES if takes_classes(builder) else 0)


def takes_classes(builder: Builder) -> bool:
    """Return whether the files say num_classes somewhere, so that the net has as many classes as its data."""
    return any(layer.words for layer in builder.graph.declared)


def channels_of(graph: Graph, index: int = 0, default: int = 3) -> int:
    """Return the maps of matrix ``index`` as the first layer to read it as pictures declares them; else ``default``."""
    reading = {layer.name for layer in graph.declared if isinstance(layer, Data) and layer.dataIdx == index}
    for layer in graph.layers.values():
        for i, source in enumerate(layer.sources):
            if source.name in reading:
                if channels := channels_read(layer, i):
                    return channels
                if layer.elementwise or isinstance(layer, Elementwise):
                    reading.add(layer.name)
    return default


@dataclass(frozen=True)
class _Sizes:
    """Sizes of data, and how many mistakes shaping a graph for them finds.

    ``classes`` is ``None`` where costs disagree on it, ``fallback`` what to take where nothing tells.
    """

    dims: dict[int, int]
    kinds: dict[int, str]
    classes: int | None
    fallback: int
    has_tree: bool = False
    side: int = 0
    mistakes: int = 0
    unshaped: int = 0  # layers that a mistake, of theirs or below, leaves without a shape

    @property
    def known(self) -> int:
        return self.classes or self.fallback

    @property
    def tree(self) -> LabelTree | None:
        return LabelTree.flat(min(self.known, _MAX_IN_TREE)) if self.has_tree else None

    def completed(self, builder: Builder, side: int) -> _Sizes:
        """Return these sizes completed for pictures of ``side``, and what is wrong then."""
        graph = builder.graph
        # Values that could not be read are ``None``, here and below.
        data = [layer for layer in graph.declared if isinstance(layer, Data) and layer.dataIdx is not None]
        dims = {layer.dataIdx: 1 for layer in data}
        channels = {index: channels_of(graph, index, default=0 if index else 3) for index in dims}
        for layer in data:
            rows = side**2 * channels[layer.dataIdx]
            dims[layer.dataIdx] = max(dims[layer.dataIdx], (layer.start or 0) + rows, layer.end or 0)
        dims |= self.dims

        # What costs predict, without knowing the labels, says how large these are and how many classes there are.
        kinds: dict[int, str] = {}
        predictions: set[int] = set()
        for cost in _shaped(builder, dims, None, self.tree).graph.costs:
            source, kind = cost.sources[0] if cost.sources else None, cost.first_input
            if isinstance(source, Data) and source.dataIdx is not None and kind:
                kinds[source.dataIdx] = kind
                predicted = max(cost.sources[-1].outputs or 1, 1)
                rows = (source.start or 0) + (predicted if kind == "target" else 1)
                dims[source.dataIdx] = max(dims[source.dataIdx], rows)
                predictions |= {predicted} if kind != "gate" else set()
        dims |= self.dims

        agreed = self.classes or (predictions.pop() if len(predictions) == 1 else None)
        sizes = replace(self, dims=dims, kinds=kinds, classes=agreed, side=side)
        trial = _shaped(builder, dims, agreed, sizes.tree)
        unshaped = sum(not layer.is_shaped for layer in trial.graph.layers.values())
        return replace(sizes, mistakes=len(trial.problems.errors), unshaped=unshaped)


def _shaped(builder: Builder, dims: dict[int, int], classes: int | None, tree: LabelTree | None) -> Builder:
    """Return a copy of ``builder`` that was shaped, as far as possible; its problems are those of the shapes."""
    trial = builder.clone()
    with suppress(LayerFileError):
        trial.shape(dims, classes, tree)
    return trial


def _other_classes(builder: Builder, fallback: int) -> int:
    """Return the most predictions that a cost reads as far as the files declare them, else ``fallback``."""
    known: dict[Layer, int] = {}
    predictions = [_declared_outputs(cost.sources[-1], known) for cost in builder.graph.costs if cost.sources]
    return max(predictions, default=0) or fallback


def _usual_sides(builder: Builder, fallback: int) -> Sequence[int]:
    run = builder.graph.run
    said = [side for name in ("inner_size", "picture_size") if (side := run.get(name))]
    return [*said[:1], *_historical_sides(builder, fallback)]


def _historical_sides(builder: Builder, fallback: int) -> Sequence[int]:
    if _other_classes(builder, fallback) >= _FEW:
        return USUAL
    local = any(isinstance(layer, Local) for layer in builder.graph.declared)
    return (_CROPPED, *USUAL[1:]) if local else USUAL[1:]


def _declared_outputs(layer: Layer, known: dict[Layer, int]) -> int:
    """Return the outputs as far as they can be told without data, else 0; ``known`` are those found so far."""
    waiting = [layer]  # not recursive, for a chain may be thousands of layers long
    while waiting:
        current = waiting[-1]
        through = current.elementwise or isinstance(current, Softmax | Elementwise | Concat)
        sources = current.sources if through and not isinstance(current, FullyConnected) else []
        unknown = [source for source in sources if source not in known]
        if unknown:
            waiting += unknown
            continue
        waiting.pop()
        parts = [known[source] for source in sources]
        if isinstance(current, FullyConnected):
            known[current] = current.outputs or 0
        elif isinstance(current, Concat):
            known[current] = sum(parts) if all(parts) else 0
        else:
            known[current] = max(parts, default=0)
    return known[layer]


def _notes(builder: Builder, sizes: _Sizes, classes: int | None) -> list[str]:
    """Say what was assumed, in the words of the options that would say it."""
    notes = []
    if sizes.side and 0 in sizes.dims:
        size = f"{channels_of(builder.graph)}x{sizes.side}x{sizes.side}"
        dims = ",".join(str(sizes.dims.get(i, 1)) for i in range(max(sizes.dims) + 1))
        notes.append(f"Assumed pictures of {size}, as --data-dims {dims} would say.")
    if builder.graph.costs and classes is None:
        notes.append(f"Assumed {sizes.known} class{'es' * (sizes.known != 1)}, as --num-classes {sizes.known} would say.")
    if sizes.has_tree:
        notes.append(f"Assumed a tree of labels in which all {sizes.known} classes stand directly below one root.")
    return notes
