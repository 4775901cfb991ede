"""What batches and their description must hold, in every layout that the originals and their users wrote (io section 5).

Keys that nobody reads are not looked at.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from convnet.arrays import not_finite
from convnet.errors import DataError
from convnet.pickles import rules
from convnet.pickles.rules import Faults, Rule, array, either, items, mapping, maybe, real, record, shown, text, that, whole

_SIZE = 2**31  # no picture has more values, no set more classes
MOST_CLASSES = 1 << 20  # that are counted by their labels alone; each case has as many targets
LABEL_KEYS = ("labels", "fine_labels", "coarse_labels")
_LABELS = re.compile(r"labels([1-9]\d?)?", re.ASCII)
TAGS = "tags"  # words for labels, as Flickr's pictures of 2012 have them
_NUMBER = real()
_NODE = either(whole(0, _SIZE), text("a number", lambda v: v.isdecimal() and len(v) < 10))


def _number(low: int) -> Rule:
    """Return the rule for whole numbers from ``low``, which some programs wrote as floats."""
    exact = whole(low, _SIZE)
    return that(exact.expected, lambda v: exact.allows(int(v) if isinstance(v, float) and v.is_integer() else v))


_NAMES = either(items(text()), that("an array of texts", lambda v: isinstance(v, np.ndarray) and _holds_texts(v)))
_MEAN = either(real(), array(), items(real()), items(items(real(), 1)), items(items(real()), 1))
KEYS = {
    "label_names": maybe(_NAMES),
    "fine_label_names": _NAMES,
    "num_vis": _number(1),
    "num_colors": _number(1),
    "label_offset": _number(-_SIZE),
    "no_crop": maybe(real()),
    "freq_to_id": maybe(mapping(text(), whole(0, MOST_CLASSES - 1))),
    "data_mean": maybe(_MEAN),
    "color_pca": maybe(that("(standard deviations (3,), axes (3, 3)) of finite numbers", lambda v: is_color_pca(v))),
    "dp_type": text(),
    "test_batches": maybe(items(whole(0, _SIZE))),
    "tree": maybe(either(mapping(_NODE, items(_NODE)), items(items(_NODE)))),
    "all_wnids": maybe(mapping(text(), whole(0, _SIZE))),
}  # of a description
_NAMES_OF = re.compile(r"label_names([1-9]\d?)", re.ASCII)  # of the labels in another matrix than the first
META = record({}, KEYS)


def _holds_texts(names: np.ndarray) -> bool:
    return names.ndim == 1 and (names.dtype.kind in "SU" or all(isinstance(name, str | bytes) for name in names))


def is_color_pca(value: Any) -> bool:
    """Return whether a value is (standard deviations, principal axes in columns) of three colours."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    try:
        stdevs, vectors = map(np.asarray, value)
    except (TypeError, ValueError, OverflowError):
        return False
    shapes = stdevs.shape, vectors.shape
    are_numbers = stdevs.dtype.kind in "biuf" and vectors.dtype.kind in "biuf"  # texts of numbers would be taken for some
    return are_numbers and shapes == ((3,), (3, 3)) and not_finite(stdevs) is not_finite(vectors) is None


def check_meta(meta: dict[str, Any], where: object) -> None:
    """Raise ``DataError`` naming every key of a description that is wrong."""
    others = {key: maybe(_NAMES) for key in meta if _NAMES_OF.fullmatch(key)} | {"coarse_label_names": maybe(_NAMES)}
    if fault := rules.message(_keys_of(chain(META.faults(meta, ""), record({}, others).faults(meta, "")))):
        raise DataError(f"{where}: {fault}")


def matrix_of_key(key: str) -> int:
    """Return the matrix that a key of a batch is of: 1 for ``labels``, 2 for ``labels2``, and so on; 0 for other keys."""
    match = _LABELS.fullmatch(key)
    return int(match[1] or 1) if match else 0


def check_part(part: dict[str, Any], where: object) -> None:
    """Raise ``DataError`` naming every key of a batch that is wrong: its data, and each label."""
    keys = [key for key in part if (key in LABEL_KEYS or matrix_of_key(key)) and part[key] is not None]
    faults = (fault for key in keys for fault in _label_faults(part[key], f"'{key}'"))
    words = _TAGS.faults(part[TAGS], f"'{TAGS}'") if not keys and TAGS in part else ()
    if fault := rules.message(chain(_data_faults(part), faults, words)):
        raise DataError(f"{where}: {fault}")


def _keys_of(faults: Faults) -> Iterator[str]:
    """Write ``['num_vis'] is ...`` as ``'num_vis' is ...``."""
    for fault in faults:
        key, _, rest = fault.partition("]")
        yield key.removeprefix("[") + rest


def _data_faults(part: dict[str, Any]) -> Faults:
    data = part.get("data")
    if isinstance(data, list | tuple):
        for i, item in enumerate(data):
            if not isinstance(item, bytes) and not (isinstance(item, str) and _are_bytes(item)):
                yield rules.wrong(f"'data'[{i}]", item, "the bytes of a picture")
    elif not isinstance(data, np.ndarray) or data.ndim != 2 or data.dtype.kind not in "biuf":
        yield rules.wrong("'data'", data, "a matrix of numbers (values, cases), or a list of pictures")


def _are_bytes(text: str) -> bool:
    """Return whether a text of Python 2 holds bytes, as its characters."""
    try:
        text.encode("latin1")  # which takes a hundredth of the time of a look at each character
    except UnicodeEncodeError:
        return False
    return True


def _label_faults(labels: Any, key: str) -> Faults:
    """Yield what is wrong with labels: numbers, or lists of whole numbers, one per case."""
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2):
            yield rules.wrong(key, labels, "one number, or a list of numbers, per case")
        elif (place := not_finite(labels)) is not None:
            where = f"case {place[0]}" if labels.ndim == 1 else f"row {place[0]}, column {place[1]}"
            yield f"{key}: {where} is {labels[place]}; expected a finite number"
        return
    if not isinstance(labels, list | tuple | np.ndarray) or (isinstance(labels, np.ndarray) and labels.ndim != 1):
        yield rules.wrong(key, labels, "one number, or a list of numbers, per case")
        return
    for i, label in enumerate(labels):
        yield from (_SEVERAL if isinstance(label, list | tuple | np.ndarray) else _NUMBER).faults(label, f"{key}[{i}]")


def _are_numbers(label: Any) -> bool:
    if isinstance(label, np.ndarray) and label.dtype != object:
        return label.ndim < 2 and label.dtype.kind in "biuf" and not_finite(label) is None
    if isinstance(label, np.ndarray) and label.ndim != 1:
        return False
    return all(_NUMBER.allows(item) for item in label)


_TAGS = items(items(text()))
_SEVERAL = that("a finite number, or a list of finite numbers", _are_numbers)


def check_finite(pixels: np.ndarray, where: object) -> None:
    """Raise ``DataError`` naming the first case (columns) whose data are not finite numbers."""
    if (place := not_finite(pixels)) is not None:
        value, case = place
        bad = sum(not_finite(values) is not None for values in pixels.T)
        text = f"value {value} of case {case} is {pixels[place]}"
        raise DataError(f"{where}: the data are not finite numbers of 32 bits in {bad} of {pixels.shape[1]} cases: {text}")


def one_hot_labels(labels: Any, cases: int, classes: int = 0) -> np.ndarray | None:
    """Return the label of each case (cases,) from a matrix with a single 1 per case, or ``None`` if it is none.

    ``classes`` is their number, if it is known.
    """
    sizes = {np.shape(item) if isinstance(item, list | tuple | np.ndarray) else -1 for item in labels}
    ragged = not isinstance(labels, np.ndarray) and len(sizes) != 1
    matrix: np.ndarray = np.empty(0) if ragged else np.asarray(labels)
    # Two numbers per case may as well be two labels, but not where there are two classes, which all cases would have.
    for rows in (matrix, matrix.T) if matrix.ndim == 2 and matrix.dtype.kind in "biuf" and min(matrix.shape) > 1 else ():
        is_one_hot = len(rows) == cases and ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all()
        if is_one_hot and (rows.shape[1] > 2 or isinstance(labels, np.ndarray) or (classes == 2 and np.ptp(rows[:, 0]))):
            return rows.argmax(axis=1)
    return None


def several_labels(labels: Any, cases: int, where: object) -> None:
    """Raise ``DataError`` for a matrix of labels that is neither a row, a column, nor one-hot."""
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and 1 not in labels.shape:
        text = f"'labels' is {shown(labels)}, which is neither one label per case nor one-hot"
        raise DataError(f"{where}: {text}; expected ({cases},), or ({cases}, classes) with a single 1 per case")
