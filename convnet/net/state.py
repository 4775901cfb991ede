"""Weights between a running net and the arrays of checkpoints, whose shapes and orders are the originals' (io 4.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.arrays import not_finite
from convnet.errors import CheckpointError
from convnet.generation import G2012, G2014
from convnet.graph.graph import Graph
from convnet.language.schedules import CONSTANT
from convnet.layers.conv import Conv, Windowed
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.local import Local
from convnet.layers.weighted import WeightLayer
from convnet.net.weights import Learning, Share, Weights

if TYPE_CHECKING:
    from convnet.net.net import Net
    from convnet.net.node import Node


def bind_weights(net: Net, node: Node, state: dict[str, Any]) -> None:
    """Give ``node`` its ``Weights``, uploading what it owns and borrowing what it shares."""
    layer = node.layer
    if not isinstance(layer, WeightLayer):
        return
    node.weights, node.own_weights, node.shares = [], [], []
    for i, owner in enumerate(layer.owners):
        if owner is not None:
            node.weights.append(net.nodes[owner[0].name].weights[owner[1]])
            share = Share(layer.epsW[i].base, layer.weight_schedule(i))
            node.shares.append(share)
            node.weights[i].shares.append(share)
        else:
            value, inc = (node.be.upload(_kernel(layer, i, state, key)) for key in ("weights", "weightsInc"))
            weights = net.new_weights(node, value, inc, learning_of(layer, i, net.graph))
            weights.folds_gradient = layer.folds_gradient
            weights.column_shape = _columns(layer, i)
            weights.last_only, weights.own_rates = net.compat.last_contribution, net.compat.own_rates
            node.shares.append(None)
            node.weights.append(weights)
            node.own_weights.append(weights)
    arrays = {key: _shaped(layer, state.get(key), layer.bias_shape(), key) for key in ("biases", "biasesInc")}
    value, inc = (node.be.upload(_finite(layer, array, key).reshape(-1)) for key, array in arrays.items())
    node.biases = net.new_weights(node, value, inc, Learning(layer.epsB.base, layer.bias_schedule(), layer.momB))
    node.own_weights.append(node.biases)
    for weights in node.own_weights:
        weights.period = net.period_of(layer)
    node.conns = [None] * len(layer.inputs)
    if isinstance(layer, Windowed):
        node.conns = [node.be.connections(conns) if conns else None for conns in _connections(layer, state)]


def learning_of(layer: WeightLayer, i: int, graph: Graph) -> Learning:
    """Return how the weights of input ``i`` learn, from the parameter file (numerics 13 and 14)."""
    limit = layer.wball[i]
    if graph.generation == G2012:
        limit *= layer.weights_per_filter(i)  # wballNormed (numerics 13.6)
    contrast = (layer.wcNormMin[i], layer.wcNormMax[i]) if isinstance(layer, Conv) else (0.0, 0.0)
    tree = layer.tree.leaves_below if isinstance(layer, TreeFullyConnected) else None
    later = graph.generation == G2014
    return Learning(
        layer.epsW[i].base,
        CONSTANT if tree else layer.weight_schedule(i),  # treefc follows no schedule (numerics 4.5)
        layer.momW[i],
        layer.wc[i],
        norm_limit=0.0 if tree else limit,
        norm_hard=later and not isinstance(layer, Local),
        contrast=contrast,
        superEps=0.0 if later or tree else layer.superEps,  # 2014 read it and did nothing (numerics section 20)
        leaves_below=tree,
    )


def collect_state(net: Net, names: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Copy everything that learns to the host, of all layers or of ``names``; shared matrices are one array object."""
    net.gather()
    stored: dict[Weights, tuple[np.ndarray, np.ndarray]] = {}
    state: dict[str, dict[str, Any]] = {}
    for name in names or net.nodes:
        node, layer = net.nodes[name], net.nodes[name].layer
        if not isinstance(layer, WeightLayer):
            continue
        for i, weights in enumerate(node.weights):
            if weights not in stored:
                value, inc = (net.download(weights, array) for array in (weights.value, weights.inc))
                stored[weights] = _as_stored(layer, i, value), _as_stored(layer, i, inc)
        state[name] = {
            "weights": [stored[weights][0] for weights in node.weights],
            "weightsInc": [stored[weights][1] for weights in node.weights],
            "biases": net.download(node.biases, node.biases.value).reshape(layer.bias_shape()),
            "biasesInc": net.download(node.biases, node.biases.inc).reshape(layer.bias_shape()),
        }
        if isinstance(layer, Windowed):
            state[name]["filterConns"] = [[] if c is None else node.be.download(c).tolist() for c in node.conns]
    return state


def array_faults(graph: Graph, state: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each array in ``state`` that is not of the shape that the net of a graph needs."""
    for layer in graph.declared:
        if not isinstance(layer, WeightLayer):
            continue
        arrays, inputs = state.get(layer.name, {}), range(len(layer.inputs))
        checks: list[Callable[[], Any]] = [
            partial(_stored_matrix, layer, i, arrays, key) for i in inputs for key in ("weights", "weightsInc")
        ]
        checks += [partial(_shaped, layer, arrays.get(key), layer.bias_shape(), key) for key in ("biases", "biasesInc")]
        checks += [partial(_connections, layer, arrays)] if isinstance(layer, Windowed) else []
        for check in checks:
            try:
                check()
            except CheckpointError as error:
                yield str(error)


def _kernel(layer: WeightLayer, i: int, state: Mapping[str, Any], key: str) -> np.ndarray:
    """Return a stored matrix as the C-ordered array that backends see; no copy where its order is the layer's own."""
    matrix = _finite(layer, _stored_matrix(layer, i, state, key), f"{key}[{i}]")
    return (matrix.T if layer.order == "F" else matrix).reshape(layer.kernel_shape(i))


def _stored_matrix(layer: WeightLayer, i: int, state: Mapping[str, Any], key: str) -> np.ndarray:
    """Return the stored matrix of input ``i``; raises ``CheckpointError`` where it has another shape or is missing."""
    matrices = state.get(key)
    matrix = matrices[i] if isinstance(matrices, list | tuple) and i < len(matrices) else None
    return _shaped(layer, matrix, layer.weight_shape(i), f"{key}[{i}]")


def _shaped(layer: WeightLayer, array: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    """Return a stored array that has the right shape; raises ``CheckpointError`` naming the layer."""
    problem = f"has shape {array.shape}" if isinstance(array, np.ndarray) else "is missing"
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise CheckpointError(f"layer '{layer.name}': {name} {problem}; the net needs shape {shape}")
    return array


def _finite(layer: WeightLayer, array: np.ndarray, name: str) -> np.ndarray:
    """Return a stored array of finite numbers; raises ``CheckpointError`` naming the layer."""
    if (place := not_finite(array)) is not None:
        text = f"{name} holds {array[place]} at {place}; the net needs finite numbers"
        raise CheckpointError(f"layer '{layer.name}': {text}")
    return array


def _connections(layer: Windowed, state: Mapping[str, Any]) -> list[Sequence[int]]:
    """Return randSparse's connections of every input, empty where there are none; raises ``CheckpointError``."""
    connections = list(state.get("filterConns") or ()) or [()] * len(layer.inputs)
    for i, is_sparse in enumerate(layer.randSparse):
        length, last = layer.groups[i] * layer.filterChannels[i], layer.channels[i] - 1
        conns = connections[i] if i < len(connections) else ()
        if (is_sparse or len(conns)) and (len(conns) != length or not all(0 <= c <= last for c in conns)):
            text = f"filterConns[{i}] has {len(conns)} numbers; the net needs {length} channels, from 0 to {last}"
            raise CheckpointError(f"layer '{layer.name}': {text}")
    return [*connections, *[()] * len(layer.inputs)][: len(layer.inputs)]


def _as_stored(layer: WeightLayer, i: int, array: np.ndarray) -> np.ndarray:
    """Return an array of a backend as the matrix of checkpoints."""
    rows, columns = layer.weight_shape(i)
    return array.reshape(columns, rows).T if layer.order == "F" else array.reshape(rows, columns)


def _columns(layer: WeightLayer, i: int) -> tuple[int, int, int]:
    """Return (outer, K, inner) so that constraints act on each filter's K weights (numerics 13.6)."""
    shape = layer.kernel_shape(i)
    if layer.order == "F":
        return shape[0], shape[1], 1
    return shape[0] if len(shape) == 5 else 1, layer.weights_per_filter(i), shape[-1]
