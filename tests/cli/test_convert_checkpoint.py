"""``convnet convert`` of a checkpoint: what it writes, where, what it says, and what it refuses."""

from __future__ import annotations

import zipfile

import pytest
from support import SMALL_NET, SMALL_PARAMS

import convnet
from convnet.checkpoint import load, npz
from convnet.cli import main

DEXP = "dexp[tgtFactor=10,noiseStdev=0,numSteps=3]"
HS = SMALL_NET.replace("type=dropout", "type=hs")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with two checkpoints of a net of 2012's words, some of which the others lack."""
    folder = tmp_path_factory.mktemp("run")
    net = convnet.build(HS, SMALL_PARAMS + "[drop]\nenable=1\n", side=12, classes=10, backend="reference")
    for name in ("1.1", "1.2"):
        net.save(folder / name)
    return folder


def convert(capsys, *words) -> tuple[int, str, str]:
    status = main(["convert", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


MUST_BE_THERE = "the programs of {} take no other --layer-def than definition, which must be there; it is not read"


def _layer_files(year, options, path):
    command = f"convnet convert {path} --to {year} --out layers.cfg layer-params.cfg"
    return [f"the programs of {year} read the parameters again; for files to give them as {options}: {command}"]


@pytest.mark.parametrize("form", ["2011", "2012", "2014", "npz"])
def test_a_checkpoint_gives_a_checkpoint(form, run, tmp_path, capsys):
    status, out, err = convert(capsys, run, "--to", form, "--out", tmp_path / "new")
    assert (status, out) == (0, "")
    assert npz.is_npz(tmp_path / "new") == (form == "npz")
    assert load(tmp_path / "new").own["format"] == form
    lines = {
        "2011": [
            "in other words: layer 'drop' of type hs is written as neuron, neuron=linear[1,0], dropout=0.2",
            *(
                f"not kept: layer '{name}': 2011 has no schedules; epsW keeps its base, without {DEXP}"
                for name in ("conv1", "fc")
            ),
            "not kept: layer 'logprob': 2011 has no key 'topk', which was 2",
            *_layer_files("2011", "--layer-params", run / "1.2"),
            MUST_BE_THERE.format(2011),
        ],
        "2012": [*_layer_files("2012", "--layer-params", run / "1.2"), MUST_BE_THERE.format(2012)],
        "2014": _layer_files("2014", "--layer-def and --layer-params", run / "1.2"),  # of 2014 it is already
    }.get(form, [])
    assert sorted(err.splitlines()) == lines
    assert convnet.load(tmp_path / "new").graph.layers["drop"].type == "hs"


def test_every_verb_takes_npz_by_its_contents(run, tmp_path, capsys):
    assert convert(capsys, run / "1.1", "--to", "npz", "--out", tmp_path / "2.1")[0] == 0
    assert main(["explain", str(tmp_path)]) == 0
    assert "conv1" in capsys.readouterr().out
    assert main(["diff", str(tmp_path / "2.1"), str(run)]) == 0
    assert convert(capsys, tmp_path, "--to", "2014", "--out", tmp_path / "back")[0] == 0
    assert load(tmp_path / "back").layers.keys() == load(run / "1.1").layers.keys()


@pytest.mark.parametrize("words", [["--layers"], ["--out", "a.cfg", "b.cfg"]], ids=" ".join)
def test_layer_files_of_a_checkpoint(words, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, _ = convert(capsys, run, "--to", "2014", *words)
    written = out if "--layers" in words else (tmp_path / "a.cfg").read_text()
    assert status == 0 and "type=dropout2" in written
    status, out, _ = convert(capsys, run, "--to", "toml")
    assert status == 0 and '[layer.drop]\ntype = "hs"' in out


@pytest.mark.parametrize("to", ["2011", "2012", "2014", "toml"])
@pytest.mark.parametrize("year", ["2011", "2012", "2014"])
def test_what_a_generation_works_out_is_no_loss(year, to, capsys):
    """2014 stores the ends of data and the modules of filters, which 2011 counts by itself."""
    status, _, err = convert(capsys, f"tests/checkpoint/genuine-{year}.pickle", "--to", to)
    assert (status, err) == (0, "")


def test_zip(run, tmp_path, capsys):
    assert convert(capsys, run, "--to", "2011", "--zip", "--out", tmp_path / "z")[0] == 0
    assert zipfile.ZipFile(tmp_path / "z").namelist() == ["data"]
    assert load(tmp_path / "z").layers["conv1"]["weights"][0].shape == (75, 8)


REFUSED = {
    "no name": (["--to", "npz"], "--out says which file to write; layer files are printed with --layers"),
    "two names": (["--to", "npz", "--out", "a", "b"], "--out takes one checkpoint to write, not 2"),
    "itself": (["--to", "npz", "--out", "RUN/1.2"], "--out must name another file than the one that is read"),
    "a folder": (["--to", "npz", "--out", "RUN"], "--out must name another file"),
    "no folder": (["--to", "npz", "--out", "RUN/x/y"], "there is no folder"),
    "zip": (["--to", "2014", "--zip", "--out", "x"], "--zip is for checkpoints of 2011 and 2012; those of 2014"),
    "of layer files": (
        ["par.cfg", "--to", "2011", "--out", "a", "--num-classes", "3"],
        "checkpoint: par.cfg, --num-classes;",
    ),
    "layers as npz": (["--to", "npz", "--layers"], "--to npz is of checkpoints, and this would write layer files"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(name, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, expected = REFUSED[name]
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    status, out, err = convert(capsys, run, *[word.replace("RUN", str(run)) for word in words])
    assert status in (1, 2) and expected in err and not out and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir()) and before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_layer_files_are_no_checkpoints(tmp_path, capsys):
    (tmp_path / "net.cfg").write_text(SMALL_NET)
    (tmp_path / "params.cfg").write_text(SMALL_PARAMS)
    status, _, err = convert(capsys, tmp_path / "net.cfg", "--to", "npz", "--out", tmp_path / "x")
    assert status == 2 and "--to npz is of checkpoints" in err


def test_a_checkpoint_that_is_not_there(tmp_path, capsys):
    status, _, err = convert(capsys, tmp_path / "1.1", "--to", "npz", "--out", tmp_path / "x")
    assert status == 1 and err.startswith(f"convnet: no checkpoint {tmp_path / '1.1'}")


def test_a_net_that_the_format_does_not_hold(tmp_path, capsys):
    net = convnet.build(SMALL_NET.replace("neuron=relu", "neuron=log[1]"), SMALL_PARAMS, side=12, classes=10)
    net.save(tmp_path / "1.1")
    status, _, err = convert(capsys, tmp_path / "1.1", "--to", "2012", "--out", tmp_path / "x")
    assert status == 1 and "layer 'conv1': 2012 has no neuron 'log' (formats that do: 2014, npz)" in err
    assert not (tmp_path / "x").exists()
