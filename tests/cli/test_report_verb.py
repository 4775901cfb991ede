"""``convnet report`` as it is typed: what it writes, what it refuses, and what it says where the data are not there."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from html_pages import Read
from support import write_cifar, write_net

from convnet.checkpoint import find_latest, load, write_checkpoint
from convnet.cli import main
from convnet.errors import DataError
from convnet.training.trainer import Trainer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a checkpoint whose data were in ``data``, beside it."""
    folder = tmp_path_factory.mktemp("verb")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder / "c"]
    assert main(["run", *map(str, options), "--epochs", "1"]) == 0
    return folder


def read(name):
    return Read(Path(name).read_text(encoding="utf-8"))


def listed():
    return [path.name for path in Path().iterdir()]


@pytest.fixture
def run(saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return str(saved / "c")


def test_it_writes_a_page_and_says_so(run, capsys):
    assert main(["report", run]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Wrote report.html, ") and said.err == ""
    assert read("report.html").all("h1")[0].text == "layers-small"
    assert main(["report", run, "--title", "My net", "--out", "my.htm", "--no-data"]) == 0
    assert read("my.htm").all("h1")[0].text == "My net"


@pytest.mark.parametrize(
    "words, fault",
    [
        (["--out", "x.png"], "--out x.png: the name must end in .html or .htm"),
        (["--out", "nowhere/x.html"], "there is no folder nowhere"),
        (["--no-data", "--test-range", "1"], "--no-data: no effect of --test-range without a test"),
        (["--data-path", "nowhere"], "no folder nowhere"),
        (["--test-range", "77"], "test batches missing: 77"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(run, words, fault, capsys):
    assert main(["report", run, *words]) != 0
    assert fault in capsys.readouterr().err and listed() == []


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_what_is_no_run_is_refused(path, run, capsys):
    assert main(["report", path]) != 0
    assert "no checkpoint" in capsys.readouterr().err and listed() == []


def test_without_its_data_it_has_all_the_rest(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved / "c", tmp_path / "c")
    (saved / "data").rename(saved / "elsewhere")
    try:
        assert main(["report", "c", "--out", "run.html"]) == 0
        assert "convnet: not tested: no folder" in capsys.readouterr().err
        assert main(["report", "c", "--data-path", str(saved / "elsewhere"), "--out", "tested.html"]) == 0
    finally:
        (saved / "elsewhere").rename(saved / "data")
    page = read("run.html")
    (text,) = [p.text for p in page.all("p", class_="warn")]
    assert text.startswith("Not tested for this report. The test data, data, could not be used") and str(saved) not in text
    assert {"filters", "net", "learning"} <= {e.attributes["id"] for e in page.all("section")}
    assert read("tested.html").rows("What was mistaken most often")


def test_a_page_that_was_there_stays_whole_when_writing_fails(run, capsys, monkeypatch):
    Path("report.html").write_text("before")

    def fail(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("convnet.storage.files.sync", fail)
    assert main(["report", run, "--no-data"]) == 1
    assert "report.html: No space left" in capsys.readouterr().err
    assert Path("report.html").read_text() == "before" and listed() == ["report.html"]


def test_a_run_that_ends_by_an_error_says_so(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = Trainer.train

    def fail(self, schedule):
        before(self, list(schedule)[:1])
        raise DataError(f"{saved}/data/data_batch_2: damaged")

    monkeypatch.setattr(Trainer, "train", fail)
    words = ["--layer-def", str(saved / "layers-small.cfg"), "--data-path", str(saved / "data"), "--save-path", "c"]
    assert main(["run", *words, "--epochs", "1", "--test-freq", "1"]) != 0
    assert main(["report", "c"]) == 0, capsys.readouterr().err
    (box,) = read("report.html").all("p", class_="bad")
    assert box.text == "Ended by an error after 1 batch: data/data_batch_2: damaged"


def change_weights(saved, value):
    """Save a checkpoint at 1.1 whose last layer has weights of one value."""
    checkpoint = find_latest(saved / "c", load)[1]
    weights = checkpoint.layers["fc"]["weights"]
    weights[0] = np.full_like(weights[0], value)
    write_checkpoint(Path("1.1"), checkpoint)


@pytest.mark.parametrize(
    "value, fault",
    [
        (np.nan, "1.1: layer 'fc': weights[0] holds nan at (0, 0)"),
        (1e38, "the outputs of 'probs' are not all finite numbers"),
    ],
)
def test_a_net_that_makes_no_numbers_has_a_report(saved, run, value, fault, capsys):
    change_weights(saved, value)
    assert main(["report", "1.1", "--data-path", str(saved / "data")]) == 0
    assert f"not tested: {fault}" in capsys.readouterr().err
    page = read("report.html")
    assert f"Not tested for this report. It could not be: {fault}" in page.all("section", id="predictions")[0].text
    assert "filters of 3" in page.all("section", id="filters")[0].text


REGRESSION = """[data]
type=data
dataIdx=0
[targets]
type=data
dataIdx=1
[fc]
type=fc
inputs=data
outputs=6
initW=0.1
[difference]
type=eltsum
inputs=fc,targets
coeffs=1,-1
[cost]
type=cost.sum2
inputs=difference
"""


def test_nets_of_numbers_have_reports(tmp_path, monkeypatch, capsys):
    """A regression, without classes, pictures, filters or tests."""
    monkeypatch.chdir(tmp_path)
    params = "[fc]\nepsW=0.001\nepsB=0.001\nmomW=0\nmomB=0\nwc=0\n[cost]\ncoeff=1\n[difference]\n"
    layers = write_net(tmp_path, REGRESSION, params)
    words = ["--layer-def", str(layers), "--data-provider", "dummy", "--epochs", "1", "--save-path", "c"]
    assert main(["run", *words]) == 0, capsys.readouterr().err
    assert main(["report", "c"]) == 0, capsys.readouterr().err
    page = read("report.html")
    sections = [e.attributes["id"] for e in page.all("section")]
    assert sections == ["about", "learning", "predictions", "net", "speed", "health"]
    assert "Its costs tell no single class of a case, so that no mistakes are counted." in [p.text for p in page.all("p")]
    assert page.rows("What it came to")[1][0] == "cost.cost"
