"""Who may write in a folder of checkpoints or batches: one process at a time, named in its file ``.convnet.lock``.

The kernel's lock on that file (flock) ends with the run, however it ends, so a killed run blocks nobody. Where it says
nothing, which is where the file system knows none, or keeps it from other machines, what the file says decides: the owner's
host and process, which can be looked up on the same machine; and the time when it was last refreshed, which a run does
every half minute.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from convnet.errors import ConvnetError
from convnet.storage.files import sync
from convnet.storage.owner import MOST_BYTES, Owner

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME, TURN, PROBE = ".convnet.lock", ".convnet.lock.turn", ".convnet.try-{}.tmp"
REFRESH = 30.0  # seconds between signs of life
STALE = 600.0  # seconds without one after which the owner counts as gone, where nothing else can tell
_PAUSE = 0.05  # seconds between tries
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}  # what file systems say that have none


class FolderLock:
    """The lock of ``folder``, which this process holds from ``acquire`` to ``release``.

    Where another has it, ``error`` is raised, and ends with ``advice``.
    """

    def __init__(self, folder: Path, error: type[ConvnetError] = ConvnetError, advice: str = "wait for it to end") -> None:
        self.folder, self.path, self.error, self.advice = folder, folder / NAME, error, advice
        self.me = Owner.myself()
        self._descriptor = -1
        self._ended = threading.Event()
        self._refreshing = threading.Thread(target=self._refresh, name="convnet-lock", daemon=True)

    def acquire(self) -> None:
        """Take the lock; raises ``error`` naming its owner, ``OSError`` for a folder that cannot be written."""
        self._take()
        with contextlib.suppress(RuntimeError):  # no more threads; the kernel's lock holds without signs of life
            self._refreshing.start()

    def check(self) -> None:
        """Raise ``error`` if another process has taken the lock, since this one gave no sign of life for long.

        A file that somebody has removed is made again.
        """
        try:
            owner = Owner.read(self.path)
            if owner is None and not self.path.exists():
                self._close()
                self._take()
                return
        except OSError:  # it may be readable again next time
            return
        if owner and owner.token != self.me.token:
            raise self.error(f"{self.folder} is no longer this process's, {owner} having taken it over; nothing is written")

    def release(self) -> None:
        """Give the lock back, and remove its file if it is still this process's; never fails."""
        self._ended.set()
        if self._refreshing.is_alive():
            self._refreshing.join(1)
        with contextlib.suppress(OSError):
            owner = Owner.read(self.path)
            if owner and owner.token == self.me.token:
                self.path.unlink()
        self._close()

    # -- inside

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _take(self) -> None:
        has_kernel_lock = self._try_folder()
        for _ in range(20):  # others may release, or take over, at the same time
            if self._try_kernel_lock() if has_kernel_lock else self._try_file():
                return
        raise self.error(f"{self.folder}: other processes take and release it all the time; try again")

    def _try_folder(self) -> bool:
        """Write a file into the folder and remove it; return whether the kernel locks files there. Raises ``OSError``."""
        with self._probe() as file:
            file.write(b"\0" * MOST_BYTES)
            file.flush()
            sync(file.fileno())
            try:
                _lock(file.fileno())
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return False
        return True

    @contextlib.contextmanager
    def _probe(self) -> Iterator[BinaryIO]:
        """Open a file beside the lock that is removed again."""
        path = self.path.with_name(PROBE.format(secrets.token_hex(4)))
        try:
            with path.open("xb") as file:
                yield file
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _try_kernel_lock(self) -> bool:
        """Take the kernel's lock and write the owner; ``False`` if the file was replaced meanwhile."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            try:
                _lock(descriptor)
            except BlockingIOError:
                self._refuse(Owner.read(self.path))
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, f"{NAME} is not a file")
            if not self._is_file(descriptor):
                return False
            owner = Owner.read(self.path)
            if owner and owner.boot != self.me.boot and not owner.is_gone(self.me):
                self._refuse_unless_stale(owner)  # the kernel may know of this machine's locks alone
            os.ftruncate(descriptor, 0)
            os.write(descriptor, self.me.text().encode())
            self._descriptor, descriptor = descriptor, -1
            return True
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _is_file(self, descriptor: int) -> bool:
        """Return whether the open file is still the one of that name."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _try_file(self) -> bool:
        """Make the file, which only one process can, or take over that of an owner that is gone; ``False``: try again."""
        try:
            with self.path.open("xb") as file:
                file.write(self.me.text().encode())
            return True
        except FileExistsError:
            owner = Owner.read(self.path)
        gone = owner.is_gone(self.me) if owner else None
        if gone is False:
            self._refuse(owner)
        if not gone:
            self._refuse_unless_stale(owner)
        return self._take_over(owner)

    def _take_over(self, gone: Owner | None) -> bool:
        """Replace the file of an owner that is gone; ``False`` if it is another's by now, or another is about to.

        Of those that see that it is gone one makes a folder beside it, and looks again before it replaces the file.
        """
        turn = self.path.with_name(TURN)
        try:
            turn.mkdir()
        except FileExistsError:
            if self._age(turn) >= STALE:  # it was killed there
                with contextlib.suppress(OSError):
                    turn.rmdir()
            time.sleep(_PAUSE)
            return False
        new = self.path.with_name(PROBE.format(self.me.token))
        try:
            if Owner.read(self.path) != gone or not self.path.exists():
                return False
            new.write_text(self.me.text())
            new.replace(self.path)
            return True
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
                turn.rmdir()

    def _refuse(self, owner: Owner | None) -> NoReturn:
        raise self.error(f"{self.folder} is in use ({owner or 'another process'}); {self.advice}")

    def _refuse_unless_stale(self, owner: Owner | None) -> None:
        """Raise ``error`` if the owner, who cannot be looked up from here, has given a sign of life lately."""
        age = self._age(self.path)
        if age < STALE:
            raise self.error(
                f"{self.folder} is in use ({owner or 'by a process whose name cannot be read'}; last refreshed "
                f"{max(0, round(age))} seconds ago); if that has ended, delete {self.path}, or wait "
                f"{max(1, round((STALE - age) / 60))} minutes"
            )

    def _age(self, path: Path) -> float:
        """Return the seconds since a file was written or refreshed, by the clock of its file system."""
        with self._probe() as file:
            try:
                return os.fstat(file.fileno()).st_mtime - path.stat().st_mtime
            except FileNotFoundError:
                return STALE  # it is released

    def _refresh(self) -> None:
        """Give signs of life until the release."""
        while not self._ended.wait(REFRESH):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor if self._descriptor >= 0 else self.path)


def _lock(descriptor: int) -> None:
    """Take the kernel's lock; raises ``BlockingIOError`` if another holds it."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
