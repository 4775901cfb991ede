"""``convnet bench``: how long a training step takes, where the time goes, and how near that is to what the machine can do.

    convnet bench --layer-def layers-imagenet.cfg
    convnet bench --layer-def layers-cifar10-26pct.cfg --mini 64 --steps 20 --json

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from convnet.backends.base import Array, Backend
from convnet.backends.timing import measured, peak_bytes, peak_flops, timed, wait
from convnet.graph.graph import Graph
from convnet.layers.data import Data
from convnet.layers.modes import Mode
from convnet.layers.weighted import WeightLayer
from convnet.net.memory_check import check_memory
from convnet.net.net import Inputs, Net
from convnet.net.node import Node
from convnet.net.steps import uncapturable
from convnet.net.weights import Weights

PASSES = ("forward", "backward", "update")


@dataclass
class Report:
    """What was measured: seconds of whole steps, of each layer's passes, and the peaks."""

    device: str
    net: str
    mini: int
    steps: list[float]
    layers: dict[str, dict[str, list[float]]]
    work: dict[str, dict[str, tuple[float, float]]]  # (operations, bytes) by layer and pass
    kinds: dict[str, str] = field(default_factory=dict)
    captured: bool = False  # whether whole steps were issued as one
    peak_flops: float = 0.0
    peak_bytes: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: milliseconds, GFLOP/s, GB/s, and shares of the peaks."""
        step = statistics.median(self.steps)
        flops = sum(work[0] for passes in self.work.values() for work in passes.values())
        return {
            "device": self.device,
            "net": self.net,
            "mini": self.mini,
            "captured": self.captured,
            "step_ms": _spread(self.steps),
            "images_per_s": self.mini / step,
            "gflops": flops / step / 1e9,
            "peak": {"gflops": self.peak_flops / 1e9, "gbs": self.peak_bytes / 1e9},
            "share_of_peak": flops / step / self.peak_flops,
            "layers": [self._layer(name) for name in self.layers],
        }

    def _layer(self, name: str) -> dict[str, Any]:
        passes = {}
        for kind, seconds in self.layers[name].items():
            flops, moved = self.work[name].get(kind, (0.0, 0.0))
            median = statistics.median(seconds)
            gflops, gbs = flops / median / 1e9, moved / median / 1e9
            shares = {"of_flops": gflops * 1e9 / self.peak_flops, "of_bytes": gbs * 1e9 / self.peak_bytes}
            passes[kind] = {"ms": _spread(seconds), "gflops": gflops, "gbs": gbs, **shares}
        return {"name": name, "type": self.kinds[name], **passes}

    def text(self) -> str:
        """The table that people read."""
        report = self.as_dict()
        step, peak = report["step_ms"], report["peak"]
        lines = [f"{self.net}, minibatch {self.mini}, {self.device}", ""]
        head = f"{'layer':<18} {'pass':<8} {'ms':>9} {'least to most':>19}"
        lines.append(f"{head} {'GFLOP/s':>9} {'of peak':>8} {'GB/s':>8} {'of peak':>8}")
        for layer in report["layers"]:
            for kind in PASSES:
                if kind in layer and layer[kind]["ms"]["median"] >= 0.0005:
                    lines.append(_row(layer["name"], kind, layer[kind]))
        lines += [
            "",
            f"step: {step['median']:.2f} ms median of {len(self.steps)} ({step['least']:.2f} to {step['most']:.2f}), "
            f"{report['images_per_s']:.1f} images/s{', issued as a whole' if self.captured else ''}",
            f"      {report['gflops']:.1f} GFLOP/s, {report['share_of_peak']:.0%} of the peak measured here: "
            f"{peak['gflops']:.1f} GFLOP/s by a large product or convolution, "
            f"{peak['gbs']:.1f} GB/s by adding two arrays",
        ]
        return "\n".join(lines)


class Resident:
    """A matrix of a minibatch that lies where ops run, as one does that was brought ahead."""

    def __init__(self, be: Backend, values: np.ndarray) -> None:
        self.values = be.upload(values)

    def prefetch(self, be: Backend) -> Resident:
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
    inputs = _resident(net, matrices)
    for _ in range(warmup):
        net.train(inputs, mini, check_finite=False)
    whole = [measured(backends, lambda: net.train(inputs, mini, check_finite=False)) for _ in range(steps)]
    layers = _by_layer(net, inputs, mini, steps)
    work = {name: _work(node, mini) for name, node in net.nodes.items()}
    kinds = {name: node.layer.type for name, node in net.nodes.items()}
    device = ", ".join(be.describe() for be in dict.fromkeys(backends))
    name = Path(graph.definition.path).name
    return Report(device, name, mini, whole, layers, work, kinds, bool(net.steps.captured))


def _resident(net: Net, matrices: list[np.ndarray]) -> list[Resident | np.ndarray]:
    """Each matrix on the backend of the data layer that hands it out."""
    places = {node.layer.dataIdx: node.be for node in net.nodes.values() if isinstance(node.layer, Data)}
    return [Resident(places[i], matrix) if i in places else matrix for i, matrix in enumerate(matrices)]


def _by_layer(net: Net, inputs: Inputs, cases: int, steps: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each layer's passes, one number per step."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in net.nodes}
    outside = uncapturable(net) if net.steps.captured else list(net.nodes.values())  # what is issued op by op
    for name, node in net.nodes.items():
        for method in ("forward", "backward"):
            work = _watched(net, getattr(node, method), found[name].setdefault(method, []), node in outside)
            setattr(node, method, work)
    for _ in range(steps):
        net.begin_step(0.0, cases)
        if net.steps.captured:
            _stand_still(net)
        net.forward(inputs, cases, Mode.TRAIN)
        net.backward()
        for name, node in net.nodes.items():
            own = [w for i, w in enumerate(node.weights) if node.layer.owners[i] is None]  # type: ignore[attr-defined]
            if own or node.biases:
                work = partial(_update, [*own, node.biases], net.noise)
                _watched(net, work, found[name].setdefault("update", []), not net.steps.captured)()
        net.step += 1
    return {name: {kind: seconds for kind, seconds in passes.items() if seconds} for name, passes in found.items()}


def _update(weights: list[Weights], noise: np.random.Generator) -> None:
    for own in weights:
        own.update(noise)


def _stand_still(net: Net) -> None:
    """No rates and momenta: updates that are repeated must not make numbers of the weights that no net has."""
    for weights in net.weights:
        weights.rate = weights.plain_rate = 0.0
        weights.be.fill(weights.inc, 0.0)


def _watched(net: Net, work: Callable[[], None], into: list[float], plain: bool) -> Callable[[], None]:
    """``work``, timed at every call, waiting for the devices before and after; captured and repeated unless ``plain``."""

    def watched() -> None:
        wait(net.backends)
        if plain:
            into.append(timed(net.backends, work))
            return
        net.capturing = True
        try:
            with net.be.capturing() as held:
                work()
        finally:
            net.capturing = False
        into.append(measured(net.backends, lambda: net.be.replay(held[0])))

    return watched


def _work(node: Node, N: int) -> dict[str, tuple[float, float]]:
    """(operations, bytes) of each pass of a layer at minibatch N."""
    layer = node.layer
    values = 4.0 * N * (sum(layer.num_inputs) + layer.outputs)
    own = sum(int(np.prod(w.value.shape)) for w in node.all_weights)
    forward = 2.0 * layer.macs() * N
    products = int(isinstance(layer, WeightLayer) and layer.learns) + int(any(source.wants_grad for source in node.inputs))
    return {
        "forward": (forward, values + 4 * own),
        "backward": (forward * products, 2 * values + 8 * own),
        "update": (0.0, 5.0 * 4 * own),  # weights and momenta are read and written, gradients read
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {"median": 1e3 * statistics.median(seconds), "least": 1e3 * min(seconds), "most": 1e3 * max(seconds)}


def _row(name: str, kind: str, numbers: dict[str, Any]) -> str:
    arithmetic = f"{numbers['gflops']:>9.1f} {numbers['of_flops']:>8.0%}" if numbers["gflops"] >= 0.05 else " " * 18
    traffic = f"{numbers['gbs']:>8.1f} {numbers['of_bytes']:>8.0%}"
    spread = f"{numbers['ms']['least']:.3f} to {numbers['ms']['most']:.3f}"
    return f"{name:<18} {kind:<8} {numbers['ms']['median']:>9.3f} {spread:>19} {arithmetic} {traffic}"
