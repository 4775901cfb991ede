"""Layers as the originals describe them: the dicts of their checkpoints and of ``explain --json`` (io 4.5).

Keys and values are the originals' own: padding negated, filters times groups, norm scale divided. The generations differ
in a few keys, which this module knows; what a layer type stores, it says itself (``Layer.stored``).
"""

from __future__ import annotations

from typing import Any

from convnet.generation import G2011, G2012, G2014, Generation
from convnet.graph.analysis import memories
from convnet.graph.graph import Graph
from convnet.language.schedules import Schedule
from convnet.layers import Layer
from convnet.layers.conv import Windowed
from convnet.layers.image import Blur
from convnet.layers.weighted import WeightLayer, stored_rate, stored_schedule


def stored_layer(graph: Graph, layer: Layer, generation: Generation) -> dict[str, Any]:
    """The dict of one layer, without arrays."""
    flags = layer.stored_flags.split()
    stored: dict[str, Any] = {
        "name": layer.name,
        "type": layer.type,
        "outputs": layer.outputs,
        "usesActs": "acts" in flags,
        "usesInputs": "inputs" in flags,
        "forceOwnActs": "own" in flags,
        "gradConsumer": _grad_consumer(layer, generation),
        "requiresParams": _requires_params(layer, generation),
    }
    stored |= _placed(graph, layer, generation)
    if layer.sources:
        stored |= _inputs(graph, layer, generation)
        if not layer.is_cost:
            stored["neuron"] = layer.neuron.text if layer.neuron else ""
    stored |= _own_keys(graph, layer, generation)
    if layer.detached_from and generation != G2011:
        stored["src_layer"] = layer.detached_from
    return stored | _shared_buffers(layer, generation)


def stored_graph(graph: Graph, generation: Generation) -> list[dict[str, Any]]:
    """All layers in file order, detached neurons after their source in 2011 and at the end later."""
    layers = list(graph.layers.values()) if generation == G2011 else graph.in_file_order
    dicts = [stored_layer(graph, layer, generation) for layer in layers]
    if generation == G2014:
        for number, stored in enumerate(dicts):
            stored["id"] = number
    return dicts


def _inputs(graph: Graph, layer: Layer, generation: Generation) -> dict[str, Any]:
    """Names of the inputs; 2011 kept indices, and for ``inputLayers`` the layers below detached neurons."""
    names = [source.name for source in layer.sources]
    inputs = {"inputs": names, "inputLayers": names, "numInputs": layer.num_inputs}
    if generation == G2011:
        order = list(graph.layers)
        below = [source.detached_from or source.name for source in layer.sources]
        inputs |= {"inputs": [order.index(name) for name in names], "inputNames": names, "inputLayers": below}
    return inputs


def _own_keys(graph: Graph, layer: Layer, generation: Generation) -> dict[str, Any]:
    """What the layer type stores, in the words of the generation."""
    own = layer.stored(generation)
    if isinstance(layer, WeightLayer):
        own |= _learning(layer, generation)
        own["initB"] = own["initB"] or 0
        own |= _borrowed(graph, layer, own, generation)
        if generation == G2011:
            own.pop("weightsPerFilter")
        if own.pop("sched", None) is not None:
            own["sched"] = stored_schedule(layer.sched or layer.schedW)
        schedules = [name for name in ("schedW", "schedB") if isinstance(own.get(name), Schedule)]
        own |= {name: stored_schedule(own[name]) for name in schedules}
    if generation == G2011:
        own["dropout"] = layer.dropout
    return own


def _borrowed(graph: Graph, layer: WeightLayer, own: dict[str, Any], generation: Generation) -> dict[str, Any]:
    """2011 named the owners of shared weights by index."""
    if generation != G2011:
        return {}
    order = list(graph.layers)
    names = own.pop("weightSourceLayers")
    return {"weightSourceLayerIndices": [order.index(name) if name else -1 for name in names]}


def _learning(layer: WeightLayer, generation: Generation) -> dict[str, Any]:
    if generation == G2014:
        rates = [stored_rate(rate) for rate in layer.epsW]
        return {"wballNormed": list(layer.wball), "epsW": rates, "epsB": stored_rate(layer.epsB)}
    learning: dict[str, Any] = {"epsW": [rate.base for rate in layer.epsW], "epsB": layer.epsB.base}
    if generation == G2012:
        normed = [limit * layer.weights_per_filter(i) for i, limit in enumerate(layer.wball)]
        schedules = {"schedW": stored_schedule(layer.schedW), "schedB": stored_schedule(layer.schedB)}
        learning |= {"wballNormed": normed, **schedules}
    return learning


def _grad_consumer(layer: Layer, generation: Generation) -> bool:
    return layer.learns and (not layer.is_cost or generation == G2014)


def _requires_params(layer: Layer, generation: Generation) -> bool:
    return generation in layer.wants_params


def _placed(graph: Graph, layer: Layer, generation: Generation) -> dict[str, Any]:
    """2012's ``gpu`` number, 2014's list with its derived keys."""
    if generation == G2012:
        words = {"quantF": layer.quantF, "quantB": layer.quantB}
        quantised = {name: {"type": word, "params": {}} for name, word in words.items() if word != "default"}
        return {"gpu": layer.gpu[0], **quantised}
    if generation == G2014:
        shown = {} if layer.gpu[0] < 0 else {"gpus": ", ".join(map(str, layer.gpu))}
        return {"gpu": layer.gpu, "numReplicas": len(layer.gpu), **shown}
    return {}


def _shared_buffers(layer: Layer, generation: Generation) -> dict[str, Any]:
    """Whose buffer the originals' outputs and gradients lie in; 2012's search for one never succeeded (numerics 3.4)."""
    targets = {"actsTarget": -1, "actsGradTarget": -1}
    if generation == G2012 or "own" in layer.stored_flags:
        return targets
    for i, source in enumerate(layer.sources):
        if len(source.consumers) > 1 or source.gpu[0] < 0:
            continue
        if "inputs" not in layer.stored_flags and "acts" not in source.stored_flags:
            targets["actsTarget"] = i
        targets["actsGradTarget"] = i
    return targets


def stored_net(graph: Graph, mini: int = 128) -> dict[str, Any]:
    """``{"layers": [...], "totals": {...}}``: each layer's dict as the files' generation stores it, arrays by their shapes.

    Layers stand in file order, each detached neuron behind its source.
    """
    stored = {layer["name"]: layer for layer in stored_graph(graph, graph.generation)}
    for layer in graph.declared:
        if isinstance(layer, WeightLayer):
            stored[layer.name] |= _arrays(layer)
        if isinstance(layer, Windowed) and graph.generation != G2014:
            lengths = [layer.groups[i] * layer.filterChannels[i] for i in range(len(layer.inputs))]
            stored[layer.name]["filterConnsLen"] = [n * sparse for n, sparse in zip(lengths, layer.randSparse, strict=True)]
        if isinstance(layer, Blur):
            taps = stored[layer.name]["filter"]
            stored[layer.name]["filter"] = {"dtype": "float32", "shape": [1, len(taps)], "values": taps}
    return {"layers": [stored[name] for name in graph.layers], "totals": _totals(graph, mini)}


def _arrays(layer: WeightLayer) -> dict[str, Any]:
    weights = [
        _array(layer.weight_shape(i), layer.order) | {"shared": owner is not None} for i, owner in enumerate(layer.owners)
    ]
    # What a function would make of the biases is not known before it runs.
    value = {} if layer.initBFunc else {"value": float(layer.initB)}
    return {"weights": weights, "biases": _array(layer.bias_shape(), "C") | value}


def _array(shape: tuple[int, int], order: str) -> dict[str, Any]:
    rows, columns = shape
    return {"shape": [rows, columns], "dtype": "float32", "order": "CF" if 1 in shape else order, "count": rows * columns}


def _totals(graph: Graph, mini: int) -> dict[str, int]:
    arrays = [_arrays(layer) for layer in graph.declared if isinstance(layer, WeightLayer)]
    weights = [matrix for held in arrays for matrix in held["weights"]]
    unique = sum(matrix["count"] for matrix in weights if not matrix["shared"])
    biases = sum(held["biases"]["count"] for held in arrays)
    return {
        "num_layers": len(graph.layers),
        "params": unique + biases,
        "weights_unique": unique,
        "weights_incl_shared": sum(matrix["count"] for matrix in weights),
        "biases": biases,
        "multiply_adds": sum(layer.macs() for layer in graph.layers.values()),
        "memory": sum(memory.total for memory in memories(graph, mini).values()),
    }
