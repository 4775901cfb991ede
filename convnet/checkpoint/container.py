"""How the tree of a checkpoint becomes a file: pickled, pickled and zipped (io 4.2), or as arrays of NumPy."""

import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from convnet import pickles
from convnet.checkpoint import npz
from convnet.checkpoint.checkpoint import Checkpoint
from convnet.generation import UNTIL_2012
from convnet.options import NPZ

_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same checkpoint is the same file


def write(value: Mapping[str, Any], file: BinaryIO) -> None:
    """Write what ``pack`` returned, or ``load``, in the format that it says."""
    own = value.get("model_state", {}).get("convnet") or {}
    is_read = isinstance(value, Checkpoint)
    format_ = pickles.text_of(own.get("format", ""))
    if format_ == NPZ:
        npz.write(file, value)
    elif format_ in UNTIL_2012 and own.get("options", {}).get("zip_save"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            member = zipfile.ZipInfo("data", _DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                pickles.dump(value, stream, checksum=True, as_read=is_read)
    else:
        pickles.dump(value, file, checksum=True, as_read=is_read)
