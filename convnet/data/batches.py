"""Batch files on disk: ``data_batch_N`` and ``batches.meta``, as all three generations and their users wrote them.

Layouts: io section 5. Everything is read as plain data (``convnet.pickles``).
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from convnet import pickles
from convnet.arrays import not_finite
from convnet.data.labels import Part, part_of_2012
from convnet.data.schema import check_meta, check_part
from convnet.errors import DataError, reason_of
from convnet.layers.label_tree import LabelTree
from convnet.pickles import UnsafePickle, text_of
from convnet.storage import write_atomically
from convnet.texts import counted, listed, shell_quoted

# What else lies in folders of parts: what is hidden, copies that editors leave, notes and lists.
_BESIDE = re.compile(r"^\.|~$|\.(?:txt|md|csv|json|log|sha256|md5|db|ini|html|xml|ya?ml|py|sh|bak|tmp)$")
BATCH = re.compile(r"data_batch_(\d{1,18})(?:\.(\d{1,18}))?$", re.ASCII)


def read_meta(folder: Path) -> dict[str, Any]:
    """Return ``batches.meta`` (or CIFAR-100's ``meta``); raises ``DataError`` that says what to do if there is none."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; --data-path names the folder that holds batches.meta and data_batch_1")
    path = description_in(folder)
    if path is None:
        advice = f"if pictures are in it, begin with: convnet makebatches {shell_quoted(str(folder))} --out batches"
        if any(folder.glob("data_batch_*")):
            advice = "docs/batches.md says how to write one for batches that are there"
        raise DataError(f"{folder} holds no batches.meta; {advice}")
    return checked_meta(_read(path), path)


def checked_meta(meta: Any, path: Path) -> dict[str, Any]:
    """Return the description that was read from ``path``; raises ``DataError`` if it is none."""
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

    makebatches removes it before the batches and writes it after them (``convnet.data.making.batch_folder``). Its bytes are
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


def find_batches(folder: Path, told: list[str] | None = None) -> dict[int, list[Path]]:
    """Return each batch's files by its number; raises ``DataError`` if there are no batches.

    A batch is one file, sub-files ``.1 .2``, or a folder of parts with any names. ``test_batch`` comes last. ``told`` gets a
    line on what is left out: notes and hidden files among parts, and what lies beside the sub-files of the same batch.
    """
    files: dict[int, dict[int, Path]] = {}  # by batch and number of the sub-file; -1: the whole
    for path in _entries(folder):
        if match := BATCH.fullmatch(path.name):
            other = files.setdefault(int(match[1]), {}).setdefault(int(match[2]) if match[2] else -1, path)
            if other != path:
                raise DataError(
                    f"{folder}: {listed(sorted([other.name, path.name]))} are one batch by their number; expected one"
                )
    told = [] if told is None else told
    batches = {number: _parts(parts, told) for number, parts in sorted(files.items())}
    if (folder / "test_batch").is_file():
        batches[max(batches, default=0) + 1] = [folder / "test_batch"]
    if not batches:  # CIFAR-100
        batches = dict(enumerate(([path] for name in ("train", "test") if (path := folder / name).is_file()), 1))
    if not batches:
        raise DataError(f"{folder} holds batches.meta but no data_batch_1; make batches with 'convnet makebatches'")
    return batches


def _parts(files: dict[int, Path], told: list[str]) -> list[Path]:
    """Return the parts of a batch in order, from its sub-files, or else its file or folder (io 5.2)."""
    whole = files.get(-1)
    if whole and len(files) > 1:
        told.append(f"{whole} is not used: the batch lies in {listed(p.name for n, p in sorted(files.items()) if n >= 0)}.")
    if whole is None or len(files) > 1:
        return [path for number, path in sorted(files.items()) if number >= 0]
    if not whole.is_dir():
        return [whole]
    entries = sorted(_entries(whole), key=lambda path: (_natural(path.name), path.name))
    parts = [path for path in entries if not _BESIDE.search(path.name.lower())]
    if others := [path.name for path in entries if path not in parts]:
        told.append(f"{whole}: left out, as no {'parts' if others[1:] else 'part'} of the batch: {listed(others)}.")
    if not parts:
        raise DataError(f"{whole}: a folder without parts; expected {whole.name}.0, {whole.name}.1 and so on in it")
    if folders := [path.name for path in parts if path.is_dir()]:
        raise DataError(f"{whole}: {listed(folders)} is a folder; the parts of a batch are files in {whole.name} itself")
    return parts


def _natural(name: str) -> list[tuple[int, str]]:
    """Return by what to sort names, so that ``part-10`` follows ``part-9``."""
    return [
        (int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(re.split(r"(\d{1,18})", name, flags=re.ASCII))
    ]


def read_batch(path: Path) -> dict[str, Any]:
    """Return a part of a batch as a checked dict; 2012's tuples become one (``part_of_2012``). Raises ``DataError``."""
    return checked_part(_read(path), path)


def checked_part(value: Any, path: Path) -> dict[str, Any]:
    """Return the part of a batch that was read from ``path``; see ``read_batch``."""
    if isinstance(value, tuple) and len(value) in (2, 3):
        value = part_of_2012(value)
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}; expected a batch")
    part = {text_of(key): item for key, item in value.items()}
    data = part.get("data")
    if isinstance(data, list | tuple) or (isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype.kind in "OS"):
        part["data"] = [item.tobytes() if isinstance(item, np.ndarray) and item.dtype == np.uint8 else item for item in data]
    labels = part.get("labels")
    if isinstance(labels, list | tuple) and any(isinstance(item, np.ndarray) and item.ndim == 2 for item in labels):
        part |= {"labels" + str(i) * (i > 1): item for i, item in enumerate(labels, 1)}  # of each matrix its own
    check_part(part, path)
    return part


def matrix_of(part: dict[str, Any], path: Path) -> np.ndarray:
    """Return the data of a part as they were stored, a matrix; raises ``DataError``."""
    data = part.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        advice = "; for pictures use --data-provider image" if isinstance(data, list) else ""
        raise DataError(f"{path}: no data matrix in it{advice}")
    return data


def bytes_of(item: str | bytes) -> bytes:
    """Return the bytes of a picture, which are a text where Python 2 wrote them."""
    return item.encode("latin1") if isinstance(item, str) else item


def pixels_of(parts: Sequence[Part], features: int, cases_first: bool = False) -> list[np.ndarray]:
    """Return the data of each part as (features, cases), however they were stored (io 5.1); raises ``DataError``.

    A square matrix has cases in columns unless ``cases_first``, or its keys are of the edition that has them in rows. Parts
    that share the values of the same cases become one: 2011 joined sub-batches along their rows, whatever these were
    (io 5.2).
    """
    matrices = [matrix_of(part, path) for path, part in parts]
    rows, columns = {len(matrix) for matrix in matrices}, {matrix.shape[1] for matrix in matrices}
    if rows == {features} and not (columns == {features} and (cases_first or "filenames" in parts[0][1])):
        return matrices
    if columns == {features}:
        return [matrix.T for matrix in matrices]
    if len(columns) == 1 and sum(map(len, matrices)) == features:
        return [np.concatenate(matrices)]
    for (path, _), matrix in zip(parts, matrices, strict=True):
        if features not in matrix.shape:
            shape = f"{matrix.shape[0]}x{matrix.shape[1]}"
            raise DataError(f"{path}: data of shape {shape}; expected {counted(features, 'value')} per case")
    return [matrix if len(matrix) == features else matrix.T for matrix in matrices]


def mean_of(meta: dict[str, Any], features: int, where: Path, channels: int = 1) -> np.ndarray | None:
    """Return ``data_mean`` as (features,), or ``None`` if there is none; raises ``DataError``.

    It may be (D,), (D, 1), (1, D), (side, side, channels), or a number in all or for each of the ``channels`` (io 5.1).
    """
    stored = meta.get("data_mean")
    if stored is None:
        return None
    mean = np.asarray(stored, np.float64)
    if mean.ndim == 3 and channels > 1 and mean.shape[0] != mean.shape[2] == channels:
        mean = mean.transpose(2, 0, 1)  # as pictures lie in memory, unlike batches
    mean = mean.reshape(-1)
    if (place := not_finite(mean)) is not None:
        raise DataError(f"{where}: data_mean holds {mean[place]}; expected finite numbers of 32 bits")
    if mean.size in {1, channels} and not features % mean.size:
        mean = np.repeat(mean, features // mean.size)
    if mean.size != features:
        raise DataError(f"{where}: data_mean has {counted(mean.size, 'value')}, the data {features}")
    return mean


def label_names_of(meta: dict[str, Any], index: int = 1) -> list[str]:
    """Return the names of the classes in matrix ``index``, in order; those of Flickr's tags if there are no others."""
    if index > 1:
        names = meta.get(f"label_names{index}", meta.get("coarse_label_names") if index == 2 else None)
        return [text_of(name) for name in (names if names is not None else ())]
    names = meta.get("label_names", meta.get("fine_label_names"))
    if names is None and meta.get("freq_to_id"):
        of_class = {number: text_of(name) for name, number in meta["freq_to_id"].items()}
        names = [of_class.get(number, "") for number in range(max(of_class) + 1)]
    return [text_of(name) for name in (names if names is not None else ())]


def made_for_testing(meta: dict[str, Any]) -> set[int]:
    """Return the numbers of the batches that makebatches set aside for testing."""
    numbers = meta.get("test_batches")
    return {n for n in numbers if isinstance(n, int)} if isinstance(numbers, list) else set()


def kept_for_validation(numbers: Sequence[int]) -> set[int]:
    """Return the batches behind a gap, from a multiple of 1000 on, where makers put those for validation (io 5.3)."""
    first = next((n for before, n in pairwise(numbers) if n > before + 1 and n % 1000 == 0), None)
    return {n for n in numbers if first is not None and n >= first}


def tree_of(meta: dict[str, Any], classes: int, where: Path) -> LabelTree | None:
    """Return the tree of labels of 2012's descriptions: ``tree`` (node: children) and ``all_wnids['gproot']`` (io 5.4).

    ``None`` where there is none; raises ``DataError`` if it is not a tree over the classes.
    """
    tree = meta.get("tree")
    if isinstance(tree, list | tuple):
        tree = {node: below for node, below in enumerate(tree) if below}
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
