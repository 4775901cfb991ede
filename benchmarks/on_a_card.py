"""Measures training steps on a GPU beside PyTorch, in one run, and writes a page for this folder.

    python benchmarks/on_a_card.py --out results            # steps.json and steps.md, rewritten after each measurement
    python benchmarks/on_a_card.py --page results/steps.json > benchmarks/DATE-CARD.md

Our figures of a net and math mode come from a process, ``convnet bench``; PyTorch's from one for each of its modes: eager,
compiled, with CUDA graphs, its images contiguous or channels_last. The ratio is to the fastest of these in the same math
mode. What is likely to be slow comes last, so that a time limit cuts that. Without ``torch`` only our own figures are shown.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from card_page import page, summary

NETS = ("layers-imagenet", "layers-imagenet-1gpu", "layers-cifar10-18pct")
MATH = ("float32", "tf32")
TORCH_MODES = {
    "eager": [],
    "compiled with CUDA graphs, channels_last": ["--compile", "reduce-overhead", "--channels-last"],
    "compiled with CUDA graphs": ["--compile", "reduce-overhead"],
    "compiled, channels_last": ["--compile", "--channels-last"],
    "compiled": ["--compile"],
    "eager, channels_last": ["--channels-last"],
}
HERE = Path(__file__).resolve().parent


class Measurements:
    """All that was measured so far, written to a folder whenever something is added."""

    def __init__(self, out: Path | None, mini: int, steps: int) -> None:
        self.out = out
        self.found: dict[str, Any] = {
            "date": str(datetime.date.today()), "mini": mini, "steps": steps, "ours": [], "theirs": [], "missing": [],
        }  # fmt: skip

    def add(self, kind: str, record: dict[str, Any] | str) -> None:
        self.found[kind].append(record)
        if self.out:
            self.out.mkdir(parents=True, exist_ok=True)
            self._write("steps.json", json.dumps(self.found, indent=1))
            self._write("steps.md", page(self.found))

    def _write(self, name: str, text: str) -> None:
        """Write a file that is whole at any time, whoever ends this process."""
        part = self.out / f"{name}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.out / name)

    def miss(self, what: str, why: str) -> None:
        print(f"{what}: {why}", file=sys.stderr, flush=True)
        self.add("missing", f"{what}: {why}")


def why_not(backend: str, until: float) -> str:
    """Say why nothing can be measured here; empty if something can."""
    if backend != "cuda":
        return ""
    said = _run(["-c", "from convnet.backends import why_not_cuda; print(why_not_cuda())"], until)
    return said.stdout.strip() if said.returncode == 0 else _last_line(said)


def read_page(path: Path) -> str:
    """Return the page of a steps.json; raises ``SystemExit`` where it is none."""
    try:
        return page(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path} is no steps.json of this program: {error or type(error).__name__}") from None


def ours(args: argparse.Namespace, until: float, results: Measurements) -> None:
    """Run ``convnet bench --json`` for every net and math mode."""
    for net in args.nets:
        for math in args.math:
            command = ["-m", "convnet", "bench", "--json", "--layer-def", f"{net}.cfg", "--math", math]
            sizes = ["--backend", args.backend, "--steps", str(args.steps), "--mini", str(args.mini)]
            said = _run([*command, *sizes], until)
            if said.returncode:
                results.miss(f"{net}, {math}", _last_line(said))
                continue
            results.add("ours", {**json.loads(said.stdout), "net": net, "math": math})
            print(f"{net}, {math}: {results.found['ours'][-1]['step_ms']['median']:.2f} ms", flush=True)


def theirs(args: argparse.Namespace, until: float, results: Measurements) -> None:
    """Measure PyTorch's median steps, mode by mode."""
    if _run(["-c", "import torch"], until).returncode:
        results.miss("PyTorch", "not here: torch is not installed")
        return
    for mode, options in TORCH_MODES.items():
        command = [str(HERE / "steps_torch.py"), "--net", *args.nets, "--math", *args.math, "--device", args.backend]
        said = _run([*command, "--json", "--steps", str(args.torch_steps), "--mini", str(args.mini), *options], until)
        for line in said.stdout.splitlines():
            if line.startswith("{"):
                record = json.loads(line)
                record["ms"] = statistics.median(record.pop("steps_ms"))
                results.add("theirs", {"mode": mode, **record})
                print(f"{record['net']}, {record['math']}, PyTorch {mode}: {record['ms']:.2f} ms", flush=True)
        if said.returncode:
            results.miss(f"PyTorch {mode}", _last_line(said))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--math", nargs="+", choices=MATH, default=MATH)
    of_ours = "of ours, and as many layer by layer; each is repeated for 20 ms"
    parser.add_argument("--steps", type=int, default=5, help=of_ours)
    parser.add_argument("--torch-steps", type=int, default=20)
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument("--seconds", type=float, default=3600, help="for everything")
    parser.add_argument("--out", type=Path, help="folder for steps.json and steps.md")
    parser.add_argument("--page", type=Path, help="print the page of a steps.json; measure nothing")
    args = parser.parse_args()
    if args.page:
        print(read_page(args.page))
        return 0
    until, results = time.monotonic() + args.seconds, Measurements(args.out, args.mini, args.steps)
    if reason := why_not(args.backend, until):
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 1
    try:
        ours(args, until, results)
        if not args.alone:
            theirs(args, until, results)
    except KeyboardInterrupt:
        results.miss("what was to follow", "stopped before its end")
    print("\n".join(summary(results.found)) if args.out else page(results.found))
    return 0 if len(results.found["ours"]) == len(args.nets) * len(args.math) else 1


def _run(command: list[str], until: float) -> subprocess.CompletedProcess[str]:
    """Run Python until it ends or ``until`` on the monotonic clock; returns what it has said by then."""
    left = until - time.monotonic()
    if left < 1:
        return subprocess.CompletedProcess(command, 1, "", "no time is left")
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        said, errors = process.communicate(timeout=left)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        errors = "stopped at the time limit"
    except KeyboardInterrupt:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


def _last_line(said: subprocess.CompletedProcess[str]) -> str:
    return next(reversed(said.stderr.strip().splitlines()), f"exit status {said.returncode}")


if __name__ == "__main__":
    sys.exit(main())
