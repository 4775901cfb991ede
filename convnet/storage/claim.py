"""A folder that one process writes in: made, tried and locked before anything is computed for it."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from convnet.errors import ConvnetError, reason_of
from convnet.interrupts import undo_if_interrupted
from convnet.storage.lock import FolderLock

# What ``write_atomically`` and the lock leave of a process that was killed: of its own kinds of files only.
_TEMPORARY = re.compile(
    r"\.(?:\d+\.-?\d+|data_batch_\d+|batches\.meta|best|convnet)\.(?:\d+|\d+-[0-9a-f]+|try-[0-9a-f]+)\.tmp"
)


class Claim:
    """The sole right to write in a folder, from ``take`` to ``close``.

    ``error`` is raised where it cannot be had, saying that ``what`` cannot be written there, and ending with ``advice``.
    """

    def __init__(self, what: str, error: type[ConvnetError], advice: str) -> None:
        self.what, self.error, self.advice = what, error, advice
        self._lock: FolderLock | None = None
        self._made: list[Path] = []  # folders that there were not, the outermost first
        self._closing = contextlib.ExitStack()

    def take(self, path: Path) -> None:
        """Make a folder if need be, try whether it takes files, and lock it; raises ``error``."""
        with self._opening(path):
            self._make(path)
            self._acquire(path)

    def take_new(self, base: Path, choose: Callable[[], Path]) -> Path:
        """Make a folder below ``base`` that no other process has, as ``choose`` names them; raises ``error``."""
        with self._opening(base):
            self._make(base)
            while True:
                path = choose()
                with contextlib.suppress(FileExistsError):  # another run that began in the same second
                    path.mkdir()
                    break
            self._made.append(path)
            self._acquire(path)
        return path

    @contextlib.contextmanager
    def taken(self, path: Path) -> Iterator[None]:
        """Hold a folder inside."""
        self.take(path)
        try:
            yield
        finally:
            self.close()

    def check(self) -> None:
        """Raise ``error`` if another process has taken the folder over."""
        if self._lock:
            self._lock.check()

    def close(self) -> None:
        """Let others in; remove the folders that were made for nothing. Never fails."""
        lock, self._lock = self._lock, None
        if lock:
            lock.release()
        while self._made:
            with contextlib.suppress(OSError):  # there is something in it
                self._made.pop().rmdir()
        self._closing.close()

    # -- inside

    @contextlib.contextmanager
    def _opening(self, path: Path) -> Iterator[None]:
        self._closing.enter_context(undo_if_interrupted(self.close))
        try:
            yield
        except OSError as error:
            self.close()
            raise self.error(f"no {self.what} can be written in {path}: {reason_of(error)}; {self.advice}") from None
        except BaseException:
            self.close()
            raise

    def _make(self, path: Path) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        self._made += reversed(missing)

    def _acquire(self, path: Path) -> None:
        """Lock the folder, and remove what killed processes left: nobody else writes there now."""
        self._lock = FolderLock(path, self.error, self.advice)
        self._lock.acquire()
        with contextlib.suppress(OSError):
            for file in path.iterdir():
                if _TEMPORARY.fullmatch(file.name):
                    with contextlib.suppress(OSError):
                        file.unlink()
