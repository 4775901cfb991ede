"""Targets: pictures of every format, damaged, and small ones that name large things."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from picture_files import PLAIN_TIFF, encoded, png_chunk, tiff
from PIL import Image

from convnet.data.decoding import FORMATS, read_square
from fuzz.target import Target

SIZES = (0, 1, 8000, 60000, 65535, 100000, 2**31 - 1, 2**31, 2**32 - 1)


def originals(random: np.random.RandomState) -> list[bytes]:
    """Whole pictures of every format, and of the kinds that have code of their own."""
    colored = Image.fromarray(random.randint(0, 256, (40, 60, 3), np.uint8))
    deep = Image.fromarray(random.randint(0, 65536, (30, 30)).astype(np.uint16))
    floats = random.rand(30, 30).astype("<f4")
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colored.rotate(9)]}
    packings = ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")
    return [
        *(encoded(colored, kind) for kind in FORMATS),
        encoded(colored, "JPEG", progressive=True, exif=exif),
        encoded(colored.convert("CMYK"), "JPEG"),
        encoded(colored.convert("P"), "PNG", transparency=3),
        encoded(colored.convert("RGBA"), "PNG", exif=exif),
        encoded(deep, "PNG"),
        *(encoded(colored, "TIFF", compression=packing) for packing in packings),
        encoded(deep, "TIFF"),
        encoded(Image.fromarray(floats), "TIFF"),
        encoded(colored.convert("1"), "TIFF", compression="group4"),
        encoded(colored, "GIF", **frames),
        encoded(colored, "WEBP", **frames),
        encoded(colored.convert("RGBA"), "WEBP", lossless=True),
        encoded(colored.convert("P"), "BMP"),
        b"P3 40 60 255\n" + b" ".join(b"%d" % value for value in random.randint(0, 256, 7200)),
        b"Pf\n30 30\n-1.0\n" + floats.tobytes(),
    ]


def crafted(random: np.random.RandomState) -> list[bytes]:
    """Small files that name large things, or many."""

    square, strip = Image.new("P", (16, 16)), [(273, 4, 1, 8), (278, 4, 1, 16), (279, 4, 1, 256)]
    gif, png, jpeg = (encoded(square.convert("L" if kind == "JPEG" else "P"), kind) for kind in ("GIF", "PNG", "JPEG"))
    webp = bytearray(encoded(square.convert("RGBA"), "WEBP", save_all=True, append_images=[Image.new("RGBA", (16, 16))]))
    canvas = webp.index(b"VP8X") + 12
    webp[canvas : canvas + 6] = (16382).to_bytes(3, "little") * 2
    at = gif.index(b",\0\0\0\0")
    return [
        bytes(webp),
        gif[:at] + b"!\xfe\x04abcd\0" * 200_000 + gif[at:],
        gif[:at] + b"!\xfe" + b"\1a" * 500_000 + b"\0" + gif[at:],
        *(jpeg[:2] + part * 100_000 + jpeg[2:] for part in (b"\xff\xe1\0\x08Exif\0\0", b"\xff\xfe\0\x06abcd")),
        jpeg[:2] + b"\xff\xe2\0\x12ICC_PROFILE\0\1\xffab" * 100_000 + jpeg[2:],
        jpeg[:2] + b"\xff\xe2\0\x08MPF\0II" * 50_000 + jpeg[2:],
        jpeg[:-2] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 100_000 + jpeg[-2:],
        png[:33] + png_chunk(b"tEXt", b"a\0b") * 200_000 + png[33:],
        png[:33] + png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 100 + png[33:],
        png[:33] + png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))) + png[33:],
        png[:33] + png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(65535 * 12)) + png[33:],
        tiff([*PLAIN_TIFF, *strip, (34665, 4, 1, 8), (34853, 4, 1, 8)], bytes(600), 8),
        tiff([*PLAIN_TIFF, (273, 4, 100_000, 200), (278, 4, 1, 1), (279, 4, 100_000, 200)], bytes(500_000)),
        tiff([*PLAIN_TIFF, *strip, *((tag, 1, 400_000, 8) for tag in range(40_000, 60_000))], bytes(500_000)),
        tiff([*PLAIN_TIFF, (322, 4, 1, 1 << 30), (323, 4, 1, 1 << 30), (324, 4, 1, 8), (325, 4, 1, 64)], bytes(600)),
        b"P3 7000 7000 255\n" + b"1 " * 100_000,
        random.bytes(100_000),
    ]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, put in numbers that make sizes large, cut, repeat: mostly in the first bytes, where the sizes are."""
    result = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(min(len(result), 200) if rng.randrange(3) else len(result))
        source = rng.randrange(len(result))
        match rng.randrange(5):
            case 0:
                result[at] ^= 1 << rng.randrange(8)
            case 1:
                result[at] = rng.choice((0, 1, 127, 128, 255))
            case 2:
                result[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(SIZES))
            case 3:
                del result[max(12, source) :]
            case 4:
                result[at:at] = result[source : source + rng.randrange(40)]
    return bytes(result)


class Pictures(Target):
    """Damaged pictures of every format."""

    name = "pictures"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = originals(np.random.RandomState(0))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        for data in self.known if clean else [mutated(rng.choice(self.known), rng)]:
            assert read_square(io.BytesIO(data), 32, rng.random()).shape == (32, 32, 3)


class CraftedPictures(Target):
    """Small files that name large things, one after the other."""

    name = "crafted-pictures"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known = crafted(np.random.RandomState(0))

    def case(self, rng: random.Random, clean: bool = False) -> None:
        if not clean:
            read_square(io.BytesIO(self.known[self.number % len(self.known)]), 32)
