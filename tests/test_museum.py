"""Every historical pair of files runs: built at its own size, then forward, backward and update on the cpu backend.

The pairs are those of the corpus beside the project, and any ``layers*.cfg`` with its parameters below the folder that
the environment variable CONVNET_MUSEUM names. Each definition runs once at its own size, and with further parameter files
on pictures as small as it accepts, so that the whole museum takes about a minute.
"""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import SHARED, needs_museum

from convnet.backends.cpu import Cpu
from convnet.data.random import synthesize
from convnet.errors import LayerFileError
from convnet.graph.infer import SMALLEST
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.layers.label_tree import LabelTree
from convnet.layers.modes import Mode
from convnet.net.initial import initial_state
from convnet.net.net import Net

CORPUS = SHARED / "corpus"
# What stands in the pair that nobody could mean: a slip of the keyboard, and files that do not belong together.
REFUSED = {
    "layers-147__layer-params-147.cfg.save": "ano[conv1a]",
    "layers-imagenet-1gpu__layer-params-imagenet-2gpu-model": "needs a section",
    "layers-imagenet-2gpu-model__layer-params-imagenet-1gpu": "needs a section",
}
BE = Cpu(threads=1)  # the work of one pair is too short to share
Drawn = np.random.RandomState
POOL = np.float32(Drawn(5).randn(999_983))
INITW = """
import numpy as np
def makew(name, index, shape, params=()):
    return np.float32(0.01 * np.random.RandomState(7).randn(*shape))
def makeb(name, shape, params=()):
    return np.zeros(shape, np.float32)
def makec(name, index, shape, params=()):
    groups, channels, seen = shape
    return list(range(channels)) * (groups * seen // channels)
"""


class Tiled(Drawn):
    """Repeats itself in large matrices, where only the scale of the initial weights matters: drawing takes seconds."""

    def randn(self, *shape):
        return np.resize(POOL, shape[::-1]).T if np.prod(shape) > len(POOL) else super().randn(*shape)


def pairs():
    """(name, folder, what its own parser made of it, whether at its own size) of every pair of the corpus."""
    seen = set()
    for path in sorted((CORPUS / "expected").rglob("*.json")) if CORPUS.is_dir() else ():
        expected = json.loads(path.read_text())
        name = path.name.removesuffix(".json").removesuffix(".error")
        folder = CORPUS / "files" / path.parent.relative_to(CORPUS / "expected")
        if "@" not in name:
            first = name not in REFUSED and (folder, expected["def_file"]) not in seen
            seen |= {(folder, expected["def_file"])} if first else set()
            marks = [] if name in REFUSED or "example" in name else [pytest.mark.slow]
            yield pytest.param(name, folder, expected, first, id=f"{path.parent.parent.name} {name}", marks=marks)


def fast_net(graph, cases, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("convnet.net.initial.np.random.RandomState", Tiled)
        return Net(graph, BE, cases, 1, initial_state(graph, 1, may_run_code=True))


def reaches_a_cost(graph):
    """Names of the layers from which some cost that counts can be reached by gradients."""
    reached = set()
    for layer in reversed(graph.layers.values()):
        if layer.name in reached or (layer.is_cost and layer.coeff):
            reached |= {source.name for source in layer.sources}
    return reached


def run_once(fitted, monkeypatch, cases):
    """One step: costs are finite, gradients reach what is trained, and nothing that is frozen moves."""
    graph = fitted.graph
    net = fast_net(graph, cases, monkeypatch)
    frozen = [(w, w.be.download(w.value)) for w in net.weights if not w.learns]
    net.begin_step(0.0, cases)
    net.forward(fitted.matrices(cases), cases, Mode.TRAIN)
    net.check_costs()
    net.backward()
    connected = reaches_a_cost(graph)
    for name, node in net.nodes.items():
        for weights in node.all_weights:
            trained = weights.learning.base > 0 and name in connected
            assert (weights.contributions > 0) == trained, name
            if trained:
                gradient = weights.inc if weights.accumulates_into_momentum else weights.grad
                assert np.isfinite(gradient).all() and gradient.any(), f"{name}: no gradient arrives"
    net.update()
    net.check_weights()
    for weights, before in frozen:
        np.testing.assert_array_equal(weights.be.download(weights.value), before)
        assert not weights.inc.any()


def open_pair(folder, expected, place):
    """The pair as if it lay in ``place``, beside a module for the functions that it names."""
    (place / "initw.py").write_text(INITW)
    files = LayerFiles.open(folder / expected["def_file"], folder / expected["params_file"])
    return replace(files, definition_path=str(place / expected["def_file"]))


@needs_museum
@pytest.mark.museum
@pytest.mark.parametrize("name, folder, expected, first", list(pairs()))
def test_pair_runs(name, folder, expected, first, monkeypatch, tmp_path):
    files, classes = open_pair(folder, expected, tmp_path), expected["num_classes"]
    dims = {int(i): rows for i, rows in expected["data_dims"].items()}
    if name in REFUSED:
        with pytest.raises(LayerFileError, match=REFUSED[name].replace("[", r"\[")):
            build_graph(files, dims, classes)
        return
    graph = build_graph(files, dims, classes, LabelTree.flat(classes))
    if "totals" in expected and "tree" not in name:
        assert graph.parameters() == expected["totals"]["params"]
    side = math.isqrt(dims[0] // 3)
    sides = [side] if first else SMALLEST
    run_once(synthesize(parse(files), sides, classes), monkeypatch, cases=2 if side > 100 else 5)


def other_definitions():
    folder = os.environ.get("CONVNET_MUSEUM")
    return sorted(Path(folder).rglob("layers*.cfg")) if folder else []


@pytest.mark.museum
@pytest.mark.parametrize("definition", other_definitions(), ids=str)
def test_other_definition_runs(definition, monkeypatch):
    """With every parameter file whose name begins like its own."""
    own = definition.stem.replace("layers", "layer-params", 1)
    params = sorted(definition.parent.glob(f"{own}*.cfg"))
    assert params, f"no {own}.cfg beside {definition}"
    for path in params:
        files = LayerFiles.open(definition, path)
        run_once(synthesize(parse(files), () if path == params[0] else SMALLEST), monkeypatch, cases=2)


@pytest.mark.parametrize("definition", sorted(p.name for p in Path("layers-cfg").glob("layers-*.cfg")))
def test_shipped_definition_runs(definition, monkeypatch):
    files = LayerFiles.open(definition)
    run_once(synthesize(parse(files), SMALLEST), monkeypatch, cases=5)
