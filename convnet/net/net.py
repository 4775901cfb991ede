"""A running network: a graph, one backend or several, and the arrays between them.

``Net`` runs the layers of a graph in order and back, and knows no layer type. Each layer has a ``Node``, which holds its
arrays and is all that a layer's ``forward`` and ``backward`` see. Order and accumulation: numerics section 3.

With several backends each node has its own (``placement.py``), and what crosses between them is copied (``exchange.py``).
One thread issues the work of all of them, in the order of the layers: ops of a device return before they are done, so
devices work at the same time, and a single order of issue is what makes runs repeatable. 2012 had a thread for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from convnet.backends.base import Backend
from convnet.errors import ConvnetError, NumericalError
from convnet.generation import COMPAT, Compat
from convnet.graph.graph import Graph
from convnet.layers.base import Layer
from convnet.layers.modes import Mode
from convnet.net.buffers import BufferPool
from convnet.net.initial import initial_state
from convnet.net.node import Node
from convnet.net.placement import place
from convnet.net.state import bind_weights
from convnet.net.steps import Steps
from convnet.net.weights import Weights

# The matrices of one minibatch: a float32 array (features, cases), or an object that fills one: ``fill(be, out)``, and
# ``stage(be)``, which begins to bring what that needs and returns another to fill it from there.
Inputs = Sequence[Any]


class Net:
    """Runs a graph on a backend, or on several: one for each logical device that ``gpu=`` can name (``placement.place``).

    ``minibatch`` is the largest number of cases at once. ``state`` gives weights by layer (as ``initial_state`` makes
    them and checkpoints hold them); without it they are drawn from ``seed``. ``keep`` in ``forward`` names layers whose
    outputs must survive the pass. With ``checking`` frozen weights get gradients too, for a gradient check.
    """

    def __init__(
        self,
        graph: Graph,
        be: Backend | Sequence[Backend],
        minibatch: int = 128,
        seed: int = 0,
        state: dict[str, Any] | None = None,
        update_period: int = 1,
        poison: bool = False,
        checking: bool = False,
        compat: Compat = COMPAT[""],
    ) -> None:
        self.compat = compat
        self.backends = [be] if isinstance(be, Backend) else list(be)
        self.graph, self.be, self.minibatch, self.seed = graph, self.backends[0], minibatch, seed
        self.update_period = update_period
        self.step = 0  # minibatches trained so far; numbers the random streams
        self.inputs: Inputs = ()
        self.next_inputs: Inputs = ()  # what ``prefetch`` began to bring
        self.cases = minibatch
        self.mode = Mode.TEST
        self._prepared: set[tuple[int, bool]] = set()  # (cases, training) that backends are ready for
        self.capturing = False  # whether ops are kept for a ``CapturedStep`` instead of done
        self._pools: dict[Backend, BufferPool] = {}
        self._poison = poison
        self.nodes: dict[str, Node] = {}
        wanting, places = graph.gradient_layers(frozen_too=checking), place(graph, self.backends)
        for layer in graph.layers.values():
            if not layer.computes:
                raise ConvnetError(f"layer '{layer.name}': {layer.type} can be read but not run: no engine ever computed it")
            node = Node(self, layer, places[layer.name], [self.nodes[source.name] for source in layer.sources])
            node.wants_grad = layer.name in wanting
            for source in dict.fromkeys(node.inputs):
                source.consumers.append(node)
            self.nodes[layer.name] = node
        self._share_buffers()
        self.noise = np.random.Generator(np.random.Philox(key=seed & 0xFFFFFFFFFFFFFFFF))
        self.load_state(state if state is not None else initial_state(graph, seed))

    def pool(self, be: Backend) -> BufferPool:
        """The free buffers of a backend."""
        if be not in self._pools:
            self._pools[be] = BufferPool(be, self._poison)
        return self._pools[be]

    @property
    def weights(self) -> list[Weights]:
        """Every weight matrix and bias vector once, in the order of layers."""
        unique = {id(w): w for node in self.nodes.values() for w in node.all_weights}
        return list(unique.values())

    # -- running ------------------------------------------------------------------------------------------------

    def forward(self, inputs: Inputs, cases: int, mode: Mode, keep: Sequence[str] = ()) -> None:
        """Run all layers on one minibatch. In TRAIN and GRADCHECK outputs stay for ``backward``; else only those of ``keep``
        and of layers that nobody reads."""
        self.begin_pass(inputs, cases, mode)
        remaining = {name: len(node.consumers) for name, node in self.nodes.items()}
        keeps = set(keep) if mode not in (Mode.TRAIN, Mode.GRADCHECK) else set(self.nodes)
        for name, node in self.nodes.items():
            node.forward()
            for source in dict.fromkeys(node.inputs):
                remaining[source.layer.name] -= 1
                if remaining[source.layer.name] == 0 and source.layer.name not in keeps:
                    source.release_acts()
            if node.layer.is_cost or (not node.consumers and name not in keeps):
                node.release_acts()
        self.end_forward()

    def begin_pass(self, inputs: Inputs, cases: int, mode: Mode) -> None:
        """Set what nodes ask for while they run."""
        self.inputs, self.cases, self.mode = inputs, cases, mode
        self.prepare(cases, mode in (Mode.TRAIN, Mode.GRADCHECK))

    def prepare(self, cases: int, training: bool) -> None:
        """Let the backends prepare for passes over so many cases; the first one does so if nobody has."""
        if not {(cases, True), (cases, training)} & self._prepared:
            from convnet.net.dry_run import dry_run

            self._prepared.add((cases, training))
            for be in dict.fromkeys(self.backends):
                be.prepare(lambda noting: dry_run(self.graph, noting, cases, training))

    def end_forward(self) -> None:
        """What was staged for this pass is used up."""
        if self.inputs is self.next_inputs:
            self.next_inputs = ()

    def prefetch(self, next_inputs: Inputs) -> None:
        """Begin to bring the inputs of the next pass to the devices, while they work on this one; until that pass, which
        has to be given the same object, its arrays must not change."""
        self.next_inputs = next_inputs
        for node in self.nodes.values():
            node.layer.prefetch(node)

    def backward(self) -> None:
        """From the costs of the last ``forward`` to every gradient; gives up all outputs."""
        for node in reversed(self.nodes.values()):
            runs = node.layer.learns if node.layer.is_cost else node.wants_grad and node.reached
            if runs:
                node.backward()
                for source in node.inputs:
                    source.reached = True
                node.deliver_grads()
            node.release_grad()
            node.release_acts()

    def downstream(self, nodes: Sequence[Node]) -> list[Node]:
        """``nodes`` and every node that depends on them, in running order: what to run again when their weights change."""
        found = set(nodes)
        for node in self.nodes.values():
            if not found.isdisjoint(node.inputs):
                found.add(node)
        return [node for node in self.nodes.values() if node in found]

    def period_of(self, layer: Layer) -> int:
        """Minibatches between updates of a layer's weights."""
        return max(self.update_period, getattr(layer, "updatePeriod", 0), 1)

    def begin_step(self, progress: float, cases: int) -> None:
        """Set rates for the minibatch to come."""
        for weights in self.weights:
            # Gradients of several minibatches are divided by their nominal size (numerics 13.9).
            nominal = weights.period > 1 or self.compat.nominal_cases
            weights.begin(progress, self.minibatch if nominal else cases, self.noise)

    def update(self) -> None:
        """Change the weights by the gradients of the last ``backward``; ends the step."""
        for weights in self.weights:
            weights.update(self.noise)
        self.step += 1

    def train(
        self, inputs: Inputs, cases: int, progress: float = 0.0, next_inputs: Inputs = (), check_finite: bool = True
    ) -> dict[str, list[float]]:
        """One training step; returns the sums of every cost, measured before the update (numerics 16.2).

        ``next_inputs`` are the inputs of the next step, packed and brought to the devices while they compute this one.

        The costs are looked at when all but the update has been issued, so that devices do not wait for the host. Raises
        ``NumericalError`` if one is not finite, with the weights as they were; unless ``check_finite`` is false.
        """
        self.begin_step(progress, cases)
        step = self.steps.next(cases)
        step.forward(inputs, cases)
        pending = self._fetch_costs()
        if next_inputs:
            self.prefetch(next_inputs)
        step.backward()
        costs = {name: [float(value) for value in arrived()] for name, arrived in pending.items()}
        if check_finite and not _all_finite(costs):
            self._forget_gradients()
            self.forward(inputs, cases, Mode.TRAIN)  # outputs are gone; make them again to look at
            raise NumericalError(self._diagnose(costs))
        step.update()
        return costs

    def test(self, inputs: Inputs, cases: int, keep: Sequence[str] = (), next_inputs: Inputs = ()) -> dict[str, list[float]]:
        """One pass without training; returns the sums of every cost. For the rest see ``train``."""
        self.forward(inputs, cases, Mode.TEST, keep)
        pending = self._fetch_costs()
        if next_inputs:
            self.prefetch(next_inputs)
        costs = {name: [float(value) for value in arrived()] for name, arrived in pending.items()}
        if not _all_finite(costs):
            self.forward(inputs, cases, Mode.TEST, keep=list(self.nodes))  # outputs are gone; make them again to look at
            raise NumericalError(self._diagnose(costs))
        return costs

    def test_views(
        self, views: Iterable[Inputs], count: int, cases: int, keep: Sequence[str] = ()
    ) -> dict[str, list[float]]:
        """Costs of the mean, over ``count`` views of the same cases, of what the cost layers read; layers of ``keep`` that
        they read hold these means afterwards (numerics 16.5)."""
        costs = [node for node in self.nodes.values() if node.layer.is_cost]
        cost_inputs = {node.layer.name: node for cost in costs for node in cost.inputs}
        means = {name: node.be.zeros((node.layer.outputs, cases)) for name, node in cost_inputs.items()}
        for inputs in views:
            self.forward(inputs, cases, Mode.VIEW, keep=[*cost_inputs, *keep])
            for name, mean in means.items():
                cost_inputs[name].be.add(cost_inputs[name].out, mean, 1.0, 1.0 / count)
        for name, mean in means.items():
            if cost_inputs[name].layer.type != "data":  # labels are the same in all views, and must not be rounded
                cost_inputs[name].be.add(mean, cost_inputs[name].out)
                cost_inputs[name].peers.send()
        for cost in costs:
            cost.layer.forward(cost)
        return self.check_costs()

    def costs(self) -> dict[str, list[float]]:
        """Sums over the cases of the last pass, by cost layer; waits."""
        return {name: [float(value) for value in arrived()] for name, arrived in self._fetch_costs().items()}

    def check_costs(self) -> dict[str, list[float]]:
        """``costs``, after checking that each is a finite number; raises ``NumericalError`` naming the first bad layer."""
        costs = self.costs()
        if not _all_finite(costs):
            raise NumericalError(self._diagnose(costs))
        return costs

    def _fetch_costs(self) -> dict[str, Callable[[], np.ndarray]]:
        """Begin to bring the sums of every cost to the host."""
        return {name: node.be.fetch(node.costs) for name, node in self.nodes.items() if node.layer.is_cost}

    def _forget_gradients(self) -> None:
        """Drop the gradients of a step that failed; momenta that one was folded into begin again."""
        for weights in self.weights:
            weights.forget()

    def output(self, name: str) -> np.ndarray:
        """The output of a layer kept by the last pass, (features, N)."""
        node = self.nodes[name]
        return node.be.download(node.out)

    # -- state --------------------------------------------------------------------------------------------------

    def load_state(self, state: dict[str, dict[str, Any]]) -> None:
        """Put weights into place; shared matrices become one ``Weights`` (numerics 13.4)."""
        for name, node in self.nodes.items():
            bind_weights(self, node, state.get(name, {}))
        self.steps = Steps(self)

    def check_weights(self) -> None:
        """Raise ``NumericalError`` if any weight is not finite, naming the layer."""
        for name, node in self.nodes.items():
            for weights in node.all_weights:
                if not node.be.all_finite(weights.value):
                    raise NumericalError(f"layer '{name}': its weights are no longer finite numbers")

    def _share_buffers(self) -> None:
        """Elementwise layers work in place where nobody needs the old contents (numerics 3.4)."""
        for node in self.nodes.values():
            node.acts_in_place, gradient = node.layer.in_place()
            if node.inputs and node.inputs[0].be is not node.be:
                node.acts_in_place = gradient = False
            if gradient:
                node.inputs[0].grad_in_place = node.inputs[0].wants_grad

    def _diagnose(self, costs: dict[str, list[float]]) -> str:
        """Where a cost that is not finite comes from, by the outputs of the last pass."""
        cost = next(name for name in costs if not _all_finite({name: costs[name]}))
        culprit = next((n for n in self.nodes.values() if not n.layer.is_cost and not n.be.all_finite(n.out)), None)
        if culprit is None:
            return f"cost '{cost}' is not finite although every layer is: a label got probability 0. Lower epsW."
        weights = [n.layer.name for n in self.nodes.values() for w in n.all_weights if not n.be.all_finite(w.value)]
        cause = f"; the weights of '{weights[0]}' are not finite" if weights else ""
        where = f"the output of layer '{culprit.layer.name}' is not a finite number{cause}"
        return f"{where}. Lower epsW, or the initial weights, of the layers up to there."


def _all_finite(costs: dict[str, list[float]]) -> bool:
    return all(math.isfinite(value) for values in costs.values() for value in values)
