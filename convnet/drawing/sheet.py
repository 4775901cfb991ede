"""Sheets of pictures and words, drawn by Pillow alone: no screen, and no fonts but Pillow's own. Lengths are pixels."""

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convnet.errors import ConvnetError, printable

_TITLE, _CAPTION, _MARGIN = 22, 14, 12
_REPLACED = {0xD7: "x", 0x2013: "-", 0x2014: "-", 0x2018: "'", 0x2019: "'"}  # signs that Pillow's font lacks


class Colors(NamedTuple):
    """Of a sheet: behind everything, of words, and of words that stand back."""

    background: str
    words: str
    faint: str


DARK, LIGHT = Colors("#000000", "#f0f0f0", "#a8a8a8"), Colors("#ffffff", "#111111", "#5a5a5a")


class Sheet:
    """A picture that things are put on; places are of left upper corners unless an ``anchor`` of Pillow's says else."""

    def __init__(self, width: int, height: int, colors: Colors) -> None:
        self.image = Image.new("RGB", (width, height), colors.background)
        self.colors = colors
        self.draw = ImageDraw.Draw(self.image)

    def write(
        self, place: tuple[float, float], words: str, size: int = 12, anchor: str = "la", color: str = "", width: float = 0
    ) -> None:
        """Write ``words`` in ``color`` [of words], as many as fit into ``width`` [all]."""
        self.draw.text(place, fitted(words, size, width), color or self.colors.words, _font(size), anchor)

    def paste(self, image: Image.Image, x: int, y: int) -> None:
        """Put another picture on the sheet."""
        self.image.paste(image, (x, y))


def headed(body: Image.Image, title: str, caption: str, colors: Colors) -> Image.Image:
    """Return a picture with a title and a caption above it; the caption is cut where it is wider."""
    top = _MARGIN + _TITLE + 8 + _CAPTION + _MARGIN
    wide = int(_font(_TITLE).getlength(fitted(title, _TITLE))) + 2 * _MARGIN + 1
    sheet = Sheet(max(body.width, min(1000, wide)), top + body.height, colors)
    width = sheet.image.width - 2 * _MARGIN
    sheet.write((_MARGIN, _MARGIN), title, _TITLE, width=width)
    sheet.write((_MARGIN, _MARGIN + _TITLE + 8), caption, _CAPTION, color=colors.faint, width=width)
    sheet.paste(body, 0, top)
    return sheet.image


def fitted(words: str, size: int, width: float = 0) -> str:
    """Return ``words`` as they are written: with ``…`` where they are wider than ``width``, nothing where none fit."""
    words = "".join(map(_drawable, unicodedata.normalize("NFKD", printable(words).translate(_REPLACED))))
    font, whole = _font(size), words
    while width and words and font.getlength(words if words == whole else words + "…") > width:
        words = words[:-1]
    return words if words == whole or not words else words + "…"


def enlarged(values: np.ndarray, zoom: int) -> Image.Image:
    """Return values (H, W, 1 or 3) from 0 to 1 as an image, ``zoom`` pixels for each value."""
    pixels = np.round(255 * values).astype(np.uint8)
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def resized(values: np.ndarray, side: int) -> Image.Image:
    """Return a picture (H, W, 1 or 3) from 0 to 1 as an image whose longer side is ``side``, smoothly."""
    image = enlarged(values, 1)
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)


def _drawable(char: str) -> str:
    """Return a character of a name: an accent is left out, and what the font lacks is a question mark."""
    if unicodedata.combining(char):
        return ""
    return char if " " <= char <= "~" or char in "…±" else "?"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except ImportError:
        raise ConvnetError("this Pillow was built without FreeType, and writes no words: pip install Pillow") from None
