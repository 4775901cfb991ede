"""The parts of the page, in HTML: each a function of what is known of a run, and none asks a clock."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from convnet.drawing.curve_scene import curve_scene
from convnet.drawing.svg import svg_of
from convnet.errors import ConvnetError
from convnet.pages.live.follow import Followed
from convnet.pages.live.sources import Moment
from convnet.pages.parts import Html, element, facts, joined, table
from convnet.texts import time_text
from convnet.training.advice import advice_on, judged
from convnet.training.costs import value_text
from convnet.training.history import History, Series, number_of
from convnet.training.progress import left_text, rate_text
from convnet.training.records import Record

_ENDS = ("end", "stopped", "error")
_KINDS = {"error": "bad", "warning": "warn"}  # classes of advice by its level; a note has none


# -- now


def status_part(log: Followed, moment: Moment, has_ended: bool, remark: str) -> Html:
    """Return how far the run is, how fast it goes and how long it will take, how its last numbers were, and a remark."""
    history = log.history
    speed, left = history.speed, log.seconds_left()
    place = moment.place.removeprefix("batch ") or (_place(history.last) if history.last else "")
    pairs: list[tuple[str, str]] = [
        ("Now", "Ended" if has_ended else moment.doing or ("Training" if history.begin or history.last else "No log yet")),
        ("Batch", ", ".join(text for text in (place, moment.minibatch) if text)),
        ("Speed", "" if has_ended else moment.rate or (rate_text(speed.values[-1]) if len(speed) else "")),
        ("Time left", "" if has_ended else (moment.left or (left_text(left) if left else "")).removesuffix(" left")),
        ("Last batch", values_text(history, lambda curve: curve.train)),
        ("Last test", values_text(history, lambda curve: curve.test)),
    ]
    where = [("Device", moment.device or str(history.begin.get("device", ""))), ("Net", _net(history))]
    faults = [element("p", text, class_=kind) for text, kind in ((log.fault, "bad"), (remark, "warn")) if text]
    return joined([*faults, element("div", facts(pairs), class_="large"), facts(where)])


def _net(history: History) -> str:
    net = history.begin.get("net")
    return Path(net).name if isinstance(net, str) else ""


def _place(record: Record) -> str:
    done = f"{record['batches']:,} done"
    return f"{record['epoch']}.{record['batch']}, {done}" if {"epoch", "batch"} <= record.keys() else done


def values_text(history: History, series: Callable[[Any], Series]) -> str:
    """Return the newest values of costs, of batches or of tests: ``cost 0.6123, error 12.30 %``."""
    known = [(curve, series(curve)) for curve in history.curves if len(series(curve))]
    several = len(history.costs) > 1
    return ", ".join(
        f"{curve.cost + ' ' if several else ''}{curve.name} {_value(curve.name, found.values[-1])}" for curve, found in known
    )


def _value(name: str, value: float) -> str:
    return value_text(name, value).replace(" ", "\N{NO-BREAK SPACE}")


# -- what happened


def ending_of(history: History, folder: str) -> str:
    """Return how the run has ended, by its log; an empty text where it goes on, or ended without a word."""
    since, late = _time(history.last), dict[str, Record]()
    for record in reversed(history.events):
        if record["line"] in ("begin", "resume") or _time(record) < since:
            break
        late.setdefault(record["line"], record)
    kind = next((kind for kind in reversed(_ENDS) if kind in late), "")
    if kind == "error":
        return f"The run has ended with an error: {late[kind].get('text')}"
    if kind == "stopped":
        return f"The run was stopped by {late[kind].get('by')}, and is saved; convnet run --load-file {folder} goes on"
    if kind == "end":
        final = ", ".join(f"{c.name} {_value(c.name, c.final)}" for c in history.curves if c.final is not None)
        return "The run has ended" + (f"; all test batches: {final}" if final else "")
    return ""


def news_of(history: History) -> str:
    """Return the newest event, in a sentence."""
    found = next((text for record in reversed(history.events) if (text := _sentence(history, record))), "")
    return found or ("" if history.last else "No batch is done yet")


def _sentence(history: History, record: Record) -> str:
    line, after = record["line"], f"after {record['batches']:,} batches"
    text = record.get("text")
    if line == "test":
        return f"Test {after}: {values_text(history, lambda curve: curve.test)}"
    if line == "saved":
        return f"Saved checkpoint {record.get('checkpoint')}, {after}"
    if line == "message":
        return str(text).partition("\n")[0]
    if line in ("change", "warning"):
        return f"{line.capitalize()} {after}: {'; '.join(map(str, text)) if isinstance(text, list) else text}"
    return {"begin": "The run has begun", "resume": f"The run goes on {after}"}.get(line, "")


def _time(record: Record) -> float:
    return record.get("time") or -math.inf


# -- what there is to see


def curves_part(history: History, width: int) -> Html:
    """Return the curves of each cost, drawn for a page so many pixels wide."""
    drawings = []
    for cost in history.costs:
        try:
            drawings.append(element("div", Html(svg_of(curve_scene([history], cost, width=width))), class_="drawing"))
        except ConvnetError as error:
            drawings.append(element("p", f"{cost}: {error}", class_="warn"))
    return joined(drawings) if drawings else element("p", "The first batch is not done yet.", class_="faint")


def advice_part(history: History) -> Html:
    """Return what is wrong, or may be, and what to do about it."""
    found = [
        element("p", element("strong", f"{advice.where}: " if advice.where else "", advice.text), " ", advice.remedy,
                class_=_KINDS.get(advice.level))
        for advice in advice_on(history)
    ]  # fmt: skip
    return joined(found) if found else element("p", "Nothing stands out.", class_="faint")


def layers_part(history: History) -> Html:
    """Return a table of the mean sizes of weights and of what was last added to them, with what that means."""
    rows = list(_size_rows(history))
    if not rows:
        return element("p", "Sizes of weights are measured after each test; there was none yet.", class_="faint")
    at = max(sizes[-1].at for sizes in history.sizes.values())
    head = ["layer", "matrix", "the ratio is", "mean size", "last change", "ratio", "rate"]
    return table(f"Mean magnitudes after {at:,.0f} batches", head, rows, words=3)


def _size_rows(history: History) -> Iterator[list[object]]:
    for one in judged(history):
        rates = history.rates.get((one.layer, one.label))
        rate = f"{rates.values[-1]:.3g}" if rates else ""
        yield [one.layer, one.label, one.said, one.size, one.change, one.ratio, rate]


def age_text(history: History, now: float) -> str:
    """Return how long ago the log got its last line, where that is long for this run."""
    age = now - max(map(_time, [history.last, *history.events[-1:]]))
    usual = number_of(history.last.get("seconds")) or 0.0
    if not math.isfinite(age) or age < max(60.0, 5 * usual):
        return ""
    return f"Nothing for {time_text(age)}: it takes long, or was ended without a word; who goes on with it writes here again"
