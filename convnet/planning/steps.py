"""A training step on many ranks, worked out layer by layer: how long it computes, sends and waits.

Letters: N cases of the whole minibatch, R ranks, K outputs of a layer, P its weights and biases; numbers have 4 bytes. A
rank computes f of a layer's outputs for n of the cases: all for N/R where it is split by cases, 1/R for N where by outputs.
Where R does not divide N, N/R is rounded up: that is the part of the rank for which the others wait.

Arithmetic. A pass takes as long as its operations at the device's peak, or its bytes at the bandwidth of its memory, each
by the share that is reached of it (``machines.py``), whichever is more. Operations and bytes are those of ``convnet bench``
(``pass_effort``): forward 2 n f times the multiply-adds of ``convnet explain``, backward once for the gradient of weights
and once for that of inputs. In R passes of fewer cases (hybrid) weights are read, and updated, R times. An update moves 20
bytes for each weight that a rank updates: f P, or P/R where layers are split by cases, and 12 P (R - 1)/R more to sum their
gradients, two by two.

Crossing. To send b bytes to each of the others takes a rank

    latency + b ((G - 1) / link + (R - G) / between)        in nodes of G ranks; without nodes latency + b (R - 1) / link

while it receives as many. Nothing is forwarded: that is what this program does. Outputs that cross, and their gradients,
are waited for: 4 n K / R bytes where each rank sends its slice; 4 K N/R by the rank whose turn it is, in each of R passes.

Sums of gradients. A layer that is split by cases has its gradient summed in two crossings of 4 P/R bytes and a latency for
each matrix: every rank gets the gradients of its slice, then shares the new weights. So it sends 2 (R - 1)/R of the 4 P
bytes. The link does one layer after another. Gradients go as soon as backward has made them, and what is left of them when
backward ends is waited for; weights go when all of that is there, beside the updates of other layers. Between processes of
one machine the processors themselves copy, and all of it is waited for.

    step = arithmetic + waiting,   hidden = time that the link is busy - waiting

Not counted: data that are read and decoded, ranks that are slower than others, that arithmetic is slower while links are
busy, the costs that ranks tell each other, and that between cards outputs go through memory of the host.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from convnet.graph.analysis import memories, pass_effort
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.fc import FullyConnected
from convnet.layers.weighted import WeightLayer
from convnet.planning.machines import Device, Machine
from convnet.planning.splits import CASES, OUTPUTS, Crossing, crossings, splits

_FLOAT = 4  # bytes


@dataclass
class LayerStep:
    """What a layer costs a rank in a step: seconds of its passes, bytes ``sent`` for it, seconds that it ``waits`` for them.

    ``latency`` is the part of the seconds on the link that does not depend on bytes. ``ready`` is when its gradient is
    there, ``busy`` from when to when the link sums it, in seconds from the beginning of the step.
    """

    name: str
    split: str
    forward: float = 0.0
    backward: float = 0.0
    update: float = 0.0
    sent: float = 0.0
    waits: float = 0.0
    latency: float = 0.0
    ready: float = 0.0
    busy: tuple[float, float] = (0.0, 0.0)

    @property
    def arithmetic(self) -> float:
        return self.forward + self.backward + self.update


@dataclass(frozen=True)
class Step:
    """A step of ``mini`` cases in a scheme: seconds of arithmetic, of waiting, and that a rank's ``link`` is busy.

    ``sent`` and ``memory`` are the bytes that a rank sends, and that it needs.
    """

    scheme: str
    ranks: int
    mini: int
    layers: list[LayerStep]
    arithmetic: float
    waiting: float
    link: float
    sent: float
    memory: float

    @property
    def seconds(self) -> float:
        return self.arithmetic + self.waiting

    @property
    def hidden(self) -> float:
        """How long the link is busy while the rank computes."""
        return max(0.0, self.link - self.waiting)


class _Rank:
    """A rank and its link, which work side by side: until when the rank is busy, and until when the link."""

    def __init__(self, clock: float, hides: bool) -> None:
        self.clock = self.free = clock
        self.hides = hides
        self._carried: list[tuple[LayerStep, float, float]] = []

    def carry(self, step: LayerStep, seconds: float) -> tuple[float, float]:
        """Have the link do what a layer needs, as soon as it is free; return from when to when."""
        begins = max(self.clock, self.free)
        self.free = begins + seconds
        self._carried.append((step, begins, self.free))
        if not self.hides:
            self.settle()
        return begins, begins + seconds

    def settle(self) -> None:
        """Wait for the link: each layer for what the link still does for it."""
        for step, begins, ends in self._carried:
            step.waits += max(0.0, ends - max(begins, self.clock))
        self._carried.clear()
        self.clock = max(self.clock, self.free)


def step_of(graph: Graph, machine: Machine, scheme: str, ranks: int, mini: int) -> Step:
    """Return what a step of ``mini`` cases costs on ``ranks`` ranks in one of ``SCHEMES``."""
    how = splits(graph, scheme)
    passes = ranks if scheme == "hybrid" else 1
    layers = {name: LayerStep(name, how[name]) for name, layer in graph.layers.items() if layer.sources}
    with_gradient = graph.gradient_layers()
    for name, step in layers.items():
        compute(step, graph.layers[name], with_gradient, machine.device, ranks, mini, passes)
    forth, back = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    for name, crossed in (crossings(graph, how) if ranks > 1 else {}).items():
        for crossing in crossed:
            seconds = _cross(layers[name], crossing, machine, ranks, mini, passes)
            forth[name] += seconds
            back[name] += crossing.back * seconds
    link = sum(forth.values()) + sum(back.values())
    rank = _Rank(sum(step.forward + forth[name] for name, step in layers.items()), machine.link.hides)
    sums: dict[str, float] = {}  # seconds of one of the two crossings
    for name, step in reversed(layers.items()):
        rank.clock += step.backward + back[name] + (step.update if step.split != CASES else 0.0)
        layer = graph.layers[name]
        if step.split == CASES and ranks > 1 and isinstance(layer, WeightLayer) and layer.learns:
            sums[name] = _sum(step, layer, machine, ranks)
            step.ready, step.busy = rank.clock, rank.carry(step, sums[name])
    rank.settle()
    for name, seconds in reversed(sums.items()):
        rank.clock += layers[name].update
        rank.carry(layers[name], seconds)
    rank.settle()
    steps, link = [*layers.values()], link + 2 * sum(sums.values())
    arithmetic, waiting, sent = (sum(getattr(step, part) for step in steps) for part in ("arithmetic", "waits", "sent"))
    memory = _memory(graph, how, ranks, mini if scheme == "model" else _most(mini, ranks))
    return Step(scheme, ranks, mini, steps, arithmetic, waiting, link, sent, memory)


def compute(
    step: LayerStep, layer: Layer, with_gradient: Container[str], device: Device, ranks: int, mini: int, passes: int = 1
) -> None:
    """Set the seconds of a layer's passes on one rank; ``with_gradient`` names layers whose outputs have a gradient."""
    by_outputs = step.split == OUTPUTS
    share = 1 / ranks if by_outputs else 1.0
    cases = _most(mini, ranks) if step.split == CASES else mini
    learner = layer if isinstance(layer, WeightLayer) else None
    weights = share * learner.parameters() if learner else 0.0
    inputs = sum(layer.num_inputs) * (1.0 if learner else share)
    learns = bool(learner and learner.learns)
    products = learns + any(source.name in with_gradient for source in layer.sources)
    reached = device.shares.fc if isinstance(layer, FullyConnected) else device.shares.conv

    def seconds(kind: str, weights: float, products: int = 1) -> float:
        effort = pass_effort(kind, cases, share * layer.macs(), inputs, share * layer.outputs, weights, products)
        return max(effort[0] / (device.flops * reached), effort[1] / (device.bandwidth * device.shares.memory))

    moved = weights * (passes if by_outputs else 1)
    step.forward = seconds("forward", moved)
    step.backward = seconds("backward", moved, products) if products else 0.0
    if learns:
        step.update = seconds("update", moved if by_outputs else weights / ranks)
    if learns and step.split == CASES:  # each sum of two reads both, and writes one
        step.update += 3 * _FLOAT * weights * (1 - 1 / ranks) / (device.bandwidth * device.shares.memory)


def _most(mini: int, ranks: int) -> int:
    """Return the most cases of a rank."""
    return -(-mini // ranks)


def _cross(step: LayerStep, crossing: Crossing, machine: Machine, ranks: int, mini: int, passes: int) -> float:
    """Add what crosses before a layer, and back; return the seconds of one way."""
    turns = passes if crossing.is_sliced else 1  # of those passes, in how many a rank sends
    cases = mini / passes / ranks if crossing.is_sliced else _most(mini, ranks)
    size, both = _FLOAT * cases * crossing.source.outputs, 1 + crossing.back
    seconds = machine.seconds(size, ranks, passes)
    step.sent += both * size * (ranks - 1) * turns
    step.waits += both * seconds
    step.latency += both * passes * machine.link.latency
    return seconds


def _sum(step: LayerStep, layer: WeightLayer, machine: Machine, ranks: int) -> float:
    """Add what the sum of a layer's gradients sends; return the seconds of one of its two crossings."""
    size, matrices = _FLOAT * layer.parameters() / ranks, len(layer.sources) + 1
    step.sent += 2 * size * (ranks - 1)
    step.latency += 2 * matrices * machine.link.latency
    return machine.seconds(size, ranks) + (matrices - 1) * machine.link.latency


def _memory(graph: Graph, how: Mapping[str, str], ranks: int, cases: int) -> float:
    """Return the bytes of a rank that has ``cases`` in memory at a time: outputs and gradients, whole where they cross.

    Several ranks have gradients of weights beside the momenta, and receive those of all others for their slice.
    """
    total = 0.0
    for name, memory in memories(graph, cases).items():
        weights = memory.weights if ranks == 1 else 1.5 * memory.weights
        received = 0.5 * memory.weights * (1 - 1 / ranks)
        total += memory.outputs + memory.gradients + (weights / ranks if how[name] == OUTPUTS else weights + received)
    return total
