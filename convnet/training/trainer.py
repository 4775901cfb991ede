"""The training loop of the command line and of Python: data batches split into minibatches (numerics section 16)."""

import logging
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from copy import copy
from itertools import chain, repeat
from typing import Any

from convnet.checkpoint import Position
from convnet.data.provider import Batch, BatchShare, Minibatch, Provider, split
from convnet.errors import ConvnetError, NumericalError
from convnet.net.net import Costs, Inputs, Net
from convnet.ranks.agreement import together
from convnet.training.checks import check_batch
from convnet.training.events import BatchBegin, BatchEnd, Callback, Event, MinibatchEnd
from convnet.training.plan import ScheduledBatch
from convnet.training.stopping import Stopped, wait_for

Loading = Future[Any]  # of minibatches; on several ranks of a ``BatchShare``, of which they are made once all have theirs
_LOG = logging.getLogger("convnet")


class Trainer:
    """Trains ``net`` on batches of ``provider``, updates ``position``, and tells ``callbacks`` of it, in their order.

    A subclass says when to stop, and what follows a batch.
    """

    def __init__(self, net: Net, provider: Provider, position: Position, callbacks: Sequence[Callback] = ()) -> None:
        self.net, self.provider, self.position, self.callbacks = net, provider, position, callbacks
        self._before: Position | None = None  # the position before the batch that is being finished

    def tell(self, event: Event) -> None:
        """Tell every callback of an event."""
        for callback in self.callbacks:
            callback(event)

    def train(self, schedule: Iterable[ScheduledBatch]) -> None:
        """Train on the batches of ``schedule`` until ``must_stop``; in the first, after the cases already counted.

        Raises ``DataError`` for a batch that cannot be loaded, ``NumericalError`` for costs that are not finite.
        """
        loaded = load_ahead(self.provider, schedule, self.net, self.position)
        with suppress(Stopped), closing(loaded) as batches:
            for batch, loading, following in batches:
                if self.before_batch():
                    return
                start = time.monotonic()
                self.tell(BatchBegin(batch.epoch, batch.number, batch.progress))
                self.position.begin_batch(batch.epoch, batch.number)
                minibatches, before = self._loaded(loading, batch), self.position.minibatches
                for number, (inputs, cases) in enumerate(minibatches, 1):
                    is_last = number == len(minibatches)
                    next_inputs = _first_inputs(following) if is_last else minibatches[number].inputs
                    costs = self._step(batch, number, inputs, cases, next_inputs)
                    self.position.count(costs, cases)
                    self.tell(MinibatchEnd(self.position.minibatches, before + len(minibatches), costs, cases))
                    if not is_last and self.poll():
                        return
                self._finish_batch(batch, start)
                if self.must_stop() or self.is_done():
                    return

    def _loaded(self, loading: Loading, batch: ScheduledBatch) -> list[Minibatch]:
        """Return the minibatches of a batch once they are loaded, on all ranks; raises ``Stopped`` if told to stop."""
        net, communicator = self.net, self.net.communicator
        if communicator.size == 1:
            return wait_for(loading, self.poll)
        done = self.position.cases
        loaded = together(communicator, lambda: loading.result().settle(communicator.all_gather, net.group))
        if self.poll():
            raise Stopped
        return minibatches_of(net, self.provider, batch, loaded, done)

    def _finish_batch(self, batch: ScheduledBatch, start: float) -> None:
        """Count a batch that was begun at ``start``, and act after it.

        Where a test that follows was not finished, the batch is not either.
        """
        self._before = before = copy(self.position)
        self.position.finish_batch(batch.epoch, batch.number)
        try:
            costs, cases = self.position.train_outputs[-1]
            seconds = time.monotonic() - start
            self.tell(BatchEnd(batch.epoch, batch.number, batch.progress, costs, cases, seconds))
            self.end_batch(batch, start)
        except (Stopped, OSError, ConvnetError):
            if batch.test_follows and self.position.tests_at[-1:] != [self.position.batches_done]:
                self.position.unfinish_batch(before)
            raise
        finally:
            self._before = None

    def _step(self, batch: ScheduledBatch, number: int, inputs: Inputs, cases: int, next_inputs: Inputs) -> Costs:
        try:
            return self.net.train(inputs, cases, batch.progress, next_inputs)
        except NumericalError as error:
            raise NumericalError(f"batch {batch.epoch}.{batch.number}, minibatch {number}: {error}") from None

    def resumable(self) -> Position:
        """Return the position from which a run could go on: where a test is under way, with that test still to come."""
        if self._before is None or self.position.tests_at[-1:] == [self.position.batches_done]:
            return self.position
        position = copy(self.position)
        position.train_outputs = list(position.train_outputs)
        position.unfinish_batch(self._before)
        return position

    def before_batch(self) -> bool:
        """Act before a batch, which may be one that was left in the middle; return whether the schedule is another now."""
        return False

    def end_batch(self, batch: ScheduledBatch, start: float) -> None:
        """Act after a batch that was begun at ``start``, which ``position`` counts already.

        May raise ``Stopped`` in a test that follows it.
        """

    def is_done(self) -> bool:
        """Return whether to end after a batch, before the schedule does."""
        return False

    def must_stop(self) -> bool:
        """Return whether to end here, between two minibatches."""
        return False

    def poll(self) -> bool:
        """Act between two minibatches, or while data are waited for; return whether to end here."""
        return self.must_stop()


def load_ahead(
    provider: Provider, schedule: Iterable[ScheduledBatch], net: Net, position: Position
) -> Generator[tuple[ScheduledBatch, Loading, Loading | None]]:
    """Yield each batch, the future of its minibatches for ``net``, and that of the next batch's.

    Those of the first batch begin after the cases that ``position`` counts of it. The last is ``None`` at the end, and
    where a test comes between. A thread loads each batch, and checks it, while the one before is in use.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="convnet-data")

    def load(batch: ScheduledBatch, done: int) -> list[Minibatch] | BatchShare:
        if net.communicator.size > 1:
            return provider.share(batch.epoch, batch.number, *net.cases_read(done))
        return minibatches_of(net, provider, batch, provider.batch(batch.epoch, batch.number), done)

    counts = chain([position.cases], repeat(0))
    upcoming = ((batch, thread.submit(load, batch, done)) for batch, done in zip(schedule, counts, strict=False))
    try:
        current = next(upcoming, None)
        while current:
            (batch, loading), following = current, next(upcoming, None)
            yield batch, loading, following[1] if following and not batch.test_follows else None
            current = following
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def minibatches_of(net: Net, provider: Provider, batch: ScheduledBatch, loaded: Batch, done: int) -> list[Minibatch]:
    """Return the minibatches of a batch for ``net`` after the cases already ``done``; raises ``DataError``."""
    if done > loaded.cases:
        text = "batch %d of %s has %d cases now, and the run had trained on %d of it; it goes on with the next batch"
        _LOG.warning(text, batch.number, provider.where, loaded.cases, done)
    check_batch(net.graph, split(loaded, net.minibatch, done), f"{provider.where}: batch {batch.number}")
    return split(loaded, net.minibatch, done, net.cut)


def _first_inputs(following: Loading | None) -> Inputs:
    """Return the inputs of the next batch's first minibatch, if it has been loaded by now."""
    if following is None or not following.done() or following.exception():
        return ()
    minibatches = following.result()
    return minibatches[0].inputs if isinstance(minibatches, list) and minibatches else ()
