"""What lies in a checkpoint of each generation: layer dicts with their arrays, and recorded costs (io 2.6, 4.4, 4.5)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from convnet.checkpoint.layer_dicts import stored_graph
from convnet.generation import G2011, UNTIL_2012, Generation
from convnet.graph.graph import Graph
from convnet.layers.conv import Windowed
from convnet.layers.cost import Cost
from convnet.net.net import Costs

LEARNED = ("weights", "weightsInc", "biases", "biasesInc", "filterConns")
_LOGREG_VALUES = 2  # of 2011's: without the top-k error


def layers_for(graph: Graph, generation: Generation, state: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the layer dicts of a graph as ``generation`` stores them, with what ``state`` has for them to learn."""
    learned = {name: {key: arrays[key] for key in LEARNED if key in arrays} for name, arrays in state.items()}
    for layer in graph.declared:
        if isinstance(layer, Windowed):  # 2014 has no random connections
            learned.setdefault(layer.name, {}).setdefault("filterConns", [[] for _ in layer.inputs])
    return stored_graph(graph, generation, learned)


def container_for(layers: list[dict[str, Any]], generation: Generation) -> list[dict[str, Any]] | dict[str, dict[str, Any]]:
    """Return 2011's list of layers, or the dict of later ones."""
    return layers if generation == G2011 else {stored["name"]: stored for stored in layers}


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
