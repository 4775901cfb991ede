"""The layers of a net over ranks, and how they run on a part of a minibatch.

``Layout`` says which parts and layers are this rank's. All ranks run the same layers in the same order: what lies on
another rank does nothing here (``convnet.ranks.remote``), and what crosses is a message. Layers of which 2014's files have
more replicas than of others, the wide ones, run once on each lane; the narrow ones, for one lane after the other, with that
lane's outputs, which ``Crossing`` brings to them (numerics 18.5). Gradients are summed over parts and ranks by
``SummedWeights``, each as soon as this rank has computed it, while backward goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.errors import OptionError
from convnet.generation import COMPAT, Compat
from convnet.graph import replicas
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.layers.weighted import WeightLayer
from convnet.net.crossing import Crossing
from convnet.net.layout import Layout
from convnet.net.net import CasesRead, Costs, Net, Work
from convnet.net.node import Context, Inputs, Node
from convnet.net.placement import place
from convnet.net.sums import SummedWeights, Team
from convnet.net.weights import Learning, Weights
from convnet.ranks.carriers import Carrier
from convnet.ranks.communicator import Communicator, Solo
from convnet.ranks.remote import Remote

Part = tuple[int, int]  # (shard, chunk)
Parts = Mapping[Part, Inputs]  # the inputs of every part of a minibatch, whoever computes it


_NOBODY = Team(0, 1, Carrier(Solo()))  # of weights that lie on another rank


@dataclass
class Ranks:
    """The ranks that compute a net together, and how it lies over them.

    ``carrier`` makes what moves arrays of a backend between the ranks of a communicator.
    """

    communicator: Communicator
    layout: Layout
    carrier: Callable[[Backend, Communicator], Carrier]


class NetInParts(Net):
    """Runs parts of minibatches on ``be``, with the other ranks of a communicator; ``ParallelNet`` trains and tests with it.

    ``minibatch`` is that of all ranks together. Raises ``OptionError`` for what does not fit.
    """

    def __init__(
        self,
        graph: Graph,
        be: Backend,
        ranks: Ranks,
        minibatch: int = 128,
        seed: int = 0,
        state: dict[str, Any] | None = None,
        update_period: int = 1,
        compat: Compat = COMPAT[""],
    ) -> None:
        if compat.last_contribution or compat.own_rates:
            raise OptionError("--compat 2011: the program of 2011 ran on one GPU; not on several ranks, or in shards")
        communicator, layout, carrier = ranks.communicator, ranks.layout, ranks.carrier
        self.communicator, self.layout, self.device = communicator, layout, be
        self._wide = set(replicas.wide(graph))
        group, across = communicator, communicator
        if layout.width > 1:
            group, across = communicator.split(layout.rank // layout.width), communicator.split(layout.place)
        self.group = group if layout.width > 1 else None
        # All ranks hold the wide layers, and those at the same place of a group the others.
        self._everyone = Team(communicator.rank, communicator.size, carrier(be, communicator))
        self._alike = self._everyone if across is communicator else Team(across.rank, across.size, carrier(be, across))
        self._places = _places(be, group, layout)
        self._devices = _devices(graph, self._places, layout)
        super().__init__(graph, self._places, minibatch, seed, state, update_period, compat)
        self.backends, self.be = [be], be

    # -- what is where ------------------------------------------------------------------------------------------

    def new_context(self) -> Context:
        return Context(self.graph, self.layout.part_size(self.minibatch), self.seed, self.pools, self.minibatch)

    def _wire(self) -> None:
        self.crossings: dict[str, Crossing] = {}
        self._wide_context = self.new_context()
        super()._wire()
        self._wide_nodes = [node for node in self.nodes.values() if node.layer.name in self._wide]
        self._narrow_nodes = [node for node in self.nodes.values() if node.layer.name not in self._wide]
        wide = set(self._wide_nodes)
        self._wide_back = [node for node in self._backward_order if node in wide]
        self._narrow_back = [node for node in self._backward_order if node not in wide]

    def make_nodes(self, wanting: Collection[str], context: Context) -> dict[str, Node]:
        """Return a node for every layer; data come first on every device, since readers may want them in any backward."""
        nodes = super().make_nodes(wanting, context)
        return dict(sorted(nodes.items(), key=lambda entry: bool(entry[1].layer.sources)))

    def places(self) -> dict[str, Backend]:
        """Return this rank's backend for layers that it computes, and for others that of their rank in its group."""
        placed = place(self.graph, self._devices)
        return placed | dict.fromkeys(self._wide, self.device)

    def context_of(self, layer: Layer, context: Context) -> Context:
        return self._wide_context if layer.name in self._wide else context

    def source_of(self, reader: Layer, source: Layer, places: Mapping[str, Backend], nodes: dict[str, Node]) -> Node:
        """Return the node of ``source`` that ``reader`` reads: data have one on every rank that reads them."""
        node = nodes[source.name]
        if source.name in self._wide and reader.name not in self._wide:
            if source.name not in self.crossings:
                self.crossings[source.name] = Crossing(self._context, node)
            return self.crossings[source.name]
        place = places[reader.name]
        if isinstance(source, Data) and place is not node.be:
            name = f"{source.name} of {place.describe()}"
            if name not in nodes:
                nodes[name] = Node(node.context, source, place, [], node.wants_grad)
            return nodes[name]
        return node

    def new_weights(self, node: Node, value: Array, inc: Array, learning: Learning) -> Weights:
        team = self._everyone if node.layer.name in self._wide else self._alike
        if node.be is not self.device:
            team = _NOBODY
        return SummedWeights(node.be, value, inc, learning, team=team)

    def period_of(self, layer: WeightLayer) -> int:
        """Return how often a layer's nodes run backward between updates: narrow ones once in every pass."""
        passes = self.layout.passes
        period = replicas.update_passes(layer, replicas.fewest(self.graph))
        if layer.name in self._wide:
            return max(period // passes, self.update_period)
        return max(period, self.update_period * passes if self.update_period > 1 else 1)

    def load_state(self, state: dict[str, dict[str, Any]]) -> None:
        super().load_state(state)
        last: dict[Weights, Node] = {}
        for node in self._backward_order:
            last |= dict.fromkeys(node.all_weights, node)
        self._ends: dict[Node, list[SummedWeights]] = {}  # the weights that no node adds to after this one
        for weights, node in last.items():
            if isinstance(weights, SummedWeights) and weights.learns:
                self._ends.setdefault(node, []).append(weights)
        self._is_last_part = False
        self._outputs: dict[str, dict[int, np.ndarray]] = {}  # of what a test keeps, by the first case of a part
        self._costs: Costs = {}

    # -- a minibatch, part by part ------------------------------------------------------------------------------

    def cut(self, take: Callable[[int, int], Inputs], start: int, stop: int) -> Any:
        layout, cases = self.layout, stop - start
        parts = {at: layout.part(*at, cases) for at in product(range(layout.shards), range(layout.passes))}
        return {at: take(start + part.start, start + part.stop) for at, part in parts.items() if part.start < part.stop}

    def cases_read(self, first: int = 0) -> CasesRead:
        layout, graph = self.layout, self.graph
        return lambda cases: layout.wanted(graph, self.minibatch, cases, first), partial(layout.decoded, graph)

    def close(self, failed: bool = False) -> None:
        for team in dict.fromkeys((self._everyone, self._alike)):
            team.carrier.close(failed)

    def prepare(self, cases: int, training: bool) -> None:
        super().prepare(self.layout.part_size(cases), training)

    def _follow(self, minibatches: Sequence[Parts]) -> None:
        """Have ``_prefetch`` bring the inputs of the parts of these minibatches, in order, where they follow each other."""
        own = [
            inputs[shard, 0] for inputs in minibatches if inputs for shard in self.layout.own_shards if (shard, 0) in inputs
        ]
        self._following = iter(own[1:] if self.layout.passes == 1 else ())

    def _prefetch(self) -> None:
        """Begin to copy the inputs of the part that comes next, if they are known."""
        if next_inputs := next(self._following, None):
            self.prefetch(next_inputs)

    def _lane_part(self, shard: int, chunks: Sequence[int]) -> Part:
        """Return the part that this rank computes of a round; there is none where it has no lane."""
        place = self.layout.place
        return shard, chunks[place] if place < len(chunks) else -1

    def _forward_wide(
        self, inputs: Parts, cases: int, shard: int, chunks: Sequence[int], mode: Mode, keep: Collection[str] = ()
    ) -> None:
        """Run the wide layers on the chunk of this rank's lane, if there is one."""
        self.end_crossings()
        part = self._lane_part(shard, chunks)
        if self._wide and part in inputs:
            self._begin(self._wide_nodes, self._wide_context, inputs, cases, part, mode, {*keep, *self.crossings})
            self.run_forward(self._wide_nodes, mode, {*keep, *self.crossings})

    def _forward_narrow(
        self, inputs: Parts, cases: int, part: Part, lane: int, mode: Mode, keep: Collection[str] = ()
    ) -> list[Callable[[], tuple[int, Costs]]]:
        """Run the narrow layers on a part whose wide layers ran on ``lane``; return what fetches its costs, if any."""
        self.end_crossings()  # of the lane before, which a pass that does not go back has left
        if part not in inputs:
            return []
        self._begin(self._narrow_nodes, self._context, inputs, cases, part, mode, keep)
        for crossing in self.crossings.values():
            crossing.begin(self._places[lane])
        self.run_forward(self._narrow_nodes, mode, keep)
        pending, first = self._fetch_costs(lane), self._context.first
        if not (mode.goes_back or mode is Mode.VIEW):
            self.end_crossings()
        return [lambda: (first, pending())]

    def end_crossings(self) -> None:
        """Let go of what narrow layers read of a lane."""
        for crossing in self.crossings.values():
            crossing.end()

    def _begin(
        self,
        nodes: Iterable[Node],
        context: Context,
        inputs: Parts,
        cases: int,
        part: Part,
        mode: Mode,
        keep: Collection[str],
    ) -> None:
        """Set what nodes ask for while they run on a part of a minibatch of ``cases``."""
        for node in nodes:
            node.release_acts()
        bounds = self.layout.part(*part, cases)
        context.inputs, context.keep, context.mode, context.step = inputs[part], keep, mode, self.step
        context.cases, context.whole, context.first = bounds.stop - bounds.start, cases, bounds.start
        super().prepare(context.cases, mode.goes_back)

    def _backward_narrow(self, inputs: Parts, part: Part) -> None:
        self._backward(self._narrow_back, part in inputs)
        self.end_crossings()

    def _backward(self, order: Sequence[Node], has_cases: bool) -> None:
        """Run nodes backward; a part without cases ends with gradients of zero."""
        if has_cases:
            self.run_backward(order)
            return
        for node in order:
            self.end_backward(node)

    def _run(self, node: Node, kind: str, work: Work) -> None:
        super()._run(node, kind, work)
        for team in (self._everyone, self._alike):
            team.carrier.progress()

    def end_backward(self, node: Node) -> None:
        """Begin to sum the gradients that are complete with this node's, while backward goes on."""
        for weights in self._ends.get(node, ()):
            weights.end_part()
            if self._is_last_part:
                weights.begin_sum()

    def _fetch_costs(self, lane: int = 0) -> Callable[[], Costs]:
        """Begin to copy the sums of the costs to the host that this rank computes in the pass of a lane.

        Those of wide layers are each lane's own. The result waits for them.
        """
        nodes = [*self._narrow_nodes, *(self._wide_nodes if lane == self.layout.place else ())]
        own = {node.layer.name: node for node in nodes if node.layer.is_cost and node.be is self.device}
        pending = {name: node.be.fetch(node.costs) for name, node in own.items()}
        return lambda: {name: [float(value) for value in result()] for name, result in pending.items()}


def spread(graph: Graph, backends: Sequence[Backend], ranks: Communicator, layout: Layout) -> Sequence[Backend]:
    """Return the backend of each logical device, as one of several ranks has them; of one rank, its ``backends``."""
    if ranks.size == 1:
        return backends
    return _devices(graph, _places(backends[0], ranks, layout), layout)


def _places(be: Backend, group: Communicator, layout: Layout) -> list[Backend]:
    """Return what stands for the device of each rank of a group: ``be`` for this rank's own."""
    return [be if number == layout.place else Remote(group, number, be) for number in range(layout.width)]


def _devices(graph: Graph, places: Sequence[Backend], layout: Layout) -> list[Backend]:
    """Return the place of each logical device of the layer file."""
    return [places[layout.place_of(device, graph)] for device in range(max(replicas.devices(graph), default=0) + 1)]
