"""Weights between a running net and the arrays of checkpoints, whose shapes and orders are the originals' (io 4.6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from convnet.errors import CheckpointError
from convnet.generation import G2012, G2014
from convnet.graph.graph import Graph
from convnet.language.schedules import CONSTANT
from convnet.layers.conv import Conv, Windowed
from convnet.layers.fc import TreeFullyConnected
from convnet.layers.local import Local
from convnet.layers.weighted import WeightLayer
from convnet.net.weights import Learning, Weights

if TYPE_CHECKING:
    from convnet.net.net import Net
    from convnet.net.node import Node


def bind_weights(net: Net, node: Node, state: dict[str, Any]) -> None:
    """Give ``node`` its ``Weights``, uploading what it owns and borrowing what it shares."""
    layer = node.layer
    if not isinstance(layer, WeightLayer):
        return
    node.weights = []
    for i, owner in enumerate(layer.owners):
        if owner is not None:
            node.weights.append(net.nodes[owner[0].name].weights[owner[1]])
            continue
        value, inc = (_as_array(layer, i, _array(layer, state, key, i)) for key in ("weights", "weightsInc"))
        weights = Weights(node.be, node.be.upload(value), node.be.upload(inc), learning_of(layer, i, net.graph))
        weights.folds, weights.columns, weights.period = layer.folds_gradient, _columns(layer, i), net.period_of(layer)
        weights.last_only = net.compat.last_contribution
        node.weights.append(weights)
    biases, inc = (_array(layer, state, key, None).reshape(-1) for key in ("biases", "biasesInc"))
    learning = Learning(layer.epsB.base, layer.bias_schedule(), layer.momB)
    node.biases = Weights(node.be, node.be.upload(biases), node.be.upload(inc), learning)
    node.biases.period = net.period_of(layer)
    node.conns = [None] * len(layer.inputs)
    if isinstance(layer, Windowed):
        given = state.get("filterConns") or [[] for _ in layer.inputs]
        node.conns = [node.be.connections(conns) if len(conns) else None for conns in given]


def learning_of(layer: WeightLayer, i: int, graph: Graph) -> Learning:
    """How the weights of input ``i`` learn, from the parameter file (numerics 13 and 14)."""
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
    """Host copies of everything that learns, of all layers or of ``names``; shared matrices are one array object."""
    arrays: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    state: dict[str, dict[str, Any]] = {}
    for name in names or net.nodes:
        node, layer = net.nodes[name], net.nodes[name].layer
        if not isinstance(layer, WeightLayer):
            continue
        own: dict[str, Any] = {"weights": [], "weightsInc": []}
        for i, weights in enumerate(node.weights):
            if id(weights) not in arrays:
                pair = (node.be.download(weights.value), node.be.download(weights.inc))
                arrays[id(weights)] = (_as_stored(layer, i, pair[0]), _as_stored(layer, i, pair[1]))
            own["weights"].append(arrays[id(weights)][0])
            own["weightsInc"].append(arrays[id(weights)][1])
        own["biases"] = node.be.download(node.biases.value).reshape(layer.bias_shape())
        own["biasesInc"] = node.be.download(node.biases.inc).reshape(layer.bias_shape())
        if isinstance(layer, Windowed):
            own["filterConns"] = [[] if c is None else [int(v) for v in node.be.download(c)] for c in node.conns]
        state[name] = own
    return state


def _array(layer: WeightLayer, state: dict[str, Any], key: str, i: int | None) -> np.ndarray:
    """A stored array after checking its shape; raises ``CheckpointError`` naming the layer."""
    shape = layer.bias_shape() if i is None else layer.weight_shape(i)
    held = state.get(key)
    array = held if i is None else (held[i] if isinstance(held, list) and i < len(held) else None)
    if not isinstance(array, np.ndarray) or array.shape != shape:
        found = f"has shape {array.shape}" if isinstance(array, np.ndarray) else "is missing"
        where = key if i is None else f"{key}[{i}]"
        raise CheckpointError(f"layer '{layer.name}': {where} {found}; the net needs shape {shape}")
    return array


def _as_array(layer: WeightLayer, i: int, stored: np.ndarray) -> np.ndarray:
    """The C-ordered array that backends see; no copy where the stored order is the layer's own."""
    return (stored.T if layer.order == "F" else stored).reshape(layer.kernel_shape(i))


def _as_stored(layer: WeightLayer, i: int, array: np.ndarray) -> np.ndarray:
    rows, columns = layer.weight_shape(i)
    return array.reshape(columns, rows).T if layer.order == "F" else array.reshape(rows, columns)


def _columns(layer: WeightLayer, i: int) -> tuple[int, int, int]:
    """(outer, K, inner) so that constraints act on each filter's K weights (numerics 13.6)."""
    shape = layer.kernel_shape(i)
    if layer.order == "F":
        return shape[0], shape[1], 1
    outer = shape[0] if len(shape) == 5 else 1
    return outer, layer.weights_per_filter(i), shape[-1]
