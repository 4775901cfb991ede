"""Writes pickles as Python 2 wrote them, protocol 2, so that files stay close to the originals (io 4.9).

Python 3's own pickler cannot: under protocol 2 it makes unicode of text, and of an array's bytes a text half as long again.
Read with ``convnet.pickles.load``, or with ``pickle.load(file, encoding="latin1")``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from convnet.errors import ConvnetError

_INT32 = range(-(2**31), 2**31)


def dump(value: Any, file: BinaryIO) -> None:
    """Write dicts, lists, tuples, text, bytes, numbers, None and arrays of numbers. Shared objects stay shared."""
    writer = _Writer(file.write)
    file.write(b"\x80\x02")
    writer.write(value)
    file.write(b".")


class _Writer:
    def __init__(self, put: Callable[[Any], Any]) -> None:
        self.put = put
        self.memo: dict[int, tuple[int, Any]] = {}

    def write(self, value: Any) -> None:
        """One value, with everything below it."""
        if id(value) in self.memo:
            self.put(b"j" + struct.pack("<I", self.memo[id(value)][0]))
            return
        for kinds, method in _METHODS:
            if isinstance(value, kinds):
                method(self, value)
                return
        raise ConvnetError(f"a {type(value).__name__} cannot be saved")

    def remember(self, value: Any) -> None:
        self.put(b"r" + struct.pack("<I", len(self.memo)))
        self.memo[id(value)] = (len(self.memo), value)  # keeps the object alive, so that its identity stays its own

    def none(self, value: None) -> None:
        self.put(b"N")

    def bool(self, value: bool) -> None:
        self.put(b"\x88" if value else b"\x89")

    def int(self, value: int) -> None:
        if value in _INT32:
            self.put(b"J" + struct.pack("<i", value))
            return
        length = value.bit_length() // 8 + 1
        self.put(b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True))

    def float(self, value: float) -> None:
        self.put(b"G" + struct.pack(">d", value))

    def text(self, value: str) -> None:
        self.bytes(value.encode("utf-8"))

    def bytes(self, value: bytes | memoryview) -> None:
        size = len(value)
        if size > 2**31 - 1:
            raise ConvnetError(f"{size} bytes in one array are more than the checkpoint format holds (2 GiB)")
        self.put(b"U" + bytes([size]) if size < 256 else b"T" + struct.pack("<i", size))
        self.put(value)

    def tuple(self, value: tuple) -> None:
        self.put(b"(")
        for item in value:
            self.write(item)
        self.put(b"t")

    def list(self, value: list) -> None:
        self.put(b"]")
        self.remember(value)
        self.put(b"(")
        for item in value:
            self.write(item)
        self.put(b"e")

    def dict(self, value: dict) -> None:
        self.put(b"}")
        self.remember(value)
        self.put(b"(")
        for key, item in value.items():
            self.write(key)
            self.write(item)
        self.put(b"u")

    def array(self, value: np.ndarray) -> None:
        """As NumPy of 2012 wrote it: an empty array, then shape, type, order and bytes as its state."""
        if value.dtype.kind not in "biuf":
            raise ConvnetError(f"arrays of {value.dtype} cannot be saved")
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        self.put(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR")
        self.remember(value)
        self.put(b"(K\x01(")
        for side in value.shape:
            self.int(side)
        self.put(b"tcnumpy\ndtype\n(")
        code = value.dtype.kind + str(value.dtype.itemsize)
        self.text(code)
        self.put(b"K\x00K\x01tR(K\x03")
        self.text("<" if value.dtype.itemsize > 1 else "|")
        self.put(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        self.bool(fortran)
        ordered = np.asarray(value, value.dtype.newbyteorder("<"), order="F" if fortran else "C")
        flat = ordered.reshape(-1, order="F" if fortran else "C")
        self.bytes(memoryview(flat.view(np.uint8)) if math.prod(value.shape) else b"")
        self.put(b"tb")

    def number(self, value: np.generic) -> None:
        self.write(value.item())


_METHODS: tuple[tuple[Any, Callable[[_Writer, Any], None]], ...] = (
    (type(None), _Writer.none),
    (bool, _Writer.bool),
    (int, _Writer.int),
    (np.generic, _Writer.number),
    (float, _Writer.float),
    (str, _Writer.text),
    (bytes, _Writer.bytes),
    (tuple, _Writer.tuple),
    (list, _Writer.list),
    (dict, _Writer.dict),
    (np.ndarray, _Writer.array),
)
