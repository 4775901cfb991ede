"""Filters of the first layers of a run, taken from its net or from a checkpoint, and drawn small.

Letters: C channels, k side of a filter, F filters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from convnet.drawing.filters import filters_of, first_filters
from convnet.errors import ConvnetError
from convnet.net.net import Net
from convnet.pages.filters import filters_figure, most_filters
from convnet.pages.parts import Html, element, joined
from convnet.pickles import text_of
from convnet.texts import counted

_SHOWN = 2  # layers with filters, the first of the net; of two towers both
_MOST = 4 << 20  # weights of a layer that are copied

Stored = dict[str, Any]  # a layer as checkpoints have it, as far as filters are concerned


class LiveFilters(NamedTuple):
    """Stored layers with filters, more than one of a net with towers, and their common name."""

    name: str
    layers: Sequence[Stored]


def shown_layers(types: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Return the names of what is shown of layers, ``types`` by name, and of the layers that each is made of."""
    left = dict(types)
    found: list[tuple[str, list[str]]] = []
    while len(found) < _SHOWN and (name := first_filters(left)):
        members = [other for other in left if name in (other, other[:-1]) and (name not in left or other == name)]
        found.append((name, members))
        left = {other: kind for other, kind in left.items() if other not in members}
    return found


class NetFilters:
    """Copies the filters of a net that is being trained, in the thread that trains it."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.names = shown_layers({name: node.layer.type for name, node in net.nodes.items()})

    def copy(self) -> list[LiveFilters]:
        """Return the filters as they are now; waits for what is being computed."""
        return [LiveFilters(name, list(chain.from_iterable(map(self._stored, members)))) for name, members in self.names]

    def _stored(self, name: str) -> Iterable[Stored]:
        node = self.net.nodes[name]
        weights = node.weights[0]
        if math.prod(weights.value.shape) <= _MOST and not node.be.is_remote:
            layer: Any = node.layer
            places = {key: list(getattr(layer, key)) for key in ("filterChannels", "filterSize")}
            values = node.be.download(weights.value)
            yield {"name": name, "type": layer.type, **places, "weights": [values.reshape(-1, values.shape[-1])]}


def stored_filters(layers: Mapping[str, Stored]) -> list[LiveFilters]:
    """Return copies of the filters of a checkpoint's layers, which hold nothing else of it."""
    types = {name: text_of(layer["type"]) for name, layer in layers.items()}
    return [LiveFilters(name, [_kept(layers[member]) for member in members]) for name, members in shown_layers(types)]


def _kept(layer: Stored) -> Stored:
    kept = {key: layer[key] for key in ("name", "type", "filterChannels", "filterSize")}
    weights = layer.get("weights") or []
    return kept | {"weights": [np.array(matrix, np.float32) for matrix in weights[:1]]}


def filters_part(shown: Sequence[LiveFilters], when: str) -> Html:
    """Return the filters as pictures, which were so ``when``."""
    return joined(_figure(each, when) for each in shown)


def _figure(each: LiveFilters, when: str) -> Html:
    try:
        parts = [filters_of({**layer, "type": text_of(layer["type"])}) for layer in each.layers]
        filters = np.concatenate(parts, axis=-1)
    except (ConvnetError, ValueError) as error:
        return element("p", f"{each.name}: {error}", class_="warn")
    C, k, _, F = filters.shape
    what = f"{each.name}: {counted(F, 'filter')} of {C}x{k}x{k}, {when}"
    return filters_figure(what, filters[..., : most_filters(C, k)], F)
