"""A run of the command line: trains, tests and saves as its plan says, prints, and stops cleanly (io section 2).

Everything that decides the next number is in a checkpoint, so that a run that was stopped anywhere goes on to the same
numbers.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

from convnet.checkpoint import add_costs, pack
from convnet.errors import CheckpointError, ConvnetError, NumericalError
from convnet.graph.loading import LayerFiles
from convnet.interrupts import StopRequest
from convnet.net.net import Costs, Net
from convnet.options import Options
from convnet.training.evaluator import Tester
from convnet.training.log import Printer
from convnet.training.plan import ScheduledBatch
from convnet.training.session import Session
from convnet.training.trainer import Trainer


class Run(Trainer):
    """Trains the net of a session, or tests it; raises ``OptionError`` for options that do not fit the net or the data."""

    def __init__(self, session: Session, net: Net, printer: Printer) -> None:
        super().__init__(net, session.train, session.position)
        self.session, self.plan, self.folder, self.print = session, session.plan, session.folder, printer
        self.stop = StopRequest()
        self.tester = Tester.of(net, session.test, session.options, str(self.folder.path), self.must_stop)
        self._files, self._options = _findable_anywhere(session.files, session.options)
        self._start = 0.0
        self._saved_at: tuple[int, int] | None = None

    def run(self) -> Path | None:
        """Train to the end of the plan, or until told to stop; returns the last checkpoint's path.

        Raises ``NumericalError`` when a number is no longer finite, with nothing saved; other errors after saving.
        """
        begun = self.position.batches_done
        with self.stop.installed():
            try:
                self.train(self.plan.schedule(self.position))
                return self._finish(begun)
            except (NumericalError, CheckpointError):
                raise
            except (ConvnetError, OSError):  # such as a terminal that is gone, which takes no more lines
                self._save()
                raise

    def test_once(self) -> None:
        """Test every test batch, print each as it comes, then all of them (--test-only); save with --force-save."""
        results = []
        for number in self.plan.test:
            start = time.monotonic()
            results.append(self.tester.batch(number))
            self.print.tested_batch(number, *results[-1], time.monotonic() - start)
        self.print.test(*add_costs(results), [])
        self.print.weights(self.net)
        if self.session.options.force_save:
            self._save()
            self.print.line(f"Saved checkpoint to {self.folder.path}")

    # -- what happens around a batch

    def begin_batch(self, batch: ScheduledBatch) -> None:
        self._start = time.monotonic()
        self.print.batch_start(batch.epoch, batch.number, batch.progress)

    def end_minibatch(self, costs: Costs, cases: int, total: int) -> None:
        self.print.minibatch(self.position.minibatches, total, costs, cases)

    def end_batch(self, batch: ScheduledBatch) -> None:
        self.print.costs(*self.position.train_outputs[-1])
        if batch.test_follows:
            self._test()
            self.print.weights(self.net)
            self._save()
            self.print.saved(self.folder.path)
        self.print.seconds(time.monotonic() - self._start)

    def must_stop(self) -> bool:
        return bool(self.stop)

    def _test(self) -> None:
        """Test on the next batch of the test range, or on all of it (io 2.5)."""
        position, numbers = self.position, self.plan.test
        if self.plan.test_one:
            numbers = [numbers[position.tests_done % len(numbers)]]
        costs, cases = add_costs([self.tester.batch(number) for number in numbers])
        position.finish_test(costs, cases, numbers[0] if self.plan.test_one else -1)
        averaged = position.test_outputs[-len(self.plan.test) :]
        if self.net.compat.plain_averages:  # each test counts as one case
            averaged = [({name: [v / n for v in values] for name, values in costs.items()}, 1) for costs, n in averaged]
        self.print.test(costs, cases, averaged)
        if self.tester.is_broken:
            raise NumericalError("stopped: the net that was trained makes no numbers any more, and is not saved")

    # -- checkpoints

    def _save(self) -> Path:
        """Save the run as it stands, unless that has been done; returns the path. Raises for weights that are not finite."""
        position, session = self.position, self.session
        here = position.batches_done, position.minibatches
        if self._saved_at == here:
            return self.folder.path / f"{position.epoch}.{position.batch}"
        self.net.check_weights()
        value = pack(self.net, self._files, position, self._options, session.test.description())
        path = self.folder.save(value, position.epoch, position.batch)
        self._saved_at = here
        return path

    def _finish(self, begun: int) -> Path | None:
        """Save what is not saved yet, and say how the run ended."""
        position, stopped_by = self.position, self.stop.signal
        if position.batches_done == begun and position.minibatches == 0 and not stopped_by:
            self.print.line(f"Nothing to do: {position.epoch} of {self.plan.epochs} epochs are done.")
            return None
        before = self._saved_at
        path = self._save()
        if stopped_by:
            self.print.line()
            done = f"batch {position.epoch}.{position.batch}" if position.batches_done else "the beginning"
            self.print.line(f"Stopped by {stopped_by} after {done} and {position.minibatches} minibatches.")
        if self._saved_at != before:
            self.print.line(f"Saved checkpoint to {self.folder.path}")
        return path


def _findable_anywhere(files: LayerFiles, options: Options) -> tuple[LayerFiles, Options]:
    """Return layer files and options whose paths do not depend on the current folder, from which a run may go on."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path and os.path.lexists(path) else path

    files = replace(files, definition_path=absolute(files.definition_path), params_path=absolute(files.params_path))
    return files, replace(options, data_path=absolute(options.data_path), layer_path=absolute(options.layer_path))
