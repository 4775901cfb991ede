"""How a run went: what ended it, and how fast it is."""

import re
from collections.abc import Iterator
from statistics import median

from convnet.training.advice.kinds import Advice, number
from convnet.training.history import History

_LONG = 1.0  # second of a batch; times of shorter ones depend on whatever else a machine does
_BATCHES = 20  # whose median a speed is


def ended(history: History) -> Iterator[Advice]:
    """Yield what ended a run, where that was an error and it has not gone on since."""
    ending = history.ending
    if ending is None or ending["line"] != "error":
        return
    text = str(ending.get("text"))
    layer = re.search(r"layer '([^']+)'", text)
    what = f"an error ended the run after {history.done:,.0f} batches: {text}"
    yield Advice("error", layer[1] if layer else "", what, _mend(text))


def _mend(text: str) -> str:
    """Return what to do about an error, beyond what it says itself."""
    if "finite" not in text:
        return "What it has saved goes on with --load-file."
    if "Mend the data" in text:
        return "When that is done, --load-file goes on from the last checkpoint."
    if "No learning rate" in text:
        return "initW is a standard deviation: what suits data around 1 is too large for pixels, which reach 255."
    return "Go on from the last checkpoint (--load-file) with epsW a tenth of what it is, or begin anew with that."


def slow(history: History) -> Iterator[Advice]:
    """Yield the speed where it is less than half of what it was at the beginning."""
    speeds = [value for value in history.speed.values if value > 0]
    if len(speeds) < 2 * _BATCHES or number(history.last.get("seconds")) < _LONG:
        return
    first, last = median(speeds[1 : _BATCHES + 1]), median(speeds[-_BATCHES:])  # the first batch may compile kernels
    if last < first / 2:
        text = f"{last:,.0f} cases a second are computed; at the beginning it was {first:,.0f}."
        yield Advice("note", "", text, "Is the machine busy with something else, or waiting for data from a slow disk?")
