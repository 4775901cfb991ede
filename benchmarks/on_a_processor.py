"""Measures training steps and inference on a processor beside PyTorch, taking turns in one run.

    python benchmarks/on_a_processor.py --out results.json                     # everything, an hour or so
    python benchmarks/on_a_processor.py --out results.json --nets layers-cifar10-18pct --parts modes steps
    python benchmarks/on_a_processor.py --page results.json > benchmarks/DATE-PROCESSOR.md
    python benchmarks/on_a_processor.py --page results.json --docs docs        # the table and the picture of performance.md

Each side is a process of its own that waits while the other works. PyTorch's module is made from the same layer graph, and
nothing is timed whose outputs or gradients differ. Parts: ``modes`` finds PyTorch's fastest of eager and compiled and both
layouts; ``steps``, ``inference`` and ``layers`` let that one take turns with ours. What was measured before stays there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import processor_page

HERE = Path(__file__).resolve().parent
NETS = ("layers-imagenet", "layers-imagenet-1gpu", "layers-cifar10-18pct", "layers-cifar10-11pct")
PARTS = ("modes", "steps", "inference", "layers")
MATH = ("exact", "float32", "fast")
FEW, SEEDS = 4, 5  # cases of the comparison of gradients, and how often it is tried
# Largest differences, of outputs and of gradients as a share of their largest. Where the two largest values of a window are
# the same but for rounding, a gradient goes another way: the more cases, the surer. So few are compared to that, with one of
# several seeds; of all cases only the norm.
LIMIT, LIMIT_NORM = 1e-4, 0.05


class Side:
    """One of the two processes."""

    def __init__(self, which: str, threads: int) -> None:
        command = [sys.executable, str(HERE / "processor_workers.py"), which, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process has ended"}
        if "error" in answer:
            raise RuntimeError(f"{do}: {answer['error']}")
        return answer


class Results:
    """All that was measured so far: records, each with what it is of, and the newest of each alone."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path, threads
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"records": [], "processor": ""}
        self.records: list[dict[str, Any]] = self.found["records"]

    def add(self, part: str, net: str, math: str = "", N: int = 0, **found: Any) -> None:
        of = {"part": part, "net": net, "math": math, "N": N, "threads": self.threads}
        self.records = [r for r in self.records if any(r[key] != value for key, value in of.items())]
        self.records.append({**of, "date": str(datetime.date.today()), **found})
        part_file = self.path.with_suffix(".part")
        part_file.write_text(json.dumps({**self.found, "records": self.records}, indent=1) + "\n")
        part_file.replace(self.path)

    def mode(self, net: str, N: int) -> str:
        """Return PyTorch's fastest mode of training."""
        found = next(r for r in self.records if (r["part"], r["net"], r["N"]) == ("modes", net, N))
        return min(found["ms"], key=found["ms"].get)


def modes_of(theirs: Side, net: str, args: argparse.Namespace) -> list[str]:
    return args.modes or theirs("modes", net=net)["modes"]


def modes(ours: Side, theirs: Side, net: str, args: argparse.Namespace, results: Results) -> None:
    """Compare PyTorch's modes with ours, then find the fastest of those that agree."""
    times, differences = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(SEEDS):
            ours("truth", net=net, math=args.math[0], N=FEW, folder=folder, seed=seed)
            found = theirs("check", net=net, mode="eager, contiguous", N=FEW, folder=folder, seed=seed)
            if max(found["outputs"], found["gradients"]) <= LIMIT:
                break
        else:
            raise RuntimeError(f"{net}: the two differ by {found}; nothing is timed")
        results_few = found
        ours("truth", net=net, math=args.math[0], N=args.mini, folder=folder)
        for mode in modes_of(theirs, net, args):
            found = differences[mode] = theirs("check", net=net, mode=mode, N=args.mini, folder=folder)
            if found["outputs"] > LIMIT or found["gradients_norm"] > LIMIT_NORM:
                print(f"{net}, PyTorch {mode}: differs, {found}", flush=True)
                continue
            times[mode] = min(theirs("step", net=net, mode=mode, N=args.mini)["ms"] for _ in range(3))
            theirs("close")
            print(f"{net}, PyTorch {mode}: {times[mode]:.1f} ms, {found}", flush=True)
    results.add("modes", net, N=args.mini, ms=times, differences=differences, of_few=results_few)


def turns(ours: Side, theirs: Side, what: dict[str, Any], args: argparse.Namespace, mode: str) -> dict[str, list[float]]:
    """Let both sides take turns; returns the milliseconds of each turn of ours by math mode, and of theirs."""
    calls = {math: (ours, {**what, "math": math}) for math in args.math} | {"theirs": (theirs, {**what, "mode": mode})}
    for side, call in calls.values():
        for _ in range(3):
            side(**call)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.rounds):
        for name, (side, call) in calls.items():
            found[name].append(side(**call)["ms"])
    return found


def steps(ours: Side, theirs: Side, net: str, args: argparse.Namespace, results: Results) -> None:
    mode = results.mode(net, args.mini)
    found = turns(ours, theirs, {"do": "step", "net": net, "N": args.mini}, args, mode)
    for math in args.math:
        results.add("steps", net, math, args.mini, ours=found[math], theirs=found["theirs"], mode=mode)
        say(results.records[-1])


def inference(ours: Side, theirs: Side, net: str, args: argparse.Namespace, results: Results) -> None:
    for N in sorted({1, 4, 16, args.mini}):
        times = {}
        for mode in modes_of(theirs, net, args):
            times[mode] = min(theirs("infer", net=net, mode=mode, N=N)["ms"] for _ in range(4))
        mode = min(times, key=times.get)
        what = {"do": "infer", "net": net, "N": N, "repeat": max(1, 16 // N)}
        found = turns(ours, theirs, what, args, mode)
        for math in args.math:
            results.add("inference", net, math, N, ours=found[math], theirs=found["theirs"], mode=mode, modes=times)
            say(results.records[-1])
        theirs("close")
        ours("close")


def layers(ours: Side, theirs: Side, net: str, args: argparse.Namespace, results: Results) -> None:
    """Measure layers alone: ours as ``convnet bench`` does, in each math mode, and theirs."""
    reports = {math: ours("bench", net=net, math=math, N=args.mini, steps=args.rounds) for math in args.math}
    units = theirs("layers", net=net, N=args.mini, rounds=args.rounds)["units"]
    for math, report in reports.items():
        results.add("layers", net, math, args.mini, report=report, units=units)


def say(record: dict[str, Any]) -> None:
    what = f"{record['net']}, {record['part']} at {record['N']}, {record['threads']} threads, {record['math']}"
    print(f"{what}: {processor_page.ratio_text(record)} of PyTorch {record['mode']}", flush=True)


def read_page(path: Path, docs: Path | None) -> int:
    """Print the page of a file of results, or write it into the docs."""
    found = json.loads(path.read_text())
    if docs:
        processor_page.write_docs(found["records"], docs, found["processor"])
    else:
        print(processor_page.page(found["records"], found["processor"]))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--math", nargs="+", choices=MATH, default=MATH)
    parser.add_argument("--modes", nargs="+", help="PyTorch's modes to try, such as 'compiled, channels_last'; all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    parser.add_argument("--page", type=Path, help="print the page of such a file; measure nothing")
    parser.add_argument("--docs", type=Path, help="with --page: write the table and the picture of performance.md there")
    args = parser.parse_args()
    if args.page:
        return read_page(args.page, args.docs)
    results, ours, theirs = Results(args.out, args.threads), Side("ours", args.threads), Side("theirs", args.threads)
    about = {**ours("about"), **theirs("about")}
    results.found["processor"] = "{processor}; {device}; PyTorch {torch}, NumPy {numpy}.".format(**about)
    for net in args.nets:
        for part in args.parts:
            globals()[part](ours, theirs, net, args, results)
            ours("close")
            theirs("close")
    return 0


if __name__ == "__main__":
    sys.exit(main())
