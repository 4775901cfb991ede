"""Costs of batches as the programs of each generation recorded them in their checkpoints (io 2.6)."""

import math
from collections.abc import Iterable

from convnet.generation import G2011, UNTIL_2012, Generation
from convnet.graph.graph import Graph
from convnet.layers.cost import Cost
from convnet.net.net import Costs

_LOGREG_VALUES = 2  # of 2011's: without the top-k error


def outputs_for(
    outputs: Iterable[tuple[Costs, int]], graph: Graph, generation: Generation
) -> list[tuple[dict[str, list[float]], int]]:
    """Return (costs, cases) of every batch as ``generation`` recorded them: until 2012 means, then sums.

    A cost has as many values as its programs compute, since 2012's and 2014's add up what they find: a number that was
    never computed is NaN.
    """
    costs = {cost.name: cost for cost in graph.costs}
    return [
        (
            {
                name: _values(values, cases if generation in UNTIL_2012 else 1, costs.get(name), generation)
                for name, values in sums.items()
            },
            cases,
        )
        for sums, cases in outputs
    ]


def _values(values: list[float], divisor: int, cost: Cost | None, generation: Generation) -> list[float]:
    if cost is not None and cost.type != "cost.dce":  # whose values are as many as it has classes
        count = _LOGREG_VALUES if generation == G2011 and cost.type == "cost.logreg" else cost.num_values
        if len(values) < count:
            is_repeated = cost.type == "cost.logreg" and cost.topk == 1 and len(values) == _LOGREG_VALUES
            values = [*values, *[values[-1] if is_repeated else math.nan] * (count - len(values))]
        values = values[:count]
    return [value / divisor for value in values] if divisor != 1 else list(values)
