"""Checkpoints in NumPy's own format: ``np.load(path)`` opens them with its defaults, and so does what reads ``.npz``.

    np.load("1.5")["layers/conv1/weights/0"]

A zip of arrays, each stored once: those of the layers under readable names, and in ``checkpoint``, bytes of UTF-8, the text
of everything else (``convnet.checkpoint.json_tree``). It holds nets that no original knows, and all that a file of the
originals does. Nothing is compressed, and the same tree gives the same bytes.
"""

import re
import zipfile
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from convnet.checkpoint.json_tree import from_json, to_json
from convnet.errors import ConvnetError, reason_of
from convnet.pickles import Content, UnsafePickle
from convnet.pickles.archives import ALWAYS, DAMAGE, RATIO
from convnet.pickles.reader import check_nesting

_TEXT = "checkpoint"
_LONGEST_TEXT = 64 << 20
_MOST_ARRAYS = 100_000
_LONGEST_HEADER = 10_000
_NAME_AT = 30  # bytes behind the beginning of a zip is the name of its first member
_BEGINNING = b"PK\x03\x04.{%d}%b" % (_NAME_AT - 4, _TEXT.encode() + rb"\.npy")
_DIRECTORY = b"PK\x01\x02"
DATE = (1980, 1, 1, 0, 0, 0)  # of what lies in a zip, so that the same checkpoint is the same file
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_npz(path: str | Path) -> bool:
    """Return whether a file is a checkpoint of this format, by what is in it."""
    try:
        with Path(path).open("rb") as file:
            return re.match(_BEGINNING, file.read(_NAME_AT + len(_TEXT) + 4), re.DOTALL) is not None
    except OSError:  # told of by whoever reads it
        return False


def write(file: BinaryIO, value: Any, as_read: bool = False) -> None:
    """Write a tree of dicts, lists, tuples, text, bytes, numbers, None and arrays; what is shared stays shared.

    ``as_read``: its texts are as those that ``read`` and ``pickles.load`` give. Raises ``ConvnetError`` for anything else,
    and for a tree whose text is too long.
    """
    text, arrays = to_json(value, as_read)
    if len(text) > _LONGEST_TEXT:
        raise ConvnetError(f"{len(text):,} bytes beside the arrays are more than an npz checkpoint holds")
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in {_TEXT: np.frombuffer(text.encode(), np.uint8), **arrays}.items():
            member = zipfile.ZipInfo(f"{name}.npy", DATE)
            member.create_system, member.external_attr = 3, 0o600 << 16  # the same on all systems
            member.file_size = array.nbytes
            with archive.open(member, "w", force_zip64=array.nbytes >= 2**31 - _LONGEST_HEADER) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def read(path: str | Path) -> Content:
    """Return the tree in a file, whose arrays have checksums; raises ``UnsafePickle`` naming the file."""
    try:
        return Content(_tree_of(Path(path).read_bytes()), True, 0)
    except OSError as error:
        raise UnsafePickle(f"{path}: cannot be read: {reason_of(error)}") from None
    except (UnsafePickle, MemoryError) as error:
        raise UnsafePickle(f"{path}: {str(error) or 'too large for the memory of this machine'}") from None


def _tree_of(data: bytes) -> Any:
    if data.count(_DIRECTORY) > _MOST_ARRAYS:
        raise UnsafePickle(f"an archive of more than {_MOST_ARRAYS} arrays")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            if sum(sizes.values()) > ALWAYS + RATIO * len(data) or sizes[f"{_TEXT}.npy"] > _LONGEST_TEXT + _LONGEST_HEADER:
                raise UnsafePickle(f"an archive of {len(data):,} bytes that holds more than a checkpoint does")
            text = _array(archive, _TEXT)
            if text.dtype != np.uint8:
                raise UnsafePickle(f"damaged: '{_TEXT}' is not the bytes of a text")
            tree = from_json(text.tobytes().decode(), lambda name: _array(archive, name))
    except DAMAGE as error:
        raise UnsafePickle(f"a damaged archive: {error}") from None
    check_nesting(tree)
    return tree


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return an array of its own memory, made of no more than the bytes that are there; raises what damage does."""
    stream = BytesIO(archive.read(f"{name}.npy"))
    reader = _READERS.get(np.lib.format.read_magic(stream))
    if reader is None:
        raise UnsafePickle(f"array '{name}' is in a later format of NumPy's than 2.0")
    shape, fortran, dtype = reader(stream, _LONGEST_HEADER)
    contents = bytearray(stream.read())
    if dtype.kind not in "biufS" or not dtype.itemsize:
        raise UnsafePickle(f"array '{name}' has the type {dtype}, which is not plain numbers")
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(contents):
        raise UnsafePickle(f"array '{name}' of shape {shape} has {len(contents):,} bytes")
    flat = np.frombuffer(contents, dtype)
    flat = flat.view(np.uint8) != 0 if dtype.kind == "b" else flat
    return flat.reshape(shape, order="F" if fortran else "C")
