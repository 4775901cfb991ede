"""Files that appear whole or not at all, and the folder for what can be made again."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from convnet.errors import ConvnetError
from convnet.interrupts import undo_if_interrupted

_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}  # what file systems say that cannot sync


def cache_folder() -> Path:
    """Return where this user's caches belong; raises ``ConvnetError`` for one without a home."""
    if os.environ.get("CONVNET_CACHE_DIR"):
        return Path(os.environ["CONVNET_CACHE_DIR"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "convnet"
    try:
        home = Path.home()
    except RuntimeError:
        raise ConvnetError("there is no home folder to keep a cache in; set CONVNET_CACHE_DIR") from None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "convnet"


def check_folder(path: Path) -> None:
    """Raise ``ConvnetError`` unless the folder of a file that a person has named is there: it may be misspelt."""
    if not path.parent.is_dir():
        raise ConvnetError(f"{path} cannot be written: there is no folder {path.parent}")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all, in a folder that is made if need be; raises ``OSError`` with its name.

    From the moment that this returns the file survives a crash of the machine. One that was there before stays as it is
    until then, and hands its permissions on. What is no file, such as a pipe or /dev/null, is written to directly.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))  # of a link, the file that it points at
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            with target.open("wb") as file:
                write(file)
            return
        _replace(target, write, mode)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def link_atomically(source: Path, target: Path) -> None:
    """Let ``target`` be another name of a file, in place of what it was; raises ``OSError`` without hard links."""
    with _replacement(target) as temporary:
        temporary.hardlink_to(source)


def _mode(path: Path) -> int | None:
    """Return the kind and permissions of a file, or ``None`` if there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _replace(target: Path, write: Callable[[BinaryIO], object], mode: int | None) -> None:
    """Write a temporary file in the same folder and rename it."""
    with _replacement(target) as temporary, temporary.open("xb") as file:
        if mode is not None:
            with contextlib.suppress(OSError):
                temporary.chmod(stat.S_IMODE(mode))
        write(file)
        file.flush()
        sync(file.fileno())


@contextlib.contextmanager
def _replacement(target: Path) -> Iterator[Path]:
    """Yield a name in the same folder, of a file that takes the place of ``target`` at the end, or else is removed."""
    # Folders can be shared by machines, whose processes have the same numbers; names have at most 255 bytes.
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")

    def remove() -> None:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

    with undo_if_interrupted(remove):
        try:
            yield temporary
            temporary.replace(target)
        finally:
            remove()  # what is left of a failure, or of a link to what is there already
    with contextlib.suppress(OSError):  # some systems cannot open folders
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            sync(folder)
        finally:
            os.close(folder)


def sync(descriptor: int) -> None:
    """Wait until a file is on the disk, where its file system can say so; raises ``OSError``."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
