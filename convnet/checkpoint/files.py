"""Where checkpoints lie, how they are written, and which are kept.

A checkpoint is ``EPOCH.BATCH`` in a dated folder. It is written to a temporary file in the same folder, flushed to the
disk and renamed, so that a killed run leaves whole checkpoints only. Files that are not named like one are never touched.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeVar

from convnet import pickles
from convnet.errors import CheckpointError
from convnet.storage import write_atomically

T = TypeVar("T")
_NAME = re.compile(r"(\d+)\.(-?\d+)")
_TEMPORARY = re.compile(r"\.\d+\.-?\d+\.(\d+)(?:-[0-9a-f]+)?\.tmp")


@dataclass
class CheckpointFolder:
    """A folder of checkpoints; ``keep`` newest ones stay."""

    path: Path
    keep: int = 2

    def names(self) -> list[Path]:
        """Return the checkpoints in it, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted((p for p in self.path.iterdir() if _NAME.fullmatch(p.name) and p.is_file()), key=_position)

    def save(self, value: dict[str, Any], epoch: int, batch: int) -> Path:
        """Write a checkpoint whole or not at all, then prune; raises ``CheckpointError``, the old ones untouched."""
        target = self.path / f"{epoch}.{batch}"
        try:
            for path in self.path.glob(".*.tmp"):  # what killed runs left, nothing of a run that is alive
                match = _TEMPORARY.fullmatch(path.name)
                if match and not _is_alive(int(match[1])):
                    path.unlink(missing_ok=True)
            write_atomically(target, lambda file: pickles.dump(value, file, checksum=True), durable=True)
        except OSError as error:
            text = f"checkpoint {target} cannot be saved: {error.strerror or error}; earlier checkpoints are untouched"
            raise CheckpointError(text) from None
        older = [path for path in self.names() if _position(path) <= _position(target)]
        for path in older[: -self.keep]:
            path.unlink(missing_ok=True)
        return target

    def set_aside(self, after: Path) -> list[Path]:
        """Rename checkpoints newer than ``after``, from which a run goes on, since they would win at the next load."""
        newer = [path for path in self.names() if _position(path) > _position(after)]
        return [path.replace(path.with_name(f"{path.name}.aside")) for path in newer]


def new_folder(save_path: str | Path) -> Path:
    """Return a dated folder below ``save_path`` that no other run uses; it is made when a checkpoint is saved."""
    stamp = time.strftime("%Y-%m-%d_%H.%M.%S")
    base = Path(save_path).resolve() / f"ConvNet__{stamp}"
    numbered = (base.with_name(f"{base.name}_{number}") for number in count(2))
    return next(folder for folder in chain([base], numbered) if not folder.exists())


def find_latest(path: str | Path, read: Callable[[Path], T]) -> tuple[Path, T, list[str]]:
    """Find the checkpoint that ``path`` means: a file, or the newest readable one of a folder or its newest dated folder.

    Returns (file, what ``read`` made of it, remarks on newer ones that could not be read). Raises ``CheckpointError``.
    """
    path = Path(path)
    if path.is_file():
        return path, read(path), []
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint {path}; give a checkpoint file or its folder")
    names = CheckpointFolder(path).names()
    if not names:
        dated = sorted(p for p in path.glob("ConvNet__*") if CheckpointFolder(p).names())
        if not dated:
            raise CheckpointError(f"no checkpoint in {path}; checkpoints are named EPOCH.BATCH, for example 1.5")
        path, names = dated[-1], CheckpointFolder(dated[-1]).names()
    errors: list[CheckpointError] = []
    for name in reversed(names):
        try:
            return name, read(name), [f"{error}; falling back on the one before" for error in errors]
        except CheckpointError as error:
            errors.append(error)
    raise CheckpointError(f"no readable checkpoint in {path}: {errors[0]}")


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.match(path.name)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # it lives, as another user's
    return True
