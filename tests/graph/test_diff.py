"""Differences in meaning: what counts, what does not, and which layer is which."""

import json

import pytest
from support import SMALL_NET, SMALL_PARAMS

from convnet.cli import main
from convnet.graph.diff import difference, report
from convnet.graph.loading import LayerFiles, build_graph


def graph_of(text=SMALL_NET, params=SMALL_PARAMS, dialect="auto", side=28):
    return build_graph(LayerFiles(text, "net.cfg", params, "params.cfg"), {0: 3 * side**2, 1: 1}, 10, dialect=dialect)


def changed(old: str, new: str, params=("", "")):
    text, rates = SMALL_NET.replace(old, new), SMALL_PARAMS.replace(*params) if params[0] else SMALL_PARAMS
    assert (text, rates) != (SMALL_NET, SMALL_PARAMS)
    return difference(graph_of(), graph_of(text, rates))


@pytest.mark.parametrize(
    "old, new",
    [
        ("[fc]\n", "# a comment\n[fc]\n"),
        ("channels=3\nfilters=8", "filters=8\nchannels=3"),
        ("stride=2\ninitW", "stride=2\npartialSum=1\ninitW"),  # steers kernels only
        ("padding=2\nstride=2", "padding=2\nstride=2\ngroups=1\nsharedBiases=true"),  # defaults, written out
        ("sizeX=3\nstride=2", "sizeX=3\nstride=2\noutputsX=7\nneuron=ident"),
    ],
)
def test_text_makes_no_difference(old, new):
    found = difference(graph_of(), graph_of(SMALL_NET.replace(old, new)))
    assert found.same and report(found, graph_of(), graph_of()) == "No difference in meaning."


def test_spelling_of_a_generation_makes_no_difference():
    base = SMALL_NET.replace("type=dropout\n", "type={}\n")
    of_2014 = graph_of(base.format("dropout2"), dialect="2014")
    rates = SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0.0004\nschedW=dexp[10,0,3]")
    rates = rates.replace("keep=0.8", "enable=1")
    of_2012 = graph_of(base.format("hs\nkeep=0.8").replace("[conv1]\n", "[conv1]\ngpu=0\n"), rates, dialect="2012")
    assert difference(of_2014, of_2012).changed == {}
    assert difference(of_2014, of_2012).same


def test_changes_of_keys_rates_and_shapes():
    found = changed("=8\n", "=16\n", ("epsB=0.002", "epsB=0.004"))
    assert not found.same and not found.renamed and not found.added
    assert found.changed["fc"]["epsB"] == ("0.002", "0.004")
    assert found.changed["conv1"]["filters"] == ("8", "16")
    assert found.changed["conv1"]["parameters"] == ("608", "1,216")


@pytest.mark.parametrize("names", [{"conv1": "first"}, {"conv1": "a", "pool1": "b", "drop": "c", "fc": "d", "probs": "e"}])
def test_renamed_layers(names):
    text, params = SMALL_NET, SMALL_PARAMS
    for old, new in names.items():
        text = text.replace(f"[{old}]", f"[{new}]").replace(f"inputs={old}\n", f"inputs={new}\n")
        text, params = text.replace(f",{old}\n", f",{new}\n"), params.replace(f"[{old}]", f"[{new}]")
    found = difference(graph_of(), graph_of(text, params))
    assert (found.renamed, found.removed, found.added, found.changed) == (names, [], [], {})
    assert not found.same


def test_towers_renamed_keep_their_sides():
    tower = "[conv{}]\ntype=conv\ninputs=data\nchannels=3\nfilters=8\nfilterSize=5\ninitW=0.1\ngpu={}\n"
    head = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
    tail = "[fc]\ntype=fc\ninputs={},{}\noutputs=10\ninitW=1\n[probs]\ntype=softmax\ninputs=fc\n"
    tail += "[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
    a = head + tower.format("1a", 0) + tower.format("1b", 1) + tail.format("conv1a", "conv1b")
    b = head + tower.format("right", 1) + tower.format("left", 0) + tail.format("convleft", "convright")
    found = difference(*(graph_of(text, SMALL_PARAMS + "[conv1]\n[fc]\n") for text in (a, b)))
    assert found.renamed == {"conv1a": "convleft", "conv1b": "convright"} and found.changed == {}


@pytest.fixture
def files(tmp_path):
    """A net, the same without dropout, and one that is wrong."""
    without = SMALL_NET.replace("[drop]\ntype=dropout\ninputs=pool1\n", "").replace("inputs=drop", "inputs=pool1")
    texts = {"a": SMALL_NET, "b": without, "bad": SMALL_NET.replace("filters=8", "filters=x").replace("=fc\n", "=fd\n")}
    for name, text in texts.items():
        (tmp_path / f"layers-{name}.cfg").write_text(text)
        (tmp_path / f"layer-params-{name}.cfg").write_text(SMALL_PARAMS)
    return {name: str(tmp_path / f"layers-{name}.cfg") for name in texts}


def test_report_and_status(files, capsys):
    assert main(["diff", files["a"], files["a"]]) == 0
    assert capsys.readouterr().out == "No difference in meaning.\n"
    assert main(["diff", files["a"], files["b"]]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "- drop: dropout of pool1, 8x8x8"
    assert lines[3:5] == ["~ fc", "    inputs: drop -> pool1"]
    assert lines[-3] == "layers: 8 -> 7 (-1)" and lines[-2].endswith("as before")
    assert main(["diff", files["b"], files["a"], "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["added"], found["removed"]) == (False, ["drop"], [])
    assert found["changed"] == {"fc": {"inputs": ["pool1", "drop"]}}


def test_parameter_files_of_their_own(files, tmp_path, capsys):
    faster = tmp_path / "faster.cfg"
    faster.write_text(SMALL_PARAMS.replace("momW=0.9", "momW=0.5"))
    assert main(["diff", files["a"], files["a"], "--params-b", str(faster)]) == 1
    assert "~ conv1, fc\n    momW: 0.9 -> 0.5\n" in capsys.readouterr().out


def test_trouble_is_no_difference(files, capsys):
    assert main(["diff", files["a"], files["bad"]]) == 2
    err = capsys.readouterr().err
    assert "layers-bad.cfg" in err and err.count("error:") >= 2 and "Traceback" not in err
    assert main(["diff", files["a"]]) == 2
    assert main(["diff", files["a"], "nowhere.cfg"]) == 2
    assert "no such layer file" in capsys.readouterr().err
