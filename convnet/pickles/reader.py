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
from convnet.pickles.archives import unpack
from convnet.pickles.opcodes import run
from convnet.pickles.standins import LegacyObject, UnsafePickle

# Memory for what a file of little objects makes of each of its bytes, and for small files of many of them: a history of
# 100,000 batches takes 100 MB.
_ALWAYS = 128 << 20
_PER_BYTE = 3
_MAX_DEPTH = 200
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
    _check_depth(value)
    end = trailer.start() if trailer else len(data)
    return Content(value, trailer is not None, end - stop)


def _is_container(value: object) -> bool:
    if type(value) in _CONTAINERS or isinstance(value, LegacyObject):
        return True
    return isinstance(value, np.ndarray) and value.dtype == object


def _check_depth(value: Any) -> None:
    """Raise ``UnsafePickle`` if containers lie too deeply in one another."""
    level, seen = [value] if _is_container(value) else [], {id(value)}
    for _ in range(_MAX_DEPTH):
        below = []
        for container in level:
            items = container
            if isinstance(container, dict | LegacyObject):
                items = (container if isinstance(container, dict) else vars(container)).values()
            elif isinstance(container, np.ndarray):
                items = container.flat
            for item in items:
                if _is_container(item) and id(item) not in seen:
                    seen.add(id(item))
                    below.append(item)
        if not below:
            return
        level = below
    raise UnsafePickle("nested too deeply")


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
