"""What a description of batches leaves out and only the batches tell: the number of classes, the mean.

Of a large folder that takes long, so that it is kept in the user's cache, by the files that were read and all that counts.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from convnet import pickles
from convnet.errors import ConvnetError
from convnet.pickles import UnsafePickle
from convnet.storage import cache_folder, write_atomically
from convnet.texts import bytes_text

LARGE = 256 << 20  # bytes of files, some seconds' reading
_VERSION = 1


def surveyed(
    files: Iterable[Path],
    facts: tuple[object, ...],
    shape: tuple[int, ...],
    tell: Callable[[str], object],
    find: Callable[[], np.ndarray],
    all_have: Callable[[bool], bool] = bool,
) -> np.ndarray:
    """Return what ``find`` does of some files, an array of ``shape``; of many bytes once, as long as these do not change.

    ``facts`` are what else it depends on. Where ``find`` is called, ``tell`` gets what that costs, in brackets, or ``""``.
    It is called on all ranks or on none: ``all_have`` says whether what one rank has, all do.
    """
    stats = [(path, path.stat()) for path in files if path.is_file()]
    size = sum(stat.st_size for _, stat in stats)
    if all_have(size < LARGE):
        tell("")
        return find()
    seen = [(str(path.resolve()), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    key = hashlib.sha256(repr((_VERSION, facts, shape, seen)).encode()).hexdigest()
    place: Path | None = None
    with suppress(ConvnetError):  # a user without a home
        place = cache_folder() / f"batches-{key[:32]}"
    kept = _kept(place, shape) if place else None
    if all_have(kept is not None) and kept is not None:
        return kept
    tell(f" (once, which reads {bytes_text(size)}" + (f"; it is kept in {place})" if place else ")"))
    found = find()
    if place:
        with suppress(OSError):
            write_atomically(place, lambda file: pickles.dump({"found": found}, file, checksum=True))
    return found


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return what an earlier call found, if it is there and whole."""
    try:
        content = pickles.read(path)
    except UnsafePickle:
        return None
    found = content.value.get("found") if isinstance(content.value, dict) else None
    return found if content.has_checksum and isinstance(found, np.ndarray) and found.shape == shape else None
