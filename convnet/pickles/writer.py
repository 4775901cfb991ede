"""Writes pickles as Python 2 wrote them, protocol 2, so that files stay close to the originals (io 4.9).

Python 3's own pickler cannot: under protocol 2 it makes unicode of text, and of an array's bytes a text half as long again.
Read with ``convnet.pickles.load``, or with ``pickle.load(file, encoding="latin1")``.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np

from convnet.errors import ConvnetError

_INT32 = range(-(2**31), 2**31)


def dump(value: Any, file: BinaryIO, checksum: bool = False) -> None:
    """Write dicts, lists, tuples, text, bytes, numbers, None and arrays of numbers. Shared objects stay shared.

    With a ``checksum``, a line ``sha256 HEX`` of all that precedes it follows the end of the pickle, where readers of
    pickles stop.
    """
    digest = hashlib.sha256()

    def put(data: bytes | memoryview) -> None:
        digest.update(data)
        file.write(data)

    write = put if checksum else file.write
    write(b"\x80\x02")
    _Writer(write).write(value)
    write(b".")
    if checksum:
        file.write(b"\nsha256 %b\n" % digest.hexdigest().encode())


class _Writer:
    def __init__(self, put: Callable[[Any], Any]) -> None:
        self.put = put
        self.memo: dict[int, tuple[int, Any]] = {}

    def write(self, value: Any) -> None:
        """Write one value, with everything below it."""
        if id(value) in self.memo:
            self.put(b"j" + struct.pack("<I", self.memo[id(value)][0]))
            return
        match value:
            case None:
                self.put(b"N")
            case bool():
                self.put(b"\x88" if value else b"\x89")
            case int() if value in _INT32:
                self.put(b"J" + struct.pack("<i", value))
            case int():
                length = value.bit_length() // 8 + 1
                self.put(b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True))
            case np.generic():
                self.write(value.item())
            case float():
                self.put(b"G" + struct.pack(">d", value))
            case str():
                self.put_bytes(value.encode("utf-8", "surrogateescape"))  # which gives paths their bytes back
            case bytes():
                self.put_bytes(value)
            case tuple():
                self.put_items(value, b"t")
            case list():
                self.put(b"]")
                self.remember(value)
                self.put_items(value, b"e")
            case dict():
                self.put(b"}")
                self.remember(value)
                self.put_items((part for item in value.items() for part in item), b"u")
            case np.ndarray():
                self.put_array(value)
            case _:
                raise ConvnetError(f"a {type(value).__name__} cannot be saved")

    def remember(self, value: Any) -> None:
        self.put(b"r" + struct.pack("<I", len(self.memo)))
        self.memo[id(value)] = (len(self.memo), value)  # keeps the object alive, so that its identity stays its own

    def put_bytes(self, value: bytes | memoryview) -> None:
        size = len(value)
        if size > 2**31 - 1:
            raise ConvnetError(f"{size} bytes in one array are more than the checkpoint format holds (2 GiB)")
        self.put(b"U" + bytes([size]) if size < 256 else b"T" + struct.pack("<i", size))
        self.put(value)

    def put_items(self, values: Iterable[Any], end: bytes) -> None:
        """Write values between a mark and the opcode that takes them."""
        self.put(b"(")
        for value in values:
            self.write(value)
        self.put(end)

    def put_array(self, value: np.ndarray) -> None:
        """Write an array as NumPy of 2012 did: an empty one, then shape, type, order and bytes as its state."""
        if value.dtype.kind not in "biuf":
            raise ConvnetError(f"arrays of {value.dtype} cannot be saved")
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        self.put(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR")
        self.remember(value)
        self.put(b"(K\x01")
        self.put_items(value.shape, b"t")
        # The type is its code, then (version 3, byte order, no fields).
        self.put(b"cnumpy\ndtype\n(")
        self.write(value.dtype.kind + str(value.dtype.itemsize))
        self.put(b"K\x00K\x01tR(K\x03")
        self.write("<" if value.dtype.itemsize > 1 else "|")
        self.put(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        self.write(fortran)
        flat = np.asarray(value, value.dtype.newbyteorder("<")).reshape(-1, order="F" if fortran else "C")
        self.put_bytes(flat.view(np.uint8).data if flat.size else b"")
        self.put(b"tb")
