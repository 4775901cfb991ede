"""Layer files written from a checkpoint of the originals, which holds none: its layer dicts turned back into text (io 4.5).

What their parsers derived is undone: padding was negated, filters multiplied by the groups, scales divided by their
windows, neurons detached, names made into indices.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

from convnet.errors import CheckpointError
from convnet.generation import G2011, G2012, G2014, Generation
from convnet.graph.loading import LayerFiles
from convnet.language.keys import REQUIRED, Key
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.label_tree import LabelTree
from convnet.pickles import text_of
from convnet.pickles.rules import message, shown
from convnet.texts import counted, did_you_mean, listed

Stored = Mapping[str, Any]
# Keys that say nothing of a trained net, or that stand in other keys, or that the originals stored of some layers only.
_UNNEEDED = {
    "initW", "initB", "initWFunc", "initBFunc", "initCFunc", "gpu", "neuron", "weightSource",
    "sched", "doMax", "sum", "minDiv",
}  # fmt: skip


def generation_of(layers: Mapping[str, Stored]) -> Generation:
    """Return which generation wrote these layer dicts: 2011 counted inputs, 2014 listed devices."""
    if any(layer.get("inputs") and not isinstance(layer["inputs"][0], str) for layer in layers.values()):
        return G2011
    return G2014 if any(isinstance(layer.get("gpu"), list) for layer in layers.values()) else G2012


def written_files(layers: Mapping[str, Stored], path: str = "checkpoint") -> LayerFiles:
    """Write definition and parameters of the net of these layer dicts; raises ``CheckpointError`` for what they lack."""
    generation = generation_of(layers)
    if fault := message(_faults(layers, generation)):
        raise CheckpointError(fault)
    inputs_of = _inputs_of(layers)
    detached = _detached(layers, inputs_of)
    sources_of = weight_sources(layers, inputs_of)
    definition: list[str] = []
    params: list[str] = []
    for name in _in_order(layers, inputs_of, sources_of):
        if name in detached:
            continue
        layer = layers[name]
        kind = LAYER_TYPES[text_of(layer["type"])]
        definition += [f"[{name}]", f"type={kind.type}"]
        params.append(f"[{name}]")
        homes = {key.name: key.home for key in kind.keys}
        inputs = [detached.get(source, source) for source in inputs_of[name]]
        read = {**layer, "weightSource": sources_of[name]} if name in sources_of else dict(layer)
        if inputs and isinstance(read.get("gpu"), list) and read["gpu"] is layers[inputs[0]].get("gpu"):
            del read["gpu"]  # taken from the first input
        for key, text in _texts(kind, read, generation, inputs).items():
            (definition if homes[key] == "def" else params).append(f"{key}={text}")
        definition.append("")
        params.append("")
    return LayerFiles("\n".join(definition), path, "\n".join(params), path)


def remark_on(layers: Mapping[str, Stored]) -> str:
    """Return a line on layers that lack keys without which they may be others, or an empty text."""
    generation = generation_of(layers)
    kinds = {name: LAYER_TYPES.get(text_of(layer["type"])) for name, layer in layers.items()}
    lacking = {
        name: [key.name for key in _lacking(kind, layers[name], generation) if key.name not in _UNNEEDED]
        for name, kind in kinds.items()
        if kind
    }
    shown = listed((f"{name} ({', '.join(keys)})" for name, keys in lacking.items() if keys), 5)
    return f"The checkpoint lacks keys of layers, for which defaults are taken: {shown}." if shown else ""


def _lacking(kind: type[Layer], layer: Stored, generation: Generation) -> list[Key]:
    """Return the keys that every program of a generation stored of such a layer, and this one did not."""
    stored = [key for key in kind.keys if generation in key.read_by]
    return [key for key in stored if layer.get(_stored_name(kind, key)) is None]


def _faults(layers: Mapping[str, Stored], generation: Generation) -> Iterator[str]:
    """Yield why no layer file can be written."""
    for name, layer in layers.items():
        kind = LAYER_TYPES.get(text_of(layer["type"]))
        if kind is None:
            hint = did_you_mean(text_of(layer["type"]), LAYER_TYPES, likeness=0.7)
            yield f"layer '{name}' has the unknown type {shown(layer['type'])}{hint}"
            continue
        for key in _lacking(kind, layer, generation):
            if key.default is REQUIRED:
                yield f"layer '{name}' lacks '{_stored_name(kind, key)}'; expected {key.kind.word}"
    if not any(layer["type"] == "data" for layer in layers.values()):
        yield f"it has no layer of type data among {counted(len(layers), 'layer')}"


def stored_dims(layers: Mapping[str, Stored]) -> dict[int, int]:
    """Return the features of each data matrix, as far as the data layers say."""
    dims: dict[int, int] = {}
    for layer in layers.values():
        if layer["type"] == "data":
            index = int(layer["dataIdx"])
            dims[index] = max(dims.get(index, 0), int(layer.get("end") or layer["outputs"]))
    return dims


def stored_tree(layers: Mapping[str, Stored]) -> LabelTree | None:
    """Return the tree of labels that 2012's treefc layers kept: the children of each node, in a list, or by node."""
    for layer in layers.values():
        if layer["type"] == "treefc" and layer.get("tree"):
            tree = layer["tree"]
            nodes = tree.items() if isinstance(tree, dict) else enumerate(tree)
            children = {int(node): [int(child) for child in below] for node, below in nodes}
            return LabelTree.from_children(children, int(layer["rootLabel"]), int(layer["outputs"]))
    return None


def _inputs_of(layers: Mapping[str, Stored]) -> dict[str, list[str]]:
    """Return the names of every layer's inputs; 2011 kept their places among the layers."""
    names = list(layers)
    return {
        name: [text_of(source) if isinstance(source, str) else names[int(source)] for source in layer.get("inputs") or []]
        for name, layer in layers.items()
    }


def _detached(layers: Mapping[str, Stored], inputs_of: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the neuron layers that a parser split off, with the layer they came from."""
    detached: dict[str, str] = {}
    for name, layer in layers.items():
        if layer["type"] == "neuron" and inputs_of[name]:
            source = inputs_of[name][0]
            if layers[source].get("neuron") and name.startswith(f"{source}_neuron"):
                detached[name] = source
    return detached


def weight_sources(layers: Mapping[str, Stored], inputs_of: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return for each matrix of the layers with weights which it shares, as ``layer[matrix]``, or ``''``.

    What ``weightSource`` says was true when the layer file was read. ``--unshare-weights`` changed the layers and indices
    beside it (2011: places of layers); where a program kept neither, one array stands for several matrices. 2014's
    ``--conv-to-local`` left out the layers that shared the matrix, of which it is not a matrix any more.
    """
    names = list(layers)
    first: dict[int, str] = {}  # which matrix an array was met as
    sources_of: dict[str, list[str]] = {}
    for name in _in_order(layers, inputs_of, {}):
        layer = layers[name]
        if "weightSourceLayers" in layer:
            owners = list(map(text_of, layer["weightSourceLayers"]))
        elif "weightSourceLayerIndices" in layer:
            owners = [names[place] if place >= 0 else "" for place in layer["weightSourceLayerIndices"]]
        else:
            weights = layer.get("weights")
            matrices = weights if isinstance(weights, list | tuple) else ()
            met = [(f"{name}[{i}]", id(matrix)) for i, matrix in enumerate(matrices)]
            if met:
                sources_of[name] = ["" if first.setdefault(key, own) == own else first[key] for own, key in met]
            continue
        places = layer.get("weightSourceMatrixIndices") or [0] * len(owners)
        words = map(text_of, layer.get("weightSource") or ())
        sources_of[name] = [
            _source(word, owner, i) if owner and layers[owner]["type"] == layer["type"] else ""
            for word, owner, i in zip(chain(words, repeat("")), owners, places, strict=False)
        ]
    return sources_of


def _source(word: str, owner: str, i: int) -> str:
    """Return the text for a matrix: the ``word`` of the layer file, if it means that."""
    return word if word == owner and i == 0 else f"{owner}[{i}]"


def _in_order(
    layers: Mapping[str, Stored], inputs_of: Mapping[str, list[str]], sources_of: Mapping[str, list[str]]
) -> list[str]:
    """Return the names of all layers, each after those it reads, owners of its weights, and children of a cost."""

    def wanted_by(name: str) -> Iterator[str]:
        owners = [source.partition("[")[0] for source in sources_of.get(name, ())]
        others = [owner for owner in owners if owner not in (name, "")]
        return iter([*inputs_of[name], *others, *map(text_of, layers[name].get("children") or [])])

    order: dict[str, None] = {}
    for first in sorted(layers, key=lambda name: layers[name].get("id", 0)):
        # A chain of thousands of layers is deeper than calls may be, so what is under way is kept here: in the order of
        # reading, each layer with those that it still waits for.
        under_way: dict[str, Iterator[str]] = {} if first in order else {first: wanted_by(first)}
        while under_way:
            name, waiting_for = next(reversed(under_way.items()))
            wanted = next((other for other in waiting_for if other not in order), None)
            if wanted is None:
                order[name] = None
                del under_way[name]
            elif wanted in under_way or wanted not in layers:
                fault = "which depends on it itself" if wanted in under_way else "but is not in the checkpoint"
                raise CheckpointError(f"layer '{wanted}' is read by '{name}', {fault}")
            else:
                under_way[wanted] = wanted_by(wanted)
    return list(order)


def _stored_name(kind: type[Layer], key: Key) -> str:
    """Return the name under which the originals stored what a key of their files says."""
    return "outputChannels" if key.name == "outputs" and kind.type == "cmpool" else key.name


def _texts(kind: type[Layer], layer: Stored, generation: Generation, inputs: list[str]) -> dict[str, str]:
    """Return each key that the generation read and the dict holds, as text."""
    texts: dict[str, str] = {}
    for key in kind.keys:
        name = _stored_name(kind, key)
        is_stored = generation in key.read_by and layer.get(name) not in (None, [], (), "")
        if is_stored and key.name != "neuron" and not key.name.startswith("init"):
            texts[key.name] = _text(kind, key, layer, layer[name], inputs)
    known = {key.name for key in kind.keys} & layer.keys()
    texts |= {name: _listed(layer[name]) for name in ("initW", "initB") if name in known}
    if repr(layer.get("initB")) == "0":  # what it is where the file does not say it; a 0 of the file is a float
        texts.pop("initB", None)
    if layer.get("neuron"):
        texts["neuron"] = _neuron(layer["neuron"])
    return texts


def _text(kind: type[Layer], key: Key, layer: Stored, value: Any, inputs: list[str]) -> str:
    if key.name == "inputs":
        return ",".join(inputs)
    if key.name == "padding":
        return _listed([-int(item) for item in value])
    if key.name == "outputs" and kind.type == "sfc":
        return str(int(value) // int(layer["parts"]))
    if key.name == "filters":
        return _listed([int(value) // int(groups) for groups in layer["groups"]])
    if key.name == "scale" and hasattr(kind, "across"):
        size = int(layer["size"])
        return repr(float(value) * (size if kind.across else size**2))
    if key.name in ("epsW", "epsB", "schedW", "schedB", "quantF", "quantB"):
        items = value if isinstance(value, list | tuple) else [value]
        one_for_all = isinstance(items[0], dict) and all(item is items[0] for item in items)  # in 2014, which wrote it once
        return ",".join(_named(item) for item in (items[:1] if one_for_all else items))
    return _listed(value)


def _named(value: Any) -> str:
    """Return ``dexp[...]`` for ``{'type': 'dexp', 'params': {...}}``, a number for 2014's constants and plain rates."""
    if not isinstance(value, dict):
        return repr(float(value))
    name, params = text_of(value["type"]), value["params"]
    if name == "const":
        return repr(float(params["base"]))
    mark = ";" if "base" in params else ","
    return f"{name}[{mark.join(f'{k}={v!r}' for k, v in params.items())}]" if params else name


def _neuron(value: Any) -> str:
    if not isinstance(value, dict):
        return text_of(value)
    params = value["params"]
    return text_of(value["type"]) + (f"[{','.join(repr(float(params[k])) for k in sorted(params))}]" if params else "")


def _listed(value: Any) -> str:
    items = value if isinstance(value, list | tuple) else [value]
    return ",".join(text_of(v) if isinstance(v, str) else repr(int(v) if isinstance(v, bool) else v) for v in items)
