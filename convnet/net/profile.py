"""How long a training step takes, where the time goes, and how near that is to what the machine can do.

Whole steps are timed first, undisturbed, with inputs that lie where they are used. Then every layer's forward, backward
and update are timed alone, waiting for the device after each, so that their sum is a little more than a step. The peaks
are measured by the backend's own ops in the same run: a large matrix product or convolution for arithmetic, a long sum of
two arrays for memory.

To issue work to a card, and to wait for it, takes longer than the work of many a layer. So on a card everything is repeated
until it takes some milliseconds from one wait to the next, and the time divided by the repetitions. A layer's pass can be
repeated where it can be captured, as all steps are that look alike. Rates and momenta are zero then, so that weights stay as
they are; and a pass of less than ten microseconds or so still shows how long it takes to issue it.

Multiply-adds count as two operations, those with zeros around an image too, which nobody need carry out: a share of the
peak can exceed 100 %. Bytes are those that must move at least: each layer's inputs and outputs once,
its weights once; in backward also the gradients. Letters: N cases of a minibatch.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.backends.timing import measured, peak_bytes, peak_flops, timed, wait
from convnet.graph.graph import Graph
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.layers.weighted import WeightLayer
from convnet.net.memory_check import check_memory
from convnet.net.net import Net, Work
from convnet.net.node import Inputs, Node
from convnet.net.steps import uncapturable

PASSES = ("forward", "backward", "update")


class Effort(NamedTuple):
    """What a pass of a layer has to do, at least."""

    operations: float
    bytes: float


@dataclass
class Report:
    """What was measured: seconds of whole steps, of each layer's passes, and the peaks."""

    device: str
    net: str
    mini: int
    steps: list[float]
    layers: dict[str, dict[str, list[float]]]  # seconds by layer and pass
    efforts: dict[str, dict[str, Effort]]
    types: dict[str, str]
    captured: bool  # whether whole steps were issued as one
    peak_flops: float = 0.0
    peak_bytes: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return milliseconds, GFLOP/s, GB/s, and shares of the peaks, as ``convnet bench --json`` prints them."""
        step = statistics.median(self.steps)
        flops = sum(effort.operations for passes in self.efforts.values() for effort in passes.values())
        return {
            "device": self.device,
            "net": self.net,
            "mini": self.mini,
            "captured": self.captured,
            "step_ms": _milliseconds(self.steps),
            "images_per_s": self.mini / step,
            "gflops": flops / step / 1e9,
            "peak": {"gflops": self.peak_flops / 1e9, "gbs": self.peak_bytes / 1e9},
            "share_of_peak": flops / step / self.peak_flops,
            "layers": [
                {"name": name, "type": self.types[name]}
                | {kind: self._pass(self.efforts[name][kind], seconds) for kind, seconds in passes.items()}
                for name, passes in self.layers.items()
            ],
        }

    def _pass(self, effort: Effort, seconds: list[float]) -> dict[str, Any]:
        median = statistics.median(seconds)
        gflops, gbs = effort.operations / median / 1e9, effort.bytes / median / 1e9
        shares = {"of_flops": gflops * 1e9 / self.peak_flops, "of_bytes": gbs * 1e9 / self.peak_bytes}
        return {"ms": _milliseconds(seconds), "gflops": gflops, "gbs": gbs, **shares}


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
) -> Report:
    """Time ``steps`` training steps of a graph on ``matrices`` (features, ``mini``), then as many layer by layer."""
    check_memory(graph, backends, mini)
    report = _without_peaks(graph, matrices, backends, mini, steps, warmup)
    gc.collect()  # the net is gone: the peaks want memory of their own
    for be in dict.fromkeys(backends):
        report.peak_flops += peak_flops(be)
        report.peak_bytes += peak_bytes(be)
    return report


def _without_peaks(
    graph: Graph, matrices: list[np.ndarray], backends: Sequence[Backend], mini: int, steps: int, warmup: int
) -> Report:
    net = Net(graph, backends, minibatch=mini)
    # Each matrix lies on the backend of the data layer that hands it out.
    places = {node.layer.dataIdx: node.be for node in net.nodes.values() if isinstance(node.layer, Data)}
    inputs = [Resident(places[i], matrix) if i in places else matrix for i, matrix in enumerate(matrices)]
    for _ in range(warmup):
        net.train(inputs, mini, check_finite=False)
    seconds = [measured(backends, lambda: net.train(inputs, mini, check_finite=False)) for _ in range(steps)]
    captured = bool(net.steps.captured)
    return Report(
        ", ".join(be.describe() for be in dict.fromkeys(backends)),
        Path(graph.definition.path).name,
        mini,
        seconds,
        _by_layer(net, inputs, mini, steps, captured),
        {name: _efforts(node, mini) for name, node in net.nodes.items()},
        {name: node.layer.type for name, node in net.nodes.items()},
        captured,
    )


def _by_layer(net: Net, inputs: Inputs, cases: int, steps: int, captured: bool) -> dict[str, dict[str, list[float]]]:
    """Return seconds of each layer's passes, one number per step."""
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in net.nodes}
    eager = uncapturable(net)

    def timed_work(node: Node, kind: str, work: Work) -> None:
        wait(net.backends)
        if not captured or (kind != "update" and node in eager):
            result = timed(net.backends, work)
        else:
            captured_work = net.capture(work)
            result = measured(net.backends, lambda: net.be.replay(captured_work))
        seconds[node.layer.name].setdefault(kind, []).append(result)

    net.around = timed_work
    for _ in range(steps):
        net.begin_step(0.0, cases)
        if captured:
            _freeze_updates(net)
        net.forward(inputs, cases, Mode.TRAIN)
        net.backward()
        net.update()
    return seconds


def _freeze_updates(net: Net) -> None:
    """Set rates and momenta to zero: repeated updates must not change the weights."""
    for weights in net.weights:
        weights.rate = weights.noiseless_rate = 0.0
        weights.be.fill(weights.inc, 0.0)


def _efforts(node: Node, N: int) -> dict[str, Effort]:
    """Return what each pass of a layer has to do at minibatch N."""
    layer = node.layer
    values = 4.0 * N * (sum(layer.num_inputs) + layer.outputs)
    weights = sum(int(np.prod(w.value.shape)) for w in node.all_weights)
    forward = 2.0 * layer.macs() * N
    products = int(isinstance(layer, WeightLayer) and layer.learns) + int(any(source.wants_grad for source in node.inputs))
    return {
        "forward": Effort(forward, values + 4 * weights),
        "backward": Effort(forward * products, 2 * values + 8 * weights),
        "update": Effort(0.0, 5.0 * 4 * weights),  # weights and momenta are read and written, gradients read
    }


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": 1e3 * statistics.median(seconds), "min": 1e3 * min(seconds), "max": 1e3 * max(seconds)}
