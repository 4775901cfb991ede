"""The filters of a layer of a checkpoint, or of the layers that are one in several towers, with what they read (io 7.3).

Letters: C channels, k side of a filter, F filters, G groups, M modulesX (side of a local layer's output).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convnet.checkpoint import Checkpoint
from convnet.drawing.filters import filters_of
from convnet.errors import OptionError
from convnet.graph.analysis import shape_texts
from convnet.graph.loading import build_graph
from convnet.layers import Layer
from convnet.layers.data import Data
from convnet.pickles import text_of
from convnet.texts import did_you_mean

Stored = dict[str, Any]  # a layer of a checkpoint


class Bank(NamedTuple):
    """``filters`` (C, k, k, F) of layer ``name``, of ``type``, on what ``source`` gives, called ``names``.

    ``maps`` (F, C) are the numbers of the maps of ``source`` that they read. Filters of a local layer are those of one of
    its maps at all places, in ``modules`` rows of as many; else ``modules`` is 0.
    """

    name: str
    type: str
    source: str
    filters: np.ndarray
    names: Sequence[str]
    maps: np.ndarray
    modules: int = 0


def banks_of(checkpoint: Checkpoint, name: str, index: int = 0, channels: int = 0, plane: int = 0) -> list[Bank]:
    """Return the filters of layer ``name``, on its input ``index``; of all towers where the name is theirs without letter.

    ``channels`` are the maps that a fully-connected layer's inputs are, 0: as many as the layer below has. ``plane`` is
    the map of a local layer. Raises ``ConvnetError``.
    """
    layers = checkpoint.layers
    banks = []
    for layer in towers_of(layers, name):
        own, kind = text_of(layer["name"]), text_of(layer["type"])
        known = channels or (0 if kind in ("conv", "local") else _maps_below(checkpoint, own, index))
        filters = filters_of(layer, index, known, plane)
        F, suffix = filters.shape[-1], own[len(name) :]
        modules = int(layer["modulesX"]) if kind == "local" else 0
        names = [f"{suffix}{i}" for i in range(F)]
        banks.append(
            Bank(own, kind, _source(layers, layer, index), filters, names, _maps_read(layer, index, filters), modules)
        )
    return banks


def towers_of(layers: Mapping[str, Stored], name: str) -> list[Stored]:
    """Return the layer called ``name``; or, where a net has towers, those called ``name`` with a letter behind.

    Raises ``OptionError`` where there is neither.
    """
    if name in layers:
        return [layers[name]]
    towers = [layer for other, layer in sorted(layers.items()) if other[:-1] == name and other[-1].isalpha()]
    shapes = {(layer["type"], str(layer.get("filterSize")), str(layer.get("filterChannels"))) for layer in towers}
    if len(shapes) == 1:
        return towers
    raise OptionError(f"no layer '{name}' in the checkpoint" + did_you_mean(name, layers))


def _source(layers: Mapping[str, Stored], layer: Stored, index: int) -> str:
    """Return the name of input ``index`` of a stored layer, as the files call it; 2011 kept places among the layers."""
    source = layer["inputs"][index]
    name = text_of(source) if isinstance(source, str) else list(layers)[int(source)]
    detached = layers[name]["type"] == "neuron" and "_neuron" in name
    return name.partition("_neuron")[0] if detached else name


def _maps_read(layer: Stored, index: int, filters: np.ndarray) -> np.ndarray:
    """Return the map of the input that each channel of each filter reads, (F, C)."""
    C, _, _, F = filters.shape
    G = int(layer.get("groups", [1] * (index + 1))[index])
    of_group = np.arange(G * C).reshape(G, C)
    drawn = layer.get("filterConns")
    if drawn and index < len(drawn) and np.size(drawn[index]) == G * C and any(layer.get("randSparse") or ()):
        of_group = np.asarray(drawn[index], int).reshape(G, C)
    elif G > 1 and int(layer["channels"][index]) != G * C:
        of_group %= int(layer["channels"][index])
    if layer["type"] == "local":  # one map at all places, so one group: the caller's plane says which
        return np.broadcast_to(of_group[0], (F, C))
    return of_group[np.arange(F) * G // F]


def _maps_below(checkpoint: Checkpoint, name: str, index: int) -> int:
    """Return the maps of what a layer of a checkpoint reads as its input ``index``; 0 where it reads none."""
    with checkpoint.named_in_errors():
        graph = build_graph(checkpoint.files(), dialect=checkpoint.dialect, **checkpoint.sizes)
    sources = graph.layers[name].sources[index : index + 1]
    shapes, channels = shape_texts(graph), picture_channels(checkpoint)
    return max((maps_of(source, shapes[source.name], channels) for source in sources), default=0)


def maps_of(layer: Layer, shape: str, channels: int) -> int:
    """Return how many square maps the outputs of a layer are, ``8x14x14`` in words, or 0.

    Data that nothing reads as maps are pictures of so many ``channels``, if they are square then.
    """
    maps, has_sides, _ = shape.partition("x")
    if has_sides:
        return int(maps)
    is_picture = isinstance(layer, Data) and layer.dataIdx == 0 and channels
    return channels if is_picture and math.isqrt(layer.outputs // channels) ** 2 * channels == layer.outputs else 0


def picture_channels(checkpoint: Checkpoint) -> int:
    """Return the channels of the pictures that a checkpoint's net was trained on; 0 where they were none, or are unknown."""
    mean = (checkpoint.data or {}).get("mean")
    return len(mean) if isinstance(mean, np.ndarray) and mean.ndim == 3 else 0
