"""makebatches on what people have: few pictures, one class, no sub-folders, telephones' formats; and what it says then."""

import re

import numpy as np
import pytest
from PIL import Image

from convnet.cli import main
from convnet.data.making.split import set_aside
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.pickles import load


def place(folder, *names, damaged=()):
    for name in (*names, *damaged):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no picture")
        if name not in damaged:
            Image.new("RGB", (9, 7), (len(name), 99, 9)).save(folder / name)


def make(tmp_path, capsys, *words):
    status = main(["makebatches", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--size", "8", *words])
    return status, *capsys.readouterr()


def labels(tmp_path):
    """The classes of each batch."""
    meta = load(tmp_path / "out/batches.meta")
    batches = [load(tmp_path / f"out/data_batch_{number}") for number in range(1, max(meta["test_batches"]) + 1)]
    return [sorted(meta["label_names"][label] for [label] in batch["labels"]) for batch in batches]


FOUR = [f"{name}/{i}.jpg" for name in ("cat", "dog") for i in range(4)]


def test_what_is_said(tmp_path, capsys):
    place(tmp_path / "photos", *FOUR, "loose.jpg", damaged=["dog/bad.jpg", "dog/new.heic"])
    (tmp_path / "photos/empty").mkdir()
    status, out, err = make(tmp_path, capsys, "--batch-size", "4")
    photos = tmp_path / "photos"
    none = "not a whole picture in JPEG, PNG, GIF, BMP, WEBP, TIFF or PPM"
    bad, new = (
        f"{photos}/dog/bad.jpg: {none}",
        f"{photos}/dog/new.heic: {none}; .heic files are not read: save it as one of these",
    )
    assert sorted((tmp_path / "out/skipped.txt").read_text().splitlines()) == [bad, new]
    assert (status, err) == (0, "") and sorted(out.splitlines()) == sorted(
        [
            "test batch 1: 1 picture",
            "batch 1: 4 pictures",
            "batch 2: 3 pictures",
            "No class, without a picture in it: empty.",
            f"Left out: 1 picture directly in {photos}, in no sub-folder of a class.",
            "8 pictures of 2 classes: cat 4, dog 4",
            "Left out, as skipped.txt says: 2 files that cannot be read",
            f"    {bad}",
            f"    {new}",
            "Train with batches 1 to 2, test with batch 3, as runs do by themselves.",
            f"Wrote 3 batches to {tmp_path}/out. Train on them:",
            f"    convnet run --layer-def layers-photos-64.cfg --data-path {tmp_path}/out",
        ]
    )
    assert out.splitlines()[-1].startswith("    convnet run")


@pytest.mark.parametrize(
    "names, damaged, batches",
    [
        (["a/1.jpg", "b/1.jpg"], [], None),
        (["a/1.jpg", "a/2.jpg", "b/1.jpg"], [], [["a", "b"], ["a"]]),
        (["a/1.jpg", "a/2.jpg", "b/1.jpg"], ["b/2.heic", "b/3.HEIC"], [["a", "b"], ["a"]]),
        ([*(f"a/{i}.jpg" for i in range(9)), "b/1.jpg"], [], [["a"] * 8 + ["b"], ["a"]]),
    ],
)
def test_few_pictures(tmp_path, capsys, names, damaged, batches):
    """A class with one picture is trained on; with one picture of each, one is left to test on."""
    place(tmp_path / "photos", *names, damaged=damaged)
    status, out, _ = make(tmp_path, capsys)
    assert status == 0 and labels(tmp_path) in ([batches] if batches else [[["a"], ["b"]], [["b"], ["a"]]])
    assert ("Nothing to train on is left of" in out) == (batches is None)
    assert open_provider("", Request(str(tmp_path / "out"))).default_ranges() == ([1], [2])


def test_a_test_picture_that_cannot_be_read_is_replaced(tmp_path, capsys):
    place(tmp_path / "photos", *FOUR)
    assert make(tmp_path, capsys)[0] == 0
    [tested] = load(tmp_path / "out/data_batch_2")["files"]
    (tmp_path / "photos" / tested).write_bytes(b"damaged")
    assert make(tmp_path, capsys)[0] == 0
    [other] = load(tmp_path / "out/data_batch_2")["files"]
    assert other != tested and len(load(tmp_path / "out/data_batch_1")["files"]) == 6


def test_many_classes_are_said_in_a_line(tmp_path, capsys):
    place(tmp_path / "photos", *(f"c{c:02}/{i}.png" for c in range(30) for i in range(1 + (c == 7) * 4)))
    out = make(tmp_path, capsys)[1]
    assert "34 pictures of 30 classes: from 1 (c00) to 5 (c07)\n" in out


@pytest.mark.parametrize(
    "names, damaged, said",
    [
        ([], [], "no pictures in the sub-folders of PHOTOS; expected one sub-folder per class"),
        (["x.jpg", "y.jpg", "z.jpg"], [], r"PHOTOS holds 3 pictures in no .* PHOTOS/cat/x.jpg and PHOTOS/dog/y.jpg"),
        (["x.jpg"], [], "PHOTOS holds 1 picture in no sub-folder, .* such as PHOTOS/cat/x.jpg$"),
        (["cat/x.jpg"], [], "PHOTOS has pictures in one sub-folder only, 'cat'; .* such as PHOTOS/other$"),
        (["cat/x.jpg", ".cat/x.jpg", "__MACOSX/._x.jpg"], [], "PHOTOS has pictures in one sub-folder only, 'cat'; a net"),
        (["all/cat/x.jpg", "all/dog/x.jpg"], [], "PHOTOS has .* only, 'all'; if the classes are .* give PHOTOS/all$"),
        (["train/cat/x.jpg", "val/cat/x.jpg"], [], "PHOTOS/train has pictures in one sub-folder only, 'cat'"),
        (["val/cat/x.jpg", "test/cat/x.jpg"], [], "test, val in PHOTOS are parts of a set, but none is 'train', or none"),
        (["a/x.jpg"], ["b/x.jpg", "b/y.heic"], "only pictures of 'a' can be read: PHOTOS/b/[xy].*; and 1 more$"),
        ([], ["a/x.jpg", "b/x.jpg"], "none of the pictures can be read: PHOTOS/[ab]/x.jpg: not a whole picture"),
        (["batches.meta/x.jpg"], [], "PHOTOS has pictures in one sub-folder only, 'batches.meta'"),
    ],
)  # fmt: skip
def test_folders_that_do_not_do(tmp_path, capsys, names, damaged, said):
    """One line that says what to do; nothing is written, and nothing is lost."""
    (tmp_path / "photos").mkdir()
    place(tmp_path / "photos", *names, damaged=damaged)
    status, _, err = make(tmp_path, capsys)
    assert status == 1 and err.count("\n") == 1 and not list((tmp_path / "out").glob("*"))
    assert re.search(f"^convnet: {said.replace('PHOTOS', re.escape(str(tmp_path / 'photos')))}", err.strip())


def test_batches_do_not_lie_among_the_pictures(tmp_path, capsys):
    place(tmp_path, *FOUR)
    assert main(["makebatches", str(tmp_path), "--out", f"{tmp_path}/cat/.."]) == 2
    assert capsys.readouterr().err == f"convnet: {tmp_path} is the folder of the pictures; give another with --out\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat", "dog"]


def test_sources_that_are_no_folders(tmp_path, capsys):
    (tmp_path / "photos").write_text("x")
    assert "photos is a file; give a folder" in make(tmp_path, capsys)[2]
    (tmp_path / "photos").unlink()
    assert main(["makebatches", "digits", "--out", str(tmp_path / "photos")]) == 0
    assert "layers-digits.cfg --data-path" in capsys.readouterr().out
    assert "photos holds batches already; train on them with --data-path" in make(tmp_path, capsys)[2]


def test_a_run_of_the_pictures_themselves(tmp_path, capsys):
    place(tmp_path / "my photos", *FOUR)
    assert main(["run", "--layer-def", "layers-photos-64.cfg", "--data-path", str(tmp_path / "my photos")]) == 1
    begin = f"begin with: convnet makebatches '{tmp_path / 'my photos'}' --out batches"
    assert capsys.readouterr().err.endswith(f"my photos holds no batches.meta; if pictures are in it, {begin}\n")


def test_the_split_is_that_of_earlier_versions():
    """Where every class has enough pictures: the first of a shuffle are for testing."""
    order = np.random.RandomState(5).permutation(300).tolist()
    assert set_aside([i % 3 for i in range(300)], 0.1, 5) == (order[30:], order[:30])
