"""What a run has come to, as numbers that can be drawn: curves, rates, sizes of weights, speed, and marks of what happened.

    history, remarks = History.read("checkpoints")
    [curve.test.values[-1] for curve in history.curves]

Whoever follows a run adds its lines one by one; all others read the lines of a log, or of a checkpoint's history. A batch
is a few numbers in arrays of these, so that a million of them are small.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

from convnet.checkpoint import BEST, Checkpoint
from convnet.errors import ConvnetError
from convnet.texts import grouped
from convnet.training.costs import TWICE
from convnet.training.log import KEYS, NAME
from convnet.training.records import Record, checkpoint_lines, checkpoint_of, lines_before, log_lines, log_of

_NOT_COSTS = frozenset(KEYS)
_MARKED = ("change", "resume", "stopped")
Weights = tuple[str, str]  # layer and label, such as ``weights[0]`` or ``biases``


class Series:
    """Numbers ``values``, as Python floats that may be infinite or NaN, after ``at`` batches each, which never fall."""

    def __init__(self) -> None:
        self.at, self.values = array("d"), array("d")

    def __len__(self) -> int:
        return len(self.at)

    def add(self, at: float, value: float) -> None:
        """Add a number."""
        self.at.append(at)
        self.values.append(value)

    def change(self, at: float, value: float) -> None:
        """Add a number that is another than the last."""
        if not self.values or self.values[-1] != value:
            self.add(at, value)

    def cut(self, at: float) -> None:
        """Forget what was after more than ``at`` batches."""
        count = bisect_right(self.at, at)
        del self.at[count:], self.values[count:]


@dataclass
class Curve:
    """The value ``name`` of a cost, of batches, of tests, and of the last weights on all test batches.

    ``means`` are over as many tests as there are test batches, where each test takes one of these.
    """

    cost: str
    name: str
    train: Series = field(default_factory=Series)
    test: Series = field(default_factory=Series)
    means: Series = field(default_factory=Series)
    final: float | None = None

    @property
    def key(self) -> str:
        """What lines of a log call it: ``logprob.error``."""
        return f"{self.cost}.{self.name}"


class Mark(NamedTuple):
    """Something that happened after ``at`` batches: a ``change`` of rates, a ``resume``, or that the run was ``stopped``."""

    at: float
    kind: str
    text: str


class Size(NamedTuple):
    """Mean magnitude of weights after ``at`` batches, and of what was last added to them."""

    at: float
    size: float
    change: float


@dataclass
class History:
    """What is known of a run that is called ``title``.

    ``begin`` is the line that opened its log. ``events`` are all lines but those of batches, of which ``last`` is the last:
    what they say is in the series. A rate of ``rates`` holds from its batch on, to the next entry; so does a number of
    ``epochs``. ``speed`` is in cases a second, ``seconds`` are those of batches; ``times``, in seconds since 1970, are of
    their ends. ``done`` batches were trained.
    """

    title: str
    begin: Record = field(default_factory=dict)
    events: list[Record] = field(default_factory=list)
    last: Record = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    rates: dict[Weights, Series] = field(default_factory=dict)
    sizes: dict[Weights, list[Size]] = field(default_factory=dict)
    speed: Series = field(default_factory=Series)
    times: Series = field(default_factory=Series)
    seconds: Series = field(default_factory=Series)
    epochs: Series = field(default_factory=Series)
    done: float = 0
    _curves: dict[str, Curve] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record], title: str) -> Self:
        """Return what lines of a log tell, in their order: also those that do not count any more."""
        history = cls(title)
        for record in records:
            history.add(record)
        return history

    @classmethod
    def read(cls, path: str | Path) -> tuple[Self, list[str]]:
        """Return the history of a run, and remarks; ``path`` is its folder, its log or a checkpoint.

        Raises ``ConvnetError``.
        """
        log = log_of(path)
        if log is not None:
            return cls.of(log_lines(log), run_name(log)), []
        checkpoint, remarks = checkpoint_of(path)
        history, more = cls.of_checkpoint(checkpoint)
        return history, [*remarks, *more]

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> tuple[Self, list[str]]:
        """Return the history that a checkpoint holds, and remarks.

        Its costs and changes are its own, whatever became of the run later, and they reach back to where there was no log
        yet. Other marks are those of the log beside it, if there is one, up to the checkpoint's batch.
        """
        history = cls.of(checkpoint_lines(checkpoint), run_name(checkpoint.path))
        log = checkpoint.path.parent / NAME
        if not log.is_file():
            return history, []
        try:
            marks = cls.of(log_lines(log), history.title).marks
        except ConvnetError as error:
            return history, [f"{error}; the curves are without marks"]
        own = history.marks
        marks = [mark for mark in marks if mark.at <= history.done and (mark.kind != "change" or mark in own)]
        history.marks = sorted([*marks, *(mark for mark in own if mark not in marks)], key=attrgetter("at"))
        return history, []

    @property
    def curves(self) -> list[Curve]:
        """The values of all costs, not the error of one guess twice."""
        return list(self._curves.values())

    @property
    def happened(self) -> dict[float, str]:
        """What the marks say, by how many batches were done: those after the same batch together."""
        texts: dict[float, list[str]] = {}
        for mark in self.marks:
            texts.setdefault(mark.at, []).append(mark.text)
        return {at: "; ".join(found) for at, found in texts.items()}

    @property
    def costs(self) -> list[str]:
        """Names of the costs, in order."""
        return list(dict.fromkeys(curve.cost for curve in self._curves.values()))

    @property
    def epoch(self) -> int:
        """Batches that make an epoch; 0 where that is not known, or was another number before the run went on."""
        counts = set(map(len, self._ranges("train_range")))
        return counts.pop() if len(counts) == 1 else 0

    @property
    def window(self) -> int:
        """Tests that a mean is over."""
        means = any("averages" in record and _is_of_one(record) for record in self.events)
        return max([1, *map(len, self._ranges("test_range")[-1:])]) if means else 1

    def _ranges(self, name: str) -> list[list[Any]]:
        """Return the batches that an option named whenever the run was begun or went on."""
        starts = [record.get("options") for record in self.events if record["line"] in ("begin", "resume")]
        values = [options.get(name) for options in starts if isinstance(options, dict)]
        return [value for value in values if isinstance(value, list)]

    @property
    def ending(self) -> Record | None:
        """The line that says how the run ended: an error, that it was stopped, or its end; ``None`` where none does."""
        found = None
        for record in reversed(self.events):
            if record["line"] in ("begin", "resume"):
                break
            if record["line"] in ("error", "stopped"):
                return record
            found = record if record["line"] == "end" else found
        return found

    def add(self, record: Record) -> None:
        """Add a line of a log: after ``begin`` none before it counts, after ``resume`` none of later batches."""
        line, at = record["line"], float(record["batches"])
        if line == "begin":
            vars(self).update(vars(History(self.title)))
        elif line == "resume":
            self._cut(record)
        if not self.begin and line in ("begin", "resume"):
            self.begin = record
        if line == "batch":
            self._add_batch(record, at)
        else:
            self.events.append(record)
        if line == "test":
            self._add_test(record, at)
        elif line == "weights":
            for pair, (size, change) in _by_weights(record.get("weights")):
                self.sizes.setdefault(pair, []).append(Size(at, float(size), float(change)))
        elif line == "final":
            for curve, value in self._values(record):
                curve.final = value
        elif line in _MARKED:
            self.marks.append(_mark(record))

    def _add_batch(self, record: Record, at: float) -> None:
        self.last, self.done = record, at
        for curve, value in self._values(record):
            curve.train.add(at, value)
            curve.final = None
        for pair, rate in _by_weights(record.get("rates")):
            self.rates.setdefault(pair, Series()).change(at, float(rate))
        if (epoch := number_of(record.get("epoch"))) is not None:
            self.epochs.change(at, epoch)
        for series, key in ((self.speed, "images_per_second"), (self.seconds, "seconds"), (self.times, "time")):
            if (number := number_of(record.get(key))) is not None:
                series.add(at, number)

    def _add_test(self, record: Record, at: float) -> None:
        averages = record.get("averages") if _is_of_one(record) else None
        self.done = max(self.done, at)
        for curve, value in self._values(record):
            curve.test.add(at, value)
            mean = number_of(averages.get(curve.key)) if averages else None
            curve.means.add(at, value if mean is None else mean)

    def _values(self, record: Record) -> list[tuple[Curve, float]]:
        """Return the values of costs that a line holds, each with its curve."""
        found = []
        for key, given in record.items():
            if key in _NOT_COSTS or (value := number_of(given)) is None:
                continue
            cost, _, name = key.rpartition(".")
            if cost and name != TWICE:
                if key not in self._curves:
                    self._curves[key] = Curve(cost, name)
                found.append((self._curves[key], value))
        return found

    def _cut(self, resume: Record) -> None:
        """Forget what was after more batches than a line ``resume`` has, and the test of what were the last weights."""
        at = float(resume["batches"])
        self.events = lines_before(self.events, resume)
        self.marks = [_mark(record) for record in self.events if record["line"] in _MARKED]
        sizes = {pair: [size for size in known if size.at <= at] for pair, known in self.sizes.items()}
        self.sizes = {pair: known for pair, known in sizes.items() if known}
        for curve in self._curves.values():
            for series in (curve.train, curve.test, curve.means):
                series.cut(at)
            curve.final = None
        for series in (self.speed, self.times, self.seconds, self.epochs, *self.rates.values()):
            series.cut(at)
        self.done = at
        if self.last.get("batches", 0) > at:
            self.last = {}


def run_name(path: Path) -> str:
    """Return what the run of a log or checkpoint is called: its folder, or the file where that has a name of its own."""
    is_of_folder = path.name in (NAME, BEST) or re.fullmatch(r"\d+\.\d+", path.name)
    return (path.resolve().parent if is_of_folder else path).name


def number_of(value: Any) -> float | None:
    """Return a number of a line, which may be one of the texts that stand for what JSON lacks, or nothing."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_of_one(record: Record) -> bool:
    """Return whether a test was of one of the test batches."""
    return len(record.get("tested") or ()) < 2


def _by_weights(found: Any) -> list[tuple[Weights, Any]]:
    """Return what a line says of weights, by layer and label."""
    return [((layer, label), value) for layer, labels in (found or {}).items() for label, value in labels.items()]


def event_text(record: Record) -> str:
    """Return what a line says of an event, in words."""
    line, text = record["line"], record.get("text")
    if line == "resume":
        checkpoint = record.get("checkpoint")
        return f"went on from {Path(checkpoint).name}" if isinstance(checkpoint, str) else "went on"
    if line == "stopped":
        return f"stopped by {record.get('by')}"
    return "; ".join(grouped(map(str, text))) if isinstance(text, list) else str(text)


def _mark(record: Record) -> Mark:
    return Mark(float(record["batches"]), record["line"], event_text(record))
