"""JPEG files decoded by simplejpeg where it is installed (the extra ``jpeg``), to the bits that Pillow makes, in less time.

It calls the same library that Pillow does, but writes into an array at once. What could come out otherwise is left to
Pillow: several scans in turn (progressive), four channels, and whatever its decoder has only a warning for.
"""

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

_SPACES = {"RGB": "RGB", "L": "GRAY"}  # of simplejpeg, by mode of Pillow


def decode_jpeg(data: bytes, picture: Image.Image, room: np.ndarray | None = None) -> np.ndarray | None:
    """Return the pixels of a JPEG, (H, W, 3) or (H, W), in ``room`` if there is any; ``None`` where Pillow has to decode.

    ``picture`` was opened on the file, and its size was checked; ``data`` are the bytes of the file, or none.
    """
    if picture.format != "JPEG" or picture.mode not in _SPACES or "progressive" in picture.info or not data:
        return None
    return _decode(data, picture, room) if is_used() else None


def _decode(data: bytes, picture: Image.Image, room: np.ndarray | None = None) -> np.ndarray | None:
    decoder = _simplejpeg()
    try:
        # Pillow read another size than the decoder does if the file has several, or if less is asked of Pillow (``draft``).
        if decoder.decode_jpeg_header(data)[:2] != (picture.height, picture.width):
            return None
        pixels = decoder.decode_jpeg(
            data, _SPACES[picture.mode], fastdct=False, fastupsample=False, buffer=room, strict=True
        )
        return pixels[..., 0] if picture.mode == "L" else pixels
    except ValueError:  # damaged; Pillow shows what it can of it, or says what is wrong
        return None


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


@cache
def is_used() -> bool:
    """Return whether simplejpeg is there and makes what this Pillow makes: each carries a library of some version."""
    if _simplejpeg() is None:
        return False
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    return all(
        _agrees(noise.convert(mode), subsampling) for mode, subsampling in (("L", 0), ("RGB", 0), ("RGB", 1), ("RGB", 2))
    )


def _agrees(picture: Image.Image, subsampling: int) -> bool:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=80, subsampling=subsampling)
    with Image.open(data) as stored:
        pixels = _decode(data.getvalue(), stored)
        return pixels is not None and np.array_equal(pixels, np.asarray(stored))
