"""What is shown of a cost: sums over cases turned into printed numbers (io 2.6, numerics 12.5, 12.11 and 16.3).

2014 kept a Python expression for this in every cost (``outputFilter``). Here a filter is one of a few words, and the
originals' expressions are recognised, never run. Costs that name ``children`` are shown as one sum with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Self

from convnet.graph.graph import Graph
from convnet.layers.filters import FILTERS, recognise
from convnet.net.net import Costs


@dataclass(frozen=True)
class Outputs:
    """How the costs of one net are shown: the filter of each, its children, and how many of its values add up."""

    filters: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, Sequence[str]] = field(default_factory=dict)
    additive: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Self:
        """Return those of the costs of a graph."""
        return cls(
            {cost.name: cost.outputFilter for cost in graph.costs},
            {cost.name: cost.children for cost in graph.costs},
            {cost.name: cost.additive for cost in graph.costs if cost.additive},
        )

    @classmethod
    def of_stored(cls, layers: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return those of the layer dicts of a checkpoint, of any generation."""
        costs = {name: layer for name, layer in layers.items() if str(layer["type"]).startswith("cost.")}
        return cls(
            {name: recognise(str(layer.get("outputFilter", ""))) for name, layer in costs.items()},
            {name: layer.get("children") or [] for name, layer in costs.items()},
        )

    def shown(self, costs: Costs, cases: int) -> Costs:
        """Return the numbers to print of sums over ``cases``: children are added to their parents and left out."""
        inner = {child for children in self.children.values() for child in children}
        totals = self._totals(costs) if inner else costs
        return {
            name: FILTERS[self.filters.get(name, "mean")].apply(totals[name], cases) for name in costs if name not in inner
        }

    def _totals(self, costs: Costs) -> Costs:
        """Return the sums of every cost and its children, as far as their values add up."""
        totals = dict(costs)
        for name in self._children_first:
            for child in self.children.get(name, ()) if name in totals else ():
                if child in totals:
                    addends = totals[child][: self.additive.get(child)]
                    totals[name] = [a + b for a, b in zip(totals[name], addends, strict=False)]
        return totals

    @cached_property
    def _children_first(self) -> Sequence[str]:
        """Names of costs, each after its children; in no order where a file makes costs children of each other."""
        try:
            return tuple(TopologicalSorter(self.children).static_order())
        except CycleError:
            return tuple(self.children)
