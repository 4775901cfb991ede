"""Filters of a stored layer, as patches of a picture (io 7.3), which ``filter_sheet.py`` draws.

Letters: C channels, k side of a filter, F filters.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from convnet.errors import ConvnetError, OptionError

WIDE = 1600  # pixels
PER_ROW = 16
MOST = 16 * 24  # in one picture; the rest is left out


def filter_patches(filters: np.ndarray, color: bool, per_row: int = PER_ROW) -> tuple[np.ndarray, int]:
    """Return filters (C, k, k, F) as patches (F, height, width, 1 or 3), and how many of them stand in a row.

    In ``color`` three channels make one coloured patch, and ``per_row`` stand in a row; else the channels of a filter
    stand side by side in grey, so many in a row as channels make that. No more than 24 such rows are taken.
    """
    C, k, _, _ = filters.shape
    filters = filters[..., : max(MOST, per_row**2)]
    if color:
        return filters.transpose(3, 1, 2, 0), per_row  # patch[f, y, x, c]
    return filters.transpose(3, 1, 0, 2).reshape(-1, k, C * k, 1), max(1, math.ceil(per_row / C))  # [f, y, (c, x)]


def first_filters(types: Mapping[str, str]) -> str:
    """Return the first layer with filters, of ``types`` by name; of two towers the name of both; ``""`` if there is none."""
    first = next((name for name, kind in types.items() if kind in ("conv", "local")), "")
    return first[:-1] if first[1:].endswith("a") and f"{first[:-1]}b" in types else first


def towers_of(names: Iterable[str], name: str) -> list[str]:
    """Return the layers called ``name`` with a letter behind, such as conv1a and conv1b of two towers, in that order."""
    return sorted(other for other in names if other[:-1] == name and other[-1].isalpha())


def filters_of(layer: dict[str, Any], index: int = 0, channels: int = 0, plane: int = 0) -> np.ndarray:
    """Return weight matrix ``index`` of a stored layer as filters (C, k, k, F).

    A local layer shows, for output map ``plane``, its filter at every position. A fully-connected layer needs
    ``channels`` to see its inputs as square maps. Raises ``ConvnetError`` where that is impossible.
    """
    name = layer["name"]
    matrices = layer.get("weights")
    if not isinstance(matrices, list | tuple) or not matrices:
        raise ConvnetError(f"layer '{name}' of type {layer['type']} has no weights to show")
    if not 0 <= index < len(matrices):
        raise OptionError(f"--input-idx {index}: layer '{name}' has {len(matrices)} weight matrices, counted from 0")
    weights = np.asarray(matrices[index], np.float64)
    if not np.isfinite(weights).all():
        raise ConvnetError(f"layer '{name}': weights[{index}] are not all finite numbers, so there is nothing to show")
    if layer["type"] in ("conv", "local"):
        known = min(len(layer["filterChannels"]), len(layer["filterSize"])) > index
        C, k = (int(layer[key][index]) if known else 0 for key in ("filterChannels", "filterSize"))
        if (
            not known
            or not weights.size
            or len(weights) % (C * k * k)
            or (layer["type"] == "conv" and len(weights) != C * k * k)
        ):
            text = f"weights[{index}] of shape {weights.shape} are not filters of {C} channels and size {k}"
            raise ConvnetError(f"layer '{name}': {text}")
        if layer["type"] == "conv":
            return weights.reshape(C, k, k, -1)
        places = weights.reshape(-1, C, k, k, weights.shape[1])  # w[m, c, ky, kx, f]
        if not 0 <= plane < places.shape[-1]:
            raise OptionError(f"--local-plane {plane}: layer '{name}' has {places.shape[-1]} maps, counted from 0")
        return places[..., plane].transpose(1, 2, 3, 0)
    side = math.isqrt(len(weights) // channels) if channels else 0
    if not channels or not weights.size or side * side * channels != len(weights):
        raise OptionError(f"layer '{name}' has {len(weights)} inputs: --channels must say how many square maps they are")
    return weights.reshape(channels, side, side, -1)


def strongest(kernel: np.ndarray, count: int) -> list[tuple[int, np.ndarray]]:
    """Return the ``count`` strongest channels of a filter (C, k, k), the strongest first: numbers and values (k, k, 1).

    They are scaled together to 0 to 1, so that a weight of 0 is 0.5.
    """
    largest = np.abs(kernel).max() or 0.5
    order = np.argsort(-np.square(kernel).sum(axis=(1, 2)), kind="stable")[:count]
    return [(int(c), 0.5 + kernel[c, :, :, None] / (2 * largest)) for c in order]


def standardised(filters: np.ndarray) -> np.ndarray:
    """Scale each filter of (C, k, k, F) to mean 0 and variance 1."""
    axes = (0, 1, 2)
    deviation = filters.std(axis=axes, keepdims=True)
    return (filters - filters.mean(axis=axes, keepdims=True)) / np.where(deviation > 0, deviation, 1)


def normalise(filters: np.ndarray) -> np.ndarray:
    """Scale all filters together to 0 to 1."""
    return scale(filters, 0.5)


def scale(values: np.ndarray, constant: float) -> np.ndarray:
    """Scale values to 0 to 1, or to ``constant`` where all are the same."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full_like(values, constant)
