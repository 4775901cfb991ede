"""Pixels of any kind as RGB or grey of eight bits each: depth, floats, transparent places."""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

Color = tuple[int, int, int]

_BAND = 1 << 20  # pixels that are converted at a time
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_UNSIGNED = 1


def flatten(picture: Image.Image, mode: str, background: Color) -> Image.Image:
    """Return a picture in ``mode`` "RGB" or "L", eight bits per channel, without transparency."""
    see_through = picture.mode in _TRANSPARENT or "transparency" in picture.info
    if picture.mode == mode and not see_through:
        return picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        convert = _grey_converter(picture, background)
    elif see_through:
        convert = partial(_lay_on, background)
    else:
        convert = _as_it_is
    flat = Image.new(mode, picture.size)
    rows = max(1, _BAND // picture.width)
    for top in range(0, picture.height, rows):  # the whole of a large picture would be there three times
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        flat.paste(convert(band).convert(mode), (0, top))
    return flat


def _as_it_is(picture: Image.Image) -> Image.Image:
    return picture


def _lay_on(background: Color, picture: Image.Image) -> Image.Image:
    """Lay a picture with transparent places on a colour."""
    layer = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    paper = Image.new("RGBA", picture.size, (*background, 255))
    return Image.alpha_composite(paper, layer)


def _grey_converter(picture: Image.Image, background: Color) -> Callable[[Image.Image], Image.Image]:
    """Return what converts parts of a grey picture of more than eight bits, or of floats."""
    tags = getattr(picture, "tag_v2", {})
    unsigned = picture.mode == "I" and tags.get(_SAMPLE_FORMAT, (2,))[0] == _UNSIGNED

    def values_of(band: Image.Image) -> np.ndarray:
        values = np.asarray(band)
        return values.view(np.uint32) if unsigned else values

    black, white = _grey_range(picture, values_of, int(tags.get(_BITS, (16,))[0]))
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero; Pillow minds that of eight bits only
        black, white = white, black
    key = picture.info.get("transparency")

    def convert(band: Image.Image) -> Image.Image:
        values = values_of(band)
        scaled = (values.astype(np.float64) - black) * (255 / (white - black))
        grey = np.rint(np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255)).astype(np.uint8)
        flat = Image.fromarray(grey).convert("RGB")
        if isinstance(key, int):
            flat.paste(background, mask=Image.fromarray(np.uint8(255) * (values == key)))
        return flat

    return convert


def _grey_range(picture: Image.Image, values_of: Callable[[Image.Image], np.ndarray], bits: int) -> tuple[float, float]:
    """Return which values are black and white: those that the format means, or else what the values themselves suggest.

    Sixteen bits are 0 to 65535, twelve of a TIFF 0 to 4095. Floats and long integers have no white of their own: 1 (of
    floats), 255 or 65535 where all values lie below it, as programs write them; else the least and the greatest value.
    """
    if picture.mode.startswith("I;16"):
        return 0, (1 << bits) - 1
    if picture.mode == "I" and picture.format in ("PNG", "PPM"):
        return 0, 65535
    values = values_of(picture)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0, 1
    low, high = float(finite.min()), float(finite.max())
    if picture.mode == "F" and low >= -1 and high <= 2:  # sharpening leads a little beyond 0 and 1
        return 0, 1
    for white in (255, 65535):
        if low >= 0 and high <= white:
            return 0, white
    return low, max(high, low + 1)
