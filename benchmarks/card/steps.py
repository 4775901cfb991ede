"""The steps of ``go.py``, in order of worth: what each one runs, how long it may take, and which files it leaves.

What they print goes to ``log.txt``. All files together, with those of the tuner, are eight.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from runner import Step

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILES = (
    "summary.txt", "log.txt", "steps.json", "steps.md", "originals.txt", "counters.csv", "tiles.csv", "tiles.toml",
)  # fmt: skip
# Most telling first: convolutions and products, whole nets, then the other families.
TESTS = (
    "layers/test_conv.py", "layers/test_fc.py", "backends/test_gpu.py", "layers/test_pool.py", "layers/test_norm.py",
    "layers/test_local.py", "layers/test_cost.py", "net", "layers", "backends", "data",
    "ranks/test_on_cards.py::test_ranks_share_a_card",
)  # fmt: skip
# What Python is called with for tests on the card; ``suite.py`` reports them as they come.
GPU_TESTS = (
    "-m", "pytest", "-p", "suite", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "gpu", "--tb=short",
    "--continue-on-collection-errors",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much is tested and measured: a card's, or tiny ones for a rehearsal on a processor."""

    tests: tuple[str, ...] = TESTS
    test_options: tuple[str, ...] = ()
    sanitized: tuple[str, ...] = ()  # those of sanitize.py
    measured: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()
    patience: float = 1  # times the limits: a processor has others to serve


# A rehearsal's own; what hangs ignores signals, and so do its children.
_HANGS = "trap '' INT TERM; echo hanging; sleep 600 & sleep 600; sleep 600"
PLANTED = [
    Step("fails", "a planted failure", ("sh", "-c", "echo planted: about to fail; exit 3"), 10),
    Step("hangs", "a planted hang", ("sh", "-c", _HANGS), 3),
    Step("killed", "a planted kill", ("sh", "-c", "echo planted: about to be killed; kill -9 $$"), 10),
    Step("missing", "a program that is not there", ("/no/such/program",), 10),
]
CARD = Sizes()
TINY = Sizes(
    tests=("layers", "net", "data"),
    test_options=("--each-once",),
    measured=("--nets", "layers-cifar10-18pct", "--math", "float32", "--mini", "4", "--steps", "1", "--seconds", "800"),
    sanitized=("--seconds", "450"),
    training=("--net", str(HERE / "layers-tiny.cfg"), "--least", "2", "--seconds", "2"),
    tuning=("--nets", str(HERE / "layers-tiny"), "--math", "float32", "--mini", "4", "--most", "2"),
    patience=5,
)


def steps(out: Path, originals: Path | None, tune: bool, sizes: Sizes = CARD) -> list[Step]:
    """Return the steps in order; results other than the log are written to ``out``."""
    tests = dict.fromkeys(str(ROOT / "tests" / test) for test in sizes.tests)
    measure = ("../on_a_card.py", "--out", str(out), "--seconds", "170", *sizes.measured)
    counters = ("counters.py", "--out", str(out / "counters.csv"), "--limit", "36")
    ops = (*GPU_TESTS, "-ra", *sizes.test_options, *tests)
    table = [
        _step("doctor", "driver, libraries, one kernel", ("first.py",), 30, 7),
        _step("ops", "pytest -m gpu: ops, nets, captured steps", ops, 150, 6, stop=signal.SIGINT, most_bytes=6 << 20),
        _step("steps", "training steps beside PyTorch", measure, 180, 8, stop=signal.SIGINT),
        _step("nccl", "NCCL, one rank that sends to itself", ("nccl_alone.py",), 25, 3),
        _originals(originals, out),
        _step("sanitizer", "memcheck and racecheck", ("sanitize.py", "--seconds", "90", *sizes.sanitized), 95, 3),
        _step("counters", "Nsight Compute on conv2 and conv3", counters, 40, 5),
        _step("run", "training, Ctrl-C, resume", ("train.py", "--seconds", "40", *sizes.training), 60, 3),
    ]
    if tune:
        files = ("--out", str(out / "tiles.csv"), "--table", str(out / "tiles.toml"))
        tuner = ("tune.py", "measure", *files, "--seconds", "220", *sizes.tuning)
        table.insert(1, _step("tune", "every tile of every convolution", tuner, 230, 4, stop=signal.SIGINT))
    return [replace(step, seconds=step.seconds * sizes.patience) for step in table]


def _originals(library: Path | None, out: Path) -> Step:
    """Return the step that times the convolutions of another library, such as the originals'."""
    given = ("--library", str(library)) if library else ()
    arguments = ("originals.py", *given, "--out", str(out / "originals.txt"), "--limit", "36")
    return _step("originals", "another library's convolutions beside ours", arguments, 40, 5)


def _step(name: str, what: str, arguments: tuple[str, ...], seconds: float, lines: int, **more) -> Step:
    """Return a step of this Python; a script stands beside this file."""
    first = arguments[0]
    script = (first, *arguments[1:]) if first == "-m" else (str((HERE / first).resolve()), *arguments[1:])
    return Step(name, what, (sys.executable, *script), seconds, lines, **more)
