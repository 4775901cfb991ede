"""Initial weights: drawn from N(0, initW^2) as in 2012, made by a function that the file names, or shared.

The generator is the originals' own, ``numpy.random.RandomState``, whose stream NumPy keeps for ever, used in the order of
the definition file: the weights of a seed are those that the original would have drawn after ``numpy.random.seed``
(numerics section 15). Arrays have the shapes and orders of checkpoints (io 4.6).
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
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
    """Weights, biases, zero increments and connections of every weight layer, by name."""
    random = np.random.RandomState(seed & 0xFFFFFFFF)
    folder = Path(graph.definition.path).resolve().parent
    state: dict[str, LayerState] = {}
    for layer in graph.declared:
        if isinstance(layer, WeightLayer):
            state[layer.name] = _layer_state(layer, state, random, folder)
    return state


def _layer_state(
    layer: WeightLayer, state: dict[str, LayerState], random: np.random.RandomState, folder: Path
) -> LayerState:
    own: LayerState = {"weights": [], "weightsInc": []}
    state[layer.name] = own
    if isinstance(layer, Windowed):
        own["filterConns"] = _connections(layer, state, random, folder)
    for i, owner in enumerate(layer.owners):
        if owner is None:
            own["weights"].append(_weights(layer, i, random, folder))
            own["weightsInc"].append(np.zeros(layer.weight_shape(i), np.float32, order=layer.order))
        else:
            own["weights"].append(state[owner[0].name]["weights"][owner[1]])
            own["weightsInc"].append(state[owner[0].name]["weightsInc"][owner[1]])
    own["biases"] = _biases(layer, folder)
    own["biasesInc"] = np.zeros_like(own["biases"])
    return own


def _weights(layer: WeightLayer, i: int, random: np.random.RandomState, folder: Path) -> np.ndarray:
    shape = layer.weight_shape(i)
    spec = layer.initWFunc
    if spec:
        return np.require(_call(spec, folder, layer.name, shape, layer.name, i, shape), np.float32, layer.order)
    values = (layer.initW[i] * random.randn(*shape)).astype(np.float32)
    if isinstance(layer, TreeFullyConnected):
        values[:, layer.outputs :] = 0  # inner nodes start without an offset
    return np.require(values, np.float32, [layer.order, "W"])


def _biases(layer: WeightLayer, folder: Path) -> np.ndarray:
    shape = layer.bias_shape()
    spec = layer.initBFunc
    if spec:
        return np.require(_call(spec, folder, layer.name, shape, layer.name, shape), np.float32, "C").copy()
    return np.full(shape, layer.initB, np.float32)


def _connections(
    layer: Windowed, state: dict[str, LayerState], random: np.random.RandomState, folder: Path
) -> list[list[int]]:
    """For each input: which channel feeds each slot of each group, or an empty list (numerics 1.10)."""
    result: list[list[int]] = []
    for i, owner in enumerate(layer.owners):
        C, G, Cf = layer.channels[i], layer.groups[i], layer.filterChannels[i]
        spec = layer.initCFunc
        if not layer.randSparse[i]:
            result.append([])
        elif owner is not None:
            result.append(state[owner[0].name]["filterConns"][owner[1]])
        elif spec:
            given = _call(spec, folder, layer.name, None, layer.name, i, (G, C, Cf))
            result.append(_check_connections(layer, spec, [int(c) for c in given], C, G * Cf))
        else:
            permutations = [random.permutation(C) for _ in range(layer.over_sample(i))]
            result.append([int(c) for c in np.concatenate(permutations)])
    return result


def _check_connections(layer: Windowed, spec: str, conns: list[int], C: int, length: int) -> list[int]:
    runs = [sorted(conns[start : start + C]) for start in range(0, length, C)]
    if len(conns) != length or any(run != list(range(C)) for run in runs):
        raise ConvnetError(
            f"layer '{layer.name}': {spec} must return {length} channels, every {C} of them a permutation of 0 to {C - 1}"
        )
    return conns


def _call(spec: str, folder: Path, name: str, shape: tuple[int, int] | None, *arguments: Any) -> Any:
    """Call ``module.function(a,b)`` as the originals did: with ``params=['a', 'b']``; check what it returns."""
    match = re.fullmatch(r"([\w.]+)\.(\w+)(?:\((.*)\))?", spec)
    assert match
    function = _find(match[1], match[2], folder, name, spec)
    params = [part.strip() for part in match[3].split(",")] if match[3] else []
    try:
        result = function(*arguments, params=params) if params else function(*arguments)
    except ConvnetError as error:
        raise ConvnetError(f"layer '{name}': {spec}: {error}") from None
    except Exception as error:
        raise ConvnetError(f"layer '{name}': {spec} failed{_where(error)}: {type(error).__name__}: {error}") from error
    if shape is not None and (not isinstance(result, np.ndarray) or result.shape != shape or result.dtype != np.float32):
        found = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise ConvnetError(f"layer '{name}': {spec} returned {found}; it must return a float32 array of shape {shape}")
    return result


def _find(module: str, function: str, folder: Path, name: str, spec: str) -> Callable[..., Any]:
    """The function, from a file beside the layer file or from this package; from nowhere else."""
    for place in (folder, _OWN_FUNCTIONS):
        path = place.joinpath(*module.split(".")).with_suffix(".py")
        if path.is_file():
            loaded = _load(module, path, path.stat().st_mtime_ns)
            if callable(getattr(loaded, function, None)):
                return getattr(loaded, function)
            raise ConvnetError(f"layer '{name}': {path} has no function '{function}', which {spec} asks for")
    raise ConvnetError(f"layer '{name}': no module {module}.py beside the layer file ({folder}), which {spec} asks for")


@lru_cache
def _load(module: str, path: Path, changed: int) -> Any:
    """The module in a file, run once as long as the file does not change."""
    described = importlib.util.spec_from_file_location(f"convnet_init_{module.replace('.', '_')}", path)
    assert described and described.loader
    loaded = importlib.util.module_from_spec(described)
    sys.modules[described.name] = loaded
    try:
        described.loader.exec_module(loaded)
    except Exception as error:
        raise ConvnetError(f"{path} cannot be imported{_where(error)}: {type(error).__name__}: {error}") from error
    return loaded


def _where(error: Exception) -> str:
    """`` at FILE:LINE``: where an init function raised ``error``."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" at {frame.filename}:{frame.lineno}"
