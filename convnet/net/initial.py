"""Initial weights: drawn from N(0, initW^2) as in 2012, made by a function that the file names, or shared.

The generator is the originals' own, ``numpy.random.RandomState``, whose stream NumPy keeps for ever, used in the order of
the definition file: the weights of a seed are those that the original would have drawn after ``numpy.random.seed``
(numerics section 15). Arrays have the shapes and orders of checkpoints (io 4.6).
"""

import importlib.util
import math
import re
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convnet.errors import ConvnetError
from convnet.graph.graph import Graph
from convnet.layers.conv import Windowed
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.weighted import WeightLayer

LayerState = dict[str, Any]

_OWN_FUNCTIONS = Path(__file__).resolve().parents[1] / "checkpoint"  # where the package keeps ``initw.py``


def initial_state(graph: Graph, seed: int) -> dict[str, LayerState]:
    """Return weights, biases, zero increments and connections of every weight layer, by name."""
    initializer = _Initializer(Path(graph.definition.path).resolve().parent, seed)
    for layer in graph.declared:
        if isinstance(layer, WeightLayer):
            _check_finite(layer)
            initializer.add(layer)
    return initializer.state


def _check_finite(layer: WeightLayer) -> None:
    """Raise ``LayerFileError`` for first values that are not finite."""
    for key, values in (("initW", [] if layer.initWFunc else layer.initW), ("initB", [layer.initB])):
        for value in values:
            if not math.isfinite(value):
                layer.check.error(key, f"'{key}' is {value}; no result would be a number", expected="a finite number")
    layer.check.problems.check()


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
            return np.require(self._call(layer.initWFunc, shape, layer.name, i, shape), np.float32, layer.order)
        values = (layer.initW[i] * self.random.randn(*shape)).astype(np.float32)
        if isinstance(layer, TreeFullyConnected):
            values[:, layer.outputs :] = 0  # inner nodes start without an offset
        return np.require(values, np.float32, [layer.order, "W"])

    def _biases(self, layer: WeightLayer) -> np.ndarray:
        shape = layer.bias_shape()
        if layer.initBFunc:
            return np.require(self._call(layer.initBFunc, shape, layer.name, shape), np.float32, "C").copy()
        return np.full(shape, layer.initB, np.float32)

    def _connections(self, layer: Windowed) -> list[list[int]]:
        """Return for each input which channel feeds each slot of each group, or an empty list (numerics 1.10)."""
        result: list[list[int]] = []
        for i, owner in enumerate(layer.owners):
            C, G, Cf = layer.channels[i], layer.groups[i], layer.filterChannels[i]
            if not layer.randSparse[i]:
                result.append([])
            elif owner is not None:
                result.append(self.state[owner[0].name]["filterConns"][owner[1]])
            elif spec := layer.initCFunc:
                conns = [int(c) for c in self._call(spec, None, layer.name, i, (G, C, Cf))]
                runs = [sorted(conns[start : start + C]) for start in range(0, G * Cf, C)]
                if len(conns) != G * Cf or any(run != list(range(C)) for run in runs):
                    raise ConvnetError(
                        f"layer '{layer.name}': {spec} must return {G * Cf} channels, "
                        f"every {C} of them a permutation of 0 to {C - 1}"
                    )
                result.append(conns)
            else:
                permutations = [self.random.permutation(C) for _ in range(layer.over_sample(i))]
                result.append([int(c) for c in np.concatenate(permutations)])
        return result

    def _call(self, spec: str, shape: tuple[int, int] | None, name: str, *arguments: Any) -> Any:
        """Call ``module.function(a,b)`` as the originals did, with ``params=['a', 'b']``; check the result's ``shape``."""
        match = re.fullmatch(r"([\w.]+)\.(\w+)(?:\((.*)\))?", spec)
        assert match
        function = self._find_function(match[1], match[2], name, spec)
        params = [part.strip() for part in match[3].split(",")] if match[3] else []
        try:
            result = function(name, *arguments, **({"params": params} if params else {}))
        except ConvnetError as error:
            raise ConvnetError(f"layer '{name}': {spec}: {error}") from None
        except Exception as error:
            raise ConvnetError(f"layer '{name}': {spec} failed{_where(error)}: {type(error).__name__}: {error}") from error
        if shape is None or (isinstance(result, np.ndarray) and result.shape == shape and result.dtype == np.float32):
            return result
        returned = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise ConvnetError(f"layer '{name}': {spec} returned {returned}; it must return a float32 array of shape {shape}")

    def _find_function(self, module: str, function: str, name: str, spec: str) -> Callable[..., Any]:
        """Return a function from a file beside the layer file or from this package, and from nowhere else."""
        for folder in (self.folder, _OWN_FUNCTIONS):
            path = folder.joinpath(*module.split(".")).with_suffix(".py")
            if path.is_file():
                result = getattr(_load_module(module, path, path.stat().st_mtime_ns), function, None)
                if callable(result):
                    return result
                raise ConvnetError(f"layer '{name}': {path} has no function '{function}', which {spec} asks for")
        raise ConvnetError(
            f"layer '{name}': no module {module}.py beside the layer file ({self.folder}), which {spec} asks for"
        )


@lru_cache
def _load_module(name: str, path: Path, modified: int) -> ModuleType:  # noqa: ARG001 (part of the cache's key)
    """Return the module in a file, run once as long as the file does not change."""
    spec = importlib.util.spec_from_file_location(f"convnet_init_{name.replace('.', '_')}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConvnetError(f"{path} cannot be imported{_where(error)}: {type(error).__name__}: {error}") from error
    return module


def _where(error: Exception) -> str:
    """Return `` at FILE:LINE``: where an init function raised ``error``."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" at {frame.filename}:{frame.lineno}"
