"""A layer file that is watched while somebody may edit it.

Editors replace files by a rename, or empty them and write them anew; others touch them and change nothing. So a file is
read when it has come to rest, and is of interest when its text is another than before.
"""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from convnet.errors import LayerFileError
from convnet.language.files import read_text

REST = 0.3  # seconds in which a file must not change before it is read
_PATIENCE = 1.0  # seconds at most that are waited for that; else it is looked at another time

_Signature = tuple[int, int, int, int]


class WatchedFile:
    """The file at ``path``, of which ``text`` has been read. To look whether it is as before costs one call of the system.

    One that is gone, empty, or cannot be read at the moment is as before.
    """

    def __init__(self, path: Path, text: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self.path, self.text, self._sleep = path, text, sleep
        self._seen: _Signature | None = None

    def new_text(self) -> str | None:
        """Return the text of the file if it is another than at the last look, else ``None``.

        Raises ``LayerFileError``, once, for a file that is no text.
        """
        seen = _signature(self.path)
        if seen is None or seen == self._seen or (_is_fresh(seen) and self._is_as_before()):
            return None
        rested = self._at_rest(seen)
        if rested is None or not os.access(self.path, os.R_OK):
            return None
        try:
            text = read_text(self.path)
        except LayerFileError:
            self._seen, self.text = rested, ""
            raise
        if _signature(self.path) != rested:
            return None
        self._seen = rested
        if text == self.text or not text.strip():
            return None
        self.text = text
        return text

    def _is_as_before(self) -> bool:
        try:
            return read_text(self.path) == self.text
        except LayerFileError:
            return False

    def _at_rest(self, seen: _Signature) -> _Signature | None:
        """Return the signature of the file when it has not changed for a while; ``None`` if it goes on changing."""
        if not _is_fresh(seen):
            return seen
        waited = 0.0
        while waited < _PATIENCE:
            self._sleep(REST)
            waited += REST
            now = _signature(self.path)
            if now == seen:
                return now
            if now is None:
                return None
            seen = now
        return None


def _is_fresh(seen: _Signature) -> bool:
    """Return whether a file may still be written, by the clock of this machine."""
    return time.time() - seen[3] / 1e9 <= REST


def _signature(path: Path) -> _Signature | None:
    """Return what another version of a file has otherwise: device, number, size, and time; ``None`` if it holds no text."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    is_full = stat.S_ISREG(found.st_mode) and found.st_size
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if is_full else None
