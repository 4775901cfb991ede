"""Pictures that tests make: of every format, crafted by hand, and hostile ones."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

NOTHING = zlib.compress(b"")
PLAIN_TIFF = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1)]


def encoded(picture, kind="PNG", **options):
    """A picture as the bytes of a file."""
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def png_chunk(kind, data):
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, depth=8, color=0):
    """A PNG of some size, with the (kind, data) of chunks between its first and its last."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = b"".join(png_chunk(*pair) for pair in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + body + png_chunk(b"IEND", b"")


def tiff(entries, data=b"", pointer=0):
    """A TIFF of (tag, type, count, value) entries, ``data`` behind them, and where the next page is."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + struct.pack("<I", pointer) + data


def hostile_pictures():
    """What is no picture, is damaged, or costs far more than its size, by name."""
    grey = encoded(Image.new("L", (16, 16), 3))
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8))
    jpeg = encoded(noise, "JPEG")
    strips = [(273, 4, 1, 8), (278, 4, 1, 16), (279, 4, 1, 256)]
    tiles = [(322, 4, 1, 1 << 30), (323, 4, 1, 1 << 30), (324, 4, 1, 8), (325, 4, 1, 64)]
    dds = b"DDS " + struct.pack("<7I", 124, 0x1007, 16, 16, 0, 0, 0) + bytes(44) + b"\x20" + bytes(51)
    return {
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        "DDS": dds,
        "ICO": encoded(Image.new("RGBA", (16, 16)), "ICO"),
        "PCX": encoded(Image.new("L", (16, 16)), "PCX"),
        "empty": b"",
        "text": b"no picture",
        "text bomb": png(16, 16, *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))] * 100, (b"IDAT", NOTHING)),
        "truncated PNG": grey[:-28],
        "truncated JPEG": jpeg[: len(jpeg) // 2],
        "scans": jpeg[:-2] + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0\0" * 300 + b"\xff\xd9",
        "truncated GIF": encoded(noise.convert("P"), "GIF")[:1200],
        "truncated WebP": encoded(noise, "WEBP")[:200],
        "truncated TIFF": encoded(noise, "TIFF", compression="tiff_lzw")[:500],
        "truncated BMP": encoded(noise, "BMP")[:500],
        "truncated PPM": encoded(noise, "PPM")[:500],
        "TIFF of huge tiles": tiff(PLAIN_TIFF + tiles, bytes(400)),
        "TIFF that reads itself": tiff(
            [*PLAIN_TIFF, *strips, *((tag, 1, 100_000, 8) for tag in range(40_000, 42_000))], bytes(200_000)
        ),
        "TIFF of no size": tiff([(256, 4, 1, 0), *PLAIN_TIFF[1:], *strips], bytes(400)),
        "PNG of no data": png(16, 16),
    }
