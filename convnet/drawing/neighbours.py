"""Test pictures that a net finds alike: the nearest to some of them in the outputs of a layer (io section 7).

Distances are Euclidean, as in the paper's Figure 4, over all test batches; only the nearest are kept in memory. Letters: D
outputs of the layers, F values of a picture, N cases of a minibatch.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from convnet.drawing.filters import towers_of
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
    distance: float = 0.0


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
    return Similar(
        [layer.written_name for layer in layers], sum(layer.outputs for layer in layers), cases, [row for row, _ in queries]
    )


def feature_layers(graph: Graph, names: Sequence[str] = ()) -> list[Layer]:
    """Return the layers called ``names``; ``conv1`` also stands for ``conv1a`` and ``conv1b``, the towers of a net.

    Without names, what the fully-connected layer below the first softmax reads: the last hidden layer, of all towers.
    Raises ``OptionError``.
    """
    if names:
        towers = ([name] if name in graph.layers else towers_of(graph.layers, name) or [name] for name in names)
        found = dict.fromkeys(output_layer(graph, name, OptionError) for each in towers for name in each)
        return [graph.layers[name] for name in found]
    if not heads(graph):
        raise OptionError("the net tells no classes, so that no layer is the last before them; name one: --similar LAYER")
    last = graph.layers[head_of(graph).layer].sources[0]
    below = last.sources if isinstance(last, FullyConnected) else [last]
    return list(dict.fromkeys(map(_undropped, below)))


def _undropped(layer: Layer) -> Layer:
    """Return the layer whose units ``layer`` drops in training; all are there in testing."""
    while isinstance(layer, Dropout2):
        layer = layer.sources[0]
    return layer


class _Reader:
    """Reads pictures, true classes and the outputs of layers ``names`` of all test batches, a minibatch at a time."""

    def __init__(self, tests: TestSet, names: list[str], head: Head | None) -> None:
        self.tests, self.names, self.head = tests, names, head
        self.classes = names_of(tests, head, tests.net.graph.layers[head.layer].outputs) if head else []

    def queries(self, count: int, random: np.random.Generator) -> list[tuple[Row, np.ndarray]]:
        """Return up to ``count`` cases with their outputs (D,): batches are drawn, then cases in each."""
        found = []
        for turn, wanted in sorted(Counter(random.integers(len(self.tests.numbers), size=count).tolist()).items()):
            number = self.tests.numbers[turn]
            total = sum(cases for _, cases in self.tests.inputs(number))
            chosen = set(random.choice(total, min(wanted, total), replace=False).tolist())
            for first, data, labels, outputs in self._passes(number):
                for n in range(data.shape[1]):
                    if first + n in chosen:
                        query = self._case(data, labels, n, number, first)
                        found.append((Row(query, []), outputs[:, n].copy()))
        return found

    def search(self, queries: Sequence[tuple[Row, np.ndarray]], most: int) -> int:
        """Find the ``most`` nearest of each query; returns how many cases there are."""
        total = 0
        for number in self.tests.numbers:
            for first, data, labels, outputs in self._passes(number):
                total += data.shape[1]
                for row, wanted in queries:
                    distances = np.sqrt(np.square(outputs - wanted[:, None]).sum(axis=0, dtype=np.float64))
                    if row.query.batch == number and first <= row.query.case < first + len(distances):
                        distances[row.query.case - first] = np.inf
                    limit = row.nearest[-1].distance if len(row.nearest) == most else np.inf
                    for n in np.argsort(distances, kind="stable")[:most]:
                        if distances[n] < limit:
                            row.nearest.append(self._case(data, labels, int(n), number, first, float(distances[n])))
                    row.nearest.sort(key=lambda each: each.distance)  # stable: of equal ones the first in the batches
                    del row.nearest[most:]
        return total

    def _case(
        self, data: np.ndarray, labels: np.ndarray | None, n: int, batch: int, first: int, distance: float = 0.0
    ) -> Neighbour:
        """Return case ``n`` of a minibatch that begins with case ``first`` of a batch."""
        (picture,) = self.tests.provider.images(np.ascontiguousarray(data[:, n : n + 1]))
        truth = ""
        if labels is not None:
            truth = truth_text(true_classes(labels[:, n : n + 1], len(self.classes))[:, 0], self.classes)
        return Neighbour(picture, batch, first + n, truth, distance)

    def _passes(self, number: int) -> Iterator[tuple[int, np.ndarray, np.ndarray | None, np.ndarray]]:
        """Yield of every minibatch of a batch its first case, pictures (F, N), labels, if any, and outputs (D, N)."""
        wanted = [self.tests.data_layer(), *self.names, *([self.head.labels] if self.head else [])]
        first = 0
        for data, *outputs in self.tests.passes(wanted, number):
            labels = outputs.pop() if self.head else None
            yield first, data, labels, np.concatenate(outputs)
            first += data.shape[1]
