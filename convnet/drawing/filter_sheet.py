"""Filters with their numbers, at a size that can be seen: what ``convnet shownet --show-filters`` draws (io 7.3).

Few channels: the originals' mosaic, with the number of each filter above it. Many channels, which there would be rows of
grey: a row of channels for each filter, scaled for itself around 0. Letters: C channels, k side of a filter, F filters.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from convnet.drawing.files import check_pixels
from convnet.drawing.filters import PER_ROW, WIDE, filter_patches, fitting_zoom, normalise
from convnet.drawing.sheet import DARK, Sheet, enlarged, headed

_STRIP = 16  # above a row, for numbers
_GUTTER = 64  # before a row of channels
_ACROSS = 64  # channels side by side, and filters below each other


def filter_sheet(filters: np.ndarray, names: Sequence[str], title: str, color: bool, zoom: int = 0) -> Image.Image:
    """Return weights (C, k, k, F) as a sheet, ``names`` above or before the filters; ``zoom`` 0: what can be seen well."""
    C, _, _, F = filters.shape
    if not color and C >= PER_ROW:
        body, shown = channel_rows(filters, names, zoom)
        few = f"; {shown}" if shown else ""
        return headed(body, title, f"Each filter is scaled for itself: 0 is grey, its largest weight black or white{few}.", DARK)
    body = numbered_mosaic(normalise(filters), names, color, zoom)
    low, high = filters.min(), filters.max()
    left_out = f"; {len(names)} of {F} filters" if len(names) < F else ""
    return headed(body, title, f"All filters are scaled together: {low:.3g} is black, {high:.3g} white{left_out}.", DARK)


def numbered_mosaic(filters: np.ndarray, names: Sequence[str], color: bool, zoom: int = 0) -> Image.Image:
    """Return filters of values from 0 to 1 in the originals' order and gaps, each with its name above it."""
    patches, per_row = filter_patches(filters, color)
    count, H, W, _ = patches.shape
    wide, rows = per_row * (W + 1) + 1, math.ceil(count / per_row)
    zoom = zoom or fitting_zoom(wide)
    check_pixels(wide, rows * (H + 1) + 1, zoom)
    sheet = Sheet(wide * zoom, rows * (H * zoom + _STRIP + zoom), DARK)
    for i, (patch, name) in enumerate(zip(patches, names, strict=False)):
        x, y = zoom + (i % per_row) * (W + 1) * zoom, _STRIP + (i // per_row) * (H * zoom + _STRIP + zoom)
        sheet.write((x, y - 3), name, 12, "ls", color=DARK.faint, width=W * zoom)
        sheet.paste(enlarged(patch, zoom), x, y)
    return sheet.image


def channel_rows(filters: np.ndarray, names: Sequence[str], zoom: int = 0) -> tuple[Image.Image, str]:
    """Return a row of channels for each filter, numbered, and words on what is left out, if anything is.

    Filters of few channels stand in several columns.
    """
    C, k, _, F = filters.shape
    columns = max(1, _ACROSS // C)
    shown, count = min(C, _ACROSS), min(F, _ACROSS * columns, len(names))
    zoom = zoom or max(1, (WIDE - columns * _GUTTER) // (columns * shown * (k + 1)))
    step, rows = (k + 1) * zoom, math.ceil(count / columns)
    block = _GUTTER + shown * step
    check_pixels(columns * shown * (k + 1), rows * (k + 1), zoom)
    pitch = max(step, 28)  # room for two lines
    sheet = Sheet(columns * block, _STRIP + rows * pitch + zoom, DARK)
    every = next(n for n in (1, 2, 4, 8, 16, 32, 64) if n * step >= 22 or n == _ACROSS)
    for column in range(min(columns, count)):
        for c in range(0, shown, every):
            sheet.write((column * block + _GUTTER + c * step, _STRIP - 3), str(c), 10, "ls", color=DARK.faint)
    for f in range(count):
        x, y = (f % columns) * block, _STRIP + (f // columns) * pitch
        largest = float(np.abs(filters[..., f]).max())
        sheet.write((x + _GUTTER - 8, y), names[f], 12, "ra")
        sheet.write((x + _GUTTER - 8, y + 14), f"±{largest:.2g}", 10, "ra", color=DARK.faint)
        for c in range(shown):
            values = 0.5 + filters[c, :, :, f, None] / (2 * largest or 1)
            sheet.paste(enlarged(values, zoom), x + _GUTTER + c * step, y)
    parts = [f"channels 0 to {shown - 1} of {C}"] * (shown < C) + [f"filters 0 to {count - 1} of {F}"] * (count < F)
    return sheet.image, ", ".join(parts)
