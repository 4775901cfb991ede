"""Random data: of the size that fits a net (``dummy``), or of a size that is named (``dummy-cn-192``).

``synthesize`` makes data to fit a definition: sizes that its layers accept and matrices of the kinds its costs want
(io section 3). Names with a size are for gradient checks and trials (io 6.4): ``dummy-KIND-N`` has N values per case.
``cn`` and ``labeled`` make [data, labels, one-hot labels]; ``lr`` [data, labels, gate]; ``ce`` [data, one-hot labels].
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from convnet.data.provider import Batch, MatrixBatch, Provider, Request, one_hot
from convnet.errors import DataError
from convnet.graph.builder import Builder
from convnet.graph.infer import SMALLEST, InferredData, infer_data
from convnet.graph.needs import costs_on, data_layers
from convnet.layers.label_tree import LabelTree

_NAME = re.compile(r"dummy(?:-(cn|labeled|lr|ce))?-(\d+)$")
_CLASSES = 10
_CASES, _NAMED_CASES = 128, 512  # in a batch


@dataclass(frozen=True)
class SyntheticData(InferredData):
    """A graph, the data it was shaped for, and random matrices of their sizes."""

    def matrices(self, cases: int, seed: int = 0) -> list[np.ndarray]:
        """Return random matrices (features, cases), float32: uniform data, labels, one-hot targets, gates of 0 and 1."""
        random = np.random.default_rng(seed)
        makers: dict[str, Callable[[int], np.ndarray]] = {
            "data": lambda rows: random.random((rows, cases), np.float32),
            "target": lambda rows: one_hot(random.integers(0, rows, cases), rows),
            "gate": lambda rows: random.integers(0, 2, (rows, cases)).astype(np.float32),
        }

        def matrix(index: int) -> np.ndarray:
            rows, kind = self.dims.get(index, 1), self.kinds.get(index, "data")
            if kind == "label":
                return random.integers(0, self.heads.get(index, self.classes), (rows, cases)).astype(np.float32)
            return makers[kind](rows)

        matrices = [matrix(index) for index in range(max(self.dims) + 1)]
        for layer in data_layers(self.graph):
            for cost in costs_on(layer):
                if cost.first_input == "label":  # rows of one matrix may be of different classes
                    matrices[layer.dataIdx][layer.start : layer.end] %= cost.num_inputs[-1]
        return matrices


def synthesize(builder: Builder, sides: Sequence[int] = (), classes: int = 0, features: int = 0) -> SyntheticData:
    """Shape the graph of ``builder`` for the first of ``sides`` that it accepts, or for ``features`` values per case.

    Without ``sides``, those of the historical nets: 224 with 100 classes and more, else 32 first. ``classes`` is for
    definitions that do not say how many there are. Raises ``LayerFileError`` as for the best side if none is accepted.
    """
    builder.problems.check()
    return SyntheticData(**vars(infer_data(builder, [features] if features else None, classes or None, sides)))


class _RandomProvider(Provider):
    """Batches of random numbers, the same in every epoch."""

    numbers, test_numbers = list(range(7)), [6]

    def __init__(self, request: Request, classes: int) -> None:
        super().__init__(request)
        self.classes, self.label_names = classes, [str(c) for c in range(classes)]

    def default_ranges(self) -> tuple[list[int], list[int]]:
        return [1, 2, 3, 4, 5], [6]

    def batch(self, epoch: int, number: int) -> Batch:  # noqa: ARG002 (the same in every epoch)
        self.check_range([number], "dummy")
        return MatrixBatch(self.matrices(number))

    @abstractmethod
    def matrices(self, number: int) -> list[np.ndarray]:
        """Return the matrices of batch ``number``."""


class Synthetic(_RandomProvider):
    """Random data of the smallest size that fits the net."""

    name = "dummy"

    def __init__(self, request: Request) -> None:
        assert request.builder
        problems = request.builder.problems
        builder = request.builder.clone(replace(problems, items=list(problems.items)))
        self.data = synthesize(builder, SMALLEST, request.classes, request.features)
        super().__init__(request, self.data.classes)
        self.classes = self.data.graph.classes or 0
        self.dims, self.heads, self.tree = self.data.dims, self.data.heads, self.data.tree

    def matrices(self, number: int) -> list[np.ndarray]:
        return self.data.matrices(_CASES, self.request.seed * 7 + number)


class Dummy(_RandomProvider):
    """Random data of the size in ``name``."""

    def __init__(self, request: Request, name: str) -> None:
        match = _NAME.fullmatch(name)
        if not match or int(match[2]) < 1:
            raise DataError(f"no data provider '{name}'; expected dummy-cn-N with the number of values per case")
        self.name, self.kind = name, match[1] or "cn"
        super().__init__(request, request.classes or _CLASSES)
        self.tree = LabelTree.flat(self.classes)
        rows = {"lr": {1: 1, 2: 1}, "ce": {1: self.classes}}.get(self.kind, {1: 1, 2: self.classes})
        # What no name has: values of layers, and classes of further matrices.
        self._more = {
            index: need
            for index, need in request.needs.items()
            if index and need.rows and (need.kind == "value" or (need.kind == "label" and index > 1))
        }
        self.dims = {0: int(match[2]), **rows} | {index: need.rows for index, need in self._more.items()}
        self.heads = {index: need.classes for index, need in self._more.items() if need.classes}

    def matrices(self, number: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.request.seed & 0xFFFFFFFF, number])
        data = random.random((self.dims[0], _NAMED_CASES), np.float32)
        labels = random.integers(0, self.classes, _NAMED_CASES)
        gate = random.integers(0, 2, (1, _NAMED_CASES)).astype(np.float32)
        row, targets = labels[None].astype(np.float32), one_hot(labels, self.classes)
        named = {"lr": [data, row, gate], "ce": [data, targets]}.get(self.kind, [data, row, targets])
        more = {
            index: random.integers(0, need.classes or self.classes, (need.rows, _NAMED_CASES))
            if need.kind == "label"
            else random.random((need.rows, _NAMED_CASES), np.float32)
            for index, need in self._more.items()
        }
        blank = np.zeros((1, _NAMED_CASES), np.float32)
        matrices = dict(enumerate(named)) | more
        return [matrices.get(index, blank) for index in range(max(matrices) + 1)]
