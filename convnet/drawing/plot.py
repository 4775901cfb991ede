"""Axes, lines and markers of a plot as shapes: round numbers beside a thin grid, however long or wild a line is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from convnet.drawing.shapes import Path, Segment, Shape, Words

_HUGE = 1e300  # of which differences are still numbers
_STEPS = (1, 2, 2.5, 5, 10)
MOST = 600  # points of a line
_MARKED = 60  # points of which each has a marker


@dataclass(frozen=True)
class Frame:
    """Where numbers are drawn: a box in pixels, and the ``(low, high)`` of x and y that fill it."""

    left: float
    top: float
    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]

    def x(self, value: float) -> float:
        """Return where a number of the x axis is."""
        low, high = self.across
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Return where a number of the y axis is."""
        low, high = self.up
        return self.top + self.height * (high - clipped(value)) / (high - low)


def clipped(value: float) -> float:
    """Return a finite number of which differences are finite."""
    return min(max(value, -_HUGE), _HUGE)


def limits(values: Sequence[float], margin: float = 0.05) -> tuple[float, float] | None:
    """Return what an axis goes from and to for ``values``, with room beside them; ``None`` if none is finite."""
    finite = [clipped(value) for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    more = margin * (high - low) or 0.1 * abs(high)
    return (low - more, high + more) if more else (0.0, 0.5)


def ticks(low: float, high: float, about: int = 5) -> list[tuple[float, str]]:
    """Return round numbers from ``low`` to ``high``, ``about`` so many, with what is written beside them."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(step for step in _STEPS if raw <= step * power * 1.0001)
    digits = max(0, 1 - math.floor(math.log10(step)) - (step / 10 ** math.floor(math.log10(step)) != 2.5))
    numbers = [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    is_plain = digits <= 5 and max(abs(low), abs(high)) < 1e7
    return [(number, f"{number:,.{digits}f}" if is_plain else f"{number:.4g}") for number in numbers]


def thinned(at: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``MOST`` points of a line, so that it looks the same: of neighbours the least and the greatest.

    What is not finite is left out of a long line, unless all neighbours are.
    """
    x, y = np.asarray(at, float), np.asarray(values, float)
    if len(x) <= MOST:
        return x, y
    kept: list[int] = []
    bounds = np.linspace(0, len(x), MOST // 2 + 1).astype(int)
    for start, stop in pairwise(bounds.tolist()):
        part = np.flatnonzero(np.isfinite(y[start:stop])) + start
        places = {int(part[y[part].argmin()]), int(part[y[part].argmax()])} if len(part) else {start}
        kept += sorted(places)
    return x[kept], y[kept]


def line(frame: Frame, look: str, dot: str, at: Sequence[float], values: Sequence[float]) -> list[Shape]:
    """Return a line through points, with gaps where they are not finite; a point between two gaps is a ``dot``."""
    x, y = thinned(at, values)
    segments: list[Segment] = []
    alone: list[tuple[float, float]] = []
    is_finite = [False, *np.isfinite(y), False]
    for i in range(len(x)):
        before, here, after = is_finite[i : i + 3]
        if not here:
            continue
        point = frame.x(x[i]), frame.y(y[i])
        if before or after:
            segments.append(("L" if before else "M", point))
        else:
            alone.append(point)
    drawn: list[Shape] = [Path(look, segments)] if segments else []
    return drawn + ([markers(dot, alone, 0, 2)] if alone else [])


def marked(frame: Frame, look: str, at: Sequence[float], values: Sequence[float], form: int = 0) -> list[Shape]:
    """Return markers of form ``form`` on the points of a short line."""
    pairs = zip(at, values, strict=True) if len(at) <= _MARKED else ()
    points = [(frame.x(x), frame.y(y)) for x, y in pairs if math.isfinite(y)]
    return [markers(look, points, form)] if points else []


# By form, around a point: a dot, a square, a triangle, a diamond
_FORMS = (
    [(math.sin(i * math.pi / 5), math.cos(i * math.pi / 5)) for i in range(10)],
    [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    [(0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
    [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
)
_STAR = [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i in range(10) for r in ((1, 0.42)[i % 2],)]


def markers(look: str, points: Sequence[tuple[float, float]], form: int, radius: float = 3) -> Path:
    """Return a marker around each point."""
    return _corners(look, points, _FORMS[form % len(_FORMS)], radius)


def star(look: str, x: float, y: float, radius: float = 8) -> Path:
    """Return a star."""
    return _corners(look, [(x, y)], _STAR, radius)


def _corners(look: str, points: Sequence[tuple[float, float]], form: Sequence[tuple[float, float]], radius: float) -> Path:
    segments: list[Segment] = []
    for x, y in points:
        corners = [(x + radius * dx, y + radius * dy) for dx, dy in form]
        segments += [("M", corners[0]), *(("L", corner) for corner in corners[1:]), ("Z", ())]
    return Path(look, segments)


def axes(frame: Frame, has_numbers: bool, percent: bool) -> list[Shape]:
    """Return a thin grid, the two axes, and the numbers beside them: of x if it ``has_numbers``, of y as ``percent``."""
    bottom, right, scale = frame.top + frame.height, frame.left + frame.width, 100 if percent else 1
    shapes: list[Shape] = []
    for value, text in ticks(frame.up[0] * scale, frame.up[1] * scale):
        y = frame.y(value / scale)
        shapes.append(Path("grid", [("M", (frame.left, y)), ("L", (right, y))]))
        shapes.append(Words("faint", frame.left - 7, y + 4, text + " %" * percent, "end"))
    for value, text in ticks(*frame.across, about=max(2, min(8, int(frame.width / 90)))):
        x = frame.x(value)
        shapes.append(Path("grid", [("M", (x, frame.top)), ("L", (x, bottom))]))
        if has_numbers:
            shapes.append(Words("faint", x, bottom + 16, text, "middle"))
    shapes.append(Path("axis", [("M", (frame.left, frame.top)), ("L", (frame.left, bottom)), ("L", (right, bottom))]))
    return shapes
