"""Test pictures that a net finds alike: the nearest to some of them in the outputs of a layer (io section 7).

Distances are Euclidean, as in the paper's Figure 4, over all test batches; only the nearest are kept in memory. Letters: D
outputs of the layers, F values of a picture, N cases of a minibatch.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from convnet.drawing.samples import Head, TestSet, head_of, heads, names_of, true_classes, truth_text
from convnet.errors import DataError, OptionError
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.dropout import Dropout2
from convnet.layers.fc import FullyConnected
from convnet.training.evaluator import output_layer

ROWS, NEAREST = 5, 6  # as in the paper


class Neighbour(NamedTuple):
    """A test picture (H, W, C) in 0 to 1, its place, its true class if any, and its ``distance`` from the one asked for."""

    picture: np.ndarray
    batch: int
    case: int
    truth: str
    distance: float


class Row(NamedTuple):
    """A picture, and those that are nearest to it, the nearest first."""

    query: Neighbour
    nearest: list[Neighbour]


class Similar(NamedTuple):
    """Pictures and their neighbours in the outputs of ``layers``, ``outputs`` in all, among ``cases`` test pictures."""

    layers: list[str]
    outputs: int
    cases: int
    rows: list[Row]


class _Candidate(NamedTuple):
    """A case by its distance and then its place: (number of the batch's turn, case); and what is shown of it."""

    distance: float
    place: tuple[int, int]
    values: np.ndarray  # (F,)
    truth: str


@dataclass
class _Query:
    """A case that is asked for, its outputs (D,), and the nearest found so far."""

    place: tuple[int, int]
    outputs: np.ndarray
    values: np.ndarray
    truth: str
    nearest: list[_Candidate] = field(default_factory=list)

    def add(self, found: Sequence[_Candidate], most: int) -> None:
        """Keep the ``most`` nearest of those known and ``found``."""
        self.nearest = sorted([*self.nearest, *found], key=lambda candidate: candidate[:2])[:most]


def similar(tests: TestSet, names: Sequence[str] = (), rows: int = ROWS, nearest: int = NEAREST, seed: int = 0) -> Similar:
    """Return ``rows`` pictures of the test batches, drawn by ``seed``, and the ``nearest`` to each; the same one left out.

    ``names`` are of layers, whose outputs are put end to end; without any, of what the last layer of classes reads. Of equal
    distances the first in the batches goes first. Raises ``ConvnetError``.
    """
    graph = tests.net.graph
    if tests.provider.cropper is None:
        raise DataError(f"the data of '{tests.provider.name}' are not pictures, so that there is nothing to show")
    layers = feature_layers(graph, names)
    reader = _Reader(tests, [layer.name for layer in layers], head_of(graph) if heads(graph) else None)
    queries = reader.queries(rows, np.random.default_rng(seed))
    cases = reader.search(queries, nearest)
    found = [
        Row(
            reader.shown(_Candidate(0.0, query.place, query.values, query.truth)),
            [reader.shown(candidate) for candidate in query.nearest],
        )
        for query in queries
    ]
    return Similar([layer.written_name for layer in layers], sum(layer.outputs for layer in layers), cases, found)


def feature_layers(graph: Graph, names: Sequence[str] = ()) -> list[Layer]:
    """Return the layers called ``names``; ``conv1`` also stands for ``conv1a`` and ``conv1b``, the towers of a net.

    Without names, what the fully-connected layer below the first softmax reads: the last hidden layer, of all towers.
    Raises ``OptionError``.
    """
    if names:
        found = [other for name in names for other in _towers(graph, name)]
        return [graph.layers[output_layer(graph, name, OptionError)] for name in dict.fromkeys(found)]
    if not heads(graph):
        raise OptionError("the net tells no classes, so that no layer is the last before them; name one: --similar LAYER")
    last = graph.layers[head_of(graph).layer].sources[0]
    below = last.sources if isinstance(last, FullyConnected) else [last]
    return list(dict.fromkeys(map(_undropped, below)))


def _towers(graph: Graph, name: str) -> list[str]:
    """Return ``name``; or, where no layer is called so, those that are with a letter behind it."""
    with_letter = [other for other in graph.layers if other[:-1] == name and other[-1].isalpha()]
    return [name] if name in graph.layers or not with_letter else with_letter


def _undropped(layer: Layer) -> Layer:
    """Return the layer whose units ``layer`` drops in training; all are there in testing."""
    while isinstance(layer, Dropout2):
        layer = layer.sources[0]
    return layer


class _Reader:
    """Reads pictures, true classes and the outputs of layers ``names`` of all test batches, a minibatch at a time."""

    def __init__(self, tests: TestSet, names: list[str], head: Head | None) -> None:
        self.tests, self.names, self.head = tests, names, head
        self.numbers = tests.numbers
        self.classes: list[str] = []
        if head:
            self.classes = names_of(tests, head, tests.net.graph.layers[head.layer].outputs)

    def queries(self, count: int, random: np.random.Generator) -> list[_Query]:
        """Return up to ``count`` cases: batches are drawn, then cases in each; only those are loaded."""
        found = []
        for turn, wanted in sorted(Counter(random.integers(len(self.numbers), size=count).tolist()).items()):
            total = sum(cases for _, cases in self.tests.inputs(self.numbers[turn]))
            chosen = set(random.choice(total, min(wanted, total), replace=False).tolist())
            first = 0
            for data, truths, outputs in self._passes(turn):
                for n in range(data.shape[1]):
                    if first + n in chosen:
                        columns = outputs[:, n].copy(), data[:, n].copy(), self._truth(truths[:, n])
                        found.append(_Query((turn, first + n), *columns))
                first += data.shape[1]
        return found

    def search(self, queries: Sequence[_Query], most: int) -> int:
        """Find the ``most`` nearest of each query; returns how many cases there are."""
        total = 0
        for turn in range(len(self.numbers)):
            first = 0
            for data, truths, outputs in self._passes(turn):
                for query in queries:
                    distances = np.sqrt(np.square(outputs - query.outputs[:, None]).sum(axis=0, dtype=np.float64))
                    nearest = np.argsort(distances, kind="stable")[: most + 1]  # one may be the query
                    places = [(turn, first + int(n)) for n in nearest]
                    query.add(
                        [
                            _Candidate(float(distances[n]), place, data[:, n].copy(), self._truth(truths[:, n]))
                            for n, place in zip(nearest, places, strict=True)
                            if place != query.place
                        ],
                        most,
                    )
                first += data.shape[1]
            total += first
        return total

    def shown(self, found: _Candidate) -> Neighbour:
        """Return a case with its picture."""
        (picture,) = self.tests.provider.images(np.ascontiguousarray(found.values[:, None]))
        turn, case = found.place
        return Neighbour(picture, self.numbers[turn], case, found.truth, found.distance)

    def _passes(self, turn: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield pictures (F, N), which classes are true (K, N), and outputs (D, N) of every minibatch of a batch."""
        labels = [self.head.labels] if self.head else []
        wanted = [self.tests.data_layer(), *self.names, *labels]
        for data, *outputs in self.tests.passes(wanted, self.numbers[turn]):
            truths = true_classes(outputs.pop(), len(self.classes)) if labels else np.empty((0, data.shape[1]), bool)
            yield data, truths, np.concatenate(outputs)

    def _truth(self, truths: np.ndarray) -> str:
        return truth_text(truths, self.classes) if self.head else ""
