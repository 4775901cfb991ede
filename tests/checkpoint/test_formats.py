"""In which format a run saves: the one asked for, the usual one, or the one that holds its net."""

import shutil
import zipfile
from pathlib import Path

import pytest
from nets import DATA, cost_of
from support import SMALL_NET, write_cifar, write_net

from convnet import checkpoint, pickles
from convnet.checkpoint import find_latest
from convnet.cli.run import main

RATES = "epsW=0.001\nepsB=0.001\nmomW=0.9\nmomB=0.9\nwc=0\n"
ONLY_2014 = f"{DATA}[fc]\ntype=sfc\ninputs=data\noutputs=5\nparts=2\ninitW=0.0001\n{cost_of('fc')}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cifar(tmp_path_factory.mktemp("formats") / "data", cases=20)


def run(data, folder, *options):
    words = ["--data-path", data, "--save-file", folder / "run", "--max-batches", 1, "--threads", 1, *options]
    return main([str(word) for word in words])


def newest(folder):
    return find_latest(folder / "run", checkpoint.load)[1]


@pytest.mark.parametrize(
    "given, module, container", [("2014", "python_util.options", dict), ("2012", "options", dict), ("2011", "options", list)]
)
def test_a_format_is_that_of_its_programs_and_stays(given, module, container, data, tmp_path):
    net = write_net(tmp_path, SMALL_NET.replace("[drop]\ntype=dropout\ninputs=pool1\n", "").replace("=drop", "=pool1"))
    assert run(data, tmp_path, "--layer-def", net, "--checkpoint-format", given) == 0
    assert run(data, tmp_path) == 0
    found = newest(tmp_path)
    assert found.position().batches_done == 2 and found.option("checkpoint_format") == given
    assert type(found["model_state"]["layers"]) is container
    assert type(found["op"]).legacy_class == f"{module}.OptionsParser"
    options = found["op"].options
    assert options["minibatch_size"].value == 128 and not options["minibatch_size"].value_given
    assert options["layer_def"].value == str(net) and options["layer_def"].set_once == (given != "2014")
    assert options["load_file"].prefixed_letter == ("--load-file" if given == "2014" else "-f")
    assert ("crop_border" in options) == (given != "2014") and "test_only" in options
    assert run(data, tmp_path, "--checkpoint-format", "auto") == 0
    assert newest(tmp_path)["model_state"]["convnet"]["format"] == "2014"


def test_zipped(data, tmp_path, capsys):
    net = write_net(tmp_path)
    assert run(data, tmp_path, "--layer-def", net, "--checkpoint-format", "2012", "--zip-save") == 0
    with zipfile.ZipFile(newest(tmp_path).path) as archive:
        assert archive.namelist() == ["data"] and pickles.loads(archive.read("data"))["model_state"]["epoch"] == 1
    capsys.readouterr()
    assert run(data, tmp_path, "--checkpoint-format", "2014") == 0
    assert "No effect on checkpoints of 2014: --zip-save." in capsys.readouterr().out
    assert not zipfile.is_zipfile(newest(tmp_path).path)


def test_what_does_not_hold_the_net_is_refused_first(data, tmp_path, capsys):
    net = write_net(tmp_path, ONLY_2014, f"[fc]\n{RATES}[logprob]\ncoeff=1\n")
    assert run(data, tmp_path, "--layer-def", net, "--checkpoint-format", "2011") == 2
    out, err = capsys.readouterr()
    assert "--checkpoint-format 2011 cannot hold this net: " in err and "'fc'" in err
    assert "formats that can: 2014, npz" in err and "1.1" not in out and not (tmp_path / "run").exists()
    assert run(data, tmp_path, "--layer-def", net) == 0
    assert newest(tmp_path)["model_state"]["convnet"]["format"] == "2014"


@pytest.mark.parametrize("words, told", [([], True), (["--checkpoint-format", "2014"], False), (["--test-only"], False)])
@pytest.mark.parametrize("year", ["2011", "2012", "2014"])
def test_a_run_that_leaves_the_format_of_an_original_says_so(year, words, told, tmp_path, capsys):
    shutil.copy(f"tests/checkpoint/genuine-{year}.pickle", tmp_path / "1.1")
    assert main(["--load-file", str(tmp_path), "--data-provider", "dummy-cn-3", "--epochs", "1", *words]) == 0
    line = f"Checkpoints are in the format of 2014; --checkpoint-format {year} keeps that of {year}."
    assert (line in capsys.readouterr().out) == (told and year != "2014")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("year", ["2011", "2012", "2014"])
def test_layer_files_of_an_original_that_are_not_there_are_written(year, there, data, tmp_path, monkeypatch):
    """The originals look for both whenever they go on; those of 2011 and 2012 take no other definition."""
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path / "cache"))
    file = Path(f"tests/checkpoint/genuine-{year}.pickle").resolve()
    options = checkpoint.load(file)["op"].options
    monkeypatch.chdir(tmp_path)
    for name in ("layer_def", "layer_params") if there else ():
        (tmp_path / options[name].value).write_text("")
    words = ["--data-provider", "dummy-cn-3", "--epochs", "1", "--checkpoint-format", year, "--save-file", "run"]
    assert main(["--load-file", str(file), *words]) == 0
    saved = newest(tmp_path)["op"].options
    for name in ("layer_def", "layer_params"):
        path = Path(saved[name].value)
        assert (path == Path(options[name].value)) if there else ("[fcA]" in path.read_text())
