"""What became of a run, in lines that still count: of its log, or of runs that kept none, of a checkpoint's history."""

import json
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import Any

from convnet.checkpoint import Checkpoint, add_costs, find_latest, load
from convnet.checkpoint.schema import CHANGES
from convnet.errors import ConvnetError, reason_of
from convnet.pickles.rules import either, exactly, items, mapping, message, real, record, text, whole
from convnet.training.costs import Outputs
from convnet.training.log import NAME, values_of

Record = dict[str, Any]
_NUMBER = either(real(finite=False), exactly("nan", "inf", "-inf"))
_PLACES = {
    "time": real(),
    "epoch": whole(),
    "batch": whole(),
    "minibatches": whole(),
    "tested": items(whole()),
    "averages": record({}),
}
_WEIGHTS = {
    "rates": mapping(text(), mapping(text(), _NUMBER)),
    "weights": mapping(text(), mapping(text(), items(_NUMBER, 2))),
    "dead": mapping(text(), real()),
}
_LINE = record({"line": text(), "batches": whole(0, 2**53)}, _PLACES | _WEIGHTS | {"changes": CHANGES}, "a line of a log")


def records_of(path: str | Path) -> tuple[list[Record], list[str]]:
    """Return the lines of a run that count, oldest first, and remarks. ``path`` is its folder, its log, or a checkpoint.

    Raises ``ConvnetError``.
    """
    found = log_of(path)
    if found is not None:
        return read_log(found), []
    checkpoint, remarks = checkpoint_of(path)
    return _counting(checkpoint_lines(checkpoint)), remarks


def checkpoint_of(path: str | Path) -> tuple[Checkpoint, list[str]]:
    """Return the checkpoint that ``path`` means, or the newest in it, and what is to be said of a run without a log."""
    file, checkpoint, remarks = find_latest(path, load)
    text = f"{file} is a checkpoint, which knows costs but no seconds, rates or events"
    return checkpoint, [*remarks, text if Path(path).is_file() else f"There is no {NAME} here: {text}"]


def read_log(path: Path) -> list[Record]:
    """Return the lines of a log that count: none of what a run did that went on from an earlier checkpoint later.

    A last line that has no end yet is left out: it is being written. Raises ``ConvnetError`` naming a line that is none.
    """
    return _counting(log_lines(path))


def _counting(lines: Iterator[Record]) -> list[Record]:
    records: list[Record] = []
    for found in lines:
        if found["line"] == "begin":
            records.clear()
        elif found["line"] == "resume":
            records = lines_before(records, found)
        records.append(found)
    return records


def lines_before(records: list[Record], resume: Record) -> list[Record]:
    """Return the lines before a line ``resume`` that still count: of none but those batches that its checkpoint has.

    Of changes of the parameters those that the checkpoint has, with any that are missing here.
    """
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


def log_lines(path: Path) -> Iterator[Record]:
    """Yield all lines of a log, also those that do not count any more; raises ``ConvnetError``."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                yield parsed_line(line, f"{path}: line {number}")
    except OSError as error:
        raise ConvnetError(f"{path} cannot be read: {reason_of(error)}") from None


def parsed_line(line: bytes, where: str) -> Record:
    """Return a line of a log; raises ``ConvnetError``, which says ``where`` it stands, for one that is none."""
    try:
        found: Record = json.loads(line)
    except (ValueError, RecursionError):
        raise ConvnetError(f"{where} is not JSON; expected the log of a run") from None
    if fault := message(_LINE.faults(found, "it")):
        raise ConvnetError(f"{where} is not of a log: {fault}")
    return found


def log_of(path: str | Path) -> Path | None:
    """Return the log that a path means, if it means one: the file itself, or that of a folder, or of the newest in it.

    Raises ``ConvnetError``.
    """
    path = Path(path)
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


def checkpoint_lines(checkpoint: Checkpoint) -> Iterator[Record]:
    """Yield lines of batches, tests and changes of a checkpoint; very old ones stand for several, at their middle."""
    changes: Iterable[Record] = ({"line": "change", **change} for change in checkpoint.position().changes)
    return merge(_costs(checkpoint), changes, key=itemgetter("batches"))


def _costs(checkpoint: Checkpoint) -> Iterator[Record]:
    position, outputs = checkpoint.position(), Outputs.of_stored(checkpoint.layers)
    ranges = {name: checkpoint.option(name) for name in ("train_range", "test_range")}
    yield {"line": "begin", "batches": 0, "options": {name: numbers for name, numbers in ranges.items() if numbers}}
    names = [int(number) for number in ranges["train_range"] or ()]
    tests = _tests(checkpoint, outputs, ranges["test_range"] or [1])
    upcoming = next(tests, None)
    for number, (costs, cases) in zip(position.trained_at(), position.train_outputs, strict=True):
        place = divmod(int(number) - 1, len(names)) if names and number == int(number) else None
        where = {"epoch": place[0] + 1, "batch": names[place[1]]} if place else {}
        done = int(number) if number == int(number) else number
        yield {"line": "batch", "batches": done, **where, "cases": cases, **values_of(outputs, costs, cases)}
        while upcoming and upcoming["batches"] <= number:
            yield upcoming
            upcoming = next(tests, None)
    if upcoming:
        yield from (upcoming, *tests)
    for costs, cases in position.final_test:
        yield {"line": "final", "batches": position.trained, "cases": cases, **values_of(outputs, costs, cases)}


def _tests(checkpoint: Checkpoint, outputs: Outputs, numbers: Sequence[int]) -> Iterator[Record]:
    """Yield lines of tests on batches of ``numbers``; an original's, which did not say on which, count as on one."""
    position = checkpoint.position()
    tests = position.test_outputs
    batches = [None] * (len(tests) - len(position.test_batches)) + position.test_batches
    after = position.tested_at(checkpoint.option("test_freq"))
    for i, (at, batch, output) in enumerate(zip(after, batches, tests, strict=False)):  # a damaged file may have fewer
        tested = {} if batch is None else {"tested": list(numbers) if batch < 0 else [batch]}
        found = {"line": "test", "batches": at, **tested, "cases": output[1], **values_of(outputs, *output)}
        averaged = tests[max(0, i + 1 - len(numbers)) : i + 1]
        if len(averaged) > 1:
            found["averages"] = values_of(outputs, *add_costs(averaged))
        yield found
