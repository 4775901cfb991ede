"""Counts what limits the convolution kernels of conv2 and conv3 on a card, in both math modes, with Nsight Compute.

    python benchmarks/card/counters.py --out counters.csv

Prints a table and writes all that ncu measured, a line for each kernel and metric. Each math mode is a run of its own, of a
child process that starts every kernel once. A metric that ncu does not know costs that metric; a mode that fails or is too
slow costs that mode. Where ncu or a card is missing, one line says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.append(str(HERE.parents[1]))  # behind the wheel, if there is one

from convolutions import OPS, Arrays, convolutions  # noqa: E402
from ncu_pages import METRICS, Kernel, parse_page, table, unknown_metrics  # noqa: E402

from convnet.backends import make_backend, why_not_cuda  # noqa: E402
from convnet.backends.base import Backend  # noqa: E402

MATH = ("float32", "tf32")
KERNELS = OPS  # have the names of their ops
NET, LAYERS = "layers-imagenet.cfg", ("conv2a", "conv3a")
INSTALLED = ("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute/*/ncu")


class Label(NamedTuple):
    """A launch of the child: which convolution and pass it computes."""

    layer: str
    kind: str
    math: str
    kernel: str


class Outcome(NamedTuple):
    """What a run of ncu left: its log, the child's output, and the exit status; ``None`` where time ran out."""

    log: str
    output: str
    status: int | None


def launch_each(be: Backend, math: str, mini: int, say: Callable[[str], object] = print) -> None:
    """Start each pass of each convolution once, after a line that labels it."""
    for convolution in convolutions(NET, mini):
        layer = convolution.layers[0]
        if layer not in LAYERS:
            continue
        arrays = Arrays(be, convolution.sizes)
        for kind in convolution.passes:
            say("label " + json.dumps(Label(layer, kind, math, KERNELS[kind])))
            arrays.ours(kind)()
        be.sync()


def labels_of(output: str) -> list[Label]:
    """Return the labels that the child printed, in the order of its launches."""
    return [Label(*json.loads(line[6:])) for line in output.splitlines() if line.startswith("label [")]


def match(labels: Sequence[Label], kernels: Sequence[Kernel]) -> Iterator[tuple[Label, Kernel]]:
    """Pair launches with what ncu measured: by name, in order."""
    measured: dict[str, deque[Kernel]] = defaultdict(deque)
    for kernel in kernels:
        measured[kernel.name].append(kernel)
    for label in labels:
        if measured[label.kernel]:
            yield label, measured[label.kernel].popleft()


def command_of(ncu: str, metrics: Sequence[str], log: Path, child: Sequence[str]) -> list[str]:
    """Return the command that measures ``metrics`` of the three kernels of ``child``."""
    options = ["--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none", "--log-file", str(log)]
    names = "|".join(KERNELS.values())
    return [ncu, *options, "--kernel-name", f"regex:^({names})$", "--metrics", ",".join(metrics), *child]


def run(command: Sequence[str], log: Path, seconds: float) -> Outcome:
    """Run ncu for at most ``seconds``; then end it and what it has started."""
    log.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so that the number is still its own
            process.wait()
        said.seek(0)
        return Outcome(log.read_text(errors="replace") if log.exists() else "", said.read(), status)


def measure(ncu: str, child: Sequence[str], limit: float) -> tuple[list[tuple[Label, Kernel]], str]:
    """Measure the launches of ``child``; return them, and what is missing and why, if anything is.

    Where ncu stops at names of metrics that it does not know, it is run once more without these, then with the first alone.
    """
    metrics = [name for names in METRICS.values() for name in names]
    left_out: list[str] = []
    begin, reason = time.monotonic(), ""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.log"
        for _ in range(3):
            outcome = run(command_of(ncu, metrics, log, child), log, limit - (time.monotonic() - begin))
            labels = labels_of(outcome.output)
            if found := list(match(labels, parse_page(outcome.log))):
                gone = len(labels) - len(found)
                return found, "; ".join(
                    [f"{gone} of {len(labels)} launches were not measured"] * bool(gone)
                    + [f"ncu does not know {', '.join(left_out)}"] * bool(left_out)
                )
            reason = f"no result within {limit:.0f} s" if outcome.status is None else why(outcome)
            unknown = unknown_metrics(outcome.log + outcome.output, metrics) or metrics[1:]
            if outcome.status is None or "ERR_NVGPUCTRPERM" in reason or not unknown:
                break
            left_out += unknown
            metrics = [name for name in metrics if name not in unknown] or metrics[:1]
    return [], reason


def why(outcome: Outcome) -> str:
    """Return the line that tells why nothing was measured: ncu's first error, else the last line of all."""
    lines = [line.strip() for line in (outcome.log + "\n" + outcome.output).splitlines() if line.strip()]
    errors = [line.removeprefix("==ERROR==").strip() for line in lines if line.startswith("==ERROR==")]
    return (errors or lines[-1:] or [f"ncu ended with status {outcome.status} and said nothing"])[0]


def write_csv(path: Path, found: Sequence[tuple[Label, Kernel]]) -> None:
    """Write a line for each metric of each launch, in ncu's own names, times in seconds, amounts in bytes."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "pass", "math", "kernel", "grid", "block", "metric", "value"])
        for label, kernel in found:
            head = [label.layer, label.kind, label.math, label.kernel, kernel.grid, kernel.block]
            writer.writerows([*head, name, value] for name, value in kernel.values.items())


def find_ncu() -> str | None:
    """Return the path of ncu, the newest of several that are installed, or ``None``."""
    installed = (path for pattern in INSTALLED for path in sorted(Path("/").glob(pattern[1:]), reverse=True))
    return shutil.which("ncu") or next(map(str, installed), None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="file for all values, as CSV")
    parser.add_argument("--limit", type=float, default=40, help="seconds for both modes")
    parser.add_argument("--mini", type=int, default=128)
    parser.add_argument("--child", choices=MATH, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child:
        launch_each(make_backend("cuda", math=args.child), args.child, args.mini, lambda line: print(line, flush=True))
        return 0
    ncu = find_ncu()
    reason = why_not_cuda() if ncu else "ncu (Nsight Compute) is not installed"
    if ncu is None or reason:
        print(f"not here: {reason}")
        return 0
    report(ncu, args)
    return 0


def report(ncu: str, args: Any) -> None:
    """Measure both modes, write what there is after each, and print the table."""
    end, found = time.monotonic() + args.limit, []
    for done, math in enumerate(MATH):
        child = [sys.executable, str(HERE / "counters.py"), "--child", math, "--mini", str(args.mini)]
        measured, missing = measure(ncu, child, (end - time.monotonic()) / (len(MATH) - done))
        found += measured
        if missing:
            print(f"{math}: {missing}")
        if args.out:
            write_csv(args.out, found)
    print(table([(f"{label.layer} {label.kind}, {label.math}", kernel) for label, kernel in found]))


if __name__ == "__main__":
    sys.exit(main())
