"""``--conv-to-local`` and ``--unshare-weights``: a trained net becomes one with more freedom (io section 3).

Right after either the net computes what it did before; from then on the new weights go their own ways. Momentum of what
was copied starts at zero, as in the originals.

Letters: F filters, M side of the output (modulesX).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from convnet.errors import OptionError, did_you_mean
from convnet.graph.graph import Changes, Graph
from convnet.layers.conv import Conv
from convnet.layers.weighted import WeightLayer

State = dict[str, dict[str, Any]]
L = TypeVar("L", bound=WeightLayer)


def apply_edits(
    graph: Graph, state: Mapping[str, Mapping[str, Any]], local: Sequence[str], unshare: Sequence[str]
) -> Surgery:
    """Unshare, then make local; returns what changed, the new state, and what to print. Raises ``OptionError``."""
    surgery = Surgery(graph, state)
    for text in unshare:
        surgery.unshare(text)
    surgery.make_local(local)
    return surgery


class Surgery:
    """``state`` is that of ``graph`` with ``changes``; ``lines`` say what was done, in the originals' words."""

    def __init__(self, graph: Graph, state: Mapping[str, Mapping[str, Any]]) -> None:
        self.graph = graph
        self.state: State = {name: dict(own) for name, own in state.items()}
        self.changes = Changes()
        self.lines: list[str] = []

    def unshare(self, text: str) -> None:
        """Give ``layer``, or one input ``layer[2]``, a matrix of its own."""
        match = re.fullmatch(r"([^\[\]]+)(?:\[(\d+)\])?", text)
        if not match:
            raise OptionError(f"--unshare-weights: Invalid layer name '{text}'; unable to unshare")
        layer = self._find(match[1], WeightLayer, "--unshare-weights")
        inputs = range(len(layer.inputs)) if match[2] is None else [int(match[2])]
        if inputs[-1] >= len(layer.inputs):
            count = len(layer.inputs)
            raise OptionError(f"--unshare-weights: layer '{layer.name}' has {count} weight matrices, counted from 0: {text}")
        for i in inputs:
            self._unshare(layer, i)

    def _unshare(self, layer: WeightLayer, i: int) -> None:
        owner = layer.owners[i]
        if owner is None or (layer.name, i) in self.changes.unshared:
            self.lines.append(f"Weight matrix {layer.name}[{i}] already unshared.")
            return
        own = self.state[layer.name]
        own["weights"], own["weightsInc"] = list(own["weights"]), list(own["weightsInc"])
        own["weights"][i] = own["weights"][i].copy(order="K")
        own["weightsInc"][i] = np.zeros_like(own["weights"][i])
        self.changes |= Changes(unshared=((layer.name, i),))
        self.lines.append(f"Unshared weight matrix {layer.name}[{i}] from {owner[0].name}[{owner[1]}].")

    def make_local(self, names: Iterable[str]) -> None:
        """Turn conv layers, and those that share weights with them, into local ones."""
        waiting = [self._find(name, Conv, "--conv-to-local") for name in names]
        group: list[Conv] = []
        while waiting:
            layer = waiting.pop()
            if layer not in group:
                group.append(layer)
                waiting += self._tied(layer)
        for found in self.graph.declared:  # owners of matrices first
            if isinstance(found, Conv) and found in group:
                self._make_local(found)

    def _make_local(self, layer: Conv) -> None:
        places = layer.modulesX**2
        own = self.state[layer.name]
        for key in ("weights", "weightsInc"):
            own[key] = list(own[key])
        for i in range(len(layer.inputs)):
            owner = None if (layer.name, i) in self.changes.unshared else layer.owners[i]
            source = self.state[owner[0].name] if owner and owner[0] is not layer else None
            if source:
                assert owner
                own["weights"][i], own["weightsInc"][i] = (source[key][owner[1]] for key in ("weights", "weightsInc"))
            else:
                own["weights"][i] = np.tile(own["weights"][i], (places, 1))  # w[(m, c, ky, kx), f]
                own["weightsInc"][i] = np.zeros_like(own["weights"][i])
        if layer.sharedBiases:
            own["biases"] = np.repeat(own["biases"], places, axis=0)  # b[(f, m)]
        own["biasesInc"] = np.zeros_like(own["biases"])
        self.changes |= Changes(local=(layer.name,))
        self.lines.append(f"Converted layer '{layer.name}' from convolutional to unshared, locally-connected")

    def _tied(self, layer: Conv) -> list[Conv]:
        """Layers that share a matrix with ``layer``; raises where their outputs differ in size."""
        mine = {self._matrix(layer, i) for i in range(len(layer.inputs))}
        tied = [
            other
            for other in self.graph.declared
            if isinstance(other, Conv) and any(self._matrix(other, i) in mine for i in range(len(other.inputs)))
        ]
        for other in tied:
            if other.modulesX != layer.modulesX:
                raise OptionError(
                    f"--conv-to-local: '{layer.name}' and '{other.name}' share weights, but their outputs differ in size; "
                    f"give them weights of their own first, with --unshare-weights"
                )
        return tied

    def _matrix(self, layer: WeightLayer, i: int) -> tuple[str, int]:
        """The matrix that input ``i`` uses, by its owner."""
        owner = layer.owners[i]
        if owner is None or (layer.name, i) in self.changes.unshared:
            return layer.name, i
        return owner[0].name, owner[1]

    def _find(self, name: str, kind: type[L], flag: str) -> L:
        found = {layer.name: layer for layer in self.graph.declared}
        fitting = [other for other, layer in found.items() if isinstance(layer, kind)]
        layer = found.get(name)
        if isinstance(layer, kind):
            return layer
        tail = did_you_mean(name, fitting)
        if layer is None:
            raise OptionError(f"{flag}: Layer '{name}' does not exist{tail}")
        what = "no conv layer" if kind is Conv else "without weights"
        raise OptionError(f"{flag}: layer '{name}' of type {layer.type} is {what}{tail}")
