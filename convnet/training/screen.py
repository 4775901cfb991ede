"""A run as a terminal shows it: a short opening, one line that is renewed as the run goes on, and a line for every test.

Files and pipes get the lines of 2014 instead (``convnet.training.lines``), a terminal with ``--verbose``.
"""

import sys
import time
from collections.abc import Callable
from functools import singledispatchmethod
from pathlib import Path
from typing import Any, TextIO

from convnet.checkpoint import add_costs, checkpoint_bytes
from convnet.data.provider import range_text
from convnet.net.net import Costs
from convnet.options import BY_NAME, Options, flag_of
from convnet.texts import bytes_text, counted, fitted, message_lines, path_text
from convnet.training import events
from convnet.training.costs import Outputs, value_text
from convnet.training.lines import change_text, end_lines, option_text, stop_text
from convnet.training.progress import Progress
from convnet.training.session import Session
from convnet.training.status import Status

_OFTEN = 0.1  # seconds between two renewals of the line within a batch
_FILES = {"layer_def", "layer_params", "layer_path", "load_file", "data_path", "save_path", "save_file", "config", "live"}
_SHOWN = {"epochs", "mini", "test_freq"}
_CHANGES = 8  # of the parameters, that are told of in one sentence
_HEAD = 9  # columns of what each line of the opening is about


class Screen:
    """A callback that shows a run on ``out``, a terminal; ``clock`` counts seconds."""

    def __init__(self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.status, self.clock = Status(out or sys.stdout), clock
        self.outputs, self.progress = Outputs(), Progress(clock)
        self._session: Session | None = None
        self._tests: list[int] = []
        self._only_tests = False
        self._running: tuple[Costs, int] = {}, 0  # of the batch under way
        self._drawn_at = -_OFTEN
        self._has_head = False  # of the table of --test-only
        self._has_estimate = False

    def line(self, text: str = "") -> None:
        """Print a line that stays."""
        self.status.print_whole(text)

    def end_line(self) -> None:
        """Take the renewed line away."""
        self.status.clear()

    def abandon(self) -> None:
        """Take the renewed line away from within a signal's handler."""
        self.status.abandon()

    @singledispatchmethod
    def __call__(self, event: events.Event) -> None:
        """Show what there is to see of an event, if anything."""

    @__call__.register
    def _(self, event: events.Message) -> None:
        self.status.print_whole(message_lines(event.text))

    # -- the start

    @__call__.register
    def _(self, event: events.RunBegin) -> None:
        session, self.outputs = event.session, Outputs.of(event.net.graph)
        self._session = session
        self._tests, self._only_tests = session.plan.test, bool(session.options.test_only)
        self.progress.begin(session.plan, session.position)
        for head, text in self._opening(event):
            self.status.print_whole(fitted(f"{head:<{_HEAD}} {text}", self.status.width))
        for line in (*event.edits, *event.remarks):
            self.status.print(message_lines(line), indent="  ")
        self.status.print_whole("")

    def _opening(self, event: events.RunBegin) -> list[tuple[str, str]]:
        """Return what is worth knowing before a run, a line each: what it is about, and what there is to say."""
        session, graph, plan = event.session, event.net.graph, event.session.plan
        source = session.options.load_file or session.options.save_file if session.checkpoint else ""
        name = Path(session.files.definition_path).name
        test_only = self._only_tests
        rows = [("Net", f"{name}: {len(graph.layers)} layers, {graph.parameters():,} parameters")]
        if source:
            rows.append(("From", f"{path_text(source)}, after {counted(session.position.batches_done, 'batch')}"))
        batches = "" if test_only else f"train on {range_text(plan.train)}, "
        classes = f", {counted(graph.classes, 'class')}" if graph.classes else ""
        rows.append(("Data", f"{batches}test on {range_text(plan.test)}{classes}: {path_text(session.train.where)}"))
        rows.append(("Device", event.device))
        if others := _others(session.options, graph.run):
            rows.append(("Options", others))
        if not test_only:
            epochs = f"{counted(plan.epochs, 'epoch')} of {counted(len(plan.train), 'batch')}"
            now = f"{counted(plan.max_batches, 'batch')} now; in all " if plan.max_batches else ""
            rows.append(("Length", f"{now}{'no end' if plan.is_endless else epochs}, minibatches of {session.options.mini}"))
            size = bytes_text(checkpoint_bytes(graph))
            rows.append(("Saves", f"{path_text(session.folder.path)} (every {plan.test_freq} batches, {size})"))
        for cost, values in self.outputs.legend().items():
            rows.append(("Numbers", f"{cost}: {', '.join(values)}"))
        return rows[:10]

    # -- training

    @__call__.register
    def _(self, event: events.BatchBegin) -> None:
        self._running = {}, 0
        self.progress.begin_batch(event.epoch, event.batch)

    @__call__.register
    def _(self, event: events.MinibatchEnd) -> None:
        self.progress.count(event.done, event.total, event.cases)
        self._running = add_costs([self._running, (event.costs, event.cases)])
        if not self._has_estimate and (estimate := self.progress.estimate()):
            self._has_estimate = True
            self.status.print(estimate)
        if self.clock() - self._drawn_at >= _OFTEN:
            self._renew()

    @__call__.register
    def _(self, event: events.BatchEnd) -> None:
        self._running = event.costs, event.cases
        self.progress.end_batch()
        if self.status.is_dumb:
            self.status.print(f"{self.progress.place}: {self.outputs.text(event.costs, event.cases)}")
        self._renew()

    def _renew(self) -> None:
        self._drawn_at = self.clock()
        numbers = [
            ", ".join(value_text(name, value, digits=3) for name, value in values.items())
            for values in self.outputs.named(*self._running).values()
        ]
        self.status.show([self.progress.place, "; ".join(numbers), *self.progress.texts()])

    @__call__.register
    def _(self, event: events.TestBegin) -> None:
        self.status.show([f"testing on {range_text(event.batches)}"])

    @__call__.register
    def _(self, event: events.TestEnd) -> None:
        if self._only_tests:
            self._row("all", event.costs, event.cases)
            return
        self.progress.pause()
        where = f" (on {range_text(event.batches)})" if len(event.batches) < len(self._tests) else ""
        self.status.print(f"Test after {self.progress.place}: {self.outputs.text(event.costs, event.cases)}{where}", "  ")

    # -- the end

    @__call__.register
    def _(self, event: events.RunDone) -> None:
        for line in end_lines(event, self.outputs):
            self.status.print(line, "  ")

    @__call__.register
    def _(self, event: events.RunStopped) -> None:
        self.progress.close_batch()
        self.status.print(stop_text(event))

    @__call__.register
    def _(self, event: events.Changed) -> None:
        self.status.print(change_text(event, most=_CHANGES))
        if self._session:
            self.progress.begin(self._session.plan, self._session.position)

    @__call__.register
    def _(self, event: events.Mistakes) -> None:
        for problem in event.problems:
            self.status.print_whole(message_lines(problem))

    @__call__.register
    def _(self, event: events.Saved) -> None:
        if event.asked:
            self.status.print_whole(f"Saved checkpoint to {path_text(event.path)}, as asked.")
        elif not self.progress.in_batch:
            self.status.print_whole(f"Saved checkpoint to {path_text(event.path.parent)}")

    @__call__.register
    def _(self, _event: events.BatchClosed) -> None:
        self.progress.close_batch()

    # -- --test-only

    @__call__.register
    def _(self, event: events.TestBatchEnd) -> None:
        self._row(str(event.batch), event.costs, event.cases)

    def _row(self, batch: str, costs: Costs, cases: int) -> None:
        """Print a row of a table, and its head before the first."""
        shown = self.outputs.named(costs, cases)
        cells = {"batch": batch, "cases": f"{cases:>9,}"} | {
            name if len(shown) == 1 else f"{cost} {name}": value_text(name, value).rjust(8)
            for cost, values in shown.items()
            for name, value in values.items()
        }
        rows = [list(cells.values())] if self._has_head else [list(cells), list(cells.values())]
        self._has_head = True
        widths = [max(map(len, pair)) for pair in cells.items()]
        for row in rows:
            line = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            self.status.print_whole(fitted(line, self.status.width))


def _others(options: Options, section: dict[str, Any]) -> str:
    """Return the options that were given, or that ``[run]`` gives, but for those that the opening tells of anyway."""
    first, more = options.given - _FILES, section.keys() - options.given - _SHOWN
    names = [name for part in (first, more) for name in BY_NAME if name in part]
    return " ".join(f"{flag_of(name)} {option_text(getattr(options, name))}" for name in names)
