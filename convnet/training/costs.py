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
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.cost import Cost
from convnet.layers.filters import FILTERS, recognise
from convnet.net.net import Costs

TWICE = "top-1 error"  # which is the error


@dataclass(frozen=True)
class Outputs:
    """How the costs of one net are shown: the filter of each, its children, how many of its values add up, their names."""

    filters: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, Sequence[str]] = field(default_factory=dict)
    additive: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Self:
        """Return those of the costs of a graph."""
        return cls(
            {cost.name: cost.outputFilter for cost in graph.costs},
            {cost.name: cost.children for cost in graph.costs},
            {cost.name: cost.additive for cost in graph.costs if cost.additive},
            {cost.name: _value_names(type(cost), cost.guesses) for cost in graph.costs},
        )

    @classmethod
    def of_stored(cls, layers: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return those of the layer dicts of a checkpoint, of any generation."""
        costs = {name: layer for name, layer in layers.items() if str(layer["type"]).startswith("cost.")}
        return cls(
            {name: recognise(str(layer.get("outputFilter", ""))) for name, layer in costs.items()},
            {name: layer.get("children") or [] for name, layer in costs.items()},
            names={
                name: _value_names(LAYER_TYPES.get(str(layer["type"])), layer.get("topk") or layer.get("setSize") or 1)
                for name, layer in costs.items()
            },
        )

    def shown(self, costs: Costs, cases: int) -> Costs:
        """Return the numbers to print of sums over ``cases``: children are added to their parents and left out."""
        inner, filters = self._inner, self.filters
        totals = self._totals(costs) if inner else costs
        return {name: FILTERS[filters.get(name, "mean")].apply(totals[name], cases) for name in costs if name not in inner}

    def value_names(self, cost: str, count: int) -> list[str]:
        """Return names such as ``cost``, ``error``, ``top-5 error`` of the first ``count`` numbers shown of a cost."""
        names = list(self.names.get(cost, ("cost",)))
        if self.filters.get(cost) == "detection":
            rates = ("precision", "recall")
            names += [f"{rates[i % 2]} of class {i // 2}" for i in range(count - len(names))]
        return [*names, *(f"value {i}" for i in range(len(names), count))][:count]

    def named(self, costs: Costs, cases: int) -> dict[str, dict[str, float]]:
        """Return the numbers shown of sums over ``cases``, by cost and by name; not the error of one guess twice."""
        shown = self.shown(costs, cases)
        named = {name: dict(zip(self.value_names(name, len(values)), values, strict=True)) for name, values in shown.items()}
        return {name: {what: value for what, value in values.items() if what != TWICE} for name, values in named.items()}

    def legend(self) -> dict[str, list[str]]:
        """Return the names of the numbers of each cost, as far as they are known beforehand."""
        shown = {cost: names for cost, names in self.names.items() if cost not in self._inner}
        return {cost: [name for name in names if name != TWICE] for cost, names in shown.items()}

    def text(self, costs: Costs, cases: int) -> str:
        """Return ``cost 0.6123, error 12.30 %`` of sums over ``cases``, for reading; each of several costs with its name."""
        parts = {
            name: ", ".join(f"{what} {value_text(what, value)}" for what, value in values.items())
            for name, values in self.named(costs, cases).items()
        }
        return "; ".join(f"{name}: {text}" if len(parts) > 1 else text for name, text in parts.items())

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
    def _inner(self) -> set[str]:
        """Names of costs that are shown as part of others."""
        return {child for children in self.children.values() for child in children}

    @cached_property
    def _children_first(self) -> Sequence[str]:
        """Names of costs, each after its children; in no order where a file makes costs children of each other."""
        try:
            return tuple(TopologicalSorter(self.children).static_order())
        except CycleError:
            return tuple(self.children)


def value_text(name: str, value: float, digits: int = 4) -> str:
    """Return a number shown of a cost as people read it: errors are shares."""
    return f"{100 * value:.{digits - 2}f} %" if name.endswith("error") else f"{value:.{digits}g}"


def _value_names(kind: type[Layer] | None, guesses: int) -> list[str]:
    """Return the names of the values of a cost of type ``kind``, where ``guesses`` labels may be guessed."""
    return [name.format(k=guesses) for name in kind.value_names] if kind and issubclass(kind, Cost) else []
