"""Batch files on disk: ``data_batch_N`` and ``batches.meta``, as all three generations and their users wrote them.

Layouts: io section 5. Everything is read as plain data (``convnet.pickles``).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from convnet import pickles
from convnet.errors import DataError
from convnet.layers.label_tree import LabelTree
from convnet.pickles import UnsafePickle, text_of
from convnet.storage import write_atomically

_BATCH = re.compile(r"data_batch_(\d+)(?:\.(\d+))?$")


def read_meta(folder: Path) -> dict[str, Any]:
    """Return ``batches.meta`` (or CIFAR-100's ``meta``); raises ``DataError`` that says what to do if there is none."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; --data-path names the folder that holds batches.meta and data_batch_1")
    for name in ("batches.meta", "meta"):
        if (folder / name).is_file():
            meta = _read(folder / name)
            if not isinstance(meta, dict):
                raise DataError(f"{folder / name}: not a description of batches")
            return {text_of(key): value for key, value in meta.items()}
    raise DataError(f"{folder} holds no batches.meta; make batches with 'convnet makebatches'")


def find_batches(folder: Path) -> dict[int, list[Path]]:
    """Return each batch's files by its number; raises ``DataError`` if there are no batches.

    A batch is one file, sub-files ``.1 .2``, or a folder of parts. ``test_batch`` comes last.
    """
    batches: dict[int, list[tuple[int, Path]]] = {}
    for path in folder.iterdir():
        match = _BATCH.fullmatch(path.name)
        if match and path.is_dir():
            parts = [(int(p.suffix[1:]), p) for p in path.iterdir() if p.suffix[1:].isdigit()]
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
    """Return a part of a batch as a dict; 2012's JPEG tuple becomes ``{'data', 'labels'}``. Raises ``DataError``."""
    value = _read(path)
    if isinstance(value, dict):
        return {text_of(key): item for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 3:  # 2012: JPEG strings, sizes, (word id, class) pairs
        labels = [label[1] or 0 if isinstance(label, tuple) else label for label in value[2]]
        return {"data": list(value[0]), "labels": labels}
    raise DataError(f"{path}: holds a {type(value).__name__}; expected a batch")


def labels_of(part: dict[str, Any], path: Path) -> np.ndarray:
    """Return one label per case, from lists, (N,), (1, N), (N, 1) or lists of lists; of several labels the first."""
    for key in ("labels", "fine_labels", "coarse_labels"):
        labels = part.get(key)
        if isinstance(labels, np.ndarray):
            return labels.reshape(-1).astype(np.float64)
        if labels is not None:
            return np.array([_first_label(item) for item in labels], np.float64)
    raise DataError(f"{path}: no labels in it")


def label_lists(part: dict[str, Any], path: Path) -> list[list[int]]:
    """Return all labels of each case."""
    labels = part.get("labels")
    if isinstance(labels, list) and labels and isinstance(labels[0], list | tuple | np.ndarray):
        return [[int(label) for label in item] for item in labels]
    return [[int(label)] for label in labels_of(part, path)]


def pixels_of(part: dict[str, Any], path: Path, features: int, cases_first: bool = False) -> np.ndarray:
    """Return the data as (features, cases), however they were stored (io 5.1); ``cases_first`` decides for a square."""
    data = part.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        raise DataError(f"{path}: no data matrix in it")
    if data.shape[0] == features and not (data.shape[1] == features and ("filenames" in part or cases_first)):
        return data
    if data.shape[1] == features:
        return data.T
    raise DataError(f"{path}: data of shape {data.shape[0]}x{data.shape[1]}; expected {features} values per case")


def mean_of(meta: dict[str, Any], features: int, where: Path) -> np.ndarray | None:
    """Return ``data_mean`` as (features,), from (D,), (D, 1) or (1, D); ``None`` if there is none."""
    mean = meta.get("data_mean")
    if mean is None:
        return None
    mean = np.asarray(mean, np.float64).reshape(-1)
    if mean.size != features:
        raise DataError(f"{where}: data_mean has {mean.size} values, the data {features}")
    return mean


def label_names_of(meta: dict[str, Any]) -> list[str]:
    """Return the names of the classes, in order."""
    return [text_of(name) for name in meta.get("label_names", meta.get("fine_label_names", []))]


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


def write_file(path: Path, value: dict[str, Any], advice: str = "") -> None:
    """Write a file of batches whole or not at all; raises ``DataError`` that ends with ``advice``."""
    try:
        write_atomically(path, lambda file: pickles.dump(value, file))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}{advice}") from None


def _read(path: Path) -> Any:
    try:
        return pickles.load(path)
    except UnsafePickle as error:
        raise DataError(f"{error}; the file is damaged or not a batch") from None


def _first_label(item: Any) -> float:
    if isinstance(item, list | tuple | np.ndarray):
        return float(item[0]) if len(item) else 0.0
    return float(item)
