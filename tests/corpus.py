"""The historical files of ``../shared/corpus``, and data of the dimensions that the originals read them with."""

from __future__ import annotations

import json
from pathlib import Path

from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers import Layer
from convnet.layers.label_tree import LabelTree
from convnet.layers.weighted import WeightLayer

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
MISSING = f"no historical files: {CORPUS} is not there"


def expectations() -> list[Path]:
    """Every expected graph and every recorded failure."""
    return sorted(CORPUS.glob("expected/*/*/*.json"))


def layer_files() -> list[Path]:
    return sorted(path for path in CORPUS.glob("files/*/*/*") if path.is_file())


def load(path: Path) -> tuple[dict, LayerFiles]:
    """What an original said of a pair, and the pair."""
    expected = json.loads(path.read_text())
    folder = CORPUS / "files" / expected["generation"] / path.parent.name
    return expected, LayerFiles.open(folder / expected["def_file"], folder / expected["params_file"])


def build(expected: dict, files: LayerFiles, dialect: str = "auto") -> Graph:
    """The graph of a pair for the data that the original was given."""
    dims = {int(index): features for index, features in expected["data_dims"].items()}
    trees = [layer for layer in expected.get("layers", []) if layer["type"] == "treefc"]
    tree = label_tree(trees[0]["treeLen"], trees[0]["rootLabel"], trees[0]["outputs"]) if trees else None
    return build_graph(files, dims, expected["num_classes"], tree, dialect)


def label_tree(size: int, root: int, classes: int) -> LabelTree:
    """A tree of ``size`` nodes: a root, the nodes that are no class below it, the classes dealt out to those."""
    inner = [node for node in range(classes, size) if node != root]
    children: dict[int, list[int]] = {root: list(inner), **{node: [] for node in inner}}
    for label in range(classes):
        children[(inner or [root])[label % max(1, len(inner))]].append(label)
    return LabelTree.from_children(children, root, classes)


def meaning(graph: Graph) -> dict[str, dict]:
    """What a net computes and how it learns, in whatever words its files say so."""
    return {layer.name: _layer_meaning(layer) for layer in graph.in_file_order}


def _layer_meaning(layer: Layer) -> dict:
    left_out = {"epsW", "epsB", "schedW", "schedB", "sched", "gpu", "partialSum", "sumWidth", "neuron", "inputs"}
    found = {key.name: getattr(layer, key.name) for key in layer.keys if key.name not in left_out}
    found |= {"type": layer.type, "inputs": layer.inputs, "gpu": layer.gpu, "outputs": layer.outputs}
    found["neuron"] = (layer.neuron.type, layer.neuron.params) if layer.neuron else None
    if isinstance(layer, WeightLayer):
        found["epsW"] = [(rate.base, layer.weight_schedule(i)) for i, rate in enumerate(layer.epsW)]
        found["epsB"] = (layer.epsB.base, layer.bias_schedule())
    return found
