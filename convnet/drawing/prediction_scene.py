"""What a net says of test cases, as a drawing: pictures, their true classes below them, and bars of the likeliest five.

It is the left half of the paper's Figure 4 (io 7.4): two rows of four, the bar of what is true in red. Lengths are pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

from convnet.drawing.headed_scene import headed_scene, picture_shape
from convnet.drawing.samples import Prediction
from convnet.drawing.shapes import LOOKS, Paint, Path, Rectangle, Scene, Shape, Words
from convnet.drawing.sheet import trimmed

PER_ROW = 4
_TRUE, _OTHER = "#ffaaaa", "#aaaaff"  # the originals'
_INK, _FAINT = "#111111", "#5a5a5a"


class Size(NamedTuple):
    """How large a case is drawn: the side of its ``picture``, the height of a ``bar``, gaps, and the words' looks.

    With ``words`` each bar has its share in numbers, what is true a mark before it, and each case its verdict.
    """

    picture: int = 288
    bar: int = 26
    gap: int = 24
    truth: str = "name"
    label: str = "name"
    words: bool = True


SHEET, PRINT = Size(), Size(picture=112, bar=16, gap=12, truth="label", label="weight", words=False)


def prediction_scene(cases: Sequence[Prediction], are_errors: bool = False) -> Scene:
    """Return the sheet of cases below a heading, which says whether they ``are_errors``."""
    heading = f"{'Mistaken' if are_errors else 'Random'} test samples"
    right = sum(case.is_right for case in cases)
    caption = f"{right} of {len(cases)} right. Below each picture its true class, then what the net says, the truth marked."
    body, width, height = case_shapes(cases, SHEET, 0, 78)
    return headed_scene(width, height, heading, [caption], body, SHEET.gap)


def case_shapes(cases: Sequence[Prediction], size: Size, x: float, y: float) -> tuple[list[Shape], float, float]:
    """Return the shapes of cases, four in a row from (x, y) on, and where they end: (shapes, right, bottom)."""
    across, down = size.picture + size.gap, _height(size) + size.gap
    shapes: list[Shape] = []
    for i, case in enumerate(cases):
        shapes += _case(case, size, x + size.gap + i % PER_ROW * across, y + i // PER_ROW * down)
    rows = -(-len(cases) // PER_ROW)
    return shapes, x + size.gap + PER_ROW * across, y + rows * down


def _height(size: Size) -> float:
    return size.picture + size.bar + 5 * size.bar


def _case(case: Prediction, size: Size, x: float, y: float) -> list[Shape]:
    """Return a case: its picture, its truth in the middle below it, and its bars."""
    look, right = LOOKS[size.truth], x + size.picture
    room = size.picture - 2 * (44 if size.words else 2)
    shapes: list[Shape] = [picture_shape(case.picture, x, y, size.picture)]
    below = y + size.picture + size.bar * 0.5 + look.size * 0.35
    middle = x + size.picture / 2
    shapes.append(Words(size.truth, middle, below, trimmed(case.truth, look.size, room), "middle", Paint(_INK)))
    if size.words:
        verdict = "right" if case.is_right else "wrong"
        shapes.append(Words("label", right, below, verdict, "end", Paint(_FAINT)))
    for place, bar in enumerate(case.bars):
        shapes += _bar(*bar, size, x, y + size.picture + size.bar * (1 + place))
    return shapes


def _bar(name: str, share: float, is_true: bool, size: Size, x: float, y: float) -> list[Shape]:
    """Return a bar, as long as the share of the room beside its mark, with the class's name over it."""
    inset = 14 if size.words else 0
    room, height, look = size.picture - inset, size.bar * 0.82, LOOKS[size.label]
    length = room * min(max(share, 0), 1)
    base = y + height / 2 + look.size * 0.35
    label = trimmed(name, look.size, room - (70 if size.words else 6))
    shapes: list[Shape] = [
        Rectangle("swatch", x + inset, y, length, height, paint=Paint(_TRUE if is_true else _OTHER)),
        Words(size.label, x + inset + (6 if size.words else 3), base, label, paint=Paint(_INK)),
    ]
    if size.words:
        shapes.append(Words(size.label, x + size.picture, base, f"{share:.1%}", "end", Paint(_INK)))
    if size.words and is_true:
        middle = y + height / 2
        corners = [("M", (x, middle - 6)), ("L", (x, middle + 6)), ("L", (x + 10, middle)), ("Z", ())]
        shapes.append(Path("swatch", corners, paint=Paint(_INK)))
    return shapes
