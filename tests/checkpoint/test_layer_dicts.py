"""Layer dicts are what each generation's parser makes of the same files: keys, types, orders, and what is one object."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_layer import every_layer
from original_programs import YEARS, needs_originals, original_layers
from support import SHARED, needs_museum

from convnet import checkpoint
from convnet.backends.reference import Reference
from convnet.checkpoint.definition import stored_dims, written_files
from convnet.checkpoint.layer_dicts import stored_graph
from convnet.generation import G2011, G2012, G2014, Generation
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers.label_tree import LabelTree
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.net.surgery import Edits
from convnet.pickles.python2 import dict_order

RECORDED = Path(__file__).with_name("layer-dicts.json")  # of NET, by the originals; ``record`` writes it anew
DIMS, CLASSES = {0: 192, 1: 1, 2: 10}, 10
# The dict of dce keeps two Python expressions, which are not the original's own here.
IN_OTHER_WORDS = {"cost.dce": {"outputFilter", "outputFilterFormatter"}}

NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[small]
type={shrink}
inputs=data
channels=3
scale=1.5
maxScale=1.5
tgtSize=5
GPU
[conv1]
type=conv
inputs=small
channels=3
filters=16
filterSize=3
padding=1
initW=0.1
initB=0
neuron=tanh[1.5, 0.5]
SUM
[conv2]
type=conv
inputs=conv1,conv1
channels=16,16
filters=16,16
filterSize=3,3
groups=2,2
stride=2,2
initW=0.1,1
SPARSE
weightSource=,conv2[0]
sharedBiases=no
neuron=softrelu
SUM
[pool]
type=pool
pool=avg
inputs=conv2
channels=32
sizeX=2
stride=1
start=-1
sum=true
neuron=linear[2,1]
[fcA]
type=fc
inputs=pool,data
outputs=10
initW=0.1,0.1
neuron=square
[fcB]
type=fc
inputs=pool
outputs=10
initW=0.01
initB=1
weightSource=fcA[0]
[both]
type=eltsum
inputs=fcB,fcA
coeffs=1,-0.5
neuron=relu
[probs]
type=softmax
inputs=both
GPU
[logprob]
type=cost.logreg
inputs=labels,probs
GPU
[first]
type=cost.sum2
inputs=pool
[second]
type=cost.sum2
inputs=fcB
children=first
"""
PARAMS = """
[DEFAULT]
momB=0.9
epsB=0.002
coeff=1
[small]
[conv1]
epsW=0.001
momW=0.9
wc=0
dropout=0.5
quantF=half
schedW=linear[tgtFactor=2,noiseStdev=0]
[conv2]
epsW=EPSW
momW=0.9,0
wc=0,0.5
wball=0,2
[pool]
[fcA]
epsW=0,1
momW=0.9,0.9
wc=0,0
[fcB]
epsW=RATE
momW=0
wc=0
[both]
coeffs=1,-0.5
[logprob]
[first]
[second]
"""
WORDS = {
    G2011: {"SPARSE": "randSparse=1,true\nfilterChannels=16,16", "SUM": "partialSum=1", "EPSW": "0.1,1", "RATE": "1"},
    G2012: {"SPARSE": "randSparse=0,0", "SUM": "partialSum=1", "EPSW": "0.1,1", "RATE": "1", "GPU": "gpu=1"},
    G2014: {"SPARSE": "", "SUM": "sumWidth=2", "EPSW": "0.1", "RATE": "exp[base=0.1;tgtFactor=3]", "GPU": "gpu=0"},
}


def net_of(generation: Generation) -> tuple[str, str]:
    """The net in a generation's words, lines that it has no use for left out."""
    texts = NET.format(shrink="resize" if generation == G2011 else "rscale"), PARAMS
    for word in ("SPARSE", "SUM", "EPSW", "RATE", "GPU"):
        texts = tuple(text.replace(word, WORDS[generation].get(word, "")) for text in texts)
    return texts


def outline(dicts: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Every value as JSON that tells types apart: of arrays what is not drawn, of what has been met before where."""
    dicts = sorted(dicts, key=lambda layer: layer["name"])
    known = {id(layer): f"layer {layer['name']}" for layer in dicts}

    def plain(value: Any, where: str) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if id(value) in known:
            return {"same": known[id(value)]}
        known[id(value)] = where
        if isinstance(value, np.ndarray):
            order = "C" * value.flags.c_contiguous + "F" * value.flags.f_contiguous
            drawn = where.split()[1].startswith("weights[") or np.ptp(value) != 0
            return [value.dtype.str, *value.shape, order, "drawn" if drawn else float(value.flat[0])]
        if where.split()[1].startswith("filterConns") and len(value) > 2:
            return sorted(value)
        if isinstance(value, dict):
            return {key: plain(item, f"{where}.{key}") for key, item in sorted(value.items())}
        assert type(value) is list, where
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]

    return {
        layer["name"]: {key: json.dumps(plain(value, f"{layer['name']} {key}")) for key, value in sorted(layer.items())}
        for layer in dicts
    }


def ours(definition: str, params: str, generation: Generation, local: tuple = (), unshare: tuple = ()) -> list:
    """Our dicts, with arrays; after --conv-to-local and --unshare-weights."""
    files = LayerFiles(definition, "net.cfg", params, "params.cfg")
    graph = build_graph(files, DIMS, CLASSES, LabelTree.flat(CLASSES), generation)
    state = collect_state(Net(graph, Reference(), minibatch=2))
    if local or unshare:
        edits = Edits(graph, state, local, unshare)
        graph = build_graph(replace(files, changes=edits.changes), DIMS, CLASSES, None, generation)
        state = edits.state
    return stored_graph(graph, generation, state)


def again(files: LayerFiles, saved: dict[str, dict[str, Any]], generation: Generation) -> list:
    """Our dicts of layer files, with the arrays of what an original saved."""
    graph = build_graph(files, stored_dims(saved), CLASSES, dialect=generation)
    arrays = ("weights", "weightsInc", "biases", "biasesInc", "filterConns")
    state = {name: {key: layer[key] for key in arrays if key in layer} for name, layer in saved.items()}
    return stored_graph(graph, generation, state)


def theirs(definition: str, params: str, generation: Generation, folder: Path) -> list:
    (folder / "net.cfg").write_text(definition)
    (folder / "params.cfg").write_text(params)
    layers = original_layers(generation, folder / "net.cfg", folder / "params.cfg", DIMS, CLASSES, folder, gpus=2)
    return layers if isinstance(layers, list) else list(layers.values())


def record(folder: Path) -> None:
    """Write RECORDED anew, where the originals can be run."""
    found = {year: outline(theirs(*net_of(Generation(year)), Generation(year), folder)) for year in YEARS}
    layers = ",\n".join(
        f'"{year}": {{\n' + ",\n".join(f'"{name}": {json.dumps(layer)}' for name, layer in found[year].items()) + "}"
        for year in found
    )
    RECORDED.write_text(f"{{{layers}}}\n")


def assert_same(found: dict[str, dict[str, str]], expected: dict[str, dict[str, str]]) -> None:
    for name, layer in expected.items():
        left_out = IN_OTHER_WORDS.get(json.loads(layer["type"]), set())
        assert layer.keys() == found[name].keys(), name
        assert {k: v for k, v in found[name].items() if k not in left_out} == {
            k: v for k, v in layer.items() if k not in left_out
        }
    assert found.keys() == expected.keys()


@pytest.mark.parametrize("year", YEARS)
def test_what_was_recorded(year):
    generation = Generation(year)
    assert_same(outline(ours(*net_of(generation), generation)), json.loads(RECORDED.read_text())[year])


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize("year", YEARS)
def test_every_layer(year, tmp_path):
    texts, generation = every_layer(Generation(year)), Generation(year)
    assert_same(outline(ours(*texts, generation)), outline(theirs(*texts, generation, tmp_path)))


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize("year", YEARS)
def test_the_record_is_the_originals(year, tmp_path):
    generation = Generation(year)
    recorded = json.loads(RECORDED.read_text())[year]
    assert outline(theirs(*net_of(generation), generation, tmp_path)) == recorded


@needs_museum
@pytest.mark.parametrize("folder", sorted((SHARED / "engines").glob("201[14]/*/layers.cfg")), ids=lambda p: p.parent.name)
def test_genuine_runs(folder):
    """What the originals saved of whole runs, 2014's numbers of layers included."""
    generation = Generation(folder.parts[-3])
    saved = checkpoint.load(next(folder.parent.glob("after-*"))).layers
    files = LayerFiles.open(folder, folder.with_name("params.cfg"))
    assert_same(outline(again(files, saved, generation)), outline(saved.values()))


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize("year", YEARS)
def test_there_and_back(year, tmp_path):
    """Layer files that are written from the originals' dicts make the same dicts of them, as going on does."""
    generation = Generation(year)
    parsed = {layer["name"]: layer for layer in theirs(*net_of(generation), generation, tmp_path)}
    assert outline(again(written_files(parsed), parsed, generation)) == outline(parsed.values())


@pytest.mark.parametrize("year", ["2011", "2014"])
def test_layers_made_local_keep_the_keys_of_conv(year):
    generation = Generation(year)
    before, after = (outline(ours(*net_of(generation), generation, local=local)) for local in ((), ("conv2",)))
    changed = {key for key in after["conv2"] if after["conv2"][key] != before["conv2"][key]}
    assert after["conv2"].keys() == before["conv2"].keys() and changed == {"type", "weights", "weightsInc"}
    assert after["conv2"]["sharedBiases"] == "false"


@pytest.mark.parametrize("year", YEARS)
def test_unshared_matrices_keep_the_text(year):
    generation = Generation(year)
    layer = next(stored for stored in ours(*net_of(generation), generation, unshare=("fcB",)) if stored["name"] == "fcB")
    owners = [-1] if year == "2011" else [""]
    assert layer["weightSource"] == ["fcA[0]"] and layer["weightSourceMatrixIndices"] == [-1]
    assert layer["weightSourceLayerIndices" if year == "2011" else "weightSourceLayers"] == owners


def test_the_order_of_python_2():
    """As a Python 2.7 of 64 bits had them."""
    assert dict_order([]) == [] and dict_order(["conv1"]) == ["conv1"]
    few = ["data", "labels", "conv1", "pool1", "conv2", "fc10", "probs"]  # which fill the first table over
    assert dict_order(few) == ["labels", "fc10", "conv2", "conv1", "pool1", "data", "probs"]
    many = [f"conv{i}" for i in range(40)]
    assert sorted(dict_order(many)) == sorted(many) and dict_order(many)[:3] == ["conv28", "conv29", "conv22"]
    assert dict_order(["\xe9", "", "a"]) == ["", "a", "\xe9"]
