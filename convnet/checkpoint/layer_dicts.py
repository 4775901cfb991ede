"""Layers as the originals describe them: the dicts of their checkpoints and of ``explain --json`` (io 4.5).

Keys and values are the originals' own: padding negated, filters times groups, norm scale divided. The generations differ
in a few keys, which this module knows; what a layer type stores, it says itself (``Layer.stored``).
"""

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
    """Return the dict of one layer, without arrays."""
    flags = layer.stored_flags.split()
    stored: dict[str, Any] = {
        "name": layer.name,
        "type": layer.type,
        "outputs": layer.outputs,
        "usesActs": "acts" in flags,
        "usesInputs": "inputs" in flags,
        "forceOwnActs": "own" in flags,
        "gradConsumer": layer.learns and (not layer.is_cost or generation == G2014),
        "requiresParams": generation in layer.wants_params,
    }
    stored |= _device_keys(layer, generation)
    if layer.sources:
        stored |= _input_keys(graph, layer, generation)
        if not layer.is_cost:
            stored["neuron"] = layer.neuron.text if layer.neuron else ""
    stored |= layer.stored(generation)
    if isinstance(layer, WeightLayer):
        _convert_learning(stored, graph, layer, generation)
    if generation == G2011:
        stored["dropout"] = layer.dropout
    elif layer.detached_from:
        stored["src_layer"] = layer.detached_from
    return stored | _buffer_keys(layer, generation)


def stored_graph(graph: Graph, generation: Generation) -> list[dict[str, Any]]:
    """Return the dicts of all layers in file order, detached neurons after their source in 2011 and at the end later."""
    layers = list(graph.layers.values()) if generation == G2011 else graph.in_file_order
    dicts = [stored_layer(graph, layer, generation) for layer in layers]
    if generation == G2014:
        for number, stored in enumerate(dicts):
            stored["id"] = number
    return dicts


def _input_keys(graph: Graph, layer: Layer, generation: Generation) -> dict[str, Any]:
    """Return the names of the inputs; 2011 kept indices, and for ``inputLayers`` the layers below detached neurons."""
    names = [source.name for source in layer.sources]
    keys = {"inputs": names, "inputLayers": names, "numInputs": layer.num_inputs}
    if generation == G2011:
        below = [source.detached_from or source.name for source in layer.sources]
        keys |= {"inputs": [graph.places[name] for name in names], "inputNames": names, "inputLayers": below}
    return keys


def _convert_learning(stored: dict[str, Any], graph: Graph, layer: WeightLayer, generation: Generation) -> None:
    """Write rates, schedules and owners of shared weights as the generation did."""
    if generation == G2014:
        rates = [stored_rate(rate) for rate in layer.epsW]
        stored |= {"wballNormed": list(layer.wball), "epsW": rates, "epsB": stored_rate(layer.epsB)}
    else:
        stored |= {"epsW": [rate.base for rate in layer.epsW], "epsB": layer.epsB.base}
    if generation == G2012:
        stored["wballNormed"] = [limit * layer.weights_per_filter(i) for i, limit in enumerate(layer.wball)]
    if generation == G2011:
        owners = stored.pop("weightSourceLayers")
        stored["weightSourceLayerIndices"] = [graph.places[name] if name else -1 for name in owners]
        del stored["weightsPerFilter"]
    stored["initB"] = stored["initB"] or 0
    if stored.pop("sched", None) is not None:
        stored["sched"] = layer.sched or layer.schedW
    for name in ("sched", "schedW", "schedB"):
        if isinstance(stored.get(name), Schedule):
            stored[name] = stored_schedule(stored[name])


def _device_keys(layer: Layer, generation: Generation) -> dict[str, Any]:
    """Return 2012's ``gpu`` number, 2014's list with its derived keys."""
    if generation == G2014:
        listed = {} if layer.gpu[0] < 0 else {"gpus": ", ".join(map(str, layer.gpu))}
        return {"gpu": layer.gpu, "numReplicas": len(layer.gpu), **listed}
    if generation == G2012:
        words = {"quantF": layer.quantF, "quantB": layer.quantB}
        chosen = {name: {"type": word, "params": {}} for name, word in words.items() if word != "default"}
        return {"gpu": layer.gpu[0], **chosen}
    return {}


def _buffer_keys(layer: Layer, generation: Generation) -> dict[str, Any]:
    """Return whose buffer outputs and gradients of the originals lie in; 2012's search never succeeded (numerics 3.4)."""
    targets = {"actsTarget": -1, "actsGradTarget": -1}
    if generation == G2012 or "own" in layer.stored_flags:
        return targets
    for i, source in enumerate(layer.sources):
        if len(source.consumers) == 1 and source.gpu[0] >= 0:
            targets["actsGradTarget"] = i
            if "inputs" not in layer.stored_flags and "acts" not in source.stored_flags:
                targets["actsTarget"] = i
    return targets


def stored_net(graph: Graph, mini: int = 128) -> dict[str, Any]:
    """Return ``{"layers": [...], "totals": {...}}``: dicts as the files' generation stores them, arrays by their shapes.

    Layers stand in file order, each detached neuron behind its source.
    """
    stored = {layer["name"]: layer for layer in stored_graph(graph, graph.generation)}
    for layer in graph.declared:
        if isinstance(layer, WeightLayer):
            stored[layer.name]["weights"] = [
                _array_shape(layer.weight_shape(i), layer.order) | {"shared": owner is not None}
                for i, owner in enumerate(layer.owners)
            ]
            # What a function would make of the biases is not known before it runs.
            value = {} if layer.initBFunc else {"value": float(layer.initB)}
            stored[layer.name]["biases"] = _array_shape(layer.bias_shape(), "C") | value
        if isinstance(layer, Windowed) and graph.generation != G2014:
            lengths = [layer.groups[i] * layer.filterChannels[i] for i in range(len(layer.inputs))]
            stored[layer.name]["filterConnsLen"] = [n * sparse for n, sparse in zip(lengths, layer.randSparse, strict=True)]
        if isinstance(layer, Blur):
            taps = stored[layer.name]["filter"]
            stored[layer.name]["filter"] = {"dtype": "float32", "shape": [1, len(taps)], "values": taps}
    weights = [matrix for layer in stored.values() for matrix in layer.get("weights", ())]
    unique = sum(matrix["count"] for matrix in weights if not matrix["shared"])
    biases = sum(layer["biases"]["count"] for layer in stored.values() if "biases" in layer)
    totals = {
        "num_layers": len(graph.layers),
        "params": unique + biases,
        "weights_unique": unique,
        "weights_incl_shared": sum(matrix["count"] for matrix in weights),
        "biases": biases,
        "multiply_adds": sum(layer.macs() for layer in graph.layers.values()),
        "memory": sum(memory.total for memory in memories(graph, mini).values()),
    }
    return {"layers": [stored[name] for name in graph.layers], "totals": totals}


def _array_shape(shape: tuple[int, int], order: str) -> dict[str, Any]:
    rows, columns = shape
    return {"shape": [rows, columns], "dtype": "float32", "order": "CF" if 1 in shape else order, "count": rows * columns}
