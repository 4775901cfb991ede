"""The machine that pickles are programs for: its stack, its memo, and what can be done with them (io 4.8).

Python's own reader does what a file says: makes room for a memo of two billion places, for a text of declared length,
for an array once per mention. This one charges for what it makes, and stops where that is more than a file of its size can
need. It never recurses, and sets attributes only of the inert objects that it has made itself.
"""

import codecs
import struct
from binascii import a2b_base64
from collections.abc import Sequence
from sys import getsizeof
from typing import Any

from convnet.pickles.standins import (
    KNOWN,
    UNFINISHED,
    Array,
    Dtype,
    LegacyObject,
    Name,
    Span,
    State,
    UnsafePickle,
    array_of,
    make_array,
    make_transposed,
    scalar,
    size_of,
)

_LONG_TEXT = 256  # bytes from which a text stays in the file until it is asked for
_LINE = 300  # longest line of a number, a name, a place in the memo
_NUMBER_BYTES = 64  # of a whole number: states of random generators take 16
_KEY_INT = 1 << 60  # whole numbers below have hashes of their own, larger ones can be made to collide
_TUPLE_KEYS = 1000  # whose hashes can be made to collide, too
_ATOMS = frozenset({str, int, bytes, bool, float, type(None)})
_KEYS = _ATOMS | {tuple}


class Machine:
    """What is under way of the pickle in ``data``, read up to ``position``; what it makes may take ``budget`` bytes.

    ``convnet.pickles.opcodes`` runs it.
    """

    def __init__(self, data: bytes, budget: int) -> None:
        self.data, self.position = data, 0
        self.view = memoryview(data)
        self.budget = self.left = budget
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.tuple_keys = 0

    def charge(self, size: int) -> None:
        """Take ``size`` bytes of the budget; raises ``UnsafePickle`` when it is spent."""
        self.left -= size
        if self.left < 0:
            raise UnsafePickle(f"it takes more than {self.budget >> 20:,} MiB of memory, which no file of its size needs")

    # -- reading the file

    def take(self, size: int) -> memoryview:
        """Return the next ``size`` bytes."""
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise UnsafePickle(f"truncated: {size:,} bytes are announced at byte {self.position}, where there are fewer")
        self.position, start = end, self.position
        return self.view[start:end]

    def number(self, layout: str) -> int:
        """Return the next number, in the ``layout`` of ``struct``."""
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def line(self, limit: int | None = _LINE) -> bytes:
        """Return the next line."""
        start = self.position
        end = self.data.find(b"\n", start, None if limit is None else start + limit)
        if end < 0:
            raise UnsafePickle(f"a line without end at byte {start}")
        self.position = end + 1
        return self.data[start:end].rstrip(b"\r")

    # -- values

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_text(self, size: int) -> None:
        """Push a text of Python 2."""
        text = self.take(size)
        self.stack.append(str(text, "latin1") if size < _LONG_TEXT else Span(text, is_text=True))

    def push_bytes(self, size: int) -> None:
        data = self.take(size)
        self.stack.append(bytes(data) if size < _LONG_TEXT else Span(data, is_text=False))

    def push_unicode(self, size: int) -> None:
        text = str(self.take(size), "utf-8", "surrogatepass")
        self.charge(getsizeof(text))
        self.stack.append(text)

    def push_escaped(self, is_unicode: bool) -> None:
        """Push a text of protocol 0, which is written as in a program."""
        line = self.line(limit=None)
        if is_unicode:
            text = str(line, "raw-unicode-escape")
        elif len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
            raise UnsafePickle("a text without quotation marks")
        else:
            text = codecs.escape_decode(line[1:-1])[0].decode("latin1")
        self.charge(getsizeof(text))
        self.stack.append(text)

    def push_decimal(self) -> None:
        line = self.line(limit=2 * _NUMBER_BYTES).rstrip(b"L")
        self.stack.append(line == b"01" if line in (b"00", b"01") else int(line))

    def push_number(self, size: int) -> None:
        """Push a whole number of ``size`` bytes."""
        if not 0 <= size <= _NUMBER_BYTES:
            raise UnsafePickle(f"a whole number of {size:,} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    # -- the memo

    def put(self, place: int) -> None:
        value = self.stack[-1]
        if not 0 <= place <= len(self.data):
            raise UnsafePickle(f"a memo of {place:,} places, in a file of {len(self.data):,} bytes")
        self.memo[place] = value
        if type(value) is Array:
            value.places.append(place)

    # -- containers

    def popped(self) -> list[Any]:
        """Return what lies above the last mark, and take it and the mark away."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        self.charge(8 * len(items))
        return items

    def last(self, count: int) -> list[Any]:
        """Return the last ``count`` things on the stack, and take them away."""
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def plain(self, value: Any) -> Any:
        """Return what may lie in a container; raises ``UnsafePickle`` for stand-ins that are not finished."""
        kind = type(value)
        if kind is Span:
            if value.value is None:
                self.charge(len(value.view))
            return value.plain()
        if kind is State:
            self.charge(64 + 8 * len(value))
            return tuple([self.plain(item) for item in value])
        if kind in UNFINISHED:
            raise UnsafePickle("it holds part of an array, or a name, which is not plain data")
        return value

    def plain_items(self, items: list[Any]) -> list[Any]:
        return items if UNFINISHED.isdisjoint(map(type, items)) else [self.plain(item) for item in items]

    def make_tuple(self, items: Sequence[Any]) -> None:
        """Push a tuple; of stand-ins, and of tuples of them, a ``State``."""
        if UNFINISHED.isdisjoint(map(type, items)):
            self.stack.append(tuple(items))
        else:
            self.stack.append(State([self.plain(item) if type(item) is State else item for item in items]))

    def checked_keys(self, keys: list[Any]) -> list[Any]:
        """Return keys of a dictionary or a set; raises ``UnsafePickle`` for those that are not plain or made to collide."""
        kinds = set(map(type, keys))
        if not kinds <= _KEYS:
            raise UnsafePickle("a dictionary whose keys are neither texts nor numbers")
        if int in kinds and any(type(key) is int and not -_KEY_INT < key < _KEY_INT for key in keys):
            raise UnsafePickle("a dictionary with a number of more than 60 bits as its key")
        if tuple in kinds:
            pairs = [key for key in keys if type(key) is tuple]
            self.tuple_keys += len(pairs)
            if self.tuple_keys > _TUPLE_KEYS or not all(_ATOMS.issuperset(map(type, pair)) for pair in pairs):
                raise UnsafePickle(f"keys of dictionaries that are nested, or more than {_TUPLE_KEYS} tuples")
        self.charge(80 * len(keys))
        return keys

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise UnsafePickle("items for what is not a list")
        target += self.plain_items(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise UnsafePickle("items for what is not a dictionary")
        target.update(self.pairs(items))

    def pairs(self, items: list[Any]) -> dict[Any, Any]:
        items = self.plain_items(items)
        return dict(zip(self.checked_keys(items[::2]), items[1::2], strict=True))

    def add(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise UnsafePickle("items for what is not a set")
        target.update(self.checked_keys(self.plain_items(items)))

    # -- names, and what is done for them

    def push_name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnsafePickle("it names something otherwise than by a short text")
        known = KNOWN.get((module, name))
        if known is None:
            raise UnsafePickle(f"it names {module:.80}.{name:.80}, which is not plain data")
        self.stack.append(known)

    def push_named_line(self) -> None:
        self.push_name(self.line().decode("latin1"), self.line().decode("latin1"))

    def push_stacked_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_name(module, name)

    def instance(self, kind: object) -> None:
        """Push an inert object of one of the originals' classes."""
        if not isinstance(kind, type):
            raise UnsafePickle("an object of a class that is not one of the originals'")
        self.stack.append(kind())

    def reduce(self) -> None:
        """Do what a file wants to be called."""
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple):
            raise UnsafePickle("a call without arguments")
        if isinstance(name, type):
            self.instance(name)
        elif isinstance(name, Name):
            self.charge(sum(map(size_of, arguments)))
            self.stack.append(self.called(name, arguments))
        else:
            raise UnsafePickle("a call of what cannot be called")

    def called(self, name: Name, arguments: tuple) -> Any:
        """Return what ``name`` makes of ``arguments``."""
        match name, arguments:
            case Name.reconstruct, (Name.ndarray, *_):
                return Array()
            case Name.frombuffer, (raw, dtype, shape, "K", axes):
                return make_transposed(raw, dtype, shape, axes)
            case Name.frombuffer, (raw, dtype, shape, order):
                return make_array(raw, dtype, shape, "F" if order == "F" else "C")
            case Name.dtype, (code, *_):
                return Dtype(code)
            case Name.scalar, (dtype, *raw):
                return scalar(dtype, *raw[:1])
            case Name.bytearray, (bytes() | Span(is_text=False) as data,):
                return self.plain(data)
            case (Name.encode, (text, *encoding)) | (Name.bytearray, (text, *encoding)):
                text = self.plain(text)
                if encoding not in ([], ["latin1"], ["latin-1"]) or not isinstance(text, str):
                    raise UnsafePickle("bytes in another encoding than latin1")
                return text.encode("latin1")
            case Name.base64, (Span(view=view, is_text=True),):
                return a2b_base64(view)
            case Name.base64, (str() as text,):
                return a2b_base64(text)
            case Name.dictionary, ():
                return {}
            case Name.dictionary, (list() as items,) if all(
                isinstance(pair, list | tuple) and len(pair) == 2 for pair in items
            ):
                return self.pairs([part for pair in items for part in pair])
            case Name.set, ():
                return set()
            case (Name.bytes, ()) | (Name.bytearray, ()):
                return b""
            case Name.set, (list() as items,):
                return set(self.checked_keys(items))
        raise UnsafePickle(f"a call of {name.name} with other arguments than it takes")

    def build(self) -> None:
        """Give the object on the stack its state: an array its contents, an inert object its attributes."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Array:
            self.charge(sum(map(size_of, state)) if isinstance(state, tuple) else 0)
            self.stack[-1] = array = array_of(state)
            for place in target.places:
                if self.memo[place] is target:
                    self.memo[place] = array
        elif type(target) is Dtype:
            target.build(state)
        elif isinstance(target, LegacyObject) and isinstance(state, dict) and all(isinstance(key, str) for key in state):
            self.charge(100 * len(state))
            vars(target).update(state)
        else:
            raise UnsafePickle("attributes for what is not an object of the originals")
