"""Filters of every layer that has them, a weight a pixel, and how those of the first layers came to be.

Letters: C channels, k side of a filter, F filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from convnet.drawing.banks import maps_of
from convnet.drawing.filter_sheet import mosaic
from convnet.drawing.filters import MOST, PER_ROW, filters_of, normalise
from convnet.drawing.picture import times
from convnet.drawing.sheet import enlarged
from convnet.errors import ConvnetError
from convnet.graph.analysis import shape_texts
from convnet.graph.graph import Graph
from convnet.layers import Layer
from convnet.layers.conv import Conv, Windowed
from convnet.layers.local import Local
from convnet.pages.parts import Html, figure, html, picture
from convnet.texts import counted, printable

_WIDE, _LARGEST = 1000, 8  # pixels of a picture as it is shown, and of a weight in it
_FILTERS, _STRONGEST, _BLOCKS = 64, 16, 4  # of layers of many channels: filters, channels of each, and columns of filters
_PIXELS = 1 << 18  # of one layer
_ROOM = 1 << 20  # bytes of all pictures of filters


class Bank(NamedTuple):
    """Filters (C, k, k, F) that are shown, of ``total`` of ``layer``; ``what`` they are, in words."""

    layer: str
    what: str
    total: int
    filters: np.ndarray

    @property
    def in_color(self) -> bool:
        """Whether its channels are red, green and blue."""
        return len(self.filters) == 3

    @property
    def has_many_channels(self) -> bool:
        """Whether only the strongest channels of each filter are shown."""
        return len(self.filters) >= PER_ROW


def banks(stored: Mapping[str, dict[str, Any]], graph: Graph, channels: int) -> Iterator[Bank | str]:
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
                    yield _bank(layer, kept, i, maps)
                except ConvnetError as error:
                    yield f"{printable(name)}: {error}."


def _maps_read(layer: Layer, i: int, shapes: Mapping[str, str], channels: int) -> int:
    """Return how many square maps, larger than a pixel, a fully-connected layer reads as its input ``i``, or 0."""
    if layer.type != "fc" or i >= len(layer.sources):
        return 0
    source = layer.sources[i]
    maps = maps_of(source, shapes[source.name], channels)
    return maps if maps < source.outputs else 0


def _bank(layer: Layer, kept: dict[str, Any], i: int, maps: int) -> Bank:
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
    fitting = max(1, _PIXELS // (min(C, _STRONGEST) * (k + 1) ** 2))
    most = min(MOST if C < PER_ROW else _FILTERS, fitting)
    part = kept | sizes | {"type": "fc" if maps else "conv", "weights": [*kept["weights"][:i], weights[:, :most]]}
    of_input = f" for its input {layer.sources[i].name}" if len(kept["weights"]) > 1 else ""
    what = f"{counted(shape[1], 'filter')} of {times(f'{C}x{k}x{k}')}{where}{of_input}"
    return Bank(layer.name, what, shape[1], filters_of(part, i, maps))


def bank_image(bank: Bank) -> Image.Image:
    """Return the filters as an image of a pixel for each weight, with gaps of one between them."""
    if not bank.has_many_channels:
        return mosaic(normalise(bank.filters), bank.in_color, zoom=1)
    return strongest_channels(bank.filters)


def strongest_channels(filters: np.ndarray) -> Image.Image:
    """Return filters of many channels as rows of their strongest, the strongest first, in columns of as many filters.

    Each filter is scaled for itself: 0 is grey, its largest weight black or white.
    """
    C, k, _, F = filters.shape
    across, rows, pitch = min(C, _STRONGEST), math.ceil(F / _BLOCKS), k + 1
    wide = across * pitch + 3
    sheet = Image.new("L", (_BLOCKS * wide - 3 + 1, rows * pitch + 1))
    for f in range(F):
        strengths = np.square(filters[..., f]).sum(axis=(1, 2))
        largest = float(np.abs(filters[..., f]).max())
        x, y = f // rows * wide + 1, f % rows * pitch + 1
        for place, c in enumerate(np.argsort(-strengths, kind="stable")[:across]):
            patch = enlarged(0.5 + filters[c, :, :, f, None] / (2 * largest or 1), 1)
            sheet.paste(patch, (x + place * pitch, y))
    return sheet


def scale_of(image: Image.Image) -> int:
    """Return how many times as large an image of weights is shown."""
    return max(1, min(_LARGEST, _WIDE // image.width))


def filter_figures(found: Sequence[Bank | str]) -> tuple[list[Html], list[str]]:
    """Return a figure for each layer's filters, as far as there is room, and sentences on what is not shown."""
    shown, notes, left = [], [], _ROOM
    crowded: list[str] = []
    for bank in found:
        if isinstance(bank, str):
            notes.append(bank)
            continue
        image = bank_image(bank) if left > 0 else None
        content = picture(image, f"{bank.layer}: {bank.what}, as pictures", scale_of(image)) if image else ""
        left -= len(content)
        if not image or left < 0:
            crowded.append(bank.layer)
            continue
        shown.append(figure(content, _caption(bank)))
    if crowded:
        which = counted(len(crowded), "layer")
        notes.append(f"For want of room the filters of {which} are not shown, from {printable(crowded[0])} on.")
    return shown, notes


def _caption(bank: Bank) -> Html:
    F = bank.filters.shape[-1]
    few = f", of which the first {F} are shown" if bank.total > F else ""
    if bank.has_many_channels:
        order = (
            f"A row for each filter, in {_BLOCKS} columns, with the strongest {min(len(bank.filters), _STRONGEST)} of its "
            "channels, the strongest first; each filter is scaled for itself: 0 is grey, its largest weight black or white."
        )
    else:
        low, high = bank.filters.min(), bank.filters.max()
        beside = "" if bank.in_color or len(bank.filters) == 1 else ", its channels side by side"
        order = f"From left to right, then down{beside}. All are scaled together: {low:.3g} is black, {high:.3g} white."
    return html(f"{bank.layer}: {bank.what}{few}. {order}")
