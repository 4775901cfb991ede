"""Gradients at the data as a drawing: of each case the picture, which way its pixels move what is asked for, and how much.

Letters: C channels, S side of a picture. Lengths are pixels.
"""

from collections.abc import Sequence

import numpy as np

from convnet.drawing.gradients import GradientCase, Start
from convnet.drawing.headed_scene import headed_scene, picture_shape
from convnet.drawing.shapes import LOOKS, Paint, Raster, Rectangle, Scene, Shape, Words
from convnet.drawing.sheet import trimmed

_RISES, _FALLS = np.array([178, 24, 43]) / 255, np.array([33, 102, 172]) / 255  # red and blue, told apart by all
_SIDE, _GAP, _BETWEEN, _HEAD, _FOOT = 150, 24, 10, 26, 20
_PER_ROW = 2
_INK = "#111111"
COLUMNS = ("picture", "which way", "how much")


def signed_map(gradient: np.ndarray) -> np.ndarray:
    """Return colours (S, S, 3) of a gradient (C, S, S): what it is for all channels of a pixel together.

    Red where what is asked for rises with the pixel, blue where it falls, white where nothing changes; the strongest pixel
    has the full colour.
    """
    values = gradient.sum(axis=0)
    shares = np.abs(values) / (np.abs(values).max() or 1)
    color = np.where(values[..., None] > 0, _RISES, _FALLS)
    return 1 + shares[..., None] * (color - 1)


def size_map(gradient: np.ndarray) -> np.ndarray:
    """Return greys (S, S, 1) of a gradient (C, S, S): the size of its strongest channel, white for 0, black the largest."""
    values = np.abs(gradient).max(axis=0)
    return 1 - values[..., None] / (values.max() or 1)


def gradient_scene(start: Start, cases: Sequence[GradientCase]) -> Scene:
    """Return the sheet of cases, two in a row, below a heading that says what the gradient is of."""
    panel, down = 3 * _SIDE + 2 * _BETWEEN, _HEAD + _SIDE + _FOOT + _GAP
    lines = _lines(start)
    top = 90 + 17 * len(lines)
    width, height = _GAP + _PER_ROW * (panel + _GAP), top + -(-len(cases) // _PER_ROW) * down
    shapes: list[Shape] = []
    for column in range(min(_PER_ROW, len(cases))):
        x = _GAP + column * (panel + _GAP)
        shapes += [Words("weight", x + i * (_SIDE + _BETWEEN), top - 18, word) for i, word in enumerate(COLUMNS)]
    for i, case in enumerate(cases):
        shapes += _case(case, _GAP + i % _PER_ROW * (panel + _GAP), top - 10 + i // _PER_ROW * down)
    return headed_scene(width, height, f"Gradient of {start.text} at the pixels", lines, shapes, _GAP)


def _lines(start: Start) -> list[str]:
    """Return what is said below the title."""
    lines = [
        f"Red: {start.text} rises where a pixel gets brighter in all its channels; blue: it falls; white: nothing changes.",
        "How much: the strongest channel of each pixel. Each map is scaled for itself, to the number below it: by how much "
        "it changes for one grey level of 255.",
    ]
    return lines + ([f"It is an approximation {start.approximate}."] if start.approximate else [])


def _case(case: GradientCase, x: float, y: float) -> list[Shape]:
    look, top = LOOKS["label"], y + _HEAD
    words = f"case {case.said.case}"
    if case.said.bars:
        words = f"truth: {case.said.truth}; the net says: {case.said.bars[0][0]}, {case.said.bars[0][1]:.1%}"
    largest = [float(np.abs(values).max()) for values in (case.gradient.sum(axis=0), case.gradient)]
    shapes: list[Shape] = [
        Words("label", x, y + 17, trimmed(words, look.size, 3 * _SIDE + 2 * _BETWEEN), paint=Paint(_INK)),
        picture_shape(case.said.picture, x, top, _SIDE),
    ]
    maps = (signed_map(case.gradient), size_map(case.gradient))
    for place, (values, scale) in enumerate(zip(maps, (f"±{largest[0]:.2g}", f"0 to {largest[1]:.2g}"), strict=True), 1):
        left = x + place * (_SIDE + _BETWEEN)
        shapes += [_framed(picture_shape(values, left, top, _SIDE)), picture_shape(values, left, top, _SIDE)]
        shapes.append(Words("weight", left, top + _SIDE + 15, scale))
    return shapes


def _framed(raster: Raster) -> Rectangle:
    """Return a thin frame around a map, whose rims are often white."""
    paint = Paint("#c8ccd2")
    return Rectangle("swatch", raster.x - 1, raster.y - 1, raster.width + 2, raster.height + 2, paint=paint)
