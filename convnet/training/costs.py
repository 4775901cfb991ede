"""What is shown of a cost: sums over cases turned into printed numbers (io 2.6, numerics 12.5, 12.11 and 16.3).

2014 kept a Python expression for this in every cost (``outputFilter``). Here a filter is one of a few words, and the
originals' expressions are recognised, never run. Costs that name ``children`` are shown as one sum with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convnet.layers.filters import FILTERS, recognise

if TYPE_CHECKING:
    from convnet.graph.graph import Graph

Costs = dict[str, list[float]]


@dataclass(frozen=True)
class Outputs:
    """How the costs of one net are shown: the filter of each, its children, and how many of its values add up."""

    filters: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, Sequence[str]] = field(default_factory=dict)
    additive: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Outputs:
        """Of the costs of a graph."""
        return cls(
            {cost.name: cost.outputFilter for cost in graph.costs},
            {cost.name: cost.children for cost in graph.costs},
            {cost.name: cost.additive for cost in graph.costs if cost.additive},
        )

    @classmethod
    def of_stored(cls, layers: Mapping[str, Mapping[str, Any]]) -> Outputs:
        """Of the layer dicts of a checkpoint, of any generation."""
        costs = {name: layer for name, layer in layers.items() if str(layer["type"]).startswith("cost.")}
        return cls(
            {name: recognise(str(layer.get("outputFilter", ""))) for name, layer in costs.items()},
            {name: layer.get("children") or [] for name, layer in costs.items()},
        )

    def folded(self, costs: Costs) -> Costs:
        """Sums, with children added to their parents and left out; values that do not add up are left out too."""
        inner = {child for children in self.children.values() for child in children}
        return {name: self._total(name, costs) for name in costs if name not in inner}

    def shown(self, costs: Costs, cases: int) -> Costs:
        """The numbers to print."""
        return {name: FILTERS[self.filters.get(name, "mean")].apply(v, cases) for name, v in self.folded(costs).items()}

    def _total(self, name: str, costs: Costs) -> list[float]:
        total = costs[name]
        for child in self.children.get(name, ()):
            if child in costs:
                most = self.additive.get(child)
                total = [a + b for a, b in zip(total, self._total(child, costs)[:most], strict=False)]
        return total


def add_costs(outputs: Sequence[tuple[Costs, int]]) -> tuple[Costs, int]:
    """The sums over several batches of (sums, cases)."""
    total: Costs = {}
    for costs, _ in outputs:
        for name, values in costs.items():
            total[name] = [a + b for a, b in zip(total.get(name, [0.0] * len(values)), values, strict=True)]
    return total, sum(cases for _, cases in outputs)
