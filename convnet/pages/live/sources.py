"""Where a page has from what the log does not tell: the moment, the filters, and whether it may save and stop the run.

``LiveRun`` is a run of this process: a callback, which does in the thread that trains what only that may do, and only for a
page that is open. ``WatchedRun`` is one of another process, known by its files.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import singledispatchmethod
from pathlib import Path
from typing import NamedTuple, Protocol

from convnet.checkpoint import CheckpointFolder, load
from convnet.data.provider import range_text
from convnet.errors import ConvnetError, first_line
from convnet.pages.live.filters import LiveFilters, NetFilters, stored_filters
from convnet.training import events
from convnet.training.progress import Progress
from convnet.training.run import Run

_OPEN = 5.0  # seconds for which a page counts as open after it has asked
_OFTEN, _SELDOM = 0.5, 2.0  # seconds between two looks at the moment, and between two copies of filters
_SHARE = 0.005  # of the time, which copies may take
_LOG = logging.getLogger("convnet.page")


class Moment(NamedTuple):
    """What a run does now, in words; what is not known is empty."""

    doing: str = ""
    place: str = ""
    minibatch: str = ""
    rate: str = ""
    left: str = ""
    device: str = ""


class Source(Protocol):
    """Where a page has from what the log does not tell. Values are replaced, never changed in place: threads read them."""

    moment: Moment
    filters: Sequence[LiveFilters]  # another object when they are other filters
    said: str  # what a button has set going
    when: str  # since when the filters have been so
    is_own: bool  # whether it is a run of this process
    is_over: bool  # whether nothing more will come
    fault: str  # why the run ended, where its log does not say so
    acts: dict[str, Callable[[], None]]  # ``save`` and ``stop``; none where that is not this program's business

    def asked(self) -> None:
        """Take notice that a page has asked."""


class LiveRun:
    """What a page shows of a run of this process; ``clock`` counts seconds. A callback of that run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.progress = clock, Progress(clock)
        self.moment, self.when, self.said = Moment("The run begins"), "", ""
        self.filters: Sequence[LiveFilters] = ()
        self.is_own, self.is_over, self.fault = True, False, ""
        self.acts: dict[str, Callable[[], None]] = {}
        self._filters: NetFilters | None = None
        self._batches: Callable[[], int] = int
        self._asked_at = self._told_at = self._copy_at = -_OPEN

    def take(self, work: Run) -> None:
        """Let the page save and stop this run."""
        self.acts = {"save": work.asked_to_save.ask, "stop": lambda: work.asked_to_stop.ask("the page")}

    def asked(self) -> None:
        self._asked_at = self.clock()

    @property
    def is_open(self) -> bool:
        """Whether a page has asked lately."""
        return self.clock() - self._asked_at < _OPEN

    def end(self, error: BaseException | None) -> None:
        """Take notice that nothing more will come, and why, where that is an error."""
        self.fault = first_line(error) if error is not None else ""
        self.moment, self.acts, self.said = Moment(device=self.moment.device), {}, ""
        self.is_over = True

    @singledispatchmethod
    def __call__(self, event: events.Event) -> None:
        """Take down what an event tells of the moment, if anything."""

    @__call__.register
    def _(self, event: events.RunBegin) -> None:
        session = event.session
        self.progress.begin(session.plan, session.position)
        self._batches = lambda: session.position.batches_done
        self._filters = NetFilters(event.net)
        self.moment = Moment("Loading data", self.progress.place, device=event.device)
        self._copy()

    @__call__.register
    def _(self, event: events.Message) -> None:
        if self.said:  # it answers who has asked to save
            self.said = event.text.partition("\n")[0]

    @__call__.register
    def _(self, event: events.BatchBegin) -> None:
        self.progress.begin_batch(event.epoch, event.batch)
        self._look()

    @__call__.register
    def _(self, event: events.MinibatchEnd) -> None:
        self.progress.count(event.done, event.total, event.cases)
        self._look()

    def _look(self) -> None:
        """Take down the moment and the filters, where a page is open and it is time for it."""
        now = self.clock()
        if not self.is_open:
            return
        if now - self._told_at >= _OFTEN:
            self._tell("Training")
        if now >= self._copy_at:
            self._copy()

    @__call__.register
    def _(self, _event: events.BatchEnd) -> None:
        self.progress.end_batch()

    @__call__.register
    def _(self, event: events.TestBegin) -> None:
        self._tell(f"Testing on {range_text(event.batches)}")

    @__call__.register
    def _(self, _event: events.TestEnd) -> None:
        self.progress.pause()

    @__call__.register
    def _(self, _event: events.Saved) -> None:
        self.said = ""

    @__call__.register
    def _(self, _event: events.BatchClosed) -> None:
        self.progress.close_batch()

    def _tell(self, doing: str) -> None:
        self._told_at = self.clock()
        progress = self.progress
        self.moment = self.moment._replace(
            doing=doing, place=progress.place, minibatch=progress.minibatch(), rate=progress.rate(), left=progress.left()
        )

    def _copy(self) -> None:
        start = self.clock()
        if self._filters:
            self.filters, self.when = self._filters.copy(), f"after {self._batches():,} batches"
        end = self.clock()
        self._copy_at = end + max(_SELDOM, (end - start) / _SHARE)


class WatchedRun:
    """What a page shows of a run of another process: filters of the newest checkpoint of ``folder``, read in a thread."""

    is_own, is_over, fault = False, False, ""

    def __init__(self, folder: Path) -> None:
        self.folder = CheckpointFolder(folder)
        self.moment, self.when, self.said = Moment(), "", ""
        self.filters: Sequence[LiveFilters] = ()
        self.acts: dict[str, Callable[[], None]] = {}
        self._seen: tuple[Path, int, int] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="convnet-checkpoint")
        self._reading: Future[None] | None = None

    def asked(self) -> None:
        if self._reading and not self._reading.done():
            return
        try:
            newest = self.folder.names()[-1]
            status = newest.stat()
        except (OSError, IndexError):  # none yet, or removed just now
            return
        if self._seen != (seen := (newest, status.st_mtime_ns, status.st_size)):
            self._seen = seen
            self._reading = self._reader.submit(self._read, newest)

    def _read(self, path: Path) -> None:
        """Read the filters of a checkpoint; of one that cannot be read, or is being replaced, nothing."""
        try:
            self.filters, self.when = stored_filters(load(path).layers), f"in checkpoint {path.name}"
        except (ConvnetError, KeyError, OSError, ValueError) as error:
            _LOG.debug("%s shows no filters: %s", path, error)
