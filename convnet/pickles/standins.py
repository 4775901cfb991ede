"""What the few names in real files stand for (io 4.8): stand-ins, from which NumPy arrays and plain values are made.

NumPy's own functions are not safe to expose: a small pickle that uses nothing else can make an object array of chosen
pointers. Here an array is made of its bytes alone, after its type, shape and size have been compared.
"""

import re
from enum import Enum, auto
from math import prod
from typing import Any, Literal

import numpy as np

from convnet.errors import ConvnetError

_MAX_DIMENSIONS = 8
_MAX_SIDE = 2**40
_PLAIN = {"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"}
_LAST_CHARACTER = 0x10FFFF
_PLACE = 16  # bytes, and the time that filling one takes


class UnsafePickle(ConvnetError):
    """A pickle that is damaged, or that names something other than plain data."""


class LegacyObject:
    """An instance of a class of the originals (``OptionsParser`` and the like): inert, attributes only."""

    legacy_class = ""

    def __repr__(self) -> str:
        return f"<{self.legacy_class}>"


class Name(Enum):
    """A name that files call; what is done for it is decided in ``convnet.pickles.machine``."""

    ndarray = auto()
    reconstruct = auto()
    frombuffer = auto()
    dtype = auto()
    scalar = auto()
    encode = auto()
    base64 = auto()
    dictionary = auto()
    set = auto()
    bytes = auto()
    bytearray = auto()


_OPTION_NAMES = (
    "OptionsParser", "Option", "BooleanOptionParser", "StringOptionParser", "IntegerOptionParser",
    "FloatOptionParser", "RangeOptionParser", "ListOptionParser", "OptionExpression",
)  # fmt: skip
_CORES = ("numpy.core", "numpy._core")
KNOWN: dict[tuple[str, str], Name | type[LegacyObject]] = {
    ("numpy", "dtype"): Name.dtype,
    ("numpy", "ndarray"): Name.ndarray,
    ("numpy", "memmap"): Name.ndarray,  # whose contents are written alike
    ("numpy.core.memmap", "memmap"): Name.ndarray,  # the same before NumPy 1.16
    ("_codecs", "encode"): Name.encode,
    ("binascii", "a2b_base64"): Name.base64,
    ("collections", "OrderedDict"): Name.dictionary,
    ("ordereddict", "OrderedDict"): Name.dictionary,
    ("__builtin__", "set"): Name.set,
    ("builtins", "set"): Name.set,
    ("__builtin__", "bytes"): Name.bytes,
    ("builtins", "bytes"): Name.bytes,
    ("__builtin__", "bytearray"): Name.bytearray,
    ("builtins", "bytearray"): Name.bytearray,
    **{
        (f"{core}.{module}", "_reconstruct"): Name.reconstruct
        for core in _CORES
        for module in ("multiarray", "_multiarray_umath")
    },
    **{(f"{core}.{module}", "scalar"): Name.scalar for core in _CORES for module in ("multiarray", "_multiarray_umath")},
    **{(f"{core}.numeric", "_frombuffer"): Name.frombuffer for core in _CORES},
    **{
        (module, name): type(name, (LegacyObject,), {"legacy_class": f"{module}.{name}"})
        for module in ("options", "python_util.options")
        for name in _OPTION_NAMES
    },
}


def legacy_class(module: str, name: str) -> type[LegacyObject]:
    """Return the stand-in for a class of the originals' module of options."""
    kind = KNOWN[module, name]
    assert isinstance(kind, type)
    return kind


class Span:
    """A long text or bytes that lie in the file; copied only where they become a value, since most are arrays' contents."""

    def __init__(self, view: memoryview, is_text: bool) -> None:
        self.view, self.is_text = view, is_text
        self.value: str | bytes | None = None

    def plain(self) -> str | bytes:
        """Return the value, which is the same object each time."""
        if self.value is None:
            self.value = str(self.view, "latin1") if self.is_text else bytes(self.view)
        return self.value


class State(tuple):
    """A tuple that holds stand-ins: the arguments of a call, or the state of an array."""


class Dtype:
    """A type of arrays: plain numbers, byte and unicode strings, and objects given as lists."""

    def __init__(self, code: object) -> None:
        self.code, self.order = as_text(code), ""
        self.holds_objects = self.code.startswith("O")
        if self.code not in _PLAIN and not re.fullmatch(r"O.{0,3}|[SU][0-9]{1,9}", self.code, re.DOTALL):
            raise UnsafePickle(f"array type {self.code[:20]!r} is not plain data")

    def build(self, state: object) -> None:
        """Set the byte order."""
        if not isinstance(state, tuple) or len(state) < 5 or any(field is not None for field in state[2:5]):
            raise UnsafePickle("an array type with fields is not plain data")
        order = as_text(state[1])
        if order not in ("<", ">", "=", "|"):
            raise UnsafePickle(f"unknown byte order {order[:20]!r}")
        self.order = order if order in "<>" else ""

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class Array:
    """An array under construction. ``places`` are where the machine's memo has it."""

    def __init__(self) -> None:
        self.places: list[int] = []


UNFINISHED = frozenset({Span, State, Dtype, Array, Name})


def array_of(state: object) -> np.ndarray:
    """Return the array of a ``__setstate__``: (version, shape, type, Fortran order?, contents)."""
    if not isinstance(state, State) or len(state) not in (4, 5):
        raise UnsafePickle("an array without contents")
    shape, dtype, fortran, raw = state[-4:]
    return make_array(raw, dtype, shape, "F" if fortran else "C")


def make_array(raw: object, dtype: object, shape: object, order: Literal["C", "F"]) -> np.ndarray:
    """Return an array of its own memory; raises ``UnsafePickle`` unless contents, type and shape agree."""
    if not isinstance(dtype, Dtype) or not isinstance(shape, tuple) or not _is_shape(shape):
        raise UnsafePickle("an array whose type or shape is damaged")
    count = prod(shape)
    if dtype.holds_objects:
        if not isinstance(raw, list) or len(raw) != count:
            raise UnsafePickle("an array of objects that is not a list")
        # NumPy frees arrays within arrays by calls within calls, however deep they lie.
        if any(isinstance(item, np.ndarray) and item.dtype == object for item in raw):
            raise UnsafePickle("arrays of objects within each other are not plain data")
        flat = np.empty(count, object)
        for i, item in enumerate(raw):
            flat[i] = item
        # They are listed in order of their places, however the array lies in memory.
        return np.asarray(flat.reshape(shape), order=order)
    data = _contents(raw)
    if len(data) != count * dtype.numpy.itemsize:
        raise UnsafePickle(f"an array of shape {shape} with {len(data)} bytes")
    return _checked(np.frombuffer(bytearray(data), dtype.numpy)).reshape(shape, order=order)  # which may lie at any address


def make_transposed(raw: object, dtype: object, shape: object, axes: object) -> np.ndarray:
    """Return an array whose axes lie in memory in another order (NumPy 2.3 and later, protocol 5); see ``make_array``."""
    array = make_array(raw, dtype, shape, "C")
    if not isinstance(axes, tuple) or not _is_shape(axes) or sorted(axes) != list(range(array.ndim)):
        raise UnsafePickle("an array whose axes are damaged")
    return array.transpose(axes)


def scalar(dtype: object, raw: object = "") -> Any:
    """Return the plain Python number or text of a NumPy scalar."""
    if not isinstance(dtype, Dtype) or dtype.holds_objects:
        raise UnsafePickle("a number of an unknown type")
    data = _contents(raw)
    if len(data) != dtype.numpy.itemsize:
        raise UnsafePickle("a number with the wrong size")
    return _checked(np.frombuffer(data, dtype.numpy))[0].item()


def _checked(flat: np.ndarray) -> np.ndarray:
    """Return an array that any bytes may make; raises ``UnsafePickle`` for characters that do not exist."""
    if flat.dtype.kind == "b":
        return flat.view(np.uint8) != 0
    if flat.dtype.kind == "U" and flat.size:
        characters = flat.view(np.dtype("u4").newbyteorder(flat.dtype.byteorder))
        if characters.max() > _LAST_CHARACTER:
            raise UnsafePickle("an array of texts with characters that do not exist")
    return flat


def size_of(value: object) -> int:
    """Return the bytes that an array or a text made of ``value`` takes."""
    if isinstance(value, Span):
        return len(value.view)
    return len(value) if isinstance(value, str | bytes) else _PLACE * len(value) if isinstance(value, list) else 0


def as_text(value: object) -> str:
    """Return a text that names something."""
    if isinstance(value, Span):
        value = value.plain()
    if isinstance(value, bytes):
        value = value.decode("latin1")
    if not isinstance(value, str):
        raise UnsafePickle("a damaged array type")
    return value


def _contents(value: object) -> bytes | memoryview:
    if isinstance(value, Span):
        return value.view
    if isinstance(value, str):
        try:
            return value.encode("latin1")
        except UnicodeEncodeError:
            raise UnsafePickle("array contents that are text") from None
    if isinstance(value, bytes):
        return value
    raise UnsafePickle("an array without contents")


def _is_shape(shape: tuple) -> bool:
    sides = all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < _MAX_SIDE for side in shape)
    return sides and len(shape) <= _MAX_DIMENSIONS
