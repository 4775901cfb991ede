"""A test made for a report: errors of every class, and the cases that the net was most and least certain of.

Letters: K classes, N cases; H, W, C height, width and channels of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from convnet.checkpoint import Checkpoint, add_costs
from convnet.data.provider import Provider, range_text
from convnet.drawing.samples import TestSet, heads
from convnet.errors import ConvnetError, NumericalError
from convnet.graph.graph import Graph
from convnet.graph.needs import label_index
from convnet.layers.cost import Cost
from convnet.net.net import Costs, Net
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
        net, provider = tests.net, tests.provider
        costs = heads_of(net.graph)
        reports = [Report(cost, provider.names_at(label_index(cost))) for cost in costs]
        data = ""
        if provider.cropper:
            with suppress(ConvnetError):  # a layer may read a part of the data, which is no picture
                data = tests.data_layer()
        picks, outputs, several = Picks(), list[tuple[Costs, int]](), set[str]()
        keep = [*dict.fromkeys(source.name for cost in costs for source in cost.sources), *[data] * bool(data)]
        for number in tests.numbers:
            start = 0
            for inputs, cases in tests.inputs(number):
                outputs.append((net.test(inputs, cases, keep), cases))
                for report, cost in zip(reports, costs, strict=True):
                    truths, scores = _judged(net, cost)
                    report.count(truths, scores)
                    several |= {cost.name} if _is_of_several(net, cost) else set()
                    if report is reports[0]:
                        pictures = net.output(data) if data else None
                        picks.see(_candidates(provider, pictures, truths[0].astype(int), scores, (number, start)))
                start += cases
        total, cases = add_costs(outputs)
        values = Outputs.of(net.graph).named(total, cases)
        told = [report for report in reports if report.cost not in several]
        return cls(range_text(tests.numbers), cases, values, told, picks if told[:1] == reports[:1] else Picks())


def _judged(net: Net, cost: Cost) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (1, N) and probabilities (K, N) of the last pass; raises ``NumericalError`` unless all are finite."""
    labels, scores = (net.output(source.name) for source in cost.sources)
    if not np.isfinite(scores).all():
        raise NumericalError(f"the outputs of '{cost.sources[1].name}' are not all finite numbers")
    return labels.argmax(axis=0)[None] if cost.first_input == "target" else labels, scores


def _is_of_several(net: Net, cost: Cost) -> bool:
    """Return whether a case of the last pass has several classes, or none, so that it is mistaken for no other."""
    return cost.first_input == "target" and bool((np.count_nonzero(net.output(cost.sources[0].name), axis=0) != 1).any())


def heads_of(graph: Graph) -> list[Cost]:
    """Return the costs that compare probabilities of classes with one label of each case."""
    return [head.cost for head in heads(graph) if graph.layers[head.layer].function == "softmax"]


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
