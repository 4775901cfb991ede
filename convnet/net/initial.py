"""Initial weights: drawn from N(0, initW^2) as in 2012, made by a function that the file names, or shared.

The generator is the originals' own, ``numpy.random.RandomState``, whose stream NumPy keeps for ever, used in the order of
the definition file: the weights of a seed are those that the original would have drawn after ``numpy.random.seed``
(numerics section 15). Arrays have the shapes and orders of checkpoints (io 4.6).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from convnet.errors import ConvnetError
from convnet.graph.graph import Graph
from convnet.language.values import LARGEST
from convnet.layers.conv import Windowed
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.weighted import WeightLayer
from convnet.net.functions import call_function, module_beside
from convnet.texts import counted

LayerState = dict[str, Any]

_FUNCTIONS = ("initWFunc", "initBFunc", "initCFunc")
_DEVIATION = 0.01  # of weights drawn in place of a function's, where no layer says another: most files of 2012 have it


def initial_state(graph: Graph, seed: int, may_run_code: bool = False) -> dict[str, LayerState]:
    """Return weights, biases, zero increments and connections of every weight layer, by name.

    Functions that lie beside the layer file are called only where the caller says that they ``may_run_code``; otherwise
    raises ``ConvnetError`` that names them all, before any is called. Those of ``initw`` need no permission.
    """
    if not may_run_code:
        check_no_code(graph)
    initializer = _Initializer(Path(graph.definition.path).resolve().parent, seed)
    for layer in _weight_layers(graph):
        _check_finite(layer)
        initializer.add(layer)
    return initializer.state


def _check_finite(layer: WeightLayer) -> None:
    """Raise ``LayerFileError`` for first values that are not finite in float32, also after a draw beyond 10 sigma."""
    drawn = [] if layer.initWFunc else layer.initW
    for key, values, most in (("initW", drawn, LARGEST / 10), ("initB", [layer.initB], LARGEST)):
        for value in values:
            if not abs(value) <= most:
                expected = f"a number that float32 holds, up to {most:.1g}" if math.isfinite(value) else "a finite number"
                layer.check.error(key, f"'{key}' is {value}; no result would be a number", expected=expected)
    layer.check.problems.check()


def check_no_code(graph: Graph) -> None:
    """Raise ``ConvnetError`` if initial weights would call functions beside the layer file."""
    if found := code_of(graph):
        raise ConvnetError(
            f"{graph.definition.path} names functions that lie beside it: {'; '.join(found)}. No code was run. If you trust "
            "it: convnet run --allow-init-code, or convnet.build(..., allow_init_code=True); --init-funcs draw does without"
        )


def code_of(graph: Graph) -> list[str]:
    """Return the functions that initial weights would call from files beside the layer file, each with layer and file."""
    folder = Path(graph.definition.path).resolve().parent
    found = []
    for layer in _weight_layers(graph):
        for key in _FUNCTIONS:
            spec = getattr(layer, key, "")
            if spec and (path := module_beside(folder, spec)):
                found.append(f"layer '{layer.name}' {key}={spec} in {path}")
    return found


def draw_functions(graph: Graph) -> list[str]:
    """Let initial weights be drawn, and biases be ``initB``, where the files name functions; return a line for each layer.

    Where ``initW`` is 0, since a function was to be called, the deviation is that of the layer's next input, or of the
    next layer of its type.
    """
    lines, layers = [], _weight_layers(graph)
    for place, layer in enumerate(layers):
        drawn, specs = [], [spec for key in _FUNCTIONS if (spec := getattr(layer, key, ""))]
        if layer.initWFunc:
            nearest = sorted(range(len(layers)), key=[abs(k - place) for k in range(len(layers))].__getitem__)
            alike = [layers[k] for k in nearest if layers[k].type == layer.type]
            found = [_deviation(layer, i, alike) for i in range(len(layer.inputs))]
            layer.initW = [deviation for deviation, _ in found]
            told = dict.fromkeys(f"{deviation:g} ({source})" for deviation, source in found)
            drawn.append(f"weights of deviation {', '.join(told)}")
        if layer.initBFunc:
            drawn.append(f"biases of {layer.initB:g}")
        if getattr(layer, "initCFunc", ""):
            drawn.append("connections")
        if specs:
            lines.append(f"Layer '{layer.name}': {', '.join(drawn)} in place of {', '.join(specs)}.")
        for key in _FUNCTIONS:
            if hasattr(layer, key):
                setattr(layer, key, "")
    return lines


def _deviation(layer: WeightLayer, i: int, alike: list[WeightLayer]) -> tuple[float, str]:
    """Return the deviation of weights that are drawn for input ``i``, and who says so; ``alike`` begins with ``layer``."""
    for other in alike:
        nearest = sorted(range(len(other.initW)), key=lambda k: abs(k - i))
        for k in nearest:
            if 0 < other.initW[k] <= LARGEST / 10:
                return other.initW[k], "initW" if other is layer else f"initW of '{other.name}'"
    return _DEVIATION, "by default"


def _weight_layers(graph: Graph) -> list[WeightLayer]:
    return [layer for layer in graph.declared if isinstance(layer, WeightLayer)]


class _Initializer:
    """Initializes layers one by one, in the order of the file; functions are looked for in ``folder``."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = np.random.RandomState(seed & 0xFFFFFFFF)
        self.state: dict[str, LayerState] = {}

    def add(self, layer: WeightLayer) -> None:
        """Make the arrays of a layer, or take them from the layers it shares them with."""
        arrays: LayerState = {"weights": [], "weightsInc": []}
        self.state[layer.name] = arrays
        if isinstance(layer, Windowed):
            arrays["filterConns"] = self._connections(layer)
        for i, owner in enumerate(layer.owners):
            if owner is None:
                arrays["weights"].append(self._weights(layer, i))
                arrays["weightsInc"].append(np.zeros_like(arrays["weights"][i], subok=False))
            else:
                for key in ("weights", "weightsInc"):
                    arrays[key].append(self.state[owner[0].name][key][owner[1]])
        arrays["biases"] = self._biases(layer)
        arrays["biasesInc"] = np.zeros_like(arrays["biases"])

    def _weights(self, layer: WeightLayer, i: int) -> np.ndarray:
        shape = layer.weight_shape(i)
        if layer.initWFunc:
            return np.require(
                call_function(self.folder, layer.initWFunc, shape, layer.name, i, shape), np.float32, layer.order
            )
        values = (layer.initW[i] * self.random.randn(*shape)).astype(np.float32)
        if isinstance(layer, TreeFullyConnected):
            values[:, layer.outputs :] = 0  # inner nodes start without an offset
        return np.require(values, np.float32, [layer.order, "W"])

    def _biases(self, layer: WeightLayer) -> np.ndarray:
        shape = layer.bias_shape()
        if layer.initBFunc:
            return np.require(call_function(self.folder, layer.initBFunc, shape, layer.name, shape), np.float32, "C").copy()
        return np.full(shape, layer.initB, np.float32)

    def _connections(self, layer: Windowed) -> list[list[int]]:
        """Return for each input which channel feeds each slot of each group, or an empty list (numerics 1.10)."""
        result: list[list[int]] = []
        for i, owner in enumerate(layer.owners):
            C, G, Cf = layer.channels[i], layer.groups[i], layer.filterChannels[i]
            if not layer.randSparse[i]:
                result.append([])
            elif owner is not None:
                known = result if owner[0] is layer else self.state[owner[0].name]["filterConns"]
                result.append(known[owner[1]])
            elif spec := layer.initCFunc:
                conns = [int(c) for c in call_function(self.folder, spec, None, layer.name, i, (G, C, Cf))]
                runs = [sorted(conns[start : start + C]) for start in range(0, G * Cf, C)]
                if len(conns) != G * Cf or any(run != list(range(C)) for run in runs):
                    raise ConvnetError(
                        f"layer '{layer.name}': {spec} must return {counted(G * Cf, 'channel')}, "
                        f"every {C} of them a permutation of 0 to {C - 1}"
                    )
                result.append(conns)
            else:
                permutations = [self.random.permutation(C) for _ in range(layer.over_sample(i))]
                result.append([int(c) for c in np.concatenate(permutations)])
        return result
