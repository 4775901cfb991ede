"""Batch files on disk: ``data_batch_N`` and ``batches.meta``, as all three generations and their users wrote them.

Layouts: io section 5. Everything is read as plain data (``convnet.pickles``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from convnet import pickles
from convnet.errors import DataError
from convnet.layers.label_tree import LabelTree
from convnet.pickles import UnsafePickle, text_of

_BATCH = re.compile(r"data_batch_(\d+)(?:\.(\d+))?$")


def read_meta(folder: Path) -> dict[str, Any]:
    """``batches.meta`` (or CIFAR-100's ``meta``) as a dict; raises ``DataError`` with what to do where there is none."""
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
    """Batch number -> its files in order: one file, sub-files ``.1 .2``, or a folder of parts. ``test_batch`` comes last."""
    found: dict[int, list[tuple[int, Path]]] = {}
    for path in folder.iterdir():
        match = _BATCH.fullmatch(path.name)
        if match and path.is_dir():
            parts = sorted((int(p.suffix[1:]), p) for p in path.iterdir() if p.suffix[1:].isdigit())
            found.setdefault(int(match[1]), []).extend(parts)
        elif match:
            found.setdefault(int(match[1]), []).append((int(match[2] or 0), path))
    last = max(found, default=0)
    for i, name in enumerate(("test_batch",), 1):
        if (folder / name).is_file():
            found[last + i] = [(0, folder / name)]
    if not found and (folder / "train").is_file():
        found = {1: [(0, folder / "train")], 2: [(0, folder / "test")]}
    return {number: [path for _, path in sorted(parts)] for number, parts in sorted(found.items())}


def read_batch(paths: list[Path]) -> list[dict[str, Any]]:
    """The parts of one batch as dicts; 2012's JPEG tuples become ``{'data', 'labels'}``. Raises ``DataError``."""
    return [_as_dict(path, _read(path)) for path in paths]


def labels_of(part: dict[str, Any], path: Path) -> np.ndarray:
    """One label per case, from lists, (N,), (1, N), (N, 1) or lists of lists; the first, where a case has several."""
    for key in ("labels", "fine_labels", "coarse_labels"):
        if key in part:
            held = part[key]
            if isinstance(held, np.ndarray):
                return held.reshape(-1).astype(np.float64)
            return np.array([_first_label(item) for item in held], np.float64)
    raise DataError(f"{path}: no labels in it")


def label_lists(part: dict[str, Any], path: Path) -> list[list[int]]:
    """All labels of each case."""
    held = part.get("labels")
    if isinstance(held, list) and held and isinstance(held[0], list | tuple | np.ndarray):
        return [[int(label) for label in item] for item in held]
    return [[int(label)] for label in labels_of(part, path)]


def pixels_of(part: dict[str, Any], path: Path, features: int, cases_first: bool = False) -> np.ndarray:
    """The data matrix as (features, cases), whichever way it was stored (io 5.1); ``cases_first`` decides for a square."""
    data = part.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        raise DataError(f"{path}: no data matrix in it")
    if data.shape[0] == features and not (data.shape[1] == features and ("filenames" in part or cases_first)):
        return data
    if data.shape[1] == features:
        return data.T
    raise DataError(f"{path}: data of shape {data.shape[0]}x{data.shape[1]}; expected {features} values per case")


def mean_of(meta: dict[str, Any], features: int, where: Path) -> np.ndarray | None:
    """``data_mean`` as (features,), from (D,), (D, 1) or (1, D); ``None`` where the description has none."""
    mean = meta.get("data_mean")
    if mean is None:
        return None
    mean = np.asarray(mean, np.float64).reshape(-1)
    if mean.size != features:
        raise DataError(f"{where}: data_mean has {mean.size} values, the data {features}")
    return mean


def label_names_of(meta: dict[str, Any]) -> list[str]:
    """Names of the classes, in order."""
    for key in ("label_names", "fine_label_names"):
        if key in meta:
            return [text_of(name) for name in meta[key]]
    return []


def tree_of(meta: dict[str, Any], classes: int, where: Path) -> LabelTree | None:
    """The tree of labels that 2012's descriptions hold: ``tree`` (node: children) and ``all_wnids['gproot']`` (io 5.4).

    Raises ``DataError`` if it is no tree over the classes; ``None`` where there is none.
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


def _read(path: Path) -> Any:
    try:
        return pickles.load(path)
    except UnsafePickle as error:
        raise DataError(f"{error}; the file is damaged or not a batch") from None


def _as_dict(path: Path, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {text_of(key): item for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 3:  # 2012: JPEG strings, sizes, (word id, class) pairs
        return {
            "data": list(value[0]),
            "labels": [label[1] or 0 if isinstance(label, tuple) else label for label in value[2]],
        }
    raise DataError(f"{path}: holds a {type(value).__name__}; expected a batch")


def _first_label(item: Any) -> float:
    if isinstance(item, list | tuple | np.ndarray):
        return float(item[0]) if len(item) else 0.0
    return float(item)
