"""How fast a run was, how large its weights are, and what its numbers say of its health."""

import math
from collections.abc import Collection, Sequence
from statistics import median

import numpy as np

from convnet.drawing.plot import Frame, axes, limits, line
from convnet.drawing.shapes import Rectangle, Scene, Shape, Words
from convnet.drawing.svg import svg_of
from convnet.pages.parts import Html, drawing, element, facts, figure, joined, section, table
from convnet.pages.report.reported_run import ReportedRun
from convnet.texts import time_text
from convnet.training.advice import advice_on, judged
from convnet.training.advice.kinds import number
from convnet.training.history import History

_EPOCHS, _ROWS = 40, 300  # rows of tables
_KINDS = {"error": "bad", "warning": "warn", "note": "note"}  # classes of boxes, by level of advice


def speed_section(run: ReportedRun) -> Html:
    """Return how fast the run was; nothing where its log does not tell."""
    history = run.history
    speeds, batches = sorted(history.speed.values), [s for s in history.seconds.values if math.isfinite(s)]
    if not speeds or not batches:
        return Html("")
    tests = sum(number(event.get("seconds")) for event in history.events if event["line"] == "test")
    rows = [
        ("Images in a second, as a rule", f"{median(speeds):,.0f}"),
        ("The slowest and the fastest batch", f"{speeds[0]:,.0f} and {speeds[-1]:,.0f} images in a second"),
        ("A batch, as a rule", _seconds(median(batches))),
        ("All batches", time_text(sum(batches))),
        ("All tests", time_text(tests) if tests else ""),
    ]
    series = history.speed
    large, small = (svg_of(speed_scene(series.at, series.values, width)) for width in (1000, 420))
    chart = figure(drawing("Speed", large, small), "Images a second, of each batch that was trained on.")
    return section("speed", "Speed", facts(rows), chart, _epochs(epoch_times(history)))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 60 else time_text(seconds)


def epoch_times(history: History) -> list[tuple[int, int, float]]:
    """Return (number, batches, seconds of these without tests) of every epoch, in order."""
    seconds = np.asarray(history.seconds.values)
    place = np.searchsorted(history.epochs.at, history.seconds.at, side="right") - 1
    known = np.isfinite(seconds) & (place >= 0)
    numbers, index = np.unique(np.asarray(history.epochs.values)[place[known]], return_inverse=True)
    totals = np.bincount(index, seconds[known]).tolist()
    return list(zip(numbers.astype(int).tolist(), np.bincount(index).tolist(), totals, strict=True))


def _epochs(epochs: Sequence[tuple[int, int, float]]) -> Html:
    """Return the time of each epoch; of very many that of as many in a row together."""
    width = -(-len(epochs) // _EPOCHS) or 1
    rows = []
    for start in range(0, len(epochs), width):
        numbers, batches, seconds = zip(*epochs[start : start + width], strict=True)
        which = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
        each = _seconds(sum(seconds) / sum(batches))
        rows.append([which, f"{sum(batches):,}", _seconds(sum(seconds)), each])
    return table("Time in batches, without tests", ("epoch", "batches", "time", "for a batch"), rows)


def speed_scene(at: Sequence[float], values: Sequence[float], width: float = 900) -> Scene:
    """Return images a second over batches as a drawing."""
    height, done = 200.0, max(at)
    up = limits([0, *values]) or (0, 1)
    frame = Frame(72, 34, width - 92, height, (-0.01 * done, 1.02 * done), (0, up[1]))
    shapes: list[Shape] = [Rectangle("ground", 0, 0, width, height + 84), Words("panel-name", 72, 25, "images a second")]
    shapes += [*axes(frame, True, False), *line(frame, "training", "training-dot", at, values)]
    shapes.append(Words("words", 72 + frame.width / 2, 34 + height + 36, "Batches", "middle"))
    return Scene(width, height + 84, "Images a second, over batches", shapes)


def health_section(run: ReportedRun) -> Html:
    """Return advice on the run, the sizes of its weights at the last test, and the units that did nothing there."""
    history = run.history
    found = [
        element(
            "div",
            element("p", element("strong", f"{advice.level}{f', {advice.where}' if advice.where else ''}"), ": ", text),
            element("p", advice.remedy) if advice.remedy else "",
            class_=_KINDS.get(advice.level, "warn"),
        )
        for advice in advice_on(history)
        for text in [run.public(advice.text)]
    ]
    if not found and history.done:
        found = [element("p", "Nothing in its numbers calls for advice.")]
    return section("health", "Health", *found, _sizes(history), _dead(history))


def _sizes(history: History) -> Html:
    """Return mean sizes of weights and of their last changes, with what their ratio says."""
    rows = [[f"{one.layer} {one.label}", one.size, one.change, one.ratio, one.said] for one in judged(history)]
    caption = "Mean sizes of weights, and of what a step adds to them, when they were measured last"
    return _cut(caption, ("weights", "size", "change", "ratio", "what the ratio says"), rows, (0, 4))


def _dead(history: History) -> Html:
    """Return which layers had units that were 0 for every case of the last test, and what share of theirs."""
    lines = [event for event in history.events if event["line"] == "weights"]
    dead = lines[-1].get("dead") if lines else None
    shares = dead.items() if isinstance(dead, dict) else ()
    rows = [[layer, f"{100 * share:.0f} %"] for layer, share in shares if isinstance(share, int | float) and share > 0]
    return _cut("Units that were 0 for every case of the last test", ("layer", "share"), rows)


def _cut(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)) -> Html:
    """Return a table of not too many rows, and how many more there were; nothing without any."""
    if not rows:
        return Html("")
    more = [element("p", f"And {len(rows) - _ROWS:,} more.")] if len(rows) > _ROWS else []
    return joined([table(caption, head, rows[:_ROWS], words=words), *more])
