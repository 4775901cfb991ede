"""Filters as a figure of a page: a pixel for each weight, enlarged where it is shown.

Letters: C channels, k side of a filter, F filters.
"""

import math

import numpy as np
from PIL import Image

from convnet.drawing.filter_sheet import mosaic
from convnet.drawing.filters import MOST, PER_ROW, normalise, strongest
from convnet.drawing.sheet import enlarged
from convnet.pages.parts import Html, figure, picture
from convnet.texts import printable

_WIDE, _LARGEST = 1000, 8  # pixels of a picture as it is shown, and of a weight in it
_FILTERS, _STRONGEST, _BLOCKS = 64, 16, 4  # of many channels: filters, channels of each, and columns of filters
_PIXELS = 1 << 18


def most_filters(channels: int, side: int) -> int:
    """Return how many filters of so many channels and such a side are shown of a layer."""
    fitting = max(1, _PIXELS // (min(channels, _STRONGEST) * (side + 1) ** 2))
    return min(MOST if channels < PER_ROW else _FILTERS, fitting)


def filters_figure(what: str, filters: np.ndarray, total: int) -> Html:
    """Return a figure of filters (C, k, k, F), of ``total``, with a caption that begins with ``what`` they are."""
    C, _, _, F = filters.shape
    few = f", of which the first {F} are shown" if total > F else ""
    if C >= PER_ROW:
        order = (
            f"A row for each filter, in {_BLOCKS} columns, with the strongest {min(C, _STRONGEST)} of its channels, the "
            "strongest first; each filter is scaled for itself: 0 is grey, its largest weight black or white."
        )
    else:
        beside = "" if C in (1, 3) else ", its channels side by side"
        low, high = filters.min(), filters.max()
        order = f"From left to right, then down{beside}. All are scaled together: {low:.3g} is black, {high:.3g} white."
    return figure(filters_picture(filters_image(filters), f"{what}, as pictures"), f"{what}{few}. {order}")


def filters_picture(image: Image.Image, alt: str) -> Html:
    """Return an image of weights as large as they are seen well."""
    return picture(image, printable(alt), max(1, min(_LARGEST, _WIDE // image.width)))


def filters_image(filters: np.ndarray) -> Image.Image:
    """Return filters with gaps of a pixel between them; of many channels a row for each, with its strongest channels."""
    C, k, _, F = filters.shape
    if C < PER_ROW:
        return mosaic(normalise(filters), C == 3, zoom=1)
    across, rows, pitch = min(C, _STRONGEST), math.ceil(F / _BLOCKS), k + 1
    wide = across * pitch + 3
    sheet = Image.new("L", (_BLOCKS * wide - 3 + 1, rows * pitch + 1))
    for f in range(F):
        x, y = f // rows * wide + 1, f % rows * pitch + 1
        for place, (_, values) in enumerate(strongest(filters[..., f], across)):
            sheet.paste(enlarged(values, 1), (x + place * pitch, y))
    return sheet
