"""Writes pickles as Python 2's cPickle wrote them, protocol 2, so that the originals open them (io 4.2, 4.7, 4.9).

Python 3's own pickler cannot: under protocol 2 it makes unicode of text, new-style objects of the originals' options, and of
an array's bytes a text half as long again. Read with ``convnet.pickles.load``, or with
``pickle.load(file, encoding="latin1")`` where the originals' modules are.
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from convnet.errors import ConvnetError
from convnet.pickles.standins import LegacyObject

_INT32, _INT64 = range(-(2**31), 2**31), range(-(2**63), 2**63)
_SHORT = 256  # bytes from which on a text has another opcode
_BATCH = 1000  # items between a mark and the opcode that takes them
_PIECE = 1 << 16  # bytes that are written at once
_TUPLES = {1: b"\x85", 2: b"\x86", 3: b"\x87"}


def dump(value: Any, file: IO[bytes], checksum: bool = False, as_read: bool = False) -> None:
    """Write dicts, lists, tuples, text, bytes, numbers, None, arrays of numbers, and the originals' option objects.

    Containers and arrays that are shared stay so, cycles too. Texts are written as UTF-8, with the bytes of paths as they
    were; those ``as_read`` by ``load``, with a byte in each character, as the bytes they were read from. With a
    ``checksum``, a line ``sha256 HEX`` of all that precedes it follows the end of the pickle, where readers of pickles stop.

    Raises ``ConvnetError`` for what the format does not hold.
    """
    output = Output(file)
    output.pickle(Writer(output, as_read), value, checksum)


class Output:
    """A file that takes many small pieces, and the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.pieces = file, hashlib.sha256(), bytearray()

    def pickle(self, writer: "Writer", value: Any, checksum: bool) -> None:
        """Write a whole pickle, and its checksum if it is to have one."""
        self.put(b"\x80\x02")
        writer.write(value)
        self.put(b".")
        self.flush()
        if checksum:
            self.file.write(b"\nsha256 %b\n" % self.digest.hexdigest().encode())

    def put(self, data: bytes | memoryview) -> None:
        if len(data) < _PIECE:
            self.pieces += data
        if len(self.pieces) >= _PIECE or len(data) >= _PIECE:
            self.flush()
        if len(data) >= _PIECE:
            self._write(data)

    def flush(self) -> None:
        self._write(self.pieces)
        self.pieces = bytearray()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self.digest.update(data)
        self.file.write(data)


class Writer:
    """What has been written: ``memo`` has the place of every object by its identity, of texts and names by themselves."""

    def __init__(self, output: Output, as_read: bool) -> None:
        self.put, self.as_read = output.put, as_read
        self.memo: dict[Any, tuple[int, Any]] = {}

    def write(self, value: Any) -> None:
        """Write one value, with everything below it, however deep that is."""
        under_way = [iter((value,))]
        while under_way:
            for item in under_way[-1]:
                if (inner := self.begin(item)) is not None:
                    under_way.append(inner)
                    break
            else:
                under_way.pop()

    def begin(self, value: Any) -> Iterator[Any] | None:
        """Write a plain value; begin a container, and return an iterator over what it holds that writes its opcodes."""
        match value:
            case str():
                self.put_text(self.bytes_of(value))
            case float():
                self.put(b"G" + struct.pack(">d", value))
            case None:
                self.put(b"N")
            case bool():
                self.put(b"\x88" if value else b"\x89")
            case int():
                self.put(_number(value))
            case bytes():
                self.put_text(value)
            case np.generic():
                return iter((value.item(),))
            case type() if issubclass(value, LegacyObject):
                self.put_name(*value.legacy_class.rsplit(".", 1))
            case list() | dict() | tuple() | np.ndarray() | LegacyObject():
                return None if self.put_known(id(value)) else self.steps(value)
            case _:
                raise ConvnetError(f"a {type(value).__name__} cannot be saved")
        return None

    def steps(self, value: Any) -> Iterator[Any]:
        match value:
            case list():
                self.put(b"]")
                self.remember(id(value), value)
                yield from self.batches(list(zip(value, strict=True)), b"a", b"e")
            case dict():
                self.put(b"}")
                self.remember(id(value), value)
                yield from self.batches(list(value.items()), b"s", b"u")
            case tuple():
                yield from self.tuple_steps(value)
            case LegacyObject():
                self.put(b"(")
                yield type(value)
                self.put(b"o")
                self.remember(id(value), value)
                yield vars(value)
                self.put(b"b")
            case _:
                self.put_array(value)

    def batches(self, items: list[tuple[Any, ...]], one: bytes, several: bytes) -> Iterator[Any]:
        """Go through items of a container, or its pairs, with ``one`` behind a single one and ``several`` behind others."""
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            if len(batch) > 1:
                self.put(b"(")
            for item in batch:
                yield from item
            self.put(several if len(batch) > 1 else one)

    def tuple_steps(self, value: tuple[Any, ...]) -> Iterator[Any]:
        size = len(value)
        if not size:
            self.put(b")")
            return
        if size not in _TUPLES:
            self.put(b"(")
        yield from value
        if id(value) in self.memo:  # by way of a list that it holds, which holds it
            self.put(b"0" * size if size in _TUPLES else b"1")
            self.put_known(id(value))
            return
        self.put(_TUPLES.get(size, b"t"))
        self.remember(id(value), value)

    # -- the memo, which keeps objects alive, so that their identity stays their own

    def remember(self, key: Any, value: Any = None) -> None:
        place = len(self.memo) + 1
        self.put(b"q%c" % place if place < 256 else b"r" + struct.pack("<I", place))
        self.memo[key] = place, value

    def put_known(self, key: Any) -> bool:
        """Write where something is, if it has been written before; return whether it has."""
        if key not in self.memo:
            return False
        place = self.memo[key][0]
        self.put(b"h%c" % place if place < 256 else b"j" + struct.pack("<I", place))
        return True

    # -- texts, names, arrays

    def bytes_of(self, text: str) -> bytes:
        if self.as_read:
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:  # which was unicode in the file
                pass
        return text.encode("utf-8", "surrogateescape")  # which gives paths their bytes back

    def put_text(self, text: bytes) -> None:
        """Write a text of Python 2; short ones once, as it made one object of them, but not those of one character."""
        if len(text) in (0, 1) or len(text) >= _SHORT:
            self.put_contents(text)
        elif not self.put_known(text):
            self.put_contents(text)
            self.remember(text)

    def put_contents(self, text: bytes | memoryview) -> None:
        size = len(text)
        if size not in _INT32:
            raise ConvnetError(f"{size} bytes in one array are more than the checkpoint format holds (2 GiB)")
        self.put(b"U%c" % size if size < _SHORT else b"T" + struct.pack("<i", size))
        self.put(text)

    def put_name(self, module: str, name: str) -> None:
        if not self.put_known((module, name)):
            self.put(f"c{module}\n{name}\n".encode())
            self.remember((module, name))

    def put_array(self, value: np.ndarray) -> None:
        """Write an array as NumPy of 2012 did: an empty one, then shape, type, order and bytes as its state."""
        if value.dtype.kind not in "biuf":
            raise ConvnetError(f"arrays of {value.dtype} cannot be saved")
        self.put_name("numpy.core.multiarray", "_reconstruct")
        self.put_name("numpy", "ndarray")
        self.put(b"K\x00\x85U\x01b\x87R")
        self.remember(id(value), value)
        ends = _TUPLES.get(value.ndim)
        self.put(b"(K\x01" + b"(" * (not ends and value.ndim > 0) + b"".join(map(_number, value.shape)))
        self.put(ends or (b"t" if value.ndim else b")"))
        self.put_dtype(value.dtype)
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        self.put(b"\x88" if fortran else b"\x89")
        flat = np.asarray(value, value.dtype.newbyteorder("<")).reshape(-1, order="F" if fortran else "C")
        self.put_contents(flat.view(np.uint8).data if flat.size else b"")
        self.put(b"tb")

    def put_dtype(self, dtype: np.dtype) -> None:
        """Write a type of arrays: its code, then (version 3, byte order, no fields)."""
        code = f"{dtype.kind}{dtype.itemsize}"
        if not self.put_known(("dtype", code)):
            self.put_name("numpy", "dtype")
            self.put(f"U\x02{code}K\x00K\x01\x87R".encode("latin1"))
            self.remember(("dtype", code))
            order = b"<" if dtype.itemsize > 1 else b"|"
            self.put(b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")


def _number(value: int) -> bytes:
    """Return a whole number by the shortest of the opcodes that cPickle had for it."""
    if value in range(256):
        return b"K%c" % value
    if value in range(1 << 16):
        return b"M" + struct.pack("<H", value)
    if value in _INT32:
        return b"J" + struct.pack("<i", value)
    if value in _INT64:
        return b"I%d\n" % value
    length = value.bit_length() // 8 + 1
    return b"\x8a%c" % length + value.to_bytes(length, "little", signed=True)
