"""Filters of every layer that has them.

Letters: C channels, k side of a filter, F filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convnet.drawing.filter_banks import maps_of
from convnet.drawing.filters import filters_of
from convnet.errors import ConvnetError
from convnet.graph.analysis import shape_texts
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Conv, Windowed
from convnet.layers.local import Local
from convnet.pages.filters import filters_figure, most_filters
from convnet.pages.parts import Html
from convnet.texts import counted, printable, times

_ROOM = 1 << 20  # bytes of all pictures of filters


class LayerFilters(NamedTuple):
    """Filters (C, k, k, F) that are shown, of ``total`` of ``layer``; ``what`` they are, in words."""

    layer: str
    what: str
    total: int
    filters: np.ndarray


def layer_filters(stored: Mapping[str, dict[str, Any]], graph: Graph, channels: int) -> Iterator[LayerFilters | str]:
    """Yield the filters of every layer, and a sentence where they cannot be shown.

    ``stored`` are the layers of a checkpoint; ``channels`` are those of pictures, 0 where the data are none.
    """
    shapes = shape_texts(graph)
    for name, layer in graph.layers.items():
        kept = stored.get(name, {})
        matrices = kept.get("weights")
        for i in range(len(matrices)) if isinstance(matrices, list | tuple) else ():
            maps = _maps_read(layer, i, shapes, channels)
            if isinstance(layer, Conv | Local) or maps:
                try:
                    yield _filters(layer, kept, i, maps)
                except ConvnetError as error:
                    yield f"{printable(name)}: {error}."


def _maps_read(layer: Layer, i: int, shapes: Mapping[str, str], channels: int) -> int:
    """Return how many square maps, larger than a pixel, a fully-connected layer reads as its input ``i``, or 0."""
    if layer.type != "fc" or i >= len(layer.sources):
        return 0
    source = layer.sources[i]
    maps = maps_of(source, shapes[source.name], channels)
    return maps if maps < source.outputs else 0


def _filters(layer: Layer, kept: dict[str, Any], i: int, maps: int) -> LayerFilters:
    """Return the filters of a layer for its input ``i``, as many as are shown; raises ``ConvnetError``."""
    weights = np.asarray(kept["weights"][i])
    shape, where = weights.shape, ""
    if len(shape) != 2 or not weights.size:
        raise ConvnetError(f"weights of shape {shape} are no filters")
    sizes = {}
    if isinstance(layer, Windowed):
        sizes = {"filterChannels": layer.filterChannels, "filterSize": layer.filterSize}
    C = maps or sizes["filterChannels"][i]
    if isinstance(layer, Local):
        rows = C * sizes["filterSize"][i] ** 2
        places = shape[0] // rows
        side = math.isqrt(places)
        place = side // 2 * side + side // 2 if side * side == places else places // 2
        weights = weights[place * rows : (place + 1) * rows]
        where = f" at the middle of {counted(places, 'place')}"
    k = math.isqrt(len(weights) // C)
    shown = weights[:, : most_filters(C, k)]
    part = kept | sizes | {"type": "fc" if maps else "conv", "weights": [*kept["weights"][:i], shown]}
    of_input = f" for its input {layer.sources[i].name}" if len(kept["weights"]) > 1 else ""
    what = f"{counted(shape[1], 'filter')} of {times(f'{C}x{k}x{k}')}{where}{of_input}"
    return LayerFilters(layer.name, what, shape[1], filters_of(part, i, maps))


def filter_figures(found: Sequence[LayerFilters | str]) -> tuple[list[Html], list[str]]:
    """Return a figure for each layer's filters, as far as there is room, and sentences on what is not shown."""
    shown, left = list[Html](), _ROOM
    notes = [each for each in found if isinstance(each, str)]
    crowded: list[str] = []
    for each in found:
        if isinstance(each, str):
            continue
        content = filters_figure(f"{each.layer}: {each.what}", each.filters, each.total) if left > 0 else Html("")
        left -= len(content)
        if content and left >= 0:
            shown.append(content)
        else:
            crowded.append(each.layer)
    if crowded:
        which = counted(len(crowded), "layer")
        notes.append(f"For want of room the filters of {which} are not shown, from {printable(crowded[0])} on.")
    return shown, notes
