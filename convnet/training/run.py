"""A run of the command line: trains, tests and saves as its plan says, tells of it, and stops cleanly (io section 2).

Everything that decides the next number is in a checkpoint, so that a run that was stopped anywhere goes on to the same
numbers.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from convnet.checkpoint import BEST, Position, add_costs
from convnet.errors import CheckpointError, ConvnetError, NumericalError
from convnet.generation import COMPAT
from convnet.interrupts import SaveRequest, StopRequest
from convnet.net.net import Costs, Net
from convnet.ranks.agreement import fail, is_common
from convnet.training.edits import Edits
from convnet.training.evaluator import Tester, write_features
from convnet.training.events import (
    BatchClosed,
    Callback,
    Changed,
    Event,
    FeaturesWritten,
    Message,
    RunDone,
    RunStopped,
    Saved,
    TestBatchEnd,
    TestBegin,
    TestEnd,
    WeightSize,
    WeightsMeasured,
)
from convnet.training.parameters import mistakes_in
from convnet.training.plan import ScheduledBatch
from convnet.training.saver import Saver
from convnet.training.session import Session
from convnet.training.stopping import Stopped
from convnet.training.trainer import Trainer


class Run(Trainer):
    """Trains the net of a session, or tests it; raises ``OptionError`` for options that do not fit the net or the data."""

    def __init__(self, session: Session, net: Net, callbacks: Sequence[Callback]) -> None:
        super().__init__(net, session.train, session.position, callbacks)
        self.session, self.plan, self.folder = session, session.plan, session.folder
        self.watch = session.watch
        # What this rank was asked, and what all know that any of them was.
        self.asked_to_stop, self.asked_to_save = StopRequest(), SaveRequest()
        is_alone = net.communicator.size == 1
        self.stop = self.asked_to_stop if is_alone else StopRequest()
        self.save_request = self.asked_to_save if is_alone else SaveRequest()
        self._failure: ConvnetError | OSError | None = None  # of what is told, which waits until all ranks can hear of it
        self.tester = Tester.of(net, session.test, session.options, str(self.folder.path), self.poll)
        self.saver = Saver(session, net)
        self.edits = Edits(session, net, self.saver, self.tell)
        self._begun = self.position.batches_done  # when the plan was made
        self._tested_at: tuple[int, Sequence[int]] | None = None

    def run(self) -> Path | None:
        """Train to the end of the plan, or until told to stop; returns the last checkpoint's path.

        Raises ``NumericalError`` when a number is no longer finite, with nothing saved; other errors after saving, but for
        those that one of several ranks meets while the others are elsewhere.
        """
        begun, start, has_work = self.position.batches_done, time.monotonic(), self.session.has_work
        with self.asked_to_stop.installed(), self.asked_to_save.installed():
            try:
                if self.session.changes and has_work:  # made while the run stood still
                    self.position.count_change(self.session.changes)
                    self._tell_changed(self.session.changes)
                while not self.is_done():
                    plan = self.plan
                    self.train(plan.schedule(self.position))
                    # An edit of the last batch may make the run longer.
                    if self.stop or (self.plan is plan and not (has_work and self.before_batch())):
                        break
                return self._finish(begun, start)
            except (NumericalError, CheckpointError):
                raise
            except (ConvnetError, OSError) as error:  # such as a terminal that is gone, which takes no more lines
                if self.net.communicator.size == 1 or is_common(error):
                    self._save()
                raise

    def test_once(self) -> None:
        """Test every test batch, tell of each, then of all of them (--test-only); save with --force-save."""
        results, begun = [], time.monotonic()
        numbers = self.plan.test[: self.session.tests]
        self.tell(TestBegin(numbers))
        for number in numbers:
            start = time.monotonic()
            results.append(self.tester.batch(number))
            self.tell(TestBatchEnd(number, *results[-1], time.monotonic() - start))
        self._finish_only_test(numbers, results, begun)
        if self.session.options.force_save:
            self.tell(Saved(self._save()))

    def write_features(self, layer: str, folder: Path, source: str) -> None:
        """Write what ``layer`` makes of every test batch, and tell of each; of all, where the originals did."""
        results, begun = [], time.monotonic()
        written = write_features(self.net, self.session.test, self.plan.test, layer, folder, source)
        start = begun
        for number, (file, costs, cases) in zip(self.plan.test, written, strict=True):  # to its end: batches.meta
            results.append((costs, cases))
            self.tell(FeaturesWritten(f"Wrote feature file {file}", number, costs, cases, time.monotonic() - start))
            start = time.monotonic()
        if self.session.options.compat:
            self._finish_only_test(self.plan.test, results, begun)

    def _finish_only_test(self, numbers: list[int], results: list[tuple[Costs, int]], begun: float) -> None:
        costs, cases = add_costs(results)
        averaged: list[tuple[Costs, int]] = []
        if COMPAT[self.session.options.compat].averages_again:
            averaged = [*self.position.test_outputs, (costs, cases)][-len(self.plan.test) :]
        self.tell(TestEnd(numbers, costs, cases, averaged, time.monotonic() - begun))
        self._measure_weights()

    # -- several ranks, which do the same at the same time

    def tell(self, event: Event) -> None:
        try:
            super().tell(event)
        except (ConvnetError, OSError) as error:
            if self.net.communicator.size == 1:
                raise
            self._failure = self._failure or error

    def hear(self) -> None:
        """Have all ranks know what any of them was asked; raises what one has met, on all. All call it together."""
        communicator = self.net.communicator
        if communicator.size == 1:
            return
        if self._failure:
            fail(communicator, self._failure)
        for reason, save in communicator.all_gather((self.asked_to_stop.reason, self.asked_to_save.take())):
            if reason:
                self.stop.ask(reason)
            if save:
                self.save_request.ask()

    # -- what happens around a batch

    def before_batch(self) -> bool:
        plan = self.plan
        self._follow_edits()
        self._save_if_asked()
        return self.plan is not plan

    def end_batch(self, batch: ScheduledBatch, start: float) -> None:
        if batch.test_follows:
            self._test()
            self._measure_weights()
            self.tell(Saved(self._save()))
        self.tell(BatchClosed(time.monotonic() - start))

    def must_stop(self) -> bool:
        return bool(self.stop)

    def poll(self) -> bool:
        self.hear()
        self._save_if_asked()
        return self.must_stop()

    def is_done(self) -> bool:
        return bool(self.watch and self.watch.is_exhausted(self.position))

    def _test(self) -> None:
        """Test on the next batch of the test range, or on all of it (io 2.5)."""
        position, numbers, start = self.position, self.plan.test, time.monotonic()
        if self.plan.test_one:
            numbers = [numbers[position.tests_done % len(numbers)]]
        self.tell(TestBegin(numbers))
        if self.tester.dead:
            self.tester.dead.begin()
        costs, cases = add_costs([self.tester.batch(number) for number in numbers])
        position.finish_test(costs, cases, numbers[0] if self.plan.test_one else -1)
        self._tested_at = position.batches_done, numbers
        if self.watch:
            self.watch.see(position)
        averaged = position.test_outputs[-len(self.plan.test) :]
        self.tell(TestEnd(numbers, costs, cases, averaged, time.monotonic() - start))
        if self.tester.is_broken:
            raise NumericalError("stopped: the net that was trained makes no numbers any more, and is not saved")

    def _measure_weights(self) -> None:
        self.net.gather()
        nodes = [self.net.nodes[layer.name] for layer in self.net.graph.in_file_order]
        sizes = [
            WeightSize(node.layer.name, label, *self.net.magnitudes(matrix))
            for node in nodes
            for label, matrix in node.named_weights.items()
        ]
        self.tell(WeightsMeasured(sizes, self.tester.dead.shares() if self.tester.dead else {}))

    # -- edits of the layer files

    def _follow_edits(self) -> None:
        """Take up what was edited in the parameter file, and tell of it."""
        edit = self.edits.follow()
        if edit and edit.plan:
            self._plan_anew(edit.plan)
        if edit and edit.text:
            self._tell_changed(edit.text)
            self.tell(Saved(self._save()))  # which has been done
        if edit and edit.warnings:
            self.tell(mistakes_in(edit))

    def _plan_anew(self, options: Mapping[str, int]) -> None:
        """Follow another plan from here on, which ends after as many batches as were to be trained on now."""
        plan, done = self.plan, self.position.batches_done - self._begun
        if plan.max_batches and done >= plan.max_batches:  # a plan of 0 more would have no end
            return
        left = plan.max_batches and plan.max_batches - done
        epochs, test_freq = options.get("epochs", plan.epochs), options.get("test_freq", plan.test_freq)
        self.plan = self.session.plan = replace(plan, max_batches=left, epochs=epochs, test_freq=test_freq)
        self._begun += done

    def _tell_changed(self, text: Sequence[str]) -> None:
        position = self.position
        self.tell(Changed(position.epoch, position.batch, position.minibatches, text))

    # -- checkpoints

    def _save_if_asked(self) -> None:
        """Save here if somebody has asked for it, also in the middle of a test; a disk that is full ends nothing."""
        if not self.save_request.take():
            return
        try:
            self.tell(Saved(self._save(self.resumable()), asked=True))
        except (CheckpointError, OSError) as error:
            self.tell(Message(f"No checkpoint was saved: {error}"))

    def _save(self, position: Position | None = None) -> Path:
        return self.saver.save(position or self.position)

    def _finish(self, begun: int, start: float) -> Path | None:
        """Save what is not saved yet, test the last weights of a run that was not stopped, and tell how it ended."""
        position, tests = self.position, not self.session.options.compat
        is_idle = position.batches_done == begun and position.minibatches == 0 and not self.stop
        is_idle = is_idle and bool(position.final_test or not tests)
        if self.watch and self.is_done():
            text = f"{position.tests_since} tests in a row were no better than {self.watch.text(position)}"
            self.tell(Message(f"{text}: --patience {self.watch.patience} ends the run; a larger one goes on."))
        elif is_idle:
            self.tell(Message(f"Nothing to do: {position.epoch} of {self.plan.epochs} epochs are done."))
        if is_idle:
            return None
        before = self.saver.saved_at
        path = self._save()
        if tests and not self.stop:  # of which a signal takes nothing but the test
            with suppress(Stopped):
                self._test_last()
                before = None
        if self.stop:
            self.tell(RunStopped(self.stop.reason, position.epoch, position.batch, position.minibatches))
        if self.saver.saved_at != before:
            self.tell(Saved(path))
        for costs, cases in position.final_test:
            trained, seconds = position.batches_done - begun, time.monotonic() - start
            self.tell(RunDone(position.epoch, position.batches_done, trained, seconds, self.plan.test, costs, cases))
        if self.watch and self.watch.keeps:
            where = f", kept as {self.folder.path / BEST}" if position.best_at else ""
            self.tell(Message(f"Best test: {self.watch.text(position)}{where}"))
        return path

    def _test_last(self) -> None:
        """Test the weights of a run that is done on all test batches, and save the result with them."""
        position = self.position
        if self._tested_at == (position.batches_done, self.plan.test):
            position.final_test = position.test_outputs[-1:]
        else:
            self.tell(TestBegin(self.plan.test))
            position.final_test = [add_costs([self.tester.batch(number) for number in self.plan.test])]
        self.saver.saved_at = None
        self._save()
