"""How sums over cases become the numbers that are printed of a cost (io 2.6, numerics 12.5, 12.11 and 16.3).

2014 kept a Python expression for this in every cost (``outputFilter``). Here a filter is one of a few words, and the
originals' expressions are recognised, never run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Filter:
    """One word: its help text, the expression that cuda-convnet2 stores, and what it does to (sums, cases)."""

    help: str
    expression: str
    apply: Callable[[Sequence[float], int], list[float]]


def _mean(sums: Sequence[float], cases: int) -> list[float]:
    return [value / cases for value in sums]


def _detection(sums: Sequence[float], cases: int) -> list[float]:
    """Return means of the first two; then per class true / declared and true / positive, infinite for a count of 0."""
    counts = [sums[i : i + 3] for i in range(2, len(sums), 3)]
    rates = [right / count if count else math.inf for declared, positive, right in counts for count in (declared, positive)]
    return [*_mean(sums[:2], cases), *rates]


_START = "lambda costs,num_cases: "
FILTERS = {
    "mean": Filter("each value divided by the cases", _START + "[c/num_cases for c in costs]", _mean),
    "sum": Filter("sums as they are", _START + "costs", lambda sums, _: list(sums)),
    "first": Filter("only the cost itself", _START + "[costs[0]/num_cases]", lambda sums, cases: _mean(sums[:1], cases)),
    "detection": Filter(
        "means of cost and mismatch, then precision and recall of every class",
        _START
        + "[c/num_cases for c in costs[:2]] + [costs[i+2]/costs[i+j] if costs[i+j] > 0 else float('inf')"
        + " for i in range(2,len(costs),3) for j in range(2)]",
        _detection,
    ),
}


# What 2014 evaluated to print the values of cost.dce: names before the numbers, class by class.
DETECTION_FORMATTER = (
    "lambda self,costs: ', '.join(['(crossent) %.6f, (err) %.6f' % tuple(costs[:2])] + "
    "['(%s) %.6f, %.6f' % each"
    " for each in zip(self.train_data_provider.batch_meta['label_names'], costs[2::2], costs[3::2])])"
)


def recognise(expression: str) -> str:
    """Return the word for an expression of a checkpoint; ``mean`` for one that the originals do not have."""
    known = {filter.expression: word for word, filter in FILTERS.items()}
    detects = "costs[:2]" in expression and "costs[2:]" in expression  # 2014's own wording, in several editions
    return known.get(expression, "detection" if detects else "mean")
