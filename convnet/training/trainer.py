"""The training loop of the command line and of Python: data batches cut into minibatches (numerics section 16)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from convnet.checkpoint import Costs, Position
from convnet.data.provider import Batch, Provider, cut
from convnet.net.net import Inputs, Net
from convnet.training.plan import ScheduledBatch

Minibatch = tuple[Inputs, Inputs, int, int, int]  # inputs, those to come, cases, number of how many


class Trainer:
    """Trains ``net`` on batches of ``provider`` and counts in ``position``; subclasses say what else is to happen."""

    def __init__(self, net: Net, provider: Provider, position: Position) -> None:
        self.net, self.provider, self.position = net, provider, position

    def train(self, schedule: Iterable[ScheduledBatch]) -> None:
        """Train on the batches of ``schedule``, on the first from where ``position`` left it, until ``must_stop``."""
        feed = Feed(self.provider, self.net.minibatch)
        with closing(feed.batches(schedule, self.position.minibatches)) as batches:
            for batch, minibatches in batches:
                self.begin_batch(batch)
                for inputs, next_inputs, cases, number, total in minibatches:
                    costs = self.net.train(inputs, cases, batch.progress, next_inputs)
                    self.position.count(costs, cases)
                    self.end_minibatch(costs, cases, number, total)
                    if self.must_stop() and number < total:
                        return
                self.position.finish_batch(batch.epoch, batch.number)
                self.end_batch(batch)
                if self.must_stop():
                    return

    def begin_batch(self, batch: ScheduledBatch) -> None:
        """Act before a batch is trained on."""

    def end_minibatch(self, costs: Costs, cases: int, number: int, total: int) -> None:
        """Act after minibatch ``number`` of ``total``."""

    def end_batch(self, batch: ScheduledBatch) -> None:
        """Act after a batch, which ``position`` counts already."""

    def must_stop(self) -> bool:
        """Whether to end here, between two minibatches."""
        return False


class Feed:
    """Minibatches of up to ``size`` cases; a thread loads each data batch while the one before is in use."""

    def __init__(self, provider: Provider, size: int) -> None:
        self.provider, self.size = provider, size
        self._next_inputs: Inputs = ()

    def batches(
        self, schedule: Iterable[ScheduledBatch], first: int = 0
    ) -> Generator[tuple[ScheduledBatch, Iterator[Minibatch]]]:
        """Yield each data batch with its minibatches, those of the first from number ``first`` on.

        They are to be taken before the next batch is asked for, and raise ``DataError`` if theirs cannot be loaded.
        """
        upcoming = iter(schedule)
        thread = ThreadPoolExecutor(1, thread_name_prefix="convnet-data")

        def load_next() -> tuple[ScheduledBatch, Future[Batch]] | None:
            batch = next(upcoming, None)
            return (batch, thread.submit(self.provider.batch, batch.epoch, batch.number)) if batch else None

        try:
            current = load_next()
            while current:
                (batch, loading), following = current, load_next()
                ahead = following[1] if following and not batch.test_follows else None
                yield batch, self._minibatches(loading, ahead, first)
                current, first = following, 0
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _minibatches(self, loading: Future[Batch], following: Future[Batch] | None, first: int) -> Iterator[Minibatch]:
        """Cut a batch. The last minibatch knows the inputs of the next batch if that is loaded by then.

        ``following`` is ``None`` where a test comes between, which has inputs of its own.
        """
        batch = loading.result()
        bounds = list(cut(batch.cases, self.size))
        for number, (start, stop) in enumerate(bounds[first:], first + 1):
            inputs = self._next_inputs or batch.minibatch(start, stop)
            if number < len(bounds):
                self._next_inputs = batch.minibatch(*bounds[number])
            else:
                self._next_inputs = self._first_of(following)
            yield inputs, self._next_inputs, stop - start, number, len(bounds)

    def _first_of(self, following: Future[Batch] | None) -> Inputs:
        if following is None or not following.done() or following.exception():
            return ()
        batch = following.result()
        return batch.minibatch(0, min(batch.cases, self.size)) if batch.cases else ()
