"""Steps of a visit to a card: whatever one does, its end is told, its processes are gone, and the next one runs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import runner
from runner import Log, Outcome, Step, Stop, plain, run_step, run_steps, summary
from support import ROOT, are_gone


def step(name, text, seconds=20.0, **more):
    return Step(name, f"what {name} does", (sys.executable, "-c", text), seconds, **more)


def shell(name, text, **more):
    """A step that starts at once, to be stopped after a second."""
    return Step(name, f"what {name} does", ("sh", "-c", text), 1.0, **more)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "GRACE", 0.6)

    def run(*steps, seconds=60.0):
        with Log(tmp_path / "log.txt") as log:
            outcomes = run_steps(steps, log, dict(os.environ), tmp_path, time.monotonic() + seconds)
        return outcomes, (tmp_path / "log.txt").read_text(errors="replace")

    return run


def test_every_way_to_end_is_told_and_the_next_step_runs(run):
    outcomes, log = run(
        step("good", "print('fine')"),
        step("fails", "import sys; print('why'); sys.exit(7)"),
        step("dies", "import os, signal; print('soon', flush=True); os.kill(os.getpid(), signal.SIGSEGV)"),
        shell("hangs", "echo waiting; sleep 60"),
        Step("missing", "nothing", ("/no/such/program",), 5),
        step("raises", "raise ValueError('a telling text')"),
        step("last", "print('still here')"),
    )
    assert [outcome.how.partition(":")[0] for outcome in outcomes] == [
        "ok", "exit status 7", "killed by SIGSEGV", "stopped at its limit of 1 s", "cannot start", "exit status 1", "ok",
    ]  # fmt: skip
    assert outcomes[3].last == ["waiting"] and outcomes[5].last[-1] == "ValueError: a telling text"
    assert "===== hangs: what hangs does" in log and log.index("still here") > log.index("a telling text")


def test_grandchildren_that_ignore_signals_are_killed(run):
    stubborn = "trap '' INT TERM; sleep 60 & echo $$ $!"
    outcomes, _ = run(shell("hangs", f"{stubborn}; sleep 60"), shell("leaves a child behind", stubborn), step("next", ""))
    assert [outcome.how for outcome in outcomes] == ["stopped at its limit of 1 s", "ok", "ok"]
    for outcome in outcomes[:2]:
        pids = outcome.last[0].split()
        assert len(pids) == 2 and are_gone(pids)


def test_a_process_that_left_the_group_holds_nothing_up(run):
    escaped = (
        "import os, subprocess, time\n"
        "text = 'echo $$; echo ' + 'x' * 99 + '; touch started; exec yes ' + 'x' * 99\n"
        "subprocess.Popen(['sh', '-c', text], start_new_session=True)\n"
        "while not os.path.exists('started'): time.sleep(0.02)"
    )
    (outcome,), log = run(step("escapes", escaped))
    found = re.search(r"^\d+$", log, re.MULTILINE)
    with contextlib.suppress(ProcessLookupError):  # it ends when it finds the pipe closed
        os.kill(int(found.group()), signal.SIGKILL)
    assert outcome.ok and outcome.last[-1].startswith("x")


def test_a_step_may_say_how_far_it_came(run):
    (outcome,), _ = run(
        shell("tests", "trap 'echo half; exit' INT; echo x; while :; do sleep 0.05; done", stop=signal.SIGINT)
    )
    assert outcome.last == ["x", "half"] and outcome.how == "stopped at its limit of 1 s"


def test_output_of_any_size_is_cut_in_the_log_but_for_its_end(run):
    endless = "import sys\nfor i in range(30000): print('line', i, 'x' * 90)\nsys.stdout.write('y' * 3_000_000)"
    (outcome,), log = run(step("talks", endless, most_bytes=20_000))
    assert outcome.ok and "line 0 " in log and "line 15000 " not in log and "line 29999 " in log
    assert "bytes are left out" in log and len(log) < 150_000
    assert outcome.last[-2].startswith("line 29999 ") and re.fullmatch(r"y{600} \.\.\. y{600}", outcome.last[-1])


def test_output_is_in_the_log_while_a_step_runs(tmp_path):
    """Whatever becomes of the machine: the step itself reads there what it has printed."""
    text = (
        "import pathlib, time\nprint('first', flush=True)\n"
        "for _ in range(500):\n    found = 'first\\n' in pathlib.Path('log.txt').read_text()\n"
        "    if found: break\n    time.sleep(0.02)\nprint(found)"
    )
    with Log(tmp_path / "log.txt") as log:
        outcome = run_step(step("reads", text), 20, log, dict(os.environ), tmp_path)
    assert outcome.last == ["first", "True"]


def test_the_deadline_cuts_a_step_and_leaves_out_the_rest(run, monkeypatch):
    monkeypatch.setattr(runner, "LEAST", 1.0)
    outcomes, _ = run(step("hangs", "import time; time.sleep(60)", seconds=50), step("next", "print('no')"), seconds=2.5)
    first, second = (outcome.how for outcome in outcomes)
    assert first.startswith("stopped at the limit of all steps, after ") and second == "left out: no time is left"


def test_a_stop_ends_the_step_and_its_children_and_leaves_out_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "GRACE", 0.4)
    stop, reported = Stop(), []
    stubborn = Step("stubborn", "", ("sh", "-c", "trap '' INT TERM; sleep 60 & echo $$ $!; sleep 60"), 60)

    def report(outcomes):
        reported.append([outcome.how for outcome in outcomes])
        if len(reported) == 2:
            threading.Timer(0.5, lambda: stop._note(signal.SIGTERM, None)).start()

    with Log(tmp_path / "log.txt") as log:
        table = [step("good", "print('fine')"), stubborn, step("next", "print('no')")]
        outcomes = run_steps(table, log, dict(os.environ), tmp_path, time.monotonic() + 60, stop, report)
    assert [outcome.how for outcome in outcomes] == ["ok", "stopped by SIGTERM", "left out: stopped by SIGTERM"]
    pids = outcomes[1].last[0].split()
    assert len(pids) == 2 and are_gone(pids)
    assert reported == [["not ended", "not begun", "not begun"], ["ok", "not ended", "not begun"]]


def test_a_step_ends_with_a_runner_that_is_killed(tmp_path):
    """Which can tell nobody: whatever held the card would go on holding it."""
    text = (
        "import os, pathlib, sys, time\nimport runner\n"
        "step = runner.Step('hangs', '', ('sh', '-c', 'sleep 60 & echo $$ $! > pids; sleep 60'), 60)\n"
        "with runner.Log(pathlib.Path('log.txt')) as log:\n"
        "    runner.run_step(step, 60, log, dict(os.environ), pathlib.Path())"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks" / "card")}
    process = subprocess.Popen([sys.executable, "-c", text], cwd=tmp_path, env=environment)
    pids = tmp_path / "pids"
    while process.poll() is None and not (pids.is_file() and pids.read_text().endswith("\n")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert are_gone(pids.read_text().split())


def test_a_step_that_had_nothing_to_do_is_told_apart(run):
    outcomes, _ = run(
        step("absent", "print('not here: no ncu')"), step("failed", "import sys; print('not here: x'); sys.exit(1)")
    )
    assert [(outcome.how, outcome.ok) for outcome in outcomes] == [("not here", True), ("exit status 1", False)]


def test_a_full_disk_stops_no_step(tmp_path):
    with Log(Path("/dev/full")) as log:
        outcome = run_step(step("talks", "print('x' * 500_000)\nprint('end')"), 20, log, dict(os.environ), tmp_path)
    assert outcome.ok and outcome.last[-1] == "end"


@pytest.mark.parametrize(
    "printed, shown",
    [
        (b"\x1b[31mred\x1b[0m  ", "red"),
        (b" 5%\r50%\r100% done\r", "100% done"),
        ("one\u2028two\x85three\x0bfour\x1cfive".encode(), "one?two?three?four?five"),
        (b"\xff\x00a\tb", "\ufffd?a     b"),
    ],
)
def test_lines_of_a_summary_stay_one_line(printed, shown):
    assert plain(printed) == shown and len(shown.splitlines()) == 1


def test_the_summary_has_every_step_and_at_most_forty_lines():
    many = [f"line {i} " + "x" * 300 for i in range(100)]
    outcomes = [
        Outcome(step(f"step{i}", "", lines=8), "ok" if i % 3 else "exit status 1", 1.0, many if i else []) for i in range(9)
    ]
    lines = summary(["title"], outcomes).splitlines()
    assert len(lines) == 40 and max(map(len, lines)) <= runner.WIDTH
    assert [line for line in lines if not line.startswith(" ")] == [
        "title", *(f"step{i}: ok, 1 s" if i % 3 else f"*** step{i}: exit status 1, 1 s" for i in range(9)),
    ]  # fmt: skip
    assert lines[-1].startswith("    line 99 ")
