"""The order in which 2011 went back through a net, where results depend on it (``Compat.last_contribution``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convnet.net.node import Node


def depth_first(nodes: Iterable[Node]) -> list[Node]:
    """Return nodes in an order for backward: cost by cost, and from each layer to its inputs, first to last (numerics 3.2).

    A layer waits until all its consumers that pass a gradient on have run. Layers without a gradient come last.
    """
    backward = list(nodes)[::-1]
    sources: dict[Node, list[Node]] = {}  # of each node that runs backward: the inputs that want its gradient
    waiting: Counter[Node] = Counter()  # for how many gradients a node waits
    for node in backward:
        if node.layer.learns if node.layer.is_cost else node.wants_grad and node in waiting:
            sources[node] = [source for source in node.inputs if source.wants_grad]
            waiting.update(sources[node])
    order = []
    stack = [node for node in sources if node.layer.is_cost]  # of reversed order: the first is on top
    while stack:
        node = stack.pop()
        if waiting[node] == 0:
            waiting[node] = -1  # a node that is named by several paths runs once
            order.append(node)
            for source in sources[node]:
                waiting[source] -= 1
            stack += reversed(sources[node])
    return order + [node for node in backward if waiting[node] != -1]
