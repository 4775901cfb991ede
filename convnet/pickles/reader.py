"""Reads pickles as data: nothing named by a file is ever imported or called (io 4.8). Strings of Python 2 are Latin-1.

Time and memory are bounded by the size of the file: see ``convnet.pickles.opcodes`` and ``archives``.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnet.errors import reason_of
from convnet.pickles.archives import is_zip, unpack
from convnet.pickles.opcodes import run
from convnet.pickles.standins import LegacyObject, UnsafePickle

# Memory for what a file of little objects makes of each of its bytes, and for small files of many of them: a history of
# 100,000 batches takes 100 MB.
_ALWAYS = 128 << 20
_PER_BYTE = 3
_MAX_DEPTH = 200
# Items that are there more than once may be as many as this, and as a multiple of all the others, down to the depth that
# checkpoints and batches are read.
_ALWAYS_ITEMS, _PER_ITEM, _READ_DEPTH = 1_000_000, 4, 8
_CONTAINERS = frozenset({list, tuple, dict})
_TRAILER = re.compile(rb"\nsha256 ([0-9a-f]{64})\n")
_TRAILER_BYTES = 1 + 7 + 64 + 1


class Content(NamedTuple):
    """The object in a pickle, whether a checksum stands behind it (which fits), and how many other bytes do."""

    value: Any
    has_checksum: bool
    excess: int


def load(path: str | Path) -> Any:
    """Return the object in a pickle file, which may be zipped or gzipped. Raises ``UnsafePickle`` naming the file."""
    return read(path).value


def read(path: str | Path) -> Content:
    """Return the object in a pickle file, and what is known of its checksum; see ``load``."""
    path = Path(path)
    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise UnsafePickle("cannot be read: it is a device or a pipe, not a file")
        return content_of(path.read_bytes())
    except OSError as error:
        raise UnsafePickle(f"{path}: cannot be read: {reason_of(error)}") from None
    except (UnsafePickle, MemoryError) as error:
        raise UnsafePickle(f"{path}: {str(error) or 'too large for the memory of this machine'}") from None


def has_checksum(path: Path) -> bool:
    """Return whether a pickle, zipped or not, ends in the line that this program writes behind checkpoints.

    Nothing else of it is looked at. Raises ``OSError``.
    """
    with path.open("rb") as file:
        if not is_zip(file.read(4)):
            file.seek(max(0, path.stat().st_size - _TRAILER_BYTES))
            return _TRAILER.fullmatch(file.read()) is not None
    try:
        return _TRAILER.fullmatch(unpack(path.read_bytes())[-_TRAILER_BYTES:]) is not None
    except (UnsafePickle, MemoryError):
        return False


def loads(data: bytes) -> Any:
    """Return the object in the bytes of a pickle; see ``load``."""
    return content_of(data).value


def content_of(data: bytes) -> Content:
    """Return the object in the bytes of a pickle, and what is known of its checksum; raises ``UnsafePickle``."""
    size, data = len(data), unpack(data)
    try:
        return _content(data, size)
    except UnsafePickle as error:
        # Written in text mode on Windows, every newline became two bytes, which can be undone (io 4.2).
        if b"\r\n" not in data:
            raise
        failure = error
    try:
        return _content(data.replace(b"\r\n", b"\n"), size)
    except UnsafePickle:
        raise failure from None


def _content(data: bytes, size: int) -> Content:
    """Read a pickle that took ``size`` bytes, maybe packed."""
    trailer = _TRAILER.fullmatch(data, max(0, len(data) - _TRAILER_BYTES))
    if trailer and hashlib.sha256(memoryview(data)[: trailer.start()]).hexdigest().encode() != trailer[1]:
        raise UnsafePickle("damaged: its checksum does not match")
    value, stop = run(data, _ALWAYS + len(data) + _PER_BYTE * size)
    check_nesting(value)
    end = trailer.start() if trailer else len(data)
    return Content(value, trailer is not None, end - stop)


def check_nesting(value: Any) -> None:
    """Raise ``UnsafePickle`` if containers lie too deeply in one another, or stand for very many by being shared."""
    level, seen, is_shared = [value], {id(value)}, False
    for _ in range(_MAX_DEPTH):
        below = []
        for container in level:
            for item in () if _is_plain(container) else _items(container):
                if _is_container(item):
                    if id(item) in seen:
                        is_shared = True
                    else:
                        seen.add(id(item))
                        below.append(item)
        if not below:
            break
        level = below
    else:
        raise UnsafePickle("nested too deeply")
    if is_shared:
        _check_sharing(value)


def _items(container: Any) -> Any:
    """Return what a container holds; of matrices nothing, as readers take them whole."""
    if type(container) in (list, tuple):
        return container
    if type(container) is np.ndarray:
        return container.flat if container.dtype == object else container if container.ndim == 1 else ()
    if isinstance(container, LegacyObject):
        return vars(container).values()
    return container.values() if type(container) is dict else ()


def _is_container(item: Any) -> bool:
    kind = type(item)
    return kind in _CONTAINERS or kind is np.ndarray or isinstance(item, LegacyObject)


def _is_plain(container: Any) -> bool:
    return type(container) is np.ndarray and container.dtype != object


def _check_sharing(value: Any) -> None:
    """Raise ``UnsafePickle`` if the upper levels of containers have many more items than there are.

    Whoever goes through a list that holds one list a thousand times meets a thousand lists. What is below an object of the
    originals' options is looked at by name alone, and those name each other.
    """
    counts: dict[int, int] = {}
    inner: dict[int, list[int]] = {}
    waiting = [value]
    while waiting:
        container = waiting.pop()
        if id(container) not in counts:
            items = _items(container)
            below = [] if _is_plain(container) else [item for item in items if _is_container(item)]
            counts[id(container)] = len(items)
            inner[id(container)] = [id(item) for item in below if not isinstance(item, LegacyObject)]
            waiting += below
    limit = _ALWAYS_ITEMS + _PER_ITEM * sum(counts.values())
    met = counts
    for _ in range(_READ_DEPTH):
        met = {key: counts[key] + sum([met[item] for item in items]) for key, items in inner.items()}
        if max(met.values()) > limit:
            raise UnsafePickle("lists that are there again and again, which no file of its size needs")


def text_of(value: object) -> str:
    """Decode a Python 2 string: UTF-8 where it is, else Latin-1."""
    if isinstance(value, bytes):
        value = value.decode("latin1")
    text = str(value)
    try:
        return text.encode("latin1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


def path_of(value: object) -> str:
    """Return a path from the string of a pickle, which holds its bytes in whatever encoding."""
    text = value.decode("latin1") if isinstance(value, bytes) else str(value)
    try:
        return os.fsdecode(text.encode("latin1"))
    except UnicodeEncodeError:
        return text
