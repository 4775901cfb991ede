"""A test made for a report: errors of every class, and the cases that the net was most and least certain of.

Letters: K classes, N cases; H, W, C height, width and channels of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from convnet.checkpoint import Checkpoint, add_costs
from convnet.data.provider import Provider, batch_bounds, range_text, split
from convnet.drawing.samples import TestSet, data_layer_of
from convnet.errors import NumericalError
from convnet.graph.graph import Graph
from convnet.graph.needs import label_index
from convnet.layers.cost import Cost
from convnet.net.net import Costs, Net
from convnet.training.checks import check_batch
from convnet.training.costs import Outputs
from convnet.training.report import Report

_CASES, _BARS = 8, 5  # of a kind, and likeliest classes of each


class Case(NamedTuple):
    """A test case: its ``picture`` (H, W, C) in 0 to 1, if it is one, its class, and the likeliest (class, probability)."""

    batch: int
    number: int
    picture: np.ndarray | None
    truth: int
    guesses: list[tuple[int, float]]


@dataclass
class Picks:
    """The cases that rank highest: the most certain that are right, the most certain that are wrong, the least certain."""

    right: list[Case] = field(default_factory=list)
    wrong: list[Case] = field(default_factory=list)
    unsure: list[Case] = field(default_factory=list)

    def see(self, cases: Sequence[Case]) -> None:
        """Keep of these cases, and of those before, the first of each kind; of equals those that came first."""
        for case in cases:
            (self.right if case.guesses[0][0] == case.truth else self.wrong).append(case)
            self.unsure.append(case)
        self.right = sorted(self.right, key=lambda case: -case.guesses[0][1])[:_CASES]
        self.wrong = sorted(self.wrong, key=lambda case: -case.guesses[0][1])[:_CASES]
        self.unsure = sorted(self.unsure, key=lambda case: case.guesses[0][1])[:_CASES]


@dataclass
class Trial:
    """What a test on ``batches`` came to: ``values`` by cost and name, a report of each head, and picks of the first."""

    batches: str
    cases: int
    values: dict[str, dict[str, float]]
    reports: list[Report]
    picks: Picks

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: dict[str, Any]) -> Trial:
        """Test a checkpoint's net on the test batches that it names, or ``options`` do; raises ``ConvnetError``."""
        tests = TestSet.open(checkpoint, options)
        numbers = tests.provider.ranges(
            checkpoint.option("train_range"), options.get("test_range") or checkpoint.option("test_range")
        )[1]
        return trial_of(tests.net, tests.provider, numbers)


def trial_of(net: Net, provider: Provider, numbers: Sequence[int]) -> Trial:
    """Test a net on batches; raises ``NumericalError`` for predictions that are not finite.

    Where cases have several classes, or none, there is nothing that they can be mistaken for.
    """
    heads = heads_of(net.graph)
    several: set[str] = set()  # costs of such cases
    reports = [Report(cost, provider.names_at(label_index(cost))) for cost in heads]
    data = data_layer_of(net.graph)
    picks, outputs = Picks(), list[tuple[Costs, int]]()
    keep = [*dict.fromkeys(source.name for cost in heads for source in cost.sources), *[data] * bool(data)]
    for number in numbers:
        batch = provider.batch(1, number)
        check_batch(net.graph, split(batch, net.minibatch), f"{provider.where}: batch {number}", finite=False)
        for start, stop in batch_bounds(batch.cases, net.minibatch):
            outputs.append((net.test(batch.minibatch(start, stop), stop - start, keep=keep), stop - start))
            for place, (cost, report) in enumerate(zip(heads, reports, strict=True)):
                labels, scores = (net.output(source.name) for source in cost.sources)
                if not np.isfinite(scores).all():
                    raise NumericalError(f"the outputs of '{cost.sources[1].name}' are not all finite numbers")
                truths = labels
                if cost.first_input == "target":
                    truths = labels.argmax(axis=0)[None]
                    several |= {cost.name} if (np.count_nonzero(labels, axis=0) != 1).any() else set()
                report.count(truths, scores)
                if place == 0:
                    pictures = net.output(data) if provider.cropper and data else None
                    picks.see(_candidates(provider, pictures, truths[0].astype(int), scores, (number, start)))
    costs, cases = add_costs(outputs)
    values = Outputs.of(net.graph).named(costs, cases)
    told = [report for report in reports if report.cost not in several]
    picks = picks if told[:1] == reports[:1] else Picks()
    return Trial(range_text(numbers), cases, values, told, picks)


def heads_of(graph: Graph) -> list[Cost]:
    """Return the costs that compare probabilities of classes with one label of each case."""
    costs = [cost for cost in graph.costs if len(cost.sources) == 2 and cost.num_inputs[1] > 1]
    return [
        cost
        for cost in costs
        if cost.type == "cost.logreg" or (cost.first_input == "target" and cost.sources[1].type == "softmax")
    ]


def _candidates(
    provider: Provider, data: np.ndarray | None, truths: np.ndarray, scores: np.ndarray, place: tuple[int, int]
) -> list[Case]:
    """Return the cases of a minibatch that are first of a kind within it, in their order; ``data`` are its pictures."""
    best = scores.max(axis=0)
    is_right = scores.argmax(axis=0) == truths
    order = np.argsort(-best, kind="stable")
    chosen = [*order[is_right[order]][:_CASES], *order[~is_right[order]][:_CASES]]
    chosen += [*np.argsort(best, kind="stable")[:_CASES]]
    numbers = sorted(set(map(int, chosen)))
    pictures = None if data is None else provider.images(np.ascontiguousarray(data[:, numbers]))
    cases = []
    for i, n in enumerate(numbers):
        likeliest = np.argsort(-scores[:, n], kind="stable")[:_BARS]
        guesses = [(int(k), float(scores[k, n])) for k in likeliest]
        picture = None if pictures is None else pictures[i]
        cases.append(Case(place[0], place[1] + n, picture, int(truths[n]), guesses))
    return cases
