"""A net in the words of another generation: types that it lacks become others that mean the same (numerics 8 to 12).

    hs, dropout2, dropout       each other, 2014's dropout with a neuron that divides by keep; in 2011, whose fork has
                                dropout=p, a neuron layer with it
    dropout=p of the fork       a layer of its own behind the layer
    pool=rand doMax=1           pool=max
    pool=avg sum=1              pool=avg with a neuron that multiplies, where no window reaches beyond the image
    minDiv                      1, with another scale and a neuron that multiplies
    pass                        concat
    cost.crossent2, .bce, .dce  each other, with posWeight=1; they differ in what is printed

What has no such word is found by ``convnet.graph.writer``, as its types and keys say which generations read them.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any

from convnet.generation import G2011, G2012, G2014, Generation
from convnet.graph.graph import Graph
from convnet.language.neurons import Neuron
from convnet.language.values import FLOAT
from convnet.layers import LAYER_TYPES, Layer
from convnet.layers.cost import Cost
from convnet.layers.dropout import Dropout, Dropout2
from convnet.layers.eltwise import PassThrough
from convnet.layers.neuron import NeuronLayer
from convnet.layers.norm import Norm
from convnet.layers.pool import Pool


@dataclass
class Translation:
    """The ``layers`` to write, and in ``told`` what is said of those that changed.

    ``behind`` has the layers that are read in the place of others.
    """

    layers: list[Layer] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    behind: dict[str, str] = field(default_factory=dict)


def translate(graph: Graph, generation: Generation) -> Translation:
    """Return the declared layers of ``graph`` as ``generation`` says them; those of the graph stay as they are."""
    made = Translation()
    names = set(graph.layers)
    for layer in graph.declared:
        written = _translated(layer, generation)
        if written is not layer:
            made.told.append(f"layer '{layer.name}' {_change(layer, written)}")
        made.layers.append(written)
        if layer.dropout and generation != G2011:
            made.layers[-1], dropped = _split(written, generation, names)
            made.layers.append(dropped)
            made.behind[layer.name] = dropped.name
            made.told.append(f"layer '{layer.name}': its dropout={FLOAT.write(layer.dropout)} is layer '{dropped.name}'")
    return made


def _translated(layer: Layer, generation: Generation) -> Layer:
    """Return the layer, or one that means the same where the generation does not have it."""
    match layer:
        case Dropout2() if generation not in layer.read_by:
            return _dropout(layer, generation)
        case Pool() if layer.pool == "rand" and layer.doMax and generation != G2012:
            return _changed(layer, ("doMax",), pool="max", doMax=False)
        case Pool() if layer.pool == "avg" and layer.sum and generation != G2014 and _is_inside(layer):
            return _multiplied(layer, layer.sizeX**2, ("sum",), sum=False)
        case Norm() if layer.minDiv > 0 and layer.minDiv != 1 and not _reads_min_div(layer, generation):
            factor = layer.minDiv**-layer.pow
            return _multiplied(layer, factor, ("minDiv",), scale=layer.scale / layer.minDiv, minDiv=1.0)
        case PassThrough() if generation == G2012:
            return _become(layer, "concat")
        case Cost() if layer.type == "cost.crossent2" and generation == G2014:
            return _become(layer, "cost.bce", posWeight=1.0)
        case Cost() if layer.type in ("cost.bce", "cost.dce") and layer.posWeight == 1 and generation == G2012:
            return _become(layer, "cost.crossent2")
    return layer


def _dropout(layer: Dropout2, generation: Generation) -> Layer:
    """Return a layer that drops units as this one does: 2014's dropout is hs divided by ``keep``."""
    if generation != G2011 and not isinstance(layer, Dropout):
        return _become(layer, "dropout2" if generation == G2014 else "hs", keep=layer.keep, enable=layer.enable)
    if layer.neuron or not layer.keep:
        return layer
    if generation == G2012:
        return _become(layer, "hs", keep=layer.keep, enable=layer.enable, neuron=_times(1 / layer.keep))
    gain, idle_gain = layer.gains()
    return _become(
        layer,
        "neuron",
        neuron=_times(gain if layer.enable else idle_gain),
        dropout=_complement(layer.keep) if layer.enable else 0.0,
    )


def _split(layer: Layer, generation: Generation, names: set[str]) -> tuple[Layer, Layer]:
    """Return a layer of the fork of 2011 without its dropout, and the layer that drops instead, before its neuron."""
    numbered = (f"{layer.name}_dropout" + (f".{number}" if number else "") for number in count())
    name = next(name for name in numbered if name not in names)
    names.add(name)
    detached = None if isinstance(layer, NeuronLayer) else layer.neuron
    bare = _changed(layer, ("dropout",), dropout=0.0, **({"neuron": None} if detached else {}))
    kind = "dropout2" if generation == G2014 else "hs"
    dropped = _become(layer, kind, name=name, keep=_complement(layer.dropout), enable=True, neuron=detached, dropout=0.0)
    dropped.inputs, dropped.sources = [layer.name], [bare]
    dropped.check = replace(
        dropped.check, places={"inputs": layer.check.header, **_places(layer, ("keep", "enable", "neuron"))}
    )
    return bare, dropped


def _complement(share: float) -> float:
    """Return 1 less ``share``, to as many decimals."""
    return float(1 - Decimal(repr(share)))


def _reads_min_div(layer: Norm, generation: Generation) -> bool:
    return generation == G2014 or (generation == G2012 and layer.across)


def _is_inside(pool: Pool) -> bool:
    """Return whether every window of a pool is known to lie inside the image, whose size a graph without shapes lacks."""
    return (
        bool(pool.imgSize)
        and pool.start >= 0
        and pool.start + (pool.outputsX - 1) * pool.stride + pool.sizeX <= pool.imgSize
    )


def _times(factor: float) -> Neuron:
    """Return the neuron that multiplies by ``factor``."""
    return Neuron(f"linear[{FLOAT.write(factor)},0]", "linear", (("a", factor), ("b", 0.0)))


def _multiplied(layer: Layer, factor: float, dropped: Iterable[str], **values: Any) -> Layer:
    """Return a layer with other values, whose outputs are multiplied; as it is if it has a neuron already."""
    return layer if layer.neuron else _changed(layer, dropped, neuron=_times(factor), **values)


def _changed(layer: Layer, dropped: Iterable[str], **values: Any) -> Layer:
    """Return a copy with other ``values``, which its files have too, but no more the keys that are ``dropped``."""
    made = copy.copy(layer)
    vars(made).update(values)
    places = {key: place for key, place in layer.check.places.items() if key not in dropped}
    made.check = replace(layer.check, places=places | _places(layer, set(values) - set(dropped)))
    return made


def _become(layer: Layer, kind: str, **values: Any) -> Layer:
    """Return a layer of another type in the place of this one, with ``values`` of its keys."""
    made: Layer = object.__new__(LAYER_TYPES[kind])
    defaults = {key.name: key.default_for({}, len(layer.inputs)) for key in made.keys if not callable(key.default)}
    vars(made).update(defaults | vars(layer) | values)
    made.check = replace(layer.check, places=dict(layer.check.places) | _places(layer, values))
    return made


def _places(layer: Layer, keys: Iterable[str]) -> dict[str, Any]:
    return dict.fromkeys(keys, layer.check.header)


def _change(layer: Layer, written: Layer) -> str:
    """Say what became of a layer."""
    neuron = f", neuron={written.neuron.text}" if written.neuron and written.neuron is not layer.neuron else ""
    if written.type != layer.type:
        dropout = f", dropout={FLOAT.write(written.dropout)}" if written.dropout else ""
        return f"of type {layer.type} is written as {written.type}{neuron}{dropout}"
    changed = [key for key in written.keys if key.name in written.check.places and key.name != "neuron"]
    texts = [f"{key.name}={key.kind.write(vars(written)[key.name])}" for key in changed if _differ(layer, written, key.name)]
    return f"is written with {', '.join(texts)}{neuron}".replace("with , ", "with ")


def _differ(layer: Layer, written: Layer, name: str) -> bool:
    return bool(vars(layer).get(name) != vars(written)[name])
