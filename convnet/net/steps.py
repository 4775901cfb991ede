"""How a training step is issued to a device: op by op, or as a whole that was captured before.

To issue an op takes the host some microseconds, which small nets spend waiting for it; and ops that are issued in turn run
in turn, though few of them fill a card. A step asks for the same ops on the same arrays every time, so where a backend can
capture them (CUDA graphs), a step is captured when its key is seen for the third time, and from then on issued as three
wholes: forward, backward, update. To capture earlier would often be wasted: where a data batch has one or two minibatches,
the rates, and so the key, may change every step or two. What differs from step to step stays outside: layers that vary
(data, random scales) run first, op by op, and random numbers are counted on the device.

The key of a step is its number of cases, which part of a minibatch they are, its rates, and the number of gradients
accumulated since the last update. 2012 had no such thing, and issued every op.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from convnet.backends.base import Array
from convnet.errors import BackendError
from convnet.layers.modes import Mode

if TYPE_CHECKING:
    from convnet.net.net import Inputs, Net
    from convnet.net.node import Node

STEPS_BEFORE_CAPTURE = 2  # with the same key, before the third is captured
_MAX_CAPTURED = 4  # captured steps kept
_MAX_COUNTED = 64  # keys whose steps are counted

_LOG = logging.getLogger("convnet")


class CapturedStep:
    """A step like the one that comes next, captured for ``cases``; raises ``BackendError`` where that fails.

    Its methods issue at once what those of ``Net`` issue op by op. To capture is not to run: the net is left as it was.
    """

    def __init__(self, net: Net, cases: int) -> None:
        self.net, self.be = net, net.be
        self._eager_nodes: dict[Node, Array] = {}  # what stays outside, with the buffers of its outputs
        counts = self._counts()
        net.begin_pass((), cases, Mode.TRAIN)
        with net.pools[self.be].keeping() if self.be.runs_branches else nullcontext():
            try:
                self._forward = net.capture(self._issue_forward)
                self._backward = net.capture(net.backward)
                self._update = net.capture(self._issue_update)
            finally:
                for node in net.nodes.values():
                    node.release_grad()
                    node.release_acts()
                self._counts_after = self._counts()
                self._set_counts(counts)
        self._scratch = [list(node.scratch_buffers.values()) for node in net.nodes.values()]  # kept alive for captured ops

    def forward(self, inputs: Inputs, cases: int) -> None:
        """Run all layers."""
        self.net.begin_pass(inputs, cases, Mode.TRAIN)
        self.be.count_step(self.net.step)
        try:
            for node, acts in self._eager_nodes.items():
                node.acts = acts
            for node in self._eager_nodes:
                node.forward()
        finally:
            for node in self._eager_nodes:
                node.acts = None  # the pool has them already
        self.be.replay(self._forward)
        self.net.end_forward()

    def backward(self) -> None:
        """Compute every gradient from the costs."""
        self.be.replay(self._backward)

    def update(self) -> None:
        """Change the weights."""
        self.be.replay(self._update)
        self._set_counts(self._counts_after)
        self.net.step += 1

    def _issue_forward(self) -> None:
        self._eager_nodes = {node: node.take_acts() for node in uncapturable(self.net)}
        for node in self.net.nodes.values():
            if node not in self._eager_nodes:
                node.forward()

    def _issue_update(self) -> None:
        for node in self.net.nodes.values():
            node.update()

    def _counts(self) -> list[tuple[int, int]]:
        return [(weights.contributions, weights.waited) for weights in self.net.weights]

    def _set_counts(self, counts: Sequence[tuple[int, int]]) -> None:
        for weights, count in zip(self.net.weights, counts, strict=True):
            weights.contributions, weights.waited = count


class Steps:
    """Chooses how each step of a net is issued."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.captured: OrderedDict[Hashable, CapturedStep] = OrderedDict()
        self._seen_counts: OrderedDict[Hashable, int] = OrderedDict()  # steps that ended, of each key
        self._by_op: Hashable = None  # the key of the step that is issued op by op
        noisy = any(weights.learning.schedule.noiseStdev > 0 for weights in net.weights)
        can_capture = len(set(net.backends)) == 1 and net.be.captures
        self._usable = can_capture and not noisy and not any(node.wants_grad for node in uncapturable(net))
        self._why_not = net.be.why_no_capture if len(set(net.backends)) == 1 else ""  # until the warning has been given

    def next(self, cases: int) -> Net | CapturedStep:
        """Return what issues the step that ``Net.begin_step`` has begun: a captured step, or the net, op by op.

        That is the net for the first two steps of a key, where capture is impossible, and while ``Net.around`` is set.
        """
        if self._why_not:
            self._warn(self._why_not)
        self._by_op = None
        if not self._usable or self.net.around:
            return self.net
        key = cases, *self.net.part, *(weights.capture_key() for weights in self.net.weights)
        if key not in self.captured:
            if self._seen_counts.get(key, 0) < STEPS_BEFORE_CAPTURE:
                self._by_op = key
                return self.net
            try:
                self.captured[key] = self._capture(cases)
            except BackendError as error:
                self._usable = False
                self.captured.clear()  # with their memory: they will not be replayed
                self._warn(str(error))
                return self.net
            _drop_oldest(self.captured, _MAX_CAPTURED)
        self.captured.move_to_end(key)
        return self.captured[key]

    def end(self) -> None:
        """Count the step that has been issued to its end; what one allocates, fills and loads at first is not captured."""
        if self._by_op is not None:
            self._seen_counts[self._by_op] = self._seen_counts.get(self._by_op, 0) + 1
            self._seen_counts.move_to_end(self._by_op)
            _drop_oldest(self._seen_counts, _MAX_COUNTED)

    def _capture(self, cases: int) -> CapturedStep:
        """Capture a step; where that fails with branches, which take more memory, in the order of its ops."""
        try:
            return CapturedStep(self.net, cases)
        except BackendError as error:
            if not self.net.be.runs_branches:
                raise
            reason = str(error)
        self.net.be.runs_branches = False
        self.net.be.trim()
        step = CapturedStep(self.net, cases)
        _LOG.warning("branches of a net do not run at the same time, which may take longer: %s", reason)
        return step

    def _warn(self, reason: str) -> None:
        self._why_not = ""
        _LOG.warning("steps are issued op by op, which may take longer: %s", reason)


def uncapturable(net: Net) -> list[Node]:
    """Return the nodes whose forward differs from step to step, and all that they depend on, in running order."""
    nodes: set[Node] = set()
    for node in reversed(net.nodes.values()):
        if node.layer.varies or not nodes.isdisjoint(node.consumers):
            nodes.add(node)
    return [node for node in net.nodes.values() if node in nodes]


def _drop_oldest(entries: OrderedDict[Hashable, Any], limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
