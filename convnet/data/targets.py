"""What batches hold beside their data, by matrix: labels of one kind of classes or of several, and real values.

The key ``labels`` is of matrix 1, ``labels2`` of matrix 2, and so on; ``labels`` may also be a list of such matrices. A net
gets of them what it needs: class numbers, a row of 0 and 1 for each class, or the values as they are.
Letters: N cases, k values of each.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from convnet.arrays import not_finite
from convnet.data.labels import Labels, Part, labels_of_batch
from convnet.data.schema import TAGS, matrix_of_key
from convnet.errors import DataError
from convnet.graph.needs import Need
from convnet.pickles.rules import shown
from convnet.texts import counted

_PER_CASE = list | tuple | np.ndarray


@dataclass(frozen=True)
class Values:
    """Real values of cases, ``rows`` (k, N) float32."""

    rows: np.ndarray

    def __len__(self) -> int:
        return self.rows.shape[1]

    def of(self, cases: Sequence[int]) -> Self:
        """Return the values of some cases."""
        return type(self)(self.rows[:, list(cases)])


@dataclass(frozen=True)
class Targets:
    """What a batch of ``cases`` holds, by matrix."""

    held: Mapping[int, Labels | Values]
    cases: int

    def __len__(self) -> int:
        return next((len(each) for each in self.held.values() if len(each) != self.cases), self.cases)

    def holds_all(self) -> bool:
        """Return whether it holds something, of as many cases as there are."""
        return bool(self.held) and len(self) == self.cases

    def of(self, cases: Sequence[int]) -> Self:
        """Return what belongs to some cases, which are named in order."""
        return type(self)({index: each.of(cases) for index, each in self.held.items()}, len(cases))


class Form(NamedTuple):
    """What a matrix is made of: ``what`` of the labels or values in matrix ``source``: ``one``, ``marks`` or ``values``."""

    what: str
    source: int


def forms_of(held: Mapping[int, Labels | Values], needs: Mapping[int, Need], target_row: int) -> dict[int, Form]:
    """Return what each matrix is made of, as a net ``needs`` it; ``target_row`` is where classes go as 0 and 1 (io 6.4)."""
    forms: dict[int, Form] = {}
    if isinstance(held.get(1), Labels):
        forms = {2: {1: Form("one", 1), 2: Form("marks", 1)}, 1: {1: Form("marks", 1)}}[target_row]
    for index, each in held.items():
        kind = needs[index].kind if index in needs else ""
        if isinstance(each, Values):
            forms[index] = Form("values", index)
        elif kind in ("target", "value"):
            forms[index] = Form("marks", index)
        elif kind == "label" or index > 1:
            forms[index] = Form("one", index)
    lacking = [index for index, need in needs.items() if index not in held and need.kind in ("label", "gate")]
    return {index: form for index, form in sorted(forms.items()) if index not in lacking}


def read_targets(
    parts: Sequence[Part], cases: Sequence[int], needs: Mapping[int, Need], names: Mapping[int, int], tags: Mapping[str, int]
) -> Targets:
    """Return what a batch in parts of so many ``cases`` holds; ``names`` counts the classes that have names, by matrix.

    Without ``needs``, labels are those of classes. Raises ``DataError``.
    """
    first = parts[0][1]
    held: dict[int, Labels | Values] = {}
    keys = stored_keys(first, needs)
    several = _one_for_each(first, keys, needs, sum(cases))
    for index in several or keys:
        need, key = needs.get(index), keys[1] if several else keys[index]
        each = [(path, {"labels": part[key][index - 1] if several else part.get(key)}) for path, part in parts]
        if index == 1 and TAGS in first:
            each = [(path, {TAGS: part.get(TAGS)}) for path, part in parts]
        elif need and are_values(each[0][1]["labels"], need):
            held[index] = _values_of_batch(each, cases, need, key)
            continue
        elif needs and not need and not _may_be_classes(each[0][1]["labels"]):
            continue
        try:
            classes = names.get(index, 0) or (need.classes if need else 0)
            held[index] = labels_of_batch(each, cases, names=classes, tags=tags)
        except DataError as error:
            wanted = f"; {need.where} needs {need.text}" if need else ""
            raise DataError(str(error).replace("'labels'", f"'{key}'") + wanted) from None
    return Targets(held, sum(cases))


def stored_keys(part: Mapping[str, Any], needs: Mapping[int, Need]) -> dict[int, str]:
    """Return the keys of a part that hold labels or values, by matrix: of the first, and of those that are needed."""
    keys = {index: key for key in part if (index := matrix_of_key(key)) and part[key] is not None}
    keys = {index: key for index, key in keys.items() if index == 1 or index in needs}
    if 1 not in keys:
        known = [key for key in ("fine_labels", "coarse_labels", TAGS) if part.get(key) is not None]
        keys |= {1: known[0]} if known else {}
        if known[1:2] == ["coarse_labels"] and 2 in needs and needs[2].kind == "label":
            keys.setdefault(2, known[1])
    if 1 not in keys and (not needs or 1 in needs):
        keys[1] = "labels"  # which whoever reads it says is missing
    return dict(sorted(keys.items()))


def _one_for_each(part: Mapping[str, Any], keys: Mapping[int, str], needs: Mapping[int, Need], cases: int) -> list[int]:
    """Return matrices 1, 2, ... where ``labels`` holds a row for each, as there are as many that a net needs labels for."""
    wanted = [index for index, need in needs.items() if index and need.kind == "label" and need.rows <= 1]
    labels = part.get(keys.get(1, ""))
    if list(keys) != [1] or wanted != [*range(1, len(wanted) + 1)] or not isinstance(labels, _PER_CASE):
        return []
    fit = 1 < len(wanted) == len(labels) != cases and all(_length(row) == cases for row in labels)
    return wanted if fit else []


def _length(row: Any) -> int:
    """Return how many items a list or an array has; -1 for other things."""
    return len(row) if isinstance(row, list | tuple) or (isinstance(row, np.ndarray) and row.ndim) else -1


def are_values(labels: Any, need: Need) -> bool:
    """Return whether stored labels are values as a net needs them, not classes that are to be marked."""
    if labels is None or need.kind in ("label", "gate"):
        return need.kind == "gate" or need.rows > 1
    if need.rows == 1 or not _may_be_classes(labels):
        return True
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and min(labels.shape) > 1:
        return True
    if not isinstance(labels[0] if len(labels) else 0, _PER_CASE):
        return need.kind == "value" and not need.rows
    sizes = {np.size(item) for item in labels}
    if need.kind == "target":  # where two numbers for each case may as well be two classes, if they are the same of all
        return sizes == {need.rows} and (need.rows > 2 or (np.ptp(labels, axis=0).any() and np.max(labels) <= 1))
    return len(sizes) == 1 and (need.rows in sizes or len(labels) == need.rows)


def _may_be_classes(labels: Any) -> bool:
    """Return whether labels are whole numbers that are not negative, one or several for each case."""
    items = labels.reshape(-1) if isinstance(labels, np.ndarray) and labels.dtype != object else labels
    if not isinstance(items, _PER_CASE):
        return False
    values = np.concatenate([np.ravel(item) for item in items]) if len(items) else np.zeros(0)
    return bool(values.dtype.kind in "biuf" and (values >= 0).all() and (values == np.floor(values)).all())


def _values_of_batch(parts: Sequence[Part], cases: Sequence[int], need: Need, key: str) -> Values:
    """Return the values of a batch in parts; the first part may have those of all cases. Raises ``DataError``."""
    (path, part), total = parts[0], sum(cases)
    if len(cases) > 1:
        with suppress(DataError):  # of values that are those of the first part alone
            return Values(_values(part["labels"], total, need, key, path))
    rows = [_values(part["labels"], count, need, key, path) for (path, part), count in zip(parts, cases, strict=True)]
    if len({len(each) for each in rows}) > 1:
        raise DataError(f"{path}: '{key}' has not as many values per case in every part of the batch")
    return Values(np.concatenate(rows, axis=1))


def _values(labels: Any, cases: int, need: Need, key: str, path: object) -> np.ndarray:
    """Return values (k, N) float32, stored so, or with a row for each case; raises ``DataError``."""
    wanted = f"{need.where} needs {need.text}"
    if labels is None:
        raise DataError(f"{path}: no '{key}' in it; {wanted}")
    try:
        matrix = np.asarray(labels, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{path}: '{key}' has not as many values for every case; {wanted}") from None
    matrix = matrix[None] if matrix.ndim == 1 else matrix
    turned = [each for each in (matrix, matrix.T) if each.ndim == 2 and each.shape[1] == cases]
    if not isinstance(labels, np.ndarray):  # a list of what each case has
        turned.reverse()
    fitting = [each for each in turned if need.rows in (0, len(each))]
    if not fitting:
        raise DataError(f"{path}: '{key}' is {shown(labels)} for {counted(cases, 'case')}; {wanted}")
    rows = fitting[0]
    if (place := not_finite(rows)) is not None:
        value = f"value {place[0]} of case {place[1]} is {rows[place]}"
        raise DataError(f"{path}: '{key}': {value}; expected finite numbers of 32 bits")
    return np.ascontiguousarray(rows, np.float32)
