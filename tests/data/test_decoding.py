"""Pictures become what people see, and a damaged or hostile one costs little and is named."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz.runner import failures
from picture_files import NOTHING, PLAIN_TIFF, encoded, hostile_pictures, png, tiff
from PIL import Image
from support import ROOT

from convnet.data import decoding
from convnet.data.decoding import read_square, resize_and_crop
from convnet.errors import DataError

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def read(data, side=16, **options):
    return read_square(io.BytesIO(data), side, **options)


def fault(data, side=16):
    with pytest.raises(DataError) as caught:
        read(data, side)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(kind, orientation):
    """What Pillow's own function makes of it, in every format that can say how it is turned."""
    from PIL import ImageOps

    corners = np.zeros((16, 16, 3), np.uint8)
    corners[:8, :8], corners[:8, 8:], corners[8:, :8] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data = encoded(Image.fromarray(corners), kind, exif=exif, **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read(data), upright)
    assert (orientation == 1) == np.allclose(upright, corners, atol=8)
    if kind != "TIFF":  # which Pillow turns itself
        np.testing.assert_allclose(read(data, upright=False), corners, atol=8)


def test_a_tall_picture_that_lies_is_cut_as_it_stands():
    lying = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8) * 5, (16, 1)))  # 48 wide, 16 high
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right: the left becomes the top
    data = encoded(lying, exif=exif)
    assert read(data, offset=0.0)[..., 0].mean(axis=1).argmin() == 0
    np.testing.assert_array_equal(read(data, offset=0.0)[:, 0, 0], np.arange(16) * 5)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_picture():
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0"):
        assert read(encoded(Image.new("L", (16, 16), 90), "JPEG", exif=exif)).mean() == 90


GREYS = {
    "PNG of 16 bits": encoded(Image.fromarray(RAMP * 257)),
    "TIFF of 16 bits": encoded(Image.fromarray(RAMP * 257), "TIFF"),
    "TIFF of 16 bits, packed": encoded(Image.fromarray(RAMP * 257), "TIFF", compression="tiff_lzw"),
    "TIFF of 16 bits, big end first": encoded(Image.fromarray((RAMP * 257).astype(">u2")), "TIFF"),
    "PGM of 16 bits": b"P5 16 16 65535\n" + (RAMP * 257).astype(">u2").tobytes(),
    "TIFF of 32 bits, 0 to 65535": encoded(Image.fromarray((RAMP * 257).astype(np.int32)), "TIFF"),
    "TIFF of 32 bits, 0 to 255": encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "TIFF of 32 bits, any": encoded(Image.fromarray(RAMP.astype(np.int32) * 8000000 - 10**9), "TIFF"),
    "TIFF of floats to 1": encoded(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"),
    "TIFF of floats to 255": encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "TIFF of floats to 65535": encoded(Image.fromarray((RAMP * 257).astype(np.float32)), "TIFF"),
    "TIFF of any floats": encoded(Image.fromarray(RAMP.astype(np.float32) * 1e6 - 3e7), "TIFF"),
    "eight bits": encoded(Image.fromarray(RAMP.astype(np.uint8))),
}


@pytest.mark.parametrize("name", GREYS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_grey_of_any_depth(name, mode):
    expected = RAMP.astype(np.uint8)
    np.testing.assert_array_equal(
        read(GREYS[name], mode=mode), expected[..., None].repeat(3, 2) if mode == "RGB" else expected
    )


def test_twelve_bits_and_white_is_zero():
    def tiff(bits, photometric, data):
        tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 16, 279: len(data)}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"

    np.testing.assert_array_equal(read(tiff(16, 0, (65535 - RAMP * 257).astype("<u2").tobytes()))[..., 0], RAMP)
    packed = bytearray()
    for a, b in (RAMP * 16).reshape(-1, 2).tolist():
        packed += bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
    np.testing.assert_array_equal(read(tiff(12, 1, bytes(packed)))[..., 0], np.rint(RAMP.astype(float) * 16 * 255 / 4095))


def test_floats_that_are_none():
    values = (RAMP / 255).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    found = read(encoded(Image.fromarray(values), "TIFF"))[..., 0]
    assert found[0, :3].tolist() == [0, 255, 0] and (found[1:] == RAMP[1:]).all()
    assert read(encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF")).max() == 0


def half_clear(mode):
    """The left half of a picture is transparent black, the right half opaque and dark."""
    picture = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    picture.paste((40, 40, 40, 255), (8, 0, 16, 16))
    return picture.convert(mode)


def transparent_pictures():
    grey = Image.new("L", (16, 16), 7)
    grey.paste(40, (8, 0, 16, 16))
    palette = grey.convert("RGB").quantize(2)
    clear = palette.getpixel((0, 0))
    deep = Image.fromarray(np.repeat(np.uint16([7, 40 * 257]), 8)[None].repeat(16, 0))
    return {
        "RGBA": encoded(half_clear("RGBA")),
        "RGBA WebP": encoded(half_clear("RGBA"), "WEBP", lossless=True),
        "RGBA TIFF": encoded(half_clear("RGBA"), "TIFF"),
        "LA": encoded(half_clear("LA")),
        "palette, one clear colour": encoded(palette, transparency=clear),
        "palette, opacities": encoded(palette, transparency=bytes([0, 255] if clear == 0 else [255, 0])),
        "GIF": encoded(palette, "GIF", transparency=clear),
        "grey key": encoded(grey, transparency=7),
        "RGB key": encoded(grey.convert("RGB"), transparency=(7, 7, 7)),
        "grey key of 16 bits": encoded(deep, transparency=7),
    }


@pytest.mark.parametrize("name", transparent_pictures())
@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (200, 0, 100)])
def test_transparency(name, background):
    found = read(transparent_pictures()[name], background=background)
    np.testing.assert_allclose(found[:, :8], np.broadcast_to(background, (16, 8, 3)))
    np.testing.assert_allclose(found[:, 8:], 40, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_transparency_of_open_pictures(mode):
    picture = half_clear({"RGBa": "RGBA", "La": "LA", "PA": "P"}.get(mode, mode)).convert(mode)
    if mode == "PA":
        picture.putalpha(half_clear("RGBA").getchannel("A"))
    found = decoding.square_of(picture, 16)
    assert (found[:, :8] == 255).all() and (found[:, 8:] == 40).all()


def test_half_transparent_is_half_white():
    assert abs(read(encoded(Image.new("LA", (16, 16), (0, 128)))).astype(int) - 127).max() <= 1


def test_other_modes():
    white = Image.new("1", (16, 16), 1)
    assert read(encoded(white)).min() == 255 and read(encoded(white, "TIFF")).min() == 255
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for data in (encoded(inks, "JPEG", quality=95), encoded(inks, "TIFF")):
        assert abs(read(data).reshape(-1, 3).mean(axis=0) - (255, 0, 0)).max() < 5
    # Of YCCK, which Pillow does not write: Y=55, no colour, no black, all stored inverted; so 255 - 55.
    ycck = encoded(Image.new("CMYK", (16, 16), (200, 127, 127, 0)), "JPEG", quality=100)
    transform = ycck.index(b"Adobe") + 11
    assert ycck[transform] == 0
    assert abs(read(ycck[:transform] + b"\2" + ycck[transform + 1 :]).astype(int) - 200).max() <= 3
    first, second = (Image.new("L", (16, 16), value) for value in (10, 200))
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert abs(read(encoded(first, kind, save_all=True, append_images=[second], **options)).astype(int) - 10).max() <= 1
    ycc = Image.new("YCbCr", (16, 16), (128, 128, 128))
    assert abs(read(encoded(ycc, "JPEG")).astype(int) - 128).max() <= 1


def test_pictures_of_old_batches_have_the_same_pixels():
    """JPEGs without EXIF, of any shape: resized and cut as ever."""
    random = np.random.RandomState(0)
    for shape in ((20, 20, 3), (31, 20, 3), (20, 47), (64, 90, 3)):
        data = encoded(Image.fromarray(random.randint(0, 256, shape, np.uint8)), "JPEG")
        for offset in (0.0, 0.5, 0.83):
            expected = resize_and_crop(Image.open(io.BytesIO(data)).convert("RGB"), 20, offset)
            np.testing.assert_array_equal(read(data, 20, offset=offset), expected)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (3, 40_000), (1, 1), (40, 1)])
def test_long_and_small_pictures(size):
    data = encoded(Image.new("L", size, 9))
    assert (read(data, 64) == 9).all() and read(data, 64).shape == (64, 64, 3)


HUGE = {
    "PNG": png(60_000, 60_000, (b"IDAT", NOTHING)),
    "a little too large": png(11_000, 11_000, (b"IDAT", NOTHING)),
    "GIF": b"GIF89a" + struct.pack("<HHBBBBHHHHBB", 65535, 65535, 0, 0, 0, 44, 0, 0, 1, 1, 0, 2) + b"\x02L\1\0;",
    "BMP": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "PPM": b"P6 60000 60000 255\n",
    "JPEG": encoded(Image.new("L", (16, 16)), "JPEG").replace(b"\x08\0\x10\0\x10", b"\x08\xf0\0\xf0\0"),
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_huge_pictures_are_refused_before_they_are_decoded(name, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert "pixels" in fault(HUGE[name])


@pytest.mark.parametrize("name", hostile_pictures())
def test_hostile_pictures(name, monkeypatch):
    for start in ("Popen", "call", "check_call", "check_output", "run"):
        monkeypatch.setattr(subprocess, start, lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("a program was started"))
    fault(hostile_pictures()[name])


def test_many_pages_are_not_read():
    pages = [Image.new("L", (16, 16), 5)] * 60
    assert (read(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])) == 5).all()
    looped = tiff([*PLAIN_TIFF, (273, 4, 1, 200), (278, 4, 1, 16), (279, 4, 1, 256)], bytes(600), pointer=8)
    assert read(looped).max() == 0


def test_colour_profiles_and_texts_beside_a_picture():
    for options in ({"icc_profile": b"nonsense"}, {"icc_profile": bytes(3000)}):
        for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
            assert abs(read(encoded(Image.new("RGB", (16, 16), (9, 9, 9)), kind, **options)).astype(int) - 9).max() <= 1


def test_every_exception_is_one_line(monkeypatch):
    errors = [NotImplementedError("x"), struct.error("y"), MemoryError(), EOFError(), zlib.error("z"), RecursionError("r")]
    errors += [
        OverflowError("o"),
        KeyError("k"),
        AttributeError(),
        IndexError("a\nb"),
        ZeroDivisionError(),
        AssertionError(),
    ]
    data = encoded(Image.new("L", (16, 16)))
    for error in errors:

        def load(self, error=error):
            raise error

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
        fault(data)


LARGEST = [
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGBA", {"compress_level": 1}),
    ("PNG", "P", {"compress_level": 1, "transparency": 0}),
    ("WEBP", "RGBA", {"lossless": True, "method": 0}),
    ("TIFF", "F", {"compression": "tiff_lzw"}),
    ("PPM", "RGB", {}),
]


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read there")


@needs_proc
@pytest.mark.parametrize("count", [400, pytest.param(8000, marks=pytest.mark.slow)])
def test_mutated_pictures(count):
    """In a process of its own, with limits of memory and time."""
    assert list(failures("pictures", 0, range(count))) == []


@needs_proc
def test_crafted_pictures():
    assert list(failures("crafted-pictures", 0, range(25))) == []


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("kind, mode, options", LARGEST)
def test_memory_of_the_largest_pictures(kind, mode, options):
    """The limit counts what a pixel costs, so that 512 MiB hold any picture that is read; a larger one is refused."""
    program = (
        "import tempfile\nfrom fuzz.runner import peak\nfrom PIL import Image\nfrom convnet.data import decoding\n"
        f"kind, mode, options = {kind!r}, {mode!r}, {options!r}\n"
        "file = tempfile.TemporaryFile()\n"
        "Image.new(mode, (8, 8)).save(file, kind, **options)\n"
        "side = int((decoding.MEMORY / decoding._cost(Image.open(file))) ** 0.5)\n"
        "with tempfile.NamedTemporaryFile() as large:\n"
        "    import subprocess, sys\n"
        "    make = 'import sys; from PIL import Image; Image.new(*%r).save(sys.argv[1], *%r, **%r)'\n"
        "    program = make % ((mode, (side, side)), (kind,), options)\n"
        "    subprocess.run([sys.executable, '-c', program, large.name], check=True)\n"
        "    print(decoding.read_square(large.name, 8).shape)\n"
        "print(peak())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT / "tests")
    assert done.stdout.startswith("(8, 8, 3)"), done.stderr
    assert int(done.stdout.split()[-1]) <= 512 << 20, done.stdout
