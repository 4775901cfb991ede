"""Layer files written from layer dicts: genuine old checkpoints, and every historical net there and back."""

import re

import numpy as np
import pytest
from original_programs import YEARS, checkpoint_of, needs_originals, run_original
from support import ORACLE, ROOT, SHARED, dump, make_graph, needs_museum, write_cifar

import convnet
from convnet import checkpoint, pickles
from convnet.checkpoint.definition import generation_of, remark_on, stored_dims, stored_tree, weight_sources, written_files
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


@pytest.mark.parametrize("tree", [{2: [0, 1]}, {0: [], 1: (), "2": [0, 1]}, [[], [], [0, 1]], ((), (), (0, 1))])
def test_dimensions_and_trees(tree):
    layers = {
        "data": {"name": "data", "type": "data", "dataIdx": 0, "outputs": 5, "start": 5, "end": 10},
        "top": {"name": "top", "type": "treefc", "tree": tree, "rootLabel": 2, "outputs": 2},
    }
    assert stored_dims(layers) == {0: 10}
    assert stored_tree(layers) == LabelTree.flat(2) and stored_tree({}) is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"b": {"type": "lstm"}}, "layer 'b' has the unknown type 'lstm'$"),
        ({"b": {"type": "sofmax"}}, "layer 'b' has the unknown type 'sofmax'; did you mean 'softmax'?"),
        ({"b": {"inputs": ["nowhere"]}}, "layer 'nowhere' is read by 'b', but is not in the checkpoint"),
        ({"b": {"inputs": ["b"]}}, "layer 'b' is read by 'b', which depends on it itself"),
        ({"data": {"type": "softmax", "inputs": []}}, "it has no layer of type data among 2 layers"),
        (
            {"data": {"type": "fcx"}, "b": {"type": "pool"}},
            "layer 'data' has the unknown type 'fcx'; did you mean 'fc'?; layer 'b' lacks 'pool'; expected max, maxabs, "
            "avg or rand; layer 'b' lacks 'channels'; expected a whole number; layer 'b' lacks 'sizeX'; expected a whole "
            "number; and more",
        ),
    ],
)
def test_damaged_dicts(change, message):
    """Everything that is wrong is said at once."""
    data = {"name": "data", "type": "data", "outputs": 1, "dataIdx": 0, "start": 0, "end": 1, "gpu": [-1]}
    b = {"name": "b", "type": "softmax", "inputs": [], "outputs": 1, "gpu": [0]}
    layers = {"data": data | change.get("data", {}), "b": b | change.get("b", {})}
    with pytest.raises(CheckpointError) as caught:
        written_files(layers)
    assert re.search(message.replace("?", "[?]"), str(caught.value))


@needs_museum
@pytest.mark.parametrize("year", YEARS)
def test_keys_that_are_missing_are_told(year):
    """A genuine checkpoint lacks none; without its padding a layer is another one."""
    layers = checkpoint.load(SHARED / "fixtures" / f"ckpt-{year}.pickle").layers
    assert remark_on(layers) == ""
    del layers["conv1"]["padding"], layers["fcA"]["wc"], layers["fcA"]["neuron"]
    assert remark_on(layers).endswith(": conv1 (padding), fcA (wc).") or remark_on(layers).endswith(
        ": fcA (wc), conv1 (padding)."
    )


def test_sharing_follows_layers_or_arrays_never_the_text():
    """After --unshare-weights, and 2014's --conv-to-local of an owner, weightSource says what is not so any more."""
    array, other = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)
    owners = {
        "a": {"weightSourceLayers": ["", "a"], "weightSourceMatrixIndices": [-1, 0], "weights": [array, array]},
        "unshared": {"weightSourceLayers": [""], "weightSourceMatrixIndices": [-1], "weights": [other]},
        "partly": {"weightSourceLayers": ["", "a"], "weightSourceMatrixIndices": [-1, 1], "weights": [array, other]},
        "was conv": {"type": "local", "weightSourceLayers": ["a"], "weightSourceMatrixIndices": [0], "weights": [array]},
        "b": {"weights": [other, array, other]},  # a fork that kept neither
        "bare": {"weightSource": ["a"], "weights": [np.ones((2, 2), np.float32)]},
    }
    expected = {"a": ["", "a[0]"], "unshared": [""], "partly": ["", "a[1]"], "was conv": [""], "bare": [""]}
    layers = {name: {"name": name, "type": "fc", "weightSource": ["a"]} | layer for name, layer in owners.items()}
    inputs = {name: [] for name in layers}
    assert weight_sources(layers, inputs) == expected | {"b": ["", "", "b[0]"]}
    counted = {"data": {"name": "data", "type": "data"}} | layers
    for layer in layers.values():
        if "weightSourceLayers" in layer:
            names = layer.pop("weightSourceLayers")
            layer["weightSourceLayerIndices"] = [list(counted).index(name) if name else -1 for name in names]
    assert weight_sources(counted, inputs | {"data": []}) == expected | {"b": ["", "", "b[0]"]}


@needs_originals
@needs_museum
@pytest.mark.slow
@pytest.mark.parametrize("year", YEARS)
def test_what_an_original_unshared(year, tmp_path):
    """The matrix that it unshared is trained on as it was left; the others are still one."""
    write_cifar(tmp_path / "data", cases=128)
    meta = pickles.load(tmp_path / "data/batches.meta") | {"img_size": 32, "num_colors": 3}
    dump(tmp_path / "data/batches.meta", meta)
    files = [f"--layer-{key}={SHARED / 'fixtures' / f'tiny-{key}.cfg'}" for key in ("def", "params")]
    ranges = [f"--data-path={tmp_path / 'data'}", "--data-provider=cifar", "--train-range=1-2", "--test-range=3"]
    more = ["--test-freq=1", *(["--gpu=0"] if year == "2014" else [])]
    run_original(year, "convnet.py", *files, *ranges, *more, f"--save-path={tmp_path}", "--epochs=1", folder=tmp_path)
    flag = "--load-file" if year == "2014" else "-f"
    again = [flag, checkpoint_of(tmp_path), "--epochs=2", "--unshare-weights=fcB"]
    found = run_original(year, "convnet.py", *again, folder=tmp_path)
    saved = checkpoint.load(checkpoint_of(tmp_path))
    assert "Unshared weight matrix fcB[0]" in found.output, found.output
    net = convnet.load(saved.path)
    np.testing.assert_array_equal(net.weights["fcB"][0], saved.layers["fcB"]["weights"][0])
