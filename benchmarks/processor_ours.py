"""convnet's side of ``on_a_processor.py``, and what both sides are made with; nothing of PyTorch is loaded here.

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

import numpy as np

from convnet.backends import make_backend, make_backends
from convnet.data.random import synthesize
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, parse
from convnet.layers.modes import Mode
from convnet.net.net import Net
from convnet.net.profile import Resident, measure

TURN_MS = 200


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


def turn(work: Callable[[], object]) -> float:
    """Return the median milliseconds of ``work``, repeated for TURN_MS: a processor that has slept is slow at first."""
    found: list[float] = []
    while sum(found) < TURN_MS:
        found.append(milliseconds(work))
    return statistics.median(found)


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
        return turn(lambda: running.train(inputs, N, check_finite=False))

    def infer(self, net: str, math: str, N: int) -> float:
        running, inputs = self._net(net, math, N, False)
        return turn(lambda: running.test(inputs, N))

    def bench(self, net: str, math: str, N: int) -> dict[str, Any]:
        """Return what ``convnet bench --json`` prints of two steps."""
        data = load(net)
        return measure(data.graph, pictures_of(data, N), make_backends("cpu", self.threads, [0], math), N, 2, 1)

    def close(self) -> None:
        self.nets.clear()


def _named_weights(running: Net) -> list[tuple[tuple[str, str], Any]]:
    return [((name, which), w) for name, node in running.nodes.items() for which, w in node.named_weights.items()]


def serve(which: str, threads: int, calls: Connection) -> None:
    """Answer calls, ``("step", {...})``, until the other end is closed; an answer is a value or what went wrong.

    Each side is a process of its own, and this one loads PyTorch for its own side alone: two sets of threads never meet.
    """
    if which == "ours":
        side: Any = Ours(threads)
    else:
        from processor_theirs import Theirs

        side = Theirs(threads)
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
