"""Layer files written from layer dicts: genuine old checkpoints, and every historical net there and back."""

import numpy as np
import pytest
from support import ORACLE, ROOT, SHARED, make_graph, needs_museum

from convnet import checkpoint, pickles
from convnet.checkpoint.definition import generation_of, stored_dims, stored_tree, written_files
from convnet.checkpoint.layer_dicts import described, stored_graph
from convnet.data.random import synthesize
from convnet.errors import CheckpointError
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Net

HISTORICAL = sorted((SHARED / "corpus/files").rglob("layers*.cfg")) if SHARED.is_dir() else []
SHIPPED = sorted((ROOT / "layers-cfg").glob("layers-*.cfg"))


# Numbers of layers follow another order, and functions for initial weights have done their work.
CHANGED = {"id", "inputs", "weightSourceLayerIndices", "initWFunc", "initBFunc", "initCFunc"}


def rebuilt(graph, generation, tree):
    """The stored layers of ``graph``, and of the graph made of files written from them."""
    stored = {layer["name"]: layer for layer in stored_graph(graph, generation)}
    assert generation_of(stored) == generation
    files = written_files(stored)
    again = build_graph(files, graph.data_dims, graph.classes, tree, dialect=generation)
    return tuple({layer["name"]: layer for layer in described(each, generation)} for each in (graph, again))


@pytest.mark.parametrize("definition", [*SHIPPED, *HISTORICAL], ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_there_and_back(definition, tmp_path):
    """Names, shapes, rates, constants: every key of every layer is what it was."""
    fitted = synthesize(parse(LayerFiles.open(definition)), classes=10 if "tree" in definition.name else 0)
    stored, again = rebuilt(fitted.graph, fitted.graph.generation, fitted.tree)
    assert stored.keys() == again.keys()
    with (tmp_path / "layers").open("wb") as file:
        pickles.dump(stored_graph(fitted.graph, "2014"), file)  # as checkpoints are written, whatever the dialect
    assert [layer["name"] for layer in pickles.load(tmp_path / "layers")] == [v.name for v in fitted.graph.in_file_order]
    for name, layer in stored.items():
        for key in layer.keys() - CHANGED:
            same = pytest.approx(layer[key], rel=1e-12) if key in ("scale", "filter") else layer[key]
            assert again[name][key] == same, (name, key)


ODD = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[blur]
type=blur
inputs=data
channels=4
filterSize=3
stdev=1.5
[conv]
type=conv
inputs=blur
channels=4
filters=4
filterSize=3
padding=1
groups=2
initW=0.1
neuron=drelu[2]
[norm]
type=cnorm
inputs=conv
channels=8
size=3
[again]
type=neuron
neuron=tanh[1,2]
inputs=norm
[fc]
type=fc
inputs=again,again
outputs=3
initW=0.1,0.2
weightSource=,fc[0]
[max]
type=eltmax
inputs=fc,fc
[probs]
type=softmax
inputs=max
[cost]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("generation", ["2012", "2014"])
def test_layers_that_no_shipped_net_has(generation):
    stored, again = rebuilt(make_graph(ODD, {0: 4 * 64, 1: 1}, 3, dialect=generation), generation, None)
    for name, layer in stored.items():
        assert again[name]["outputs"] == layer["outputs"]
    assert again["norm"]["scale"] == pytest.approx(0.1) and again["conv"]["filters"] == 8
    assert again["fc"]["weightSourceMatrixIndices"] == [-1, 0] and again["again"]["neuron"]["params"] == {"a": 1, "b": 2}


@needs_museum
@pytest.mark.parametrize("name", ["ckpt-2011.pickle", "ckpt-2012.pickle", "ckpt-2014.pickle"])
def test_genuine_checkpoints_run(name):
    """The net of the fixtures, and that its two fully-connected layers still share one matrix."""
    layers = checkpoint.load(SHARED / "fixtures" / name).layers
    generation = generation_of(layers)
    assert generation in name
    graph = build_graph(written_files(layers), stored_dims(layers), 10, dialect=generation)
    files = LayerFiles.open(SHARED / "fixtures/tiny-def.cfg", SHARED / "fixtures/tiny-params.cfg")
    own = build_graph(files, {0: 3072, 1: 1}, 10)
    shapes = [{(name, layer.type, layer.outputs) for name, layer in net.layers.items()} for net in (graph, own)]
    assert shapes[0] == shapes[1]
    net = Net(graph, ORACLE, minibatch=2, state=layers)
    x = np.random.RandomState(0).rand(3072, 2)
    assert np.isfinite(net.test([x, np.array([[0.0, 1]])], 2)["logprob"]).all()
    assert net.nodes["fcA"].weights[0] is net.nodes["fcB"].weights[0]
    np.testing.assert_array_equal(net.nodes["conv1"].weights[0].value.reshape(75, 16), layers["conv1"]["weights"][0])


def test_dimensions_and_trees():
    layers = {
        "data": {"name": "data", "type": "data", "dataIdx": 0, "outputs": 5, "start": 5, "end": 10},
        "top": {"name": "top", "type": "treefc", "tree": {2: [0, 1]}, "rootLabel": 2, "outputs": 2},
    }
    assert stored_dims(layers) == {0: 10}
    assert stored_tree(layers) == LabelTree.flat(2) and stored_tree({}) is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"type": "lstm"}, "unknown type 'lstm'"),
        ({"inputs": ["nowhere"]}, "layer 'nowhere' is read by 'b', but is not in the checkpoint"),
        ({"inputs": ["b"]}, "layer 'b' is read by 'b', which depends on it itself"),
    ],
)
def test_damaged_dicts(change, message):
    layers = {"b": {"name": "b", "type": "softmax", "inputs": [], "outputs": 1, "gpu": 0} | change}
    with pytest.raises(CheckpointError, match=message):
        written_files(layers)
