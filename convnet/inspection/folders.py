"""Folders: runs with their checkpoints and log, batches with their description, a batch in parts."""

import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from convnet.checkpoint import BEST, CheckpointFolder
from convnet.data.batches import description_in, find_batches, kept_for_validation, made_for_testing, read_meta
from convnet.data.decoding import FORMATS
from convnet.data.manifest import SUMS
from convnet.data.provider import range_text
from convnet.errors import DataError
from convnet.inspection.batch_files import WRITER, meta_facts
from convnet.inspection.found import Found
from convnet.texts import listed, printable, shell_quoted
from convnet.training.log import NAME

_SHOWN = 20  # of names and batches
_BATCH = re.compile(r"data_batch_(\d{1,18})", re.ASCII)
_PICTURES = {f".{word.lower()}" for word in (*FORMATS, "JPG", "TIF")}


def newest_below(path: Path) -> Path | None:
    """Return the checkpoint that a folder stands for: its newest, or that of its newest dated folder; ``None`` if none."""
    for folder in (path, *sorted(path.glob("ConvNet__*"), reverse=True)):
        if names := CheckpointFolder(folder).names():
            return names[-1]
    return None


def found_folder(found: Found, path: Path) -> list[Path]:
    """Add what lies in a folder; return the files in it that are to be looked at: a checkpoint, or the parts of a batch."""
    newest = newest_below(path)
    if newest is not None:
        _found_run(found, path, newest)
        return [newest]
    if number := _BATCH.fullmatch(path.resolve().name):
        return _found_parts(found, path.resolve(), int(number[1]))
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


def _found_run(found: Found, path: Path, newest: Path) -> None:
    folder = newest.parent
    found.kind = "the folder of a run" if folder == path else "a folder of runs"
    facts: dict[str, Any] = {"runs": [each.name for each in sorted(path.glob("ConvNet__*")) if each.is_dir()]}
    facts |= {"checkpoints": [each.name for each in CheckpointFolder(folder).names()]}
    found.facts = facts | {"best": (folder / BEST).is_file(), "log": (folder / NAME).is_file(), "newest": str(newest)}


def _found_batches(found: Found, path: Path) -> None:
    """Add what a folder of batches says of itself, and its files; whether they are whole is another question."""
    found.kind = "a folder of batches"
    try:
        meta = read_meta(path)
        found.facts = meta_facts(meta)
        if "source_model" in meta:
            found.kind, found.program = "a folder of features", WRITER
    except DataError as error:
        meta = {}
        advice = "docs/batches.md says how to write one" if not description_in(path) else "write it again"
        found.blame(str(error).partition("; if pictures")[0], advice)
    try:
        told: list[str] = []
        batches = find_batches(path, told)
    except DataError as error:
        found.blame(error, "name the folder in which the batches are")
        return
    found.remarks += told
    aside = made_for_testing(meta) if "test_batches" in meta else kept_for_validation([*batches])
    sizes = {number: sum(part.stat().st_size for part in parts) for number, parts in batches.items()}
    tests = [number for number in batches if number in aside] or [*batches][-1:]
    rows = [{"batch": n, "parts": len(batches[n]), "bytes": size, "test": n in tests} for n, size in sizes.items()]
    found.facts |= {"batches": range_text([*batches]), "for_testing": range_text(tests), "manifest": (path / SUMS).is_file()}
    found.facts["first_batches"] = rows[:_SHOWN]
    found.bytes = sum(sizes.values())
    if missing := aside - {*batches}:
        found.blame(f"test_batches names {range_text(sorted(missing))}, which are not there", "make the batches again")
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
    below = [*islice(path.glob("*/*"), 100 * _SHOWN)]
    if any(entry.suffix.lower() in _PICTURES for entry in [*entries, *below]):
        found.remarks.append(f"For pictures in it: convnet makebatches {shell_quoted(str(path))} --out batches")
    else:
        text = f"neither checkpoints nor batches lie in it: {listed(suffixes or ['it is empty'], 8)}"
        found.blame(text, f"name a folder with batches.meta, with checkpoints such as 1.5, or with {NAME}")
