"""Weights whose gradient comes from several parts of a minibatch, computed here and on other ranks.

Each part's gradient is a sum over its cases. Those of one rank are added two by two, as in a tree; then each rank gets the
sums of all ranks for its own slice of the matrix, adds them in the same way, and steps with that slice, as the replicas of
2014 did (numerics 13.10); last, the ranks share their slices of the new weights. A rank sends 2 (R - 1) / R of the
matrix. Since a sum of two is the same either way round, the tree over all parts is one, on however many ranks it lies, if
each has 1, 2, 4, ... parts, as it has of ``--shards``.

Letters: R ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from convnet.backends.base import Array
from convnet.net.weights import UnderWay, Weights
from convnet.ranks.carriers import Carrier
from convnet.ranks.communicator import Pending


@dataclass(eq=False)
class Team:
    """The ranks that hold the same weights: how many, which of them this is, and what carries arrays between them."""

    rank: int
    size: int
    carrier: Carrier

    def slices(self, length: int) -> list[slice]:
        """Return the part of a flat array that is each rank's to sum and to step with.

        Parts begin at multiples of 16 bytes: NCCL copies others byte by byte.
        """
        bounds = [*(length * rank // self.size // 4 * 4 for rank in range(self.size)), length]
        return [slice(first, last) for first, last in pairwise(bounds)]

    def share(self, array: Array) -> Pending:
        """Begin to share each rank's own slice of an array, so that all have the whole."""
        if self.size == 1:
            return Pending()
        flat = array.reshape(-1)
        return self.carrier.share([flat[part] for part in self.slices(flat.shape[0])])


@dataclass(eq=False)
class SummedWeights(Weights):
    """``Weights`` of a ``team``. The increments, and moments of superEps, are up to date in this rank's slice alone.

    ``end_part`` ends the gradient of a part, ``begin_sum`` the last one of a minibatch; ``update`` waits for what others
    send, ``settle`` for what they have made of their slices.
    """

    may_fold: ClassVar[bool] = False

    team: Team | None = None
    levels: dict[int, Array] = field(default_factory=dict, repr=False)  # sums of 1, 2, 4, ... parts that wait for their like
    total: Array = field(default=None, repr=False)  # this rank's slice of the sum over minibatches since the last update
    _spare: list[Array] = field(default_factory=list, repr=False)
    _received: list[Array] = field(default_factory=list, repr=False)
    _pending: Pending | None = field(default=None, repr=False)

    @property
    def _team(self) -> Team:
        assert self.team
        return self.team

    @property
    def is_due(self) -> bool:
        """Whether the gradients of this pass are the last before an update."""
        return self.learning.base > 0 and self.waited + 1 >= self.period

    def mine(self, array: Array) -> Array:
        """Return this rank's slice of an array of the weights' shape."""
        flat = array.reshape(-1)
        return flat[self._team.slices(flat.shape[0])[self._team.rank]]

    def begin(self, progress: float, cases: float, noise: np.random.Generator | None = None) -> None:
        super().begin(progress, cases, noise)
        self.contributions = 0  # what ``gather`` has put into ``grad`` is in ``total``, too

    def end_part(self) -> None:
        """End the gradient of a part of the minibatch: it is added to that of the part before, two by two."""
        if self.contributions == 0:
            self.be.fill(self.grad, 0.0)
        level, current = 0, self.grad
        while level in self.levels:
            earlier = self.levels.pop(level)
            self.be.add(earlier, current, 1.0)
            self._spare.append(earlier)
            level += 1
        self.levels[level] = current
        self._grad = self._spare.pop() if self._spare else None
        self.contributions = 0

    def _take_sum(self) -> None:
        """Make the sum over the parts of this rank the gradient again; of 3 parts, the last one still waits for its like."""
        last, *before = sorted(self.levels)
        if self._grad is not None:
            self._spare.append(self._grad)
        self._grad = self.levels.pop(last)
        for level in before:
            earlier = self.levels.pop(level)
            self.be.add(earlier, self._grad, 1.0)
            self._spare.append(earlier)
        self.contributions = 1

    def begin_sum(self) -> None:
        """Send each rank its slice of the gradient of this rank's parts; what it adds up may go on meanwhile."""
        self._take_sum()
        team, flat = self._team, self.grad.reshape(-1)
        if team.size == 1:
            return
        slices = team.slices(flat.shape[0])
        own = slices[team.rank].stop - slices[team.rank].start
        if not self._received:
            self._received = [self.be.empty((own if rank != team.rank else 0,)) for rank in range(team.size)]
        self._pending = team.carrier.exchange([flat[part] for part in slices], self._received)

    def _finish_sum(self) -> None:
        """Wait for the slices of other ranks, and add all of them, two by two."""
        if self._pending is None:
            return
        self._pending.wait()
        self._pending = None
        own = self.mine(self.grad)
        if own.shape[0] == 0:
            return
        sums = [own if rank == self._team.rank else received for rank, received in enumerate(self._received)]
        while len(sums) > 1:
            for left, right in zip(sums[::2], sums[1::2], strict=False):
                self.be.add(right, left, 1.0)
            sums = sums[::2]
        if sums[0] is not own:
            self.be.add(sums[0], own)

    def update(self, noise: np.random.Generator | None = None) -> None:
        """Step with this rank's slice when the period is over, and begin to share it; ``settle`` ends that."""
        if self.learning.base <= 0:
            self.waited += 1
            return
        self._finish_sum()
        own = self.mine(self.grad)
        if self.total is not None:
            self.be.add(self.total, own, 1.0)
        if self.is_due:
            self.total = None
            self._step_and_share(noise)
            return
        self.total = self.total if self.total is not None else self.be.empty(own.shape)
        self.be.add(own, self.total)
        self.waited += 1
        self.contributions = 0

    def _step_and_share(self, noise: np.random.Generator | None) -> None:
        if self.learning.leaves_below is not None:  # whose rows are stepped with together
            self._team.share(self.grad).wait()
            self.step(noise)
        else:
            self.step(noise)
            self._pending = self._team.share(self.value)

    def stepped(self, array: Array) -> Array:
        return array if self.learning.leaves_below is not None else self.mine(array)

    def settle(self) -> None:
        """Wait for the slices of other ranks, and keep the whole within its limits."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
            self.limit()

    def gather(self) -> None:
        """Make whole on every rank what each has a slice of: increments, moments, and gradients between two updates."""
        for array in (self.inc, *(self.moments or ())):
            self._team.share(array).wait()
        if self.total is not None:
            self.be.add(self.total, self.mine(self.grad))
            self._team.share(self.grad).wait()
            self.contributions = 1

    def under_way(self) -> UnderWay:
        """Return what has come together between two updates, whole, as ``Weights`` do."""
        self.gather()
        return super().under_way()

    def take_up(self, before: UnderWay) -> None:
        super().take_up(before)
        self._take_total()

    def restore(self, waited: int, contributions: int, grad: np.ndarray | None) -> None:
        super().restore(waited, contributions, grad)
        if grad is None:
            self.contributions = 0
        self._take_total()

    def _take_total(self) -> None:
        """Have the sum since the last update, which ``grad`` holds, in this rank's slice."""
        if self.contributions:
            own = self.mine(self.grad)
            self.total = self.be.empty(own.shape)
            self.be.add(own, self.total)
            self.contributions = 0

    def discard(self) -> None:
        """Drop the gradient of a failed step, of all parts; what is on its way keeps its arrays, and nobody waits for it."""
        super().discard()
        self._spare += self.levels.values()
        self.levels.clear()
        if self._pending is not None:  # other ranks may not come to it, and until they do its arrays are not ours
            self._received, self._grad = [], None
        self.total = self._pending = None
