"""Measures training steps and inference on a processor beside PyTorch, taking turns in one run.

    python benchmarks/on_a_processor.py --out results.json                     # everything, an hour or so
    python benchmarks/on_a_processor.py --out results.json --nets layers-cifar10-18pct --parts modes steps
    python benchmarks/on_a_processor.py --page results.json > benchmarks/DATE-PROCESSOR.md
    python benchmarks/on_a_processor.py --page results.json --docs docs        # the tables and the picture of performance.md

Each side is a process of its own that waits while the other works. PyTorch's module is made from the same layer graph, and
nothing is timed whose outputs or gradients differ. Parts: ``modes`` finds PyTorch's fastest of eager and compiled and both
layouts; ``steps``, ``inference`` and ``layers`` let that one take turns with ours; ``scaling`` lets ours with one thread.
The file is written after each measurement, and what stood there stays.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import processor_page

NETS = ("layers-imagenet", "layers-imagenet-1gpu", "layers-cifar10-18pct", "layers-cifar10-11pct")
MATH = ("exact", "float32", "fast")
FEW, SEEDS = 4, 5  # cases of the comparison of gradients, and how often it is tried
# Largest differences, of outputs and of gradients as a share of their largest. Where the two largest values of a window are
# the same but for rounding, a gradient goes another way: the more cases, the surer. So few are compared to that, with one of
# several seeds; of all cases only the norm.
LIMIT, LIMIT_NORM = 1e-4, 0.05


class Side:
    """One of the two processes, which ends with a ``with`` statement."""

    def __init__(self, which: str, threads: int) -> None:
        from processor_ours import serve

        context = multiprocessing.get_context("spawn")
        self.calls, theirs = context.Pipe()
        context.Process(target=serve, args=(which, threads, theirs)).start()
        theirs.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.close()

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Let it do a method; raises ``RuntimeError`` where it could not, ``EOFError`` where it has ended."""
        self.calls.send((do, arguments))
        answer = self.calls.recv()
        if isinstance(answer, Exception):
            raise answer
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
        if "ours" in found:
            what = f"{net}, {part} at {N}, {self.threads} threads, {math}"
            print(f"{what}: {processor_page.ratio_text(found)} of {found['mode']}", flush=True)

    def mode(self, net: str, N: int) -> str:
        """Return PyTorch's fastest mode of training."""
        found = next((r["ms"] for r in self.records if (r["part"], r["net"], r["N"]) == ("modes", net, N)), {})
        if not found:
            raise RuntimeError(f"no mode of PyTorch for {net} at {N} was measured")
        return min(found, key=found.get)


class Parts:
    """What is measured of a net; each method adds to the results."""

    def __init__(self, net: str, args: argparse.Namespace, results: Results, ours: Side, theirs: Side) -> None:
        self.net, self.args, self.results, self.ours, self.theirs = net, args, results, ours, theirs
        self.all_modes = args.modes or theirs("modes", net=net)

    def modes(self) -> None:
        """Compare each math mode of ours with PyTorch, and PyTorch's modes with ours; find the fastest that agrees."""
        net, N = self.net, self.args.mini
        of_few = {math: self._few(math) for math in self.args.math}
        truth = self.ours("truth", net=net, math=self.args.math[0], N=N)
        times: dict[str, float] = {}
        differences = {}
        for mode in self.all_modes:
            self.theirs("close")
            found = differences[mode] = self.theirs("check", net=net, mode=mode, truth=truth)
            print(f"{net}, PyTorch {mode}: {found}", flush=True)
            if found["outputs"] <= LIMIT and found["gradients_norm"] <= LIMIT_NORM:
                times[mode] = min(self.theirs("step", net=net, mode=mode, N=N) for _ in range(3))
            self.results.add("modes", net, N=N, ms=times, differences=differences, of_few=of_few)

    def _few(self, math: str) -> dict[str, float]:
        """Return how outputs and gradients of few cases differ; raises where it is too much for each seed."""
        for seed in range(SEEDS):
            truth = self.ours("truth", net=self.net, math=math, N=FEW, seed=seed)
            found = self.theirs("check", net=self.net, mode="eager, contiguous", truth=truth)
            if max(found["outputs"], found["gradients"]) <= LIMIT:
                return found
        raise RuntimeError(f"{self.net}, {math}: the two differ by {found}; nothing is timed")

    def steps(self) -> None:
        mode = self.results.mode(self.net, self.args.mini)
        self._turns("steps", self.args.mini, mode, do="step")

    def inference(self) -> None:
        for N in [*self.args.few, self.args.mini]:
            self.close()
            what = {"do": "infer", "net": self.net, "N": N}
            times = {mode: min(self.theirs(**what, mode=mode) for _ in range(4)) for mode in self.all_modes}
            mode = min(times, key=times.get)
            for math in self.args.math:
                truth = self.ours("outputs", net=self.net, math=math, N=N)
                if (apart := self.theirs("differs", net=self.net, mode=mode, N=N, truth=truth)) > LIMIT:
                    raise RuntimeError(f"{self.net} at {N}, {math}: outputs differ by {apart}")
            self._turns("inference", N, mode, do="infer")

    def _turns(self, part: str, N: int, mode: str, **what: Any) -> None:
        """Let each math mode of ours and PyTorch's mode take turns."""
        what |= {"net": self.net, "N": N}
        calls = {math: (self.ours, {**what, "math": math}) for math in self.args.math}
        calls["theirs"] = self.theirs, {**what, "mode": mode}
        found = take_turns(calls, self.args.rounds)
        for math in self.args.math:
            self.results.add(part, self.net, math, N, ours=found[math], theirs=found["theirs"], mode=mode)

    def layers(self) -> None:
        """Measure layers alone by turns: ours as ``convnet bench`` does, PyTorch's in each of their modes."""
        net, N = self.net, self.args.mini
        self.close()
        calls = {math: (self.ours, {"do": "bench", "net": net, "math": math, "N": N}) for math in self.args.math}
        calls["theirs"] = self.theirs, {"do": "layers", "net": net, "N": N}
        found: dict[str, list[Any]] = {name: [] for name in calls}
        for _ in range(self.args.rounds):
            for name, (side, call) in calls.items():
                found[name].append(side(**call))
            units = processor_page.fastest_passes(found["theirs"])
            for math in self.args.math:
                self.results.add("layers", net, math, N, reports=found[math], units=units)

    def scaling(self) -> None:
        with Side("ours", 1) as one:
            for math in self.args.math:
                what = {"do": "step", "net": self.net, "N": self.args.mini, "math": math}
                found = take_turns({"ours": (self.ours, what), "theirs": (one, what)}, self.args.rounds)
                self.results.add("scaling", self.net, math, self.args.mini, **found, mode="ours, 1 thread")

    def close(self) -> None:
        self.ours("close")
        self.theirs("close")


PARTS = ("modes", "steps", "inference", "layers", "scaling")


def take_turns(calls: dict[str, tuple[Side, dict[str, Any]]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each call's turns, after two that do not count."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, (side, call) in calls.items():
            ms = side(**call)
            if turn >= 2:
                found[name].append(ms)
    return found


def measure(args: argparse.Namespace) -> int:
    """Measure what is asked for; what fails is said, and the rest goes on. Returns whether anything did."""
    results, failed = Results(args.out, args.threads), 0
    with Side("ours", args.threads) as ours, Side("theirs", args.threads) as theirs:
        about = {**ours("about"), **theirs("about")}
        results.found["processor"] = "{processor}; {device}; PyTorch {torch}, NumPy {numpy}.".format(**about)
        for net in args.nets:
            parts = Parts(net, args, results, ours, theirs)
            for part in args.parts:
                try:
                    getattr(parts, part)()
                except RuntimeError as error:
                    print(f"{net}, {part}: {error}", file=sys.stderr, flush=True)
                    failed = 1
            parts.close()
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--math", nargs="+", choices=MATH, default=MATH)
    parser.add_argument("--modes", nargs="+", help="PyTorch's modes to try, such as 'compiled, channels_last'; all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--few", nargs="*", type=int, default=[1, 4, 16], help="further sizes for inference")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    parser.add_argument("--page", type=Path, help="print the page of such a file; measure nothing")
    parser.add_argument("--docs", type=Path, help="with --page: write the tables and the picture of performance.md there")
    args = parser.parse_args()
    if not args.page:
        return measure(args)
    found = json.loads(args.page.read_text())
    if args.docs:
        processor_page.write_docs(found["records"], args.docs, found["processor"])
    else:
        print(processor_page.page(found["records"], found["processor"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
