"""Filters of a local layer, which has others at every place: laid out as the places lie in the picture (io 7.3).

Letters: C channels, k side of a filter, M modulesX, so that there are M*M places.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from convnet.drawing.filter_banks import FilterBank
from convnet.drawing.filter_sheet import in_towers, mosaic
from convnet.drawing.filters import WIDE
from convnet.drawing.sheet import DARK, Sheet, check_pixels, headed

_PANELS = 12  # channels shown of many
_HEAD, _GAP = 20, 24


def local_sheet(banks: Sequence[FilterBank], title: str, color: bool, zoom: int = 0) -> Image.Image:
    """Return the sheet of a local layer, or of its towers."""
    C, largest = len(banks[0].filters), max(float(np.abs(bank.filters).max()) for bank in banks)
    what = "Each square is a channel" if not color else "Each patch is a filter"
    few = f", the {_PANELS} strongest of {C} first" if C > _PANELS and not color else ""
    scale = f"all are scaled together: {-largest:.3g} is black, 0 grey, {largest:.3g} white"
    caption = f"{what}{few}: the filter of every place, where it lies in the picture; {scale}."
    return headed(in_towers([local_panels(bank, color, zoom) for bank in banks], banks), title, caption, DARK)


def local_panels(bank: FilterBank, color: bool, zoom: int = 0) -> Image.Image:
    """Return the filters of one map at all places, a panel of M rows of M for each channel, or one in ``color``.

    Of more than twelve channels the strongest are shown, those first. All are scaled together: 0 is grey.
    """
    k, M = bank.filters.shape[1], bank.modules
    shown = 0.5 + bank.filters / (2 * np.abs(bank.filters).max() or 1)
    order = [0] if color else np.argsort(-np.square(bank.filters).sum(axis=(1, 2, 3)), kind="stable")[:_PANELS]
    wide = M * (k + 1) + 1
    down = math.ceil(len(order) / math.ceil(math.sqrt(2 * len(order))))
    across = math.ceil(len(order) / down)
    zoom = zoom or max(1, (WIDE - (across - 1) * _GAP) // (across * wide), 240 // wide)
    if across == 1:
        zoom = min(zoom, max(1, 1000 // wide))
    check_pixels(across * wide, down * wide, zoom)
    pitch = wide * zoom + _GAP
    sheet = Sheet(across * pitch - _GAP, down * (pitch + _HEAD), DARK)
    for place, c in enumerate(order):
        x, y = place % across * pitch, place // across * (pitch + _HEAD) + _HEAD
        panel = shown if color else shown[c : c + 1]
        if not color:
            sheet.write((x + zoom, y - 4), f"on map {bank.maps[0, c]}", 12, "ls", color=DARK.faint, width=wide * zoom)
        sheet.paste(mosaic(panel, color, zoom=zoom, per_row=M), x, y)
    return sheet.image
