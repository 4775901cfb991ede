"""A running network: a graph, one backend or several, and the arrays between them.

``Net`` runs the layers of a graph in order and back, and knows no layer type. Each layer has a ``Node``, which holds its
arrays and is all that a layer's ``forward`` and ``backward`` see. Order and accumulation: numerics section 3.

With several backends each node has its own (``placement.py``), and what crosses between them is copied (``peers.py``).
One thread issues the work of all of them, in the order of the layers: ops of a device return before they are done, so
devices work at the same time, and a single order of issue is what makes runs repeatable. 2012 had a thread for each.
"""

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.errors import ConvnetError, NumericalError
from convnet.generation import COMPAT, Compat
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.modes import Mode
from convnet.layers.weighted import WeightLayer
from convnet.net.buffers import BufferPool
from convnet.net.diagnosis import bad_costs, reason
from convnet.net.fusion import include_neurons
from convnet.net.initial import initial_state
from convnet.net.layout import Layout
from convnet.net.node import Context, Inputs, Node
from convnet.net.order import depth_first
from convnet.net.placement import place
from convnet.net.state import bind_weights, collect_state
from convnet.net.steps import Steps
from convnet.net.weights import Learning, Weights
from convnet.ranks.agreement import together
from convnet.ranks.communicator import Communicator, Solo

Costs = dict[str, list[float]]  # the sums of each cost layer over the cases of a pass
Work = Callable[[], None]
# As ``Provider.share`` takes it: which cases of a batch this rank reads, (N,) bool; of their numbers, which it decodes.
CasesRead = tuple[Callable[[int], np.ndarray] | None, Callable[[np.ndarray], np.ndarray] | None]


class Observer(Protocol):
    """Sees outputs of a test while they are there."""

    @property
    def wanted(self) -> Sequence[str]:
        """The layers whose outputs it wants to see."""

    def look(self, node: Node) -> None:
        """See the output of a node, of a pass or of a part of one."""


class Net:
    """Runs a graph on a backend, or on several: one for each logical device that ``gpu=`` can name (``placement.place``).

    ``minibatch`` is the largest number of cases at once. ``state`` gives weights by layer (as ``initial_state`` makes
    them and checkpoints hold them); without it they are drawn from ``seed``. With ``checking`` frozen weights get
    gradients too, for a gradient check.
    """

    communicator: Communicator = Solo()  # the ranks that compute it together
    group: Communicator | None = None  # those of them that read the same cases
    layout = Layout()

    def __init__(
        self,
        graph: Graph,
        be: Backend | Sequence[Backend],
        minibatch: int = 128,
        seed: int = 0,
        state: dict[str, Any] | None = None,
        update_period: int = 1,
        compat: Compat = COMPAT[""],
        checking: bool = False,
    ) -> None:
        self.backends = [be] if isinstance(be, Backend) else list(be)
        self.graph, self.be, self.minibatch, self.seed = graph, self.backends[0], minibatch, seed
        self.update_period, self.compat = update_period, compat
        self.step = 0  # minibatches trained so far
        self.has_learned = False  # whether a learning rate has acted on the weights
        self.noise = np.random.Generator(np.random.Philox(key=seed & 0xFFFFFFFFFFFFFFFF))  # of learning rates
        # If set, called in place of each node's forward, backward and update, with their name and the work to do.
        self.around: Callable[[Node, str, Work], None] | None = None
        self.pools = {be: BufferPool(be) for be in self.backends}
        self._context = self.new_context()
        self._prepared: set[tuple[int, bool]] = set()  # (cases, training) that backends are ready for
        self._checking = checking
        self._wire()
        self.load_state(state if state is not None else initial_state(graph, seed))

    def new_context(self) -> Context:
        """Return what nodes share, for passes over a whole minibatch."""
        return Context(self.graph, self.minibatch, self.seed, self.pools, self.minibatch)

    def _wire(self) -> None:
        """Make the nodes of the graph, without weights, and the order in which they run backward."""
        self.nodes = nodes = self.make_nodes(self.graph.gradient_layers(frozen_too=self._checking), self._context)
        first = self.compat.last_contribution
        self._backward_order = depth_first(nodes.values()) if first else [*reversed(nodes.values())]

    def make_nodes(self, wanting: Collection[str], context: Context) -> dict[str, Node]:
        """Return a node for every layer, without weights; the outputs of those ``wanting`` get a gradient."""
        nodes: dict[str, Node] = {}
        places = self.places()
        for name, layer in self.graph.layers.items():
            if not layer.computes:
                raise ConvnetError(f"layer '{name}': {layer.type} can be read but not run: no engine ever computed it")
            inputs = [self.source_of(layer, source, places, nodes) for source in layer.sources]
            node = nodes[name] = Node(self.context_of(layer, context), layer, places[name], inputs, name in wanting)
            for source in dict.fromkeys(inputs):
                source.consumers.append(node)
        # Elementwise layers work in place where nobody needs the old contents (numerics 3.4).
        for node in nodes.values():
            if node.inputs and node.inputs[0].be is node.be:
                node.works_in_place, gradient_too = node.layer.in_place()
                if gradient_too:
                    node.inputs[0].grad_in_place = node.inputs[0].wants_grad
        include_neurons(nodes.values())
        return nodes

    # -- what a net over several ranks does in another way (``convnet.net.parallel``) --------------------------------

    def places(self) -> dict[str, Backend]:
        """Return the backend of every layer."""
        return place(self.graph, self.backends)

    def context_of(self, layer: Layer, context: Context) -> Context:  # noqa: ARG002
        """Return what a layer's node shares with others."""
        return context

    def source_of(self, reader: Layer, source: Layer, places: Mapping[str, Backend], nodes: dict[str, Node]) -> Node:  # noqa: ARG002
        """Return the node from which ``reader`` gets what ``source`` makes."""
        return nodes[source.name]

    def new_weights(self, node: Node, value: Array, inc: Array, learning: Learning) -> Weights:
        """Return the weights of a node."""
        return Weights(node.be, value, inc, learning)

    def period_of(self, layer: WeightLayer) -> int:
        """Return the minibatches between updates of a layer's weights."""
        return max(self.update_period, layer.updatePeriod, 1)

    def cut(self, take: Callable[[int, int], Inputs], start: int, stop: int) -> Inputs:
        """Return the inputs of a minibatch, of which ``take`` gives those of cases ``start`` to ``stop``."""
        return take(start, stop)

    def cases_read(self, first: int = 0) -> CasesRead:  # noqa: ARG002
        """Return what says which of so many cases this rank reads, from case ``first`` on, and which of these it decodes.

        ``None``: all of them.
        """
        return None, None

    def close(self, failed: bool = False) -> None:
        """Free what moves arrays between ranks; all ranks call it, unless they have ``failed``."""

    def gather(self) -> None:
        """Make weights whole that lie on several ranks in parts; all ranks call it."""

    def download(self, weights: Weights, array: Array) -> np.ndarray:
        """Return a host copy of an array of some weights; of several ranks, which all call this, rank 0 gets the values."""
        return weights.be.download(array)

    def magnitudes(self, weights: Weights) -> tuple[float, float]:
        """Return the means of |w| of a matrix and of its increments; waits."""
        return weights.be.mean_magnitude(weights.value), weights.be.mean_magnitude(weights.inc)

    # -- running ------------------------------------------------------------------------------------------------

    def forward(self, inputs: Inputs, cases: int, mode: Mode = Mode.TRAIN, keep: Sequence[str] = ()) -> None:
        """Run all layers on one minibatch.

        Where ``backward`` follows, all outputs stay for it; else only those of ``keep`` and of layers without readers.
        """
        self.begin_pass(inputs, cases, mode, keep)
        self.run_forward(self.nodes.values(), mode, keep)
        self.end_forward()

    def run_forward(self, nodes: Collection[Node], mode: Mode, keep: Collection[str] = ()) -> None:
        """Run nodes in order, in a pass that has begun."""
        remaining = {node: len(node.consumers) for node in nodes}
        for node in nodes:
            self._run(node, "forward", node.forward)
            for source in dict.fromkeys(node.inputs):
                if source in remaining:
                    remaining[source] -= 1
                    if remaining[source] == 0 and not mode.goes_back and source.layer.name not in keep:
                        source.release_acts()
            if node.layer.is_cost or not (node.consumers or mode.goes_back or node.layer.name in keep):
                node.release_acts()

    def begin_pass(self, inputs: Inputs, cases: int, mode: Mode, keep: Sequence[str] = ()) -> None:
        """Set what nodes ask for while they run; what the pass before has kept is released."""
        for node in self.nodes.values():
            node.release_acts()  # before ``keep`` and the mode, which decide who shares a buffer, are those of this pass
        context = self._context
        context.keep = set(keep)
        context.inputs, context.cases, context.mode, context.step = inputs, cases, mode, self.step
        self.prepare(cases, mode.goes_back)

    @property
    def part(self) -> tuple[int, int]:
        """Return of how many cases passes are a part [0: they are the whole minibatch], and from which of them on."""
        return self._context.whole, self._context.first

    def end_forward(self) -> None:
        """Forget what was prefetched for this pass."""
        if self._context.inputs is self._context.next_inputs:
            self._context.next_inputs = ()

    def prepare(self, cases: int, training: bool) -> None:
        """Let the backends prepare for passes over so many cases, unless they have; the first pass does so itself."""
        if not {(cases, True), (cases, training)} & self._prepared:
            from convnet.net.dry_run import dry_run

            self._prepared.add((cases, training))
            for be in self.pools:
                be.prepare(lambda recording: dry_run(self.graph, recording, cases, training))

    def prefetch(self, next_inputs: Inputs) -> None:
        """Begin to copy the inputs of the next pass to the devices, while they work on this one.

        The next pass has to be given the same object, whose arrays must not change before.
        """
        self._context.next_inputs = next_inputs
        for node in self.nodes.values():
            node.layer.prefetch(node)

    def backward(self) -> None:
        """Compute every gradient from the costs of the last ``forward``; releases all outputs."""
        self.run_backward(self._backward_order)

    def run_backward(self, order: Iterable[Node]) -> None:
        """Run nodes backward, in this order."""
        for node in order:
            if node.layer.learns if node.layer.is_cost else node.wants_grad and node.reached:
                self._run(node, "backward", node.backward)
                for source in dict.fromkeys(node.inputs):
                    source.reached = True
                    source.peers.collect(node.be)
            node.release_grad()
            node.release_acts(backward=True)
            self.end_backward(node)

    def end_backward(self, node: Node) -> None:
        """Act when a node has run backward."""

    def update(self) -> None:
        """Change the weights by the gradients of the last ``backward``; ends the step."""
        for node in self.nodes.values():
            if node.own_weights:
                self._run(node, "update", partial(node.update, self.noise))
        self.step += 1

    def _run(self, node: Node, kind: str, work: Work) -> None:
        if self.around:
            self.around(node, kind, work)
        else:
            work()

    def capture(self, work: Work) -> Any:
        """Capture the ops of ``work`` instead of doing them; the result is for the backend's ``replay``."""
        self._context.step = 0
        try:
            with self.be.capturing() as captured:
                work()
        finally:
            self._context.step = self.step
        return captured[0]

    def downstream(self, nodes: Sequence[Node]) -> list[Node]:
        """Return ``nodes`` and every node that depends on them, in running order."""
        dependent = set(nodes)
        for node in self.nodes.values():
            if not dependent.isdisjoint(node.inputs):
                dependent.add(node)
        return [node for node in self.nodes.values() if node in dependent]

    # -- training and testing -----------------------------------------------------------------------------------

    def begin_step(self, progress: float, cases: int) -> None:
        """Set the learning rates of the step to come; ``progress`` of the run is 0 to 1."""
        for weights in self.weights:
            # Gradients of several minibatches are divided by their nominal size (numerics 13.9).
            nominal = weights.period > 1 or self.compat.nominal_cases
            weights.begin(progress, self.minibatch if nominal else cases, self.noise)

    def train(
        self, inputs: Inputs, cases: int, progress: float = 0.0, next_inputs: Inputs = (), check_finite: bool = True
    ) -> Costs:
        """Take one training step; returns the sums of every cost, measured before the update (numerics 16.2).

        ``next_inputs`` are the inputs of the next step, packed and copied to the devices while they compute this one.
        Raises ``NumericalError`` if a cost is not finite, leaving the weights unchanged, unless ``check_finite=False``.
        """
        self.begin_step(progress, cases)
        step = self.steps.next(cases)
        with self._whole_or_not_at_all():
            step.forward(inputs, cases)
            pending = self._fetch_costs()
            if next_inputs:
                self.prefetch(next_inputs)
            step.backward()
            # Costs are looked at when all but the update has been issued, so that devices do not wait for the host.
            costs = pending()
            if check_finite and bad_costs(costs):
                for weights in self.weights:
                    weights.discard()
                raise NumericalError(self.why_not_finite(inputs, cases, costs, Mode.TRAIN))
            step.update()
        self.has_learned = self.has_learned or any(weights.learns and not weights.waited for weights in self.weights)
        self.steps.end()
        return costs

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Drop the gradients and buffers of a step that an exception ends anywhere, such as ``KeyboardInterrupt``."""
        before = [(weights.contributions, weights.waited) for weights in self.weights]
        try:
            yield
        except BaseException:
            for node in self.nodes.values():
                node.release_grad()
                node.release_acts()
            if [(weights.contributions, weights.waited) for weights in self.weights] != before:
                for weights in self.weights:
                    if weights.contributions:
                        weights.discard()
                    weights.waited = 0
            raise

    def test(
        self,
        inputs: Inputs,
        cases: int,
        keep: Sequence[str] = (),
        next_inputs: Inputs = (),
        observer: Observer | None = None,
    ) -> Costs:
        """Run one pass without training; returns the sums of every cost. ``keep`` as for ``forward``, else as ``train``.

        A cost may be infinite, where a label gets probability 0, or NaN (``why_not_finite``).
        """
        observed = observer.wanted if observer else ()
        self.forward(inputs, cases, Mode.TEST, [*keep, *observed])
        pending = self._fetch_costs()
        if observer:
            for name in observed:
                observer.look(self.nodes[name])
        if next_inputs:
            self.prefetch(next_inputs)
        return pending()

    def test_views(self, views: Iterable[Inputs], count: int, cases: int, keep: Sequence[str] = ()) -> Costs:
        """Return the costs of the mean, over ``count`` views of the same cases, of what the cost layers read.

        Layers of ``keep`` hold means over the views afterwards, too (numerics 16.5).
        """
        self.mean_views((partial(self.forward, inputs, cases, Mode.VIEW) for inputs in views), count, cases, keep)
        return self.costs()

    def mean_views(
        self,
        passes: Iterable[Callable[[list[str]], None]],
        count: int,
        cases: int,
        keep: Sequence[str],
        nodes: Collection[Node] | None = None,
    ) -> None:
        """Run passes over views, each told what to keep; take the means of that, and run the cost layers on these.

        ``nodes`` are those that take part [all].
        """
        nodes = self.nodes.values() if nodes is None else nodes
        costs = [node for node in nodes if node.layer.is_cost]
        kept = [node for node in nodes if node.layer.name in keep]
        wanted = dict.fromkeys([*(source for cost in costs for source in cost.inputs), *kept])
        means: dict[Node, Array] = {}
        for forward in passes:
            forward(list({node.layer.name: None for node in wanted}))
            for node in wanted:
                if node not in means:
                    means[node] = node.be.zeros((node.layer.outputs, cases))
                node.be.add(node.out, means[node], 1.0, 1.0 / count)
        for node, mean in means.items():
            if node.layer.sources:  # labels are the same in all views, and must not be rounded
                node.be.add(mean, node.out)
                node.peers.send()
        for cost in costs:
            cost.layer.forward(cost)

    def costs(self) -> Costs:
        """Return the sums of every cost over the cases of the last pass; waits."""
        return self._fetch_costs()()

    def check_costs(self) -> Costs:
        """Return ``costs()`` of a pass that kept all outputs; raises ``NumericalError`` saying why unless each is finite."""
        costs = self.costs()
        if bad_costs(costs):
            raise NumericalError(reason(self, costs))
        return costs

    def output(self, name: str) -> np.ndarray:
        """Return the output of a layer kept by the last pass, (features, N)."""
        node = self.nodes[name]
        return node.be.download(node.out)

    def _fetch_costs(self) -> Callable[[], Costs]:
        """Begin to copy the sums of every cost to the host; the result waits for them."""
        pending = {name: node.be.fetch(node.costs) for name, node in self.nodes.items() if node.layer.is_cost}
        return lambda: {name: [float(value) for value in result()] for name, result in pending.items()}

    # -- weights ------------------------------------------------------------------------------------------------

    def load_state(self, state: dict[str, dict[str, Any]]) -> None:
        """Set the weights; shared matrices become one ``Weights`` (numerics 13.4)."""
        for name, node in self.nodes.items():
            bind_weights(self, node, state.get(name, {}))
        self.has_learned = False
        # Every matrix and bias vector once, in the order of layers.
        self.weights: list[Weights] = [weights for node in self.nodes.values() for weights in node.own_weights]
        self.steps = Steps(self)

    def retune(self, graph: Graph) -> None:
        """Take up a graph of the same layers with other rates and the like, between two steps.

        All is made anew but for the weights, as it is where a run goes on from a checkpoint; so what was captured of steps
        is gone, and layers take part in gradients, and in fusions, as the new values have it.
        """
        self._make_anew(graph)
        gc.collect()  # the nodes before refer to each other, and would hold their arrays until the collector comes by

    def _make_anew(self, graph: Graph) -> None:
        for node in self.nodes.values():
            node.release_acts()  # what a test has kept; the pools stay
        state, before = collect_state(self), dict(vars(self))
        self.graph = self._context.graph = graph
        self._context.inputs = self._context.next_inputs = ()
        self._prepared = set()

        def make() -> None:
            self._wire()
            self.load_state(state)

        try:
            together(self.communicator, make)
        except BaseException:  # such as memory that is short, on any rank
            vars(self).update(before)
            self._context.graph = self.graph
            raise
        self.has_learned = before["has_learned"]
        for weights, earlier in zip(self.weights, before["weights"], strict=True):
            weights.take_up(earlier.under_way())

    def check_weights(self) -> None:
        """Raise ``NumericalError`` if any weight is not finite, naming the layer."""
        for name, node in self.nodes.items():
            if not all(node.be.all_finite(weights.value) for weights in node.all_weights):
                raise NumericalError(f"layer '{name}': its weights are no longer finite numbers")

    def why_not_finite(self, inputs: Inputs, cases: int, costs: Costs, mode: Mode = Mode.TEST) -> str:
        """Return why ``costs`` of a pass are not finite; runs it again, for its outputs are gone."""
        self.forward(inputs, cases, mode, keep=list(self.nodes))
        return reason(self, costs)
