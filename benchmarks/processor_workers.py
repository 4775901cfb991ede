"""The two long-lived processes that ``on_a_processor.py`` lets take turns, so that their thread pools never meet.

    python processor_workers.py ours|theirs THREADS

Reads a call on each line of its input, ``{"do": "step", ...}`` in JSON, and answers with a line. Arrays go through files.
Letters: N cases.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convnet.data.random import synthesize
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, parse

Answer = dict[str, Any]


def load(net: str) -> Any:
    """Return a network's graph and random data of its sizes."""
    return synthesize(parse(LayerFiles.open(f"{net}.cfg", None)))


def pictures_of(data: Any, N: int, seed: int = 0) -> list[np.ndarray]:
    """Return a minibatch: pixels less a mean of 128, as of pictures, and labels."""
    return [
        256 * matrix - 128 if data.kinds.get(i, "data") == "data" else matrix
        for i, matrix in enumerate(data.matrices(N, seed))
    ]


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
        from convnet.backends import make_backend
        from convnet.net.net import Net
        from convnet.net.profile import Resident

        key = (net, math, N, training)
        if key not in self.nets:
            data, be = load(net), make_backend("cpu", self.threads, 0, math)
            self.nets[key] = Net(data.graph, be, minibatch=N), [Resident(be, matrix) for matrix in pictures_of(data, N)]
        return self.nets[key]

    def about(self) -> Answer:
        from convnet.backends import make_backend

        try:
            said = Path("/proc/cpuinfo").read_text()
            processor = next(line.split(":")[1].strip() for line in said.splitlines() if line.startswith("model name"))
        except (OSError, StopIteration):
            processor = platform.processor() or "an unknown processor"
        device = make_backend("cpu", self.threads).describe()
        return {"processor": f"{processor}, {os.cpu_count()} cores", "device": device, "numpy": np.__version__}

    def truth(self, net: str, math: str, N: int, folder: str, seed: int = 0) -> Answer:
        """Write weights, inputs, probabilities, the cost and its gradients, of all N cases, to ``folder``."""
        from convnet.backends import make_backend
        from convnet.layers.modes import Mode
        from convnet.net.net import Net

        data, be = load(net), make_backend("cpu", self.threads, 0, math)
        matrices, running = pictures_of(data, N, seed), Net(without_dropout(data.graph), be, minibatch=N, checking=True)
        cost, softmax = [layer for layer in data.graph.layers.values() if layer.is_cost][-1].name, [*data.graph.layers][-2]
        for weights in running.weights:
            weights.checking = True  # gradients are plain sums
        running.begin_step(0.0, N)
        running.forward(matrices, N, Mode.TRAIN)
        found = {"probs": running.output(softmax), "cost": np.array(running.costs()[cost][0])}
        running.backward()
        for name, node in running.nodes.items():
            for which, weights in node.named_weights.items():
                found |= {f"w.{name}.{which}": be.download(weights.value), f"g.{name}.{which}": be.download(weights.grad)}
        for name, values in found.items():
            np.save(Path(folder) / f"{name}.npy", values)
        return {}

    def step(self, net: str, math: str, N: int) -> Answer:
        running, inputs = self._net(net, math, N, True)
        return {"ms": milliseconds(lambda: running.train(inputs, N, check_finite=False))}

    def infer(self, net: str, math: str, N: int, repeat: int = 1) -> Answer:
        running, inputs = self._net(net, math, N, False)
        return {"ms": statistics.median(milliseconds(lambda: running.test(inputs, N)) for _ in range(repeat))}

    def bench(self, net: str, math: str, N: int, steps: int) -> Answer:
        """Return what ``convnet bench --json`` prints."""
        from convnet.backends import make_backends
        from convnet.net.profile import measure

        data = load(net)
        return measure(data.graph, pictures_of(data, N), make_backends("cpu", self.threads, [0], math), N, steps, 2)

    def close(self) -> Answer:
        self.nets.clear()
        return {}


class Theirs:
    """PyTorch's side. A mode is ``(compiled or eager, layout, towers)``, words with commas between."""

    def __init__(self, threads: int) -> None:
        import graph_torch
        import torch

        torch.set_num_threads(threads)
        self.torch, self.made, self.threads = torch, graph_torch, threads
        self.nets: dict[tuple, tuple] = {}

    def about(self) -> Answer:
        return {"torch": self.torch.__version__}

    def modes(self, net: str) -> Answer:
        """Return the modes worth a try: towers as groups or apart only where there are some."""
        graph = load(net).graph
        towers = len(self.made.GraphNet(graph, False).units) > len(self.made.GraphNet(graph, True).units)
        kinds = [f"{run}, {layout}" for run in ("eager", "compiled") for layout in self.made.LAYOUTS]
        return {"modes": [f"{kind}{how}" for how in (["", ", towers apart"] if towers else [""]) for kind in kinds]}

    def _made(
        self, net: str, mode: str, N: int, training: bool, seed: int = 0, plain: bool = False
    ) -> tuple[Any, Any, Any, Any]:
        """Return (module, what runs it, pictures, labels)."""
        key = (net, mode, N, training, seed, plain)
        if key not in self.nets:
            data = load(net)
            graph = without_dropout(data.graph) if plain else data.graph
            module = self.made.GraphNet(graph, "apart" not in mode)
            layout = "channels_last" if "channels_last" in mode else "contiguous"
            module = module.to(memory_format=self.made.LAYOUTS[layout]).train(training)
            run = self.torch.compile(module, dynamic=False) if "compiled" in mode else module
            matrices = pictures_of(data, N, seed)
            pictures = module.pictures(matrices[module.data_layer.dataIdx], layout)
            labels = self.torch.from_numpy(matrices[module.label_layer.dataIdx][0].astype(np.int64))
            optimizer = self.torch.optim.SGD(module.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True)
            self.nets[key] = module, run, pictures, labels, optimizer
        return self.nets[key]

    def check(self, net: str, mode: str, N: int, folder: str, seed: int = 0) -> Answer:
        """Return how outputs and gradients differ from ours: at most, as a share of the largest value, and in norm."""
        module, run, pictures, labels, _ = self._made(net, mode, N, True, seed, plain=True)
        module.take(_Arrays(folder, "w"))
        logits = run(pictures)
        cost = self.torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        module.zero_grad()
        cost.backward()
        outputs = _difference(logits.detach().softmax(1).numpy().T, np.load(Path(folder) / "probs.npy"))[0]
        ours, found = _Arrays(folder, "g"), []
        for block, theirs in module.gradients():
            found.append(_difference(theirs, -block.turn(ours[block.layer, block.name])))
        del self.nets[net, mode, N, True, seed, True]
        cost = _difference(np.array(cost.item()), np.load(Path(folder) / "cost.npy"))[0]
        largest, norm = map(max, zip(*found, strict=True))
        return {"outputs": max(outputs, cost), "gradients": largest, "gradients_norm": norm}

    def step(self, net: str, mode: str, N: int) -> Answer:
        _, run, pictures, labels, optimizer = self._made(net, mode, N, True)

        def work() -> None:
            loss = self.torch.nn.functional.cross_entropy(run(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return {"ms": milliseconds(work)}

    def infer(self, net: str, mode: str, N: int, repeat: int = 1) -> Answer:
        _, run, pictures, *_ = self._made(net, mode, N, False)
        with self.torch.inference_mode():
            times = [milliseconds(lambda: run(pictures).softmax(1)) for _ in range(repeat)]
        return {"ms": statistics.median(times)}

    def layers(self, net: str, N: int, rounds: int) -> Answer:
        """Return the milliseconds of each unit alone in its best layout, by pass: eager, normalisations compiled."""
        found: dict[str, Any] = {}
        for layout, memory in self.made.LAYOUTS.items():
            module, _, pictures, *_ = self._made(net, f"eager, {layout}", N, True)
            shapes: dict[Any, Any] = {}
            for unit in module.units:
                unit.register_forward_hook(lambda unit, x, y, to=shapes: to.update({unit: (x[0].shape, y.shape)}))
            module(pictures[:1])
            for i, unit in enumerate(module.units):
                unit._forward_hooks.clear()
                x, grad = (self.torch.randn(N, *shape[1:]) for shape in shapes[unit])
                x, grad = (v.contiguous(memory_format=memory) if v.dim() == 4 else v for v in (x, grad))
                mode = "compiled" if "norm" in unit.type else "eager"
                run = self.torch.compile(unit, dynamic=False) if mode == "compiled" else unit
                times = self._passes(unit, run, x.requires_grad_(bool(i)), grad, rounds)
                record = {"layers": [layer.name for layer in unit.layers], "type": unit.type, "ms": times}
                if i not in found or _both(times) < _both(found[i]["ms"]):
                    found[i] = {**record, "mode": f"{mode}, {layout}"}
            self.close()
        return {"units": [found[i] for i in sorted(found)]}

    def _passes(self, unit: Any, run: Any, x: Any, grad: Any, rounds: int) -> dict[str, list[float]]:
        """Return the milliseconds of forward, backward and update, after a round that does not count."""
        torch, wanted = self.torch, [v for v in (*unit.parameters(), x) if v.requires_grad]
        weights = [*unit.parameters()]
        optimizer = torch.optim.SGD(weights, lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True) if weights else None
        times: dict[str, list[float]] = {"forward": [], "backward": [], "update": []}
        for _ in range(rounds + 1):
            made: list[Any] = []
            times["forward"].append(milliseconds(lambda made=made: made.append(run(x))))
            grads: list[Any] = []
            times["backward"].append(
                milliseconds(lambda made=made, grads=grads: grads.extend(torch.autograd.grad(made[0], wanted, grad)))
            )
            for weight, value in zip(weights, grads, strict=False):
                weight.grad = value
            if optimizer:
                times["update"].append(milliseconds(optimizer.step))
        return {kind: values[1:] for kind, values in times.items() if values}

    def close(self) -> Answer:
        self.nets.clear()
        self.torch._dynamo.reset()
        return {}


def _both(times: dict[str, list[float]]) -> float:
    return statistics.median(times["forward"]) + statistics.median(times["backward"])


class _Arrays:
    """Arrays of a folder by layer and name."""

    def __init__(self, folder: str, kind: str) -> None:
        self.folder, self.kind = Path(folder), kind

    def __getitem__(self, key: tuple[str, str]) -> np.ndarray:
        return np.load(self.folder / f"{self.kind}.{key[0]}.{key[1]}.npy")


def _difference(theirs: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    if theirs.shape != ours.shape:
        raise ValueError(f"shapes differ: {theirs.shape} and ours {ours.shape}")
    apart = np.abs(theirs - ours)
    norms = np.linalg.norm(apart), np.linalg.norm(ours)
    return float(apart.max() / max(np.abs(ours).max(), 1e-30)), float(norms[0] / max(norms[1], 1e-30))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    side = {"ours": Ours, "theirs": Theirs}[sys.argv[1]](int(sys.argv[2]))
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = getattr(side, call.pop("do"))(**call)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
