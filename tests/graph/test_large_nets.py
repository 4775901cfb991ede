"""Nets of thousands of layers: every step takes calls, and bytecode inside of them, in proportion to the layers."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

import convnet
from convnet.checkpoint.definition import written_files
from convnet.checkpoint.layer_dicts import stored_graph
from convnet.drawing.layout import lay_out
from convnet.drawing.picture import picture_of
from convnet.graph.diff import difference, report
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.table import layer_table
from convnet.graph.writer import write_files

DATA = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
FC = "[{}]\ntype=fc\ninputs={}\noutputs={}\ninitW=0.01\n{}\n"
RATES = "[DEFAULT]\nepsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\ncoeff=1\n"
ENDS = "[probs]\ntype=softmax\ninputs=out\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"


def chain(n, name="n"):
    """Every layer reads the one before, and every second neuron is detached."""
    below = ["data", *(f"{name}{i}" for i in range(n))]
    return "".join(FC.format(below[i + 1], below[i], 3, "neuron=tanh[1,1]" * (i % 2)) for i in range(n)), below[-1]


def shared(n, name="n"):
    """Every layer uses the weights of the one before."""
    first = FC.format("first", "data", 3, "")
    below = ["first", *(f"{name}{i}" for i in range(n))]
    source = [f"weightSource={name}{i - 1}" if i else "" for i in range(n)]
    return first + "".join(FC.format(below[i + 1], below[i], 3, source[i]) for i in range(n)), below[-1]


def towers(n, name="n"):
    """All layers read the data, and one reads them all."""
    names = [f"{name}{i}" for i in range(n)]
    text = "".join(FC.format(each, "data", 2, "neuron=relu") for each in names)
    return text + f"[all]\ntype=concat\ninputs={','.join(names)}\n", "all"


def wide(n, name="n"):
    """A sum and a layer with a matrix each for very many inputs."""
    names = [f"{name}{i}" for i in range(n)]
    text = FC.format("first", "data", 2, "")
    text += "".join(f"[{each}]\ntype=neuron\nneuron=relu\ninputs=first\n" for each in names)
    text += f"[all]\ntype=eltsum\ninputs={','.join(names)}\n" + FC.format("each", ",".join(names), 2, "")
    return text + "[both]\ntype=eltsum\ninputs=all,each\n", "both"


def neurons(n, name="n"):
    below = ["first", *(f"{name}{i}" for i in range(n))]
    text = "".join(f"[{below[i + 1]}]\ntype=neuron\nneuron=relu\ninputs={below[i]}\n" for i in range(n))
    return FC.format("first", "data", 3, "") + text, below[-1]


def doubled(n, name="n"):
    """Sums of a layer with itself: twice as many paths each time."""
    below = ["first", *(f"{name}{i}" for i in range(n))]
    text = "".join(f"[{below[i + 1]}]\ntype=eltsum\ninputs={below[i]},{below[i]}\n" for i in range(n))
    return FC.format("first", "data", 3, "") + text, below[-1]


def costs(n, name="n"):
    """Costs of which each counts the one before among its children."""
    text = FC.format("side", "data", 2, "")
    for i in range(n):
        child = f"children={name}{i - 1}\n" if i else ""
        text += f"[{name}{i}]\ntype=cost.sum2\ninputs=side\n{child}"
    return text, "side"


SHAPES = [chain, shared, towers, wide, neurons, doubled, costs]


def files_of(shape: Callable[..., tuple[str, str]], n: int, name: str = "n") -> LayerFiles:
    text, last = shape(n, name)
    definition = DATA + text + FC.format("out", last, 10, "") + ENDS
    names = [line[1:-1] for line in definition.splitlines() if line.startswith("[")]
    return LayerFiles(definition, "d", RATES + "".join(f"[{each}]\n" for each in names), "p")


def work(task: Callable[[], object]) -> int:
    """Lines and calls that ``task`` executes: what is quadratic shows in one of them, whether in a loop or in calls."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        task()
    finally:
        sys.settrace(before)
    return count


def tasks_of(shape: Callable[..., tuple[str, str]], n: int) -> dict[str, Callable[[], object]]:
    files, other = files_of(shape, n), files_of(shape, n, "other")
    graph, renamed = (infer_data(parse(each)).graph for each in (files, other))
    dicts = {stored["name"]: stored for stored in stored_graph(graph, "2014")}
    net = convnet.build(files.definition, files.params, side=4, backend="reference", minibatch=2)
    data = np.zeros((net.graph.data_dims[0], 2), np.float32)
    tasks = {
        "infer": lambda: infer_data(parse(files)),
        "table": lambda: layer_table(graph, 128, 80),
        "diff": lambda: report(difference(graph, graph), graph, graph),
        "diff of renamed": lambda: report(difference(graph, renamed), graph, renamed),
        "2011": lambda: stored_graph(graph, "2011"),
        "convert": lambda: write_files(parse(files), "toml"),
        "picture": lambda: lay_out(picture_of(graph, "", 128)),
        "old checkpoint": lambda: written_files(dicts),
        "build": lambda: convnet.build(files.definition, files.params, side=4, backend="reference", minibatch=2),
    }
    if shape is not doubled:  # whose gradient is
        tasks |= {"train": lambda: net.train(data, [0, 1]), "test": lambda: net.test(data, [0, 1])}
    return tasks


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_work_grows_with_the_layers(shape, monkeypatch):
    monkeypatch.setattr("convnet.graph.diff._MANY", 1000)
    small, large = tasks_of(shape, 70), tasks_of(shape, 140)
    growth = {name: work(large[name]) / work(small[name]) for name in small}
    assert max(growth.values()) < 2.3, growth


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=[pytest.mark.slow] * (shape is not neurons)) for shape in SHAPES]
)
def test_a_thousand_layers_and_more(shape, tmp_path):
    """Deeper than calls may be: nothing is recursive."""
    files = files_of(shape, sys.getrecursionlimit() + 50)
    net = convnet.build(files.definition, files.params, side=4, backend="reference", minibatch=1)
    assert len(net.graph.layers) > 1000 and "total" in layer_table(net.graph)
    if shape is not doubled:
        net.train(np.zeros((net.graph.data_dims[0], 1), np.float32), [1])
    again = convnet.load(net.save(tmp_path / "1.1"), backend="reference")
    assert difference(net.graph, again.graph).same
    dicts = {stored["name"]: stored for stored in reversed(stored_graph(net.graph, "2014"))}
    assert written_files(dicts).definition.count("type=") == len(net.graph.declared)
