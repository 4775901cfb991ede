"""Where checkpoints lie, how they are written, and which are kept.

A checkpoint is ``EPOCH.BATCH`` in a dated folder. It is written to a temporary file in the same folder, flushed to the
disk and renamed, so that a killed run leaves whole checkpoints only. Files that are not named like one, or that another
program wrote, are neither removed nor replaced. One run at a time writes in a folder (``convnet.storage.lock``).
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, Self, TypeVar

from convnet import pickles
from convnet.checkpoint import npz
from convnet.checkpoint.checkpoint import recognised
from convnet.checkpoint.container import write
from convnet.errors import CheckpointError, first_line, reason_of
from convnet.pickles import UnsafePickle
from convnet.storage import Claim, link_atomically, write_atomically
from convnet.texts import listed

T = TypeVar("T")
_NAME = re.compile(r"(\d+)\.(-?\d+)")
BEST = "best"  # beside the checkpoints, that of the best test
_ELSEWHERE = "let this run save elsewhere with --save-path"
_AWAY = f"to another folder, or {_ELSEWHERE}"


@dataclass
class CheckpointFolder:
    """A folder of checkpoints, of which the ``keep`` newest stay.

    A run that saves there ``claim``s it first, and leaves it with ``close``, or at the end of a ``with``.
    """

    path: Path
    keep: int = 2
    _claim: Claim = field(default_factory=lambda: Claim("checkpoint", CheckpointError, _ELSEWHERE))
    _has_warned: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> list[Path]:
        """Return the checkpoints in it, oldest first; raises ``OSError``."""
        return [path for path in _named(self.path) if path.is_file()]

    def claim(self, below: str | Path | None = None) -> None:
        """Make the folder, or a new dated one ``below`` another, keep other runs from it, and try whether it takes files.

        Raises ``CheckpointError`` that says why not, and who writes there instead.
        """
        if below is None:
            self._claim.take(self.path)
        else:
            base = Path(os.path.realpath(below))
            self.path = self._claim.take_new(base, lambda: new_folder(base))

    def close(self) -> None:
        """Let other runs in; remove the folders that were made for nothing. Never fails."""
        self._claim.close()

    def save(self, value: dict[str, Any], epoch: int, batch: int) -> Path:
        """Write a checkpoint whole or not at all, then prune; raises ``CheckpointError``, the old ones untouched."""
        target = self.path / f"{epoch}.{batch}"
        self._claim.check()
        self._keep_foreign(target)
        write_checkpoint(target, value, "; earlier checkpoints are untouched")
        with self._unimportant("older checkpoints in {} cannot be removed"):
            older = [path for path in self.names() if _position(path) <= _position(target)]
            for path in list(filter(is_own, older))[: -self.keep]:
                path.unlink(missing_ok=True)
        return target

    def keep_best(self, source: Path, value: dict[str, Any]) -> None:
        """Keep the checkpoint at ``source``, which holds ``value``, as ``best``, whatever becomes of it; see ``save``."""
        self._claim.check()
        self._keep_foreign(self.path / BEST)
        try:
            link_atomically(source, self.path / BEST)
        except OSError:  # there are no hard links here, or not from there
            write_checkpoint(self.path / BEST, value, "; the checkpoint itself is saved")

    def _keep_foreign(self, target: Path) -> None:
        """Rename what another program wrote where a checkpoint is about to be saved; raises ``CheckpointError``.

        It is what the run goes on from, within its first batch, or came here since the run began.
        """
        try:
            if target.is_file() and not is_own(target):
                kept = _aside(target).name
                logging.getLogger("convnet").warning("%s, which this program did not write, is kept as %s", target, kept)
        except OSError as error:
            text = "which this program did not write, cannot be renamed"
            raise CheckpointError(f"{target}, {text}: {reason_of(error)}; nothing is saved") from None

    def set_best_aside(self) -> Path | None:
        """Rename ``best``, if there is one, which is of another run; returns what it is called now.

        Raises ``CheckpointError`` if another program wrote it.
        """
        best = self.path / BEST
        with self._unimportant("best in {} cannot be renamed, and will be replaced"):
            if _is_foreign(best):
                raise CheckpointError(f"--keep-best would replace {best}, which is not of this program: move it {_AWAY}")
            return _aside(best) if best.is_file() else None
        return None

    def set_aside(self, after: Path) -> list[Path]:
        """Rename checkpoints newer than ``after``, from which a run goes on, since they would win at the next load.

        Raises ``CheckpointError`` if another program wrote one of them.
        """
        moved = []
        with self._unimportant("newer checkpoints in {} cannot be renamed, and will be taken at the next load"):
            newer = [path for path in _named(self.path) if _position(path) > _position(after)]
            if foreign := [path.name for path in newer if _is_foreign(path)]:
                text = f"{listed(foreign)} in {self.path}, newer than {after.name}, would be taken at the next load, and"
                is_it = "is not of this program: move it" if len(foreign) == 1 else "are not of this program: move them"
                raise CheckpointError(f"{text} {is_it} {_AWAY}")
            moved += [_aside(path) for path in newer]
        return moved

    @contextlib.contextmanager
    def _unimportant(self, what: str) -> Iterator[None]:
        """Warn of an ``OSError`` inside, once for the folder, instead of ending the run."""
        try:
            yield
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                logging.getLogger("convnet").warning("%s: %s", what.format(self.path), reason_of(error))


def is_own(path: Path) -> bool:
    """Return whether this program wrote a checkpoint, by its end or its beginning; raises ``OSError``."""
    return npz.is_npz(path) or pickles.has_checksum(path)


def _is_foreign(path: Path) -> bool:
    """Return whether another program wrote a checkpoint, which is not damaged."""
    if not path.is_file() or is_own(path):
        return False
    try:
        recognised(path, pickles.load(path))
    except (UnsafePickle, CheckpointError):
        return False
    return True


def _aside(path: Path) -> Path:
    """Rename a checkpoint, so that it is none by its name; returns the new one. Raises ``OSError``."""
    names = (path.with_name(f"{path.name}.aside{number or ''}") for number in count())
    return path.replace(next(name for name in names if not name.exists() or (name.is_file() and is_own(name))))


def write_checkpoint(path: Path, value: dict[str, Any], advice: str = "") -> None:
    """Write a checkpoint whole or not at all, in its format; raises ``CheckpointError`` that ends with ``advice``."""
    try:
        write_atomically(path, lambda file: write(value, file))
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be saved: {reason_of(error)}{advice}") from None


def new_folder(save_path: str | Path) -> Path:
    """Return a dated folder below ``save_path`` that does not exist; ``CheckpointFolder.claim`` makes one."""
    stamp = time.strftime("%Y-%m-%d_%H.%M.%S")
    base = Path(os.path.realpath(save_path), f"ConvNet__{stamp}")
    numbered = (base.with_name(f"{base.name}_{number}") for number in count(2))
    return next(folder for folder in chain([base], numbered) if not folder.exists())


def find_latest(path: str | Path, read: Callable[[Path], T]) -> tuple[Path, T, list[str]]:
    """Find the checkpoint that ``path`` means: a file, or the newest readable one of a folder or its newest dated folder.

    Returns (file, what ``read`` made of it, remarks on newer ones that could not be read). Raises ``CheckpointError``.
    """
    path = Path(path)
    try:
        if path.is_file():
            return path, _try(read, path), []
        if not path.is_dir():
            raise CheckpointError(f"no checkpoint {path}; give a checkpoint file or its folder")
        names = _named(path)
        if not any(name.is_file() for name in names):
            dated = sorted(folder for folder in path.glob("ConvNet__*") if _named(folder))
            if not dated:
                raise CheckpointError(f"no checkpoint in {path}; checkpoints are named EPOCH.BATCH, for example 1.5")
            path, names = dated[-1], _named(dated[-1])
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}") from None
    errors: list[CheckpointError] = []
    for name in reversed(names):
        try:
            return name, _try(read, name), [f"{first_line(error)}; falling back on the one before" for error in errors]
        except CheckpointError as error:
            errors.append(error)
    raise CheckpointError(f"no readable checkpoint in {path}: {errors[0]}")


def _try(read: Callable[[Path], T], path: Path) -> T:
    """Read a file; raises ``CheckpointError`` whatever is wrong with it, but ``MemoryError`` for a good one too large."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path} is not a file")
        return read(path)
    except (CheckpointError, MemoryError):
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}") from None
    except Exception as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {first_line(error)})") from None


def _named(folder: Path) -> list[Path]:
    """Return what is named like a checkpoint in a folder, oldest first; nothing where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_position)


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.match(path.name)
    return (int(match[1]), int(match[2])) if match else (0, 0)
