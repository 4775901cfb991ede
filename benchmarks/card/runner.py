"""Runs steps, programs with a time limit each, one after another; whatever one does, the next one runs.

A step is a process group of its own. Its output goes to the log while it runs, up to a size, and its last lines to the
summary. At its limit the group is stopped by a signal, and by SIGKILL if that does not help; so is whatever a step leaves
running behind it. Ctrl-C, SIGTERM or SIGHUP stops the step that runs, and leaves out the rest.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GRACE = 5.0  # seconds from the first signal to SIGKILL
LEAST = 3.0  # seconds: with less time left a step is not started
KEPT = 400  # last lines that are held, for the summary and for the end of a log that is cut
WIDTH = 150  # characters of a line of the summary
NOT_HERE = "not here: "  # begins the last line of a step that had nothing to do
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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
        return self.how in ("ok", "not here")


class Stop:
    """Why to stop before the end: a signal to this process; not set so far. Further signals change nothing."""

    def __init__(self) -> None:
        self.why = ""

    def listen(self) -> None:
        """Take signals from now on. Steps get theirs even where a shell has this process ignore SIGINT, as with ``&``."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup is meant
                signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        self.why = self.why or signal.Signals(number).name


class Log:
    """The one file for what all steps print; a section for each. A context, which closes it. A full disk stops nothing."""

    def __init__(self, path: Path) -> None:
        self.file: IO[bytes] = path.open("ab", buffering=0)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, text: str | bytes) -> None:
        with contextlib.suppress(OSError):
            self.file.write(text.encode() if isinstance(text, str) else text)


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
            self.log.write(taken)
            self.written += len(taken)
            self.left_out += len(block) - len(taken)
            *lines, self.partial = map(shortened, (self.partial + block).split(b"\n"))
            self.last.extend(lines)

    def finish(self) -> list[str]:
        """Return the last lines; the log gets them too, if it was cut. A process that escaped may still hold the pipe."""
        self.until = time.monotonic() + 1.0
        self.join()
        self.pipe.close()
        lines = [plain(line) for line in [*self.last, self.partial]]
        if self.left_out:
            self.log.write(f"\n... {self.left_out} bytes are left out; the last lines: ...\n" + "\n".join(lines))
        return [line for line in lines if line.strip()]


class Guard:
    """Kills a group of processes should this one be killed itself: a shell that waits for the end of a pipe. A context.

    The first line in the pipe is the group's number. A step writes it there itself before it is anything else, so that
    there is no moment at which it has begun and nobody would end it.
    """

    def __init__(self) -> None:
        command = ["sh", "-c", 'read -r group && read -r _; [ "$group" ] && kill -9 "-$group"']
        self.shell = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.shell.kill()
        self.shell.communicate()

    def watch_this(self) -> None:
        """Have the group of the process that calls it killed with this one."""
        assert self.shell.stdin is not None
        os.write(self.shell.stdin.fileno(), b"%d\n" % os.getpid())


def shortened(line: bytes, most: int = 4 * WIDTH) -> bytes:
    """Return a line of any length without its middle."""
    return line if len(line) <= 2 * most + 5 else line[:most] + b" ... " + line[-most:]


def plain(line: bytes) -> str:
    """Return a line as a terminal would show it in the end, in characters that stay on one line."""
    text = COLOURS.sub("", line.decode(errors="replace").rstrip()).expandtabs()
    return "".join(c if c.isprintable() else "?" for c in text[text.rfind("\r") + 1 :])


def say(text: str) -> None:
    """Print, where somebody still reads; the files have it anyway."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def run_step(
    step: Step, seconds: float, log: Log, environment: Mapping[str, str], folder: Path, stop: Stop | None = None
) -> Outcome:
    """Run a step for at most ``seconds`` in ``folder``; never raises for what the step does."""
    stop = stop or Stop()
    log.write(f"\n===== {step.name}: {step.what}\n$ {' '.join(step.command)}\n")
    begin = time.monotonic()
    with Guard() as guard:
        process, how = _started(step, environment, folder, guard)
        if process is not None:
            assert process.stdout is not None
            pump = Pump(process.stdout, log, step.most_bytes)
            in_time = _ended(process, seconds, stop)
            whose = "its limit of" if seconds >= step.seconds else "the limit of all steps, after"
            how = f"stopped by {stop.why}" if stop.why else f"stopped at {whose} {seconds:.0f} s"
            if not in_time:
                _signal(process, step.stop)
                if not _ended(process, GRACE / 2):
                    _signal(process, signal.SIGTERM)
                    _ended(process, GRACE / 2)
    if process is None:
        outcome = Outcome(step, how, 0.0, [])
    else:
        _signal(process, signal.SIGKILL)  # the rest of its group; not reaped yet, its number still belongs to it
        status, spent, last = process.wait(), time.monotonic() - begin, pump.finish()
        if in_time:
            how = "not here" if not status and last and last[-1].startswith(NOT_HERE) else _words(status)
        outcome = Outcome(step, how, spent, last)
    log.write(f"\n===== {step.name}: {outcome.how}, {outcome.seconds:.1f} s\n")
    return outcome


def _started(
    step: Step, environment: Mapping[str, str], folder: Path, guard: Guard
) -> tuple[subprocess.Popen[bytes] | None, str]:
    """Start a step in a group of its own, which ``guard`` watches; or return why it cannot be."""
    try:
        process = subprocess.Popen(
            step.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            env=environment, start_new_session=True, bufsize=0, preexec_fn=guard.watch_this,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return None, f"cannot start: {error}"
    return process, ""


def run_steps(
    steps: Sequence[Step],
    log: Log,
    environment: Mapping[str, str],
    folder: Path,
    deadline: float,
    stop: Stop | None = None,
    report: Callable[[list[Outcome]], object] | None = None,
) -> list[Outcome]:
    """Run all steps in order until ``deadline`` on the monotonic clock, which cuts the last and leaves out the rest.

    ``report`` is called before each step with the outcomes that there are if nothing comes after.
    """
    outcomes: list[Outcome] = []
    stop = stop or Stop()
    for i, step in enumerate(steps):
        left = deadline - GRACE - time.monotonic()
        if why := f"stopped by {stop.why}" if stop.why else "no time is left" if left < LEAST else "":
            outcomes.append(Outcome(step, f"left out: {why}", 0.0, []))
            continue
        later = [Outcome(other, "not begun", 0.0, []) for other in steps[i + 1 :]]
        if report:
            report([*outcomes, Outcome(step, "not ended", 0.0, []), *later])
        say(f"{step.name}: {step.what}")
        outcomes.append(run_step(step, min(step.seconds, left), log, environment, folder, stop))
        say(f"{step.name}: {outcomes[-1].how}, {outcomes[-1].seconds:.1f} s")
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


def _ended(process: subprocess.Popen, seconds: float, stop: Stop | None = None) -> bool:
    """Wait for a process without reaping it, so that its group keeps its number; returns whether it has ended."""
    until = time.monotonic() + seconds
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() >= until or (stop and stop.why):
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
