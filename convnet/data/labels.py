"""The labels of cases: one each, or several, or none, in every form that the originals and their users wrote (io 5).

Letters: N cases, k labels of each.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from convnet.arrays import not_classes
from convnet.data.schema import LABEL_KEYS, TAGS, one_hot_labels, several_labels
from convnet.errors import DataError
from convnet.pickles import text_of

Part = tuple[Path, dict[str, Any]]  # of a batch, and its file


@dataclass(frozen=True)
class Labels:
    """All labels of the cases one behind the other, ``values`` (total,), and how many each case has, ``counts`` (N,)."""

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def each(cls, values: np.ndarray) -> Self:
        """Return those of cases that have one label each."""
        return cls(values.reshape(-1).astype(np.float64), np.ones(values.size, int))

    @classmethod
    def lists(cls, items: Sequence[Any]) -> Self:
        """Return those of cases that have a number or a list of numbers each."""
        if not any(isinstance(item, list | tuple | np.ndarray) for item in items):
            return cls.each(np.array(items, np.float64))
        each = [item if isinstance(item, list | tuple) else np.atleast_1d(item) for item in items]
        return cls(np.array([float(label) for item in each for label in item], np.float64), np.array([*map(len, each)], int))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return those of several parts of a batch, in their order."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*((part.values, part.counts) for part in parts), strict=True)))

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def cases(self) -> np.ndarray:
        """Which case each label is of, (total,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def of(self, cases: Sequence[int]) -> Self:
        """Return the labels of some cases, which are named in order."""
        kept = np.zeros(len(self), bool)
        kept[list(cases)] = True
        return type(self)(self.values[kept[self.cases]], self.counts[kept])

    def check(self, classes: int, offset: int, where: object) -> None:
        """Raise ``DataError`` naming the first label that, with ``offset`` added, is no class of ``classes``."""
        bad = not_classes(self.values + offset, classes)
        if bad.size:
            label = self.values[bad[0]]
            expected = f"labels must be {-offset} to {classes - 1 - offset}"
            if np.isfinite(label) and label != np.floor(label):
                expected = f"expected whole numbers, {expected}"
            raise DataError(f"{where}: case {self.cases[bad[0]]} has label {label:g}; {expected}")

    def numbered(self, offset: int, numbers: np.ndarray | None) -> Self:
        """Return checked labels as a net counts classes: ``offset`` is added, then ``numbers`` has the net's, if any."""
        values = self.values + offset
        return type(self)(values if numbers is None else numbers[values.astype(int)].astype(np.float64), self.counts)

    def drawn(self, random: np.random.Generator) -> np.ndarray:
        """Return one label of each case, (1, N) float32, drawn where it has several; 0 where it has none (io 6.4)."""
        starts = np.cumsum(self.counts) - self.counts
        for case in np.flatnonzero(self.counts > 1):
            starts[case] += random.integers(self.counts[case])
        one = np.zeros(len(self), np.float32)
        labelled = self.counts > 0
        one[labelled] = self.values[starts[labelled]]
        return one[None]

    def matrix(self, classes: int) -> np.ndarray:
        """Return (classes, N) float32: a one in the row of every label of a case."""
        rows = np.zeros((classes, len(self)), np.float32)
        rows[self.values.astype(int), self.cases] = 1
        return rows


def labels_of(
    part: Mapping[str, Any], path: object, cases: int, names: int = 0, tags: Mapping[Any, int] | None = None
) -> Labels:
    """Return the labels of a part, or of a batch of ``cases``, from lists, lists of lists, (N,), (1, N), (N, 1), or 0/1.

    A matrix with a single 1 per case holds its class; one of ``names`` rows, the number of classes, all its classes.
    ``tags`` are the classes of the words that Flickr's pictures have. Raises ``DataError``.
    """
    labels = next((part[key] for key in LABEL_KEYS if part.get(key) is not None), None)
    if labels is None and TAGS in part:
        return _tagged(part[TAGS], tags, path)
    if labels is None:
        raise DataError(f"{path}: no labels in it")
    if isinstance(labels, list | tuple) and len(labels) == 1 != cases and np.size(labels[0]) == cases:
        labels = labels[0]  # (1, N) as a list
    one_hot = one_hot_labels(labels, cases, names)
    if one_hot is not None:
        return Labels.each(one_hot)
    if not isinstance(labels, np.ndarray) or labels.dtype == object:
        several = all(isinstance(item, list | tuple | np.ndarray) and getattr(item, "ndim", 1) for item in labels)
        sizes = {len(item) for item in labels} if several and len(labels) == cases else set()
        if len(sizes) != 1 or max(sizes) < 3 or not _are_marks(rows := np.array([*labels])):
            return Labels.lists(labels)
        labels = rows  # three classes of which none is above 1 would be the same one twice
    if labels.ndim == 2 and names > 2 and sorted(labels.shape) == sorted((cases, names)) and _are_marks(labels):
        rows = labels if labels.shape[0] == cases else labels.T
        return Labels(np.nonzero(rows)[1].astype(np.float64), (rows != 0).sum(axis=1))
    several_labels(labels, cases, path)
    return Labels.each(labels)


def _are_marks(matrix: np.ndarray) -> bool:
    """Return whether a matrix marks something: 0 everywhere but where there is a 1."""
    return bool(matrix.any() and ((matrix == 0) | (matrix == 1)).all())


def labels_of_batch(parts: Sequence[Part], cases: Sequence[int], **known: Any) -> Labels:
    """Return the labels of a batch in parts of so many ``cases``; the first part may have those of all (io 5.2).

    ``known`` is for ``labels_of``. Raises ``DataError``.
    """
    (path, part), total = parts[0], sum(cases)
    if len(cases) == 1:
        return labels_of(part, path, total, **known)
    with suppress(DataError):  # of labels that are those of the first part alone
        whole = labels_of(part, path, total, **known)
        if len(whole) == total:
            return whole
    return Labels.joined([labels_of(part, path, count, **known) for (path, part), count in zip(parts, cases, strict=True)])


def _tagged(tags: Sequence[Any], classes: Mapping[Any, int] | None, path: object) -> Labels:
    """Return the classes of raw tags, several or none per case; those that are no class are left out (io 5.4)."""
    if not classes:
        raise DataError(
            f"{path}: its pictures have words for labels; freq_to_id of batches.meta must say which class each is"
        )
    found = [
        sorted({number for tag in words for word in _spelt(tag) if (number := classes.get(word)) is not None})
        for words in tags
    ]
    return Labels.lists(found)


def _spelt(tag: str | bytes) -> set[str]:
    """Return a tag in lower case and without blanks, as Python 2 made it of bytes, and of other texts."""
    text = tag.decode("latin1") if isinstance(tag, bytes) else tag
    return {text_of(re.sub(r"[ \t\n\r\f\v]+", "", text.translate(_LOWER))), "".join(text_of(text).lower().split())}


_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


# -- the tuples of 2012


def part_of_2012(members: tuple[Any, ...]) -> dict[str, Any]:
    """Return a batch of (strings, sizes, labels), (strings, labels, words) or (strings, sizes, tags) as a dict (io 5.4).

    Labels are numbers, lists of them, or pairs (word, number or ``None``).
    """
    data, *others = members
    kinds = [_kind(member) for member in others]
    kind = next((kind for kind in ("labels", TAGS, "unlabelled", "pairs", "") if kind in kinds), "words")
    if kind == "words":
        return {"data": data}
    member = others[len(kinds) - 1 - kinds[::-1].index(kind)]
    if kind == TAGS:
        return {"data": data, TAGS: list(member)}
    return {"data": data, "labels": [*map(_classes, member)] if isinstance(member, list | tuple) else member}


def _kind(member: Any) -> str:
    """Return what the first item of a member says that it holds; pairs of numbers in lists may be labels, or sizes."""
    if not isinstance(member, list | tuple) and not (isinstance(member, np.ndarray) and member.ndim):
        return ""
    item = next((item for item in member if item is not None and not (isinstance(item, list) and not item)), None)
    if item is None:
        return "unlabelled" if len(member) else ""
    if isinstance(item, np.ndarray):
        item = item.tolist()
    if isinstance(item, str | bytes):
        return "words"
    if not isinstance(item, list | tuple) or _is_pair(item):
        return "labels"
    if item and isinstance(item[0], str | bytes):
        return TAGS
    if len(item) != 2:
        return "labels"
    return "sizes" if isinstance(item, tuple) else "pairs"


def _is_pair(item: Any) -> bool:
    """Return whether an item is (word, class), the class ``None`` where it is not known."""
    return (
        isinstance(item, list | tuple)
        and len(item) == 2
        and (item[0] is None or isinstance(item[0], str | bytes))
        and not isinstance(item[1], str | bytes)
    )


def _classes(item: Any) -> Any:
    """Return the label, or the list of labels, of a case."""
    label = item[1] if _is_pair(item) else item
    return [] if label is None else label
