"""PyTorch's side of ``on_a_processor.py``. Letters: N cases."""

from __future__ import annotations

from typing import Any

import graph_torch
import numpy as np
import torch
from processor_ours import load, milliseconds, pictures_of, turn, without_dropout

SGD = {"lr": 1e-6, "momentum": 0.9, "weight_decay": 5e-4, "fused": True}
LIBRARY = ("conv", "fc", "local")  # layers whose work is a library's in either of PyTorch's modes


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

        return turn(work)

    def infer(self, net: str, mode: str, N: int) -> float:
        _, run, pictures, *_ = self._made(net, mode, N, False)
        with torch.inference_mode():
            return turn(lambda: run(pictures).softmax(1))

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


def difference(theirs: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """Return the largest difference and the norm of all, as shares of ours."""
    if theirs.shape != ours.shape:
        raise ValueError(f"shapes differ: {theirs.shape} and ours {ours.shape}")
    apart = np.abs(theirs - ours)
    norms = np.linalg.norm(apart), np.linalg.norm(ours)
    return float(apart.max() / max(np.abs(ours).max(), 1e-30)), float(norms[0] / max(norms[1], 1e-30))
