"""Verbs that read layer files read checkpoints of every generation as well, and nothing else."""

import json
import pickle

import pytest
from support import SHARED, SMALL_NET, SMALL_PARAMS, needs_museum

import convnet
from convnet.cli import main
from convnet.graph.diff import difference
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse

ORIGINALS = [SHARED / "fixtures" / f"ckpt-{name}" for name in ("2011.pickle", "2011-zip.bin", "2012.pickle", "2014.pickle")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pair of files for pictures of an unusual size, and a run's folder with a checkpoint of that net."""
    folder = tmp_path_factory.mktemp("definition")
    (folder / "layers-a.cfg").write_text(SMALL_NET)
    (folder / "layer-params-a.cfg").write_text(SMALL_PARAMS)
    (folder / "runs" / "ConvNet__2026-01-01_00.00.00").mkdir(parents=True)
    net = convnet.build(folder / "layers-a.cfg", side=20, backend="reference")
    net.save(folder / "runs" / "ConvNet__2026-01-01_00.00.00" / "1.5")
    return folder


@pytest.fixture(params=["runs", "runs/ConvNet__2026-01-01_00.00.00", "runs/ConvNet__2026-01-01_00.00.00/1.5"])
def run(request, place):
    return place / request.param


def test_explain(run, capsys):
    assert main(["explain", str(run)]) == 0
    captured = capsys.readouterr()
    assert "3x20x20" in captured.out and "Assumed" not in captured.out and not captured.err
    assert "1.5:layers-a.cfg: " in " ".join(captured.out.split("\n"))
    assert main(["explain", str(run), "--json"]) == 0
    names = [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]]
    assert names[:3] == ["data", "labels", "conv1"]


def test_diff_of_a_checkpoint_and_a_file(run, place, tmp_path, capsys):
    for pair in ([run, place / "layers-a.cfg"], [place / "layers-a.cfg", run], [run, run]):
        assert main(["diff", *map(str, pair)]) == 0
        assert capsys.readouterr().out == "No difference in meaning.\n"
    (tmp_path / "layers-b.cfg").write_text(SMALL_NET.replace("filters=8", "filters=4").replace("channels=8", "channels=4"))
    (tmp_path / "layer-params-b.cfg").write_text(SMALL_PARAMS)
    assert main(["diff", str(run), str(tmp_path / "layers-b.cfg")]) == 1
    out = capsys.readouterr().out
    assert "filters: 8 -> 4" in out and "1.5:layers-a.cfg" in out


def test_a_file_that_is_for_other_data_is_compared_all_the_same(place, capsys):
    assert main(["diff", str(place / "runs"), "layers-imagenet.cfg"]) == 1
    assert "+ conv2a: conv of pool1a" in capsys.readouterr().out


def test_draw(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", str(place / "runs")]) == 0
    assert capsys.readouterr().out == "Wrote layers-a.svg.\n"
    assert "conv1" in (tmp_path / "layers-a.svg").read_text()


@pytest.mark.parametrize("target", ["toml", "2012", "2014"])
def test_convert_writes_its_layer_files(target, place, tmp_path, capsys):
    out = [str(tmp_path / name) for name in (["x.toml"] if target == "toml" else ["layers-x.cfg", "layer-params-x.cfg"])]
    assert main(["convert", str(place / "runs"), "--to", target, "--out", *out]) == 0
    capsys.readouterr()
    assert main(["diff", str(place / "runs"), out[0]]) == (target == "2012")
    if target == "2012":  # which says the same of dropout in other words
        found = capsys.readouterr().out.splitlines()[2:5]
        assert found == ["~ drop", "    type: dropout -> dropout2", "    neuron: none -> linear[1.25,0]"]


def test_parameters_that_are_named_go_before_its_own(place, tmp_path, capsys):
    (tmp_path / "p.cfg").write_text(SMALL_PARAMS.replace("epsW=", "epsW=0.5 ; "))
    assert main(["diff", str(place / "runs"), str(place / "layers-a.cfg"), "--params-a", str(tmp_path / "p.cfg")]) == 1
    assert "epsW: 0.5 ->" in capsys.readouterr().out


def test_a_net_of_toml(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(place / "layers-a.cfg"), "--to", "toml", "--out", "x.toml"]) == 0
    convnet.build("x.toml", side=20, backend="reference").save(tmp_path / "2.3")
    assert main(["diff", "2.3", "x.toml"]) == 0
    assert main(["diff", "2.3", str(place / "runs")]) == 0
    assert main(["draw", "2.3"]) == 0
    assert capsys.readouterr().out.endswith("Wrote x.svg.\n")


@needs_museum
@pytest.mark.parametrize("file", ORIGINALS, ids=lambda path: path.name)
def test_checkpoints_of_the_originals(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generation = file.name[5:9]
    for words in (["explain"], ["draw"], ["diff", str(file)]):
        assert main([*words, str(file)]) == 0
    out = capsys.readouterr().out
    assert f"{generation} files" in out and f"Wrote {file.name}.svg." in out and "No difference" in out
    pair = [str(tmp_path / name) for name in ("layers-x.cfg", "layer-params-x.cfg")]
    assert main(["convert", str(file), "--to", generation, "--out", *pair]) == 0
    assert capsys.readouterr().err == ""
    assert difference(convnet.load(file, backend="reference").graph, infer_data(parse(LayerFiles.open(pair[0]))).graph).same


@pytest.mark.parametrize(
    "content, told",
    [
        (b"\x80\x02}q\x00.", "not a checkpoint; it holds a dict without layers"),
        (pickle.dumps({"data": [], "labels": []}, 2), "not a checkpoint; it holds a dict without layers"),
        (pickle.dumps([1, 2], 0), "not a checkpoint; it holds a list without layers"),
        (b"PK\x03\x04" + bytes(40), "damaged"),
        (b"\x1f\x8b" + bytes(40), "damaged"),
        (b"\x89PNG\r\n\x1a\n", "a picture, not a layer file"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a picture, not a layer file"),
        (b"BM\x36\0\0\0\0\0", "a picture, not a layer file"),
        (b"\x7fELF\x02\x01\x00=[", "not a text, so not a layer file"),
        (b"", "no layers in this file"),
        (None, "no checkpoint in"),
    ],
)
def test_anything_else_is_one_clear_line(content, told, tmp_path, capsys):
    path = tmp_path / "thing"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    other, out = "layers-digits.cfg", str(tmp_path / "x.svg")
    for words in (["explain", path], ["diff", other, path], ["diff", path, other], ["draw", path, "--out", out],
                  ["convert", path, "--to", "toml"]):  # fmt: skip
        assert main([*map(str, words)]) == (2 if words[0] == "diff" else 1)
        captured = capsys.readouterr()
        assert told in captured.err and str(path) in captured.err.splitlines()[0]
        assert captured.err.replace("\n", "").isprintable() and not captured.out
        assert sum(not line.startswith("    ") for line in captured.err.splitlines()) == 1
