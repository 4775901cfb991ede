"""How a run learned: its curves with marks, and what it came to, at best and at last."""

import math
from collections.abc import Sequence

from convnet.drawing.curve_scene import curve_scene
from convnet.drawing.svg import svg_of
from convnet.pages.parts import Html, drawing, element, facts, figure, joined, section, table
from convnet.pages.report.reported_run import ReportedRun
from convnet.texts import counted
from convnet.training.best import THE_MORE
from convnet.training.costs import value_text
from convnet.training.history import Curve, History

_COSTS = 6  # whose curves are drawn
_MARKS, _VALUES = 30, 60  # that are listed
_WIDE, _NARROW = 1000, 420  # pixels of drawings


def learning_section(run: ReportedRun) -> Html:
    """Return curves of all costs, and their values at last and at best."""
    history = run.history
    if not history.curves:
        return section("learning", "How it learned", element("p", "No batch and no test is done yet."))
    figures = [_curves(history, cost) for cost in history.costs[:_COSTS]]
    if len(history.costs) > _COSTS:
        figures.append(element("p", f"And {counted(len(history.costs) - _COSTS, 'cost')} more, not drawn."))
    return section("learning", "How it learned", _headline(history), *figures, _values(history), _marks(history))


def _curves(history: History, cost: str) -> Html:
    """Return the curves of a cost, for large and for small screens."""
    large, small = (svg_of(curve_scene([history], cost, width=width)) for width in (_WIDE, _NARROW))
    unit = "epochs" if history.epoch else "batches"
    return figure(drawing(f"Curves of {cost}", large, small), f"{cost}: training and tests, over the {unit}.")


def _headline(history: History) -> Html:
    """Return the last and the best error, or cost, in large letters."""
    curve = watched(history)
    best = best_test(curve)
    rows = [
        (f"Final test: {curve.name}", value_text(curve.name, curve.final) if curve.final is not None else ""),
        (f"Best test: {curve.name}", f"{value_text(curve.name, best[1])}" if best else ""),
        ("Batches", f"{int(history.done):,}"),
    ]
    return element("div", facts(rows), class_="large")


def watched(history: History) -> Curve:
    """Return the value that a run is judged by: the first error, or the first value there is."""
    return next((curve for curve in history.curves if curve.name == "error"), history.curves[0])


def best_test(curve: Curve) -> tuple[float, float] | None:
    """Return (batches done, value) of the best mean of tests, of equals the first; ``None`` without tests.

    The best is the lowest, but of precision and recall.
    """
    sign = -1 if curve.name.startswith(THE_MORE) else 1
    pairs = zip(curve.means.at, curve.means.values, strict=True)
    known = [(at, value) for at, value in pairs if not math.isnan(value)]
    return min(known, key=lambda pair: sign * pair[1], default=None)


def _values(history: History) -> Html:
    """Return a table of all values: of the last batch, the last and the best test, and the final one."""
    rows: list[Sequence[str]] = []
    for curve in history.curves[:_VALUES]:
        best = best_test(curve)
        rows.append(
            [
                curve.key,
                value_text(curve.name, curve.train.values[-1]) if len(curve.train) else "",
                value_text(curve.name, curve.means.values[-1]) if len(curve.means) else "",
                value_text(curve.name, best[1]) if best else "",
                f"{best[0]:,.0f}" if best else "",
                value_text(curve.name, curve.final) if curve.final is not None else "",
            ]
        )
    heads = ("value", "last batch", "last test", "best test", "after batches", "final test")
    window = f"; tests are means over {history.window}" if history.window > 1 else ""
    few = f"; the first {_VALUES} of {len(history.curves):,} values" if len(history.curves) > _VALUES else ""
    return table(f"What it came to{window}{few}", heads, rows)


def _marks(history: History) -> Html:
    """Return what the marks of the curves say, for those who do not see them."""
    rows = [[str(i), f"{at:,.0f}", text] for i, (at, text) in enumerate(history.happened.items(), 1)]
    if not rows:
        return Html("")
    more = [element("p", f"And {len(rows) - _MARKS:,} before these.")] if len(rows) > _MARKS else []
    heads = ("mark", "after batches", "what happened")
    return joined([table("Marks in the curves", heads, rows[-_MARKS:], words=(0, 2)), *more])
