"""Runs steps, programs with a time limit each, one after another; whatever one does, the next one runs.

A step is a process group of its own. Its output goes to the log while it runs, up to a size, and its last lines to the
summary. At its limit the group is stopped by a signal, and by SIGKILL if that does not help; so is whatever a step leaves
running behind it.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GRACE = 5.0  # seconds from the first signal to SIGKILL
LEAST = 3.0  # seconds: with less time left a step is not started
KEPT = 400  # last lines that are held, for the summary and for the end of a log that is cut
WIDTH = 150  # characters of a line of the summary


@dataclass(frozen=True)
class Step:
    """A program to run: its command line, its limit in seconds, and how many of its last lines the summary shows.

    ``stop`` is the signal that ends it at its limit: SIGINT for a program that then says how far it came.
    """

    name: str
    what: str
    command: tuple[str, ...]
    seconds: float
    lines: int = 3
    stop: signal.Signals = signal.SIGTERM
    most_bytes: int = 1 << 20  # of its output in the log


@dataclass(frozen=True)
class Outcome:
    """How a step ended: ``ok``, or why not in some words; how long it took; its last lines."""

    step: Step
    how: str
    seconds: float
    last: list[str]

    @property
    def ok(self) -> bool:
        return self.how == "ok"


class Log:
    """The one file for what all steps print; a section for each. A context, which closes it."""

    def __init__(self, path: Path) -> None:
        self.file: IO[bytes] = path.open("ab", buffering=0)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        self.file.write(text.encode())


class Pump(threading.Thread):
    """Copies a pipe to the log up to a number of bytes, and holds the last lines of all that comes."""

    def __init__(self, pipe: IO[bytes], log: Log, most: int) -> None:
        super().__init__(daemon=True)
        self.pipe, self.log, self.most = pipe, log, most
        self.written = self.left_out = 0
        self.last: deque[bytes] = deque(maxlen=KEPT)
        self.partial = b""
        self.until = math.inf  # when to stop, although the pipe is still open
        self.start()

    def run(self) -> None:
        while True:
            if not select.select([self.pipe], [], [], 0.05)[0]:
                if self.until < math.inf:
                    return
                continue
            if time.monotonic() > self.until or not (block := os.read(self.pipe.fileno(), 1 << 16)):
                return
            taken = block[: self.most - self.written]
            self.log.file.write(taken)
            self.written += len(taken)
            self.left_out += len(block) - len(taken)
            *lines, self.partial = (self.partial[-4 * WIDTH :] + block).split(b"\n")
            self.last.extend(line[-4 * WIDTH :] for line in lines)

    def finish(self) -> list[str]:
        """Return the last lines; the log gets them too, if it was cut. A process that escaped may still hold the pipe."""
        self.until = time.monotonic() + 1.0
        self.join()
        self.pipe.close()
        lines = [line.decode(errors="replace").rstrip() for line in [*self.last, self.partial]]
        if self.left_out:
            self.log.write(f"\n... {self.left_out} bytes are left out; the last lines: ...\n" + "\n".join(lines))
        return [line for line in lines if line.strip()]


def run_step(step: Step, seconds: float, log: Log, environment: Mapping[str, str], folder: Path) -> Outcome:
    """Run a step for at most ``seconds`` in ``folder``; never raises for what the step does."""
    log.write(f"\n===== {step.name}: {step.what}\n$ {' '.join(step.command)}\n")
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            step.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            env=environment, start_new_session=True, bufsize=0,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        outcome = Outcome(step, f"cannot start: {error}", 0.0, [])
    else:
        assert process.stdout is not None
        pump = Pump(process.stdout, log, step.most_bytes)
        in_time = _ended(process, seconds)
        if not in_time:
            _signal(process, step.stop)
            if not _ended(process, GRACE / 2):
                _signal(process, signal.SIGTERM)
                _ended(process, GRACE / 2)
        _signal(process, signal.SIGKILL)  # the rest of its group; not reaped yet, its number still belongs to it
        status, spent = process.wait(), time.monotonic() - begin
        how = _words(status) if in_time else f"stopped at its limit of {seconds:.0f} s"
        outcome = Outcome(step, how, spent, pump.finish())
    log.write(f"\n===== {step.name}: {outcome.how}, {outcome.seconds:.1f} s\n")
    return outcome


def run_steps(
    steps: Iterable[Step], log: Log, environment: Mapping[str, str], folder: Path, deadline: float
) -> list[Outcome]:
    """Run all steps in order until ``deadline`` on the monotonic clock, which cuts the last and leaves out the rest."""
    outcomes = []
    for step in steps:
        left = deadline - GRACE - time.monotonic()
        if left < LEAST:
            outcomes.append(Outcome(step, "left out: no time is left", 0.0, []))
            continue
        print(f"{step.name}: {step.what}", flush=True)
        outcomes.append(run_step(step, min(step.seconds, left), log, environment, folder))
        print(f"{step.name}: {outcomes[-1].how}, {outcomes[-1].seconds:.1f} s", flush=True)
    return outcomes


def summary(title: list[str], outcomes: list[Outcome], most: int = 40) -> str:
    """Return at most ``most`` lines: ``title``, every step, and the last lines of each, of those that failed first."""
    shown = {outcome.step.name: 0 for outcome in outcomes}
    spare = most - len(title) - len(outcomes)
    wanted = {outcome.step.name: min(len(outcome.last), outcome.step.lines + (not outcome.ok)) for outcome in outcomes}
    for _ in range(most):  # a line each in turn, so that none is left without
        for outcome in sorted(outcomes, key=lambda outcome: outcome.ok):
            if spare and shown[outcome.step.name] < wanted[outcome.step.name]:
                shown[outcome.step.name] += 1
                spare -= 1
    lines = list(title)
    for outcome in outcomes:
        count = shown[outcome.step.name]
        lines.append(f"{'' if outcome.ok else '*** '}{outcome.step.name}: {outcome.how}, {outcome.seconds:.0f} s")
        lines += [f"    {line}" for line in outcome.last[len(outcome.last) - count :]]
    return "\n".join(line[:WIDTH] for line in lines[:most])


def _ended(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for a process without reaping it, so that its group keeps its number; returns whether it has ended."""
    until = time.monotonic() + seconds
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)
    return True


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _words(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}" if status else "ok"
