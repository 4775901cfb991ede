"""Runs cases of a target in a process of its own, under limits, and says which of them failed and how."""

import argparse
import ast
import logging
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEMORY = 512 << 20  # bytes that a case may take
SECONDS = 5  # of processor time
IMPORT = "pass"  # what else a worker runs first
ROOT = Path(__file__).resolve().parents[2]


class TooLong(BaseException):
    """A case has used up its processor time."""


def verdict(target, number: int, seed: int) -> str:
    """Return what is wrong with one case, or ``''``."""
    from convnet.errors import ConvnetError

    rng, target.number = random.Random(f"{seed}/{target.name}/{number}"), number
    before = resident()
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        target.case(rng)
    except ConvnetError as error:
        if "memory of this machine" in str(error):
            return "takes too much memory"
    except TooLong:
        return f"takes more than {SECONDS} s"
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "takes too much memory" if peak() > before + MEMORY else ""


def _too_long(*_: object) -> None:
    raise TooLong


def resident() -> int:
    """Return the bytes that the process has in memory, and let ``peak`` begin from there, on Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return peak()


def peak() -> int:
    """Return the most bytes that the process had in memory."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def work(name: str, seed: int, numbers: range) -> None:
    """Run cases and print ``N`` before each, and ``N: REPR`` of what is wrong behind each failure."""
    from fuzz.targets import TARGETS

    for library in ("convnet", "PIL"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        target.case(random.Random(0), clean=True)  # what is unchanged must work, and imports what it needs
        if Path("/proc/self/statm").exists():
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY + (64 << 20),) * 2)
        for number in numbers:
            print(number, flush=True)
            if fault := verdict(target, number, seed):
                print(f"{number}: {fault!r}", flush=True)


def failures(name: str, seed: int, numbers: range) -> Iterator[tuple[int, str]]:
    """Yield (number, what is wrong) of every failing case; a process that a case ends is started again behind it."""
    at = numbers.start
    while at < numbers.stop:
        code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); from fuzz.runner import work; "
        code += f"from fuzz.targets import TARGETS; {IMPORT}; work({name!r}, {seed}, range({at}, {numbers.stop}))"
        command = [sys.executable, "-W", "ignore", "-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        last = at - 1
        for line in process.stdout:
            number, mark, fault = line.rstrip("\n").partition(": ")
            last = int(number)
            if mark:
                yield last, ast.literal_eval(fault)
        errors = process.communicate()[1]
        text = "\n".join(errors.strip().splitlines()[-12:])
        if process.returncode == 0 and text:  # of libraries in C
            yield last, f"one of the cases up to this wrote on standard error:\n{text}"
        if process.returncode == 0:
            return
        yield last, f"the process ended with status {process.returncode}\n{text}"
        if last < at:
            return  # it did not even begin
        at = last + 1


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a case failed."""
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="cases, shared among the targets")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each target")
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--target", choices=list(TARGETS), action="append")
    args = parser.parse_args(arguments)
    names, failed = args.target or list(TARGETS), 0
    share = -(-args.count // len(names))
    for name in names:
        numbers = range(args.first, args.first + share) if args.only is None else range(args.only, args.only + 1)
        started = time.monotonic()
        before = failed
        for number, fault in failures(name, args.seed, numbers):
            failed += 1
            print(f"--target {name} --seed {args.seed} --only {number}\n{fault.rstrip()}\n", flush=True)
        seconds = time.monotonic() - started
        each = 1000 * seconds / max(1, len(numbers))
        print(f"{name}: {len(numbers)} cases, {failed - before} failed, {seconds:.0f} s, {each:.1f} ms each", flush=True)
    return 1 if failed else 0
