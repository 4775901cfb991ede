"""What a layer makes of test cases, as a sheet: a row for each, which begins with its picture (io 7.5).

    convnet shownet --load-file CHECKPOINT --show-maps conv1 --data-path DIR

Letters: N cases, M maps, S side of a map; H, W, C height, width and channels of a picture.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from convnet.drawing.files import check_pixels
from convnet.drawing.filters import WIDE, scale
from convnet.drawing.samples import TestSet, chosen_name
from convnet.drawing.sheet import DARK, Sheet, enlarged, headed, resized
from convnet.errors import OptionError
from convnet.layers.data import Data
from convnet.training.evaluator import output_layer

_CASES, _MAPS = 12, 16
_GAP, _RANGE, _LARGEST = 8, 16, 160


class FeatureMaps(NamedTuple):
    """``maps`` (N, M, S, S) of ``layer``, whose ``numbers`` of ``total`` these are; ``pictures`` (N, H, W, C), if any."""

    layer: str
    total: int
    numbers: Sequence[int]
    maps: np.ndarray
    pictures: np.ndarray | None


def feature_maps(tests: TestSet, layer: str = "", numbers: Sequence[int] = (), seed: int = 0) -> FeatureMaps:
    """Return the maps ``numbers`` of ``layer``, or sixteen drawn by ``seed``, behind its neuron, for twelve test cases.

    ``""`` is the first layer behind the data that has maps. Raises ``ConvnetError``.
    """
    graph = tests.net.graph
    maps = {name: known.maps for name, known in graph.layers.items() if known.maps}
    name = chosen_name(layer, sorted(maps, key=lambda name: isinstance(graph.layers[name], Data)), "layer of maps")
    C, S = maps[name]
    numbers = chosen_maps(name, C, numbers, seed)
    data, values = tests.outputs([tests.data_layer(), output_layer(graph, name)], _CASES)  # as its consumers see it
    shown = values.reshape(C, S, S, -1)[numbers].transpose(3, 0, 1, 2)  # [n, m, y, x]
    pictures = tests.provider.images(data) if tests.provider.cropper else None
    return FeatureMaps(name, C, numbers, shown, pictures)


def chosen_maps(layer: str, total: int, numbers: Sequence[int], seed: int) -> list[int]:
    """Return the maps asked for, each once, or some drawn by ``seed``; raises ``OptionError``."""
    asked = list(dict.fromkeys(numbers))
    if not asked:
        return sorted(map(int, np.random.default_rng(seed).choice(total, min(_MAPS, total), replace=False)))
    if wrong := [number for number in asked if number >= total]:
        raise OptionError(f"--maps {wrong[0]}: layer '{layer}' has {total} maps, counted from 0")
    if len(asked) > _MAPS:
        raise OptionError(f"--maps: {len(asked)} maps are more than a picture holds; at most {_MAPS}")
    return asked


def map_sheet(shown: FeatureMaps, zoom: int = 0) -> Image.Image:
    """Return the sheet of maps, each scaled for itself, ``zoom`` pixels for each value; 0: what can be seen well."""
    N, M, S, _ = shown.maps.shape
    before = shown.pictures is not None
    zoom = zoom or max(1, min(_LARGEST, WIDE // (M + before) - _GAP) // S)
    check_pixels((M + before) * S, N * S, zoom)
    side = S * zoom
    across, down = max(side, 64) + _GAP, side + _RANGE + _GAP
    sheet = Sheet((M + before) * across + _GAP, N * down + _RANGE + _GAP, DARK)
    for m, number in enumerate(shown.numbers):
        sheet.write((_GAP + (m + before) * across, _RANGE - 3), f"map {number}", 12, "ls", width=across)
    for n in range(N):
        y = _RANGE + n * down
        if shown.pictures is not None:
            sheet.paste(resized(shown.pictures[n], side), _GAP, y)
        for m in range(M):
            x, values = _GAP + (m + before) * across, shown.maps[n, m]
            sheet.paste(enlarged(scale(values, 0)[..., None], zoom), x, y)
            words = f"{_short(values.min())} to {_short(values.max())}"
            sheet.write((x, y + side + 2), words, 10, color=DARK.faint, width=across)
    title = f"{shown.layer}: {M} of {shown.total} maps of {S}x{S}, for {N} test cases"
    caption = "Each map is scaled for itself: of the values below it the least is black, the largest white."
    return headed(sheet.image, title, caption, DARK)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
