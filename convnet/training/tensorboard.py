"""The history of a run as events for TensorBoard, by tensorboardX (the extra ``tensorboard``).

Training and tests are two runs there, ``train`` and ``test``, so that a value of both is one chart. Steps are batches done.
"""

import heapq
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from convnet.errors import ConvnetError
from convnet.storage import write_atomically
from convnet.training.history import Curve, History, Mark, Series

_FILE = "events.out.tfevents.0000000001.convnet"  # by this part of the name TensorBoard knows files of events


class _Event(NamedTuple):
    """A number, or a text, under a name such as ``logprob/error``; ``time`` in seconds since 1970."""

    step: int
    time: float
    tag: str
    value: float | str


def write_events(history: History, folder: Path) -> list[Path]:
    """Write ``train`` and ``test`` into a folder that is made if need be, and return their files.

    They take the place of what was written there before, so that no point is there twice. Rates, which stay as they are
    until they change, have a point before each change and at it. Of a run without times all is of now. Raises
    ``ConvnetError``, ``OSError`` with the file's name.
    """
    writer = _load_writer()
    clock = _Clock(history)
    parts = {"train": _training(history, clock), "test": _tests(history, clock)}
    return [
        _write(writer, folder / name / _FILE, clock.start, heapq.merge(*events, key=itemgetter(0)))
        for name, events in parts.items()
    ]


class _Clock:
    """When a batch or test was done, of a run that may not know it."""

    def __init__(self, history: History) -> None:
        self.batches = dict(zip(history.times.at, history.times.values, strict=True))
        tests = [record for record in history.events if record["line"] in ("test", "final") and "time" in record]
        self.tests = {float(record["batches"]): float(record["time"]) for record in tests}
        self.now = time.time()
        self.start = next(iter(self.batches.values()), self.now)

    def batch(self, at: float) -> float:
        return self.batches.get(at, self.now)

    def test(self, at: float) -> float:
        return self.tests.get(at, self.batch(at))


def _training(history: History, clock: _Clock) -> list[Iterable[_Event]]:
    found: list[Iterable[_Event]] = [_numbers(_tag(curve), curve.train, clock.batch) for curve in history.curves]
    found.append(_numbers("images_per_second", history.speed, clock.batch))
    for (layer, label), rates in history.rates.items():
        found.append(_numbers(_clean(f"rates/{layer}/{label}"), _stepped(rates, history.done), clock.batch))
    for (layer, label), sizes in history.sizes.items():
        for name, values in (
            ("size", [size for _, size, _ in sizes]),
            ("change", [change for *_, change in sizes]),
            ("ratio", [change / size if size else 0.0 for _, size, change in sizes]),
        ):
            tag = _clean(f"weights/{layer}/{label}/{name}")
            found.append([_Event(int(s.at), clock.test(s.at), tag, v) for s, v in zip(sizes, values, strict=True)])
    found.append([_Event(int(mark.at), clock.batch(mark.at), "marks", _text(mark)) for mark in history.marks])
    return found


def _tests(history: History, clock: _Clock) -> list[Iterable[_Event]]:
    found: list[Iterable[_Event]] = [_numbers(_tag(curve), curve.test, clock.test) for curve in history.curves]
    for curve in history.curves:
        if curve.final is not None:
            done = history.done
            found.append([_Event(int(done), clock.test(done), f"final/{_tag(curve)}", curve.final)])
    return found


def _numbers(tag: str, series: Series, when: Callable[[float], float]) -> Iterator[_Event]:
    for at, value in zip(series.at, series.values, strict=True):
        yield _Event(int(at), when(at), tag, value)


def _stepped(rates: Series, done: float) -> Series:
    """Return points of which the lines between are what held: TensorBoard draws a slope from one to the next."""
    points = Series()
    for at, rate in zip(rates.at, rates.values, strict=True):
        if points and at - 1 > points.at[-1]:
            points.add(at - 1, points.values[-1])
        points.add(at, rate)
    if points and done > points.at[-1]:
        points.add(done, points.values[-1])
    return points


def _tag(curve: Curve) -> str:
    return _clean(f"{curve.cost}/{curve.name}")


def _clean(tag: str) -> str:
    """Return a name in the signs that TensorBoard's own writers keep: ``weights.0`` for ``weights[0]``."""
    return re.sub(r"[^\w./-]+", "_", re.sub(r"\[(\d+)\]", r".\1", tag))


def _text(mark: Mark) -> str:
    """Return the words of a mark, which TensorBoard takes for Markdown, as lines of code in it."""
    return "\n".join(f"    {line}" for line in mark.text.split("; "))


def _load_writer() -> Any:
    """Return tensorboardX; raises ``ConvnetError``."""
    try:
        import tensorboardX.proto.event_pb2
        import tensorboardX.proto.summary_pb2
        import tensorboardX.record_writer
        import tensorboardX.summary
    except ImportError:
        raise ConvnetError("writing events for TensorBoard needs tensorboardX: pip install tensorboardX") from None
    return tensorboardX


def _write(library: Any, path: Path, start: float, events: Iterable[_Event]) -> Path:
    """Write a file of events, of a run that began at ``start``, and return its path; the same run gives the same bytes."""
    event = library.proto.event_pb2.Event
    with TemporaryDirectory(prefix="convnet-") as place:
        writer = library.record_writer.RecordWriter(f"{place}/events")
        writer.write(event(wall_time=start, file_version="brain.Event:2").SerializeToString())
        for step, seconds, tag, value in events:
            summary = library.summary.text(tag, value) if isinstance(value, str) else _scalar(library, tag, value)
            writer.write(event(wall_time=seconds, step=step, summary=summary).SerializeToString())
        writer.close()
        with Path(place, "events").open("rb") as written:
            write_atomically(path, lambda file: shutil.copyfileobj(written, file))
    return path


def _scalar(library: Any, tag: str, value: float) -> Any:
    """Return a number as the library's own function does, which says on standard error of each that is not finite."""
    kind = library.proto.summary_pb2.Summary
    return kind(value=[kind.Value(tag=tag, simple_value=value)])
