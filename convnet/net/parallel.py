"""A net that computes a minibatch in parts, on one rank or on several.

``Layout`` says which parts and layers are this rank's. All ranks run the same layers in the same order: what lies on
another rank does nothing here (``convnet.ranks.remote``), and what crosses is a message. Layers of which 2014's files have
more replicas than of others, the wide ones, run once on each lane; the narrow ones, for one lane after the other, with that
lane's outputs, which ``Crossing`` brings to them (numerics 18.5). Gradients are summed over parts and ranks by
``SummedWeights``, each as soon as this rank has computed it, while backward goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.errors import NumericalError, OptionError
from convnet.generation import COMPAT, Compat
from convnet.graph import replicas
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.layers.weighted import WeightLayer
from convnet.net.crossing import Crossing
from convnet.net.diagnosis import bad_costs, reason
from convnet.net.layout import Layout
from convnet.net.net import Costs, Net, Observer, Work
from convnet.net.node import Context, Inputs, Node
from convnet.net.placement import place
from convnet.net.sums import Carrier, SummedWeights, Team
from convnet.net.weights import Learning, Weights
from convnet.ranks.communicator import Communicator, Solo
from convnet.ranks.remote import Remote

Part = tuple[int, int]  # (shard, chunk)
Parts = Mapping[Part, Inputs]  # the inputs of every part of a minibatch, whoever computes it


_NOBODY = Team(0, 1, Solo())  # of weights that lie on another rank


@dataclass
class Ranks:
    """The ranks that compute a net together, and how it lies over them.

    ``carrier`` makes what moves arrays of a backend between the ranks of a communicator.
    """

    communicator: Communicator
    layout: Layout
    carrier: Callable[[Backend, Communicator], Carrier]


class ParallelNet(Net):
    """Runs a graph in parts on ``be``, with the other ranks of a communicator; raises ``OptionError`` for what does not fit.

    ``minibatch`` is that of all ranks together, and so are the cases that ``train`` and ``test`` are told. Their inputs are
    ``Parts``, which ``cut`` makes.
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
        # All ranks hold the wide layers, and those at the same place of a group the others.
        self._everyone = Team(communicator.rank, communicator.size, carrier(be, communicator))
        self._alike = self._everyone if across is communicator else Team(across.rank, across.size, carrier(be, across))
        self._places = [be if number == layout.place else Remote(group, number) for number in range(layout.width)]
        self._devices = [self._places[layout.place_of(device, graph)] for device in range(_last_device(graph) + 1)]
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

    def wanted(self, first: int = 0) -> Callable[[int], np.ndarray] | None:
        return lambda cases: self.layout.wanted(self.graph, self.minibatch, cases, first)

    def begin_step(self, progress: float, cases: int) -> None:
        """Set the learning rates; a narrow layer's gradient of a pass is a mean over that pass (numerics 13.10)."""
        passes, biases = self.layout.passes, {node.biases for node in self.nodes.values() if node.weights}
        for name, node in self.nodes.items():
            for weights in node.own_weights:
                nominal = weights.period > 1 or self.compat.nominal_cases
                of_pass = (self.minibatch if nominal else cases) / passes
                if self.compat.nominal_cases and weights in biases:
                    of_pass = -(-self.minibatch // passes)
                weights.begin(progress, of_pass * passes if name in self._wide else of_pass, self.noise)

    def prepare(self, cases: int, training: bool) -> None:
        super().prepare(self.layout.part_size(cases), training)

    def train(
        self,
        inputs: Any,
        cases: int,
        progress: float = 0.0,
        next_inputs: Any = (),
        check_finite: bool = True,
    ) -> Costs:
        """Take one step; see ``Net.train``. With several passes, those before one that fails have been learned from."""
        self.begin_step(progress, cases)
        self._follow([inputs, next_inputs])
        parts = [costs for chunks in self.layout.rounds for costs in self._train_round(inputs, cases, chunks, check_finite)]
        if self._wide:
            self._update(self._wide_nodes)
        self.step += 1
        self.has_learned = self.has_learned or any(weights.learns and not weights.waited for weights in self.weights)
        return _added(parts)

    def _train_round(self, inputs: Parts, cases: int, chunks: Sequence[int], check_finite: bool) -> list[Costs]:
        """Take the chunks that are computed at once through the net and back, and let narrow layers learn after each.

        Returns the costs of every pass, of all ranks.
        """
        costs, waiting = [], []
        with self._whole_or_not_at_all():
            for shard in self.layout.own_shards:
                self._is_last_part = is_last = shard == self.layout.own_shards[-1]
                self._forward_wide(inputs, cases, shard, chunks, Mode.TRAIN)
                for lane, chunk in enumerate(chunks):
                    waiting += self._forward_narrow(inputs, cases, (shard, chunk), lane, Mode.TRAIN)
                    self._prefetch()
                    self._backward_narrow(inputs, (shard, chunk))
                    if is_last:
                        costs.append(self._sum_costs(waiting))
                        waiting.clear()
                        if check_finite and bad_costs(costs[-1]):
                            raise NumericalError(self.why_not_finite(inputs, cases, costs[-1], Mode.TRAIN))
                        self._update(self._narrow_nodes)
                self._is_last_part = is_last and chunks[-1] == self.layout.passes - 1
                self._backward(self._wide_back, self._lane_part(shard, chunks) in inputs)
        return costs

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
        part = self._lane_part(shard, chunks)
        if self._wide and part in inputs:
            self._begin(self._wide_nodes, self._wide_context, inputs, cases, part, mode, {*keep, *self.crossings})
            self.run_forward(self._wide_nodes, mode, {*keep, *self.crossings})

    def _forward_narrow(
        self, inputs: Parts, cases: int, part: Part, lane: int, mode: Mode, keep: Collection[str] = ()
    ) -> list[Callable[[], tuple[int, Costs]]]:
        """Run the narrow layers on a part whose wide layers ran on ``lane``; return what fetches its costs, if any."""
        if part not in inputs:
            return []
        self._begin(self._narrow_nodes, self._context, inputs, cases, part, mode, keep)
        for crossing in self.crossings.values():
            crossing.begin(self._places[lane])
        self.run_forward(self._narrow_nodes, mode, keep)
        if not mode.goes_back:
            for crossing in self.crossings.values():
                crossing.end()
        pending, first = self._fetch_costs(), self._context.first
        return [lambda: (first, pending())]

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
        for crossing in self.crossings.values():
            crossing.end()

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

    def _update(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.update(self.noise)
        for node in nodes:
            for weights in node.own_weights:
                weights.settle()

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Drop what a step has left that an exception ends."""
        try:
            yield
        except BaseException:
            for node in (*self.crossings.values(), *self.nodes.values()):
                node.release_grad()
                node.release_acts()
            for weights in self.weights:
                weights.discard()
            raise

    # -- costs and outputs ----------------------------------------------------------------------------------------

    def _fetch_costs(self) -> Callable[[], Costs]:
        """Begin to copy the sums of the costs that this rank computes to the host; the result waits for them."""
        own = {name: node for name, node in self.nodes.items() if node.layer.is_cost and node.be is self.device}
        pending = {name: node.be.fetch(node.costs) for name, node in own.items()}
        return lambda: {name: [float(value) for value in result()] for name, result in pending.items()}

    def _sum_costs(self, waiting: Sequence[Callable[[], tuple[int, Costs]]]) -> Costs:
        """Return the sums of costs over the parts of all ranks, added in the order of their cases."""
        parts = [part for rank in self.communicator.all_gather([fetch() for fetch in waiting]) for part in rank]
        return _added([costs for _, costs in sorted(parts, key=itemgetter(0))])

    def costs(self) -> Costs:
        return self._costs

    def test(
        self,
        inputs: Any,
        cases: int,
        keep: Sequence[str] = (),
        next_inputs: Any = (),
        observer: Observer | None = None,
    ) -> Costs:
        self._outputs, waiting = {}, []
        self._follow([inputs, next_inputs])
        wanted = [*keep, *(observer.wanted if observer else ())]
        for shard in self.layout.own_shards:
            for chunks in self.layout.rounds:
                self._forward_wide(inputs, cases, shard, chunks, Mode.TEST, wanted)
                if self._lane_part(shard, chunks) in inputs:
                    self._keep(self._wide_nodes, keep, observer)
                for lane, chunk in enumerate(chunks):
                    waiting += self._forward_narrow(inputs, cases, (shard, chunk), lane, Mode.TEST, wanted)
                    if (shard, chunk) in inputs:
                        self._keep(self._narrow_nodes, keep, observer)
                        self._prefetch()
        self._costs = self._sum_costs(waiting)
        return self._costs

    def _keep(self, nodes: Iterable[Node], keep: Collection[str], observer: Observer | None = None) -> None:
        """Copy the outputs of this rank's nodes that a test wants, and have ``observer`` see them."""
        observed = observer.wanted if observer else ()
        for node in nodes:
            name = node.layer.name
            if node.be is self.device and name in keep:
                self._outputs.setdefault(name, {})[node.context.first] = node.be.download(node.out)
            if observer and node.be is self.device and name in observed:
                observer.look(node)

    def output(self, name: str) -> np.ndarray:
        parts: dict[int, np.ndarray] = {}
        for theirs in self.communicator.all_gather(self._outputs.get(name, {})):
            parts |= theirs
        return np.concatenate([parts[first] for first in sorted(parts)], axis=1)

    def test_views(self, views: Iterable[Any], count: int, cases: int, keep: Sequence[str] = ()) -> Costs:
        """As ``Net.test_views``; the lanes of wide layers wait for each other."""
        self._outputs, waiting, every = {}, [], list(views)
        for shard in self.layout.own_shards:
            for chunks in self.layout.rounds:
                for lane, chunk in enumerate(chunks):
                    if (shard, chunk) not in every[0]:
                        continue
                    at = every, count, cases, shard, chunks, lane
                    waiting += self._test_part_of_views(*at, keep)
        self._costs = self._sum_costs(waiting)
        return self._costs

    def _test_part_of_views(
        self,
        views: Sequence[Parts],
        count: int,
        cases: int,
        shard: int,
        chunks: Sequence[int],
        lane: int,
        keep: Sequence[str],
    ) -> list[Callable[[], tuple[int, Costs]]]:
        part = shard, chunks[lane]

        def forward(inputs: Parts, keep: Sequence[str]) -> None:
            if lane == self.layout.place or self.layout.width == 1:
                self._forward_wide(inputs, cases, shard, chunks, Mode.VIEW, keep)
            self._forward_narrow(inputs, cases, part, lane, Mode.VIEW, keep)

        bounds = self.layout.part(*part, cases)
        self.mean_views([partial(forward, inputs) for inputs in views], count, bounds.stop - bounds.start, keep)
        own = self._wide_nodes if self._lane_part(shard, chunks) == part else []
        self._keep([*own, *self._narrow_nodes], keep)
        pending = self._fetch_costs()
        return [lambda: (bounds.start, pending())]

    def why_not_finite(self, inputs: Any, cases: int, costs: Costs, mode: Mode = Mode.TEST) -> str:  # noqa: ARG002
        """Return what the first rank says that has a part whose costs are not finite."""
        texts = []
        for shard in self.layout.own_shards:
            for chunks in self.layout.rounds:
                self._forward_wide(inputs, cases, shard, chunks, mode, self.nodes)
                for lane, chunk in enumerate(chunks):
                    found = self._forward_narrow(inputs, cases, (shard, chunk), lane, mode, self.nodes)
                    part = [one for _, one in (fetch() for fetch in found)]
                    texts += [reason(self, one) for one in part if bad_costs(one)]
        said = [text for rank in self.communicator.all_gather(texts) for text in rank]
        return said[0] if said else "the costs of all ranks together are too large"

    # -- weights --------------------------------------------------------------------------------------------------

    def gather(self) -> None:
        for weights in self.weights:
            weights.gather()

    def download(self, weights: Weights, array: Array) -> np.ndarray:
        """Return a host copy; rank 0 gets those of ranks at other places of its group, which send them."""
        is_placed = isinstance(weights, SummedWeights) and weights.team is not self._everyone
        if weights.be is not self.device and self.layout.rank:
            return np.zeros(array.shape, np.float32)
        values = weights.be.download(array)
        if is_placed and 0 < self.layout.rank < self.layout.width:
            self._places[0].copy_from(self.device, array, array)
        return values

    def magnitudes(self, weights: Weights) -> tuple[float, float]:
        own = super().magnitudes(weights)
        if self.layout.width == 1:
            return own
        found = self.communicator.all_gather(own if weights.be is self.device else None)
        return next(pair for pair in found if pair is not None)

    def check_weights(self) -> None:
        try:
            super().check_weights()
            text = ""
        except NumericalError as error:
            text = str(error)
        said = [text for text in self.communicator.all_gather(text) if text]
        if said:
            raise NumericalError(said[0])


def spread(graph: Graph, backends: Sequence[Backend], ranks: Communicator, layout: Layout) -> Sequence[Backend]:
    """Return the backend of each logical device, as one of several ranks has them; of one rank, its ``backends``."""
    if ranks.size == 1:
        return backends
    places = [backends[0] if number == layout.place else Remote(ranks, number) for number in range(layout.width)]
    return [places[layout.place_of(device, graph)] for device in range(_last_device(graph) + 1)]


def _last_device(graph: Graph) -> int:
    return max(replicas.devices(graph), default=0)


def _added(parts: Iterable[Costs]) -> Costs:
    """Return the sums of costs, added in order."""
    total: Costs = {}
    for costs in parts:
        for name, values in costs.items():
            total[name] = [a + b for a, b in zip(total[name], values, strict=True)] if name in total else values
    return total
