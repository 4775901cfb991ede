"""What is said of how far a run has come, by a clock that the test moves; and the one line of a terminal that says it."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnet.checkpoint import Position
from convnet.texts import columns_of, fitted, printable
from convnet.training.plan import ENDLESS, Plan
from convnet.training.progress import Progress
from convnet.training.status import Status


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 7), st.booleans(), st.integers(0, 9))
def test_batches_left_are_those_of_the_schedule(batches, epochs, most, extra, done):
    plan = Plan(list(range(1, batches + 1)), [9], epochs + 1, 3, max_batches=most, extra_batch=extra)
    position = Position(done // batches + (done > 0), done % batches + 1 if done else 0, done)
    assert plan.batches_left(position) == len(list(plan.schedule(position)))


def test_nobody_knows_how_much_is_left_of_a_run_without_end():
    assert Plan([1, 2], [3], ENDLESS, 57).batches_left(Position()) is None
    assert Plan([1, 2], [3], ENDLESS, 57, max_batches=7).batches_left(Position()) == 7


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def trained(progress, clock, minibatches, total=4, seconds=2.0, cases=10):
    for done in range(1, minibatches + 1):
        clock.now += seconds
        progress.count(done, total, cases)


def test_the_time_left_and_images_a_second():
    clock = Clock()
    progress = Progress(clock)
    progress.begin(Plan([1, 2, 3], [4], 10, 57), Position())
    progress.begin_batch(1, 1)
    assert progress.place == "batch 1.1, 1 of 30" and progress.texts() == []
    trained(progress, clock, 3)
    assert progress.texts() == ["4 min left", "5.0 images/s", "minibatch 3 of 4"]  # 117 of 120, 2 s each
    progress.end_batch()
    progress.begin_batch(1, 2)
    trained(progress, clock, 4, seconds=0.5, cases=100)
    assert progress.place == "batch 1.2, 2 of 30" and progress.texts()[1:] == ["70 images/s", "minibatch 4 of 4"]
    progress.pause()
    assert progress.texts() == ["2 min left", "minibatch 4 of 4"]  # 6 s for 6 after the first; 112 left


@pytest.mark.parametrize("epochs, said", [(10, "This will take about 3 min 42 s"), (ENDLESS, "An epoch takes about 24 s")])
def test_an_estimate_comes_after_two_batches_or_ten_minibatches(epochs, said):
    clock = Clock()
    progress = Progress(clock)
    progress.begin(Plan([1, 2, 3], [4], epochs, 57), Position())
    for batch in (1, 2):
        progress.begin_batch(1, batch)
        trained(progress, clock, 4)
        assert progress.estimate() == ""
        progress.end_batch()
    progress.begin_batch(1, 3)
    trained(progress, clock, 1)
    assert progress.estimate() == f"{said} on this machine."
    progress = Progress(clock)
    progress.begin(Plan([1], [4], 1, 57), Position())
    progress.begin_batch(1, 1)
    trained(progress, clock, 10, total=100)
    assert progress.estimate() == ""
    trained(progress, clock, 1, total=100)
    assert progress.estimate() != ""


class Terminal(io.StringIO):
    encoding = "utf-8"


@pytest.mark.parametrize("columns", [8, 30, 200])
def test_a_line_is_never_wider_than_the_terminal(monkeypatch, columns):
    out = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(out, "fileno", lambda: 7)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    status = Status(out)
    status.show(["batch 1.1, 1 of 30", "価格 0.5, 12.00 %", "3 min left", "\x1b[31m 5 images/s"])
    shown = out.getvalue()[1:].removesuffix("\x1b[K")
    assert columns_of(shown) <= max(columns - 5, 6) and "\x1b" not in shown
    status.print_whole("done")
    assert out.getvalue().endswith("\r\x1b[Kdone\n")


def test_a_dumb_terminal_gets_no_codes(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    status = Status(out := Terminal())
    status.show(["batch 1"])
    status.clear()
    assert out.getvalue() == ""


@given(st.text(max_size=60), st.integers(10, 50))
def test_texts_are_cut_to_one_row(text, width):
    cut = fitted(text, width)
    assert columns_of(cut) <= width and cut == printable(cut)
    assert fitted(text + "名" * 10**4, 10) == fitted(text + "名" * 20, 10)
