"""Measures training steps of 2 ranks with one thread each beside one process with two threads, taking turns in one run.

    python benchmarks/on_ranks.py --out ranks.json                                            # ten minutes or so
    python benchmarks/on_ranks.py --out ranks.json --nets layers-cifar10-18pct --rounds 20
    python benchmarks/on_ranks.py --page ranks.json > benchmarks/DATE-ranks.md

Ranks are started by ``mpiexec``, as many as ``--ranks`` says, each number as processes of its own that wait while others
work. A round is a turn of each way to take a step, of some 200 ms or one step. Rounds that a file has stay in it.
A net with towers is measured twice: towers over ranks, as ``convnet run`` lays it, and data parallel. What was sent stands
beside the count on paper, and the speed beside that of ``convnet plan``. Nets with replicas are not counted on paper here.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import ranks_page
from processor_ours import Ours, load
from ranks_side import busy_seconds, layout_of

from convnet.backends import make_backend
from convnet.graph.graph import Graph
from convnet.net.layout import Layout
from convnet.planning.machines import LINKS, Device, Machine, measured_device
from convnet.planning.plan import ratio_on_one_machine
from convnet.planning.steps import step_of
from convnet.planning.towers import towers_step

NETS = ("layers-imagenet", "layers-imagenet-1gpu", "layers-cifar10-18pct")
TURN_MS = 200
LOOK = 0.3  # seconds of a look at whether the processors are idle
START = 60  # seconds that processes may take to start
SIDE = Path(__file__).resolve().parent / "ranks_side.py"


class Way(NamedTuple):
    """A way to take a step: so many ranks of so many threads, how the net lies over them, and ``--shards``."""

    ranks: int
    threads: int
    scheme: str = "data"
    shards: int = 0

    def __str__(self) -> str:
        return f"{self.ranks} x {self.threads}, {self.scheme}" + f", {self.shards} shards" * bool(self.shards)


class Side:
    """The processes of a number of ranks, which end with a ``with`` statement; all are called at once."""

    def __init__(self, ranks: int, threads: int, mpiexec: str) -> None:
        self.folder, environment = tempfile.TemporaryDirectory(), dict(os.environ)
        address = f"{self.folder.name}/calls"
        command = [sys.executable, str(SIDE), address, str(threads)]
        if ranks == 1:  # else both threads share a core for some steps after each pause; mpiexec binds ranks, too
            environment.setdefault("OMP_PROC_BIND", "true")
        else:
            more = ["--oversubscribe"] if ranks > (os.cpu_count() or 1) else []
            command = [*shlex.split(mpiexec), "-n", str(ranks), *more, *command]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(ranks)
            listener.settimeout(START)
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
            arrived = [Connection(listener.accept()[0].detach()) for _ in range(ranks)]
        by_rank = {calls.recv(): calls for calls in arrived}
        self.calls = [by_rank[rank] for rank in range(ranks)]

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        for calls in self.calls:
            calls.close()
        self.process.wait(START)
        self.folder.cleanup()

    def __call__(self, do: str, **arguments: Any) -> list[Any]:
        """Have all ranks do a method; raises ``RuntimeError`` where one could not, ``EOFError`` where one has ended."""
        for calls in self.calls:
            calls.send((do, arguments))
        answers = [calls.recv() for calls in self.calls]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def ways_of(graph: Graph, ranks: list[int], threads: int, shards: int) -> Iterator[Way]:
    """Yield the ways to take a step of a net: as ``convnet run`` lays it over ranks, and towers data parallel as well."""
    yield Way(1, threads)
    yield Way(1, 1)
    for count in ranks:
        each, as_run = max(1, threads // count), _as_run(graph, count)
        yield Way(count, each, as_run)
        if as_run != "data" and count <= threads:
            yield Way(count, each)
    if shards:
        yield Way(1, threads, "data", shards)
        yield Way(threads, 1, _as_run(graph, threads), shards)


def _as_run(graph: Graph, ranks: int) -> str:
    return "data" if Layout.of(graph, 0, ranks).width == 1 else "towers"


def on_paper(graph: Graph, way: Way, N: int, machine: Machine) -> float:
    """Return the bytes that a rank sends in a step, as a mean over ranks: from the net's own counts, on any machine.

    What crosses between towers, of all cases, and 2 (G - 1) / G of the weights that a rank has, of G groups.
    """
    layout = layout_of(graph, way.scheme, 0, way.ranks, way.shards)
    width, groups = layout.width, layout.groups
    crossing = sum(layer.sent for layer in towers_step(graph, machine, width, N).layers) if width > 1 else 0.0
    summed = step_of(graph, machine, "data", groups, N).sent * groups if groups > 1 else 0.0
    return (crossing + summed) / way.ranks


def planned(graph: Graph, way: Way, N: int, machine: Machine) -> float | None:
    """Return the speed of ranks beside one process by ``convnet plan``, which knows no shards, and no towers in groups."""
    width = layout_of(graph, way.scheme, 0, way.ranks, way.shards).width
    if way.ranks == 1 or way.shards or width not in (1, way.ranks):
        return None
    return ratio_on_one_machine(graph, machine, way.ranks, N, "data" if width == 1 else "model")


class Results:
    """All that was measured so far, in a file that is written after each round."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"records": []}

    def record(self, net: str, N: int, math: str, ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the record of a net, with the rounds that it has already."""
        of = {"net": net, "N": N, "math": math}
        for record in self.found["records"]:
            if all(record[key] == value for key, value in of.items()):
                record["ways"] |= ways
                return record
        self.found["records"].append({**of, "ways": ways, "rounds": []})
        return self.found["records"][-1]

    def write(self) -> None:
        self.found["date"] = str(datetime.date.today())
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.found, indent=1) + "\n")
        part.replace(self.path)


def machine_of(device: Device, found: dict[str, Any]) -> Machine:
    """Return the machine that measured as ``device``, by the highest peaks so far, which others disturb the least."""
    peaks = {peak: max(getattr(device, peak), found.get(peak, 0.0)) for peak in ("flops", "bandwidth")}
    device = replace(device, **peaks)
    machine = Machine(device, LINKS[device.link])
    found |= {**peaks, "machine": machine.describe()}
    return machine


def work_out(record: dict[str, Any], machine: Machine) -> None:
    """Add to a record what a step takes and sends on paper."""
    graph, N = load(record["net"]).graph, record["N"]
    record["planned_ms"] = 1e3 * step_of(graph, machine, "data", 1, N).seconds
    for about in record["ways"].values():
        way = Way(*(about[field] for field in Way._fields))
        about |= {"paper": on_paper(graph, way, N, machine), "planned": planned(graph, way, N, machine)}


def turn(side: Side, way: Way, steps: int) -> dict[str, Any]:
    """Let a side take steps; return the milliseconds of one, from the first rank's beginning to the last one's end.

    ``others`` is the share of all processors that other programs had meanwhile.
    """
    ranks = side("steps", way=str(way), count=steps, before=steps // 4)
    seconds = max(rank["end"] for rank in ranks) - min(rank["begin"] for rank in ranks)
    others = max(0.0, ranks[0]["busy"] - sum(rank["own"] for rank in ranks)) / seconds / (os.cpu_count() or 1)
    sent = sum(rank["sent"] for rank in ranks) / way.ranks
    return {"ms": 1e3 * seconds / steps, "waits": [rank["waits"] for rank in ranks], "sent": sent, "others": others}


def await_quiet(seconds: float) -> None:
    """Wait until other programs leave the processors alone, at most so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        busy = busy_seconds()
        time.sleep(LOOK)
        if busy_seconds() - busy <= ranks_page.QUIET * LOOK * (os.cpu_count() or 1):
            return


def measure_net(net: str, args: argparse.Namespace, results: Results, machine: Machine, sides: dict[Any, Side]) -> None:
    """Let the ways of a net take turns, round by round."""
    ways = list(ways_of(load(net).graph, args.ranks, args.threads, args.shards))
    record, steps = results.record(net, args.mini, args.math, {str(way): way._asdict() for way in ways}), {}
    work_out(record, machine)
    for way in ways:
        what = {"net": net, "N": args.mini, "math": args.math, "scheme": way.scheme, "shards": way.shards}
        ms = max(sides[way.ranks, way.threads]("prepare", way=str(way), **what))
        steps[way] = max(1, math.ceil(args.turn / ms))
    for _ in range(args.rounds):
        await_quiet(args.patience)
        record["rounds"].append({str(way): turn(sides[way.ranks, way.threads], way, steps[way]) for way in ways})
        results.write()
        print(ranks_page.line_of(record), flush=True)
    for side in sides.values():
        side("close")


def measure(args: argparse.Namespace) -> int:
    results, be = Results(args.out), make_backend("cpu", args.threads, 0, args.math)
    machine = machine_of(measured_device(be, args.math), results.found)
    for record in results.found["records"]:
        work_out(record, machine)
    about = Ours(args.threads).about()
    results.found["processor"] = "{processor}; {device}; NumPy {numpy}.".format(**about)
    kinds = {(way.ranks, way.threads) for net in args.nets
             for way in ways_of(load(net).graph, args.ranks, args.threads, args.shards)}  # fmt: skip
    with ExitStack() as stack:
        sides = {kind: stack.enter_context(Side(*kind, args.mpiexec)) for kind in sorted(kinds)}
        for net in args.nets:
            measure_net(net, args, results, machine, sides)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--ranks", nargs="*", type=int, default=[2, 4], help="numbers of ranks")
    parser.add_argument("--threads", type=int, default=2, help="threads of one process, which ranks divide")
    parser.add_argument("--shards", type=int, default=8, help="shards of two more ways; 0: none")
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--math", choices=("exact", "float32", "fast"), default="float32")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way")
    parser.add_argument("--turn", type=float, default=TURN_MS, help="milliseconds of a turn, one step at least")
    parser.add_argument("--patience", type=float, default=5, help="seconds that a round waits for others to leave")
    parser.add_argument("--mpiexec", default="mpiexec", help="what starts ranks, with its options")
    parser.add_argument("--out", type=Path, default=Path("ranks.json"))
    parser.add_argument("--page", type=Path, help="print the page of such a file; measure nothing")
    args = parser.parse_args()
    if args.page:
        print(ranks_page.page(json.loads(args.page.read_text())))
        return 0
    return measure(args)


if __name__ == "__main__":
    sys.exit(main())
