"""compute-sanitizer over one small case of every kernel: memcheck, then racecheck, each for at most half of the time.

python benchmarks/card/sanitize.py --seconds 90
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys

from steps import GPU_TESTS, ROOT

TESTS = ("tests/layers", "tests/net/test_weights.py", "tests/net/test_net.py", "tests/data/test_providers.py")
TOOLS = {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "RACECHECK SUMMARY: 0 hazards"}


def command(tool: str, sanitizer: str, tests: list[str]) -> list[str]:
    """Return the command line of a tool; failing tests do not count here."""
    return [sanitizer, "--tool", tool, sys.executable, *GPU_TESTS, "--each-once", *(str(ROOT / test) for test in tests)]


def check(tool: str, clean: str, sanitizer: str, tests: list[str], seconds: float) -> tuple[bool, str]:
    """Run a tool and print what it says; returns whether tests have passed and it has found nothing, and its verdict."""
    print(f"--- {tool}", flush=True)
    process = subprocess.Popen(
        command(tool, sanitizer, tests), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    signal.setitimer(signal.ITIMER_REAL, seconds)
    said = []
    try:
        for line in process.stdout:
            said.append(line.rstrip())
            print(said[-1], flush=True)
    except TimeoutError:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.killpg(0, signal.SIGINT)  # to the tests as well: the sanitizer is only their parent
        signal.signal(signal.SIGINT, handler)
        try:
            rest, _ = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            rest = ""
        said += [*rest.splitlines(), f"stopped after {seconds:.0f} s"]
        print("\n".join(said[-8:]), flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    status = process.wait()
    process.stdout.close()
    telling = [line.lstrip("= ") for line in said if " SUMMARY: " in line or line.startswith("stopped") or " passed" in line]
    good = any(clean in line for line in said) and any(" passed" in line for line in said)
    return good, f"{tool}: exit status {status}; {'; '.join(telling)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("tests", nargs="*", default=TESTS)
    args = parser.parse_args()
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if not sanitizer:
        print("not here: compute-sanitizer is not on the PATH")
        return 0

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    found = [check(tool, clean, sanitizer, args.tests, args.seconds / 2 - 5) for tool, clean in TOOLS.items()]
    print("\n".join(verdict for _, verdict in found))
    return 0 if all(clean for clean, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
