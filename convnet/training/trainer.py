"""The training loop of the command line and of Python: data batches split into minibatches (numerics section 16)."""

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from copy import copy

from convnet.checkpoint import Position
from convnet.data.provider import Minibatch, Provider, split
from convnet.errors import ConvnetError
from convnet.net.net import Costs, Inputs, Net
from convnet.training.plan import ScheduledBatch
from convnet.training.stopping import Stopped, wait_for

Loading = Future[list[Minibatch]]


class Trainer:
    """Trains ``net`` on batches of ``provider`` and updates ``position``; subclasses override the hooks."""

    def __init__(self, net: Net, provider: Provider, position: Position) -> None:
        self.net, self.provider, self.position = net, provider, position

    def train(self, schedule: Iterable[ScheduledBatch]) -> None:
        """Train on the batches of ``schedule`` until ``must_stop``; in the first, after the minibatches already counted.

        Raises ``DataError`` for a batch that cannot be loaded, ``NumericalError`` for costs that are not finite.
        """
        with suppress(Stopped), closing(load_ahead(self.provider, schedule, self.net.minibatch)) as batches:
            for batch, loading, following in batches:
                self.begin_batch(batch)
                minibatches, first = wait_for(loading, self.must_stop), self.position.minibatches
                for number, (inputs, cases) in enumerate(minibatches[first:], first + 1):
                    is_last = number == len(minibatches)
                    next_inputs = _first_inputs(following) if is_last else minibatches[number].inputs
                    costs = self.net.train(inputs, cases, batch.progress, next_inputs)
                    self.position.count(costs, cases)
                    self.end_minibatch(costs, cases, len(minibatches))
                    if self.must_stop() and not is_last:
                        return
                self._finish_batch(batch)
                if self.must_stop():
                    return

    def _finish_batch(self, batch: ScheduledBatch) -> None:
        """Count a batch and act after it; where a test that follows was not finished, the batch is not either."""
        before = copy(self.position)
        self.position.finish_batch(batch.epoch, batch.number)
        try:
            self.end_batch(batch)
        except (Stopped, OSError, ConvnetError):
            if batch.test_follows and self.position.tests_at[-1:] != [self.position.batches_done]:
                self.position.unfinish_batch(before)
            raise

    def begin_batch(self, batch: ScheduledBatch) -> None:
        """Act before a batch is trained on."""

    def end_minibatch(self, costs: Costs, cases: int, total: int) -> None:
        """Act after a minibatch, one of ``total``, which ``position`` counts already."""

    def end_batch(self, batch: ScheduledBatch) -> None:
        """Act after a batch, which ``position`` counts already; may raise ``Stopped`` in a test that follows it."""

    def must_stop(self) -> bool:
        """Return whether to end here, between two minibatches."""
        return False


def load_ahead(
    provider: Provider, schedule: Iterable[ScheduledBatch], size: int
) -> Generator[tuple[ScheduledBatch, Loading, Loading | None]]:
    """Yield each batch, the future of its minibatches of up to ``size`` cases, and that of the next batch's.

    The last is ``None`` at the end, and where a test comes between. A thread loads each batch while the one before is
    in use.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="convnet-data")

    def load(batch: ScheduledBatch) -> list[Minibatch]:
        return split(provider.batch(batch.epoch, batch.number), size)

    upcoming = ((batch, thread.submit(load, batch)) for batch in schedule)
    try:
        current = next(upcoming, None)
        while current:
            (batch, loading), following = current, next(upcoming, None)
            yield batch, loading, following[1] if following and not batch.test_follows else None
            current = following
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _first_inputs(following: Loading | None) -> Inputs:
    """Return the inputs of the next batch's first minibatch, if it has been loaded by now."""
    if following is None or not following.done() or following.exception():
        return ()
    minibatches = following.result()
    return minibatches[0].inputs if minibatches else ()
