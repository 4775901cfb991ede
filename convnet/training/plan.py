"""What a run is to do: on which data batches it trains, how long, and how often it tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from convnet.checkpoint import Position

ENDLESS = 50000  # epochs where nobody said how many: the originals' default


class ScheduledBatch(NamedTuple):
    """A data batch to train on; ``progress`` sets the learning rates."""

    epoch: int
    number: int
    progress: float
    test_follows: bool = False


@dataclass(frozen=True)
class Plan:
    """Batches to train and to test on, and when; ``max_batches`` 0: until the epochs are done."""

    train: list[int]
    test: list[int]
    epochs: int
    test_freq: int
    test_one: bool = True
    max_batches: int = 0
    extra_batch: bool = False  # one more than ``epochs`` says, as the originals had it (io 2.5)

    def progress(self, batches_done: int) -> float:
        """Return P of the learning-rate schedules, 0 to 1, constant over a batch (numerics 14.1)."""
        return min(1.0, max(0.0, batches_done / (self.epochs * len(self.train))))

    @property
    def is_endless(self) -> bool:
        """Whether a run goes on until it is stopped."""
        return self.epochs == ENDLESS and not self.max_batches

    def batches_left(self, position: Position) -> int | None:
        """Return how many batches a run at ``position`` has still to train on, or ``None`` for one that is endless."""
        first = next(self.schedule(position), None)
        if first is None or self.is_endless:
            return None if first else 0
        left = (self.epochs - first.epoch + 1) * len(self.train) - self.train.index(first.number) + self.extra_batch
        return min(left, self.max_batches or left)

    def is_under_way(self, position: Position) -> bool:
        """Return whether a run at ``position`` has begun a batch that it trains on."""
        return position.cases > 0 and position.at_batch in self.train

    def schedule(self, position: Position) -> Iterator[ScheduledBatch]:
        """Yield the batches that a run at ``position`` has still to train on."""
        epoch, previous, done = max(position.epoch, 1), position.epoch, position.batches_done
        at = self.train.index(position.batch) + 1 if position.epoch and position.batch in self.train else 0
        if self.is_under_way(position):
            epoch, at = position.at_epoch, self.train.index(position.at_batch)
        end = done + self.max_batches
        while not self.max_batches or done < end:
            if at == len(self.train):
                epoch, at = epoch + 1, 0
            if epoch > self.epochs and not (self.extra_batch and previous <= self.epochs):
                return
            done += 1
            yield ScheduledBatch(epoch, self.train[at], self.progress(done - 1), done % self.test_freq == 0)
            previous, at = epoch, at + 1
