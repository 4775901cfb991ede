"""Sheets of pictures and words, drawn by Pillow alone, without a screen. Lengths are pixels.

Words are in Pillow's own font, which has the letters of English; names with other letters are in a font of the machine.
"""

import unicodedata
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convnet.errors import ConvnetError
from convnet.texts import TIMES, printable

_TITLE, _CAPTION, _MARGIN = 22, 14, 12
MOST_PIXELS = 1 << 28  # of a picture
_LONGEST = 400  # letters of a text
_PLAIN = {chr(code) for code in range(32, 127)} | {"…", "±"}  # that Pillow's font has
_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "arial.ttf", "msyh.ttc", "Arial Unicode.ttf")  # Linux, Windows, macOS
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


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
        shown, font = fitted(words, size, width)
        self.draw.text(place, shown, color or self.colors.words, font, anchor)

    def paste(self, image: Image.Image, x: int, y: int) -> None:
        """Put another picture on the sheet."""
        self.image.paste(image, (x, y))


def headed(body: Image.Image, title: str, caption: str, colors: Colors) -> Image.Image:
    """Return a picture with a title and a caption above it; the caption is cut where it is wider."""
    top = _MARGIN + _TITLE + 8 + _CAPTION + _MARGIN
    shown, font = fitted(title, _TITLE)
    wide = int(font.getlength(shown)) + 2 * _MARGIN + 1
    sheet = Sheet(max(body.width, min(1000, wide)), top + body.height, colors)
    width = sheet.image.width - 2 * _MARGIN
    sheet.write((_MARGIN, _MARGIN), title, _TITLE, width=width)
    sheet.write((_MARGIN, _MARGIN + _TITLE + 8), caption, _CAPTION, color=colors.faint, width=width)
    sheet.paste(body, 0, top)
    return sheet.image


def check_pixels(width: int, height: int, zoom: int) -> None:
    """Raise ``ConvnetError`` if a picture, ``zoom`` times as large, is more than anything shows."""
    if width * height * zoom**2 > MOST_PIXELS:
        fitting = max(1, int((MOST_PIXELS / (width * height)) ** 0.5))
        raise ConvnetError(
            f"--zoom {zoom} makes a picture of {width * zoom}x{height * zoom} pixels, which is too large; "
            f"--zoom {fitting} is not"
        )


def fitted(words: str, size: int, width: float = 0) -> tuple[str, Font]:
    """Return ``words`` as they are written, and the font: with ``…`` where wider than ``width``, nothing where none fit."""
    words, font = _readable(printable(words)[:_LONGEST], size)
    return _cut(words, font, width), font


def trimmed(words: str, size: float, width: float) -> str:
    """Return ``words`` with ``…`` where wider than ``width``, in their own letters, which a font elsewhere may have."""
    words = printable(words)[:_LONGEST]
    return _cut(words, _readable(words, round(size))[1], width)


def _cut(words: str, font: Font, width: float) -> str:
    whole = words
    while width and words and font.getlength(words if words == whole else words + "…") > width:
        words = words[:-1]
    return words if words == whole or not words else words + "…"


def _readable(words: str, size: int) -> tuple[str, Font]:
    """Return words and a font that has all of their letters; without one, words without accents, ``?`` for others."""
    if set(words) <= _PLAIN | {TIMES}:
        return words.replace(TIMES, "x"), _font(size)
    for font in _other_fonts(size):
        # What a font lacks is drawn as it draws the last code point, which is never a letter.
        if all(bytes(font.getmask(char)) != bytes(font.getmask("\U0010ffff")) for char in set(words)):
            return words, font
    letters = (char for char in unicodedata.normalize("NFKD", words) if not unicodedata.combining(char))
    return "".join(char if char in _PLAIN else "?" for char in letters), _font(size)


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


@cache
def _font(size: int) -> Font:
    try:
        return ImageFont.load_default(size)
    except ImportError:
        raise ConvnetError("this Pillow was built without FreeType, and writes no words: pip install Pillow") from None


@cache
def _other_fonts(size: int) -> list[ImageFont.FreeTypeFont]:
    """Return fonts with more letters that the system or matplotlib has."""
    names, matplotlib = list(_FONTS), find_spec("matplotlib")
    if matplotlib and matplotlib.origin:
        names.insert(0, str(Path(matplotlib.origin).with_name("mpl-data") / "fonts" / "ttf" / _FONTS[0]))
    fonts = []
    for name in names:
        with suppress(OSError):
            fonts.append(ImageFont.truetype(name, size))
    return fonts
