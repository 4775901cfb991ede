"""Every historical pair of files runs: built at its own size, then forward, backward and update on the cpu backend.

The pairs are those of the corpus beside the project, and any ``layers*.cfg`` with its parameters below the folder that
the environment variable CONVNET_MUSEUM names. Each definition runs once at its own size, and with further parameter files
on pictures as small as it accepts.
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
from convnet.net.initial import draw_functions, initial_state
from convnet.net.net import Net

CORPUS = SHARED / "corpus"
# What stands in the pair that nobody could mean: a slip of the keyboard, and files that do not belong together.
REFUSED = {
    "layers-147__layer-params-147.cfg.save": "ano[conv1a]",
    "layers-imagenet-1gpu__layer-params-imagenet-2gpu-model": "needs a section",
    "layers-imagenet-2gpu-model__layer-params-imagenet-1gpu": "needs a section",
}
SEED = 2  # most others let layers.gc, whose weights are large, give a label probability 0
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


def pair_name(expected):
    return expected.name.removesuffix(".json").removesuffix(".error")


def pairs():
    """(name, folder, what its own parser made of it, whether at its own size) of every pair of the corpus."""
    seen = set()
    for path in sorted((CORPUS / "expected").rglob("*.json")) if CORPUS.is_dir() else ():
        expected = json.loads(path.read_text())
        name = pair_name(path)
        folder = CORPUS / "files" / path.parent.relative_to(CORPUS / "expected")
        if "@" not in name:
            first = name not in REFUSED and (folder, expected["def_file"]) not in seen
            seen |= {(folder, expected["def_file"])} if first else set()
            marks = [] if name in REFUSED or "example" in name else [pytest.mark.slow]
            yield pytest.param(name, folder, expected, first, id=f"{path.parent.parent.name} {name}", marks=marks)


def fast_net(graph, cases, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("convnet.net.initial.np.random.RandomState", Tiled)
        return Net(graph, BE, cases, SEED, initial_state(graph, SEED, may_run_code=True))


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


def belongs(params, name):
    """Whether parameters of this name are for a definition of that name, or for one of its variants."""
    return params == name or params.startswith(f"{name}-")


def names_beside(folder, prefix):
    return {path.stem.removeprefix(prefix): path for path in sorted(folder.glob(f"{prefix}*.cfg"))}


def params_of(definition):
    """The parameter files of a definition: those that the corpus pairs with it, or else those that its name tells.

    That are the files of its own name and of variants that no other definition is nearer to; or that of a shorter name.
    """
    known = sorted((CORPUS / "expected").rglob(f"{definition.parent.name}/{definition.stem}__*.json"))
    if pairs := [json.loads(path.read_text())["params_file"] for path in known if pair_name(path) not in REFUSED]:
        return list(dict.fromkeys(definition.with_name(name) for name in pairs))
    name, params = definition.stem.removeprefix("layers"), names_beside(definition.parent, "layer-params")
    others = [other for other in names_beside(definition.parent, "layers") if other != name and belongs(other, name)]
    own = [path for key, path in params.items() if belongs(key, name) and not any(belongs(key, other) for other in others)]
    return own or [params[max((key for key in params if belongs(name, key)), key=len)]]


def other_pairs():
    """(definition, parameters, whether at its own size) of every definition below the folder that CONVNET_MUSEUM names."""
    folder = os.environ.get("CONVNET_MUSEUM")
    for definition in sorted(Path(folder).rglob("layers*.cfg")) if folder else ():
        for n, params in enumerate(params_of(definition)):
            yield pytest.param(definition, params, n == 0, id=f"{definition.parent.name} {definition.stem} {params.stem}")


@pytest.mark.museum
@pytest.mark.parametrize("definition, params, first", list(other_pairs()))
def test_other_definition_runs(definition, params, first, monkeypatch):
    """With weights drawn where they came from a checkpoint that was never published."""
    data = synthesize(parse(LayerFiles.open(definition, params)), () if first else SMALLEST)
    draw_functions(data.graph)
    run_once(data, monkeypatch, cases=2)


@pytest.mark.parametrize("definition", sorted(p.name for p in Path("layers-cfg").glob("layers-*.cfg")))
def test_shipped_definition_runs(definition, monkeypatch):
    files = LayerFiles.open(definition)
    run_once(synthesize(parse(files), SMALLEST), monkeypatch, cases=5)
