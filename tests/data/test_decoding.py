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
from PIL import Image
from support import ROOT

from convnet.data import decoding
from convnet.data.decoding import read_square, resize_and_crop
from convnet.data.make import find_pictures, pack_folder
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.pickles import dump, load

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def saved(picture, kind="PNG", **options):
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


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
    data = saved(Image.fromarray(corners), kind, exif=exif, **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read(data), upright)
    assert (orientation == 1) == np.allclose(upright, corners, atol=8)
    if kind != "TIFF":  # which Pillow turns itself
        np.testing.assert_allclose(read(data, upright=False), corners, atol=8)


def test_a_tall_picture_that_lies_is_cut_as_it_stands():
    lying = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8) * 5, (16, 1)))  # 48 wide, 16 high
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right: the left becomes the top
    data = saved(lying, exif=exif)
    assert read(data, offset=0.0)[..., 0].mean(axis=1).argmin() == 0
    np.testing.assert_array_equal(read(data, offset=0.0)[:, 0, 0], np.arange(16) * 5)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_picture():
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0"):
        assert read(saved(Image.new("L", (16, 16), 90), "JPEG", exif=exif)).mean() == 90


GREYS = {
    "PNG of 16 bits": saved(Image.fromarray(RAMP * 257)),
    "TIFF of 16 bits": saved(Image.fromarray(RAMP * 257), "TIFF"),
    "TIFF of 16 bits, packed": saved(Image.fromarray(RAMP * 257), "TIFF", compression="tiff_lzw"),
    "TIFF of 16 bits, big end first": saved(Image.fromarray((RAMP * 257).astype(">u2")), "TIFF"),
    "PGM of 16 bits": b"P5 16 16 65535\n" + (RAMP * 257).astype(">u2").tobytes(),
    "TIFF of 32 bits, 0 to 65535": saved(Image.fromarray((RAMP * 257).astype(np.int32)), "TIFF"),
    "TIFF of 32 bits, 0 to 255": saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "TIFF of 32 bits, any": saved(Image.fromarray(RAMP.astype(np.int32) * 8000000 - 10**9), "TIFF"),
    "TIFF of floats to 1": saved(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"),
    "TIFF of floats to 255": saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "TIFF of floats to 65535": saved(Image.fromarray((RAMP * 257).astype(np.float32)), "TIFF"),
    "TIFF of any floats": saved(Image.fromarray(RAMP.astype(np.float32) * 1e6 - 3e7), "TIFF"),
    "eight bits": saved(Image.fromarray(RAMP.astype(np.uint8))),
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
    found = read(saved(Image.fromarray(values), "TIFF"))[..., 0]
    assert found[0, :3].tolist() == [0, 255, 0] and (found[1:] == RAMP[1:]).all()
    assert read(saved(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF")).max() == 0


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
        "RGBA": saved(half_clear("RGBA")),
        "RGBA WebP": saved(half_clear("RGBA"), "WEBP", lossless=True),
        "RGBA TIFF": saved(half_clear("RGBA"), "TIFF"),
        "LA": saved(half_clear("LA")),
        "palette, one clear colour": saved(palette, transparency=clear),
        "palette, opacities": saved(palette, transparency=bytes([0, 255] if clear == 0 else [255, 0])),
        "GIF": saved(palette, "GIF", transparency=clear),
        "grey key": saved(grey, transparency=7),
        "RGB key": saved(grey.convert("RGB"), transparency=(7, 7, 7)),
        "grey key of 16 bits": saved(deep, transparency=7),
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
    assert abs(read(saved(Image.new("LA", (16, 16), (0, 128)))).astype(int) - 127).max() <= 1


def test_other_modes():
    white = Image.new("1", (16, 16), 1)
    assert read(saved(white)).min() == 255 and read(saved(white, "TIFF")).min() == 255
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for data in (saved(inks, "JPEG", quality=95), saved(inks, "TIFF")):
        assert abs(read(data).reshape(-1, 3).mean(axis=0) - (255, 0, 0)).max() < 5
    # Of YCCK, which Pillow does not write: Y=55, no colour, no black, all stored inverted; so 255 - 55.
    ycck = saved(Image.new("CMYK", (16, 16), (200, 127, 127, 0)), "JPEG", quality=100)
    transform = ycck.index(b"Adobe") + 11
    assert ycck[transform] == 0
    assert abs(read(ycck[:transform] + b"\2" + ycck[transform + 1 :]).astype(int) - 200).max() <= 3
    first, second = (Image.new("L", (16, 16), value) for value in (10, 200))
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert abs(read(saved(first, kind, save_all=True, append_images=[second], **options)).astype(int) - 10).max() <= 1
    ycc = Image.new("YCbCr", (16, 16), (128, 128, 128))
    assert abs(read(saved(ycc, "JPEG")).astype(int) - 128).max() <= 1


def test_pictures_of_old_batches_have_the_same_pixels():
    """JPEGs without EXIF, of any shape: resized and cut as ever."""
    random = np.random.RandomState(0)
    for shape in ((20, 20, 3), (31, 20, 3), (20, 47), (64, 90, 3)):
        data = saved(Image.fromarray(random.randint(0, 256, shape, np.uint8)), "JPEG")
        for offset in (0.0, 0.5, 0.83):
            expected = resize_and_crop(Image.open(io.BytesIO(data)).convert("RGB"), 20, offset)
            np.testing.assert_array_equal(read(data, 20, offset=offset), expected)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (3, 40_000), (1, 1), (40, 1)])
def test_long_and_small_pictures(size):
    data = saved(Image.new("L", size, 9))
    assert (read(data, 64) == 9).all() and read(data, 64).shape == (64, 64, 3)


def png(width, height, *chunks, depth=8, color=0):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*pair) for pair in chunks) + chunk(b"IEND", b"")


NOTHING = zlib.compress(b"")
HUGE = {
    "PNG": png(60_000, 60_000, (b"IDAT", NOTHING)),
    "a little too large": png(11_000, 11_000, (b"IDAT", NOTHING)),
    "GIF": b"GIF89a" + struct.pack("<HHBBBBHHHHBB", 65535, 65535, 0, 0, 0, 44, 0, 0, 1, 1, 0, 2) + b"\x02L\1\0;",
    "BMP": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "PPM": b"P6 60000 60000 255\n",
    "JPEG": saved(Image.new("L", (16, 16)), "JPEG").replace(b"\x08\0\x10\0\x10", b"\x08\xf0\0\xf0\0"),
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_huge_pictures_are_refused_before_they_are_decoded(name, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert "pixels" in fault(HUGE[name])


def tiff(entries, data=b"", pointer=0):
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + struct.pack("<I", pointer) + data


PLAIN_TIFF = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1)]


def hostile_pictures():
    grey = saved(Image.new("L", (16, 16), 3))
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8))
    jpeg = saved(noise, "JPEG")
    strips = [(273, 4, 1, 8), (278, 4, 1, 16), (279, 4, 1, 256)]
    tiles = [(322, 4, 1, 1 << 30), (323, 4, 1, 1 << 30), (324, 4, 1, 8), (325, 4, 1, 64)]
    dds = b"DDS " + struct.pack("<7I", 124, 0x1007, 16, 16, 0, 0, 0) + bytes(44) + b"\x20" + bytes(51)
    return {
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        "DDS": dds,
        "ICO": saved(Image.new("RGBA", (16, 16)), "ICO"),
        "PCX": saved(Image.new("L", (16, 16)), "PCX"),
        "empty": b"",
        "text": b"no picture",
        "text bomb": png(16, 16, *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))] * 100, (b"IDAT", NOTHING)),
        "truncated PNG": grey[:-28],
        "truncated JPEG": jpeg[: len(jpeg) // 2],
        "scans": jpeg[:-2] + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0\0" * 300 + b"\xff\xd9",
        "truncated GIF": saved(noise.convert("P"), "GIF")[:1200],
        "truncated WebP": saved(noise, "WEBP")[:200],
        "truncated TIFF": saved(noise, "TIFF", compression="tiff_lzw")[:500],
        "truncated BMP": saved(noise, "BMP")[:500],
        "truncated PPM": saved(noise, "PPM")[:500],
        "TIFF of huge tiles": tiff(PLAIN_TIFF + tiles, bytes(400)),
        "TIFF that reads itself": tiff(
            [*PLAIN_TIFF, *strips, *((tag, 1, 100_000, 8) for tag in range(40_000, 42_000))], bytes(200_000)
        ),
        "TIFF of no size": tiff([(256, 4, 1, 0), *PLAIN_TIFF[1:], *strips], bytes(400)),
        "PNG of no data": png(16, 16),
    }


@pytest.mark.parametrize("name", hostile_pictures())
def test_hostile_pictures(name, monkeypatch):
    for start in ("Popen", "call", "check_call", "check_output", "run"):
        monkeypatch.setattr(subprocess, start, lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("a program was started"))
    fault(hostile_pictures()[name])


@pytest.mark.skipif(os.name != "posix", reason="a script stands for Ghostscript")
def test_no_program_is_started(folder, tmp_path, monkeypatch):
    """A file that begins as PostScript made Pillow look for ``gs``, whatever it was called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin64c", "djpeg", "dwebp"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    assert subprocess.run(["gs"]).returncode == 0
    (tmp_path / "ran").unlink()
    for name in ("x.jpg", "x.png", "x.tiff"):
        (folder / "a" / name).write_bytes(hostile_pictures()["PostScript"])
    assert len(pack(folder, tmp_path / "out")[0]) == 8
    with pytest.raises(DataError):
        read_square(folder / "a" / "x.jpg", 8)
    assert not (tmp_path / "ran").exists()


def test_many_pages_are_not_read():
    pages = [Image.new("L", (16, 16), 5)] * 60
    assert (read(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])) == 5).all()
    looped = tiff([*PLAIN_TIFF, (273, 4, 1, 200), (278, 4, 1, 16), (279, 4, 1, 256)], bytes(600), pointer=8)
    assert read(looped).max() == 0


def test_colour_profiles_and_texts_beside_a_picture():
    for options in ({"icc_profile": b"nonsense"}, {"icc_profile": bytes(3000)}):
        for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
            assert abs(read(saved(Image.new("RGB", (16, 16), (9, 9, 9)), kind, **options)).astype(int) - 9).max() <= 1


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
    data = saved(Image.new("L", (16, 16)))
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


# -- folders and batches


@pytest.fixture
def folder(tmp_path):
    """Two classes of pictures, and everything else that can be called x.jpg."""
    source = tmp_path / "pictures"
    for label, name in enumerate(("a", "b")):
        (source / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (8, 8), 50 + 100 * label).save(source / name / f"{i}.png")
    return source


def pack(source, out, **options):
    said = []
    pack_folder(source, out, 8, 100, 0.25, 0, said.append, **options)
    parts = [load(path) for path in sorted(out.glob("data_batch_*"))]
    return [data for part in parts for data in part["data"]], said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_picture_is_named(folder, tmp_path):
    hostile = hostile_pictures()
    (folder / "a" / "program.jpg").write_bytes(hostile["PostScript"])
    (folder / "a" / "bad.jpg").write_bytes(hostile["DDS"])
    (folder / "a" / "cut.jpg").write_bytes(hostile["truncated JPEG"])
    (folder / "b" / "two\nlines.jpg").write_bytes(b"")
    (folder / "b" / os.fsdecode(b"lat\xfc.jpg")).write_bytes(b"x")
    (folder / "b" / "nowhere.jpg").symlink_to("nothing")
    (folder / "b" / "self.jpg").symlink_to("self.jpg")
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "b" / "phone.HEIC").write_bytes(b"ftypheic")
    (folder / "b" / "notes.txt").write_bytes(b"x")
    os.mkfifo(folder / "b" / "pipe.jpg")
    (folder / "b" / "inner.jpg").mkdir()
    Image.new("L", (8, 8)).save(folder / "b" / "inner.jpg" / "9.png")
    pictures, said = pack(folder, tmp_path / "out")
    assert len(pictures) == 9
    skipped = (tmp_path / "out" / "skipped.txt").read_text().splitlines()
    named = {line.split("/")[-1].partition(": ")[0]: line.partition(": ")[2] for line in skipped}
    odd = {r"two\nlines.jpg", r"lat\udcfc.jpg", "nowhere.jpg", "self.jpg", "pipe.jpg", "phone.HEIC"}
    assert set(named) == {"program.jpg", "bad.jpg", "cut.jpg"} | odd
    assert named["pipe.jpg"] == "not a regular file" and "truncated" in named["cut.jpg"]
    assert named["nowhere.jpg"] == "No such file or directory" and "symbolic links" in named["self.jpg"]
    assert any("9 pictures cannot be read" in line for line in said)


def test_unreadable_files_are_named(folder, tmp_path, monkeypatch):
    def refuse(path, *arguments, found=os.open):
        if str(path).endswith("a/0.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return found(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    assert len(pack(folder, tmp_path / "out")[0]) == 7
    assert (tmp_path / "out" / "skipped.txt").read_text().endswith("0.png: Permission denied\n")


def test_folders_that_cannot_be_read_are_named(folder, monkeypatch):
    def refuse(path, found=os.scandir):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return found(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        find_pictures(folder)


def test_class_names_of_any_bytes(folder, tmp_path):
    (folder / "a").rename(folder / os.fsdecode(b"\xe9t\xe9\n"))
    pack(folder, tmp_path / "out")
    assert open_provider("", Request(str(tmp_path / "out"))).label_names == ["b", r"\udce9t\udce9\n"]


def test_background_of_makebatches(folder, tmp_path, capsys):
    from convnet.cli.makebatches import main

    for path in folder.rglob("*.png"):
        Image.new("LA", (8, 8), (0, 0)).save(path)
    for words, mean in (((), 255), (("--background", "black"), 0), (("--background", "#808080"), 128)):
        out = tmp_path / f"out{mean}"
        assert main([str(folder), "--out", str(out), "--size", "8", *words]) == 0
        assert abs(load(out / "batches.meta")["data_mean"].mean() - mean) <= 1
    assert main([str(folder), "--out", str(tmp_path / "none"), "--background", "whyte"]) == 2
    assert "'whyte' is not a colour" in capsys.readouterr().err


def write_batch(folder, strings, labels=None):
    meta = {"label_names": ["a", "b"], "data_mean": np.zeros((192, 1), np.float32), "num_vis": 192}
    for name, value in (
        ("batches.meta", meta),
        ("data_batch_1", {"data": strings, "labels": labels or [[0]] * len(strings)}),
    ):
        with (folder / name).open("wb") as file:
            dump(value, file)


def test_damaged_pictures_of_a_batch_are_named_once(tmp_path, caplog):
    strings = [saved(Image.new("RGB", (8, 8)), "JPEG"), *hostile_pictures().values()]
    write_batch(tmp_path, strings)
    provider = open_provider("", Request(str(tmp_path)))
    for epoch in (1, 2):
        assert provider.batch(epoch, 1).cases == 1
    [message] = [record.getMessage() for record in caplog.records]
    assert "19 of 20 pictures cannot be decoded and are left out: number 1 (not a whole picture" in message
    assert message.endswith("and 11 more, counted from 0") and "\n" not in message
    write_batch(tmp_path, strings[1:])
    with pytest.raises(DataError, match="none of its 19 pictures can be decoded"):
        open_provider("", Request(str(tmp_path))).batch(1, 1)


@pytest.mark.parametrize("compat, turned", [("", True), ("2011", False), ("2012", False), ("2014", False)])
def test_turned_pictures_of_a_batch(tmp_path, compat, turned):
    """The originals did not look at EXIF."""
    from convnet.generation import COMPAT

    exif = Image.Exif()
    exif[0x0112] = 3
    dark_left = Image.new("L", (8, 8), 200)
    dark_left.paste(10, (0, 0, 4, 8))
    write_batch(tmp_path, [saved(dark_left, "JPEG", exif=exif)])
    pixels = open_provider("", Request(str(tmp_path), compat=COMPAT[compat])).batch(1, 1).pixels
    assert (pixels[0, :, 0].mean() > 100) == turned


def test_predict_sees_what_people_see(tmp_path):
    import convnet

    net = convnet.build("layers-digits.cfg", side=8, seed=1, backend="reference")
    grey = np.random.RandomState(0).randint(0, 256, (8, 8), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    files = {"plain.png": Image.fromarray(grey), "deep.png": Image.fromarray(grey.astype(np.uint16) * 257)}
    for name, picture in files.items():
        picture.save(tmp_path / name)
    files["plain.png"].rotate(-90).save(tmp_path / "turned.png", exif=exif)
    expected = net.predict(grey[None, ..., None])
    for name in ("plain.png", "deep.png", "turned.png"):
        np.testing.assert_array_equal(net.predict(tmp_path / name), expected)
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(net.predict(picture), expected)
    clear = Image.new("LA", (8, 8), (0, 0))
    clear.save(tmp_path / "clear.png")
    np.testing.assert_array_equal(net.predict(tmp_path / "clear.png"), net.predict(np.full((1, 8, 8, 1), 255, np.uint8)))
    for name, data in hostile_pictures().items():
        (tmp_path / "bad.jpg").write_bytes(data)
        with pytest.raises(DataError, match=r"bad\.jpg is not a picture that can be read: ") as caught:
            net.predict([tmp_path / "bad.jpg"])
        assert "\n" not in str(caught.value), name
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(DataError, match=r"is not a picture that can be read: (a folder|No such file)"):
            net.predict(str(path))
