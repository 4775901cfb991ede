"""Tar archives, which are listed in place and never unpacked: where each file in them begins, and how long it is."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from convnet.errors import DataError

_BLOCK = 512
_LONGEST = 1 << 16  # bytes of a name that stands before its file
_FILES, _LONG_NAME = (b"0", b"\0", b"7"), b"L"


class Member(NamedTuple):
    """A file of an archive: ``size`` bytes of it, from ``start`` on."""

    name: str
    start: int
    size: int


def members(file: BinaryIO, start: int, stop: int, where: str) -> Iterator[Member]:
    """Yield the files of an archive that takes the bytes from ``start`` to ``stop`` of ``file``, of which nothing is kept.

    Folders, links and the like are passed over. Raises ``DataError`` naming ``where`` for one that is damaged or cut off.
    """
    name, is_ended = "", False
    while start + _BLOCK <= stop and not is_ended:
        file.seek(start)
        header = file.read(_BLOCK)
        is_ended = not header.strip(b"\0")
        if is_ended:
            break
        size = _size(header)
        begin = start + _BLOCK
        if size < 0 or not _fits(header):
            raise DataError(f"{where}: no tar archive, or a damaged one: no header of a file at byte {start:,}")
        if begin + size > stop:
            raise DataError(f"{where}: cut off: a file of {size:,} bytes begins at byte {begin:,}, of {stop:,}")
        if header[156:157] == _LONG_NAME:  # as GNU tar writes names of more than 100 bytes
            name = _text(file.read(min(size, _LONGEST)))
        else:
            if header[156:157] in _FILES:
                yield Member(name or _name(header), begin, size)
            name = "" if header[156:157] not in (b"x", b"g") else name
        start = begin + -(-size // _BLOCK) * _BLOCK
    if not is_ended and start < stop:
        raise DataError(f"{where}: cut off at byte {stop:,}")


def _size(header: bytes) -> int:
    """Return the size that a header says, in octal digits or, of large files, as a number; -1 if it says none."""
    field = header[124:136]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1


def _fits(header: bytes) -> bool:
    """Return whether the sum of a header is the one that it says, its own eight bytes counted as blanks."""
    said = header[148:156].strip(b"\0 ")
    return said.isdigit() and not set(said) & set(b"89") and int(said, 8) == sum(header[:148]) + 8 * 32 + sum(header[156:])


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(header[:100])}" if prefix else _text(header[:100])


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
