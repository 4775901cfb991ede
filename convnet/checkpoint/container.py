"""How the tree of a checkpoint becomes a file: pickled, pickled and zipped (io 4.2), or as arrays of NumPy."""

import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from convnet import pickles
from convnet.checkpoint import npz
from convnet.checkpoint.checkpoint import Checkpoint
from convnet.generation import UNTIL_2012
from convnet.options import NPZ


def write(value: Mapping[str, Any], file: BinaryIO) -> None:
    """Write what ``pack`` returned, or ``load``, in the format that it says."""
    own = value.get("model_state", {}).get("convnet") or {}
    zipped = bool(own.get("options", {}).get("zip_save"))
    write_as(pickles.text_of(own.get("format", "")), value, file, zipped, isinstance(value, Checkpoint))


def write_as(format_: str, value: Mapping[str, Any], file: BinaryIO, zipped: bool, is_read: bool) -> None:
    """Write a tree, whose texts are as ``load`` gives them or not; until 2012 a pickle may be ``zipped``."""
    if format_ == NPZ:
        npz.write(file, value, is_read)
    elif format_ in UNTIL_2012 and zipped:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            member = zipfile.ZipInfo("data", npz.DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                pickles.dump(value, stream, checksum=True, as_read=is_read)
    else:
        pickles.dump(value, file, checksum=True, as_read=is_read)
