"""What became of a run, in lines that still count: of its log, or of runs that kept none, of a checkpoint's history."""

import json
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from convnet.checkpoint import Checkpoint, find_latest, load
from convnet.errors import ConvnetError, reason_of
from convnet.pickles.rules import items, message, record, text, whole
from convnet.training.costs import Outputs
from convnet.training.log import NAME, values_of

Record = dict[str, Any]
_PLACES = {"epoch": whole(), "batch": whole(), "minibatches": whole(), "tested": items(whole())}
_CHANGES = items(record({"batches": whole(0, 2**53), "minibatches": whole(), "text": items(text())}))
_LINE = record({"line": text(), "batches": whole(0, 2**53)}, _PLACES | {"changes": _CHANGES}, "a line of a log")


def records_of(path: str | Path) -> tuple[list[Record], list[str]]:
    """Return the lines of a run, oldest first, and remarks. ``path`` is its folder, its log, or a checkpoint.

    Raises ``ConvnetError``.
    """
    found = _log_of(Path(path))
    if found is not None:
        return read_log(found), []
    file, checkpoint, remarks = find_latest(path, load)
    text = f"{file} is a checkpoint, which knows costs but no seconds, rates or events"
    changes: list[Record] = [{"line": "change", **change} for change in checkpoint.position().changes]
    records = sorted([*_history(checkpoint), *changes], key=itemgetter("batches"))
    return records, [*remarks, text if Path(path).is_file() else f"There is no {NAME} here: {text}"]


def read_log(path: Path) -> list[Record]:
    """Return the lines of a log that count: none of what a run did that went on from an earlier checkpoint later.

    Of changes of the parameters those count that the checkpoint has from which it went on, with any that are missing here.
    A last line that has no end yet is left out: it is being written. Raises ``ConvnetError`` naming a line that is none.
    """
    records: list[Record] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                found = _parsed(line, f"{path}: line {number}")
                if found["line"] == "begin":
                    records.clear()
                elif found["line"] == "resume":
                    records = _before(records, found)
                records.append(found)
    except OSError as error:
        raise ConvnetError(f"{path} cannot be read: {reason_of(error)}") from None
    return records


def _before(records: list[Record], resume: Record) -> list[Record]:
    """Return the lines before a line ``resume`` that still count."""
    kept = [earlier for earlier in records if earlier["batches"] <= resume["batches"]]
    if "changes" not in resume:
        return kept
    waiting, counting = list(resume["changes"]), []  # of the checkpoint
    for line in kept:
        if line["line"] != "change":
            counting.append(line)
        elif at := [i for i, change in enumerate(waiting) if change.items() <= line.items()]:
            counting.append(line)
            del waiting[at[0]]
    return counting + [{"line": "change", "time": resume.get("time"), **change} for change in waiting]


def _parsed(line: bytes, where: str) -> Record:
    try:
        found: Record = json.loads(line)
    except (ValueError, RecursionError):
        raise ConvnetError(f"{where} is not JSON; expected the log of a run") from None
    if fault := message(_LINE.faults(found, "it")):
        raise ConvnetError(f"{where} is not of a log: {fault}")
    return found


def _log_of(path: Path) -> Path | None:
    """Return the log that a path means, if it means one: the file itself, or that of a folder, or of the newest in it."""
    try:
        if path.is_dir():
            folders = [path, *sorted(path.glob("ConvNet__*"), reverse=True)]
            return next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
        if not path.is_file():
            raise ConvnetError(f"no run {path}; give the folder of a run, its {NAME}, or a checkpoint")
        with path.open("rb") as file:
            return path if path.name == NAME or file.read(1) == b"{" else None
    except OSError as error:
        raise ConvnetError(f"{path} cannot be read: {reason_of(error)}") from None


def _history(checkpoint: Checkpoint) -> Iterator[Record]:
    """Yield lines of batches and tests of a checkpoint's history; very old ones stand for several, at their middle."""
    position, outputs = checkpoint.position(), Outputs.of_stored(checkpoint.layers)
    tested = position.test_outputs
    batches = [-1] * (len(tested) - len(position.test_batches)) + position.test_batches
    names = [int(number) for number in checkpoint.option("train_range") or ()]
    tests = zip(position.tested_at(checkpoint.option("test_freq")), batches, tested, strict=True)
    upcoming = next(tests, None)
    for number, (costs, cases) in zip(position.trained_at(), position.train_outputs, strict=True):
        place = divmod(int(number) - 1, len(names)) if names and number == int(number) else None
        where = {"epoch": place[0] + 1, "batch": names[place[1]]} if place else {}
        done = int(number) if number == int(number) else number
        yield {"line": "batch", "batches": done, **where, "cases": cases, **values_of(outputs, costs, cases)}
        while upcoming and upcoming[0] <= number:
            yield _test(outputs, *upcoming)
            upcoming = next(tests, None)
    for test in [upcoming, *tests] if upcoming else ():
        yield _test(outputs, *test)


def _test(outputs: Outputs, at: int, batch: int, output: tuple[dict[str, list[float]], int]) -> Record:
    tested = {} if batch < 0 else {"tested": [batch]}
    return {"line": "test", "batches": at, **tested, "cases": output[1], **values_of(outputs, *output)}
