"""What became of a run, in lines that still count: of its log, or of runs that kept none, of a checkpoint's history."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convnet.checkpoint import Checkpoint, add_costs, find_latest, load
from convnet.errors import ConvnetError, reason_of
from convnet.pickles.rules import either, exactly, items, mapping, message, real, record, text, whole
from convnet.training.costs import Outputs
from convnet.training.log import NAME, values_of

Record = dict[str, Any]
_NUMBER = either(real(finite=False), exactly("nan", "inf", "-inf"))
_PLACES = {"epoch": whole(), "batch": whole(), "minibatches": whole(), "tested": items(whole()), "averages": record({})}
_WEIGHTS = {
    "rates": mapping(text(), mapping(text(), _NUMBER)),
    "weights": mapping(text(), mapping(text(), items(_NUMBER, 2))),
    "dead": mapping(text(), real()),
}
_LINE = record({"line": text(), "batches": whole(0, 2**53)}, _PLACES | _WEIGHTS, "a line of a log")


def records_of(path: str | Path) -> tuple[list[Record], list[str]]:
    """Return the lines of a run that count, oldest first, and remarks. ``path`` is its folder, its log, or a checkpoint.

    Raises ``ConvnetError``.
    """
    lines, _, remarks = lines_of(path)
    return _counting(lines), remarks


def lines_of(path: str | Path) -> tuple[Iterator[Record], Path, list[str]]:
    """Return all lines of a run, one at a time, the file that they are from, and remarks.

    Of what a run did that went on from an earlier checkpoint later, lines are there twice. Raises ``ConvnetError``.
    """
    found = _log_of(Path(path))
    if found is not None:
        return _lines(found), found, []
    file, checkpoint, remarks = find_latest(path, load)
    text = f"{file} is a checkpoint, which knows costs but no seconds, rates or events"
    remarks = [*remarks, text if Path(path).is_file() else f"There is no {NAME} here: {text}"]
    return checkpoint_lines(checkpoint), file, remarks


def read_log(path: Path) -> list[Record]:
    """Return the lines of a log that count: none of what a run did that went on from an earlier checkpoint later.

    A last line that has no end yet is left out: it is being written. Raises ``ConvnetError`` naming a line that is none.
    """
    return _counting(_lines(path))


def _counting(lines: Iterator[Record]) -> list[Record]:
    records: list[Record] = []
    for found in lines:
        if found["line"] == "begin":
            records.clear()
        elif found["line"] == "resume":
            records = [earlier for earlier in records if earlier["batches"] <= found["batches"]]
        records.append(found)
    return records


def _lines(path: Path) -> Iterator[Record]:
    """Yield the lines of a log."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                yield _parsed(line, f"{path}: line {number}")
    except OSError as error:
        raise ConvnetError(f"{path} cannot be read: {reason_of(error)}") from None


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


def checkpoint_lines(checkpoint: Checkpoint) -> Iterator[Record]:
    """Yield lines of batches and tests of a checkpoint's history; very old ones stand for several, at their middle."""
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
