"""What every data provider gives: dimensions, classes, and numbered batches that are split into minibatches.

A provider's matrices are (features, cases), cases in columns, as the originals' were (io 6.1). Batches come in a fixed
order; what is random about one (crops, mirrors, noise) is a function of (seed, epoch, batch number) alone, so that a
resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np

from convnet.errors import DataError
from convnet.generation import COMPAT, Compat
from convnet.layers.label_tree import LabelTree
from convnet.texts import counted, listed

if TYPE_CHECKING:
    from convnet.data.images import Cropper, Matrix
    from convnet.graph.builder import Builder
    from convnet.graph.needs import Need

_NAMED = 20  # missing batches in a message
_TARGETS = 1 << 26  # of a batch

AllGather = Callable[[Any], list[Any]]  # of a small value, those of all ranks in their order
Take = Callable[[int, int], "list[Matrix]"]  # of the cases from one to another
Cut = Callable[[Take, int, int], Any]  # what ``Take`` gives of a minibatch, in the parts in which a net computes it
Wanted = Callable[[int], np.ndarray]  # of the number of cases in a batch, which of them a rank reads, (N,) bool
Own = Callable[[np.ndarray], np.ndarray]  # of the numbers of cases that a rank reads, those that it decodes itself


def alone(value: Any) -> list[Any]:
    """Gather the values of all ranks where there is one."""
    return [value]


def all_cases(cases: int) -> np.ndarray:
    """Want all cases of a batch."""
    return np.ones(cases, bool)


class Members(Protocol):
    """The ranks of a run, as far as data need them; see ``convnet.ranks``."""

    @property
    def rank(self) -> int:
        """Which of them this is."""

    @property
    def size(self) -> int:
        """How many there are."""

    def all_gather(self, value: Any, /) -> list[Any]:
        """Return the values of all ranks, in their order."""


class Begun(Protocol):
    """What moves between ranks."""

    def wait(self) -> None:
        """Wait until it is there."""


class Group(Members, Protocol):
    """Ranks that hold one net together, as far as data need them: those that read the same pictures divide decoding."""

    def exchange(self, pieces: Sequence[np.ndarray], out: Sequence[np.ndarray], /) -> Begun:
        """Begin to send ``pieces[r]`` to each other rank r, and to fill ``out[r]`` from it."""


@dataclass
class Request:
    """What a run wants of its data. ``crop_border`` and ``inner_size`` are two spellings of the crop.

    ``picture_size`` is the side to which pictures are scaled before that; 0: none.
    """

    path: str = ""
    batches: list[int] = field(default_factory=list)
    training: bool = False
    seed: int = 0
    crop_border: int = 0
    inner_size: int = 0
    picture_size: int = 0
    multiview: bool = False
    color_noise: float = 0.0
    scalar_mean: float = -1.0
    compat: Compat = COMPAT[""]
    classes: int = 0  # classes that the net expects; 0: unknown
    threads: int = 1
    features: int = 0  # values per case of random data; 0: the fewest that fit the net
    builder: Builder | None = None  # of the net, for random data that fit it; it is not shaped
    needs: Mapping[int, Need] = field(default_factory=dict)  # what the net reads, by matrix; nothing: it is not known
    ranks: Members | None = None  # that all open this and ask for the same in the same order; ``None``: one alone

    def random(self, epoch: int, number: int) -> np.random.Generator:
        """Return the random numbers of one batch."""
        return np.random.default_rng([self.seed & 0xFFFFFFFF, int(self.training), epoch, number])


class BatchShare(ABC):
    """What a rank reads of a batch, before the ranks have agreed on its cases."""

    @abstractmethod
    def settle(self, all_gather: AllGather, group: Group | None = None) -> Batch:
        """Return the batch without the cases that some rank cannot read, which are left out on all ranks.

        The ranks of a ``group`` send each other what one has decoded for all of them. Every rank calls it, in the same
        order. Raises ``DataError``, on all ranks if no case is left.
        """


class Batch(BatchShare):
    """One batch in memory. ``cases`` counts real cases; with ``views`` above 1 a minibatch exists once per view.

    Where it is a rank's share, matrices of cases that this does not read may hold anything.
    """

    cases: int = 0
    views: int = 1

    def settle(self, all_gather: AllGather, group: Group | None = None) -> Self:  # noqa: ARG002 (every rank reads the same)
        return self

    @abstractmethod
    def minibatch(self, start: int, stop: int, view: int = 0) -> list[Matrix]:
        """Return the matrices of cases ``start`` to ``stop``, float32 or pictures to be packed; copies nothing."""


class MatrixBatch(Batch):
    """A batch of float32 matrices (features, cases)."""

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        self.matrices = [np.asarray(matrix, np.float32) for matrix in matrices]
        self.cases = self.matrices[0].shape[1]

    def minibatch(self, start: int, stop: int, view: int = 0) -> list[Matrix]:  # noqa: ARG002 (one view)
        return [matrix[:, start:stop] for matrix in self.matrices]


class Provider(ABC):
    """A data set. ``dims`` are features by matrix index, ``numbers`` the batches that exist, in order.

    ``classes`` and ``label_names`` are of the labels in matrix 1, and 0 and empty where it holds no labels; ``heads`` and
    ``head_names`` are of the labels in other matrices, where these are of other classes.
    """

    name = ""
    dims: dict[int, int]
    numbers: list[int]
    classes: int = 0
    label_names: list[str]
    heads: dict[int, int] = {}
    head_names: dict[int, list[str]] = {}
    tree: LabelTree | None = None
    cropper: Cropper | None = None
    test_numbers: list[int] = []
    names_classes = False  # whether labels are of classes that somebody has named, not random numbers
    label_map: np.ndarray | None = None  # the net's number of each class, where these data have another
    target_row = 2  # the matrix that has a row for every class; 0: none
    value_mean: np.ndarray | None = None  # what is subtracted from data that are not pictures, (features,)
    reads: frozenset[str] = frozenset()  # options of a run, by name, that change what it gives

    def __init__(self, request: Request) -> None:
        self.request = request
        self.where = request.path or self.name  # where the data come from, for messages
        self.dims, self.label_names = {}, []
        self.problems: list[str] = []  # what was skipped while reading, shown to users

    @abstractmethod
    def batch(self, epoch: int, number: int) -> Batch:
        """Load batch ``number``; raises ``DataError``."""

    def share(self, epoch: int, number: int, wanted: Wanted | None, own: Own | None = None) -> BatchShare:  # noqa: ARG002 (the whole has all of them)
        """Load what this rank reads of batch ``number``: the cases that are ``wanted``, ``None``: all.

        Once it is settled, these are what ``batch`` gives. Of them this rank decodes its ``own``, ``None``: all; the others
        come from its group, where ``settle`` is given one. Raises ``DataError``.
        """
        return self.batch(epoch, number)

    @property
    def label_dims(self) -> dict[int, int]:
        """Rows of matrices that follow from ``classes`` and ``heads``, by matrix."""
        return {}

    def names_at(self, index: int) -> list[str]:
        """Return the names of the classes that the labels in a matrix are of, as far as they have any."""
        return self.head_names.get(index, []) if index in self.heads else self.label_names

    def default_ranges(self) -> tuple[list[int], list[int]]:
        """Return training and test batches for users who name none: those made for it, or all but the last, and the last."""
        if self.test_numbers and len(self.test_numbers) < len(self.numbers):
            return [n for n in self.numbers if n not in self.test_numbers], self.test_numbers
        return self.numbers[:-1] or self.numbers, self.numbers[-1:]

    def ranges(self, train: list[int] | None, test: list[int] | None) -> tuple[list[int], list[int]]:
        """Return training and test batches: those that are named, and by default none that the other range names."""
        default_train, default_test = self.default_ranges()
        if train is None and test:
            known = set(self.test_numbers) | set(test)  # no batch that was made for testing is trained on by default
            return [n for n in self.numbers if n not in known] or default_train, test
        if test is None and train:
            others = [n for n in self.numbers if n not in set(train)]
            return train, [n for n in default_test if n in set(others)] or others[-1:] or default_test
        return train or default_train, test or default_test

    def check_range(self, batches: Sequence[int], purpose: str) -> None:
        """Raise ``DataError`` unless every batch named exists."""
        known = set(self.numbers)
        missing = [n for n in batches if n not in known]
        if missing or not batches:
            which = listed(missing, _NAMED) or "none given"
            flag = {"test": "; name them with --test-range", "training": "; name them with --train-range"}.get(purpose, "")
            there = f"there are {range_text(self.numbers)} in {self.where}"
            raise DataError(f"{purpose} batches missing: {which}; {there}{flag}")

    def description(self) -> dict[str, Any]:
        """Return what it takes to show a net other data.

        The ``mean`` (C, S, S) of pictures, their ``side`` before cropping, and ``picture_size`` if they were scaled to it;
        ``label_names``, and ``head_names`` if there are any; ``value_mean`` (features,) of data that are not pictures.
        """
        mean, side = (self.cropper.mean, self.cropper.side) if self.cropper else (None, 0)
        scaled = self.request.picture_size if self.cropper else 0
        described: dict[str, Any] = {"mean": mean, "side": side, "picture_size": scaled}
        heads = {str(index): names for index, names in self.head_names.items() if names}
        described |= {"head_names": heads} if heads else {}
        return described | {"label_names": list(self.label_names), "value_mean": self.value_mean}

    @property
    def has_mean(self) -> bool:
        """Whether what is subtracted is known, and need not be computed."""
        return self.cropper is None or self.cropper.has_mean

    def images(self, matrix: np.ndarray) -> np.ndarray:
        """Return cases of matrix 0 as pictures (N, H, W, C) in 0 to 1, the mean added back."""
        if self.cropper is None:
            raise DataError(f"the data of '{self.name}' are not pictures")
        return self.cropper.images(matrix)


class Minibatch(NamedTuple):
    """The matrices of some cases, as a net takes them, and their number."""

    inputs: Any
    cases: int


def batch_bounds(cases: int, size: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of every minibatch from case ``first`` on; the last may be smaller (numerics 16.1)."""
    for start in range(first, cases, size):
        yield start, min(start + size, cases)


def whole(take: Take, start: int, stop: int) -> Any:
    """Return the inputs of a minibatch in one part."""
    return take(start, stop)


def split(batch: Batch, size: int, first: int = 0, cut: Cut = whole) -> list[Minibatch]:
    """Return the minibatches of a batch from case ``first`` on, which are views of it, as ``cut`` makes inputs of a net.

    What was prefetched is known by being the same object.
    """
    bounds = batch_bounds(batch.cases, size, first)
    return [Minibatch(cut(batch.minibatch, start, stop), stop - start) for start, stop in bounds]


def minibatches(batch: Batch, size: int, cut: Cut = whole) -> Iterator[tuple[Any, Any, int]]:
    """Yield (inputs, inputs of the minibatch that follows, cases) of every minibatch."""
    for part, following in pairwise([*split(batch, size, cut=cut), Minibatch([], 0)]):
        yield part.inputs, following.inputs, part.cases


def range_text(numbers: Sequence[int]) -> str:
    """Return ``1-5,8``: numbers as a person writes them, with runs drawn together."""
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])  # which is the same all along a run
    ends = [(run[0], run[-1]) for run in ([number for _, number in pairs] for _, pairs in runs)]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ends) or "none"


def class_names(known: Sequence[str], count: int) -> list[str]:
    """Return the names of ``count`` classes: numbers for those that ``known`` has none for, or one of no letters."""
    names = [*known, *[""] * (count - len(known))][:count]
    return [name if name.strip() else str(number) for number, name in enumerate(names)]


def first_synonyms(names: Sequence[str]) -> list[str]:
    """Return names up to their first comma, behind which ImageNet has synonyms; whole those that would be the same."""
    first = [name.partition(",")[0] for name in names]
    counts = Counter(first)
    return [short if short and counts[short] == 1 else name for short, name in zip(first, names, strict=True)]


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return (classes, N) float32: a one in the row of each label."""
    return (np.arange(classes)[:, None] == labels).astype(np.float32)


def check_counts(cases: int, labels: int, where: str, what: str = "case") -> None:
    """Raise ``DataError`` for a batch without cases, or with another number of labels."""
    if not cases:
        raise DataError(f"{where}: holds no cases")
    if labels != cases:
        raise DataError(f"{where}: {counted(cases, what)} but {counted(labels, 'label')}; the file is truncated or damaged")


def check_targets(classes: int, cases: int, where: str) -> None:
    """Raise ``DataError`` if a batch has more targets, ``classes`` for each case, than any real one."""
    if classes * cases > _TARGETS:
        raise DataError(f"{where}: {cases} cases of {classes:,} classes are too many; make smaller batches")
