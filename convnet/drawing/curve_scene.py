"""Costs over a run, or over several, as a drawing (io 7.2): a panel for each value of a cost, and marks of what happened.

Training is a thin line, tests are a thicker one with markers, and the test of the last weights is a star. A single run has
the colours of the originals, black and red; several have one each, and a marker of another form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convnet.drawing.plot import Frame, axes, limits, line, marked, markers, star, thinned
from convnet.drawing.shapes import RUN_COLORS, Path, Rectangle, Scene, Shape, Words
from convnet.errors import OptionError
from convnet.texts import counted, did_you_mean, shortened
from convnet.training.costs import value_text
from convnet.training.history import Curve, History, Series

_PANELS = 6
_MARKS = 20  # the newest of many
_LEFT, _RIGHT, _HEIGHT, _GAP, _ROW = 72, 20, 200, 44, 20
_EPOCHS = "Epochs"
_LETTER = 6.4  # width of one of 12 pixels


class _Looks(NamedTuple):
    training: str
    training_dot: str
    test: str
    dot: str
    form: int


@dataclass
class _Run:
    """A run in the drawing: its curves by the names of values, ``unit`` batches are 1 on the x axis."""

    name: str
    history: History
    cost: str
    curves: dict[str, Curve]
    looks: _Looks
    unit: int

    def test(self, curve: Curve, smooth: bool) -> Series:
        return curve.means if smooth else curve.test

    @property
    def end(self) -> float:
        return self.history.done / self.unit


class _Place(NamedTuple):
    """Where something happened to a run, on the x axis, under its number."""

    number: int
    run: _Run
    at: float
    text: str


def curve_scene(
    histories: Sequence[History], cost: str = "", index: int | None = None, smooth: bool = True, width: float = 900
) -> Scene:
    """Return the drawing of a cost's value ``index``, or of all, of one run or several; ``""`` is the first cost of each.

    ``smooth``: tests are means over as many of them as there are test batches. The x axis counts epochs; batches, where it
    is not known of a run how many make one. However long a run is, the drawing is small. Raises ``OptionError``.
    """
    runs = _runs(histories, cost)
    known = list(dict.fromkeys(name for run in runs for name in run.curves))
    if index is not None and index >= len(known):
        raise OptionError(f"--cost-idx {index}: '{runs[0].cost}' has {counted(len(known), 'value')}, counted from 0")
    names = known[:_PANELS] if index is None else [known[index]]
    marks = _marks(runs)
    title = ", ".join(dict.fromkeys(run.cost for run in runs)) + (f" of {runs[0].name}" if len(runs) == 1 else "")
    title += f" (the first {_PANELS} of {len(known)} values)" if index is None and len(known) > _PANELS else ""
    shapes: list[Shape] = [Words("heading", 16, 30, shortened(title, int(width / 10)))]
    legend, top = _legend(runs, smooth, width, 54)
    shapes += legend
    across = _across(runs)
    for number, name in enumerate(names):
        top += _GAP if number else 28
        frame = Frame(_LEFT, top, width - _LEFT - _RIGHT, _HEIGHT, across, (0, 1))
        shapes += _panel(frame, runs, name, smooth, number == len(names) - 1)
        shapes += _mark_lines(frame, marks, has_numbers=number == 0)
        top += _HEIGHT
    unit = _EPOCHS if all(history.epoch for history in histories) else "Batches"
    shapes.append(Words("words", (_LEFT + width - _RIGHT) / 2, top + 36, unit, "middle"))
    words, bottom = _mark_words(marks, len(runs) > 1, unit, width, top + 44)
    shapes += words
    return Scene(width, bottom + 16, title, [Rectangle("ground", 0, 0, width, bottom + 16), *shapes])


def _runs(histories: Sequence[History], cost: str) -> list[_Run]:
    """Return the runs with their curves; raises ``OptionError`` for one without any."""
    in_epochs = all(history.epoch for history in histories)
    runs = []
    for number, history in enumerate(histories):
        if not history.costs:
            raise OptionError(f"nothing to show of {history.title}: no batch was done and no test")
        if cost and cost not in history.costs:
            text = f"no cost '{cost}' in {history.title}; it has {', '.join(history.costs)}"
            raise OptionError(text + did_you_mean(cost, history.costs))
        chosen = cost or history.costs[0]
        curves = {curve.name: curve for curve in history.curves if curve.cost == chosen}
        looks = _Looks("training", "training-dot", "test", "test-dot", 0)
        if len(histories) > 1:
            name = f"run-{number % len(RUN_COLORS)}"
            looks = _Looks(f"{name}-training", f"{name}-dot", f"{name}-test", f"{name}-dot", number)
        runs.append(_Run(history.title, history, chosen, curves, looks, history.epoch if in_epochs else 1))
    return runs


def _across(runs: Sequence[_Run]) -> tuple[float, float]:
    """Return what the x axis goes from and to: from nothing trained to the last batch of all."""
    end = max(run.end for run in runs) or 1
    return -0.01 * end, 1.02 * end


def _panel(frame: Frame, runs: Sequence[_Run], name: str, smooth: bool, is_last: bool) -> list[Shape]:
    """Return the panel of a value."""
    shown = [(run, run.curves[name]) for run in runs if name in run.curves]
    values = [curve.final for _, curve in shown if curve.final is not None]
    for run, curve in shown:
        for series in (curve.train, run.test(curve, smooth)):
            values += thinned(series.at, series.values)[1].tolist()
    up = limits(values)
    frame = Frame(frame.left, frame.top, frame.width, frame.height, frame.across, up or (0, 1))
    shapes: list[Shape] = [Words("panel-name", frame.left, frame.top - 9, shortened(name, 40))]
    right = frame.left + frame.width
    texts = _numbers(*shown[0], smooth) if len(runs) == 1 else [_newest(shown, smooth)]
    while _LETTER * len(", ".join(texts)) > frame.width - 9 * min(len(name), 40):
        texts.pop(0)
    shapes.append(Words("words", right, frame.top - 9, ", ".join(texts), "end"))
    shapes += axes(frame, is_last, name.endswith("error"))
    if wrong := _not_finite([curve for _, curve in shown]):
        shapes.append(Words("faint", right - 6, frame.top + 27, wrong, "end"))
    if up is None:
        middle = frame.left + frame.width / 2, frame.top + frame.height / 2
        return [*shapes, Words("words", *middle, "no finite number", "middle")]
    for run, curve in shown:
        shapes += line(frame, run.looks.training, run.looks.training_dot, *_points(run, curve.train))
    for run, curve in shown:
        tests = _points(run, run.test(curve, smooth))
        shapes += line(frame, run.looks.test, run.looks.dot, *tests)
        shapes += marked(frame, run.looks.dot, *tests, run.looks.form)
        if curve.final is not None and math.isfinite(curve.final):
            shapes.append(star(run.looks.dot, frame.x(run.end), frame.y(curve.final)))
    return shapes


def _points(run: _Run, series: Series) -> tuple[list[float], list[float]]:
    at, values = thinned(series.at, series.values)
    return (at / run.unit).tolist(), values.tolist()


def _numbers(run: _Run, curve: Curve, smooth: bool) -> list[str]:
    """Return the newest numbers of a run, the most telling last."""
    last = [("training", curve.train.values[-1:]), ("test", run.test(curve, smooth).values[-1:])]
    said = [(what, value) for what, values in last for value in values]
    said += [] if curve.final is None else [("final test", curve.final)]
    return [f"{what} {value_text(curve.name, value)}" for what, value in said]


def _newest(shown: Sequence[tuple[_Run, Curve]], smooth: bool) -> str:
    """Return the names of runs with their newest tests."""
    said = []
    for run, curve in shown:
        tests = [*run.test(curve, smooth).values[-1:], *([] if curve.final is None else [curve.final])]
        said += [f"{shortened(run.name, 24)} {value_text(curve.name, value)}" for value in tests[-1:]]
    return ", ".join(said)


def _not_finite(curves: Sequence[Curve]) -> str:
    """Return how many numbers cannot be drawn."""
    found = {"batches": [curve.train.values for curve in curves], "tests": [curve.test.values for curve in curves]}
    wrong = {what: sum(len(v) - int(np.isfinite(v).sum()) for v in values) for what, values in found.items()}
    said = [f"{count:,} of {sum(map(len, found[what])):,} {what}" for what, count in wrong.items() if count]
    return f"not finite: {', '.join(said)}" if said else ""


def _legend(runs: Sequence[_Run], smooth: bool, width: float, y: float) -> tuple[list[Shape], float]:
    """Return rows that say what is what, and where they end."""
    entries: list[tuple[str, _Run, str]] = []
    if len(runs) == 1:
        [run] = runs
        entries.append(("training", run, "Training set"))
        if any(curve.test for curve in run.curves.values()):
            entries.append(("test", run, "Test set" + _means(run, smooth)))
        if any(curve.final is not None for curve in run.curves.values()):
            entries.append(("star", run, "Final test"))
    else:
        entries += [("test", run, shortened(run.name, 60) + _means(run, smooth)) for run in runs]
        entries += [("training", runs[0], "thin: training"), ("star", runs[0], "final test")]
    shapes: list[Shape] = []
    x = 16.0
    for symbol, run, text in entries:
        wide = 30 + _LETTER * len(text) + 22
        if x > 16 and x + wide > width:
            x, y = 16.0, y + _ROW
        shapes += _symbol(symbol, run.looks, x, y - 4)
        shapes.append(Words("words", x + 30, y, text))
        x += wide
    return shapes, y


def _means(run: _Run, smooth: bool) -> str:
    return f", means over {run.history.window} tests" if smooth and run.history.window > 1 else ""


def _symbol(symbol: str, looks: _Looks, x: float, y: float) -> list[Shape]:
    if symbol == "star":
        return [star(looks.dot, x + 12, y, 6)]
    look = looks.training if symbol == "training" else looks.test
    drawn: list[Shape] = [Path(look, [("M", (x, y)), ("L", (x + 24, y))])]
    return drawn + ([] if symbol == "training" else [markers(looks.dot, [(x + 12, y)], looks.form)])


def _marks(runs: Sequence[_Run]) -> list[_Place]:
    """Return the newest marks of all runs, in the order of where they stand; those of a run after one batch together."""
    places = [(run, at / run.unit, text) for run in runs for at, text in run.history.happened.items()]
    places.sort(key=lambda place: place[1])
    return [_Place(number, *place) for number, place in enumerate(places, 1)][-_MARKS:]


def _mark_lines(frame: Frame, marks: Sequence[_Place], has_numbers: bool) -> list[Shape]:
    """Return a vertical line for each mark, with the numbers of those that are close together beside the first."""
    lines: list[Shape] = []
    numbers: list[tuple[float, list[str]]] = []
    for mark in sorted(marks, key=lambda mark: mark.at):
        x = frame.x(mark.at)
        lines.append(Path("mark", [("M", (x, frame.top)), ("L", (x, frame.top + frame.height))]))
        if not numbers or x - numbers[-1][0] > 8 + 8 * len(",".join(numbers[-1][1])):
            numbers.append((x, []))
        numbers[-1][1].append(str(mark.number))
    words = [Words("words", x + 3, frame.top + 11, shortened(",".join(found), 12)) for x, found in numbers]
    return lines + words * has_numbers


def _mark_words(marks: Sequence[_Place], has_names: bool, unit: str, width: float, y: float) -> tuple[list[Shape], float]:
    """Return a row for each mark, and where they end."""
    shapes: list[Shape] = []
    if marks and marks[0].number > 1:
        y += _ROW
        shapes.append(Words("faint", 16, y, f"{counted(marks[0].number - 1, 'earlier mark')} left out"))
    for mark in marks:
        y += _ROW
        where = f"epoch {round(mark.at, 2):,.8g}" if unit == _EPOCHS else f"after {mark.at:,.8g} batches"
        where = f"{shortened(mark.run.name, 40)}, {where}" if has_names else where
        shapes.append(Words("words", 16, y, shortened(f"{mark.number}   {where}: {mark.text}", int((width - 32) / _LETTER))))
    return shapes, y
