"""How long the epochs of a run took, summed up while its log is read."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from convnet.training.records import Record


class Epoch(NamedTuple):
    """Epoch ``number``: its batches that were trained, and the seconds that these took, without tests."""

    number: int
    batches: int
    seconds: float


class EpochTimes:
    """The seconds of every batch and test, which counts: of a run that went on from a checkpoint, none after that."""

    def __init__(self) -> None:
        self._at, self._epoch, self._seconds = array("d"), array("d"), array("d")  # the epoch of tests is 0

    def watched(self, lines: Iterable[Record]) -> Iterator[Record]:
        """Yield the lines of a log, and remember their times."""
        for record in lines:
            self.add(record)
            yield record

    def add(self, record: Record) -> None:
        """Add a line of a log."""
        line, seconds = record["line"], record.get("seconds")
        if line in ("begin", "resume"):
            count = bisect_right(self._at, record["batches"]) if line == "resume" else 0
            for kept in (self._at, self._epoch, self._seconds):
                del kept[count:]
        elif line in ("batch", "test") and isinstance(seconds, int | float):
            self._at.append(record["batches"])
            self._epoch.append(int(record.get("epoch") or 0) if line == "batch" else 0)
            self._seconds.append(seconds)

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs that any batch was trained of, in order."""
        batches: dict[int, list[float]] = {}
        for number, seconds in zip(self._epoch, self._seconds, strict=True):
            if number:
                batches.setdefault(int(number), []).append(seconds)
        return [Epoch(number, len(each), sum(each)) for number, each in sorted(batches.items())]

    @property
    def training(self) -> list[float]:
        """Seconds of every batch."""
        return [seconds for number, seconds in zip(self._epoch, self._seconds, strict=True) if number]

    @property
    def testing(self) -> list[float]:
        """Seconds of every test."""
        return [seconds for number, seconds in zip(self._epoch, self._seconds, strict=True) if not number]
