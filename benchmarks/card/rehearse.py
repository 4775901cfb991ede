"""Rehearses ``go.py`` without a card, with the wheels of ``prepare.py`` and the card's version of Python.

    python benchmarks/card/prepare.py && python benchmarks/card/rehearse.py

In place of the driver and cuBLAS stands the tests' libcuda, which works on the processor, and emulated kernels in place of
machine code; compute-sanitizer is a script that runs its program and says so. All steps run at tiny sizes, among them four
planted ones: one fails, one hangs and ignores signals, one is killed, one is missing. Exit status 0 if these end as they
should and all others well.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import prepare  # noqa: E402
from steps import FILES, ROOT  # noqa: E402

# What the card's machine has, in its versions; without PyTorch, which then is reported as missing.
THERE = (
    "numpy>=2", "cuda-bindings==13.3.1", "nvidia-cuda-nvrtc==13.0.88", "pytest", "hypothesis", "pillow", "threadpoolctl",
)  # fmt: skip
EXPECTED = {
    "fails": "exit status 3", "hangs": "stopped at its limit", "killed": "killed by SIGKILL", "missing": "cannot start",
}  # fmt: skip
GOOD = re.compile(": (ok|not here), ")
CUSTOMIZE = """
import os

if {tests!r} in os.environ.get("PYTHONPATH", "").split(os.pathsep):  # not in go.py itself, which has no convnet yet
    from emulator import libcuda

    libcuda.pytest_configure()
    from convnet.backends import timing

    timing._PRODUCT_ON_CARDS, timing._STREAM, timing._LEAST = 64, 4096, 0.0
"""
SANITIZER = """#!/bin/sh
echo "a stand-in for compute-sanitizer $1 $2"
tool=$2
shift 2
"$@" || exit $?
test "$tool" = racecheck && echo "========= RACECHECK SUMMARY: 0 hazards displayed (a stand-in: nothing was checked)"
test "$tool" = memcheck && echo "========= ERROR SUMMARY: 0 errors (a stand-in: nothing was checked)"
exit 0
"""


def environment_of(python: str, folder: Path) -> Path:
    """Return the interpreter of a virtual environment like the card's; made if need be."""
    own = folder / "venv" / "bin" / "python"
    if not (folder / "venv" / "ready").is_file():
        prepare.call(python, "-m", "venv", "--clear", str(folder / "venv"))
        prepare.call(str(own), "-m", "pip", "install", "--quiet", *THERE)
        (folder / "venv" / "ready").touch()
    return own


def place(tag: str) -> Path:
    """Return the folder for what a rehearsal makes, by the version of Python."""
    return ROOT / "build" / "rehearsal" / tag


def stand_ins(folder: Path) -> None:
    """Write what takes the place of the driver's part of Python, and of compute-sanitizer."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(CUSTOMIZE.format(tests=str(ROOT / "tests")))
    script = folder / "bin" / "compute-sanitizer"
    script.write_text(SANITIZER)
    script.chmod(0o755)


def run(command: list, environment: dict[str, str]) -> int:
    """Run ``go.py`` and return its status. Signals go to it, since it ends its steps and writes a summary."""
    process = subprocess.Popen(command, env=environment)
    numbers = signal.SIGINT, signal.SIGTERM
    handlers = [signal.signal(number, lambda number, _: process.send_signal(number)) for number in numbers]
    status = process.wait()
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
    return status


def faults(text: str, out: Path) -> list[str]:
    """Return what is not as it should be in the summary ``text`` and in the files."""
    found = []
    lines = [line.removeprefix("*** ") for line in text.splitlines() if not line.startswith(" ")]
    for name, how in EXPECTED.items():
        if not any(line.startswith(f"{name}: {how}") for line in lines):
            found.append(f"the planted step '{name}' was to end with: {how}")
    found += [f"failed: {line}" for line in lines[1:] if line.split(":")[0] not in EXPECTED and not GOOD.search(line)]
    files = sorted(path.name for path in out.iterdir())
    if len(files) > 8 or not set(files) <= set(FILES):
        found.append(f"more than eight files, or others than these: {', '.join(files)}")
    if len(text.splitlines()) > 40:
        found.append("the summary is longer than 40 lines")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="version of the card's Python, or a path")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".card")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "rehearsal" / "results")
    parser.add_argument("--folder", type=Path, help="for the environment and what is unpacked; one below build/")
    parser.add_argument("--only", default="", help="steps to run besides the planted ones")
    args = parser.parse_args()
    python = prepare.find_python(args.python)
    folder = (args.folder or place(prepare.tag_of(python))).resolve()
    lock = prepare.take(folder)
    own = environment_of(python, folder)
    stand_ins(folder)
    # One cache for all: libcuda lies in it, and a process that loaded two would find no context in the other.
    cache = os.environ.get("CONVNET_CACHE_DIR", str(folder / "cache"))
    environment = {**os.environ, "CONVNET_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
    libraries = subprocess.run(
        [own, ROOT / "tests" / "emulator" / "libcuda.py"], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    environment |= {
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": str(folder),
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
    }
    places = ["--wheels", args.wheels, "--out", args.out, "--site", folder / "unpacked"]
    command = [own, HERE / "go.py", *places, "--only", args.only, "--limit", "2400", "--tiny", "--tune", "--plant"]
    if run(command, environment) not in (0, 1):
        print("\ngo.py has begun no step.")
        return 2
    os.close(lock)
    found = faults((args.out / "summary.txt").read_text(), args.out)
    print("\n" + ("\n".join(found) or "The rehearsal went as it should."))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
