"""The test pictures that excite a map most, cut to what its strongest output sees (``convnet shownet --top-patches``).

All test batches are gone through; of each map no more is kept than is shown. Letters: N cases, C maps, S side of a map,
M maps shown, H side of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from convnet.data.provider import first_synonyms
from convnet.drawing.maps import chosen_maps
from convnet.drawing.samples import TestSet, chosen_name
from convnet.errors import ConvnetError
from convnet.graph.analysis import Sight, sights
from convnet.graph.graph import Graph
from convnet.layers.data import Data
from convnet.training.evaluator import output_layer

PATCHES = 9
OUTSIDE = (51, 69, 97)  # colour of what lies beside the picture


class Patch(NamedTuple):
    """What a map's output of ``value`` sees, (H, W, 3) bytes: of case ``case`` of batch ``batch``, at (row, column)."""

    value: float
    batch: int
    case: int
    place: tuple[int, int]
    pixels: np.ndarray


@dataclass
class TopPatches:
    """The strongest ``patches`` of each of ``numbers``, of the maps of ``layer`` called ``names``, among ``cases`` cases.

    ``sight`` is what an output sees; ``None``: the whole picture, since it has no place or sees at least as much.
    """

    layer: str
    names: Sequence[str]
    numbers: list[int]
    sight: Sight | None
    cases: int = 0
    patches: list[list[Patch]] = field(default_factory=list)


def top_patches(tests: TestSet, layer: str = "", numbers: Sequence[int] = (), seed: int = 0) -> TopPatches:
    """Return of each map its strongest output in each of the nine pictures that excite it most, the strongest first.

    A picture by which a map is the same everywhere, such as 0 behind relu, excites it nowhere, and is left out.
    ``numbers`` are up to sixteen maps, by default such as ``seed`` draws. ``""`` is the first layer behind the data that
    has maps; a name without its letter stands for all towers, whose maps are counted on. Of a layer that has no maps, each
    output is one. Raises ``ConvnetError``.
    """
    graph = tests.net.graph
    towers = _towers(graph, layer)
    name = layer or towers[0]
    if tests.provider.cropper is None:
        raise ConvnetError(f"the data of '{tests.provider.name}' are not pictures, of which patches could be shown")
    names = _names(graph, towers, name, tests.provider.label_names)
    sight = _part(sights(graph)[towers[0]], tests.provider.cropper.size)
    found = TopPatches(name, names, chosen_maps(name, len(names), numbers, seed), sight)
    found.patches = [[] for _ in found.numbers]
    _, S = graph.layers[towers[0]].maps or (0, 1)
    kept = [output_layer(graph, tower) for tower in towers]  # behind the neuron, as its consumers see it
    for number in tests.numbers or [tests.number]:
        first = 0
        for data, *values in tests.passes([tests.data_layer(), *kept], number):
            maps = np.concatenate(values).reshape(len(names), S * S, -1)[found.numbers]  # [m, place, n]
            _take(found, tests, maps, data, number, first, S)
            first += data.shape[1]
        found.cases += first
    return found


def _towers(graph: Graph, name: str) -> list[str]:
    """Return the layer called ``name``, or the first, or those called ``name`` with a letter behind where they are alike."""
    known = [other for other, layer in graph.layers.items() if not layer.is_cost and not isinstance(layer, Data)]
    towers = sorted(other for other in known if other[:-1] == name and other[-1].isalpha())
    seen = sights(graph)
    if name and name not in known and len({(graph.layers[tower].maps, seen[tower]) for tower in towers}) == 1:
        return towers
    return [chosen_name(name, sorted(known, key=lambda other: not graph.layers[other].maps), "layer")]


def _names(graph: Graph, towers: Sequence[str], name: str, classes: Sequence[str]) -> list[str]:
    """Return what each map of all towers is called; an output that tells a class, as that is."""
    layers = [graph.layers[tower] for tower in towers]
    if not layers[0].maps and len(towers) == 1 and layers[0].outputs == len(classes):
        return first_synonyms(classes)
    return [
        f"map {layer.name[len(name) :]}{i}" if layer.maps else f"output {layer.name[len(name) :]}{i}"
        for layer in layers
        for i in range(layer.maps[0] if layer.maps else layer.outputs)
    ]


def _part(sight: Sight | None, side: int) -> Sight | None:
    """Return what an output sees, if that is a part of a picture of ``side``."""
    return sight if sight and sight.start and sight.size < side else None


def _take(found: TopPatches, tests: TestSet, maps: np.ndarray, data: np.ndarray, batch: int, first: int, side: int) -> None:
    """Keep what is stronger than the weakest kept, of the minibatch of ``batch`` that begins with case ``first``."""
    places = maps.argmax(axis=1)  # [m, n], one for each picture
    values = np.take_along_axis(maps, places[:, None], axis=1)[:, 0]
    stands_out = (values > maps.min(axis=1)) | (side == 1)
    for m, kept in enumerate(found.patches):
        weakest = kept[-1].value if len(kept) == PATCHES else -np.inf
        stronger = np.flatnonzero(stands_out[m] & (values[m] > weakest))
        for n in stronger[np.argsort(-values[m, stronger], kind="stable")[:PATCHES]]:
            place = divmod(int(places[m, n]), side)
            [picture] = tests.provider.images(np.ascontiguousarray(data[:, n : n + 1]))
            picture = np.round(255 * picture).astype(np.uint8)
            pixels = cut(picture, found.sight.place(*place), found.sight.size) if found.sight else _colored(picture)
            kept.append(Patch(float(values[m, n]), batch, first + int(n), place, pixels))
        kept.sort(key=lambda patch: -patch.value)  # stable, so that of equal ones the first stays
        del kept[PATCHES:]


def cut(picture: np.ndarray, place: tuple[int, int], size: int) -> np.ndarray:
    """Return the square of ``size`` that begins at ``place`` (down, right) of a picture (H, W, 1 or 3), in colour.

    What lies beside the picture has a colour of its own.
    """
    top, left = place
    patch = np.tile(np.array(OUTSIDE, picture.dtype), (size, size, 1))
    inside = _colored(picture)[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
    down, right = max(-top, 0), max(-left, 0)
    patch[down : down + inside.shape[0], right : right + inside.shape[1]] = inside
    return patch


def _colored(picture: np.ndarray) -> np.ndarray:
    return np.broadcast_to(picture, (*picture.shape[:2], 3)) if picture.shape[2] == 1 else picture
