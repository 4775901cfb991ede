"""Pictures and those that a net finds alike as a drawing: the right half of the paper's Figure 4. Lengths are pixels."""

from collections.abc import Sequence

from convnet.drawing.headed_scene import headed_scene, picture_shape
from convnet.drawing.neighbours import Neighbour, Row, Similar
from convnet.drawing.shapes import LOOKS, Paint, Scene, Shape, Words
from convnet.drawing.sheet import trimmed
from convnet.texts import counted, listed

_SIDE, _GAP, _FOOT, _TOP = 144, 24, 38, 88
_BETWEEN, _APART = 8, 20  # pictures of a row, and the first from the others
_INK = "#111111"


def neighbour_scene(found: Similar) -> Scene:
    """Return the sheet of rows below a heading, with the true class and the distance below each picture."""
    across = 1 + max((len(row.nearest) for row in found.rows), default=0)
    width = max(2 * _GAP + row_width(across, _SIDE), 760)
    height = _TOP + len(found.rows) * (_SIDE + _FOOT)
    where = listed(f"'{name}'" for name in found.layers)
    title = f"Nearest test pictures by the outputs of {where}"
    caption = (
        f"First a picture, then the nearest of {counted(found.cases, 'test picture')}: Euclidean distance over "
        f"{counted(found.outputs, 'value')}, written below with the true class."
    )
    shapes: list[Shape] = []
    for i, row in enumerate(found.rows):
        y = _TOP + i * (_SIDE + _FOOT)
        shapes += row_shapes(row, _GAP, y, _SIDE)
        for place, shown in enumerate([row.query, *row.nearest]):
            shapes += _words(shown, _left(place, _SIDE) + _GAP, y + _SIDE, is_query=place == 0)
    return headed_scene(width, height, title, [caption], shapes, _GAP)


def row_shapes(row: Row, x: float, y: float, side: float) -> list[Shape]:
    """Return the pictures of a row, the first a little apart."""
    shown: Sequence[Neighbour] = [row.query, *row.nearest]
    return [picture_shape(each.picture, x + _left(place, side), y, side) for place, each in enumerate(shown)]


def row_width(count: int, side: float) -> float:
    """Return how wide a row of ``count`` pictures is."""
    return _left(count - 1, side) + side


def _left(place: int, side: float) -> float:
    return place * (side + _BETWEEN) + (_APART - _BETWEEN if place else 0)


def _words(shown: Neighbour, x: float, y: float, is_query: bool) -> list[Shape]:
    truth = trimmed(shown.truth, LOOKS["label"].size, _SIDE)
    second = f"batch {shown.batch}, case {shown.case}" if is_query else f"{shown.distance:.4g}"
    lines: list[Shape] = [Words("label", x, y + 14, truth, paint=Paint(_INK))] if truth else []
    return [*lines, Words("weight", x, y + (28 if truth else 14), second)]
