"""From a picture file to pixels as a person sees them: the one place where pictures are read.

Only the formats of ``FORMATS`` are tried, whatever a file is called; none of their readers starts a program or opens another
file. Sizes stand in the first bytes of a picture and are checked before anything is decoded. Pillow reads through
``_Metered``, so that no file is gone over more than a few times, whatever its offsets say.
"""

import ctypes
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypedDict, Unpack, cast

import numpy as np
from PIL import Image, ImageColor

from convnet.data.flattening import Color, flatten
from convnet.data.jpegs import decode_jpeg
from convnet.data.scaling import FILTER, shrink_in_decoder
from convnet.errors import DataError, first_line, reason_of
from convnet.texts import one_of

# Format: bytes that a pixel takes at most while Pillow decodes it, measured. Converting takes as many again, see ``_cost``.
FORMATS = {"JPEG": 4, "PNG": 4, "GIF": 4, "BMP": 4, "WEBP": 13, "TIFF": 8, "PPM": 4}
UNREAD = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".psd", ".dds", ".ico", ".svg", ".eps"}  # also pictures
MEMORY = 400 << 20  # bytes for one picture
WHITE = (255, 255, 255)
FITS = ("crop", "keep", "squash")  # short side to the side wanted and the long one cut, or kept whole; or both sides to it

_LARGE = 64 << 20  # bytes from which on pictures are decoded one at a time, whatever the number of threads
_one_at_a_time = threading.Lock()
_KEPT = 4  # blocks of at most 16 MB of Pillow's memory
_BAND = 1 << 20  # bytes that are read at a time, or beside the file's own
_READS = 8  # times that the bytes of a file may be read
_SCANS, _SCANNED = 200, 1 << 30  # of a JPEG, and pixels of all together: a scan can cost as much as a whole picture
_SCAN = re.compile(b"\xff\xda")  # begins one, and cannot be among its data; faster to find so than by ``count``
_ORIENTATION, _TILE = 0x0112, (322, 323)  # tags of EXIF and TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def parse_color(text: str) -> Color:
    """Return a colour from its name (``white``) or its digits (``#ffffff``); raises ``ValueError``."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


class Look(TypedDict, total=False):
    """How pixels are wanted.

    "RGB" or "L", what shows through transparent places, turned as EXIF says, scaled smoothly, and one of ``FITS``. With a
    ``canvas``, a grey value, pictures are not scaled, but laid in the middle of a square of it, and cut if they are larger.
    """

    mode: str
    background: Color
    upright: bool
    smooth: bool
    fit: str
    canvas: int | None


_USUAL = Look(mode="RGB", background=WHITE, upright=True, smooth=False, fit=FITS[0], canvas=None)


def read_square(
    source: str | Path | BinaryIO, side: int, offset: float = 0.5, room: np.ndarray | None = None, **look: Unpack[Look]
) -> np.ndarray:
    """Return a picture as bytes (side, side, 3), or (side, side) in ``mode`` "L"; by default upright in RGB, on white.

    A shorter side that is not ``side`` is resized to it; then the longer one is cut at ``offset`` (0 to 1). Of an animation
    the first picture counts. ``smooth`` is how ``convnet.data.scaling`` does it. ``fit`` "keep" cuts nothing: one side is
    longer then; "squash" gives both sides the same length. ``room``, bytes of the same shape, may be decoded into.
    Raises ``DataError`` that says what is wrong with the picture, without its name.
    """
    _settle()
    suffix = Path(source).suffix.lower() if isinstance(source, str | Path) else ""
    advice = f"; {suffix} files are not read: save it as one of these" if suffix in UNREAD else ""
    with _reported(advice), _opened(source) as file, Image.open(cast(BinaryIO, file), formats=list(FORMATS)) as picture:
        cost, wanted = _check_size(picture), Look(**{**_USUAL, **look})
        with _one_at_a_time if cost > _LARGE else nullcontext():
            if picture.format in ("JPEG", "MPO"):
                data = _check_scans(file, picture)
                fitting = room if picture.width == picture.height else None
                if _is_square_of(picture, side, wanted) and (pixels := decode_jpeg(data, picture, fitting)) is not None:
                    left, top = _corner(picture, side, offset)
                    return pixels[top : top + side, left : left + side]
            if wanted["smooth"]:
                shrink_in_decoder(picture, side)
            return square_of(picture, side, offset, **look)


def format_of(source: str | Path | BinaryIO) -> tuple[str, int, int]:
    """Return the format, width and height of a picture, of which only the beginning is looked at; raises ``DataError``."""
    with _reported(), _opened(source) as file, Image.open(cast(BinaryIO, file), formats=list(FORMATS)) as picture:
        _check_size(picture)
        return picture.format or "", picture.width, picture.height


def is_square(source: BinaryIO) -> bool:
    """Return whether a picture that can be read has equal sides, so that ``offset`` makes no difference to it."""
    with _reported(), _opened(source) as file, Image.open(cast(BinaryIO, file), formats=list(FORMATS)) as picture:
        return picture.width == picture.height


def square_of(picture: Image.Image, side: int, offset: float = 0.5, **look: Unpack[Look]) -> np.ndarray:
    """Do for a picture that is open what ``read_square`` does for a file; raises ``DataError``."""
    wanted: Look = {**_USUAL, **look}
    with _reported():
        picture.load()  # which turns a TIFF
        turn = _TURNS.get(_orientation(picture)) if wanted["upright"] else None
        flat = flatten(picture, wanted["mode"], wanted["background"])
        flat = flat if turn is None else flat.transpose(turn)
        if (canvas := wanted["canvas"]) is not None:
            return _lay_in_middle(flat, side, canvas)
        return resize_and_crop(flat, side, offset, wanted["smooth"], wanted["fit"])


def _is_square_of(picture: Image.Image, side: int, look: Look) -> bool:
    """Return whether ``read_square`` only has to cut a square out of what the file holds."""
    is_turned = look["upright"] and _orientation(picture) in _TURNS
    is_plain = picture.mode == look["mode"] and not is_turned and look["canvas"] is None
    return is_plain and min(picture.size) == side and look["fit"] == "crop"


def resize_and_crop(
    picture: Image.Image, side: int, offset: float = 0.5, smooth: bool = False, fit: str = "crop"
) -> np.ndarray:
    """Resize the short side to ``side`` where needed, by area where that is less, and cut a square out of the long one.

    ``fit`` is one of ``FITS`` (io 5.3: the maker of 2014 could crop or keep).
    """
    short, long = sorted(picture.size)
    if long > 32 * short:  # resized whole it could take any amount of memory
        picture = _cut(picture, short, offset)
    width, height = picture.size
    scale = side / min(width, height)
    size = (side, side) if fit == "squash" else (max(side, round(width * scale)), max(side, round(height * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BOX if scale <= 1 and not smooth else FILTER)
    return np.asarray(picture if fit == "keep" else _cut(picture, side, offset))


def _lay_in_middle(picture: Image.Image, side: int, value: int) -> np.ndarray:
    """Lay a picture in the middle of a square of one value, as 2012 did where pictures were not cropped (io 5.4)."""
    square = Image.new(picture.mode, (side, side), (value,) * len(picture.getbands()))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square)


def _cut(picture: Image.Image, side: int, offset: float) -> Image.Image:
    left, top = _corner(picture, side, offset)
    return picture.crop((left, top, left + side, top + side))


def _corner(picture: Image.Image, side: int, offset: float) -> tuple[int, int]:
    """Return where a square is cut out, (left, top)."""
    left, top = (int(offset * (length - side)) for length in picture.size)
    return left, top


# -- files


@cache
def _settle() -> None:
    """Keep libtiff from writing lines of its own to standard error: what it finds is raised as well.

    Also let Pillow keep memory for the next picture, unless its user decides: pages that are new to a process take a quarter
    of the time of a small picture.
    """
    with suppress(AttributeError):  # another Pillow
        if "PILLOW_BLOCKS_MAX" not in os.environ:
            Image.core.set_blocks_max(_KEPT)
    with suppress(OSError, AttributeError):  # a Pillow without libtiff, or one that hides it
        readers = ctypes.CDLL(Image.core.__file__)
        readers.TIFFSetErrorHandler(None)
        readers.TIFFSetWarningHandler(None)


class _Metered:
    """A file of which no more than ``budget`` bytes are read in all; then ``OSError``. It has no ``fileno``."""

    def __init__(self, file: BinaryIO, budget: int) -> None:
        self.file, self.left = file, budget
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise OSError("the same bytes are used again and again")
        return data


@contextmanager
def _opened(source: str | Path | BinaryIO) -> Iterator[_Metered]:
    """Open a regular file, or one that is open, for reading; raises ``OSError``."""
    with _open_regular(source) if isinstance(source, str | Path) else nullcontext(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        yield _Metered(file, _READS * size + _BAND)


def _open_regular(path: str | Path) -> BinaryIO:
    """Open a file, but neither a folder nor a pipe; raises ``OSError``."""
    # Without O_NONBLOCK a named pipe that nobody writes to would be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError("a folder" if stat.S_ISDIR(kind) else "not a regular file")


@contextmanager
def _reported(advice: str = "") -> Iterator[None]:
    """Turn whatever Pillow raises for a damaged file into a ``DataError`` of one line; ``advice`` for one that is none."""
    try:
        yield
    except DataError:
        raise
    except Image.UnidentifiedImageError:
        raise DataError(f"not a whole picture in {one_of(FORMATS)}{advice}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, above those of ``_check_size``
        raise DataError("far more pixels than are read of any format") from None
    except MemoryError:
        raise DataError("too large for the memory there is, or damaged") from None
    except OSError as error:
        raise DataError(reason_of(error)) from None
    except Exception as error:  # plug-ins let through whatever a damaged file makes them stumble over
        raise DataError(f"damaged ({type(error).__name__}: {first_line(error)})") from None


def _check_size(picture: Image.Image) -> int:
    """Return the bytes that decoding takes; raises ``DataError`` if that is more than ``MEMORY``."""
    width, height = picture.size
    pixels, cost = width * height, _cost(picture)
    if picture.format == "TIFF":
        tile_width, tile_height = (int(picture.tag_v2.get(tag, 1)) for tag in _TILE)  # type: ignore[attr-defined]
        pixels = max(pixels, tile_width * tile_height)
    if pixels * cost > MEMORY:
        raise DataError(f"{width}x{height} pixels are too many; at most {MEMORY // cost:,} are read of such a picture")
    return pixels * cost


def _cost(picture: Image.Image) -> int:
    """Return the bytes that a pixel takes in all."""
    cost = FORMATS.get(picture.format or "", FORMATS["JPEG"])  # MPO, several JPEGs in one file, comes from the same plug-in
    if "progressive" in picture.info:
        cost += 6  # the coefficients of all scans
    if picture.mode not in ("RGB", "L") or "transparency" in picture.info:
        cost += 4
    return cost + 4 * (picture.mode in ("I", "F"))


def _check_scans(file: _Metered, picture: Image.Image) -> bytes:
    """Return the bytes of a JPEG if they are few, else none; raises ``DataError`` for more scans than any program writes."""
    at = file.tell()
    file.seek(0)
    scans, last, blocks, whole = 0, b"", 0, b""
    while block := file.read(_BAND):
        scans += len(_SCAN.findall(last + block))
        last, blocks, whole = block[-1:], blocks + 1, b"" if blocks else block
    file.seek(at)
    most = min(_SCANS, max(_SCANS // 8, _SCANNED // (picture.width * picture.height)))
    if scans > most:
        raise DataError(f"a JPEG of {scans} scans; at most {most} are read of one of this size")
    return whole


# -- pixels


def _orientation(picture: Image.Image) -> int:
    """Return 1 to 8 as EXIF counts; 1 where nothing is said, or where EXIF is damaged though the picture is not."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # as in ``_reported``
        return 1
