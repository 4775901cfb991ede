"""Layers as the originals describe them: the dicts of their checkpoints and of ``explain --json`` (io 4.5).

Keys and values are the originals' own: padding negated, filters times groups, norm scale divided. The generations differ
in a few keys, which this module knows; what a layer type stores, it says itself (``Layer.stored``). Lists and dicts that
were one object in the originals are one object here, for pickles keep that.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np

from convnet.generation import G2011, G2012, G2014, Generation
from convnet.graph.analysis import memories
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Windowed
from convnet.layers.cost import Cost
from convnet.layers.fc import FullyConnected
from convnet.layers.image import Blur
from convnet.layers.weighted import WeightLayer, stored_rate, stored_schedule
from convnet.pickles.python2 import dict_order

Stored = dict[str, Any]
LEARNED = ("weights", "weightsInc", "biases", "biasesInc", "filterConns")


def stored_graph(graph: Graph, generation: Generation, state: Mapping[str, Stored] | None = None) -> list[Stored]:
    """Return the dicts of all layers in file order, detached neurons after their source in 2011 and at the end later.

    ``state`` has the arrays of layers by name (``convnet.net.state.collect_state``); without it the dicts have none.
    """
    layers = list(graph.layers.values()) if generation == G2011 else graph.in_file_order
    dicts = {layer.name: _stored_layer(graph, layer, generation) for layer in layers}
    for layer in graph.layers.values():
        stored = dicts[layer.name]
        _share(stored, dicts, layer, generation)
        arrays = dict((state or {}).get(layer.name, {}))
        connections = arrays.pop("filterConns", None)
        if isinstance(layer, Windowed) and connections and (generation != G2014 or any(layer.randSparse)):
            arrays["filterConns"] = _connections(layer, dicts, connections)
        stored |= arrays
    if generation == G2014:
        for number, name in enumerate(names_of(graph, G2014)):
            dicts[name]["id"] = number
    return list(dicts.values())


def container_for(layers: list[Stored], generation: Generation) -> list[Stored] | dict[str, Stored]:
    """Return 2011's list of layers, or the dict of later ones (io 4.4)."""
    return layers if generation == G2011 else {stored["name"]: stored for stored in layers}


def names_of(graph: Graph, generation: Generation) -> list[str]:
    """Return the names of all layers in the order in which a generation made them, that of 2014's ``id``.

    It is the file's, then that of detached neurons, which since 2012 was the order of a dict of Python 2.
    """
    if generation == G2011:
        return [layer.name for layer in graph.in_file_order]
    declared = [layer.name for layer in graph.declared]
    neuron_of = {neuron.detached_from: neuron.name for neuron in graph.neurons}
    return [*declared, *(neuron_of[name] for name in dict_order(declared) if name in neuron_of)]


def _stored_layer(graph: Graph, layer: Layer, generation: Generation) -> Stored:
    """Return the dict of one layer, without arrays, every list in it a new one."""
    flags = layer.stored_uses(generation)
    stored: Stored = {
        "name": layer.name,
        "type": layer.type,
        "outputs": layer.outputs,
        "usesActs": "acts" in flags,
        "usesInputs": "inputs" in flags,
        "forceOwnActs": "own" in flags,
        "gradConsumer": layer.coeff > 0 and generation == G2014 if isinstance(layer, Cost) else layer.learns,
        "requiresParams": generation in layer.wants_params,
    }
    stored |= _device_keys(layer, generation)
    if layer.sources:
        names = [source.name for source in layer.sources]
        stored["inputs"] = [graph.places[name] for name in names] if generation == G2011 else names
        stored["numInputs"] = layer.num_inputs
        if not layer.is_cost:
            stored["neuron"] = layer.neuron.text if layer.neuron else ""
    stored |= layer.stored(generation)
    if isinstance(layer, WeightLayer):
        _convert_learning(stored, graph, layer, generation)
    if isinstance(layer, Blur):
        taps = np.array([stored["filter"]], np.float32)
        stored["filter"] = taps / taps.sum()
    if generation == G2011:
        stored["dropout"] = layer.dropout
    elif layer.detached_from:
        stored["src_layer"] = layer.detached_from
    if generation != G2014:
        stored["conserveMem"] = 0
    stored |= _buffer_keys(layer, generation)
    return {key: list(value) if isinstance(value, list) else value for key, value in stored.items()}


def _share(stored: Stored, dicts: Mapping[str, Stored], layer: Layer, generation: Generation) -> None:
    """Link a layer's dict to those of its inputs, and make one object of what was one in the originals."""
    # When the originals looked up the inputs of a layer, no neuron had been detached; 2011 left it at that.
    first = [dicts[source.detached_from or source.name] for source in layer.sources]
    if layer.sources:
        stored["inputLayers"] = first if generation == G2011 else [dicts[source.name] for source in layer.sources]
    if isinstance(layer, FullyConnected) and generation != G2011:
        stored["weightsPerFilter"] = stored["numInputs"]
    if generation == G2014:
        for child in layer.children if isinstance(layer, Cost) else ():
            dicts[child]["aggregated"] = 1
        if isinstance(layer, WeightLayer):
            stored["wballNormed"] = stored["wball"]
        if layer.sources and layer.gpu is layer.sources[0].gpu and not layer.detached_from:
            stored["gpu"] = first[0]["gpu"]


def _connections(layer: Windowed, dicts: Mapping[str, Stored], drawn: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return randSparse's channels of every input: of those that are not sparse, one empty list; of others as drawn."""
    dense: list[int] = []
    found: list[list[int]] = []
    for i, channels in zip(
        range(len(layer.inputs)), chain(drawn, repeat(())), strict=False
    ):  # forks may save more, or fewer
        source = layer.written_source(i)
        if not layer.randSparse[i]:
            found.append(dense)
        elif layer.initCFunc or not source:
            found.append(list(channels))
        else:
            name, index = source
            found.append((found if name == layer.name else dicts[name]["filterConns"])[index])
    return found


def _convert_learning(stored: Stored, graph: Graph, layer: WeightLayer, generation: Generation) -> None:
    """Write rates, schedules and owners of shared weights as the generation did."""
    for name in ("sched", "schedW", "schedB"):
        stored.pop(name, None)
    if generation == G2014:
        once: dict[int, Stored] = {}  # one value for all inputs is one dict
        for i, rate in enumerate(layer.epsW):
            once.setdefault(id(rate), stored_rate(rate.base, layer.weight_schedule(i)))
        stored["epsW"] = [once[id(rate)] for rate in layer.epsW]
        stored["epsB"] = stored_rate(layer.epsB.base, layer.bias_schedule())
    else:
        stored |= {"epsW": [rate.base for rate in layer.epsW], "epsB": layer.epsB.base}
    if generation == G2012:
        stored["wballNormed"] = [limit * layer.weights_per_filter(i) for i, limit in enumerate(layer.wball)]
        # ``sched`` is an earlier spelling, which the parser that wrote such dicts left unread.
        stored |= {"schedW": stored_schedule(layer.epsW[0].schedule or layer.schedW)}
        stored |= {"schedB": stored_schedule(layer.epsB.schedule or layer.schedB)}
    if generation == G2011:
        owners = stored.pop("weightSourceLayers")
        stored["weightSourceLayerIndices"] = [graph.places[name] if name else -1 for name in owners]
        del stored["weightsPerFilter"]
    if "initB" not in layer.check.places:
        stored["initB"] = 0


def _device_keys(layer: Layer, generation: Generation) -> Stored:
    """Return 2012's ``gpu`` number, 2014's list with its derived keys."""
    if generation == G2014:
        if layer.sources:
            return {"gpu": layer.gpu, "gpus": ", ".join(map(str, layer.gpu)), "numReplicas": len(layer.gpu)}
        return {"gpu": layer.gpu, "numReplicas": len(layer.consumers[-1].gpu if layer.consumers else layer.gpu)}
    if generation == G2012:
        words = {"quantF": layer.quantF, "quantB": layer.quantB}
        return {"gpu": layer.gpu[0], **{name: {"type": word, "params": {}} for name, word in words.items()}}
    return {}


def _buffer_keys(layer: Layer, generation: Generation) -> Stored:
    """Return whose buffer outputs and gradients of the originals lie in; 2012's search never succeeded (numerics 3.4)."""
    targets = {"actsTarget": -1, "actsGradTarget": -1}
    flags = layer.stored_uses(generation)
    if generation == G2012 or "own" in flags:
        return targets
    for i in _alone(layer):
        if generation == G2011 or layer.sources[i].gpu == layer.gpu:
            targets["actsGradTarget"] = i
    for i in shared_acts(layer, generation):
        targets["actsTarget"] = i
    return targets


def shared_acts(layer: Layer, generation: Generation) -> list[int]:
    """Return the inputs in whose buffer the outputs may lie; of several the originals took the last (numerics 3.4)."""
    flags = layer.stored_uses(generation)
    if generation == G2012 or "own" in flags or "inputs" in flags:
        return []
    return [i for i in _alone(layer) if "acts" not in layer.sources[i].stored_uses(generation)]


def _alone(layer: Layer) -> list[int]:
    """Return the inputs that no other layer reads and that are as large as the output."""
    sources = enumerate(layer.sources)
    return [i for i, source in sources if len(source.consumers) == 1 and source.outputs == layer.outputs]


def described(graph: Graph, generation: Generation) -> list[Stored]:
    """Return the dicts as JSON holds them: names for layers, and nothing that a run decides or that is so everywhere."""
    dicts = stored_graph(graph, generation)
    for number, stored in enumerate(dicts):
        if "inputLayers" in stored:
            stored["inputLayers"] = [below["name"] for below in stored["inputLayers"]]
        if generation == G2011 and "inputs" in stored:
            stored["inputNames"] = [dicts[place]["name"] for place in stored["inputs"]]
        if generation == G2014:
            stored["id"] = number
        for key in ("conserveMem", "tree"):
            stored.pop(key, None)
        for key in ("quantF", "quantB"):
            if key in stored and stored[key]["type"] == "default":
                del stored[key]
    return dicts


def stored_net(graph: Graph, mini: int = 128) -> dict[str, Any]:
    """Return ``{"layers": [...], "totals": {...}}``: dicts as the files' generation stores them, arrays by their shapes.

    Layers stand in file order, each detached neuron behind its source.
    """
    stored = {layer["name"]: layer for layer in described(graph, graph.generation)}
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
            taps = stored[layer.name]["filter"].tolist()
            stored[layer.name]["filter"] = {"dtype": "float32", "shape": [1, len(taps[0])], "values": taps[0]}
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
