"""Writes pickles that every Python opens with a plain ``pickle.load``: batches, features, predictions (io 5, 5.6).

Python 2 knows no bytes apart from text, and Python 3 takes its text for ASCII unless told otherwise. So what is not ASCII is
unicode where it is text, and Base64 where it is bytes: ``binascii.a2b_base64``, which both have, makes of it a ``str`` in
Python 2 and ``bytes`` in Python 3. That costs a third; Python 3's own way under protocol 2 costs half.
"""

import binascii
import struct
from collections.abc import Iterator
from typing import IO, Any

from convnet.pickles.writer import Output, Writer


def dump_plain(value: Any, file: IO[bytes], checksum: bool = False) -> None:
    """Write what ``dump`` writes, for readers that are told nothing of the file; see there."""
    output = Output(file)
    output.pickle(_PlainWriter(output, as_read=False), value, checksum)


class _PlainWriter(Writer):
    def begin(self, value: Any) -> Iterator[Any] | None:
        match value:
            case str() if not value.isascii():
                text = value.encode("utf-8", "surrogatepass")
                self.put(b"X" + struct.pack("<I", len(text)))
                self.put(text)
            case bytes():
                self.put_base64(value)
            case _:
                return super().begin(value)
        return None

    def put_contents(self, text: bytes | memoryview) -> None:
        """Write a text, or what an array holds, of which NumPy accepts both kinds of texts."""
        data = bytes(text)
        if data.isascii():
            super().put_contents(data)
        else:
            self.put_base64(data)

    def put_base64(self, data: bytes) -> None:
        self.put_name("binascii", "a2b_base64")
        super().put_contents(binascii.b2a_base64(data, newline=False))
        self.put(b"\x85R")
