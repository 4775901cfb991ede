"""The page of what ``on_ranks.py`` has measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]
QUIET = 0.05  # of the processors: what others may take in a turn that counts
ABOUT = f"""\
Milliseconds of a training step, by turns: median (smallest to largest). Speed is that of a way beside the one named, of two
turns of a round, and in how many rounds. Turns in which other programs had more than {QUIET:.0%} of the processors are left
out. Threads of one process are bound to cores, as `mpiexec` binds 2 ranks. Waits: how long each rank waits for others in a
step. Sent: bytes that a rank sends in a step, as a mean over ranks, beside what they are on paper. Planned: the speed that
`convnet plan` works out from the net's counts."""


def page(found: Record) -> str:
    """Return the page of a file of results."""
    lines = [f"# Ranks beside one process, {found['date']}", "", found["processor"], "", ABOUT,
             f"The plan is for {found['machine']}.", ""]  # fmt: skip
    for record in found["records"]:
        lines += [*table(record), ""]
    return "\n".join(lines).rstrip()


def table(record: Record) -> list[str]:
    """Return a row for each way to take a step of a net."""
    ways = {name: way for name, way in record["ways"].items() if _values(record, name, "ms")}
    heading = (
        f"{record['net']} at {record['N']}, {record['math']}; by the plan one process takes {record['planned_ms']:,.1f} ms:"
    )
    lines = [heading, "",
             "| way | step | beside | speed | planned | waits | sent MB | on paper |",
             "|---|---:|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name, way in ways.items():
        beside = _beside(name, way, ways)
        cells = [_words(way), _spread(_values(record, name, "ms"), "{:,.1f}"), "", "", "", "", "", ""]
        if beside and (speeds := _speeds(record, name, beside)):
            cells[2] = _words(ways[beside])
            cells[3] = f"**{statistics.median(speeds):.2f}** ({min(speeds):.2f} to {max(speeds):.2f}; {len(speeds)})"
        if way["planned"]:
            cells[4] = f"{way['planned']:.2f}"
        if way["ranks"] > 1:
            waits = zip(*_values(record, name, "waits"), strict=True)
            sent = statistics.median(_values(record, name, "sent"))
            cells[5:] = (", ".join(f"{statistics.median(of_rank):.1f}" for of_rank in waits),
                         f"{sent / 1e6:,.3f}", f"{way['paper'] / 1e6:,.3f}")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def line_of(record: Record) -> str:
    """Say what the last round of a record was, in a line."""
    turns = record["rounds"][-1]
    said = ", ".join(f"{_words(record['ways'][name])} {turn['ms']:,.1f}" for name, turn in turns.items())
    return f"{record['net']}: {said} ms"


def _beside(name: str, way: Record, ways: dict[str, Record]) -> str:
    """Return the way that one is compared with: one process with all threads, with as many shards where it is of ranks."""
    alone = [other for other, about in ways.items() if about["ranks"] == 1]
    found = alone[0]
    if way["ranks"] > 1:
        found = next((other for other in alone if ways[other]["shards"] == way["shards"]), found)
    return found if found != name else ""


def _words(way: Record) -> str:
    threads = f"{way['threads']} thread{'s' * (way['threads'] != 1)}"
    of = f"one process of {threads}" if way["ranks"] == 1 else f"{way['ranks']} ranks of {threads}"
    parts = [of, *([way["scheme"]] if way["ranks"] > 1 else []), *([f"{way['shards']} shards"] if way["shards"] else [])]
    return ", ".join(parts)


def _values(record: Record, name: str, what: str) -> list[Any]:
    return [turns[name][what] for turns in record["rounds"] if _is_quiet(turns, name)]


def _speeds(record: Record, name: str, beside: str) -> list[float]:
    rounds = [turns for turns in record["rounds"] if _is_quiet(turns, name) and _is_quiet(turns, beside)]
    return [turns[beside]["ms"] / turns[name]["ms"] for turns in rounds]


def _is_quiet(turns: Record, name: str) -> bool:
    return name in turns and turns[name]["others"] <= QUIET


def _spread(values: Sequence[float], form: str) -> str:
    median, least, most = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({least} to {most})"
