"""Filters with their numbers, at a size that can be seen: what ``convnet shownet --show-filters`` draws (io 7.3).

Few channels: the originals' mosaic, with the number of each filter above it. Many channels, which there would be rows of
grey: for each filter a row of its strongest channels, scaled for itself. Towers stand above each other, as in the paper's
Figure 3. Letters: C channels, k side of a filter, F filters.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from convnet.drawing.filter_banks import FilterBank
from convnet.drawing.filters import MOST, PER_ROW, WIDE, filter_patches, normalise, strongest
from convnet.drawing.sheet import DARK, Sheet, check_pixels, enlarged, headed
from convnet.texts import counted

_STRIP = 16  # above a row, for numbers
_GUTTER, _GAP = 64, 8  # before a row of channels, and between them
_CHANNELS, _FILTERS = 16, 64  # of a layer of many channels
_TOWER = 44  # above each tower, for its name


def filter_sheet(banks: Sequence[FilterBank], title: str, color: bool, zoom: int = 0) -> Image.Image:
    """Return the filters of one layer, or of its towers, as a sheet; ``zoom`` 0: what can be seen well."""
    C = len(banks[0].filters)
    if not color and C >= PER_ROW:
        most = _FILTERS // len(banks)
        bodies = [channel_rows(bank, most, zoom) for bank in banks]
        which = f"{_few(banks, most)}Of each its {min(C, _CHANNELS)} strongest channels, the strongest first"
        which += ", with the number of the map that it reads"
        caption = f"{which}; each filter is scaled for itself: 0 is grey, its largest weight black or white."
        return headed(in_towers(bodies, banks), title, caption, DARK)
    most = MOST // len(banks)
    scaled, low, high = _scaled(banks)
    bodies = [mosaic(part[..., :most], color, bank.names, zoom) for part, bank in zip(scaled, banks, strict=True)]
    caption = f"{_few(banks, most)}All filters are scaled together: {low:.3g} is black, {high:.3g} white."
    return headed(in_towers(bodies, banks), title, caption, DARK)


def plain_sheet(banks: Sequence[FilterBank], color: bool, zoom: int = 0) -> Image.Image:
    """Return what the originals drew: no words, and of a local layer as many filters in a row as places."""
    per_row = banks[0].modules or PER_ROW
    parts = [mosaic(part, color, zoom=zoom, per_row=per_row) for part in _scaled(banks)[0]]
    border = parts[0].width // _wide(banks[0].filters, color, per_row)  # which neighbours share
    sheet = Sheet(parts[0].width, sum(part.height - border for part in parts) + border, DARK)
    y = 0
    for part in parts:
        sheet.paste(part, 0, y)
        y += part.height - border
    return sheet.image


def _scaled(banks: Sequence[FilterBank]) -> tuple[list[np.ndarray], float, float]:
    """Return the filters of all banks, scaled together to 0 to 1, and what is 0 and 1 there."""
    filters = np.concatenate([bank.filters for bank in banks], axis=-1)
    ends = np.cumsum([bank.filters.shape[-1] for bank in banks])[:-1]
    return np.split(normalise(filters), ends, axis=-1), float(filters.min()), float(filters.max())


def _few(banks: Sequence[FilterBank], most: int) -> str:
    """Say that not all filters are shown, if so."""
    each = " of each tower" if len(banks) > 1 else ""
    return f"Filters 0 to {most - 1}{each}. " if max(bank.filters.shape[-1] for bank in banks) > most else ""


def in_towers(bodies: Sequence[Image.Image], banks: Sequence[FilterBank]) -> Image.Image:
    """Return the pictures of towers above each other, each below its name; that of a single layer as it is."""
    if len(bodies) == 1:
        return bodies[0]
    sheet = Sheet(max(body.width for body in bodies), sum(body.height + _TOWER for body in bodies), DARK)
    y = 0
    for body, bank in zip(bodies, banks, strict=True):
        words = f"{bank.name}: {counted(bank.filters.shape[-1], 'filter')} on '{bank.source}'"
        sheet.write((12, y + _TOWER - 10), words, 16, "ls", width=body.width - 24)
        sheet.paste(body, 0, y + _TOWER)
        y += body.height + _TOWER
    return sheet.image


def _wide(filters: np.ndarray, color: bool, per_row: int) -> int:
    """Return the width of a mosaic, in weights."""
    patches, per_row = filter_patches(filters, color, per_row)
    return per_row * (patches.shape[2] + 1) + 1


def mosaic(
    filters: np.ndarray, color: bool, names: Sequence[str] = (), zoom: int = 0, per_row: int = PER_ROW
) -> Image.Image:
    """Return filters of values from 0 to 1 in the originals' order and gaps, each with its name above it, if any."""
    wide = _wide(filters, color, per_row)
    patches, per_row = filter_patches(filters, color, per_row)
    count, H, W, _ = patches.shape
    rows = math.ceil(count / per_row)
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


def channel_rows(bank: FilterBank, most: int = _FILTERS, zoom: int = 0) -> Image.Image:
    """Return of each of the first ``most`` filters its strongest channels, the strongest first; two filters in a row.

    Above each channel stands the number of the map that it reads.
    """
    filters, names, maps = bank.filters[..., :most], bank.names, bank.maps
    C, k, _, F = filters.shape
    across = min(C, _CHANNELS)
    zoom = zoom or max(1, ((WIDE // 2 - _GUTTER) // _CHANNELS - _GAP) // k)
    check_pixels(2 * across * k, math.ceil(F / 2) * k, zoom)
    step, pitch = max(k * zoom, 20) + _GAP, k * zoom + _STRIP
    sheet = Sheet(2 * (_GUTTER + across * step), math.ceil(F / 2) * pitch + _GAP, DARK)
    for f in range(F):
        x, y = (f % 2) * (_GUTTER + across * step) + _GUTTER, (f // 2) * pitch + _STRIP
        sheet.write((x - 8, y), names[f], 14, "ra")
        sheet.write((x - 8, y + 17), f"±{np.abs(filters[..., f]).max():.2g}", 10, "ra", color=DARK.faint)
        for place, (c, values) in enumerate(strongest(filters[..., f], across)):
            sheet.write((x + place * step, y - 2), str(maps[f, c]), 10, "ls", color=DARK.faint)
            sheet.paste(enlarged(values, zoom), x + place * step, y)
    return sheet.image
