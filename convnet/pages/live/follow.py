"""The history of a run from its log, as that grows: each line is read once, in the order in which it was written."""

import math
from collections import deque
from pathlib import Path
from typing import BinaryIO

from convnet.errors import ConvnetError, reason_of
from convnet.training.history import History, number_of, run_name
from convnet.training.records import Record, parsed_line

_PIECE = 1 << 20  # bytes read in one go, so that a long log does not hold up what else is to be done
_TAIL = 64  # bytes before the place that was read up to, by which one knows the file again
_PACE = 20  # batches by which the time left is told


class Followed:
    """What the log at ``path`` has told so far: ``history``, and ``version``, another one whenever there was more.

    ``fault`` says why nothing more is read, where that is so: a line that is none, or a file that cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version, self.fault = 0, ""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.version += 1
        self.history = History(run_name(self.path))
        self._place, self._lines, self._tail = 0, 0, b""
        self._pace: deque[tuple[float, float]] = deque(maxlen=_PACE)  # (time, progress) of batches

    def read(self) -> bool:
        """Take in what was written since, or a part of it; return whether there may be more. Never fails.

        A file that is another one now, or was cut, is read from its beginning.
        """
        try:
            with self.path.open("rb") as file:
                if not self._is_known(file):
                    self._begin_anew()
                file.seek(self._place)
                piece = file.read(_PIECE)
            self._take(piece)
            self.fault = ""
        except FileNotFoundError:  # not there yet, or moved away
            if self._place:
                self._begin_anew()
            return False
        except OSError as error:
            self.fault = f"{self.path} cannot be read: {reason_of(error)}"
            return False
        except ConvnetError as error:
            self.fault = str(error)
            return False
        return len(piece) == _PIECE

    def _is_known(self, file: BinaryIO) -> bool:
        file.seek(self._place - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _take(self, piece: bytes) -> None:
        *lines, rest = piece.split(b"\n")
        if len(rest) == _PIECE:
            raise ConvnetError(f"{self.path}: line {self._lines + 1} is too long for one of a log")
        for line in lines:
            record = parsed_line(line, f"{self.path}: line {self._lines + 1}")
            self.history.add(record)
            self._count(record)
            self._place += len(line) + 1
            self._lines += 1
            self._tail = (self._tail + line + b"\n")[-_TAIL:]
            self.version += 1

    def _count(self, record: Record) -> None:
        if record["line"] in ("begin", "resume"):
            self._pace.clear()
        elif record["line"] == "batch":
            time, progress = (number_of(record.get(key)) for key in ("time", "progress"))
            if time is not None and progress is not None:
                self._pace.append((time, progress))

    def seconds_left(self) -> float:
        """Return how long the run will go on, by its last batches and their share of it; 0 where that is not known."""
        if len(self._pace) < 2:
            return 0.0
        (start, first), (end, last) = self._pace[0], self._pace[-1]
        share = last - first
        left = 1 - last - share / (len(self._pace) - 1)  # its progress is of the beginning of a batch
        seconds = (end - start) / share * left if share > 0 else 0.0
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
