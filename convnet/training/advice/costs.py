"""What costs and errors of training and of tests tell of a run."""

import math
from collections.abc import Iterator

from convnet.texts import counted
from convnet.training.advice.kinds import CASES, Advice, number
from convnet.training.advice.trends import chance_classes, is_chance, mean, plateau, rise, window_of, worsening
from convnet.training.history import Curve, History

_LEFT = 0.005  # training error, below which there is nothing to gain by other rates


def values_of(history: History) -> Iterator[tuple[str, Curve, Curve]]:
    """Yield costs that have an error: the name, the first value, and the error."""
    for cost in history.costs:
        curves = {curve.name: curve for curve in history.curves if curve.cost == cost}
        if "error" in curves and len(curves) > 1:
            yield cost, next(iter(curves.values())), curves["error"]


def stuck_at(history: History, cost: Curve, error: Curve) -> int | None:
    """Return K where the cost has been ln(K) for an epoch or 100 batches, and the error that of guessing; else ``None``."""
    count = window_of(history.epoch)
    if min(len(cost.train), len(error.train)) < count:
        return None
    return chance_classes(cost.train.values[-count:], error.train.values[-count:], _classes(history))


def _classes(history: History) -> int | None:
    data = history.begin.get("data")
    classes = data.get("classes") if isinstance(data, dict) else None
    return classes if isinstance(classes, int) else None


def stuck(history: History) -> Iterator[Advice]:
    """Yield costs that are those of a net that tells nothing apart."""
    for name, cost, error in values_of(history):
        if classes := stuck_at(history, cost, error):
            value = f"{math.log(classes):.4g}, which is ln({classes})"
            text = f"the cost stays at {value}: every class gets the same probability, and nothing is learned."
            yield Advice("warning", name, text, _why_stuck(history, cost, classes))


def _why_stuck(history: History, cost: Curve, classes: int) -> str:
    """Return what to do: by whether the cost ever moved, and by how large the weights are."""
    before = cost.train.values[: -window_of(history.epoch)]
    sizes = {layer: found[-1].size for (layer, label), found in history.sizes.items() if label != "biases" and found}
    if len(before) and min(before) < 0.97 * math.log(classes):
        return "It had moved before, so the rates were too high: begin anew with epsW and epsB a tenth of what they are."
    if sizes and max(sizes.values()) < 2e-3:
        return "Begin anew with a larger initW: 2012 had 0.01 where units have thousands of inputs; fewer inputs want more."
    return (
        "Begin anew with initB=1 behind relu, as in 2012, so that units get something positive to begin with, and with "
        "another initW and epsW. Do the labels belong to the pictures?"
    )


def rising(history: History) -> Iterator[Advice]:
    """Yield costs of training that have clearly risen since the rates were last changed by hand."""
    since = max((mark.at for mark in history.marks if mark.kind == "change"), default=-1)
    for name, cost, error in values_of(history):
        values = [value for at, value in zip(cost.train.at, cost.train.values, strict=True) if at > since]
        if values and (risen := rise(values, cost.train.values[0])) and not stuck_at(history, cost, error):
            text = f"the cost of training rises: it was {risen[0]:.4g}, and is {risen[1]:.4g}."
            remedy = "Lower epsW and epsB to a tenth, and go on from a checkpoint before: --load-file RUN/EPOCH.BATCH."
            yield Advice("warning", name, text, remedy)


def _tested(history: History) -> Iterator[tuple[str, Curve, int]]:
    """Yield errors that were tested, with the cost's name and the number of cases behind a mean of tests."""
    lines = [event for event in history.events if event["line"] == "test"][-history.window :]
    cases = int(sum(number(line.get("cases")) for line in lines))
    for name, _, error in values_of(history):
        if len(error.train) and len(error.means) and cases >= CASES:
            yield name, error, cases


def misfitting(history: History) -> Iterator[Advice]:
    """Yield errors of tests that are those of guessing, while training gets most cases right."""
    classes = _classes(history) or 0
    for name, error, _ in _tested(history):
        last, trained = error.means.values[-3:], _last_error(history, error)
        if len(last) == 3 and is_chance(min(last), classes) and trained < (1 - 1 / classes) / 2:
            text = f"tests are as bad as guessing, with an error of {last[-1]:.1%}, while that of training is {trained:.1%}."
            remedy = "Were the test batches made like those for training: classes in the same order, the same mean?"
            yield Advice("warning", name, text, remedy)


def tests(history: History) -> Iterator[Advice]:
    """Yield errors of tests that rise while those of training fall, or that no longer fall while the rates stay."""
    for name, error, cases in _tested(history):
        worse = worsening(error.means.values, cases)
        if worse and (text := _apart(error, *worse)):
            remedy = "It looks like overfitting. --keep-best keeps the best; more wc, dropout or data may help."
            yield Advice("note", name, text, remedy)
        count = 0 if worse or not _is_at_one_rate(history) else plateau(error.means.values, cases)
        if count and _last_error(history, error) > _LEFT:
            text = f"the test error has not fallen for {counted(count, 'test')}, with rates as they were."
            yield Advice("note", name, text, "Lower epsW and epsB to a tenth, which is what was done then in 2012.")


def _last_error(history: History, error: Curve) -> float:
    return mean(error.train.values[-window_of(history.epoch) :])


def _apart(error: Curve, best: int, lowest: float, last: float) -> str:
    """Return how errors went apart since test ``best``; nothing where that of training has not fallen by a tenth."""
    best_at = error.means.at[best]
    pairs = list(zip(error.train.at, error.train.values, strict=True))
    size = max(3, len(pairs) // 20)
    before, now = [value for at, value in pairs if at <= best_at][-size:], [value for _, value in pairs[-size:]]
    if not before or mean(now) >= 0.9 * mean(before):
        return ""
    tested = f"the test error was {lowest:.2%} after {best_at:,.0f} batches and is {last:.2%}"
    return f"{tested}, while that of training fell from {mean(before):.2%} to {mean(now):.2%}."


def _is_at_one_rate(history: History) -> bool:
    """Return whether no rate has ever changed: a schedule will lower those that have."""
    return bool(history.rates) and all(len(set(series.values)) == 1 for series in history.rates.values())
