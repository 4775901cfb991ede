"""Every published pair of layer files means what its own parser made of it, key by key."""

from __future__ import annotations

from typing import Any

import pytest
from corpus import CORPUS, MISSING, build, expectations, load

from convnet.checkpoint import layer_dicts
from convnet.errors import LayerFileError
from convnet.graph.graph import Graph
from convnet.layers.weighted import WeightLayer

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=MISSING)

FAILED = [path for path in expectations() if path.name.endswith(".error.json")]
PARSED = [path for path in expectations() if path not in FAILED]

# (generation, key): why our dicts differ from the originals'.
ONLY_OURS = {
    ("2012", "sched"): "ten published files say sched=, which their last parser ignored; here it is the schedule",
}
NOT_STORED = {
    ("2011", "filterConnsLen"): "the expected files count filterConns, which checkpoints hold as an array",
    ("2012", "filterConnsLen"): "as in 2011",
    ("2012", "treeLen"): "the expected files count the nodes of the tree, which the weights' columns say as well",
}
# A pair of files that do not belong together, or that nobody could have read.
STAYS_WRONG = {
    "layers-147__layer-params-147.cfg.save": "1:1: error: text before the first [section]",
    "layers-imagenet-1gpu__layer-params-imagenet-2gpu-model": "needs a section [conv1]",
    "layers-imagenet-2gpu-model__layer-params-imagenet-1gpu": "needs a section [conv1a]",
}


def name_of(path) -> str:
    return f"{path.parts[-3]}/{path.parts[-2]}/{path.name.removesuffix('.json').removesuffix('.error')}"


def arrays(layer: WeightLayer) -> dict[str, Any]:
    """Shapes and orders of a layer's weights and biases, in the words of the expected files."""
    weights = []
    for i, owner in enumerate(layer.owners):
        rows, columns = layer.weight_shape(i)
        described = {"count": rows * columns, "dtype": "float32", "order": layer.order, "shape": [rows, columns]}
        weights.append(described | {"shared": owner is not None})
    shape = list(layer.bias_shape())
    value = 0.0 if layer.initBFunc else float(layer.initB)  # their initBFunc was a stand-in that gives zeros
    biases = {"count": shape[0] * shape[1], "dtype": "float32", "order": "CF", "shape": shape, "value": value}
    return {"weights": weights, "biases": biases}


def described(graph: Graph, generation: str) -> dict[str, dict[str, Any]]:
    """The graph's dicts by name, as the expected files write them."""
    dicts = {stored["name"]: plain(stored) for stored in layer_dicts.described(graph, generation)}
    for layer in graph.declared:
        stored = dicts[layer.name]
        if isinstance(layer, WeightLayer):
            stored |= arrays(layer)
        if layer.type == "blur":
            taps = stored["filter"].tolist()[0]
            stored["filter"] = {"dtype": "float32", "shape": [1, len(taps)], "values": taps}
    return dicts


def plain(value: Any) -> Any:
    """Tuples as JSON's lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_the_corpus_is_whole():
    assert len(PARSED) >= 79 and len(FAILED) >= 25


@pytest.mark.parametrize("path", PARSED, ids=name_of)
def test_graph(path):
    expected, files = load(path)
    generation = expected["generation"]
    graph = build(expected, files)
    ours = described(graph, generation)
    assert list(ours) == [layer["name"] for layer in expected["layers"]]
    for theirs in expected["layers"]:
        mine = {key: value for key, value in ours[theirs["name"]].items() if (generation, key) not in ONLY_OURS}
        assert mine == {key: value for key, value in theirs.items() if (generation, key) not in NOT_STORED}
    assert graph.parameters() == expected["totals"]["params"]


@pytest.mark.parametrize("path", PARSED, ids=name_of)
def test_dialect(path):
    expected, files = load(path)
    assert build(expected, files).generation == expected["generation"]


@pytest.mark.parametrize("path", FAILED, ids=name_of)
def test_what_the_originals_refused(path):
    expected, files = load(path)
    name = path.name.removesuffix(".error.json")
    if name in STAYS_WRONG:
        with pytest.raises(LayerFileError) as error:
            build(expected, files)
        assert STAYS_WRONG[name] in str(error.value)
    else:
        assert build(expected, files).layers


@pytest.mark.parametrize("dialect", ["2011", "2012", "2014"])
@pytest.mark.parametrize("path", expectations(), ids=name_of)
def test_any_dialect_reads_or_says_why_not(path, dialect):
    expected, files = load(path)
    try:
        build(expected, files, dialect)
    except LayerFileError as error:
        assert all(problem.place.file for problem in error.problems) and error.problems
