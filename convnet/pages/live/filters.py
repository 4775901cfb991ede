"""Filters of the first layers of a run, taken from its net or from a checkpoint, and drawn small.

Letters: C channels, k side of a filter, F filters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convnet.drawing.filter_sheet import channel_rows, mosaic
from convnet.drawing.filters import PER_ROW, filters_of, first_filters, normalise
from convnet.errors import ConvnetError
from convnet.net.net import Net
from convnet.pages.parts import Html, element, figure, joined, picture
from convnet.pickles import text_of
from convnet.texts import counted

_BANKS = 2  # layers with filters, the first of the net; of two towers both
_MOST = 4 << 20  # weights of a layer that are copied
_ROWS = 8  # filters of many channels that are drawn
_TALL = 30  # pixels, about, of a filter of many channels
_WIDE = 640  # pixels, about, of the filters of few channels

Stored = dict[str, Any]  # a layer as checkpoints have it, as far as filters are concerned


class Bank(NamedTuple):
    """Stored layers with filters, more than one of a net with towers, and their common name."""

    name: str
    layers: Sequence[Stored]


def shown_banks(types: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Return the names of what is shown of layers, ``types`` by name, and of the layers that each is made of."""
    left = dict(types)
    banks: list[tuple[str, list[str]]] = []
    while len(banks) < _BANKS and (name := first_filters(left)):
        members = [other for other in left if name in (other, other[:-1]) and (name not in left or other == name)]
        banks.append((name, members))
        left = {other: kind for other, kind in left.items() if other not in members}
    return banks


class NetFilters:
    """Copies the filters of a net that is being trained, in the thread that trains it."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.banks = shown_banks({name: node.layer.type for name, node in net.nodes.items()})

    def copy(self) -> list[Bank]:
        """Return the filters as they are now; waits for what is being computed."""
        return [Bank(name, [found for member in members for found in self._stored(member)]) for name, members in self.banks]

    def _stored(self, name: str) -> Iterable[Stored]:
        node = self.net.nodes[name]
        weights = node.weights[0]
        if math.prod(weights.value.shape) <= _MOST:
            layer: Any = node.layer
            places = {key: list(getattr(layer, key)) for key in ("filterChannels", "filterSize")}
            values = node.be.download(weights.value)
            yield {"name": name, "type": layer.type, **places, "weights": [values.reshape(-1, values.shape[-1])]}


def banks_of(layers: Mapping[str, Stored]) -> list[Bank]:
    """Return copies of the filters of a checkpoint's layers, which hold nothing else of it."""
    types = {name: text_of(layer["type"]) for name, layer in layers.items()}
    return [Bank(name, [_kept(layers[member]) for member in members]) for name, members in shown_banks(types)]


def _kept(layer: Stored) -> Stored:
    kept = {key: layer[key] for key in ("name", "type", "filterChannels", "filterSize")}
    weights = layer.get("weights") or []
    return kept | {"weights": [np.array(matrix, np.float32) for matrix in weights[:1]]}


def filters_part(banks: Sequence[Bank], when: str) -> Html:
    """Return the filters as pictures, which were so ``when``."""
    return joined(_figure(bank, when) for bank in banks)


def _figure(bank: Bank, when: str) -> Html:
    try:
        parts = [filters_of({**layer, "type": text_of(layer["type"])}) for layer in bank.layers]
        filters = np.concatenate(parts, axis=-1)
    except (ConvnetError, ValueError) as error:
        return element("p", f"{bank.name}: {error}", class_="warn")
    C, k, _, F = filters.shape
    title = f"{bank.name}: {counted(F, 'filter')} of {C}x{k}x{k}, {when}"
    if C >= PER_ROW:
        image = channel_rows(filters[..., :_ROWS], [str(i) for i in range(F)], zoom=max(1, _TALL // k))
        how = f"The strongest channels of the first {min(F, _ROWS)}, numbered; each filter is scaled for itself."
        return figure(picture(image, title, is_photo=False), f"{title}. {how}")
    image = mosaic(normalise(filters), color=C == 3, zoom=1)
    low, high = (np.format_float_positional(value, 2, fractional=False) for value in (filters.min(), filters.max()))
    how = f"All are scaled together: {low} is black, {high} white."
    return figure(picture(image, title, scale=max(1, _WIDE // image.width)), f"{title}. {how}")
