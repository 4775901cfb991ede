"""Batches loaded ahead, and cut into the minibatches that a net takes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from convnet.data.images import Matrix
    from convnet.data.provider import Batch, Provider


class Minibatch(NamedTuple):
    """The matrices of some cases, and their number."""

    inputs: list[Matrix]
    cases: int


NO_MINIBATCH = Minibatch([], 0)


def batch_bounds(cases: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of every minibatch; the last one may be smaller (numerics 16.1)."""
    for start in range(0, cases, size):
        yield start, min(start + size, cases)


def split(batch: Batch, size: int) -> list[Minibatch]:
    """Return the minibatches of a batch, which are views of it. What was prefetched is known by being the same object."""
    return [Minibatch(batch.minibatch(start, stop), stop - start) for start, stop in batch_bounds(batch.cases, size)]


def minibatches(batch: Batch, size: int) -> Iterator[tuple[list[Matrix], list[Matrix], int]]:
    """Yield (inputs, inputs of the minibatch that follows, cases) of every minibatch."""
    parts = split(batch, size)
    for part, following in zip(parts, [*parts[1:], NO_MINIBATCH], strict=True):
        yield part.inputs, following.inputs, part.cases


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
