"""Filters of a stored layer as one picture.

The layout is the originals': 16 in a row, one-pixel gaps, all scaled together to black and white.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convnet.errors import ConvnetError, OptionError

_PER_ROW = 16


_MOST = 16 * 24  # filters shown; the rest is left out


def filter_mosaic(filters: np.ndarray, color: bool) -> np.ndarray:
    """Filters (channels, k, k, count) as one picture: rows of them with one-pixel black gaps, values in 0 to 1.

    In ``color`` three channels make one coloured patch; else the channels of a filter stand side by side in grey.
    """
    channels, k, _, count = filters[..., :_MOST].shape
    per_row = _PER_ROW if color else max(1, math.ceil(_PER_ROW / channels))
    rows = math.ceil(count / per_row)
    wide = k if color else k * channels
    canvas = np.zeros((rows * (k + 1) + 1, per_row * (wide + 1) + 1, 3 if color else 1))
    for i in range(count):
        y, x = 1 + (i // per_row) * (k + 1), 1 + (i % per_row) * (wide + 1)
        patch = filters[..., i]
        flat = patch.transpose(1, 2, 0) if color else patch.transpose(1, 0, 2).reshape(k, wide)[..., None]
        canvas[y : y + k, x : x + wide] = flat
    return canvas


def filters_of(layer: dict[str, Any], index: int = 0, channels: int = 0, plane: int = 0) -> np.ndarray:
    """Weight matrix ``index`` of a stored layer as filters (channels, k, k, count).

    A local layer shows, for output map ``plane``, its filter at every position. A fully-connected layer needs
    ``channels`` to see its inputs as square maps. Raises ``ConvnetError`` where that is impossible.
    """
    name = layer["name"]
    matrices = layer.get("weights")
    if not isinstance(matrices, list) or not matrices:
        raise ConvnetError(f"layer '{name}' of type {layer['type']} has no weights to show")
    if not 0 <= index < len(matrices):
        raise OptionError(f"--input-idx {index}: layer '{name}' has {len(matrices)} weight matrices, counted from 0")
    weights = np.asarray(matrices[index], np.float64)
    if layer["type"] in ("conv", "local"):
        C, k = int(layer["filterChannels"][index]), int(layer["filterSize"][index])
        if layer["type"] == "conv":
            return weights.reshape(C, k, k, -1)
        places = weights.reshape(-1, C, k, k, weights.shape[1])  # w[m, c, ky, kx, f]
        if not 0 <= plane < places.shape[-1]:
            raise OptionError(f"--local-plane {plane}: layer '{name}' has {places.shape[-1]} maps, counted from 0")
        return places[..., plane].transpose(1, 2, 3, 0)
    side = math.isqrt(len(weights) // channels) if channels else 0
    if not channels or side * side * channels != len(weights):
        raise OptionError(f"layer '{name}' has {len(weights)} inputs: --channels must say how many square maps they are")
    return weights.reshape(channels, side, side, -1)


def normalise(filters: np.ndarray, each: bool = False) -> np.ndarray:
    """All filters scaled together to 0 to 1, or first each to mean 0 and variance 1."""
    if each:
        axes = (0, 1, 2)
        spread = filters.std(axis=axes, keepdims=True)
        filters = (filters - filters.mean(axis=axes, keepdims=True)) / np.where(spread > 0, spread, 1)
    low, high = filters.min(), filters.max()
    return (filters - low) / (high - low) if high > low else filters * 0 + 0.5
