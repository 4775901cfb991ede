"""Why a cost is not a finite number: the data, the weights, the labels, or rates that are too high; asked in this order.

Letters: N cases of the minibatch, K classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from convnet.arrays import not_classes
from convnet.layers.cost import Cost
from convnet.layers.data import Data
from convnet.layers.weighted import WeightLayer

if TYPE_CHECKING:
    from convnet.net.net import Costs, Net
    from convnet.net.node import Node

_LARGE = 1e6  # data beyond it, finite as they are, are worth a word


def bad_costs(costs: Costs) -> list[str]:
    """Return the names of costs of which a value is NaN or infinite."""
    return [name for name, values in costs.items() if not all(map(math.isfinite, values))]


def has_bad_data(net: Net) -> bool:
    """Return whether what the last pass read from the data is not finite."""
    return any(isinstance(node.layer, Data) and _is_bad(node) for node in net.nodes.values())


def _is_bad(node: Node) -> bool:
    """Return whether the output of a node is not finite; one that has none here did not run."""
    return node.acts is not None and not node.be.all_finite(node.out)


def reason(net: Net, costs: Costs) -> str:
    """Say where bad ``costs`` come from, by the outputs of the last pass, all of which must have been kept."""
    return first_cause(net, costs)[1]


def first_cause(net: Net, costs: Costs) -> tuple[int, str]:
    """Return ``reason`` behind a number: of those that several ranks find, the cause is that of the lowest."""
    nodes = list(net.nodes.values())
    for node in nodes:
        if isinstance(node.layer, Data) and _is_bad(node):
            return 0, _bad_data(node, node.layer)
    for node in nodes:
        if not all(node.be.all_finite(weights.value) for weights in node.all_weights):
            return 1, _bad_weights(node)
    for name in bad_costs(costs):
        if text := _bad_label(net.nodes[name]):
            return 2, text
    for place, node in enumerate(nodes):
        if not node.layer.is_cost and _is_bad(node):
            return 3 + place, _bad_output(net, node)
    return 3 + len(nodes), _bad_output(net, None, costs)


def _bad_output(net: Net, culprit: Node | None, costs: Costs | None = None) -> str:
    if culprit is None:
        cost = next(iter(bad_costs(costs or {})), "")
        text = f"cost '{cost}' is not finite although every layer is: a label got probability 0."
        return f"{text} {_what_to_lower(net)}"
    where = f"the output of layer '{culprit.layer.name}' is not a finite number"
    reach = _reach(net)
    if reach > _LARGE and net.has_learned:
        return f"{where}, and the data reach {reach:.3g}. Scale them, or lower epsW and the initial weights."
    return f"{where}. {_what_to_lower(net, ' of the layers up to there')}"


def _what_to_lower(net: Net, where: str = "") -> str:
    """Say what makes numbers smaller: rates, or what there is before the first of them has acted."""
    if net.has_learned:
        return f"Lower epsW, or the initial weights,{where}." if where else "Lower epsW."
    weights = f"Lower the initial weights (initW){where}"
    return f"No learning rate has acted yet. {weights}, or scale the data, which reach {_reach(net):.3g}."


def _bad_data(node: Node, layer: Data) -> str:
    values = node.be.download(node.out)
    bad = ~np.isfinite(values)
    cases = np.flatnonzero(bad.any(axis=0))
    row = int(np.flatnonzero(bad[:, cases[0]])[0])
    more = f" and {len(cases) - 1:,} more" if len(cases) > 1 else ""
    case = node.context.first + cases[0]
    what = f"value {layer.start + row} of case {case}{more}, counted from 0, is {values[row, cases[0]]}"
    return f"matrix {layer.dataIdx} of the data, which layer '{layer.name}' reads, is not finite: {what}. Mend the data."


def _bad_weights(node: Node) -> str:
    layer = cast(WeightLayer, node.layer)
    text = f"the weights of layer '{layer.name}' are not finite numbers"
    if any(weights.learning.superEps > 0 for weights in node.all_weights):
        return f"{text}; superEps={layer.superEps:g} lets its rule take roots of negative numbers. Above 0.25 it never does."
    return f"{text} any more. Lower epsW, or the initial weights, of the layers up to there."


def _bad_label(node: Node) -> str:
    """Say which label of a cost is not the number of a class, if one is not."""
    layer = cast(Cost, node.layer)
    if node.be.is_remote or layer.first_input != "label" or node.inputs[0].acts is None:
        return ""
    labels, classes = node.be.download(node.input(0)).reshape(-1), layer.num_inputs[1]
    wrong = not_classes(labels, classes)
    if not len(wrong):
        return ""
    label = f"the label of case {node.context.first + wrong[0]}, counted from 0, is {labels[wrong[0]]:g}"
    return f"{label}; cost '{layer.name}' has classes 0 to {classes - 1}. Mend the data."


def _reach(net: Net) -> float:
    """Return the largest of the data that layers read, labels left out."""
    labels = {cost.sources[0] for cost in net.graph.costs if cost.first_input == "label"}
    here = (node for node in net.nodes.values() if not node.be.is_remote)
    nodes = (node for node in here if isinstance(node.layer, Data) and node.layer not in labels)
    return max((float(np.abs(node.be.download(node.out)).max(initial=0)) for node in nodes), default=0.0)
