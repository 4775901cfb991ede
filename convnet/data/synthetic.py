"""Data made to fit a definition: sizes that its layers accept and matrices of the kinds its costs want (io section 3).

What a definition leaves open is the size of its pictures; ``fit`` tries sides until every check of the graph passes.
All other sizes follow: labels have one row, targets as many as the predictions they are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from convnet.data.provider import Batch, MatrixBatch, Provider, Request
from convnet.errors import LayerFileError
from convnet.graph import Builder, Graph
from convnet.layers import Layer
from convnet.layers.data import Data
from convnet.layers.tree import LabelTree

SMALLEST = (*range(4, 33, 4), *range(40, 129, 8), *range(144, 257, 16))  # sides, for speed
USUAL = (224, 32, 28, 24, 8, *SMALLEST)  # sides, as the historical nets had them
_FEW = 100  # below so many classes a net of the usual ones sees pictures of 32 pixels
_CLASSES = 10
_CASES = 128

Parse = Callable[[], Builder]


@dataclass(frozen=True)
class Fit:
    """A graph and the data it was shaped for: features by matrix index, what each holds, classes.

    ``side`` is that of the pictures in matrix 0; 0 where their features were given.
    """

    graph: Graph
    dims: dict[int, int]
    kinds: dict[int, str]
    classes: int
    side: int
    tree: LabelTree

    def matrices(self, cases: int, seed: int = 0) -> list[np.ndarray]:
        """Random matrices (features, cases), float32: uniform data, labels, one-hot targets, gates of 0 and 1."""
        random = np.random.default_rng(seed)
        return [self._matrix(i, cases, random) for i in range(max(self.dims) + 1)]

    def _matrix(self, i: int, cases: int, random: np.random.Generator) -> np.ndarray:
        rows, kind = self.dims.get(i, 1), self.kinds.get(i, "data")
        if kind == "label":
            return random.integers(0, self.classes, (1, cases)).astype(np.float32)
        if kind == "target":
            return (np.arange(rows)[:, None] == random.integers(0, rows, cases)).astype(np.float32)
        if kind == "gate":
            return random.integers(0, 2, (rows, cases)).astype(np.float32)
        return random.random((rows, cases), np.float32)


class Synthetic(Provider):
    """Batches of a ``Fit``, the same in every epoch."""

    name = "dummy"
    help = "random data of the smallest size that fits the net"

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        assert request.parse
        self.fit = found = fit(request.parse, SMALLEST, request.classes, request.features)
        self.dims, self.classes, self.tree = found.dims, found.classes, found.tree
        self.label_names = [str(c) for c in range(found.classes)]

    @property
    def numbers(self) -> list[int]:
        return [0, 1, 2, 3, 4, 5, 6]

    def default_ranges(self) -> tuple[list[int], list[int]]:
        return [1, 2, 3, 4, 5], [6]

    def batch(self, epoch: int, number: int) -> Batch:
        self.check_range([number], "dummy")
        return MatrixBatch(self.fit.matrices(_CASES, self.request.seed * 7 + number))


def fit(parse: Parse, sides: Sequence[int] = (), classes: int = 0, features: int = 0) -> Fit:
    """Shape the graph that ``parse`` begins for the first of ``sides`` that it accepts, or for ``features`` values per case.

    Without ``sides``, those of the historical nets: 224 with 100 classes and more, else 32 first. ``classes`` is for
    definitions that do not say how many there are. Raises ``LayerFileError`` as for the first side if none is accepted.
    """
    first = parse()
    first.problems.check()
    if features:
        return _shaped(parse, features, 0, classes)
    channels = channels_of(first.graph)
    tried: LayerFileError | None = None
    for side in sides or _usual(parse, channels, classes):
        try:
            return _shaped(parse, channels * side**2, side, classes)
        except LayerFileError as error:
            tried = tried or error
    assert tried is not None
    raise tried


def _usual(parse: Parse, channels: int, classes: int) -> Iterable[int]:
    found = classes or _Sizes.of(parse, channels * 224**2, 0).classes
    return USUAL if found >= _FEW else USUAL[1:]


@dataclass(frozen=True)
class _Sizes:
    """What one attempt to shape a graph tells of its data."""

    dims: dict[int, int]
    kinds: dict[int, str]
    classes: int

    @classmethod
    def of(cls, parse: Parse, features: int, classes: int) -> _Sizes:
        """From a trial whose problems are ignored: layers below the costs are shaped without knowing the labels."""
        builder = parse()
        graph = builder.graph
        dims = {0: features} | {layer.dataIdx: max(layer.end, 1) for layer in _data_layers(graph) if layer.dataIdx}
        tree = LabelTree.flat(classes or _CLASSES)
        with suppress(LayerFileError):
            builder.shape(dims, None, tree)
        kinds: dict[int, str] = {}
        found = classes
        for cost in graph.costs:
            source, kind = cost.sources[0] if cost.sources else None, cost.first_input  # type: ignore[attr-defined]
            if isinstance(source, Data) and kind:
                kinds[source.dataIdx] = kind
                predicted = cost.sources[-1].outputs
                dims[source.dataIdx] = predicted if kind == "target" else 1
                found = found or (predicted if kind in ("label", "target") else 0)
        return cls(dims, kinds, found or _CLASSES)


def _shaped(parse: Parse, features: int, side: int, classes: int) -> Fit:
    sizes = _Sizes.of(parse, features, classes)
    tree = LabelTree.flat(sizes.classes)
    graph = parse().shape(sizes.dims, sizes.classes, tree)
    return Fit(graph, sizes.dims, sizes.kinds, sizes.classes, side, tree)


def _data_layers(graph: Graph) -> list[Data]:
    return [layer for layer in graph.declared if isinstance(layer, Data)]


def channels_of(graph: Graph) -> int:
    """Maps of matrix 0 as the first layer to read it as pictures declares them; 3 where none does."""
    for layer in graph.declared:
        for i, source in enumerate(layer.sources):
            if isinstance(source, Data) and source.dataIdx == 0:
                found = _declared(layer, i)
                if found:
                    return found
    return 3


def _declared(layer: Layer, i: int) -> int:
    given = getattr(layer, "channels", 0) or 0
    return int(given[i]) if isinstance(given, list) else int(given)
