"""How long a training step takes, where the time goes, and how near that is to what the machine can do.

Whole steps are timed first, undisturbed, with inputs that lie where they are used. Then every layer's forward, backward
and update are timed alone, waiting for the device after each, so that their sum is a little more than a step. The peaks
are measured by the backend's own ops in the same run: multiply-adds in registers, or a large matrix product or convolution,
for arithmetic, a long sum of two arrays for memory.

To issue work to a card, and to wait for it, takes longer than the work of many a layer. So on a card everything is repeated
until it takes some milliseconds from one wait to the next, and the time divided by the repetitions. A layer's pass can be
repeated where it can be captured, as all steps are that look alike. Rates and momenta are zero then, so that weights stay as
they are; and a pass of less than ten microseconds or so still shows how long it takes to issue it.

Multiply-adds count as two operations, but for those with zeros around an image, which nobody need carry out. What other
programs take of the machine makes a peak too small, so it is measured before and after, and where a layer was faster than
both, that is the peak. A convolution by Winograd's method does with fewer, and may be faster than any peak. Bytes are those
that must move at least: each layer's inputs and outputs once, its weights once; in backward also the gradients. What moves
faster than memory comes from caches. Letters: N cases of a minibatch.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.backends.host import forget_peak, resident_memory
from convnet.backends.timing import measured, peak_bytes, peak_flops, peak_name, timed, wait
from convnet.graph.analysis import memories, pass_effort
from convnet.graph.graph import Graph
from convnet.layers.conv import Windowed
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.layers.weighted import WeightLayer
from convnet.net.initial import draw_functions
from convnet.net.memory_check import check_memory
from convnet.net.net import Net, Work
from convnet.net.node import Inputs, Node
from convnet.net.steps import STEPS_BEFORE_CAPTURE, Steps, uncapturable

PASSES = ("forward", "backward", "update")


class Effort(NamedTuple):
    """What a pass of a layer has to do at least, and by which methods it is done; or what a device can do in a second."""

    operations: float
    bytes: float
    methods: tuple[str, ...] = ()

    @property
    def is_saved(self) -> bool:
        """Whether some of the operations are not carried out."""
        return any(method.startswith("Winograd") for method in self.methods)


Passes = dict[str, tuple[Effort, list[float]]]  # by name, with seconds


class Resident:
    """A matrix of a minibatch that lies where ops run, as one does that was prefetched."""

    def __init__(self, be: Backend, values: np.ndarray) -> None:
        self.values = be.upload(values)

    def prefetch(self, be: Backend) -> Resident:  # noqa: ARG002 (a ``Filler``)
        return self

    def fill(self, be: Backend, out: Array) -> None:
        be.add(self.values, out)


def measure(
    graph: Graph, matrices: list[np.ndarray], backends: Sequence[Backend], mini: int = 128, steps: int = 5, warmup: int = 3
) -> dict[str, Any]:
    """Time ``steps`` training steps of a graph on ``matrices`` (features, ``mini``), then as many layer by layer.

    Returns milliseconds, GFLOP/s, GB/s, and shares of the peaks, as ``convnet bench --json`` prints them.
    """
    check_memory(graph, backends, mini)
    devices = list(dict.fromkeys(backends))
    before = _peak(devices)
    seconds, in_order, captured, layers, resident = _time(graph, matrices, backends, mini, steps, warmup)
    gc.collect()  # the net is gone: the peaks want memory of their own
    after = _peak(devices)
    step = statistics.median(seconds)
    efforts = [effort for passes in layers.values() for effort, _ in passes.values()]
    operations = sum(effort.operations for effort in efforts)
    rates = {f"{kind} of {name}": effort.operations / min(times) for name, passes in layers.items()
             for kind, (effort, times) in passes.items() if not effort.is_saved}  # fmt: skip
    if not any(effort.is_saved for effort in efforts):
        rates["whole steps"] = operations / min(seconds)
    rates[peak_name(devices[0])] = max(before.operations, after.operations)
    fastest = max(rates, key=lambda what: rates[what])
    peak, flops = Effort(rates[fastest], max(before.bytes, after.bytes)), operations / step
    return {
        "device": ", ".join(be.describe() for be in devices),
        "net": Path(graph.definition.path).name,
        "mini": mini,
        "captured": captured,  # whether whole steps were issued as one
        "step_ms": _milliseconds(seconds),
        "in_order_ms": _milliseconds(in_order) if in_order else None,  # captured without branches
        "images_per_s": mini / step,
        "gflops": flops / 1e9,
        "peak": {"gflops": peak.operations / 1e9, "gbs": peak.bytes / 1e9, "by": fastest},
        "share_of_peak": flops / peak.operations,
        "memory": {"peak": resident, "expected": sum(memory.total for memory in memories(graph, mini).values())},
        "layers": [
            {"name": name, "type": graph.layers[name].type} | {kind: _rates(*entry, peak) for kind, entry in passes.items()}
            for name, passes in layers.items()
        ],
    }


def _peak(devices: Sequence[Backend]) -> Effort:
    return Effort(sum(peak_flops(be) for be in devices), sum(peak_bytes(be) for be in devices))


def share_text(share: float) -> str:
    """Return a share of a peak as it is shown: nothing is faster than memory but what lies in a cache."""
    return f"{share:.0%}" if share <= 1 else "cached"


def _rates(effort: Effort, seconds: list[float], peak: Effort) -> dict[str, Any]:
    median = statistics.median(seconds)
    flops, moved = effort.operations / median, effort.bytes / median
    shares = {"of_flops": flops / peak.operations, "of_bytes": moved / peak.bytes}
    rates = {"ms": _milliseconds(seconds), "gflops": flops / 1e9, "gbs": moved / 1e9, **shares}
    return {**rates, "methods": effort.methods} if effort.methods else rates


def _time(
    graph: Graph, matrices: list[np.ndarray], backends: Sequence[Backend], mini: int, steps: int, warmup: int
) -> tuple[list[float], list[float], bool, dict[str, Passes], int | None]:
    """Return seconds of whole steps, with branches and without, whether they were captured, and the passes of each layer.

    Last come the bytes that the steps took of this process's memory, but for the matrices; ``None`` on cards.
    """
    draw_functions(graph)  # times do not depend on weights
    gc.collect()
    forget_peak()
    before = resident_memory()
    net = Net(graph, backends, minibatch=mini)
    # Each matrix lies on the backend of the data layer that hands it out.
    places = {node.layer.dataIdx: node.be for node in net.nodes.values() if isinstance(node.layer, Data)}
    inputs = [Resident(places[i], matrix) if i in places else matrix for i, matrix in enumerate(matrices)]

    def time_steps(warmup: int) -> list[float]:
        for _ in range(warmup):
            net.train(inputs, mini, check_finite=False)
        return [measured(backends, lambda: net.train(inputs, mini, check_finite=False)) for _ in range(steps)]

    seconds, in_order, captured = time_steps(warmup), [], bool(net.steps.captured)
    if captured and net.be.runs_branches:
        net.be.runs_branches, net.steps = False, Steps(net)
        in_order = time_steps(max(warmup, STEPS_BEFORE_CAPTURE + 1))
        net.be.runs_branches = True
    after = None if any(be.name == "cuda" for be in backends) else resident_memory()
    resident = max(after[1] - before[0] - sum(matrix.nbytes for matrix in matrices), 0) if before and after else None
    return seconds, in_order, captured, _time_layers(net, inputs, mini, steps, captured), resident


def _time_layers(net: Net, inputs: Inputs, cases: int, steps: int, captured: bool) -> dict[str, Passes]:
    """Return the passes of each layer, with seconds of each step."""
    layers: dict[str, Passes] = {name: {} for name in net.nodes}
    eager = uncapturable(net)

    def timed_work(node: Node, kind: str, work: Work) -> None:
        wait(net.backends)
        if not captured or (kind != "update" and node in eager):
            seconds = timed(net.backends, work)
        else:
            captured_work = net.capture(work)
            seconds = measured(net.backends, lambda: net.be.replay(captured_work))
        passes = layers[node.layer.name]
        if kind not in passes:
            passes[kind] = _effort(node, kind, cases)._replace(methods=_methods(node, kind)), []
        passes[kind][1].append(seconds)

    net.around = timed_work
    for _ in range(steps):
        net.begin_step(0.0, cases)
        for weights in net.weights if captured else ():  # repeated updates must not change the weights
            weights.rate = weights.noiseless_rate = 0.0
            weights.be.fill(weights.inc, 0.0)
        net.forward(inputs, cases, Mode.TRAIN)
        net.backward()
        net.update()
    return layers


def _effort(node: Node, kind: str, N: int) -> Effort:
    """Return what a pass of a layer has to do at minibatch N."""
    layer = node.layer
    if (kind == "forward" and node.is_included) or (kind == "backward" and node.readers_multiply):
        return Effort(0.0, 0.0)  # a neuron that the layers beside it include
    weights = sum(int(np.prod(w.value.shape)) for w in node.all_weights)
    macs = _macs_inside(layer) if isinstance(layer, Windowed) else layer.macs()
    products = int(isinstance(layer, WeightLayer) and layer.learns) + int(any(source.wants_grad for source in node.inputs))
    return Effort(*pass_effort(kind, N, macs, sum(layer.num_inputs), layer.outputs, weights, products))


def _methods(node: Node, kind: str) -> tuple[str, ...]:
    """Return the backend's names of what computes a pass of a convolution, of which it has several."""
    layer = node.layer
    if not isinstance(layer, Windowed) or kind == "update":
        return ()
    out = (node.out_image if kind == "forward" else node.grad_image)(layer.num_filters)
    methods: dict[str, None] = {}
    for i, weights in enumerate(node.weights):
        ops = {"conv_forward": kind == "forward"}
        if kind == "backward":
            ops = {"conv_weight_grad": node.learns(i), "conv_input_grad": node.wants(i)}
        for op in (op for op, runs in ops.items() if runs):
            images, geometry = node.image(i, layer.channels[i]), layer.geometry(node, i)
            methods[node.be.conv_method(op, images, weights.value, out, geometry=geometry)] = None
    return tuple(filter(None, methods))


def _macs_inside(layer: Windowed) -> float:
    """Return the multiply-adds of a forward pass of a case, but for those with zeros around the images."""
    total = 0.0
    for i, (side, size, padding, stride) in enumerate(
        zip(layer.imgSize, layer.filterSize, layer.padding, layer.stride, strict=True)
    ):
        starts = range(-padding, -padding + layer.modulesX * stride, stride)
        taps = sum(max(0, min(start + size, side) - max(start, 0)) for start in starts)
        total += layer.outputs * layer.weights_per_filter(i) * (taps / (layer.modulesX * size)) ** 2
    return total


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": 1e3 * statistics.median(seconds), "min": 1e3 * min(seconds), "max": 1e3 * max(seconds)}
