"""``--conv-to-local`` and ``--unshare-weights``: a trained net becomes one with more freedom (io section 3).

Right after either the net computes what it did before; from then on the new weights go their own ways. Momentum of what
was copied starts at zero, as in the originals.

Letters: F filters, M side of the output (modulesX).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from convnet.errors import OptionError
from convnet.graph.graph import Changes, Graph
from convnet.layers.conv import Conv
from convnet.layers.weighted import WeightLayer
from convnet.texts import did_you_mean

State = Mapping[str, Mapping[str, Any]]
L = TypeVar("L", bound=WeightLayer)


class Edits:
    """Unshares the matrices ``unshare`` of a graph, then makes the layers ``local`` local; raises ``OptionError``.

    Afterwards ``state`` is that of the graph with ``changes``; ``lines`` report each edit in the originals' words:
    without ``names_sources`` in those of 2012 and 2014, which had lost whose a matrix was before they said so.
    """

    def __init__(
        self, graph: Graph, state: State, local: Sequence[str], unshare: Sequence[str], names_sources: bool = True
    ) -> None:
        self.graph, self.names_sources = graph, names_sources
        self.state: dict[str, dict[str, Any]] = {name: dict(arrays) for name, arrays in state.items()}
        self.changes = Changes()
        self.lines: list[str] = []
        for text in unshare:
            self.unshare(text)
        self.make_local(local)

    def unshare(self, text: str) -> None:
        """Give ``layer``, or one input ``layer[2]``, a matrix of its own."""
        match = re.fullmatch(r"([^\[\]]+)(?:\[(\d+)\])?", text)
        if not match:
            raise OptionError(f"--unshare-weights: Invalid layer name '{text}'; unable to unshare")
        layer = self._find(match[1], WeightLayer, "--unshare-weights")
        count = len(layer.inputs)
        inputs = range(count) if match[2] is None else [int(match[2])]
        if inputs[-1] >= count:
            raise OptionError(f"--unshare-weights: layer '{layer.name}' has {count} weight matrices, counted from 0: {text}")
        for i in inputs:
            owner = self._owner(layer, i)
            is_own = owner == (layer.name, i)
            name, index = ("", -1) if is_own else layer.weightSource[i] or owner  # which may share it itself
            source = f"{name * self.names_sources}[{index}]"
            if is_own and self.names_sources:
                self.lines.append(f"Weight matrix {layer.name}[{i}] already unshared.")
            else:
                self.lines.append(f"Unshared weight matrix {layer.name}[{i}] from {source}.")
            if is_own:
                continue
            arrays = self._copied_lists(layer)
            arrays["weights"][i] = arrays["weights"][i].copy(order="K")
            arrays["weightsInc"][i] = np.zeros_like(arrays["weights"][i])
            self.changes |= Changes(unshared=((layer.name, i),))

    def make_local(self, names: Sequence[str]) -> None:
        """Turn conv layers, and those that share weights with them, into local ones."""
        waiting = [self._find(name, Conv, "--conv-to-local") for name in names]
        group: list[Conv] = []
        while waiting:
            layer = waiting.pop()
            if layer not in group:
                group.append(layer)
                waiting += self._tied(layer)
        for declared in self.graph.declared:  # owners of matrices first
            if isinstance(declared, Conv) and declared in group:
                self._make_local(declared)

    def _make_local(self, layer: Conv) -> None:
        positions = layer.modulesX**2
        arrays = self._copied_lists(layer)
        for i in range(len(layer.inputs)):
            owner, index = self._owner(layer, i)
            if owner != layer.name:
                for key in ("weights", "weightsInc"):
                    arrays[key][i] = self.state[owner][key][index]
            else:
                arrays["weights"][i] = np.tile(arrays["weights"][i], (positions, 1))  # w[(m, c, ky, kx), f]
                arrays["weightsInc"][i] = np.zeros_like(arrays["weights"][i])
        if layer.sharedBiases:
            arrays["biases"] = np.repeat(arrays["biases"], positions, axis=0)  # b[(f, m)]
            arrays["biasesInc"] = np.zeros_like(arrays["biases"])
        self.changes |= Changes(local=(layer.name,))
        self.lines.append(f"Converted layer '{layer.name}' from convolutional to unshared, locally-connected")

    def _copied_lists(self, layer: WeightLayer) -> dict[str, Any]:
        """Return the layer's arrays, in lists that other states do not share."""
        arrays = self.state[layer.name]
        arrays |= {key: list(arrays[key]) for key in ("weights", "weightsInc")}
        return arrays

    def _tied(self, layer: Conv) -> list[Conv]:
        """Return the layers that share a matrix with ``layer``; raises where their outputs differ in size."""
        convs = [other for other in self.graph.declared if isinstance(other, Conv)]
        matrices = {other: {self._owner(other, i) for i in range(len(other.inputs))} for other in convs}
        tied = [other for other in convs if not matrices[layer].isdisjoint(matrices[other])]
        for other in tied:
            if other.modulesX != layer.modulesX:
                raise OptionError(
                    f"--conv-to-local: '{layer.name}' and '{other.name}' share weights, but their outputs differ in size; "
                    f"give them weights of their own first, with --unshare-weights"
                )
        return tied

    def _owner(self, layer: WeightLayer, i: int) -> tuple[str, int]:
        """Return (layer, input) that owns the matrix of input ``i``, after the edits so far."""
        owner = layer.owners[i]
        if owner is None or (layer.name, i) in self.changes.unshared:
            return layer.name, i
        return owner[0].name, owner[1]

    def _find(self, name: str, kind: type[L], flag: str) -> L:
        layers = {layer.name: layer for layer in self.graph.declared}
        layer = layers.get(name)
        if isinstance(layer, kind):
            return layer
        hint = did_you_mean(name, [other for other in layers if isinstance(layers[other], kind)])
        if layer is None:
            raise OptionError(f"{flag}: no layer '{name}' in the net{hint}")
        problem = "not a conv layer" if kind is Conv else "without weights"
        raise OptionError(f"{flag}: layer '{name}' of type {layer.type} is {problem}{hint}")
