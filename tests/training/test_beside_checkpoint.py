"""Layer files beside a checkpoint: the same net goes on, another one is refused, whatever was typed."""

import gzip
import shutil

import pytest
from support import SHARED, SMALL_NET, needs_museum, write_cifar, write_net

from convnet import checkpoint
from convnet.cli.run import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of one batch, and its data."""
    folder = tmp_path_factory.mktemp("definition")
    write_cifar(folder / "data", cases=20)
    options = ["--layer-def", write_net(folder / "net"), "--data-path", folder / "data", "--save-file", folder / "run"]
    assert main([*map(str, options), "--max-batches", "1"]) == 0
    return folder


@pytest.fixture
def saved(place, tmp_path):
    """A copy of the run, to go on from."""
    return shutil.copytree(place / "run", tmp_path / "run")


def go_on(*options):
    return main([*map(str, options), "--max-batches", "1"])


OTHERS = {
    "none": (None, "nosuch.cfg: error: no such layer file"),
    "more filters": (
        SMALL_NET.replace("filters=8", "filters=9").replace("channels=8", "channels=9"),
        "conv1 filters: 8 -> 9",
    ),
    "other name": (SMALL_NET.replace("pool1", "pool2"), "pool1 is called pool2"),
    "one layer less": (
        SMALL_NET.replace("[drop]\ntype=dropout\ninputs=pool1\n", "").replace("=drop", "=pool1"),
        "layer drop is gone",
    ),
    "mistakes": (SMALL_NET.replace("stride=2", "strid=2"), "does not fit the checkpoint"),
    "other neuron": (SMALL_NET.replace("neuron=relu", "neuron=abs"), "conv1 neuron: relu -> abs"),
}


@pytest.mark.parametrize("text, words", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("how", ["--load-file", "--save-file"])
def test_another_definition_beside_a_checkpoint(saved, tmp_path, capsys, how, text, words):
    other = tmp_path / "nosuch.cfg"
    if text:
        other.write_text(text)
    before = sorted(path.name for path in saved.iterdir())
    assert go_on(how, saved, "--layer-def", other) in (1, 2)
    error = capsys.readouterr().err
    assert words in error and (text is None or "leave --layer-def out to go on with the checkpoint's net" in error)
    assert sorted(path.name for path in saved.iterdir()) == before


def test_the_same_definition_goes_on(place, saved, tmp_path, capsys):
    """By its name, with another comment, an order of keys, defaults written out, or as TOML (docs of 2014's --save-file)."""
    assert go_on("--save-file", saved, "--layer-def", place / "net/layers-small.cfg") == 0
    other = tmp_path / "other.cfg"
    other.write_text("# the same\n" + SMALL_NET.replace("padding=2\nstride=2\n", "stride=2\npadding=2\ngroups=1\n"))
    capsys.readouterr()
    assert go_on("--load-file", saved, "--layer-def", other) == 0
    assert "another net" not in capsys.readouterr().err
    _path, value, _ = checkpoint.find_latest(saved, checkpoint.load)
    assert value.own["layer_def_text"] == SMALL_NET


def test_parameters_beside_it_that_are_not_read_are_said(place, saved, tmp_path, capsys):
    copy = write_net(tmp_path / "copy")
    assert go_on("--load-file", saved, "--layer-def", copy) == 0
    assert "is not read" not in capsys.readouterr().out
    beside = copy.with_name("layer-params-small.cfg")
    beside.write_text(beside.read_text().replace("epsB=0.002", "epsB=0.003"))
    assert go_on("--load-file", saved, "--layer-def", copy) == 0
    stored = place / "net/layer-params-small.cfg"
    assert f"Parameters are those of {stored}; {beside} is not read." in capsys.readouterr().out
    assert go_on("--load-file", saved, "--layer-def", copy, "--layer-params", beside) == 0
    _path, value, _ = checkpoint.find_latest(saved, checkpoint.load)
    assert "epsB=0.003" in value.own["layer_params_text"]


@needs_museum
def test_a_checkpoint_of_the_originals_takes_the_definition_that_is_named(tmp_path):
    """Theirs hold no text, so that the file says what the layers are."""
    genuine = next(path for path in sorted((SHARED / "engines/2014").iterdir()) if (path / "layers.cfg").is_file())
    (tmp_path / "2.1").write_bytes(gzip.decompress((genuine / "before-2.1.pickle.gz").read_bytes()))
    files = ["--layer-def", genuine / "layers.cfg", "--layer-params", genuine / "params.cfg", "--epochs", 2]
    assert (
        go_on("--load-file", tmp_path, *files, "--data-path", genuine.parent / "data", "--save-path", tmp_path / "new") == 0
    )
    value = checkpoint.find_latest(tmp_path / "new", checkpoint.load)[1]
    assert value.own["layer_def_text"] == (genuine / "layers.cfg").read_text()
