"""What is said of every layer: the originals' own words as JSON, and the measures of the table."""

import json
import os
import subprocess
import sys

import pytest
from support import ROOT, SHARED, default_params, make_graph, needs_museum

from convnet.checkpoint.layer_dicts import stored_net
from convnet.cli import main
from convnet.graph.analysis import memories, rate_text, receptive_fields, shape_texts
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.table import layer_table

CORPUS = SHARED / "corpus"
PAIRS = [
    ("2011/example-layers", "layers-conv-local-13pct__layer-params-conv-local-13pct"),
    ("2011/example-layers", "layers.gc__layer-params.gc"),
    ("2012/layers", "layers-141-2009-2012__layer-params-141-2009"),
    ("2012/layers", "layers-184-4gpu__layer-params-184-4gpu"),
    ("2014/layers", "layers-imagenet-2gpu-model__layer-params-imagenet-2gpu-model"),
]
DEAD = {"actsTarget", "actsGradTarget"}  # compared with the originals where all stored graphs are


def shipped(name):
    return infer_data(parse(LayerFiles.open(name))).graph


@needs_museum
@pytest.mark.parametrize("folder, name", PAIRS)
def test_json_is_what_the_originals_stored(folder, name, capsys):
    expected = json.loads((CORPUS / "expected" / folder / f"{name}.json").read_text())
    files = [str(CORPUS / "files" / folder / expected[key]) for key in ("def_file", "params_file")]
    dims = ",".join(str(expected["data_dims"][str(i)]) for i in range(len(expected["data_dims"])))
    options = ["--data-dims", dims, "--num-classes", str(expected["num_classes"]), "--dialect", expected["generation"]]
    assert main(["explain", *files, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert set(layers) == {layer["name"] for layer in expected["layers"]}
    for layer in expected["layers"]:
        if layer.get("initBFunc"):
            del layer["biases"]["value"]  # of a stand-in for the function, which the parser was recorded with
        assert {k: v for k, v in layers[layer["name"]].items() if k not in DEAD} == {
            k: v for k, v in layer.items() if k not in DEAD
        }
    assert expected["totals"].items() <= found["totals"].items()


def test_detached_neurons_stand_behind_their_source():
    names = [layer["name"] for layer in stored_net(shipped("layers-cifar10-13pct.cfg"))["layers"]]
    assert names[2:5] == ["conv1", "conv1_neuron", "pool1"]


def test_the_paper_net():
    graph = shipped("layers-imagenet.cfg")
    totals = stored_net(graph)["totals"]
    assert (totals["params"], totals["multiply_adds"]) == (60_965_224, 724_406_816)
    fields = {name: field and field[:2] for name, field in receptive_fields(graph).items()}
    assert [fields[name] for name in ("conv1a", "pool1a", "conv2a", "pool2a", "conv3b", "conv4b", "conv5b", "pool3b")] == [
        (11, 4), (19, 8), (51, 8), (67, 16), (99, 16), (131, 16), (163, 16), (195, 32),
    ]  # fmt: skip
    assert fields["fc1000"] is None
    assert [shape_texts(graph)[name] for name in ("data", "conv5a", "pool3a_neuron", "probs")] == [
        "3x224x224", "128x13x13", "128x6x6", "1000",
    ]  # fmt: skip
    assert rate_text(graph.layers["conv1a"]) == "0.01 to 1e-05"


SHARING = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc1]
type=fc
inputs=data
outputs=100
initW=0.1
neuron=relu
[fc2]
type=fc
inputs=fc1
outputs=10
initW=0.1
[fc3]
type=fc
inputs=fc1
outputs=10
initW=0.1
weightSource=fc2
[sum]
type=eltsum
inputs=fc2,fc3
[probs]
type=softmax
inputs=sum
[cost]
type=cost.logreg
inputs=labels,probs
"""


def test_shared_weights_and_buffers_count_once():
    graph = make_graph(SHARING, {0: 50, 1: 1}, 10)
    totals = stored_net(graph)["totals"]
    assert (totals["weights_unique"], totals["weights_incl_shared"], totals["biases"]) == (6000, 7000, 120)
    assert totals["params"] == graph.parameters() == 6120
    memory = memories(graph, mini=7)
    assert (memory["fc1"].outputs, memory["fc1"].gradients, memory["fc1"].weights) == (2800, 0, 8 * 5100)
    assert (memory["fc1_neuron"].outputs, memory["fc1_neuron"].gradients) == (0, 2800)
    assert (memory["data"].outputs, memory["data"].gradients) == (1400, 0)
    assert totals["memory"] > sum(m.total for m in memory.values())  # at the default of 128 cases


def test_table_names_everything_once():
    graph = make_graph(SHARING, {0: 50, 1: 1}, 10)
    lines = layer_table(graph, 7).splitlines()
    assert [line.split()[0] for line in lines[3 : 3 + len(graph.layers)]] == list(graph.layers)
    assert "7 cases" in lines[0] and lines[-3].split() == ["total", "6,120", "7,000", "0.0", "0.0", "0.0"]
    assert "1 logical device, 6,120 parameters, 7,000 multiply-adds" in lines[-1]


def test_the_page_shows_what_is_printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["explain", "layers-digits.cfg", "--data-dims", "64,1"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    assert (
        table.startswith("layer ")
        and "".join(f"    {line}\n" for line in table.splitlines()) in (ROOT / "docs/definitions.md").read_text()
    )


def test_what_was_assumed_is_said(capsys):
    assert main(["explain", "layers-cifar10-26pct.cfg"]) == 0
    out = capsys.readouterr().out
    assert "--data-dims 3072,1" in out and "--num-classes 10 " in out and "145,578 parameters" in out
    assert main(["explain", "layers-cifar10-26pct.cfg", "--data-dims", "1728,1", "--num-classes", "10"]) == 0
    assert "Assumed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, status, told",
    [
        (["explain", "layers-imagent.cfg"], 1, "did you mean 'layers-imagenet.cfg'?"),
        (["explain"], 2, "DEF"),
        (["explain", "layers-imagenet.cfg", "--data-dims", "3x4"], 2, "'3x4' is not a list of whole numbers from 1"),
        (["explain", "layers-imagenet.cfg", "--data-dims", "0"], 2, "whole numbers from 1"),
        (["explain", "layers-imagenet.cfg", "--num-classes", "7"], 1, "the data have 7 classes"),
        (["explain", "layers-imagenet.cfg", "--data-dims", "150527,1"], 1, "150,527 values, which are not 3 square maps"),
    ],
)
def test_mistakes_in_clear_words(arguments, status, told, capsys):
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert told in captured.err and captured.out == ""


def test_a_wrong_file_lists_all_its_mistakes(tmp_path, capsys):
    text = SHARING.replace("outputs=100", "outputs=ten").replace("type=softmax", "type=softmx").replace("fc2,fc3", "fc2,fc4")
    (tmp_path / "layers-x.cfg").write_text(text)
    (tmp_path / "layer-params-x.cfg").write_text(default_params(text))
    assert main(["explain", str(tmp_path / "layers-x.cfg")]) == 1
    err = capsys.readouterr().err
    lines = [text.splitlines().index(line) + 1 for line in ("outputs=ten", "inputs=fc2,fc4", "type=softmx")]
    found = [int(part.split(":")[1]) for part in err.splitlines() if ": error: " in part]
    assert set(lines) <= set(found) and "did you mean 'softmax'?" in err


def test_answers_without_what_takes_long_to_load():
    code = (
        "import sys; from convnet.cli import main; status = main(['explain', 'layers-imagenet.cfg']);"
        "sys.exit(status or ' '.join(sys.modules.keys() & {'numpy', 'PIL', 'convnet.backends.base', 'convnet.net'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("encoding, mark", [("ascii", "~"), ("latin-1", "~"), ("utf-8", "…"), ("cp1252", "…")])
def test_cut_names_are_as_wide_in_every_encoding(encoding, mark):
    environment = os.environ | {"COLUMNS": "60"}
    environment["PYTHONIOENCODING"] = encoding
    command = [sys.executable, "-m", "convnet", "explain", "layers-imagenet.cfg"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, check=True).stdout.decode(encoding)
    assert f"pool2{mark}ol2b" in shown and max(map(len, shown.splitlines())) <= 60
