"""makebatches into a folder that is not empty: old batches go as a whole, foreign ones stay, a kill leaves no mixture."""

import itertools
import shutil

import numpy as np
import pytest
from PIL import Image
from support import dump, write_cifar, write_net

from convnet import pickles
from convnet.cli import main as cli
from convnet.data.making import make
from convnet.data.making.batch_folder import replacing
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.training.events import BatchBegin
from convnet.training.run import Run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty pictures of two classes."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("cats", "dogs"):
        (folder / name).mkdir()
        for i in range(20):
            pixels = np.random.RandomState(i).randint(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def pack(photos, out, batch_size, *more):
    return cli(
        ["makebatches", str(photos), "--out", str(out), "--size", "8", "--batch-size", str(batch_size), *map(str, more)]
    )


def names(folder):
    """What is in a folder beside the manifest."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("SHA256SUMS", "pictures.csv"))


def labels_in(folder):
    return sum(len(pickles.load(path)["labels"]) for path in folder.glob("data_batch_*"))


def test_fewer_batches_than_before(photos, tmp_path):
    assert pack(photos, tmp_path, 5, "--test-share", 0.3) == 0
    assert len(open_provider("", Request(str(tmp_path))).numbers) == 9
    (photos / "cats" / "broken.png").write_bytes(b"no picture")
    assert pack(photos, tmp_path, 20) == 0
    (photos / "cats" / "broken.png").unlink()
    assert names(tmp_path) == ["batches.meta", "data_batch_1", "data_batch_2", "data_batch_3", "skipped.txt"]
    provider = open_provider("", Request(str(tmp_path)))
    assert provider.ranges(None, None) == ([1, 2], [3]) and labels_in(tmp_path) == 40
    assert cli(["makebatches", "digits", "--out", str(tmp_path)]) == 0
    assert names(tmp_path) == ["batches.meta", *(f"data_batch_{number}" for number in range(1, 7))]
    assert open_provider("", Request(str(tmp_path))).dims[0] == 64


def test_a_mean_where_all_or_nearly_all_is_for_testing(photos, tmp_path):
    make.pack_folder(photos, tmp_path, 8, 20, 1.0, 0, say=lambda _: None)
    assert 100 < pickles.load(tmp_path / "batches.meta")["data_mean"].mean() < 150


def test_folders_of_earlier_versions(photos, tmp_path):
    """Whose description does not say how many batches there are."""
    assert pack(photos, tmp_path, 5) == 0
    meta = pickles.load(tmp_path / "batches.meta")
    del meta["test_batches"]
    dump(tmp_path / "batches.meta", meta)
    assert pack(photos, tmp_path, 20) == 0
    assert len(open_provider("", Request(str(tmp_path))).numbers) == 3


@pytest.mark.parametrize("foreign", ["cifar", "test_batch", "data_batch_9", "data_batch_1.1", "folder", "no description"])
def test_batches_of_somebody_else_stay(photos, tmp_path, capsys, foreign):
    out = tmp_path / "out"
    if foreign == "cifar":
        write_cifar(out, cases=3)
    else:
        assert pack(photos, out, 20) == 0
        if foreign == "folder":
            (out / "data_batch_7").mkdir()
        elif foreign == "no description":
            (out / "batches.meta").unlink()
        else:
            shutil.copy(out / "data_batch_1", out / foreign)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    capsys.readouterr()
    assert pack(photos, out, 5) == 1
    assert "which this makebatches did not write; give a folder without batches" in capsys.readouterr().err
    assert not (out / ".making").exists()
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_other_files_stay(photos, tmp_path):
    for _ in range(2):
        (tmp_path / "notes.txt").write_text("mine")
        assert pack(photos, tmp_path, 20) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_error_leaves_the_old_batches(photos, tmp_path, monkeypatch):
    assert pack(photos, tmp_path, 20) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls = []

    def failing(path, value, advice=""):
        calls.append(path)
        if len(calls) == 3:
            raise DataError("the disk is full")

    monkeypatch.setattr(make, "write_file", failing)
    assert pack(photos, tmp_path, 5) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class Killed(BaseException):
    """As if the process had ended."""


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_kill_at_any_moment_leaves_no_mixture(photos, tmp_path, monkeypatch, moment):
    """Before the call that ``moment`` counts of those that change a folder: the old batches, none, or the new ones."""
    assert pack(photos, tmp_path, 10) == 0
    count = 0

    def counted(act):
        def changed(*arguments, **named):
            nonlocal count
            if "lock" in str(arguments[0]):  # which ends with a process
                return act(*arguments, **named)
            count += 1
            if count >= moment:
                raise Killed
            return act(*arguments, **named)

        return changed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in ("replace", "unlink"):
            patch.setattr(type(tmp_path), name, counted(getattr(type(tmp_path), name)))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        with replacing(tmp_path) as folder:
            for number in range(1, 4):
                dump(folder / f"data_batch_{number}", {"data": [], "labels": []})
            dump(folder / "batches.meta", {"test_batches": [3], "label_names": ["x"]})
    if (tmp_path / "batches.meta").exists():
        expected = {1, 2, 3, 4, 5} if pickles.load(tmp_path / "batches.meta")["label_names"] != ["x"] else {1, 2, 3}
        assert open_numbers(tmp_path) == expected
    assert pack(photos, tmp_path, 20) == 0
    assert names(tmp_path) == ["batches.meta", "data_batch_1", "data_batch_2", "data_batch_3"] and labels_in(tmp_path) == 40


def open_numbers(folder):
    return {int(path.name.removeprefix("data_batch_")) for path in folder.glob("data_batch_*")}


def test_options_of_pictures_do_nothing_to_digits(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli(["makebatches", "digits", "--out", out, "--size", "16", "--test-share", "0.5"]) == 2
    assert "--size, --test-share: for pictures" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert cli(["makebatches", str(tmp_path), "--out", out]) == 1
    assert not (tmp_path / "out").exists()


def test_two_at_once(photos, tmp_path, capsys):
    with replacing(tmp_path) as folder:
        dump(folder / "batches.meta", {"test_batches": [1]})
        assert pack(photos, tmp_path, 20) == 1
        assert "is in use (process" in capsys.readouterr().err
    assert names(tmp_path) == ["batches.meta"]


def test_batches_that_are_made_anew_while_they_are_read(photos, tmp_path):
    """Others would be trained on and tested on, minus the mean of the first ones."""
    assert pack(photos, tmp_path, 10) == 0
    provider = open_provider("", Request(str(tmp_path)))
    assert provider.batch(1, 1).cases == 10
    assert pack(photos, tmp_path, 10) == 0  # the same pictures in the same batches
    assert provider.batch(1, 2).cases == 10
    assert pack(photos, tmp_path, 8, "--seed", 3) == 0
    for number in (1, 2):
        with pytest.raises(DataError, match="the batches were made anew while they were in use"):
            provider.batch(1, number)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="the batches are removed, or being made anew, while they were in use"):
        provider.batch(1, 2)


def test_a_run_whose_batches_are_made_anew_saves_and_says_so(tmp_path, capsys, monkeypatch):
    data, count = write_cifar(tmp_path / "data", batches=5), itertools.count()
    tell = Run.tell

    def remake(run, event):
        if isinstance(event, BatchBegin) and next(count) == 0:
            write_cifar(data, batches=4, classes=9)
        tell(run, event)

    monkeypatch.setattr(Run, "tell", remake)
    words = ["--layer-def", write_net(tmp_path), "--data-path", data, "--save-file", tmp_path / "saved", "--epochs", 2]
    assert cli(["run", *map(str, words)]) == 1
    assert f"{data}: the batches were made anew while they were in use" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["1.2", "log.jsonl"]
