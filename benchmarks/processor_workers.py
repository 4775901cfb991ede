"""The two processes that ``on_a_processor.py`` lets take turns, so that their thread pools never meet.

Letters: N cases.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import graph_torch
import numpy as np
import torch

from convnet.backends import make_backend, make_backends
from convnet.data.random import synthesize
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, parse
from convnet.layers.modes import Mode
from convnet.net.net import Net
from convnet.net.profile import Resident, measure

SGD = {"lr": 1e-6, "momentum": 0.9, "weight_decay": 5e-4, "fused": True}
LIBRARY = ("conv", "fc", "local")  # layers whose work is a library's in either of PyTorch's modes
Times = dict[str, list[float]]


def load(net: str) -> Any:
    """Return a network's graph and random data of its sizes."""
    return synthesize(parse(LayerFiles.open(f"{net}.cfg", None)))


def pictures_of(data: Any, N: int, seed: int = 0) -> list[np.ndarray]:
    """Return a minibatch: pixels less a mean of 128, as of pictures, and labels."""
    matrices = enumerate(data.matrices(N, seed))
    return [256 * matrix - 128 if data.kinds.get(i, "data") == "data" else matrix for i, matrix in matrices]


def without_dropout(graph: Graph) -> Graph:
    """Let all units of dropout layers stay: outputs of two programs can be compared then."""
    for layer in graph.layers.values():
        if hasattr(layer, "keep"):
            layer.keep = 1.0
    return graph


def milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


class Ours:
    """convnet's side. A net for each of what is measured stays for the turns to come."""

    def __init__(self, threads: int) -> None:
        self.threads, self.nets = threads, {}

    def _net(self, net: str, math: str, N: int, training: bool) -> tuple[Any, list[Any]]:
        key = (net, math, N, training)
        if key not in self.nets:
            data, be = load(net), make_backend("cpu", self.threads, 0, math)
            self.nets[key] = Net(data.graph, be, minibatch=N), [Resident(be, matrix) for matrix in pictures_of(data, N)]
        return self.nets[key]

    def about(self) -> dict[str, str]:
        try:
            said = Path("/proc/cpuinfo").read_text()
            processor = next(line.split(":")[1].strip() for line in said.splitlines() if line.startswith("model name"))
        except (OSError, StopIteration):
            processor = platform.processor() or "an unknown processor"
        device = make_backend("cpu", self.threads).describe()
        return {"processor": f"{processor}, {os.cpu_count()} cores", "device": device, "numpy": np.__version__}

    def truth(self, net: str, math: str, N: int, seed: int = 0) -> dict[str, Any]:
        """Return weights, probabilities, the cost and its gradients, of all N cases."""
        data, be = load(net), make_backend("cpu", self.threads, 0, math)
        running = Net(without_dropout(data.graph), be, minibatch=N, checking=True)
        cost, softmax = [layer for layer in data.graph.layers.values() if layer.is_cost][-1].name, [*data.graph.layers][-2]
        for weights in running.weights:
            weights.checking = True  # gradients are plain sums
        running.begin_step(0.0, N)
        running.forward(pictures_of(data, N, seed), N, Mode.TRAIN)
        probs, cost = running.output(softmax), running.costs()[cost][0]
        running.backward()
        gradients = {key: be.download(weights.grad) for key, weights in _named_weights(running)}
        return {**self._outputs(running, probs), "cost": cost, "gradients": gradients, "seed": seed}

    def outputs(self, net: str, math: str, N: int) -> dict[str, Any]:
        """Return weights and the probabilities of N cases in inference."""
        running, inputs = self._net(net, math, N, False)
        softmax = [*running.graph.layers][-2]
        running.test(inputs, N, [softmax])
        return self._outputs(running, running.output(softmax))

    def _outputs(self, running: Net, probs: np.ndarray) -> dict[str, Any]:
        values = {key: running.be.download(weights.value) for key, weights in _named_weights(running)}
        return {"probs": probs, "weights": values}

    def step(self, net: str, math: str, N: int) -> float:
        running, inputs = self._net(net, math, N, True)
        return milliseconds(lambda: running.train(inputs, N, check_finite=False))

    def infer(self, net: str, math: str, N: int, repeat: int = 1) -> float:
        running, inputs = self._net(net, math, N, False)
        return statistics.median(milliseconds(lambda: running.test(inputs, N)) for _ in range(repeat))

    def bench(self, net: str, math: str, N: int) -> dict[str, Any]:
        """Return what ``convnet bench --json`` prints of two steps."""
        data = load(net)
        return measure(data.graph, pictures_of(data, N), make_backends("cpu", self.threads, [0], math), N, 2, 1)

    def close(self) -> None:
        self.nets.clear()


class Theirs:
    """PyTorch's side. A mode is words with commas between: eager or compiled, the layout, and whether towers are apart."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        torch._dynamo.config.recompile_limit = 100  # layers are compiled one by one
        self.nets: dict[tuple, tuple] = {}
        self.alone: list[tuple] = []

    def about(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def modes(self, net: str) -> list[str]:
        """Return the modes worth a try: towers apart only where there are some."""
        graph = load(net).graph
        towers = len(graph_torch.GraphNet(graph, False).units) > len(graph_torch.GraphNet(graph).units)
        kinds = [f"{run}, {layout}" for run in ("eager", "compiled") for layout in graph_torch.LAYOUTS]
        return [f"{kind}{how}" for how in (["", ", towers apart"] if towers else [""]) for kind in kinds]

    def _made(self, net: str, mode: str, N: int, training: bool) -> tuple[Any, Any, Any, Any, Any]:
        """Return a module, what runs it, a minibatch and what updates it."""
        key = (net, mode, N, training)
        if key not in self.nets:
            self.nets[key] = self._make(load(net), mode, N, training, 0)
        return self.nets[key]

    def _make(self, data: Any, mode: str, N: int, training: bool, seed: int) -> tuple[Any, Any, Any, Any, Any]:
        layout = "channels_last" if "channels_last" in mode else "contiguous"
        module = graph_torch.GraphNet(data.graph, "apart" not in mode)
        module = module.to(memory_format=graph_torch.LAYOUTS[layout]).train(training)
        run = torch.compile(module, dynamic=False) if "compiled" in mode else module
        matrices = pictures_of(data, N, seed)
        labels = torch.from_numpy(matrices[module.label_layer.dataIdx][0].astype(np.int64))
        pictures = module.pictures(matrices[module.data_layer.dataIdx], layout)
        return module, run, pictures, labels, torch.optim.SGD(module.parameters(), **SGD)

    def check(self, net: str, mode: str, truth: dict[str, Any]) -> dict[str, float]:
        """Return how a step's outputs and gradients differ from ours: as a share of the largest value, and in norm."""
        data = load(net)
        without_dropout(data.graph)
        module, run, pictures, labels, _ = self._make(data, mode, truth["probs"].shape[1], True, truth["seed"])
        module.take(truth["weights"])
        logits = run(pictures)
        cost = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        cost.backward()
        outputs = difference(logits.detach().softmax(1).numpy().T, truth["probs"])[0]
        cost = abs(cost.item() / truth["cost"] - 1)
        gradients = [difference(b.gradient(), -b.turn(truth["gradients"][b.key])) for b in module.blocks()]
        largest, norm = map(max, zip(*gradients, strict=True))
        return {"outputs": max(outputs, cost), "gradients": largest, "gradients_norm": norm}

    def differs(self, net: str, mode: str, N: int, truth: dict[str, Any]) -> float:
        """Return how the outputs of inference differ."""
        module, run, pictures, *_ = self._made(net, mode, N, False)
        module.take(truth["weights"])
        with torch.inference_mode():
            return difference(run(pictures).softmax(1).numpy().T, truth["probs"])[0]

    def step(self, net: str, mode: str, N: int) -> float:
        _, run, pictures, labels, optimizer = self._made(net, mode, N, True)

        def work() -> None:
            loss = torch.nn.functional.cross_entropy(run(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return milliseconds(work)

    def infer(self, net: str, mode: str, N: int, repeat: int = 1) -> float:
        _, run, pictures, *_ = self._made(net, mode, N, False)
        with torch.inference_mode():
            return statistics.median(milliseconds(lambda: run(pictures).softmax(1)) for _ in range(repeat))

    def layers(self, net: str, N: int) -> list[dict[str, Any]]:
        """Return the milliseconds of each unit's passes, alone, in each mode; the first time does not count."""
        if not self.alone:
            for layout in graph_torch.LAYOUTS:
                self.alone += self._alone(net, layout, N)
            for entry in self.alone:
                self._passes(*entry[1:])
        return [{**entry[0], "ms": self._passes(*entry[1:])} for entry in self.alone]

    def _alone(self, net: str, layout: str, N: int) -> list[tuple]:
        """Return each unit of a net in a layout: what it is, itself, what runs it, an input and a gradient."""
        module, _, pictures, *_ = self._make(load(net), f"eager, {layout}", N, True, 0)
        found: list[tuple] = []

        def ran(unit: Any, x: Any, y: Any) -> None:
            if y.dim() == 2 and layout != "contiguous" and len(found):
                return  # has no layout
            first = next(module.parameters()) is next(unit.parameters(), None)
            x, grad = x[0].detach().clone().requires_grad_(not first), torch.randn_like(y)
            for mode in ("eager",) if unit.type in LIBRARY else ("eager", "compiled"):
                run = torch.compile(unit, dynamic=False) if mode == "compiled" else unit
                about = {"layers": [layer.name for layer in unit.layers], "type": unit.type, "mode": f"{mode}, {layout}"}
                found.append((about, unit, run, x, grad))

        handles = [unit.register_forward_hook(ran) for unit in module.units]
        with torch.no_grad():
            module(pictures)
        for handle in handles:
            handle.remove()
        return found

    def _passes(self, unit: Any, run: Any, x: Any, grad: Any) -> dict[str, float]:
        """Return the milliseconds of forward, backward and update."""
        weights, made, grads = [*unit.parameters()], [], []
        wanted = [value for value in (*weights, x) if value.requires_grad]
        times = {"forward": milliseconds(lambda: made.append(run(x)))}
        times["backward"] = milliseconds(lambda: grads.extend(torch.autograd.grad(made[0], wanted, grad)))
        if weights:
            for weight, value in zip(weights, grads, strict=False):
                weight.grad = value
            if not hasattr(unit, "optimizer"):
                unit.optimizer = torch.optim.SGD(weights, **SGD)
            times["update"] = milliseconds(unit.optimizer.step)
        return times

    def close(self) -> None:
        self.nets.clear()
        self.alone.clear()
        torch._dynamo.reset()


def _named_weights(running: Net) -> list[tuple[tuple[str, str], Any]]:
    return [((name, which), w) for name, node in running.nodes.items() for which, w in node.named_weights.items()]


def difference(theirs: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """Return the largest difference and the norm of all, as shares of ours."""
    if theirs.shape != ours.shape:
        raise ValueError(f"shapes differ: {theirs.shape} and ours {ours.shape}")
    apart = np.abs(theirs - ours)
    norms = np.linalg.norm(apart), np.linalg.norm(ours)
    return float(apart.max() / max(np.abs(ours).max(), 1e-30)), float(norms[0] / max(norms[1], 1e-30))


def serve(which: str, threads: int, calls: Connection) -> None:
    """Answer calls, ``("step", {...})``, until the other end is closed; an answer is a value or what went wrong."""
    side = {"ours": Ours, "theirs": Theirs}[which](threads)
    while True:
        try:
            do, arguments = calls.recv()
        except EOFError:
            return
        time.sleep(0.02)  # until the threads of the other process rest, too
        try:
            answer = getattr(side, do)(**arguments)
        except Exception as error:
            answer = RuntimeError(f"{do}: {type(error).__name__}: {error}")
        calls.send(answer)
