"""Batch files on disk: ``data_batch_N`` and ``batches.meta``, as all three generations and their users wrote them.

Layouts: io section 5. Everything is read as plain data (``convnet.pickles``).
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from convnet import pickles
from convnet.arrays import not_finite
from convnet.data.schema import LABEL_KEYS, check_meta, check_part, one_hot_labels, several_labels
from convnet.errors import DataError, reason_of
from convnet.layers.label_tree import LabelTree
from convnet.pickles import UnsafePickle, text_of
from convnet.storage import write_atomically
from convnet.texts import counted, shell_quoted

_BATCH = re.compile(r"data_batch_(\d{1,18})(?:\.(\d{1,18}))?$", re.ASCII)
_PART = re.compile(r"\.(\d{1,18})", re.ASCII)


def read_meta(folder: Path) -> dict[str, Any]:
    """Return ``batches.meta`` (or CIFAR-100's ``meta``); raises ``DataError`` that says what to do if there is none."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; --data-path names the folder that holds batches.meta and data_batch_1")
    path = description_in(folder)
    if path is None:
        make = f"convnet makebatches {shell_quoted(str(folder))} --out batches"
        raise DataError(f"{folder} holds no batches.meta; if pictures are in it, begin with: {make}")
    meta = _read(path)
    if not isinstance(meta, dict):
        raise DataError(f"{path}: not a description of batches")
    meta = {text_of(key): value for key, value in meta.items()}
    check_meta(meta, path)
    return meta


def description_in(folder: Path) -> Path | None:
    """Return the file that describes the batches of a folder, or ``None`` if there is none."""
    return next((path for name in ("batches.meta", "meta") if (path := folder / name).is_file()), None)


class Watch:
    """Tells whether the description in a folder is what it was at first, and with it the batches that it is of.

    makebatches removes it before the batches and writes it after them (``convnet.data.batch_folder``). Its bytes are
    compared only where its file is another, or was written since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state: tuple[int, ...] = ()
        self._bytes = b""
        with suppress(OSError):  # of which whoever reads the description says more
            self._state, self._bytes = self._look(), self._read()

    def check(self) -> None:
        """Raise ``DataError`` if the batches are not those of the beginning any more."""
        with suppress(OSError):
            state = self._look()
            if state != self._state and self._read() != self._bytes:
                what = "were made anew" if state else "are removed, or being made anew,"
                raise DataError(f"{self.folder}: the batches {what} while they were in use; begin again when they are whole")
            self._state = state

    def _look(self) -> tuple[int, ...]:
        path = description_in(self.folder)
        stat = path.stat() if path else None
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else ()

    def _read(self) -> bytes:
        path = description_in(self.folder)
        return path.read_bytes() if path else b""


def find_batches(folder: Path) -> dict[int, list[Path]]:
    """Return each batch's files by its number; raises ``DataError`` if there are no batches.

    A batch is one file, sub-files ``.1 .2``, or a folder of parts. ``test_batch`` comes last.
    """
    batches: dict[int, list[tuple[int, Path]]] = {}
    for path in _entries(folder):
        match = _BATCH.fullmatch(path.name)
        if match and path.is_dir():
            parts = [(int(found[1]), p) for p in _entries(path) if (found := _PART.fullmatch(p.suffix))]
            if not parts:
                raise DataError(f"{path}: a folder without parts; expected {path.name}.0, {path.name}.1 and so on in it")
            batches.setdefault(int(match[1]), []).extend(parts)
        elif match:
            batches.setdefault(int(match[1]), []).append((int(match[2] or 0), path))
    if (folder / "test_batch").is_file():
        batches[max(batches, default=0) + 1] = [(0, folder / "test_batch")]
    if not batches and (folder / "train").is_file():  # CIFAR-100
        batches = {1: [(0, folder / "train")], 2: [(0, folder / "test")]}
    if not batches:
        raise DataError(f"{folder} holds batches.meta but no data_batch_1; make batches with 'convnet makebatches'")
    return {number: [path for _, path in sorted(parts)] for number, parts in sorted(batches.items())}


def read_batch(path: Path) -> dict[str, Any]:
    """Return a part of a batch as a checked dict; 2012's JPEG tuple becomes ``{'data', 'labels'}``. Raises ``DataError``."""
    value = _read(path)
    if isinstance(value, tuple) and len(value) == 3:  # 2012: JPEG strings, sizes, (word id, class) pairs
        value = {"data": value[0], "labels": _labels_of_2012(value[1], value[2])}
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}; expected a batch")
    part = {text_of(key): item for key, item in value.items()}
    check_part(part, path)
    return part


def _labels_of_2012(second: Any, third: Any) -> Any:
    """Return the classes of (word id, class) pairs, ``None`` being 0; of a tuple that ends with words its second member."""
    if not isinstance(third, list | tuple):
        return third
    if third and all(isinstance(label, str | bytes) for label in third):
        return second
    classes = [label[1] if isinstance(label, tuple) and len(label) == 2 else label for label in third]
    return [0 if label is None else label for label in classes]


def labels_of(part: dict[str, Any], path: Path) -> np.ndarray:
    """Return one label per case, from lists, (N,), (1, N), (N, 1), lists of lists, or one-hot; of several the first."""
    labels, cases = _stored_labels(part), _cases_of(part)
    if labels is None:
        raise DataError(f"{path}: no labels in it")
    one_hot = one_hot_labels(labels, cases)
    if one_hot is not None:
        return one_hot.astype(np.float64)
    several_labels(labels, cases, path)
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return labels.reshape(-1).astype(np.float64)
    return np.array([_first_label(item) for item in labels], np.float64)


def _stored_labels(part: dict[str, Any]) -> Any:
    """Return the labels of a part as they are stored, CIFAR-100's too; ``None`` where there are none."""
    return next((part[key] for key in LABEL_KEYS if part.get(key) is not None), None)


def _cases_of(part: dict[str, Any]) -> int:
    """Return the number of cases of a part; of a matrix, the side that its labels have."""
    data = part.get("data")
    if not isinstance(data, np.ndarray):
        return len(data or ())
    labels = _stored_labels(part)
    sides = labels.shape if isinstance(labels, np.ndarray) else (len(labels or ()),)
    return next((cases for cases in data.shape if cases in sides), data.shape[1])


def label_lists(part: dict[str, Any], path: Path) -> list[list[int]]:
    """Return all labels of each case, which are whole numbers; raises ``DataError``."""
    labels = part.get("labels")
    first = labels[0] if isinstance(labels, list) and labels else None
    if (
        isinstance(labels, list)
        and isinstance(first, list | tuple | np.ndarray)
        and one_hot_labels(labels, _cases_of(part)) is None
    ):
        lists = [item if isinstance(item, list | tuple | np.ndarray) else [item] for item in labels]
    else:
        lists = [[label] for label in labels_of(part, path)]
    for n, item in enumerate(lists):
        for label in item:
            if label != int(label):
                raise DataError(f"{path}: case {n} has label {label:g}; expected whole numbers")
    return [[int(label) for label in item] for item in lists]


def pixels_of(part: dict[str, Any], path: Path, features: int, cases_first: bool = False) -> np.ndarray:
    """Return the data as (features, cases), however they were stored (io 5.1); ``cases_first`` decides for a square."""
    data = part.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        advice = "; for pictures use --data-provider image" if isinstance(data, list) else ""
        raise DataError(f"{path}: no data matrix in it{advice}")
    if data.shape[0] == features and not (data.shape[1] == features and ("filenames" in part or cases_first)):
        return data
    if data.shape[1] == features:
        return data.T
    raise DataError(f"{path}: data of shape {data.shape[0]}x{data.shape[1]}; expected {counted(features, 'value')} per case")


def mean_of(meta: dict[str, Any], features: int, where: Path) -> np.ndarray | None:
    """Return ``data_mean`` as (features,), from (D,), (D, 1) or (1, D); ``None`` if there is none."""
    mean = meta.get("data_mean")
    if mean is None:
        return None
    mean = np.asarray(mean, np.float64).reshape(-1)
    if (place := not_finite(mean)) is not None:
        raise DataError(f"{where}: data_mean holds {mean[place]}; expected finite numbers of 32 bits")
    if mean.size != features:
        raise DataError(f"{where}: data_mean has {counted(mean.size, 'value')}, the data {features}")
    return mean


def label_names_of(meta: dict[str, Any]) -> list[str]:
    """Return the names of the classes, in order."""
    names = meta.get("label_names", meta.get("fine_label_names"))
    return [text_of(name) for name in (names if names is not None else ())]


def made_for_testing(meta: dict[str, Any]) -> set[int]:
    """Return the numbers of the batches that makebatches set aside for testing."""
    numbers = meta.get("test_batches")
    return {n for n in numbers if isinstance(n, int)} if isinstance(numbers, list) else set()


def tree_of(meta: dict[str, Any], classes: int, where: Path) -> LabelTree | None:
    """Return the tree of labels of 2012's descriptions: ``tree`` (node: children) and ``all_wnids['gproot']`` (io 5.4).

    ``None`` where there is none; raises ``DataError`` if it is not a tree over the classes.
    """
    tree = meta.get("tree")
    if not isinstance(tree, dict):
        return None
    children = {int(node): [int(child) for child in below] for node, below in tree.items()}
    names = {text_of(name): label for name, label in (meta.get("all_wnids") or {}).items()}
    roots = set(children) - {child for below in children.values() for child in below}
    if "gproot" not in names and len(roots) != 1:
        raise DataError(f"{where}: the tree has no root: all_wnids['gproot'] is missing")
    try:
        return LabelTree.from_children(children, int(names.get("gproot", min(roots, default=0))), classes)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def write_file(path: Path, value: dict[str, Any], advice: str = "", checksum: bool = False) -> None:
    """Write a file of batches whole or not at all; raises ``DataError`` that ends with ``advice``."""
    try:
        write_atomically(path, lambda file: pickles.dump_plain(value, file, checksum))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason_of(error)}{advice}") from None


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder; raises ``DataError``."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {reason_of(error)}") from None


def _read(path: Path) -> Any:
    try:
        return pickles.load(path)
    except UnsafePickle as error:
        raise DataError(f"{error}; the file is damaged or not a batch") from None


def _first_label(item: Any) -> float:
    if isinstance(item, list | tuple | np.ndarray):
        return float(item[0]) if len(item) else 0.0
    return float(item)
