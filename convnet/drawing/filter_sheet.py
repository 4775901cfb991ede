"""Filters with their numbers, at a size that can be seen: what ``convnet shownet --show-filters`` draws (io 7.3).

Few channels: the originals' mosaic, with the number of each filter above it. Many channels, which there would be rows of
grey: for each filter a row of its strongest channels, scaled for itself. Letters: C channels, k side of a filter, F filters.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from convnet.drawing.files import check_pixels
from convnet.drawing.filters import MOST, PER_ROW, WIDE, filter_patches, normalise
from convnet.drawing.sheet import DARK, Sheet, enlarged, headed

_STRIP = 16  # above a row, for numbers
_GUTTER, _GAP = 64, 8  # before a row of channels, and between them
_CHANNELS, _FILTERS = 16, 64  # of a layer of many channels


def filter_sheet(filters: np.ndarray, names: Sequence[str], title: str, color: bool, zoom: int = 0) -> Image.Image:
    """Return weights (C, k, k, F) as a sheet, ``names`` above or before the filters; ``zoom`` 0: what can be seen well."""
    C, _, _, F = filters.shape
    if not color and C >= PER_ROW:
        few = f"Filters 0 to {_FILTERS - 1}. " if F > _FILTERS else ""
        which = f"{few}Of each its {min(C, _CHANNELS)} strongest channels, numbered, the strongest first"
        caption = f"{which}; each filter is scaled for itself: 0 is grey, its largest weight black or white."
        return headed(channel_rows(filters, names, zoom), title, caption, DARK)
    body = mosaic(normalise(filters), color, names, zoom)
    few = f"Filters 0 to {MOST - 1}. " if F > MOST else ""
    caption = f"{few}All filters are scaled together: {filters.min():.3g} is black, {filters.max():.3g} white."
    return headed(body, title, caption, DARK)


def mosaic(filters: np.ndarray, color: bool, names: Sequence[str] = (), zoom: int = 0) -> Image.Image:
    """Return filters of values from 0 to 1 in the originals' order and gaps, each with its name above it, if any."""
    patches, per_row = filter_patches(filters, color)
    count, H, W, _ = patches.shape
    wide, rows = per_row * (W + 1) + 1, math.ceil(count / per_row)
    zoom, strip = zoom or max(1, WIDE // wide), _STRIP if names else 0
    check_pixels(wide, rows * (H + 1) + 1, zoom)
    pitch = (H + 1) * zoom + strip
    sheet = Sheet(wide * zoom, rows * pitch + zoom, DARK)
    for i, patch in enumerate(patches):
        x, y = zoom + (i % per_row) * (W + 1) * zoom, zoom + strip + (i // per_row) * pitch
        if names:
            sheet.write((x, y - 3), names[i], 12, "ls", color=DARK.faint, width=W * zoom)
        sheet.paste(enlarged(patch, zoom), x, y)
    return sheet.image


def channel_rows(filters: np.ndarray, names: Sequence[str], zoom: int = 0) -> Image.Image:
    """Return of each filter its strongest channels, the strongest first, with their numbers; two filters in a row."""
    C, k, _, F = filters.shape
    across, count = min(C, _CHANNELS), min(F, _FILTERS)
    zoom = zoom or max(1, ((WIDE // 2 - _GUTTER) // _CHANNELS - _GAP) // k)
    check_pixels(2 * across * k, math.ceil(count / 2) * k, zoom)
    step, pitch = max(k * zoom, 20) + _GAP, k * zoom + _STRIP
    sheet = Sheet(2 * (_GUTTER + across * step), math.ceil(count / 2) * pitch + _GAP, DARK)
    for f in range(count):
        x, y = (f % 2) * (_GUTTER + across * step) + _GUTTER, (f // 2) * pitch + _STRIP
        strengths = np.square(filters[..., f]).sum(axis=(1, 2))
        largest = float(np.abs(filters[..., f]).max())
        sheet.write((x - 8, y), names[f], 14, "ra")
        sheet.write((x - 8, y + 17), f"±{largest:.2g}", 10, "ra", color=DARK.faint)
        for place, c in enumerate(np.argsort(-strengths, kind="stable")[:across]):
            values = 0.5 + filters[c, :, :, f, None] / (2 * largest or 1)
            sheet.write((x + place * step, y - 2), str(c), 10, "ls", color=DARK.faint)
            sheet.paste(enlarged(values, zoom), x + place * step, y)
    return sheet.image
