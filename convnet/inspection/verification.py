"""A folder of batches is checked whole: its files against the manifest, and each batch by reading all that is in it."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from convnet.arrays import not_finite
from convnet.backends.host import cores
from convnet.data.batches import bytes_of, label_names_of, pixels_of, read_batch
from convnet.data.decoding import read_square
from convnet.data.folder import FolderProvider
from convnet.data.labels import Labels, Part
from convnet.data.making.manifest import SKIPPED, SUMS, read_sums, sum_of
from convnet.data.provider import Request, range_text
from convnet.data.providers import open_provider
from convnet.data.schema import MOST_CLASSES, TAGS, matrix_of_key
from convnet.data.targets import stored_keys
from convnet.errors import DataError, reason_of
from convnet.inspection.batch_files import cases_of, held_in, holds_values
from convnet.inspection.folders import opened
from convnet.inspection.found import Found, Tell, silent
from convnet.texts import counted, listed, printable

_NAMED = 20  # files or pictures in a message
_AGAIN = "make the batches again, or take the file from a copy"
_PICTURES = "runs leave them out; make the batches again from whole pictures"
_MEND = "write the batch again, or leave it out of --train-range and --test-range"


def verify_batches(path: str | Path, tell: Tell = silent) -> Found:
    """Read everything in a folder of batches; return what is wrong with any file, description, label or picture."""
    folder = Path(path)
    found = Found(str(folder), "a folder of batches")
    meta, files = opened(found, folder)
    if not files:
        return found
    _compare(found, folder, [path for parts in files.values() for path in parts])
    provider = _opened(found, folder) if meta else None
    rows = []
    for done, (number, paths) in enumerate(files.items()):
        tell(done, len(files))
        rows.append({"batch": number, "parts": len(paths), "cases": _check_batch(found, provider, meta, paths)})
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


def _opened(found: Found, folder: Path) -> FolderProvider | None:
    """Return what a run would read the batches with, ``None`` where it would not, which is told, or for values."""
    try:
        if holds_values(folder):
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
    for path, part in parts:
        if isinstance(data := part["data"], list):
            _check_pictures(found, data, path)
        elif (place := not_finite(data)) is not None:
            found.blame(f"{path}: 'data' holds {data[place]} at {list(place)}; expected finite numbers", _MEND)
    each = [len(part["data"]) for _, part in parts if isinstance(part["data"], list)]
    if len(parts) < len(paths):
        return sum(each)
    if len(parts) == 1:  # of several the first may have the labels of all
        _check_keys(found, *parts[0], meta, from_matrix=2 if provider else 1)
    try:
        if provider:
            each = provider.cases(parts)
            provider.checked_targets(parts, each)
        elif not each:
            known = "num_vis" in meta
            sizes = (matrix.shape[1] for matrix in pixels_of(parts, int(meta["num_vis"]))) if known else ()
            each = [*sizes] or [cases_of(part) for _, part in parts]
    except DataError as error:
        found.blame(error, _MEND)
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
    keys = {index: key for key in part if (index := matrix_of_key(key)) and part[key] is not None} | stored_keys(part, {})
    for index, key in sorted(keys.items()):
        if index < from_matrix or key == TAGS:
            continue
        names, offset = len(label_names_of(meta, index)), int(meta.get("label_offset", 0)) if index == 1 else 0
        try:
            held = held_in(part.get(key), key, path, cases_of(part), names)
            if isinstance(held, Labels):
                held.check(names or MOST_CLASSES, offset, path if index == 1 else f"{path}: '{key}'")
        except DataError as error:
            found.blame(error, _MEND)
