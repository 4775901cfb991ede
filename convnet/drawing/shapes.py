"""What a drawing is made of: rectangles, paths, words and pictures, in pixels; SVG, PNG and PDF are written from them.

How things look is said once, by the name of a look: SVG has it as a class, the others as arguments. ``DARK`` says how looks
are where a person prefers dark pages, which only SVG can know of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

Segment = tuple[str, tuple[float, ...]]  # a letter of SVG's paths, M L C Z, and its absolute coordinates


@dataclass(frozen=True)
class Look:
    """How a shape or words look where they do not say themselves: colours, width of lines, size of letters.

    ``halo`` is a white rim, by which words can be read across lines.
    """

    fill: str = "none"
    line: str = "none"
    width: float = 1
    dashes: tuple[float, ...] = ()
    size: float = 0
    is_bold: bool = False
    halo: float = 0


_INK, _GREY, _RED = "#1d2733", "#4d5966", "#d01c36"
_TEST, _LIGHT = "#e00000", "#e6e9ec"
LOOKS = {
    "paper": Look("#ffffff"),
    "title": Look(_INK, size=22, is_bold=True),
    "subtitle": Look(_GREY, size=12.5),
    "column": Look(_INK, size=14, is_bold=True),
    "name": Look(_INK, size=14, is_bold=True),
    "label": Look(_INK, size=12),
    "weight": Look(_GREY, size=11),
    "shape": Look(_GREY, size=11, halo=3.5),
    "sent": Look("#b3122a", size=11, is_bold=True),
    "pill": Look("#ffffff", _RED),
    "panel": Look(),
    "swatch": Look(),
    "bar": Look(width=0),
    "box": Look(width=1.3),
    "face": Look(width=0.9),
    "edge": Look(line="#5b6672", width=1.4),
    "host": Look(line="#5b6672", width=1.4, dashes=(4, 3)),
    "crossing": Look(line=_RED, width=2.4),
    "frame": Look(line="#aab3bd", width=0.8),
    # Of plots: training and tests of one run are in the colours of the originals.
    "ground": Look("#ffffff"),
    "heading": Look(_INK, size=17, is_bold=True),
    "panel-name": Look(_INK, size=13, is_bold=True),
    "words": Look(_INK, size=12),
    "faint": Look(_GREY, size=11),
    "grid": Look(line="#e1e6eb", width=0.8),
    "axis": Look(line="#8a96a3", width=1),
    "mark": Look(line="#6b7785", width=1, dashes=(3, 3)),
    "training": Look(line="#000000", width=0.8),
    "training-dot": Look("#000000", width=0),
    "test": Look(line=_TEST, width=1.6),
    "test-dot": Look(_TEST, width=0),
    # of Figure 2
    "volume": Look(width=1.1),
    "hidden": Look(line="#9aa5b1", width=0.7),
    "window": Look(width=0.9),
    "ray": Look(line=_INK, width=0.7),
    "across": Look(line=_RED, width=0.7, dashes=(4, 2.5)),
    "dot": Look(_INK),
    "size": Look(_INK, size=15, halo=3),
    "kernel": Look(_INK, size=12, halo=2.5),
    "note": Look(_INK, size=14),
}
DARK = {
    "ground": Look("#15191d"),
    "heading": Look(_LIGHT),
    "panel-name": Look(_LIGHT),
    "words": Look(_LIGHT),
    "faint": Look("#a9b3bd"),
    "grid": Look(line="#2c333a"),
    "axis": Look(line="#7d8893"),
    "mark": Look(line="#98a3ae"),
    "training": Look(line=_LIGHT),
    "training-dot": Look(_LIGHT),
    "test": Look(line="#ff6b5e"),
    "test-dot": Look("#ff6b5e"),
}
# Of several runs in one plot, on white and in the dark, told apart by the colour-blind (after Okabe and Ito's scheme)
RUN_COLORS = (
    ("#0072b2", "#4aa3df"),
    ("#c85200", "#f58742"),
    ("#00805c", "#2cc79a"),
    ("#b04a86", "#ffb0c4"),
    ("#8f6b00", "#e0b12e"),
    ("#1d1d1d", "#f2f2f2"),
    ("#5b3fa8", "#ab97f0"),
)
for _i, _colors in enumerate(RUN_COLORS):
    for _looks, _color in ((LOOKS, _colors[0]), (DARK, _colors[1])):
        _looks[f"run-{_i}-training"] = Look(line=_color, width=0.7)
        _looks[f"run-{_i}-test"] = Look(line=_color, width=1.8)
        _looks[f"run-{_i}-dot"] = Look(_color, width=0)


class Paint(NamedTuple):
    """Colours of one shape, instead of its look's, and how much the fill and the line cover."""

    fill: str = ""
    line: str = ""
    fill_opacity: float = 1
    line_opacity: float = 1


_UNPAINTED = Paint()


@dataclass(frozen=True)
class Rectangle:
    """A rectangle by its left upper corner; its corners are round by ``radius``."""

    look: str
    x: float
    y: float
    width: float
    height: float
    radius: float = 0
    paint: Paint = _UNPAINTED


@dataclass(frozen=True)
class Path:
    """Lines and bends; with an ``arrow`` at its end."""

    look: str
    segments: Sequence[Segment]
    arrow: bool = False
    paint: Paint = _UNPAINTED


@dataclass(frozen=True)
class Words:
    """Text whose baseline begins at (x, y), or has its middle or end there: ``anchor`` is start, middle or end."""

    look: str
    x: float
    y: float
    text: str
    anchor: str = "start"
    paint: Paint = _UNPAINTED


@dataclass(frozen=True)
class Raster:
    """A picture by its left upper corner, stretched to ``width`` and ``height``; its pixels are seen if ``is_pixelated``."""

    x: float
    y: float
    width: float
    height: float
    image: Image.Image
    is_pixelated: bool = False


@dataclass(frozen=True)
class Group:
    """The box of layer ``number`` of the picture; ``title`` is shown to those who point at it."""

    number: int
    title: str
    shapes: Sequence[Shape]


Leaf = Rectangle | Path | Words | Raster
Shape = Leaf | Group


class Scene(NamedTuple):
    """A drawing: its size, what it is called, and what is drawn, in order."""

    width: float
    height: float
    title: str
    shapes: Sequence[Shape]


def leaves(shapes: Sequence[Shape]) -> Iterator[Leaf]:
    """Yield shapes, those in groups instead of these."""
    for shape in shapes:
        if isinstance(shape, Group):
            yield from leaves(shape.shapes)
        else:
            yield shape


def arrow_head(path: Path) -> list[tuple[float, float]]:
    """Return the corners of the arrow at the end of a path, which leads down there."""
    x, y = path.segments[-1][1][-2:]
    return [(x + dx, y + dy) for dx, dy in ((-3.4, -7), (0, 1), (3.4, -7))]
