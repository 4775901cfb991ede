"""makebatches: the same bytes on any number of processes and after any kill; what it writes beside batches; grey, splits."""

import csv
import hashlib
import io
import itertools
import os
import subprocess
from collections import Counter

import numpy as np
import pytest
import terminal
from PIL import Image

from convnet import pickles
from convnet.cli import main
from convnet.data.decoding import read_square
from convnet.data.making import finish, make, unfinished, workers
from convnet.data.making.batch_folder import replacing
from convnet.data.making.manifest import read_sums
from convnet.data.making.split import Order, set_aside
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.pickles import text_of


def place(folder, count=60, classes=3, broken=(), size=(12, 9)):
    """Pictures of noise; ``broken`` ones are cut off or no pictures."""
    for i in range(count):
        path = folder / f"c{i % classes} é" / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(i).randint(0, 256, (*size[::-1], 3)).astype(np.uint8)).save(path)
        if i in broken:
            path.write_bytes(path.read_bytes()[:60] if i % 2 else b"none")
    return folder


def pack(source, out, batch_size=7, share=0.2, **more):
    said = []
    with replacing(out, resumes=True) as folder:
        make.pack_folder(source, folder, 8, batch_size, share, 0, said.append, **more)
    return said


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def part(out, number):
    return pickles.load(out / f"data_batch_{number}")


def strings(batch):
    return [data if isinstance(data, bytes) else data.encode("latin1") for data in batch["data"]]


# -- processes


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_processes_gives_the_same_bytes(tmp_path, monkeypatch, count):
    source = place(tmp_path / "photos", broken={3, 10, 31})
    pack(source, tmp_path / "one")
    monkeypatch.setattr(workers, "_WORTH", 1)
    monkeypatch.setattr(workers, "_PICTURES", 4)
    pack(source, tmp_path / "many", workers=count)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "many")


def test_a_process_that_is_ended_is_an_error_and_the_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_WORTH", 1)
    source, told = place(tmp_path / "photos"), []

    def tell(done, of):
        told.append(done)
        if done == 20:
            for child in workers.multiprocessing.active_children():
                child.kill()
            for child in workers.multiprocessing.active_children():
                child.join()

    with pytest.raises(DataError, match=r"was ended \(status -9\); if memory was short, give fewer --workers"):
        pack(source, tmp_path / "out", workers=2, tell=tell)
    assert not workers.multiprocessing.active_children()
    assert "Going on after" in pack(source, tmp_path / "out")[0]
    pack(source, tmp_path / "other")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "other")


def test_processes_that_cannot_be_started(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_WORTH", 1)
    count, start = itertools.count(), workers.BaseProcess.start

    def fail(process):
        if next(count) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        start(process)

    monkeypatch.setattr(workers.BaseProcess, "start", fail)
    with pytest.raises(DataError, match="no process can be started here: Resource temporarily unavailable; lower --workers"):
        pack(place(tmp_path / "photos"), tmp_path / "out", workers=4)
    assert not workers.multiprocessing.active_children() and not (tmp_path / "out").exists()


# -- kills


class Killed(BaseException):
    """As if the process had ended."""


def kill_at(moment, monkeypatch, source, out, **more):
    """Pack until a file would be written for the time that ``moment`` counts."""
    count = itertools.count(1)

    def writing(act):
        def write(*arguments, **named):
            if next(count) == moment:
                raise Killed
            return act(*arguments, **named)

        return write

    with monkeypatch.context() as patch, pytest.raises(Killed):
        places = [(module, "write_file") for module in (make, unfinished, finish)]
        for module, name in [*places, (finish, "write_atomically"), (make, "write_sums")]:
            patch.setattr(module, name, writing(getattr(module, name)))
        patch.setattr(unfinished.Progress, "list_pictures", writing(unfinished.Progress.list_pictures))
        pack(source, out, **more)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    place(folder / "photos", broken={3, 10, 31, 32, 33})
    pack(folder / "photos", folder / "expected")
    return folder


# Nine batches, each with its rows and its state, then the description, the list, what is left out, and the manifest.
@pytest.mark.parametrize("moments", [[1], [2], [2, 5], [3, 9, 14, 8], [27], [28, 1, 2, 3, 4], [30], [31]])
def test_a_call_that_is_killed_goes_on_to_the_same_bytes(photos, tmp_path, monkeypatch, moments):
    out = tmp_path / "out"
    for moment in moments:
        kill_at(moment, monkeypatch, photos / "photos", out)
        assert not (out / "batches.meta").exists()
    said = pack(photos / "photos", out)
    assert files_in(out) == files_in(photos / "expected")
    assert said[0].startswith("Going on after") == (moments not in ([1], [2]))


def test_another_call_does_not_go_on(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    kill_at(9, monkeypatch, photos / "photos", out)
    said = pack(photos / "photos", out, batch_size=20)
    assert not said[0].startswith("Going on") and len(list(out.glob("data_batch_*"))) == 4
    kill_at(9, monkeypatch, photos / "photos", out)
    assert len(list(out.glob("data_batch_*"))) == 4  # of the call before
    assert main(["makebatches", "digits", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "SHA256SUMS",
        "batches.meta",
        *(f"data_batch_{n}" for n in range(1, 7)),
    ]


def test_pictures_that_changed_are_read_anew(tmp_path, monkeypatch):
    source, out = place(tmp_path / "photos"), tmp_path / "out"
    kill_at(9, monkeypatch, source, out)
    place(tmp_path / "photos", count=5, size=(9, 12))
    assert not pack(source, out)[0].startswith("Going on")
    pack(source, tmp_path / "other")
    assert files_in(out) == files_in(tmp_path / "other")


@pytest.mark.parametrize("name", ["unfinished", "test_part_1", "pictures.unfinished"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x02}q\x00."])
def test_what_a_kill_left_and_somebody_damaged(photos, tmp_path, monkeypatch, name, content):
    out = tmp_path / "out"
    kill_at(9, monkeypatch, photos / "photos", out)
    if content is None:
        (out / ".making" / name).unlink()
    elif name != "test_part_1":  # whose bytes are believed
        (out / ".making" / name).write_bytes(content)
    pack(photos / "photos", out)
    assert files_in(out) == files_in(photos / "expected")


@pytest.mark.slow
def test_five_thousand_pictures_with_twenty_broken_ones(tmp_path):
    """Killed again and again by SIGKILL; then all of the twenty are named, with reasons."""
    broken = set(range(7, 5000, 250))
    source, out = place(tmp_path / "photos", 5000, broken=broken), tmp_path / "out"
    words = ["makebatches", source, "--out", out, "--size", 16, "--batch-size", 100, "--workers", 2]
    command = [terminal.sys.executable, "-m", "convnet", *map(str, words)]
    environment = dict(os.environ, PYTHONPATH=str(terminal.ROOT))
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(8):
            process.stdout.readline()
        process.kill()
        process.communicate()
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert said.stdout.startswith("Going on after") and said.stderr == ""
    assert main([*map(str, [*words[:3], tmp_path / "other", *words[4:-1], 1])]) == 0
    assert files_in(out) == files_in(tmp_path / "other")
    lines = (out / "skipped.txt").read_text().splitlines()
    assert len(lines) == 20 and {int(line.split(".png: ")[0][-4:]) for line in lines} == broken
    assert all("not a whole picture" in line or "truncated" in line for line in lines)


def test_a_full_disk_keeps_the_old_batches_and_what_was_made(photos, tmp_path, monkeypatch):
    out, count = tmp_path / "out", itertools.count()
    pack(photos / "photos", out, batch_size=20)
    old = files_in(out)

    def full(path, value, act=make.write_file):
        if next(count) == 4:
            raise DataError("No space left on device")
        act(path, value)

    with (
        monkeypatch.context() as patch,
        pytest.raises(DataError, match="left on device; the same command goes on after the"),
    ):
        patch.setattr(make, "write_file", full)
        pack(photos / "photos", out)
    assert {name: data for name, data in files_in(out).items() if not name.startswith(".making")} == old
    assert pack(photos / "photos", out)[0] == "Going on after 4 files that an interrupted call has written."
    assert files_in(out) == files_in(photos / "expected")


# -- what is beside the batches


def test_manifest(photos):
    out = photos / "expected"
    sums = read_sums(out)
    assert set(sums) == {path.name for path in out.iterdir()} - {"SHA256SUMS"}
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest == sums[name]
    rows = list(csv.DictReader(io.StringIO((out / "pictures.csv").read_text("utf-8"))))
    names = list(map(text_of, pickles.load(out / "batches.meta")["label_names"]))
    found = Counter()
    for number in sorted({int(row["batch"]) for row in rows}):
        batch = part(out, number)
        mine = [row for row in rows if int(row["batch"]) == number]
        assert [row["file"] for row in mine] == list(map(text_of, batch["files"]))
        assert [(int(row["case"]), row["class"]) for row in mine] == [
            (case, names[label]) for case, [label] in enumerate(batch["labels"])
        ]
        found[number] = len(mine)
    assert found == Counter({**dict.fromkeys(range(1, 7), 7), 7: 1, 8: 7, 9: 5})
    assert [row["batch"] for row in rows] == sorted((row["batch"] for row in rows), key=int)


OTHERS = ["x", f"{'0' * 64}  ../data_batch_1", f"{'0' * 64}  data_batch_1/../../x", f"{'0' * 63}  batches.meta"]


@pytest.mark.parametrize("line", OTHERS)
def test_manifests_of_others_are_not_followed(photos, tmp_path, line, capsys):
    """Nor replaced: they may tell of files that are not batches."""
    (tmp_path / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(DataError, match=r"SHA256SUMS:1: '.*' is not a SHA-256 and the name of a batch"):
        read_sums(tmp_path)
    assert main(["makebatches", str(photos / "photos"), "--out", str(tmp_path)]) == 1
    assert "holds SHA256SUMS, which this makebatches did not write" in capsys.readouterr().err
    assert (tmp_path / "SHA256SUMS").read_text() == line + "\n"


def test_mean_and_axes_are_those_of_the_pictures(photos):
    out = photos / "expected"
    meta = pickles.load(out / "batches.meta")
    sources = [text_of(name) for number in range(1, 8) for name in part(out, number)["files"]]
    pixels = np.stack([read_square(photos / "photos" / name, 8) for name in sources]).astype(np.float64)
    np.testing.assert_allclose(meta["data_mean"][:, 0], pixels.mean(axis=0).transpose(2, 0, 1).ravel(), rtol=1e-6)
    stdevs, vectors = meta["color_pca"]
    covariance = np.cov(pixels.reshape(-1, 3), rowvar=False)
    np.testing.assert_allclose(vectors * stdevs**2 @ vectors.T, covariance, rtol=1e-9, atol=1e-9)


# -- how pictures are stored


def test_grey(tmp_path, capsys):
    source, out = place(tmp_path / "photos", 20, 2), tmp_path / "out"
    assert main(["makebatches", str(source), "--out", str(out), "--size", "8", "--gray"]) == 0
    meta, batch = pickles.load(out / "batches.meta"), part(out, 1)
    assert (meta["num_vis"], meta["num_colors"], meta["data_mean"].shape) == (64, 1, (64, 1)) and "color_pca" not in meta
    pictures = [Image.open(io.BytesIO(data)) for data in strings(batch)]
    assert {(picture.mode, picture.size) for picture in pictures} == {("L", (8, 8))}
    expected = [read_square(source / text_of(name), 8, mode="L") for name in batch["files"]]
    np.testing.assert_allclose(meta["data_mean"][:, 0], np.mean(expected, axis=0).ravel(), rtol=1e-6)
    assert "Train on them with a net of channels=1:" in capsys.readouterr().out


@pytest.mark.parametrize("size, long", [((12, 9), 11), ((5, 4), 10), ((8, 8), 8), ((6, 20), 27)])
def test_resizing(tmp_path, size, long):
    """The short side to 8 and the middle, or all of the long one; or both to 8."""
    source = place(tmp_path / "photos", 6, 2, size=size)
    shapes = {"crop": (8, 8, 3), "keep": (8, long, 3) if size[0] > size[1] else (long, 8, 3), "squash": (8, 8, 3)}
    for fit, shape in shapes.items():
        out = tmp_path / fit
        assert main(["makebatches", str(source), "--out", str(out), "--size", "8", "--resize", fit]) == 0
        for name, data in zip(part(out, 1)["files"], strings(part(out, 1)), strict=True):
            expected = io.BytesIO()
            Image.fromarray(read_square(source / text_of(name), 8, fit=fit)).save(expected, "JPEG", quality=95)
            assert data == expected.getvalue() and np.asarray(Image.open(expected)).shape == shape
        assert open_provider("", Request(str(out))).batch(1, 1).pixels.shape == (5, 8, 8, 3)
    path, start = source / "c0 é" / "0000.png", (long - 8) // 2
    middle = (slice(start, start + 8),) if size[0] <= size[1] else (slice(None), slice(start, start + 8))
    np.testing.assert_array_equal(read_square(path, 8, fit="keep")[middle], read_square(path, 8))
    squashed = read_square(path, 8, fit="squash").astype(int)
    assert abs(squashed.mean() - np.asarray(Image.open(path)).mean()) < 5


def test_published_resizing_takes_the_mean_of_areas():
    pixels = np.random.RandomState(0).randint(0, 256, (12, 16, 3)).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    expected = pixels.reshape(6, 2, 8, 2, 3).mean(axis=(1, 3))[:, 1:7]
    assert np.abs(read_square(data, 6).astype(float) - expected).max() <= 1  # rounded twice, along rows and along columns


# -- splits


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_stratified(share):
    """Of every class its share, rounded so that all together are the share of all."""
    labels = [0] * 40 + [1] * 20 + [2] * 10 + [3] * 7 + [4] * 1
    train, test = set_aside(labels, share, 3, stratified=True)
    counts, trained = Counter(labels[i] for i in test), Counter(labels[i] for i in train)
    assert sorted(train + test) == list(range(78))
    for label, count in Counter(labels).items():
        assert trained[label] >= 1 and (count == 1 or int(count * share) <= counts[label] <= count * share + 1)
    assert abs(len(test) - round(78 * share)) <= 1
    assert set_aside(labels, share, 3, stratified=True) == (train, test) != set_aside(labels, share, 4, stratified=True)


def test_stratified_batches(tmp_path, capsys):
    """Exact counts, also where pictures for testing cannot be read."""
    source = place(tmp_path / "photos", 90, 3, broken=range(0, 90, 9))  # all in the first class
    words = [
        "makebatches",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--size",
        "8",
        "--test-share",
        "0.2",
        "--stratified",
    ]
    assert main([*words, "--stratified"]) == 0
    assert Counter(label for [label] in part(tmp_path / "out", 2)["labels"]) == {0: 6, 1: 6, 2: 6}
    assert Counter(label for [label] in part(tmp_path / "out", 1)["labels"]) == {0: 14, 1: 24, 2: 24}
    assert main(words) == 0
    assert len(part(tmp_path / "out", 2)["labels"]) == 18


@pytest.mark.parametrize("stratified", [False, True])
def test_others_are_tested_on_in_place_of_lost_ones(stratified):
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    order = Order([1, 2, 3, 5, 6, 7], [4, 0], labels, True, stratified)
    rounds, seen = order.rounds(), []
    for is_test, pictures in rounds:
        seen.append((is_test, pictures))
        order.lost.update({4, 5} & set(pictures))
    if stratified:
        assert seen == [(True, [4, 0]), (True, [5]), (True, [6]), (False, [1, 2, 3, 7])]
    else:
        assert seen == [(True, [4, 0]), (True, [1]), (False, [2, 3, 5, 6, 7])]


def test_the_last_picture_of_a_class_is_trained_on():
    order = Order([1, 2, 3], [0], [0, 0, 1, 1], True, True)
    order.lost.add(0)
    assert [*order.rounds()] == [(True, [0]), (True, [1]), (False, [2, 3])]  # nothing else is left to test on
    order = Order([1, 3], [0, 2], [0, 0, 1, 1], True, True)
    order.lost.add(0)
    assert [*order.rounds()] == [(True, [0, 2]), (False, [1, 3])]


# -- what is shown


def test_progress_on_a_terminal(tmp_path):
    source = place(tmp_path / "photos", 90)
    words = ["makebatches", "photos", "--out", "out", "--size", "400", "--workers", "1"]
    status, text = terminal.run(words, tmp_path, TERM="xterm")
    assert status == 0 and source.exists()
    assert any("of 90 pictures" in line and "images/s" in line for line in text.split("\r"))
    rows = [row for row in terminal.rows(text, 80) if row]
    assert rows[0] == "test batch 1: 9 pictures" and not any("images/s" in row for row in rows)


def test_a_pipe_gets_lines(tmp_path, capsys):
    assert main(["makebatches", str(place(tmp_path / "photos", 6)), "--out", str(tmp_path / "out"), "--size", "8"]) == 0
    assert "\r" not in capsys.readouterr().out
