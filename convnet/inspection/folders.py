"""Folders: runs with their checkpoints and log, batches with their description, a batch in parts."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from convnet.checkpoint import BEST, CheckpointFolder
from convnet.data.batches import BATCH, description_in, find_batches, kept_for_validation, made_for_testing, read_meta
from convnet.data.making.manifest import SUMS
from convnet.data.making.picture_folder import SUFFIXES
from convnet.data.provider import range_text
from convnet.errors import DataError
from convnet.inspection.batch_files import WRITER, meta_facts
from convnet.inspection.found import Found
from convnet.texts import listed, printable, shell_quoted
from convnet.training.log import NAME

_SHOWN = 20  # of names and batches


def found_folder(found: Found, path: Path) -> list[Path]:
    """Add what lies in a folder; return the files in it that are to be looked at: a checkpoint, or the parts of a batch."""
    for folder in (path, *sorted(path.glob("ConvNet__*"), reverse=True)):
        if names := CheckpointFolder(folder).names():
            _found_run(found, path, names)
            return names[-1:]
    if (name := BATCH.fullmatch(path.resolve().name)) and not name[2]:
        return _found_parts(found, path.resolve(), int(name[1]))
    if description_in(path) or any(path.glob("data_batch_*")):
        _found_batches(found, path)
    elif any(path.glob("test_preds_*")):
        found.kind = "a folder of predictions"
        found.facts["files"] = [each.name for each in sorted(path.glob("test_preds_*"))]
        found.remarks.append("Each file can be looked at by itself.")
    elif (path / NAME).is_file():
        found.kind, found.program = "the folder of a run without checkpoints", "convnet run"
        found.remarks.append(f"Its log can be looked at: {printable(str(path / NAME))}")
    else:
        _found_other(found, path)
    return []


def _found_run(found: Found, path: Path, names: list[Path]) -> None:
    folder = names[0].parent
    found.kind = "the folder of a run" if folder == path else "a folder of runs"
    facts: dict[str, Any] = {"runs": [each.name for each in sorted(path.glob("ConvNet__*")) if each.is_dir()]}
    facts |= {"checkpoints": [each.name for each in names], "newest": str(names[-1])}
    found.facts = facts | {"best": (folder / BEST).is_file(), "log": (folder / NAME).is_file()}


def opened(found: Found, folder: Path) -> tuple[dict[str, Any], dict[int, list[Path]]]:
    """Return the description and the files of a folder of batches, as far as there are any; add what is wrong with both."""
    meta: dict[str, Any] = {}
    files: dict[int, list[Path]] = {}
    try:
        meta = read_meta(folder)
    except DataError as error:
        found.blame(error, "name a folder of batches, or write what it lacks")
    try:
        files = find_batches(folder, found.remarks)
    except DataError as error:
        if meta or any(folder.glob("data_batch_*")):  # else it is no folder of batches, which is told
            found.blame(error, "docs/batches.md says how batches lie in a folder")
    found.bytes = sum(part.stat().st_size for parts in files.values() for part in parts if part.is_file())
    if missing := sorted(made_for_testing(meta) - {*files} if files else ()):
        found.blame(f"test_batches names {range_text(missing)}, which are not there", "make the batches again")
    return meta, files


def _found_batches(found: Found, path: Path) -> None:
    """Add what a folder of batches says of itself, and its files; whether they are whole is another question."""
    meta, batches = opened(found, path)
    found.kind, found.program = ("a folder of features", WRITER) if "source_model" in meta else ("a folder of batches", "")
    found.facts = meta_facts(meta) if meta else {}
    if not batches:
        return
    aside = made_for_testing(meta) if "test_batches" in meta else kept_for_validation([*batches])
    tests = [number for number in batches if number in aside] or [*batches][-1:]
    found.facts |= {"batches": range_text([*batches]), "for_testing": range_text(tests), "manifest": (path / SUMS).is_file()}
    found.facts["first_batches"] = [
        {"batch": n, "parts": len(parts), "bytes": sum(part.stat().st_size for part in parts), "test": n in tests}
        for n, parts in islice(batches.items(), _SHOWN)
    ]
    found.remarks.append(f"What reads and checks all of them: convnet batches verify {shell_quoted(str(path))}")


def _found_parts(found: Found, path: Path, number: int) -> list[Path]:
    """Return the parts of a batch, as runs read them."""
    found.kind = "a batch in parts"
    try:
        return find_batches(path.parent, found.remarks)[number]
    except DataError as error:
        found.blame(error, "put the parts of the batch into this folder, and nothing else")
    return []


def _found_other(found: Found, path: Path) -> None:
    entries = sorted(path.iterdir())
    suffixes = Counter(entry.suffix.lower() for entry in entries if entry.is_file())
    found.kind = "a folder"
    found.facts = {"files": suffixes.total(), "folders": sum(entry.is_dir() for entry in entries)}
    found.facts["first"] = [printable(entry.name) for entry in entries[:_SHOWN]]
    below = (islice(path.glob(levels), 100 * _SHOWN) for levels in ("*", "*/*", "*/*/*"))  # a split set, at the deepest
    if any(entry.suffix.lower() in SUFFIXES for level in below for entry in level):
        found.remarks.append(f"For pictures in it: convnet makebatches {shell_quoted(str(path))} --out batches")
    else:
        endings = (suffix or "files without an ending" for suffix in suffixes)
        what = listed(endings, 8) or ("folders" if entries else "nothing")
        advice = f"name a folder with batches.meta, with checkpoints such as 1.5, or with {NAME}"
        found.blame(f"neither checkpoints nor batches lie in it, but {what}", advice)
