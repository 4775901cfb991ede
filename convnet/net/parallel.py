"""A net that computes a minibatch in parts, on one rank or on several: trains, tests, and what it has learned.

Gradients are summed over parts and ranks by ``SummedWeights``, each as soon as this rank has computed it, while backward
goes on; ``parts.py`` says how a part runs. All ranks call the same methods in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from convnet.backends.base import Array
from convnet.errors import NumericalError
from convnet.layers.modes import Mode
from convnet.net.diagnosis import bad_costs, first_cause
from convnet.net.net import Costs, Observer
from convnet.net.node import Node
from convnet.net.parts import NetInParts, Parts
from convnet.net.sums import SummedWeights
from convnet.net.weights import Weights


class ParallelNet(NetInParts):
    """Trains and tests a graph in parts; ``train`` and ``test`` take ``Parts``, and the cases of all ranks together."""

    def begin_step(self, progress: float, cases: int) -> None:
        """Set the learning rates; a narrow layer's gradient of a pass is a mean over that pass (numerics 13.10)."""
        passes, biases = self.layout.passes, {node.biases for node in self.nodes.values() if node.weights}
        for name, node in self.nodes.items():
            for weights in node.own_weights:
                is_wide = name in self._wide
                several = weights.period > (1 if is_wide else passes)  # minibatches between two updates
                nominal = several or self.compat.nominal_cases
                of_pass = (self.minibatch if nominal else cases) / passes
                if self.compat.nominal_cases and weights in biases:
                    of_pass = -(-self.minibatch // passes)
                weights.begin(progress, of_pass * passes if is_wide else of_pass, self.noise)

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
                    if (shard, chunk) in inputs:
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

    def _update(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.own_weights:
                self._run(node, "update", partial(node.update, self.noise))
        for node in nodes:
            for weights in node.own_weights:
                weights.settle()

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Drop what a step has left that an exception ends."""
        try:
            yield
        except BaseException:
            self.end_crossings()
            for node in self.nodes.values():
                node.release_grad()
                node.release_acts()
            for weights in self.weights:
                weights.discard()
            raise

    # -- costs and outputs ----------------------------------------------------------------------------------------

    def _sum_costs(self, waiting: Sequence[Callable[[], tuple[int, Costs]]]) -> Costs:
        """Return the sums of costs over the parts of all ranks, added in the order of their cases."""
        parts = [part for rank in self.communicator.all_gather([fetch() for fetch in waiting]) for part in rank]
        added = _added([costs for _, costs in sorted(parts, key=itemgetter(0))])
        return {name: added[name] for name in self.graph.layers if name in added}

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
        nodes = [*self._wide_nodes, *self._narrow_nodes] if self._lane_part(shard, chunks) == part else self._narrow_nodes

        def forward(inputs: Parts, keep: Sequence[str]) -> None:
            if nodes is not self._narrow_nodes:
                self._forward_wide(inputs, cases, shard, chunks, Mode.VIEW, keep)
            self._forward_narrow(inputs, cases, part, lane, Mode.VIEW, keep)

        bounds = self.layout.part(*part, cases)
        self.mean_views([partial(forward, inputs) for inputs in views], count, bounds.stop - bounds.start, keep, nodes)
        self._keep(nodes, keep)
        pending = self._fetch_costs(lane)
        self.end_crossings()
        return [lambda: (bounds.start, pending())]

    def why_not_finite(self, inputs: Any, cases: int, costs: Costs, mode: Mode = Mode.TEST) -> str:  # noqa: ARG002
        """Return why the costs of the first pass are not finite that has such; all ranks run the passes again."""
        every = set(self.nodes)
        for chunks in self.layout.rounds:
            for shard in self.layout.own_shards:
                for node in self.nodes.values():
                    node.release_acts()  # of another part, where this one has no cases here
                self._forward_wide(inputs, cases, shard, chunks, mode, every)
                for lane, chunk in enumerate(chunks):
                    waiting = self._forward_narrow(inputs, cases, (shard, chunk), lane, mode, every)
                    self.end_crossings()  # since no backward does
                    found = self._sum_costs(waiting)
                    if bad_costs(found):
                        return min(self.communicator.all_gather(first_cause(self, found)))[1]
        return "the costs of all ranks together are too large"

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


def _added(parts: Iterable[Costs]) -> Costs:
    """Return the sums of costs, added in order."""
    total: Costs = {}
    for costs in parts:
        for name, values in costs.items():
            total[name] = [a + b for a, b in zip(total[name], values, strict=True)] if name in total else values
    return total
