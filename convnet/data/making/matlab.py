"""A table of a MATLAB file (level 5, as ``save`` writes it): the fields of an array of structs, as texts and numbers.

The layout is public: "MAT-File Format", by The MathWorks. Only what ILSVRC's ``meta.mat`` is made of is read.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from convnet.errors import DataError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR = 2, 4  # classes of matrices
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1", 17: "u2"}
_UTF16 = 17
_MOST = 256 << 20  # bytes, once unpacked


class _Element(NamedTuple):
    kind: int
    data: bytes

    def values(self) -> np.ndarray:
        """Return the numbers in an element."""
        dtype = np.dtype(_NUMBERS[self.kind]).newbyteorder("<")
        return np.frombuffer(self.data[: len(self.data) // dtype.itemsize * dtype.itemsize], dtype)


def read_table(data: bytes, name: str, fields: tuple[str, ...]) -> list[tuple[str | float, ...]]:
    """Return the ``fields`` of each struct in the array ``name`` of a MATLAB file: texts, and the first of numbers.

    Raises ``DataError`` that does not name the file.
    """
    try:
        if data[126:128] != b"IM":
            raise DataError("not a MATLAB file of level 5 in little-endian order")
        for element in _elements(data[_HEADER:]):
            if element.kind == _COMPRESSED:
                unpacked = zlib.decompressobj().decompress(element.data, _MOST)
                element = next(_elements(unpacked))
            if element.kind == _MATRIX and (rows := _rows(element.data, name, fields)) is not None:
                return rows
    except (KeyError, ValueError, IndexError, OverflowError, StopIteration, struct.error, zlib.error) as error:
        raise DataError(f"a damaged MATLAB file ({type(error).__name__})") from None
    raise DataError(f"no array of structs '{name}' in it")


def _elements(data: bytes) -> Iterator[_Element]:
    """Yield the elements that stand one behind the other in ``data``; of a small one, kind and size share four bytes."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        begin, step = at + 8, 8 + size if kind == _COMPRESSED else 8 + -(-size // 8) * 8
        if kind >> 16:
            kind, size, begin, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        if begin + size > len(data):
            raise ValueError("cut off")
        yield _Element(kind, data[begin : begin + size])
        at += step


def _rows(data: bytes, name: str, fields: tuple[str, ...]) -> list[tuple[str | float, ...]] | None:
    """Return the fields of the structs in a matrix; ``None`` if it is another."""
    parts = _elements(data)
    flags, _, called = next(parts), next(parts), next(parts)
    if flags.data[0] != _STRUCT or called.data.decode("ascii", "replace") != name:
        return None
    length = int(next(parts).values()[0])
    names = next(parts).data
    if length < 1:
        raise ValueError("fields without names")
    known = [names[i : i + length].partition(b"\0")[0].decode("ascii") for i in range(0, len(names), length)]
    values = list(parts)
    wanted = [known.index(field) for field in fields]
    return [tuple(_value(values[i + at].data) for at in wanted) for i in range(0, len(values), len(known))]


def _value(data: bytes) -> str | float:
    """Return the text in a matrix of letters, or the first number of another."""
    flags, _, _, content = [*_elements(data)][:4]
    if flags.data[0] != _CHAR:
        return float(content.values()[0])
    if content.kind in (4, _UTF16):
        return content.data.decode("utf-16-le")
    return content.data.decode("utf-8", "replace")
