"""Which matrices of the data a net reads, and as what: one answer for random data, files, arrays, and what is said of them.

What a cost reads first are labels, targets or gates. Other matrices but the first are values that layers read: where they
are added to outputs of layers, or stand beside them in a cost, there are as many as outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.cost import Cost
from convnet.layers.data import Data
from convnet.layers.eltwise import Concat, Elementwise
from convnet.layers.fc import FullyConnected
from convnet.layers.neuron import Softmax
from convnet.texts import counted


@dataclass(frozen=True)
class Need:
    """What a net reads of one matrix.

    ``kind`` is ``data``, ``label`` (the number of a class), ``target`` (of a cost: 0 to 1 for each output), ``gate``, or
    ``value``. ``rows`` is 0 where the net does not tell, ``classes`` where it does not tell classes apart. ``layer`` is the
    first to read the matrix.
    """

    index: int
    kind: str
    rows: int
    classes: int
    layer: Data

    @property
    def text(self) -> str:
        """Say what is needed: ``labels of 10 classes``, ``6 values per case``."""
        if self.kind == "label" and self.rows <= 1:
            return f"labels of {counted(self.classes, 'class')}" if self.classes else "labels"
        what = {"label": "label", "target": "target", "gate": "gate"}.get(self.kind, "value")
        return f"{counted(self.rows, what)} per case" if self.rows else f"{what}s"

    @property
    def where(self) -> str:
        """Say which layer needs it, and where that stands: ``layer 'targets' (net.cfg:4)``."""
        place = self.layer.check.place("dataIdx")
        return f"layer '{self.layer.name}' ({place.file}:{place.line})"


def needs_of(graph: Graph, dims: Mapping[int, int]) -> dict[int, Need]:
    """Return what a graph needs by index of the matrix; ``dims`` are the rows that are known. Shaped graphs tell classes."""
    needs: dict[int, Need] = {}
    for layer in data_layers(graph):
        costs = costs_on(layer)
        kind = costs[0].first_input if costs else "value" if layer.dataIdx else "data"
        classes = max((cost.num_inputs[-1] for cost in costs), default=0) if kind in ("label", "target") else 0
        before = needs.get(layer.dataIdx)
        if before is None or (before.kind in ("data", "value") and costs):
            first = before.layer if before else layer
            needs[layer.dataIdx] = Need(layer.dataIdx, kind, dims.get(layer.dataIdx, 0), classes, first)
    return dict(sorted(needs.items()))


def data_layers(graph: Graph) -> list[Data]:
    """Return the data layers whose matrix could be read, in the order of the file."""
    return [layer for layer in graph.declared if isinstance(layer, Data) and layer.dataIdx is not None]


def costs_on(data: Layer) -> list[Cost]:
    """Return the costs that read ``data`` as their labels, targets or gates."""
    return [layer for layer in data.consumers if isinstance(layer, Cost) and layer.first_input and layer.sources[0] is data]


def label_index(cost: Layer) -> int:
    """Return the matrix of the data whose labels or targets a cost reads; 0 where it reads none."""
    return getattr(cost.sources[0], "dataIdx", None) or 0


def predicted_by(cost: Layer) -> Layer:
    """Return the layer whose outputs a cost judges: what is added to data of another matrix than the first, if it is that.

    Of ``cost.sum2`` over ``eltsum`` of ``fc`` and ``targets`` it is ``fc``, of other costs their last input.
    """
    layer = cost.sources[-1]
    while isinstance(layer, Elementwise):
        made = [source for source in layer.sources if not (isinstance(source, Data) and source.dataIdx)]
        if len(made) != 1 or len(layer.sources) == 1:
            break
        layer = made[0]
    return layer


def declared_outputs(graph: Graph) -> Mapping[Layer, int]:
    """Return the outputs of the layers of a graph that has no shapes, as far as its files tell them without data."""
    sizes = _Outputs(graph, {layer.dataIdx for layer in data_layers(graph)})
    sizes.pass_up()
    return sizes.known


def told_sizes(graph: Graph, free: Collection[int]) -> dict[int, int]:
    """Return rows of the matrices ``free`` that follow from layers beside them; ``graph`` is shaped as far as it can be."""
    sizes = _Outputs(graph, free)
    while sizes.pass_up() or sizes.pass_down():
        pass
    rows: dict[int, int] = {}
    for layer in data_layers(graph):
        if layer.dataIdx in free and layer in sizes.known:
            rows[layer.dataIdx] = max(rows.get(layer.dataIdx, 0), (layer.start or 0) + sizes.known[layer])
    return rows


class _Outputs:
    """Outputs of layers as far as they are ``known`` without the sizes of the ``free`` matrices."""

    def __init__(self, graph: Graph, free: Collection[int]) -> None:
        self.graph, self.free = graph, free
        self.known: dict[Layer, int] = {}

    def pass_up(self) -> bool:
        """Work out outputs from inputs; return whether any was new."""
        before = len(self.known)
        for layer in self.graph.layers.values():
            if layer not in self.known and (outputs := self._outputs(layer)):
                self.known[layer] = outputs
        return len(self.known) > before

    def _outputs(self, layer: Layer) -> int:
        if isinstance(layer, FullyConnected):
            return layer.outputs or 0
        if isinstance(layer, Data):
            is_free = layer.dataIdx is None or layer.dataIdx in self.free
            return 0 if is_free else layer.outputs
        parts = [self.known.get(source, 0) for source in layer.sources]
        if _keeps_size(layer):
            return max(parts, default=0)
        if isinstance(layer, Concat):
            return sum(parts) if all(parts) else 0
        return layer.outputs if layer.is_shaped and all(parts) else 0

    def pass_down(self) -> bool:
        """Work out inputs from outputs; return whether any was new."""
        before = len(self.known)
        for layer in reversed(self.graph.layers.values()):
            if isinstance(layer, Cost) and layer.first_input == "target" and len(layer.sources) == 2:
                self._make_equal(layer.sources)
            elif _keeps_size(layer):
                self._make_equal([layer, *layer.sources])
            elif isinstance(layer, Concat) and layer in self.known:
                unknown = [source for source in layer.sources if source not in self.known]
                left = self.known[layer] - sum(self.known.get(source, 0) for source in layer.sources)
                if len(unknown) == 1 and left > 0:
                    self.known[unknown[0]] = left
        return len(self.known) > before

    def _make_equal(self, layers: list[Layer]) -> None:
        size = next((self.known[layer] for layer in layers if layer in self.known), 0)
        for layer in layers if size else ():
            self.known.setdefault(layer, size)


def _keeps_size(layer: Layer) -> bool:
    return not isinstance(layer, FullyConnected) and (layer.elementwise or isinstance(layer, Softmax | Elementwise))
