"""How far a run has come, how fast it goes, and how long it will take: as texts for whoever watches."""

import time
from collections import deque
from collections.abc import Callable

from convnet.checkpoint import Position
from convnet.texts import time_text
from convnet.training.plan import Plan

_WINDOW = 20  # minibatches over which images a second are counted
_ENOUGH = 10, 2  # minibatches, or batches, after which one can tell how long a run will take


class Progress:
    """Counts batches, minibatches and cases of a run by ``clock``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.in_batch = False
        self.place = "the beginning"
        self._batches = 0  # done, of the whole run
        self._left: int | None = None  # batches still to train on, that under way with them
        self._per_epoch = 1
        self._at = self._total = 0  # minibatches of the batch under way, or of that before
        self._trained = self._finished = 0  # minibatches and batches, now; the first minibatch is slower
        self._since = 0.0
        self._seen: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    def begin(self, plan: Plan, position: Position) -> None:
        """Take up a run that stands at ``position``."""
        self._batches, self._left, self._per_epoch = position.batches_done, plan.batches_left(position), len(plan.train)

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Begin a batch."""
        self.in_batch = True
        of = f", {self._batches + 1:,} of {self._batches + self._left:,}" if self._left is not None else ""
        self.place = f"batch {epoch}.{batch}{of}"
        self._at = 0

    def count(self, done: int, total: int, cases: int) -> None:
        """Count a minibatch, number ``done`` of ``total``."""
        now = self.clock()
        self._at, self._total = done, total
        self._trained += 1
        if self._trained == 1:
            self._since = now
        self._seen.append((now, cases))

    def end_batch(self) -> None:
        """Count the batch under way."""
        self._batches += 1
        self._finished += 1
        self._at = 0
        if self._left is not None:
            self._left -= 1

    def close_batch(self) -> None:
        """End the batch, with all that followed it."""
        self.in_batch = False

    def pause(self) -> None:
        """Leave out the time until the next minibatch from images a second."""
        self._seen.clear()

    def texts(self) -> list[str]:
        """Return what is known of: the time left, images a second, the place within the batch."""
        return [text for text in (self.left(), self.rate(), self.minibatch()) if text]

    def left(self) -> str:
        """Return how much time is left, where that is known."""
        minibatches, seconds = self._minibatches_left(), self._seconds_each()
        return left_text(seconds * minibatches) if minibatches and seconds > 0 else ""

    def rate(self) -> str:
        """Return how many images a second are trained on, once that is known."""
        seconds = self._seen[-1][0] - self._seen[0][0] if len(self._seen) > 1 else 0.0
        return rate_text((sum(cases for _, cases in self._seen) - self._seen[0][1]) / seconds) if seconds > 0 else ""

    def minibatch(self) -> str:
        """Return the place within the batch under way."""
        return f"minibatch {self._at} of {self._total}" if self._at else ""

    def estimate(self) -> str:
        """Return how long the run, or an epoch of it, will take here, once that can be told; until then ``''``."""
        seconds, left = self._seconds_each(), self._minibatches_left()
        if (self._trained <= _ENOUGH[0] and self._finished < _ENOUGH[1]) or not seconds:
            return ""
        if left is None:
            return f"An epoch takes about {time_text(seconds * self._per_epoch * self._total)} on this machine."
        return f"This will take about {time_text(seconds * left)} on this machine."

    def _minibatches_left(self) -> int | None:
        """Return how many minibatches are still to be trained on, as if all batches had as many as this one."""
        return None if self._left is None else self._left * self._total - self._at

    def _seconds_each(self) -> float:
        """Return the seconds that a minibatch took on average, with the tests between them."""
        return (self.clock() - self._since) / (self._trained - 1) if self._trained > 1 else 0.0


def left_text(seconds: float) -> str:
    """Return ``40 s left``, ``12 min left`` or ``2.2 h left``: few columns."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s left"
    hours = seconds / 3600
    return f"{seconds / 60:.0f} min left" if seconds < 6000 else f"{hours:,.{int(hours < 10)}f} h left"


def rate_text(rate: float) -> str:
    """Return ``1,234 images/s`` or ``3.5 images/s``."""
    return f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s"
