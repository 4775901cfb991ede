"""A folder of batches is checked whole: its files against the manifest, and each batch by reading all that is in it."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from convnet.arrays import not_finite
from convnet.data.batches import find_batches, label_names_of, read_batch, read_meta
from convnet.data.decoding import read_square
from convnet.data.folder import FolderProvider
from convnet.data.labels import Part, labels_of
from convnet.data.manifest import SKIPPED, SUMS, read_sums, sum_of
from convnet.data.provider import Request, check_counts, range_text
from convnet.data.providers import open_provider
from convnet.data.schema import MOST_CLASSES, matrix_of_key
from convnet.data.workers import cores
from convnet.errors import DataError, reason_of
from convnet.inspection.batch_files import cases_of
from convnet.inspection.found import Found, Tell, bytes_of, silent
from convnet.texts import counted, listed, printable

_NAMED = 20  # files or pictures in a message
_AGAIN = "make the batches again, or take the file from a copy"
_PICTURES = "runs leave them out; make the batches again from whole pictures"
_MEND = "write the batch again, or leave it out of --train-range and --test-range"


def verify_batches(path: str | Path, tell: Tell = silent) -> Found:
    """Read everything in a folder of batches; return what is wrong with any file, description, label or picture."""
    folder, meta = Path(path), {}
    found = Found(str(folder), "a folder of batches")
    try:
        meta = read_meta(folder)
    except DataError as error:
        found.blame(error, "name a folder of batches, or write its batches.meta: docs/batches.md")
    try:
        files = find_batches(folder, found.remarks)
    except DataError as error:
        if meta:
            found.blame(error, "name the folder in which the batches are")
        return found
    _compare(found, folder, [path for parts in files.values() for path in parts])
    provider = _opened(found, folder, files, meta) if meta else None
    rows = []
    for done, (number, paths) in enumerate(files.items()):
        tell(done, len(files))
        rows.append({"batch": number, "parts": len(paths), "cases": _check_batch(found, provider, meta, paths)})
    found.bytes = sum(path.stat().st_size for parts in files.values() for path in parts if path.is_file())
    tests = meta.get("test_batches") or []
    if missing := [number for number in tests if number not in files]:
        found.blame(f"test_batches names {range_text(missing)}, which are not there", "make the batches again")
    if provider and len(provider.numbers) > 1:
        train, test = provider.default_ranges()
        found.facts |= {"for_training": range_text(train), "for_testing": range_text(test)}
    found.facts |= {"classes": provider.classes if provider else None, "cases": sum(row["cases"] for row in rows)}
    found.facts["batches"] = rows
    return found


def _compare(found: Found, folder: Path, batches: Sequence[Path]) -> None:
    """Compare the files of a folder with its manifest, if it has one."""
    try:
        sums = read_sums(folder)
    except DataError as error:
        found.blame(error, "make the batches again, or remove the manifest")
        return
    found.facts["manifest"] = bool(sums)
    if not sums:
        text = f"There is no {SUMS}, by which other bytes than were written would show; what can be read is checked."
        found.remarks.append(text)
        return
    found.program = "convnet makebatches"
    missing, changed = [], []
    for name, expected in sums.items():
        try:
            if not (folder / name).is_file():  # a pipe would be waited for
                missing.append(name)
            elif sum_of(folder / name) != expected:
                changed.append(name)
        except OSError as error:
            found.blame(f"{name} cannot be read: {reason_of(error)}", "see to it that you may read it")
    names = [path.relative_to(folder).as_posix() for path in batches]
    others = [name for name in names if name not in sums]
    for what, which, advice in (
        (f"missing that {SUMS} names", missing, _AGAIN),
        (f"with other bytes than were written, by {SUMS}", changed, _AGAIN),
        (f"that {SUMS} does not name", others, "remove what does not belong there, or make the batches again"),
    ):
        if which:
            found.blame(f"{counted(len(which), 'file')} {what}: {listed(map(printable, which), _NAMED)}", advice)
    found.facts |= {"files_compared": len(sums), "files_wrong": len(missing) + len(changed)}
    if (folder / SKIPPED).is_file():
        lines = (folder / SKIPPED).read_text("utf-8", "replace").splitlines()
        told = listed(map(printable, lines), _NAMED)
        found.remarks.append(f"{counted(len(lines), 'picture')} left out when they were made, as {SKIPPED} says: {told}")


def _opened(found: Found, folder: Path, files: dict[int, list[Path]], meta: dict[str, Any]) -> FolderProvider | None:
    """Return what a run would read the batches with, ``None`` where it would not, which is told, or for values."""
    try:
        if not label_names_of(meta) and _holds_values(read_batch(next(iter(files.values()))[0]).get("labels")):
            found.facts["labels"] = "values, not classes"
            return None
        provider = open_provider("", Request(str(folder)))
    except DataError as error:
        found.blame(error, "a run does not read these batches; docs/batches.md says what they must hold")
        return None
    found.remarks += [problem for problem in provider.problems if problem not in found.remarks]
    return provider if isinstance(provider, FolderProvider) else None


def _check_batch(found: Found, provider: FolderProvider | None, meta: dict[str, Any], paths: Sequence[Path]) -> int:
    """Add what is wrong with a batch; return its cases, as far as they are known."""
    parts: list[Part] = []
    for path in paths:
        try:
            parts.append((path, read_batch(path)))
        except DataError as error:
            found.blame(error, _AGAIN)
    cases = 0
    for path, part in parts:
        data = part["data"]
        cases += len(data) if isinstance(data, list) else 0
        if isinstance(data, list):
            _check_pictures(found, data, path)
        elif (place := not_finite(data)) is not None:
            found.blame(f"{path}: 'data' holds {data[place]} at {list(place)}; expected finite numbers", _MEND)
    if len(parts) < len(paths):
        return cases
    where = str(paths[0])
    if len(parts) == 1:  # of several the first may have the labels of all
        _check_keys(found, *parts[0], meta, from_matrix=2 if provider else 1)
    if provider is None:
        return sum(cases_of(part) for _, part in parts)
    try:
        each = provider.cases(parts)
        targets = provider.targets(parts, each)
        check_counts(sum(each), len(targets), where)
        provider.check_targets(targets, where)
    except DataError as error:
        found.blame(error, _MEND)
        return cases
    return sum(each)


def _check_pictures(found: Found, items: list[Any], path: Path) -> None:
    """Decode all pictures of a part, and name those that cannot be."""

    def fault(item: Any) -> str:
        try:
            read_square(io.BytesIO(bytes_of(item)), 8)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(cores()) as workers:
        faults = [f"number {i} ({text})" for i, text in enumerate(workers.map(fault, items)) if text]
    if faults:
        count = f"{len(faults)} of {counted(len(items), 'picture')} cannot be decoded"
        found.blame(f"{path}: {count}: {listed(faults, _NAMED)}, counted from 0", _PICTURES)


def _check_keys(found: Found, path: Path, part: dict[str, Any], meta: dict[str, Any], from_matrix: int) -> None:
    """Add what is wrong with the labels or values in matrices from ``from_matrix`` on: no classes, not of all cases."""
    cases = cases_of(part)
    for key in [key for key in part if matrix_of_key(key) >= from_matrix and part[key] is not None]:
        names = len(label_names_of(meta, matrix_of_key(key)))
        offset, where = 0, f"{path}: '{key}'"
        if key == "labels":
            offset, where = int(meta.get("label_offset", 0)), str(path)
        try:
            if not names and _holds_values(part[key]):
                shape = np.shape(part[key])
                if cases not in shape:
                    raise DataError(f"{path}: '{key}' of shape {shape} is not of {counted(cases, 'case')}")
                continue
            labels = labels_of({"labels": part[key]}, path, cases, names)
            check_counts(cases, len(labels), where)
            labels.check(names or MOST_CLASSES, offset, where)
        except DataError as error:
            found.blame(error, _MEND)


def _holds_values(stored: Any) -> bool:
    """Return whether labels are values of regressions, not of classes."""
    try:
        labels = np.asarray(stored, np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    if not labels.size or not labels.ndim:
        return False
    rows_of_values = isinstance(stored, np.ndarray) and labels.ndim == 2 and 1 not in labels.shape
    are_marks = ((labels == 0) | (labels == 1)).all()
    return bool((rows_of_values and not are_marks) or (labels != np.floor(labels)).any() or (labels < 0).any())
