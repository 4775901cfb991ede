"""The training loop: data batches cut into minibatches, tests, checkpoints, and a clean way out (numerics section 16).

A run is a position (epoch, batch, minibatch), a history of costs, and a net. Everything that decides the next number is
in a checkpoint, so a run that was stopped anywhere goes on to the same numbers.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from convnet.checkpoint import CheckpointFolder, pack
from convnet.data.provider import NO_MINIBATCH, Minibatch, Provider, split
from convnet.errors import CheckpointError, ConvnetError, NumericalError
from convnet.graph.loading import LayerFiles
from convnet.net.net import Net
from convnet.training.costs import Costs, add_costs
from convnet.training.evaluator import Tester
from convnet.training.log import Printer


@dataclass
class Position:
    """How far a run has come. ``epoch`` and ``batch`` name the last finished batch, 0 and 0 before the first.

    ``minibatches``, ``costs`` and ``cases`` belong to the batch under way. Outputs are (sums of costs, cases) per batch.
    """

    epoch: int = 0
    batch: int = 0
    batches_done: int = 0
    minibatches: int = 0
    costs: Costs = field(default_factory=dict)
    cases: int = 0
    tests_done: int = 0
    train_outputs: list[tuple[Costs, int]] = field(default_factory=list)
    test_outputs: list[tuple[Costs, int]] = field(default_factory=list)
    test_batches: list[int] = field(default_factory=list)  # which batch each test used; -1: all
    tests_at: list[int] = field(default_factory=list)  # batches_done at each test

    def following(self, batches: list[int]) -> tuple[int, int]:
        """(epoch, batch) of the next batch in the order of ``batches``."""
        if self.epoch == 0:
            return 1, batches[0]
        if self.batch not in batches:
            return self.epoch, batches[0]
        at = batches.index(self.batch) + 1
        return (self.epoch, batches[at]) if at < len(batches) else (self.epoch + 1, batches[0])

    def history(self) -> dict[str, Any]:
        """The part that the originals saved."""
        return {
            "epoch": self.epoch,
            "batchnum": self.batch,
            "train_outputs": self.train_outputs,
            "test_outputs": self.test_outputs,
        }

    def own(self) -> dict[str, Any]:
        """The rest."""
        names = ("batches_done", "minibatches", "costs", "cases", "tests_done", "test_batches", "tests_at")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restored(cls, history: dict[str, Any], own: dict[str, Any], batches: int) -> Position:
        """From a checkpoint; what an original did not save is worked out as it would have done (io 2.3)."""
        outputs = {key: list(history[key]) for key in ("train_outputs", "test_outputs")}
        position = cls(history["epoch"], history["batchnum"], **outputs)
        position.batches_done = batches * max(position.epoch - 1, 0) + position.batch
        for name, value in own.items():
            setattr(position, name, value)
        return position


@dataclass
class Plan:
    """What a run does: which batches, how long, how often it tests."""

    train: list[int]
    test: list[int]
    epochs: int
    test_freq: int
    test_one: bool = True
    max_batches: int = 0
    minibatch: int = 128

    def progress(self, batches_done: int) -> float:
        """P of the learning-rate schedules, 0 to 1, constant over a batch (numerics 14.1)."""
        return min(1.0, max(0.0, batches_done / (self.epochs * len(self.train))))


class Stopper:
    """Turns SIGINT and SIGTERM into a wish to stop after the minibatch; a second one stops at once."""

    def __init__(self) -> None:
        self.wanted = ""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = signal.Signals(number).name

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handle both signals inside; only the main thread may."""
        try:
            before = {number: signal.signal(number, self) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Loader:
    """Loads batches of a provider in a thread of its own, and splits them into minibatches of ``size`` cases."""

    def __init__(self, provider: Provider, size: int) -> None:
        self.provider, self.size = provider, size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="convnet-data")
        self._ahead: tuple[tuple[int, int], Future[list[Minibatch]]] | None = None

    def start(self, epoch: int, number: int) -> None:
        """Begin to load the batch that is wanted next."""
        self._ahead = (epoch, number), self._thread.submit(self._load, epoch, number)

    def get(self, epoch: int, number: int) -> list[Minibatch]:
        """Return the minibatches of a batch, waiting for it; raises ``DataError``."""
        if self._ahead and self._ahead[0] == (epoch, number):
            return self._ahead[1].result()
        return self._load(epoch, number)

    def first(self, epoch: int, number: int) -> Minibatch:
        """Return the first minibatch of a batch that has been loaded already, else ``NO_MINIBATCH``."""
        if not self._ahead or self._ahead[0] != (epoch, number):
            return NO_MINIBATCH
        future = self._ahead[1]
        parts = future.result() if future.done() and not future.exception() else []
        return parts[0] if parts else NO_MINIBATCH

    def close(self) -> None:
        """Stop loading."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self, epoch: int, number: int) -> list[Minibatch]:
        return split(self.provider.batch(epoch, number), self.size)


class Trainer:
    """Runs a net over data; see the module."""

    def __init__(
        self,
        net: Net,
        files: LayerFiles,
        plan: Plan,
        train: Provider,
        tester: Tester,
        folder: CheckpointFolder,
        options: dict[str, Any],
        printer: Printer,
        position: Position | None = None,
    ) -> None:
        self.net, self.files, self.plan, self.folder, self.options, self.print = net, files, plan, folder, options, printer
        self.loader, self.tester = Loader(train, plan.minibatch), tester
        self.position = position or Position()
        self.stopper = Stopper()
        self._saved_at: tuple[int, int] | None = None

    def run(self) -> Path | None:
        """Train to the end of the plan, or until told to stop; returns the last checkpoint's path.

        Raises ``NumericalError`` when a number is no longer finite, with nothing saved; other errors after saving.
        """
        try:
            with self.stopper.watching():
                return self._loop()
        except (NumericalError, CheckpointError):
            raise
        except ConvnetError:
            self._save_if_new()
            raise
        finally:
            self.loader.close()

    def test_once(self) -> None:
        """--test-only: every test batch, printed as it comes, then all of them; saves with --force-save."""
        results = []
        for number in self.plan.test:
            start = time.monotonic()
            results.append(self.tester.batch(number))
            self.print.tested_batch(number, *results[-1], time.monotonic() - start)
        self.print.test(*add_costs(results), [])
        self.print.weights(self.net)
        if self.options["force_save"]:
            self._save()
            self.print.line(f"Saved checkpoint to {self.folder.path}")

    # -- steps --------------------------------------------------------------------------------------------------

    def _loop(self) -> Path | None:
        begun = self.position.batches_done
        while not self._finished(begun):
            start = time.monotonic()
            epoch, number = self.position.following(self.plan.train)
            progress = self.plan.progress(self.position.batches_done)
            self.print.batch_start(epoch, number, progress)
            if not self._train_batch(epoch, number, progress):
                break
            self._finish_batch(epoch, number)
            self.print.seconds(time.monotonic() - start)
            if self.stopper.wanted:
                break
        return self._leave(begun)

    def _finished(self, begun: int) -> bool:
        epoch, _ = self.position.following(self.plan.train)
        spent = self.plan.max_batches and self.position.batches_done - begun >= self.plan.max_batches
        last = self.plan.epochs
        if self.net.compat.extra_batch and self.position.epoch <= last:
            return bool(spent)
        return epoch > last or bool(spent)

    def _train_batch(self, epoch: int, number: int, progress: float) -> bool:
        """Train on one data batch from where it was left; False if told to stop before its end."""
        parts, after = self.loader.get(epoch, number), Position(epoch, number).following(self.plan.train)
        self.loader.start(*after)
        for done in range(self.position.minibatches + 1, len(parts) + 1):
            part = parts[done - 1]
            following = parts[done] if done < len(parts) else self._first_of(*after)
            costs = self.net.train(part.inputs, part.cases, progress, following.inputs)
            self._count(costs, part.cases)
            self.print.minibatch(epoch, number, done, len(parts), costs, part.cases)
            if self.stopper.wanted and done < len(parts):
                return False
        return True

    def _first_of(self, epoch: int, number: int) -> Minibatch:
        """The first minibatch of the next batch, if that is loaded and no test comes before it."""
        if (self.position.batches_done + 1) % self.plan.test_freq == 0:
            return NO_MINIBATCH
        return self.loader.first(epoch, number)

    def _count(self, costs: Costs, cases: int) -> None:
        position = self.position
        position.costs = add_costs([(position.costs, 0), (costs, 0)])[0] if position.costs else costs
        position.cases += cases
        position.minibatches += 1

    def _finish_batch(self, epoch: int, number: int) -> None:
        position = self.position
        self.print.costs(position.costs, position.cases)
        position.train_outputs.append((position.costs, position.cases))
        position.epoch, position.batch = epoch, number
        position.batches_done += 1
        position.minibatches, position.costs, position.cases = 0, {}, 0
        if position.batches_done % self.plan.test_freq == 0:
            self._test()
            self.print.weights(self.net)
            self.print.saved(str(self._save()))

    def _test(self) -> None:
        """One test: the next batch of the test range, or all of it (io 2.5)."""
        position = self.position
        chosen = self.plan.test
        if self.plan.test_one:
            chosen = [self.plan.test[position.tests_done % len(self.plan.test)]]
        costs, cases = add_costs([self.tester.batch(number) for number in chosen])
        position.tests_done += 1
        position.test_outputs.append((costs, cases))
        position.test_batches.append(chosen[0] if self.plan.test_one else -1)
        position.tests_at.append(position.batches_done)
        self.print.test(costs, cases, self._averaged(position.test_outputs[-len(self.plan.test) :]))

    def _averaged(self, outputs: list[tuple[Costs, int]]) -> list[tuple[Costs, int]]:
        """What "Averages" are the mean of: all cases of the last tests, or in 2012 the tests, each as one case."""
        if not self.net.compat.plain_averages:
            return outputs
        return [({name: [v / cases for v in values] for name, values in costs.items()}, 1) for costs, cases in outputs]

    def _save(self) -> Path:
        """Save the run as it stands, after making sure that its weights are numbers."""
        self.net.check_weights()
        position = self.position
        value = pack(
            self.net, self.files, position.history(), position.own(), self.options, self.tester.provider.description()
        )
        self.folder.save(value, position.epoch, position.batch)
        self._saved_at = (position.batches_done, position.minibatches)
        return self.folder.path

    def _save_if_new(self) -> Path | None:
        if self._saved_at != (self.position.batches_done, self.position.minibatches):
            self._save()
        return self.folder.path / f"{self.position.epoch}.{self.position.batch}"

    def _leave(self, begun: int) -> Path | None:
        """Save what is not saved yet, and say how the run ended."""
        position = self.position
        if position.batches_done == begun and position.minibatches == 0 and not self.stopper.wanted:
            self.print.line(f"Nothing to do: {position.epoch} of {self.plan.epochs} epochs are done.")
            return None
        saved = self._saved_at == (position.batches_done, position.minibatches)
        path = self._save_if_new()
        if self.stopper.wanted:
            self.print.line()
            done = f"batch {position.epoch}.{position.batch}" if position.batches_done else "the beginning"
            self.print.line(f"Stopped by {self.stopper.wanted} after {done} and {position.minibatches} minibatches.")
        if not saved:
            self.print.line(f"Saved checkpoint to {self.folder.path}")
        return path
