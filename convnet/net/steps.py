"""How a training step is issued to a device: op by op, or as a whole that was captured before.

To issue an op takes the host some microseconds, which small nets spend waiting for it. A step asks for the same ops on the
same arrays every time, so where a backend can capture them (CUDA graphs), a step is captured when one like it is met for
the third time, and from then on issued as three wholes: forward, backward, update. Earlier it would seldom pay: rates may
change with every data batch of one or two minibatches. What differs from step to step stays outside: layers that vary
(data, random scales) run first, op by op, and random numbers are counted on the device.

Steps are alike if their numbers of cases, rates and waiting gradients are; 2012 had no such thing, and issued every op.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from convnet.errors import BackendError
from convnet.layers.modes import Mode

if TYPE_CHECKING:
    from convnet.net.net import Inputs, Net
    from convnet.net.node import Node

_PLAIN = 2  # steps of a kind before it is captured
_MOST_CAPTURED = 4  # kinds of step kept
_MOST_MET = 64  # kinds of step remembered

_LOG = logging.getLogger("convnet")


class PlainStep:
    """A step issued op by op."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def forward(self, inputs: Inputs, cases: int) -> None:
        """Up to the costs."""
        self.net.forward(inputs, cases, Mode.TRAIN)

    def backward(self) -> None:
        """From the costs to every gradient."""
        self.net.backward()

    def update(self) -> None:
        """Change the weights."""
        self.net.update()


class CapturedStep:
    """A step like the one that comes next, captured for ``cases``; raises ``BackendError`` where that fails.

    To capture is not to run: the net is left as it was.
    """

    def __init__(self, net: Net, cases: int) -> None:
        self.net, self.be = net, net.be
        self._before = [(weights.contributions, weights.waited) for weights in net.weights]
        net.begin_pass((), cases, Mode.TRAIN)
        net.capturing = True
        try:
            self._parts = [self._captured(part) for part in (self._forward, net.backward, self._update)]
        finally:
            net.capturing = False
            for node in net.nodes.values():
                node.release_grad()
                node.release_acts()
            self._after = [(weights.contributions, weights.waited) for weights in net.weights]
            self._count(self._before)
        self._scratch = [node.scratch_arrays() for node in net.nodes.values()]  # captured ops use these very arrays

    def forward(self, inputs: Inputs, cases: int) -> None:
        """Up to the costs."""
        self.net.begin_pass(inputs, cases, Mode.TRAIN)
        self.be.count_step(self.net.step)
        for node, held in self._outside.items():
            node.release_acts()  # those of a test, say
            node.acts = held
        for node in self._outside:
            node.forward()
        for node in self._outside:
            node.acts = None
        self.be.replay(self._parts[0])
        self.net.end_forward()

    def backward(self) -> None:
        """From the costs to every gradient."""
        self.be.replay(self._parts[1])

    def update(self) -> None:
        """Change the weights."""
        self.be.replay(self._parts[2])
        self._count(self._after)
        self.net.step += 1

    def _captured(self, part: Any) -> Any:
        with self.be.capturing() as held:
            part()
        return held[0]

    def _forward(self) -> None:
        outside = uncapturable(self.net)
        self._outside: dict[Node, Any] = {node: node.take_acts() for node in outside}
        for node in self.net.nodes.values():
            if node not in self._outside:
                node.forward()

    def _update(self) -> None:
        for weights in self.net.weights:
            weights.update()

    def _count(self, counts: list[tuple[int, int]]) -> None:
        for weights, count in zip(self.net.weights, counts, strict=True):
            weights.contributions, weights.waited = count


class Steps:
    """Chooses how each step of a net is issued."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.captured: OrderedDict[Hashable, CapturedStep] = OrderedDict()
        self._met: OrderedDict[Hashable, int] = OrderedDict()  # how often
        self._usable = _can_capture(net)

    def next(self, cases: int) -> PlainStep | CapturedStep:
        """The way to issue the step that ``Net.begin_step`` has begun."""
        if not self._usable:
            return PlainStep(self.net)
        kind = cases, tuple(weights.capture_key() for weights in self.net.weights)
        if kind not in self.captured and not (self._is_known(kind) and self._capture(kind, cases)):
            return PlainStep(self.net)
        self.captured.move_to_end(kind)
        return self.captured[kind]

    def _is_known(self, kind: Hashable) -> bool:
        """Whether it was met often enough: arrays are made, and kernels loaded, when ops are issued one by one."""
        met = self._met[kind] = self._met.get(kind, 0) + 1
        self._met.move_to_end(kind)
        _drop_oldest(self._met, _MOST_MET)
        return met > _PLAIN

    def _capture(self, kind: Hashable, cases: int) -> bool:
        try:
            self.captured[kind] = CapturedStep(self.net, cases)
        except BackendError as error:
            self._usable = False
            _LOG.warning("steps are issued op by op, which may take longer: %s", error)
            return False
        _drop_oldest(self.captured, _MOST_CAPTURED)
        return True


def uncapturable(net: Net) -> list[Node]:
    """The nodes whose forward differs from step to step, and all that they depend on, in running order."""
    found: set[Node] = set()
    for node in reversed(net.nodes.values()):
        if node.layer.varies or any(node in reader.inputs for reader in found):
            found.add(node)
    return [node for node in net.nodes.values() if node in found]


def _can_capture(net: Net) -> bool:
    alone = len(set(net.backends)) == 1 and net.be.captures
    noisy = any(weights.learning.schedule.noiseStdev > 0 for weights in net.weights)
    return alone and not noisy and not any(node.wants_grad for node in uncapturable(net))


def _drop_oldest(held: OrderedDict[Hashable, Any], most: int) -> None:
    while len(held) > most:
        held.popitem(last=False)
