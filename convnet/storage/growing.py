"""Files that grow by whole lines, whatever ends the program that writes them."""

import contextlib
import errno
import os
from pathlib import Path

from convnet.storage.files import sync

_BLOCK = 1 << 16  # bytes looked at in one go, from the end


class GrowingFile:
    """A file of lines at ``path``, made with the first of them; one process writes it at a time.

    Each line is one write at its end, of which a full disk may take a part; that is cut off again. A last line without its
    end, as a power cut may leave it, is cut off before the first is appended. A file that does not ``begin`` so is somebody
    else's, and stays as it is.
    """

    def __init__(self, path: Path, begin: bytes = b"") -> None:
        self.path, self.begin = path, begin
        self._descriptor = -1

    def append(self, line: str, durable: bool = False) -> None:
        """Append a line; ``durable`` ones, and those before, survive a crash of the machine. Raises ``OSError``."""
        if self._descriptor < 0:
            self._descriptor = self._opened()
        data, size = (line + "\n").encode(), os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, data) < len(data):
            os.ftruncate(self._descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            sync(self._descriptor)

    def close(self) -> None:
        """Close the file; never fails."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _opened(self) -> int:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size and not self.begin.startswith(os.read(descriptor, len(self.begin))):
                raise FileExistsError(errno.EEXIST, "it is there already, and not of a run")
            end = _end_of_lines(descriptor, size)
            if end < size:
                os.ftruncate(descriptor, end)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _end_of_lines(descriptor: int, size: int) -> int:
    """Return how many of ``size`` bytes are whole lines."""
    while size > 0:
        start = max(0, size - _BLOCK)
        os.lseek(descriptor, start, os.SEEK_SET)
        block = os.read(descriptor, size - start)
        if (at := block.rfind(b"\n")) >= 0:
            return start + at + 1
        size = start
    return 0
