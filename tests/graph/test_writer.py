"""A converted net, read back, is the same net; what could not be kept is said, and nothing else differs."""

from __future__ import annotations

import pytest
from corpus import expectations, load, meaning

from convnet.cli.convert import main
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.writer import TARGETS, write_files
from convnet.language.files import shipped_folder
from convnet.layers.label_tree import LabelTree

SHIPPED = sorted(shipped_folder("layers-cfg").glob("layers-*.cfg"))
PARSED = [path for path in expectations() if not path.name.endswith(".error.json")]
SMALL = """# a net
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc]
type=fc
# ten classes
inputs=data
outputs=10
initW=0.01
neuron=tanh[1,2]
[probs]
type=softmax
inputs=fc
[cost]
type=cost.logreg
inputs=labels,probs
"""
PARAMS = "[fc]\nepsW={epsW}\nepsB=0.002\nmomW=0.9\nmomB=0.9\nwc=0\n{more}\n[cost]\ncoeff=1\n"


def read_back(written, target, dims, classes, tree):
    ending = ".toml" if target == "toml" else ".cfg"
    files = LayerFiles(written.definition, "layers" + ending, written.params, "params" + ending if written.params else "")
    return build_graph(files, dims, classes, tree)


def assert_kept(files, target, single, dims, classes):
    """Convert, read back, compare; only layers that a note names may differ."""
    tree = LabelTree.flat(classes)
    before = meaning(build_graph(files, dims, classes, tree))
    written = write_files(parse(files), target, single)
    after = meaning(read_back(written, target, dims, classes, tree))
    added = set(after) - set(before)  # by translations, which tests/graph/test_translation.py compares
    assert [name for name in after if name not in added] == list(before)
    kept = {"2011": 0, "2012": 1}.get(target)  # devices of a layer: what is lost of them, layers above lose with it
    before, after = ({name: {**one, "gpu": one["gpu"][:kept]} for name, one in net.items()} for net in (before, after))
    differing = {name for name in before if before[name] != after[name]}
    lines = [*written.notes, *written.told]
    noted = {name for name in before if any(f"layer '{name.split('_neuron')[0]}'" in line for line in lines)}
    assert differing <= noted | {name for name in before if added & set(after[name].get("inputs") or ())}
    return written


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files(path, target):
    files = LayerFiles.open(path)
    builder = parse(files)
    assumed = infer_data(builder)
    assert_kept(files, target, target == "toml", assumed.dims, assumed.classes)


@pytest.mark.slow
@pytest.mark.skipif(not PARSED, reason="no historical files")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("path", PARSED, ids=lambda path: path.name)
def test_historical_files(path, target):
    expected, files = load(path)
    dims = {int(index): size for index, size in expected["data_dims"].items()}
    written = assert_kept(files, target, False, dims, expected["num_classes"])
    if target in ("toml", expected["generation"]) and "sched=" not in (files.params or ""):
        assert not written.notes


def small(epsW="0.001", more=""):
    return LayerFiles(SMALL, "layers.cfg", PARAMS.format(epsW=epsW, more=more), "params.cfg")


def test_schedules_change_their_place():
    files = small("1e-05", "schedW=dexp[250,0.5,4]")
    written = write_files(parse(files), "2014")
    assert "epsW=dexp[base=0.00001;tgtFactor=250;numSteps=4]" in written.params
    assert [("noiseStdev" in note) for note in written.notes] == [True]
    back = write_files(parse(LayerFiles(written.definition, "a.cfg", written.params, "b.cfg")), "2012")
    assert "epsW=1e-05\n" in back.params and "schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]" in back.params


def test_2011_has_no_schedules():
    written = write_files(parse(small("exp[base=0.1;tgtFactor=10]")), "2011")
    assert "epsW=0.1\n" in written.params
    assert written.notes == [
        "layer 'fc': 2011 has no schedules; epsW keeps its base, without exp[tgtFactor=10,noiseStdev=0]"
    ]


def test_comments_stay_with_their_section():
    text = write_files(parse(small()), "toml", single=True).definition
    assert text.startswith("# a net\n[layer.data]")
    assert "# ten classes\n[layer.fc]" in text


def test_command(tmp_path, capsys):
    definition, params = tmp_path / "layers-x.cfg", tmp_path / "layer-params-x.cfg"
    definition.write_text(SMALL)
    params.write_text(small(more="schedW=exp[tgtFactor=10,noiseStdev=0]").params)
    assert main([str(definition), "--to", "toml", "--out", str(tmp_path / "x.toml")]) == 0
    assert main([str(tmp_path / "x.toml"), "--to", "2011"]) == 0
    out, err = capsys.readouterr()
    assert "[fc]\ntype=fc\n" in out and "epsW=0.001" in out
    assert err.startswith("not kept: layer 'fc': 2011 has no schedules")
    assert main([str(definition), "--to", "toml", "--out", str(definition)]) == 2
    assert definition.read_text() == SMALL


def test_a_note_is_made_once():
    text = SMALL.replace("outputs=10\n", "outputs=10\ngpu=0,1\n")
    written = write_files(parse(LayerFiles(text, "d.cfg", PARAMS.format(epsW="0.1", more=""), "p.cfg")), "2012")
    assert written.notes == [f"layer '{name}': 2012 has one device per layer, not gpu=0,1" for name in ("fc", "cost")]
    assert written.definition.count("gpu=0\n") == 2
