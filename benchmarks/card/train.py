"""A run on the demonstration set with Ctrl-C and resume: a checkpoint was saved, the run goes on from it, costs fall.

python benchmarks/card/train.py --seconds 50
"""

from __future__ import annotations

import argparse
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COST = re.compile(r"^(\d+)\.(\d+) \([\d.]+%\)\.\.\. logprob:  ([\d.]+),")


def stretch(command: list[str], seconds: float, least: int) -> tuple[int, list[tuple[int, int, float]]]:
    """Run ``command`` until ``seconds`` and ``least`` batches, then send SIGINT; returns status, and epoch, batch, cost."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    begin, batches, stopped = time.monotonic(), [], False
    for line in process.stdout:
        print(line.rstrip(), flush=True)
        if found := COST.match(line):
            batches.append((int(found[1]), int(found[2]), float(found[3])))
        if not stopped and len(batches) >= least and time.monotonic() - begin >= seconds:
            stopped = True
            process.send_signal(signal.SIGINT)
    return process.wait(), batches


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=50, help="for both stretches")
    parser.add_argument("--net", default="layers-cifar10-26pct.cfg")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--mini", default="128")
    parser.add_argument("--least", type=int, default=6, help="batches in each stretch")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = [sys.executable, "-m", "convnet", "run", "--backend", args.backend, "--mini", args.mini, "--epochs", "100000"]
        begin = [*base, "--layer-def", args.net, "--save-path", folder]
        status, first = stretch(begin, args.seconds * 0.4, args.least)
        saved = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        checkpoints = [path.parent if path.parent != Path(folder) else path for path in saved]
        ended = "after Ctrl-C" if len(first) >= args.least else "ended before Ctrl-C"
        print(f"{ended}: exit status {status}, {len(first)} batches, {len(saved)} files saved", flush=True)
        if not checkpoints:
            return 1
        going_on = [*base, "--load-file", str(checkpoints[-1])]
        again, second = stretch(going_on, args.seconds * 0.3, args.least)
    return verdict(first, second, [status, again])


def verdict(first: list[tuple[int, int, float]], second: list[tuple[int, int, float]], statuses: list[int]) -> int:
    """Print what was found; 1 unless the second stretch goes on where the first one ended and costs have fallen."""
    if not first or not second:
        print("no batch was trained" if not first else "the run did not go on")
        return 1
    before = statistics.mean(cost for *_, cost in first[:3])
    after = statistics.mean(cost for *_, cost in second[-3:])
    goes_on = second[0][:2] > first[-1][:2]
    print(f"{len(first)} batches to {first[-1][0]}.{first[-1][1]}, then {len(second)} from {second[0][0]}.{second[0][1]}")
    print(f"cost {before:.4f} at first, {after:.4f} at last; exit statuses {statuses}")
    return 0 if goes_on and after < before else 1


if __name__ == "__main__":
    sys.exit(main())
