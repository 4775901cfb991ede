"""Folders and batches of pictures: what is none is left out and named; what is transparent, turned or deep is seen."""

import os
import subprocess

import numpy as np
import pytest
from picture_files import encoded, hostile_pictures
from PIL import Image

from convnet.data.decoding import read_square
from convnet.data.making.make import pack_folder
from convnet.data.making.picture_folder import find_pictures
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.pickles import dump, load


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
    assert any("9 files that cannot be read" in line for line in said)


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
    _, said = pack(folder, tmp_path / "out")
    assert open_provider("", Request(str(tmp_path / "out"))).label_names == ["b", r"\udce9t\udce9\n"]
    assert r", \udce9t\udce9\n " in "".join(said) and "\n" not in "".join(said)


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
    strings = [encoded(Image.new("RGB", (8, 8)), "JPEG"), *hostile_pictures().values()]
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
    write_batch(tmp_path, [encoded(dark_left, "JPEG", exif=exif)])
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
