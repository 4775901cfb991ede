"""Data made to fit a definition: sizes that its layers accept and matrices of the kinds its costs want (io section 3).

The sizes are those that ``convnet.graph.infer`` works out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from convnet.data.provider import Batch, MatrixBatch, Provider, Request
from convnet.graph.builder import Builder
from convnet.graph.infer import SMALLEST, InferredData, infer_data

_CASES = 128

Parse = Callable[[], Builder]


@dataclass(frozen=True)
class SyntheticData(InferredData):
    """A graph, the data it was shaped for, and random matrices of their sizes."""

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
    """Batches of a ``SyntheticData``, the same in every epoch."""

    name = "dummy"
    help = "random data of the smallest size that fits the net"

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        assert request.parse
        self.synthetic = found = synthesize(request.parse, SMALLEST, request.classes, request.features)
        self.dims, self.classes, self.tree = found.dims, found.classes, found.tree
        self.label_names = [str(c) for c in range(found.classes)]

    @property
    def numbers(self) -> list[int]:
        return [0, 1, 2, 3, 4, 5, 6]

    def default_ranges(self) -> tuple[list[int], list[int]]:
        return [1, 2, 3, 4, 5], [6]

    def batch(self, epoch: int, number: int) -> Batch:
        self.check_range([number], "dummy")
        return MatrixBatch(self.synthetic.matrices(_CASES, self.request.seed * 7 + number))


def synthesize(parse: Parse, sides: Sequence[int] = (), classes: int = 0, features: int = 0) -> SyntheticData:
    """Shape the graph that ``parse`` begins for the first of ``sides`` that it accepts, or for ``features`` values per case.

    Without ``sides``, those of the historical nets: 224 with 100 classes and more, else 32 first. ``classes`` is for
    definitions that do not say how many there are. Raises ``LayerFileError`` as for the best side if none is accepted.
    """
    builder = parse()
    builder.problems.check()
    assumed = infer_data(builder, [features] if features else None, classes or None, sides)
    return SyntheticData(**vars(assumed))
