"""Stands in for a data set: the sizes of data that a definition wants, worked out from the definition itself.

What a definition leaves open is the side of its pictures; sides that the historical nets had are tried until every check
of the graph passes. All else follows: labels have one row, targets as many as the predictions they are compared with,
other values as many as the outputs that they are added to, and there are as many classes as predictions. No arrays here;
``convnet.data.random`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from convnet.errors import LayerFileError
from convnet.graph.analysis import channels_read
from convnet.graph.builder import Builder
from convnet.graph.graph import Graph
from convnet.graph.needs import Need, costs_on, data_layers, declared_outputs, needs_of, told_sizes
from convnet.layers.data import Data
from convnet.layers.eltwise import Elementwise
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.label_tree import LabelTree
from convnet.layers.local import Local
from convnet.layers.neuron import Softmax
from convnet.texts import counted

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
    is that of the pictures, 0 where their features were given. ``notes`` are sentences on what was assumed. ``heads`` has
    the classes of labels and targets by matrix, where they are not ``classes``.
    """

    graph: Graph
    dims: dict[int, int]
    kinds: dict[int, str]
    classes: int
    side: int
    tree: LabelTree | None
    notes: list[str]
    heads: dict[int, int] = field(default_factory=dict)


def infer_data(
    builder: Builder, data_dims: Sequence[int] | None = None, classes: int | None = None, sides: Sequence[int] = ()
) -> InferredData:
    """Shape the graph of ``builder`` for the data it seems to want; ``data_dims`` (features by matrix) and ``classes`` hold.

    ``sides`` of pictures are tried in their order; without them the one that [run] says, then those of the historical nets,
    224 first with 100 classes and more. Raises ``LayerFileError`` with every mistake, for the side that leaves the fewest.
    """
    builder.report_no_layers()
    best = _best_sizes(builder, data_dims, classes, sides)
    graph = builder.shape(best.dims, best.classes, best.tree, heads=best.heads)
    notes = _notes(builder, best, classes)
    return InferredData(graph, best.dims, best.kinds, best.known, best.side, best.tree, notes, best.heads)


def needed_data(builder: Builder) -> dict[int, Need]:
    """Return what the net of ``builder``, which is not shaped, needs of data, by matrix; what only data can tell is 0."""
    sizes = [_best_sizes(builder)]
    if takes_classes(builder):  # what follows from the number of classes differs
        sizes.append(_best_sizes(builder, classes=sizes[0].known + 1))
    told = {index: sizes[0].dims[index] for index in sizes[0].told if len({each.dims[index] for each in sizes}) == 1}
    several = [needs_of(_shaped(builder, each).graph, told) for each in sizes]
    return {
        index: replace(need, classes=need.classes if all(each[index].classes == need.classes for each in several) else 0)
        for index, need in several[0].items()
    }


def _best_sizes(
    builder: Builder, data_dims: Sequence[int] | None = None, classes: int | None = None, sides: Sequence[int] = ()
) -> _Sizes:
    """Return the sizes of data that leave the fewest mistakes; arguments as for ``infer_data``."""
    dims = dict(enumerate(data_dims or ()))
    has_tree = any(isinstance(layer, TreeFullyConnected) for layer in builder.graph.declared)
    fallback = _TREE_CLASSES if has_tree and not sides else _CLASSES
    known = classes or (_other_classes(builder, fallback) if takes_classes(builder) else None)
    start = _Sizes(dims, {}, known, fallback, has_tree=has_tree)
    tried: list[_Sizes] = []
    for side in (0,) if 0 in dims else sides or _usual_sides(builder, start.known):
        tried.append(start.completed(builder, side))
        if not tried[-1].mistakes:
            break
    return min(tried, key=lambda sizes: (sizes.unshaped, sizes.mistakes))


def expected_classes(builder: Builder) -> int:
    """Return the outputs of the first softmax as the layers below it declare them; 0 where it cannot be told.

    A net that takes any number of classes expects a few.
    """
    softmax = next((layer for layer in builder.graph.declared if isinstance(layer, Softmax)), None)
    declared = declared_outputs(builder.graph).get(softmax, 0) if softmax else 0
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
    heads: dict[int, int] = field(default_factory=dict)
    told: frozenset[int] = frozenset()  # matrices whose sizes are known
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
        sizes, free = self._begun(builder, side)
        for _ in range(len(free) + 1):  # what one matrix tells may tell the next
            graph = _shaped(builder, sizes).graph
            told = {index: rows for index, rows in told_sizes(graph, free).items() if rows > 0}
            free = free - told.keys()
            sizes = sizes.judged(graph, told, self)
            if not told:
                break
        trial = _shaped(builder, sizes)
        unshaped = sum(not layer.is_shaped for layer in trial.graph.layers.values())
        return replace(sizes, mistakes=len(trial.problems.errors), unshaped=unshaped)

    def _begun(self, builder: Builder, side: int) -> tuple[_Sizes, frozenset[int]]:
        """Return sizes for pictures of ``side``, and which matrices no layer reads as pictures, so that others tell."""
        data = data_layers(builder.graph)
        channels = {layer.dataIdx: channels_of(builder.graph, layer.dataIdx, default=0) for layer in data}
        dims = dict.fromkeys(channels, 1)
        for layer in data:
            rows = side**2 * (channels[layer.dataIdx] or (0 if layer.dataIdx else 3))
            dims[layer.dataIdx] = max(dims[layer.dataIdx], (layer.start or 0) + rows, layer.end or 0)
        free = frozenset(index for index, read_as in channels.items() if not read_as and index not in self.dims)
        return replace(self, dims=dims | self.dims, told=frozenset(channels) - free, side=side), free

    def judged(self, graph: Graph, told: Mapping[int, int], given: _Sizes) -> _Sizes:
        """Return these sizes with what layers, ``told``, and costs of ``graph`` tell of data; what is ``given`` holds."""
        dims, kinds, predictions = {**self.dims, **told}, {}, dict[int, set[int]]()
        for data in data_layers(graph):
            for cost in costs_on(data):
                kinds[data.dataIdx] = kind = cost.first_input
                predicted = max(cost.sources[-1].outputs or 1, 1)
                rows = (data.start or 0) + (predicted if kind == "target" else 1)
                dims[data.dataIdx] = max(dims[data.dataIdx], rows)
                if kind != "gate":
                    predictions.setdefault(data.dataIdx, set()).add(predicted)
        counts = {index: next(iter(several)) for index, several in predictions.items() if len(several) == 1}
        main = min(predictions, default=-1)
        classes = given.classes or counts.get(main)
        return replace(
            self,
            dims=dims | given.dims,
            kinds=kinds,
            classes=classes,
            heads={index: count for index, count in counts.items() if index != main and count != classes},
            side=0 if 0 in told else self.side,
            told=frozenset([*self.told, *told, *kinds]),
        )


def _shaped(builder: Builder, sizes: _Sizes) -> Builder:
    """Return a copy of ``builder`` that was shaped, as far as possible; its problems are those of the shapes."""
    trial = builder.clone()
    with suppress(LayerFileError):
        trial.shape(sizes.dims, sizes.classes, sizes.tree, heads=sizes.heads)
    return trial


def _other_classes(builder: Builder, fallback: int) -> int:
    """Return the most predictions that a cost reads as far as the files declare them, else ``fallback``."""
    known = declared_outputs(builder.graph)
    predictions = [known.get(cost.sources[-1], 0) for cost in builder.graph.costs if cost.sources]
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


def _notes(builder: Builder, sizes: _Sizes, classes: int | None) -> list[str]:
    """Say what was assumed, in the words of the options that would say it."""
    notes = []
    if sizes.side and 0 in sizes.dims:
        size = f"{channels_of(builder.graph)}x{sizes.side}x{sizes.side}"
        dims = ",".join(str(sizes.dims.get(i, 1)) for i in range(max(sizes.dims) + 1))
        notes.append(f"Assumed pictures of {size}, as --data-dims {dims} would say.")
    of_classes = sizes.has_tree or takes_classes(builder) or {"label", "target"} & set(sizes.kinds.values())
    if of_classes and classes is None:
        notes.append(f"Assumed {counted(sizes.known, 'class')}, as --num-classes {sizes.known} would say.")
    for index, count in sizes.heads.items():
        notes.append(f"Assumed {counted(count, 'class')} of the labels in matrix {index} of the data.")
    if sizes.has_tree:
        notes.append(f"Assumed a tree of labels in which all {sizes.known} classes stand directly below one root.")
    return notes
