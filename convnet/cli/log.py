"""What a run printed, as a table, CSV or lines of JSON.

convnet log checkpoints/ConvNet__2026-11-23_17.08.50               batches, tests and what happened between them
convnet log RUN --tests --csv > tests.csv                          tests alone, for a spreadsheet
convnet log RUN --json                                             the lines of its log that count
convnet log RUN --tensorboard tb/wide                              the same as events for TensorBoard
"""

import argparse
import csv
import json
import sys
import textwrap
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from convnet.cli.common import Parser, run_verb, say, terminal_width
from convnet.errors import OptionError
from convnet.options import text
from convnet.texts import aligned, grouped, message_lines, printable
from convnet.training.advice import advice_on
from convnet.training.costs import TWICE
from convnet.training.history import History
from convnet.training.log import KEYS, plain
from convnet.training.records import Record, records_of
from convnet.training.tensorboard import write_events

_COLUMNS = ("line", "batches", "epoch", "batch", "progress", "tested", "cases", "seconds", "images_per_second")  # of CSV
_SHOWN = ("resume", "change", "stopped", "warning", "error")


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Show what a run printed: costs of batches and tests, times, events.", "checkpoints --tests")
    parser.add_argument("run", metavar="RUN", help="folder of a run, its log.jsonl, or a checkpoint")
    parser.add_argument("--tests", action="store_true", help="tests alone")
    parser.add_argument("--csv", action="store_true", help="print batches and tests as CSV, with every digit")
    parser.add_argument("--json", action="store_true", help="print the lines of the log that count, as JSON")
    parser.add_value("--tensorboard", text("DIR"), "write events for TensorBoard into DIR/train and DIR/test")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet log") -> int:
    """Show the log of a run; return the exit status."""
    return run_verb(_log, parser(prog), arguments)


def _log(args: argparse.Namespace) -> int:
    if args.csv and args.json:
        raise OptionError("--csv and --json are two ways to print a log; give one of them")
    if args.tensorboard:
        return _write_tensorboard(args)
    records, remarks = records_of(args.run)
    for remark in remarks:
        say(f"convnet: {remark}")
    if args.tests:
        records = [record for record in records if record["line"] == "test"]
    if args.json:
        for record in records:
            print(json.dumps(plain(record)))
    elif args.csv:
        _print_csv(records)
    else:
        _print_table(records)
    if not (args.tests or args.csv or args.json):
        _print_advice(records)
    return 0


def _write_tensorboard(args: argparse.Namespace) -> int:
    if idle := [flag for flag in ("--tests", "--csv", "--json") if getattr(args, flag[2:])]:
        raise OptionError(f"--tensorboard writes all that is in a log; {idle[0]} goes with what is printed")
    history, remarks = History.read(args.run)
    for remark in remarks:
        say(f"convnet: {remark}")
    for path in write_events(history, Path(args.tensorboard)):
        print(f"Wrote {path}.")
    return 0


def _print_advice(records: Sequence[Record]) -> None:
    """Print what stands out in a run, and what to do about it."""
    advice = advice_on(History.of(records, ""))
    if advice:
        print("\nWhat stands out:")
    for one in advice:
        for line in textwrap.wrap(printable(str(one)), max(terminal_width(), 40) - 2):
            print(f"  {line}")


def _costs(records: Sequence[Record]) -> list[str]:
    """Return the names of costs' values among the keys of lines, in order."""
    return [key for key in dict.fromkeys(key for record in records for key in record) if key not in KEYS]


def _print_csv(records: Sequence[Record]) -> None:
    rows = [record for record in records if record["line"] in ("batch", "test")]
    writer = csv.DictWriter(sys.stdout, [*_COLUMNS, *_costs(rows)], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"tested": " ".join(map(str, row.get("tested") or ()))})


def _print_table(records: Sequence[Record]) -> None:
    rows = [record for record in records if record["line"] in ("batch", "test")]
    if not rows:
        say("convnet: nothing was trained or tested yet")
    names = [name for name in _costs(rows) if name.partition(".")[2] != TWICE]
    alone = len({name.partition(".")[0] for name in names}) == 1  # of one cost it is enough to name its values
    heads = ["batch", "", *(printable(name.partition(".")[2] if alone else name) for name in names), "seconds", "images/s"]
    table = [[_place(row), _kind(row), *(_number(row.get(name), 6) for name in names),
              _number(row.get("seconds"), 3), _number(row.get("images_per_second"), 0)] for row in rows]  # fmt: skip
    columns = [column for i, column in enumerate(zip(heads, *table, strict=True)) if i < 3 or any(column[1:])]
    count = _fitting(columns, terminal_width())
    if left_out := [column[0] for column in columns[count:]]:
        say(f"convnet: the terminal is too narrow for {', '.join(left_out)}; --csv has all")
    lines = iter(aligned(list(zip(*columns[:count], strict=True)), left=2))
    print(next(lines))
    for record in records:
        if record["line"] in ("batch", "test"):
            print(next(lines).rstrip())
        elif record["line"] in _SHOWN:
            print(message_lines(f"{record['line']}: {_text(record)}"))


def _fitting(columns: Sequence[Sequence[str]], width: int) -> int:
    """Return how many of the columns fit beside each other, three at least."""
    ends = list(accumulate(2 + max(map(len, column)) for column in columns))
    return max(3, sum(end - 2 <= width for end in ends))


def _place(row: Record) -> str:
    if "epoch" in row and "batch" in row:
        return f"{row['epoch']}.{row['batch']}"
    return f"after {row['batches']:g}" if row["line"] == "batch" else ""


def _kind(row: Record) -> str:
    return ("best test" if row.get("best") else "test") if row["line"] == "test" else ""


def _number(value: Any, digits: int) -> str:
    try:
        return "" if value is None else f"{float(value):.{digits}f}"
    except (TypeError, ValueError, OverflowError):
        return printable(str(value))


def _text(record: Record) -> str:
    """Return what a line says of an event, in words."""
    if record["line"] == "resume":
        return f"went on from {record.get('checkpoint')} after {record['batches']:,} batches"
    if record["line"] == "change" and isinstance(record.get("text"), list):
        return f"after {record['batches']:,} batches: {'; '.join(grouped(map(str, record['text'])))}"
    if record["line"] == "stopped":
        return f"by {record.get('by')} after {record['batches']:,} batches and {record.get('minibatches')} minibatches"
    return str(record.get("text"))
