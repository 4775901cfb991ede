"""Reads pickles as data: nothing named by a file is ever imported or called (io 4.8).

The few names that real checkpoints and batches contain are mapped to stand-ins of our own, which check what they are
given and become NumPy arrays only afterwards. NumPy's own functions are not safe to expose: a small pickle that uses
nothing else can make an object array of chosen pointers. Strings of Python 2 are read as Latin-1.
"""

import gzip
import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convnet.errors import ConvnetError

_MAX_DEPTH = 200
_MAX_DIMENSIONS = 8
_PLAIN = {"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"}


class UnsafePickle(ConvnetError):
    """A pickle that is damaged, or that names something other than plain data."""


class LegacyObject:
    """An instance of a class of the originals (``OptionsParser`` and the like): inert, attributes only."""

    def __init__(self, *_: object) -> None:
        pass

    legacy_class = ""

    def __repr__(self) -> str:
        return f"<{self.legacy_class} {vars(self)}>"


class _Dtype:
    """Stand-in for ``numpy.dtype``: plain numbers, byte and unicode strings, and objects given as lists."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code, self.order = _as_text(code), ""
        self.holds_objects = self.code.startswith("O")
        if self.code not in _PLAIN and not re.fullmatch(r"O.*|[SU][0-9]+", self.code, re.DOTALL):
            raise UnsafePickle(f"array type {self.code!r} is not plain data")

    def __setstate__(self, state: tuple) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(field is not None for field in state[2:5]):
            raise UnsafePickle("an array type with fields is not plain data")
        order = _as_text(state[1])
        if order not in ("<", ">", "=", "|"):
            raise UnsafePickle(f"unknown byte order {order!r}")
        self.order = order if order in "<>" else ""

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """Stand-in for an array under construction; ``finish`` makes the real one."""

    def __init__(self, *_: object) -> None:
        self.state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def finish(self) -> np.ndarray:
        if not isinstance(self.state, tuple) or len(self.state) not in (4, 5):
            raise UnsafePickle("an array without contents")
        shape, dtype, fortran, raw = self.state[-4:]
        if not isinstance(dtype, _Dtype) or not _is_shape(shape):
            raise UnsafePickle("an array whose type or shape is damaged")
        if dtype.holds_objects:
            if not isinstance(raw, list) or len(raw) != prod(shape):
                raise UnsafePickle("an array of objects that is not a list")
            flat = np.empty(len(raw), object)
            flat[:] = [_finish(item, {}, 0) for item in raw]
        else:
            data = _as_bytes(raw)
            if len(data) != prod(shape) * dtype.numpy.itemsize:
                raise UnsafePickle(f"an array of shape {shape} with {len(data)} bytes")
            flat = np.frombuffer(bytearray(data), dtype.numpy)
        return flat.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: object, raw: object = "") -> Any:
    """Stand in for a NumPy scalar: return a plain Python number or text."""
    if not isinstance(dtype, _Dtype) or dtype.holds_objects:
        raise UnsafePickle("a number of an unknown type")
    data = _as_bytes(raw)
    if len(data) != dtype.numpy.itemsize:
        raise UnsafePickle("a number with the wrong size")
    return np.frombuffer(data, dtype.numpy)[0].item()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise UnsafePickle(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_NUMPY_MODULES = [f"numpy.{core}.{name}" for core in ("core", "_core") for name in ("multiarray", "_multiarray_umath")]
_OPTION_NAMES = (
    "OptionsParser", "Option", "BooleanOptionParser", "StringOptionParser", "IntegerOptionParser",
    "FloatOptionParser", "RangeOptionParser", "ListOptionParser", "OptionExpression",
)  # fmt: skip
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("ordereddict", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    **{(module, "_reconstruct"): _Array for module in _NUMPY_MODULES},
    **{(module, "scalar"): _scalar for module in _NUMPY_MODULES},
    **{
        (module, name): type(name, (LegacyObject,), {"legacy_class": f"{module}.{name}"})
        for module in ("options", "python_util.options")
        for name in _OPTION_NAMES
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Files written in text mode on Windows end names with a carriage return.
        key = module.rstrip("\r"), name.rstrip("\r")
        if key not in _KNOWN:
            raise UnsafePickle(f"it names {module}.{name}, which is not plain data")
        return _KNOWN[key]

    def persistent_load(self, _: object) -> Any:
        raise UnsafePickle("it refers to objects outside the file")


def load(path: str | Path) -> Any:
    """Return the object in a pickle file, which may be zipped or gzipped. Raises ``UnsafePickle`` naming the file."""
    path = Path(path)
    try:
        return loads(path.read_bytes())
    except OSError as error:
        raise UnsafePickle(f"{path}: cannot be read: {error.strerror}") from None
    except UnsafePickle as error:
        raise UnsafePickle(f"{path}: {error}") from None


def loads(data: bytes) -> Any:
    """Return the object in the bytes of a pickle; see ``load``."""
    data = _unpacked(data)
    try:
        return _finish(_Reader(io.BytesIO(data), encoding="latin1").load(), {}, 0)
    except UnsafePickle as error:
        failure = error
    except Exception as error:  # a damaged pickle can make the reader raise nearly anything
        failure = UnsafePickle(f"not a readable pickle: {type(error).__name__}: {error}")
    # Written in text mode on Windows, every newline became two bytes, which can be undone (io 4.2).
    if b"\r\n" in data:
        return loads(data.replace(b"\r\n", b"\n"))
    raise failure from None


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


def _unpacked(data: bytes) -> bytes:
    try:
        if data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return archive.read("data" if "data" in archive.namelist() else archive.namelist()[0])
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, IndexError, ValueError, RuntimeError) as error:
        raise UnsafePickle(f"a damaged archive: {error}") from None
    return data


def _finish(value: Any, done: dict[int, tuple[Any, Any]], depth: int) -> Any:
    """Replace stand-ins below ``value`` by what they stand for; shared objects stay shared. ``done`` is by identity."""
    if isinstance(value, str | int | float | bytes | bool | complex) or value is None:
        return value
    if depth > _MAX_DEPTH:
        raise UnsafePickle("nested too deeply")
    if id(value) in done:
        return done[id(value)][1]
    # A container is noted before its items, which may hold it in turn.
    if isinstance(value, list):
        done[id(value)] = value, value
        value[:] = [_finish(item, done, depth + 1) for item in value]
        return value
    if isinstance(value, dict | LegacyObject):
        done[id(value)] = value, value
        items = value if isinstance(value, dict) else vars(value)
        for key in list(items):
            items[key] = _finish(items[key], done, depth + 1)
        return value
    result = value
    if isinstance(value, _Array):
        result = value.finish()
    elif isinstance(value, tuple):
        result = tuple(_finish(item, done, depth + 1) for item in value)
    elif not isinstance(value, set) and value not in _KNOWN.values():
        raise UnsafePickle(f"it holds a {type(value).__name__}, which is not plain data")
    done[id(value)] = value, result
    return result


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_DIMENSIONS
        and all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 2**40 for side in shape)
    )


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin1")
    if not isinstance(value, str):
        raise UnsafePickle("a damaged array type")
    return value


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode("latin1")
        except UnicodeEncodeError:
            raise UnsafePickle("array contents that are text") from None
    if isinstance(value, bytes):
        return value
    raise UnsafePickle("an array without contents")
