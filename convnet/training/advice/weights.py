"""What sizes of weights and increments, rates and dead units tell of a run."""

import math
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from convnet.texts import listed
from convnet.training.advice.costs import stuck_at, values_of
from convnet.training.advice.kinds import CASES, Advice, number
from convnet.training.advice.trends import mean, window_of
from convnet.training.history import History, Series

_DEAD = 0.5  # share of a layer's units
_TOO_SMALL = 3e-5  # ratio of half of the matrices
_LIMITS = (  # the largest ratio of increments to weights, what it is called, and what that means
    (0.0, "still", "epsW is 0, or no gradient arrives"),
    (1e-5, "very small", "usual where rates were lowered or nothing is left to learn; else raise epsW"),
    (1e-4, "small", "usual where rates were lowered or units have many inputs; else raise epsW"),
    (1e-2, "usual", ""),
    (1e-1, "large", "usual in the first batches, while weights are small; else lower epsW"),
    (math.inf, "too large", "lower epsW"),
)


class Verdict(NamedTuple):
    """What a ratio of increments to weights is called, and what that means: nothing where it is usual."""

    ratio: float
    word: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.word}: {self.meaning}" if self.meaning else self.word


def ratio_verdict(size: float, change: float) -> Verdict:
    """Judge the mean sizes of weights and of their last increments, which are what was added: the rate is in them.

    So are momentum and weight decay, by which weights without a gradient have increments, too.
    """
    ratio = change / size if size else math.nan
    if not math.isfinite(size) or not math.isfinite(change):
        return Verdict(ratio, "not a number", "lower epsW")
    if not size:
        return Verdict(ratio, "all 0", "raise initW: units that begin equal stay equal")
    return next(Verdict(ratio, word, meaning) for limit, word, meaning in _LIMITS if ratio <= limit)


class Judged(NamedTuple):
    """The newest mean size of weights and of their increments, as texts, and what their ratio says: of biases nothing."""

    layer: str
    label: str
    size: str
    change: str
    ratio: str
    said: str


def judged(history: History) -> Iterator[Judged]:
    """Yield every matrix that was measured."""
    for (layer, label), sizes in history.sizes.items():
        _, size, change = sizes[-1]
        verdict = ratio_verdict(size, change)
        said = "" if label == "biases" else str(verdict)
        yield Judged(layer, label, f"{size:.3g}", f"{change:.3g}", f"{verdict.ratio:.2g}", said)


def dead(history: History) -> Iterator[Advice]:
    """Yield layers half of whose units were 0 for every case of the last test."""
    tests = [event for event in history.events if event["line"] == "test"]
    lines = [event for event in history.events if event["line"] == "weights"]
    shares = lines[-1].get("dead", {}) if lines else {}
    if not tests or number(tests[-1].get("cases")) < CASES:
        return
    found = {layer: share for layer, share in shares.items() if share >= _DEAD}
    if found and not _zero(history):
        parts = [f"{share:.0%}" for share in found.values()]
        text = f"{listed(parts if len(set(parts)) > 1 else parts[:1])} of the units were 0 for every case of the last test."
        remedy = (
            "They get no gradient, and do not come back: begin anew with a lower epsW, or with a larger initB, which was 1 "
            "behind relu in 2012."
        )
        yield Advice("warning", ", ".join(found), text, remedy)


def _zero(history: History) -> list[str]:
    """Return the layers of which a matrix that learns is still all 0."""
    rates = {pair: series.values[-1] for pair, series in history.rates.items() if series}
    found = [pair for pair, sizes in history.sizes.items() if pair[1] != "biases" and sizes and not sizes[-1].size]
    return [layer for layer, label in found if rates.get((layer, label), 1)]


def zero(history: History) -> Iterator[Advice]:
    """Yield layers whose weights are all 0."""
    if found := _zero(history):
        text = "all weights are 0, after training: units that begin equal get equal gradients, and stay equal."
        yield Advice("warning", ", ".join(found), text, "Begin anew with initW above 0.")


def frozen(history: History) -> Iterator[Advice]:
    """Yield that no weight changes any more."""
    rates = [series.values[-1] for series in history.rates.values() if series]
    if rates and not any(rates):
        yield Advice(
            "warning", "", "all learning rates are 0: no weight changes.", "Raise epsW where there is more to learn."
        )


def ratios(history: History) -> Iterator[Advice]:
    """Yield increments that were too large in two tests in a row, or that are too small while little is learned."""
    matrices = {pair: sizes for pair, sizes in history.sizes.items() if pair[1] != "biases"}
    large: dict[str, float] = {}
    for (layer, _), sizes in matrices.items():
        verdicts = [ratio_verdict(size, change) for _, size, change in sizes[-2:]]
        if len(verdicts) == 2 and all(verdict.word == "too large" for verdict in verdicts):
            large[layer] = max(large.get(layer, 0), verdicts[-1].ratio)
    if large:
        text = f"increments are up to {max(large.values()):.2g} of the weights; about 0.001 is usual."
        yield Advice("warning", ", ".join(large), text, f"Lower epsW of {listed(large)}, to a tenth at first.")
    small = list(_at_full_rates(history))
    if small and median(small) < _TOO_SMALL and _learns_little(history):
        text = f"little is learned, and increments are {median(small):.1g} of the weights; about 0.001 is usual."
        yield Advice("warning", "", text, "Raise epsW, tenfold at first.")


def _at_full_rates(history: History) -> Iterator[float]:
    """Yield the last ratio of each matrix that was measured before its rate was lowered by more than half."""
    for pair, sizes in history.sizes.items():
        rates = history.rates.get(pair)
        if pair[1] != "biases" and rates and max(rates.values) > 0:
            lowered = _lowered_at(rates)
            yield from [size.change / size.size for size in sizes if size.at < lowered and size.size][-1:]


def _lowered_at(rates: Series) -> float:
    """Return the batch from which on a rate was less than half of its highest."""
    highest = max(rates.values)
    since = rates.values.index(highest)
    later = zip(rates.at[since:], rates.values[since:], strict=True)
    return next((at for at, rate in later if rate < highest / 2), math.inf)


def _learns_little(history: History) -> bool:
    """Return whether the first cost is above two thirds of what it began with, and most of its cases are still wrong."""
    for _, cost, error in values_of(history):
        count = window_of(history.epoch)
        if min(len(cost.train), len(error.train)) < count or stuck_at(history, cost, error):
            return False
        is_wrong = mean(error.train.values[-count:]) > 0.5
        return is_wrong and mean(cost.train.values[-count:]) > cost.train.values[0] / 1.5
    return False
