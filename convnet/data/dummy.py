"""Random data of any size, for gradient checks and trials: ``dummy-KIND-N`` makes N values per case (io 6.4).

``cn`` and ``labeled`` make [data, labels, one-hot labels]; ``lr`` [data, labels, gate]; ``ce`` [data, one-hot labels].
"""

from __future__ import annotations

import re

import numpy as np

from convnet.data.provider import Batch, MatrixBatch, Provider, Request
from convnet.errors import DataError
from convnet.layers.label_tree import LabelTree

_NAME = re.compile(r"dummy(?:-(cn|labeled|lr|ce))?-(\d+)$")
_CLASSES = 10
_CASES = 512


class Dummy(Provider):
    """A few batches of uniform random numbers, the same for every epoch."""

    name = "dummy-cn-N"
    help = "random data with N values per case (also dummy-lr-N with a gate, dummy-ce-N with one-hot labels)"

    def __init__(self, request: Request, name: str = "dummy-cn-192") -> None:
        super().__init__(request)
        match = _NAME.fullmatch(name)
        if not match or int(match[2]) < 1:
            raise DataError(f"no data provider '{name}'; expected dummy-cn-N with the number of values per case")
        self.name = name
        self.kind, features = match[1] or "cn", int(match[2])
        self.classes = request.classes or _CLASSES
        self.label_names = [str(c) for c in range(self.classes)]
        self.tree = LabelTree.flat(self.classes)
        rows = {"lr": {1: 1, 2: 1}, "ce": {1: self.classes}}.get(self.kind, {1: 1, 2: self.classes})
        self.dims = {0: features, **rows}

    @property
    def numbers(self) -> list[int]:
        return [0, 1, 2, 3, 4, 5, 6]

    def default_ranges(self) -> tuple[list[int], list[int]]:
        return [1, 2, 3, 4, 5], [6]

    def batch(self, epoch: int, number: int) -> Batch:
        self.check_range([number], "dummy")
        return MatrixBatch(self.matrices(_CASES, number))

    def matrices(self, cases: int, number: int = 0) -> list[np.ndarray]:
        """Random matrices of ``cases`` cases."""
        random = np.random.default_rng([self.request.seed & 0xFFFFFFFF, number])
        data = random.random((self.dims[0], cases), np.float32)
        labels = random.integers(0, self.classes, cases)
        one_hot = (np.arange(self.classes)[:, None] == labels).astype(np.float32)
        gate = random.integers(0, 2, (1, cases)).astype(np.float32)
        row = labels[None].astype(np.float32)
        return {"lr": [data, row, gate], "ce": [data, one_hot]}.get(self.kind, [data, row, one_hot])
