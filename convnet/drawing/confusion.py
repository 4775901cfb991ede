"""Which classes were taken for which: the matrix of a test's report as shapes, with the errors of each class beside it.

    scene = confusion_scene(report)
    write_picture(scene, Path("confusion.svg"))

Rows are what cases are, columns what they were taken for. Of more than 40 classes those are shown that are most often
taken for each other; the last row and column sum up the others. Letters: K classes of the data, n classes shown.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from convnet.drawing.shapes import Paint, Rectangle, Scene, Shape, Words
from convnet.texts import printable, shortened
from convnet.training.report import Report

_WHOLE = 40  # classes, of which all are shown
_BLOCK = 30  # classes that are shown of more
_SIDE, _LARGEST = 640, 64  # pixels, of the matrix and of a cell at most
_NAME = 28  # letters of a class
_LETTER = 6.7  # pixels that one takes
_TOP, _MARGIN, _BAR = 122, 28, 110
_RIGHT, _WRONG, _NONE = "#2b6aa6", "#c85200", "#8a96a3"
_STRONG = 0.55  # opacity from which on white words are read more easily


class Shown(NamedTuple):
    """What is drawn: ``classes`` in the order of rows and columns, and how many cases of each were taken for each.

    Where ``has_others`` the last row and column of ``counts`` are all classes that are not among these.
    """

    classes: Sequence[int]
    counts: np.ndarray
    has_others: bool


def shown(report: Report) -> Shown:
    """Return all classes in the order of the data, or of many those most often taken for each other, side by side."""
    K, pairs = len(report.names), report.confusions()
    classes = range(K) if K <= _WHOLE else _most_confused(pairs, K)
    n, has_others = len(classes), len(classes) < K
    place = dict(zip(classes, range(n), strict=True))
    counts = np.zeros((n + has_others, n + has_others), np.int64)
    for label, guess, count in pairs:
        counts[place.get(label, -1), place.get(guess, -1)] += count
    return Shown(classes, counts, has_others)


def _most_confused(pairs: Sequence[tuple[int, int, int]], classes: int) -> list[int]:
    """Return the classes of the most frequent mistakes, each beside one that it is mistaken for where there is any."""
    links: dict[tuple[int, int], int] = {}
    for label, guess, count in pairs:
        if label != guess:
            both = min(label, guess), max(label, guess)
            links[both] = links.get(both, 0) + count
    chosen: dict[int, None] = {}
    for one, other in sorted(links, key=lambda both: (-links[both], both)):
        if len(chosen.keys() | {one, other}) <= _BLOCK:
            chosen |= {one: None, other: None}
    left = list(chosen) or list(range(min(_BLOCK, classes)))
    order = [left.pop(0)]
    while left:
        last = order[-1]
        nearest = max(left, key=lambda k: links.get((min(last, k), max(last, k)), 0))  # the first of equals
        left.remove(nearest)
        order.append(nearest)
    return order


def confusion_scene(report: Report) -> Scene:
    """Draw what the cases of each class were taken for, as shares of them, and the class's error beside it."""
    classes, counts, has_others = what = shown(report)
    digits = len(str(max(classes)))
    cell = min(max(_SIDE // len(counts), round(_LETTER * digits) + 5), _LARGEST)
    names = [_name(report, k) for k in classes] + ["others"] * has_others
    left = _MARGIN + max(36.0, _LETTER * max(map(len, names))) + 8
    right = left + cell * len(counts)
    total = int(report.cases.sum())
    error = report.misses[0].sum() / max(total, 1)
    title = f"What {total:,} test cases were taken for: '{printable(report.cost)}', {error:.2%} error"
    caption = _caption(what, len(report.names))
    width = max(right + 14 + _BAR + 110, _MARGIN + 9.2 * len(title), _MARGIN + 6.3 * max(map(len, caption)))
    height = _TOP + cell * len(counts) + 64
    shapes: list[Shape] = [
        Rectangle("ground", 0, 0, round(width), round(height)),
        Words("heading", _MARGIN, 36, title),
        *(Words("faint", _MARGIN, 58 + 17 * i, line) for i, line in enumerate(caption)),
        Words("words", right + 14, _TOP - 9, "error"),
    ]
    for i, name in enumerate(names):
        y = _TOP + cell * i
        shapes.append(Words("words", left - 8, y + cell / 2 + 4, name, "end"))
        shapes.append(Words("faint", left + cell * (i + 0.5), _TOP - 9, _head(name, cell), "middle"))
        shapes += _cells(counts[i], i, left, y, cell, is_other=has_others and i == len(counts) - 1)
        if i < len(classes):
            shapes += _error(report, classes[i], right + 14, y, cell)
    shapes += _key(left, _TOP + cell * len(counts) + 34)
    return Scene(width, height, title, shapes)


def _name(report: Report, label: int) -> str:
    """Return the number of a class and its name, where that is not the number."""
    name = shortened(printable(report.names[label]), _NAME)
    return name if name == str(label) else f"{label} {name}"


def _caption(what: Shown, classes: int) -> list[str]:
    lines = ["Rows: what cases are. Columns: what they were taken for, by the largest prediction; classes by their numbers."]
    if what.has_others:
        n = len(what.classes)
        lines.append(f"Of {classes:,} classes the {n} most often taken for each other are shown; 'others' sums up the rest.")
    return lines


def _head(name: str, cell: int) -> str:
    """Return the name of a class where it fits above its column, else its number, or ``..`` for all others."""
    number = name.partition(" ")[0]
    return name if _LETTER * len(name) < cell else number if number.isdecimal() else ".."


def _cells(row: np.ndarray, i: int, left: float, y: float, cell: int, is_other: bool) -> list[Shape]:
    """Draw row ``i``: each cell the stronger the larger its share of the row, with its cases where there is room."""
    total = max(int(row.sum()), 1)
    shapes: list[Shape] = []
    for j, count in enumerate(row.tolist()):
        x, share = left + cell * j, count / total
        color = _NONE if is_other and i == j else _RIGHT if i == j else _WRONG
        strength = share**0.5 if color == _WRONG else share  # so that single mistakes are seen
        if count:
            shapes.append(Rectangle("bar", x, y, cell, cell, paint=Paint(color, fill_opacity=round(strength, 3))))
        shapes.append(Rectangle("grid", x, y, cell, cell))
        if count and 6.5 * len(f"{count:,}") < cell:
            paint = Paint("#ffffff") if strength > _STRONG else Paint()
            shapes.append(Words("words", x + cell / 2, y + cell / 2 + 4, f"{count:,}", "middle", paint))
    return shapes


def _error(report: Report, label: int, x: float, y: float, cell: int) -> list[Shape]:
    """Draw the error of a class as a bar, with the number of its cases."""
    cases = int(report.cases[label])
    if not cases:
        return [Words("faint", x, y + cell / 2 + 4, "no cases")]
    error, high = float(report.misses[0, label]) / cases, min(cell - 6, 22)
    bar = Rectangle("bar", x, y + (cell - high) / 2, _BAR * error, high, paint=Paint(_WRONG, fill_opacity=0.75))
    return [bar, Words("words", x + _BAR * error + 6, y + cell / 2 + 4, f"{error:.1%} of {cases:,}")]


def _key(x: float, y: float) -> list[Shape]:
    """Say what colours mean: right and wrong, from few of a row's cases to all."""
    shapes: list[Shape] = []
    for color, words in ((_RIGHT, "right"), (_WRONG, "taken for another")):
        for step in range(1, 6):
            strength = step / 5 if color == _RIGHT else (step / 5) ** 0.5
            shapes.append(Rectangle("bar", x, y - 11, 16, 14, paint=Paint(color, fill_opacity=round(strength, 3))))
            x += 16
        text = f"{words}, 20 % to 100 % of the row"
        shapes.append(Words("faint", x + 8, y, text))
        x += 8 + 6.2 * len(text) + 24
    return shapes
