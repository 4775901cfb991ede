"""How far a run has come, which a checkpoint holds to the minibatch, and the costs up to there (io 2.6)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, TypedDict

from convnet.checkpoint.history import Runs, batches_each, merge_oldest, middles
from convnet.net.net import Costs


class Change(TypedDict):
    """What became otherwise in the parameters, a line each, after so many batches and minibatches of the next."""

    batches: int
    minibatches: int
    text: list[str]


@dataclass
class Position:
    """Epoch and batch last finished, 0 and 0 before the first, and (sums of costs, cases) of every batch and test.

    ``minibatches``, ``costs`` and ``cases`` belong to the batch under way, which is ``at_batch`` of ``at_epoch`` where that
    is known. ``cases`` says how far it has come: whoever goes on may use another size of minibatch. ``final_test`` has one
    entry where the run has ended by itself: over all test batches, and of no account for how it goes on.
    """

    epoch: int = 0
    batch: int = 0
    batches_done: int = 0
    minibatches: int = 0
    costs: Costs = field(default_factory=dict)
    cases: int = 0
    at_epoch: int = 0
    at_batch: int = -1
    tests_done: int = 0
    train_outputs: list[tuple[Costs, int]] = field(default_factory=list)
    test_outputs: list[tuple[Costs, int]] = field(default_factory=list)
    test_batches: list[int] = field(default_factory=list)  # which batch each test used; -1: all
    tests_at: list[int] = field(default_factory=list)  # batches_done at each test
    train_runs: Runs = field(default_factory=list)  # how many batches, and tests, the oldest entries above stand for
    test_runs: Runs = field(default_factory=list)
    final_test: list[tuple[Costs, int]] = field(default_factory=list)
    watched: str = ""  # what ``best`` is the lowest of (``convnet.training.best``), first met when ``best_at`` were done
    best: float = math.inf
    best_at: int = 0  # 0: there is none yet
    tests_since: int = 0  # without a better one
    changes: list[Change] = field(default_factory=list)  # of the parameters, the oldest first

    @property
    def is_best(self) -> bool:
        """Whether the weights are those of the best test."""
        return 0 < self.best_at == self.batches_done and not self.cases

    @property
    def trained(self) -> int:
        """Batches that ``train_outputs`` are of."""
        return sum(batches_each(len(self.train_outputs), self.train_runs))

    def trained_at(self) -> list[float]:
        """Return for each entry of ``train_outputs`` the number of its batch, or the middle of those it stands for."""
        return middles(len(self.train_outputs), self.train_runs)

    def tested_at(self, period: int | None) -> list[int]:
        """Return how many batches were done at each test; those whose numbers an original kept were ``period`` apart."""
        unknown, trained = len(self.test_outputs) - len(self.tests_at), self.trained
        period = period or max(1, trained // max(1, len(self.test_outputs)))
        return [min(period * (i + 1), trained) for i in range(unknown)] + self.tests_at

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Take up a batch, anew or where it was left."""
        self.at_epoch, self.at_batch = epoch, batch
        self.final_test = []

    def count(self, costs: Costs, cases: int) -> None:
        """Add a minibatch to the batch under way."""
        if self.costs:
            costs, cases = add_costs([(self.costs, self.cases), (costs, cases)])
        self.costs, self.cases = costs, cases
        self.minibatches += 1

    def finish_batch(self, epoch: int, batch: int) -> None:
        """End the batch under way, which is number ``batch`` of ``epoch``."""
        self.train_outputs.append((self.costs, self.cases))
        merge_oldest(self.train_outputs, self.train_runs)
        self.epoch, self.batch = epoch, batch
        self.batches_done += 1
        self.drop_batch()

    def unfinish_batch(self, before: Self) -> None:
        """Put the batch that was finished last under way again, all of it trained; ``before`` is what it was then."""
        self.costs, self.cases = self.train_outputs.pop()
        self.epoch, self.batch, self.minibatches = before.epoch, before.batch, before.minibatches
        self.at_epoch, self.at_batch = before.at_epoch, before.at_batch
        self.batches_done -= 1

    def finish_test(self, costs: Costs, cases: int, batch: int) -> None:
        """Count a test, on ``batch`` or, if that is -1, on all test batches."""
        self.tests_done += 1
        self.test_outputs.append((costs, cases))
        self.test_batches.append(batch)
        self.tests_at.append(self.batches_done)
        merge_oldest(self.test_outputs, self.test_runs, self.test_batches, self.tests_at)

    def count_change(self, text: Sequence[str]) -> None:
        """Count a change of the parameters that holds from here on."""
        self.changes.append(Change(batches=self.batches_done, minibatches=self.minibatches, text=list(text)))

    def drop_batch(self) -> None:
        """Forget the batch under way."""
        self.minibatches, self.costs, self.cases = 0, {}, 0
        self.at_epoch, self.at_batch = 0, -1


def add_costs(outputs: Sequence[tuple[Costs, int]]) -> tuple[Costs, int]:
    """Return the sums over several batches of (sums, cases)."""
    total: Costs = {}
    for costs, _ in outputs:
        for name, values in costs.items():
            # Fewer values where a run of an original, which counted fewer, was gone on with.
            total[name] = [a + b for a, b in zip(total.get(name, [0.0] * len(values)), values, strict=False)]
    return total, sum(cases for _, cases in outputs)
