"""What every data provider gives: dimensions, classes, and numbered batches that are cut into minibatches.

A provider's matrices are (features, cases), cases in columns, as the originals' were (io 6.1). Batches are drawn in a
fixed order; what is random about one (crops, mirrors, noise) is a function of (seed, epoch, batch number) alone, so that
a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.errors import DataError
from convnet.generation import COMPAT, Compat
from convnet.layers.label_tree import LabelTree

if TYPE_CHECKING:
    from convnet.graph.builder import Builder


@dataclass
class Request:
    """What a run wants of its data.

    ``crop_border`` and ``inner_size`` are two spellings of the crop.
    """

    path: str = ""
    batches: list[int] = field(default_factory=list)
    training: bool = False
    seed: int = 0
    crop_border: int = 0
    inner_size: int = 0
    multiview: bool = False
    color_noise: float = 0.0
    scalar_mean: float = -1.0
    compat: Compat = COMPAT[""]
    classes: int = 0  # classes that the net expects; 0: unknown
    threads: int = 1
    features: int = 0  # values per case of random data; 0: the fewest that fit the net
    parse: Callable[[], Builder] | None = None  # begins to build the net, for random data that fit it

    def random(self, epoch: int, number: int) -> np.random.Generator:
        """The random numbers of one batch."""
        return np.random.default_rng([self.seed & 0xFFFFFFFF, int(self.training), epoch, number])


class Batch(ABC):
    """One batch in memory. ``cases`` counts real cases; with ``views`` above 1 a minibatch exists once per view."""

    cases: int = 0
    views: int = 1

    @abstractmethod
    def minibatch(self, start: int, stop: int, view: int = 0) -> list[Any]:
        """The matrices of cases ``start`` to ``stop``: float32 arrays, or objects with ``fill(be, out)``."""


class MatrixBatch(Batch):
    """A batch whose matrices are held whole."""

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        self.matrices = [np.asarray(matrix, np.float32) for matrix in matrices]
        self.cases = self.matrices[0].shape[1]

    def minibatch(self, start: int, stop: int, view: int = 0) -> list[Any]:
        return [matrix[:, start:stop] for matrix in self.matrices]


class Provider(ABC):
    """A data set. ``dims`` are features by matrix index, ``numbers`` the batches that exist."""

    name = ""
    help = ""
    dims: dict[int, int]
    classes: int = 0
    label_names: list[str]
    tree: LabelTree | None = None
    views = 1
    test_numbers: list[int] = []

    def __init__(self, request: Request) -> None:
        self.request = request
        self.dims, self.label_names = {}, []
        self.problems: list[str] = []  # what was skipped while reading, for the user's eyes

    @abstractmethod
    def batch(self, epoch: int, number: int) -> Batch:
        """Load batch ``number``; raises ``DataError``."""

    @property
    @abstractmethod
    def numbers(self) -> list[int]:
        """The numbers of all batches that exist, in order."""

    def default_ranges(self) -> tuple[list[int], list[int]]:
        """Training and test batches when the user names none: all but the last, and the last."""
        if self.test_numbers:
            return [n for n in self.numbers if n not in self.test_numbers], self.test_numbers
        return self.numbers[:-1] or self.numbers, self.numbers[-1:]

    def check_range(self, batches: Sequence[int], purpose: str) -> None:
        """Raise ``DataError`` unless every batch named exists."""
        missing = [n for n in batches if n not in set(self.numbers)]
        if missing or not batches:
            shown = ", ".join(map(str, missing)) or "none given"
            raise DataError(f"{purpose} batches missing: {shown}; there are {range_text(self.numbers)} in {self.where()}")

    def where(self) -> str:
        """Where the data come from, for messages."""
        return self.request.path or self.name

    def description(self) -> dict[str, Any]:
        """What it takes to show a net other pictures: the mean (C, S, S), the side before cropping, names of the classes."""
        cropper = getattr(self, "cropper", None)
        mean, side = (cropper.mean, cropper.side) if cropper else (None, 0)
        return {"mean": mean, "side": side, "label_names": list(getattr(self, "label_names", []))}

    def images(self, matrix: np.ndarray) -> np.ndarray:
        """Cases of matrix 0 as pictures (N, H, W, 3) in 0 to 1, the mean added back."""
        raise DataError(f"the data of '{self.name}' are no pictures")


def range_text(numbers: Sequence[int]) -> str:
    """``1-5,8``: runs of numbers as a person writes them."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"


def check_labels(labels: np.ndarray, classes: int, where: str) -> None:
    """Raise ``DataError`` naming the first label that is not a whole number from 0 to ``classes`` - 1."""
    if not labels.size:
        return
    bad = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        value = labels.reshape(-1)[at]
        raise DataError(f"{where}: case {at} has label {value:g}; labels must be 0 to {classes - 1}")


def cut(cases: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of every minibatch; the last one may be smaller (numerics 16.1)."""
    for start in range(0, cases, size):
        yield start, min(start + size, cases)


def minibatches(batch: Batch, size: int) -> Iterator[tuple[Sequence[Any], Sequence[Any], int]]:
    """Yield (matrices, those of the minibatch to come, cases) of every minibatch of a batch."""
    bounds = list(cut(batch.cases, size))
    next_inputs: Sequence[Any] = ()
    for number, (start, stop) in enumerate(bounds, 1):
        inputs = next_inputs or batch.minibatch(start, stop)
        next_inputs = batch.minibatch(*bounds[number]) if number < len(bounds) else ()
        yield inputs, next_inputs, stop - start
