"""A test made for a report: errors of every class, and the cases that the net was most and least certain of.

Letters: K classes, N cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from convnet.checkpoint import add_costs
from convnet.data.provider import range_text
from convnet.drawing.samples import Head, Prediction, TestSet, data_layer_of, heads, told, true_classes
from convnet.graph.graph import Graph
from convnet.graph.needs import label_index
from convnet.net.net import Costs
from convnet.training.costs import Outputs
from convnet.training.report import Report

_CASES = 8  # of a kind


@dataclass
class Picks:
    """The cases that rank highest: the most certain that are right, the most certain that are wrong, the least certain."""

    right: list[Prediction] = field(default_factory=list)
    wrong: list[Prediction] = field(default_factory=list)
    unsure: list[Prediction] = field(default_factory=list)

    def see(self, cases: Sequence[Prediction]) -> None:
        """Keep of these cases, and of those before, the first of each kind; of equals those that came first."""
        for case in cases:
            (self.right if case.is_right else self.wrong).append(case)
        self.right = sorted(self.right, key=lambda case: -case.bars[0][1])[:_CASES]
        self.wrong = sorted(self.wrong, key=lambda case: -case.bars[0][1])[:_CASES]
        self.unsure = sorted([*self.unsure, *cases], key=lambda case: case.bars[0][1])[:_CASES]


@dataclass
class Evaluation:
    """What a test on ``batches`` came to: ``values`` by cost and name, a report of each head, and picks of the first."""

    batches: str
    cases: int
    values: dict[str, dict[str, float]]
    reports: list[Report]
    picks: Picks


def evaluate(tests: TestSet) -> Evaluation:
    """Test a net on all batches; raises ``ConvnetError``, also for predictions that are not finite.

    Where cases have several classes, or none, there is nothing that they can be mistaken for.
    """
    net, found = tests.net, class_heads(tests.net.graph)
    reports = [Report(head.cost, tests.provider.names_at(label_index(head.cost))) for head in found]
    picks, several = Picks(), set[str]()  # costs of such cases
    whole = data_layer_of(net.graph)
    pictures = [whole] if whole and tests.provider.cropper else []
    outputs: list[tuple[Costs, int]] = []
    keep = [*pictures, *(name for head in found for name in (head.labels, head.layer))]
    for number in tests.numbers:
        first = 0
        for inputs, cases in tests.inputs(number):
            kept = tests.outputs_of(inputs, cases, keep)
            data = kept.pop(0) if pictures else None
            for head, report, labels, scores in zip(found, reports, kept[::2], kept[1::2], strict=True):
                if head.cost.first_input == "target":
                    several |= {report.cost} if (np.count_nonzero(labels, axis=0) != 1).any() else set()
                    report.count(labels.argmax(axis=0)[None], scores)
                else:
                    report.count(labels, scores)
            if found:
                truths = true_classes(kept[0], len(kept[1]))
                picks.see(told(tests, found[0], data, truths, kept[1], _candidates(truths, kept[1]), number, first))
            outputs.append((net.costs(), cases))
            first += cases
    costs, cases = add_costs(outputs)
    values, known = Outputs.of(net.graph).named(costs, cases), [report for report in reports if report.cost not in several]
    return Evaluation(range_text(tests.numbers), cases, values, known, picks if known[:1] == reports[:1] else Picks())


def class_heads(graph: Graph) -> list[Head]:
    """Return the heads that compare probabilities of classes with one label of each case."""
    return [head for head in heads(graph) if graph.layers[head.layer].function == "softmax" and head.cost.num_inputs[1] > 1]


def _candidates(truths: np.ndarray, scores: np.ndarray) -> list[int]:
    """Return the cases of a minibatch that are first of a kind within it, in their order; both are (K, N)."""
    best = scores.max(axis=0)
    is_right = truths[scores.argmax(axis=0), np.arange(len(best))]
    order = np.argsort(-best, kind="stable")
    unsure = np.argsort(best, kind="stable")[:_CASES]
    return sorted({*order[is_right[order]][:_CASES].tolist(), *order[~is_right[order]][:_CASES].tolist(), *unsure.tolist()})
