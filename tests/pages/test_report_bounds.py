"""Reports of the largest nets and the longest runs stay small: 3 MB for the network of the paper."""

import re
from pathlib import Path

import numpy as np
import pytest
from html_pages import Read
from nets import DATA, cost_of
from support import make_graph

from convnet.checkpoint import Checkpoint
from convnet.checkpoint.layer_dicts import described
from convnet.drawing.samples import Prediction
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.pages.report import film, filters, net, predictions
from convnet.pages.report.document import report
from convnet.pages.report.evaluation import Evaluation, Picks, class_heads
from convnet.pages.report.reported_run import ReportedRun
from convnet.training.history import History
from convnet.training.report import Report

MOST = 3_000_000  # bytes


def checkpoint_of(graph):
    """A checkpoint of a graph whose weights are noise, which no format makes smaller."""
    random = np.random.default_rng(0)
    layers = {layer["name"]: layer for layer in described(graph, graph.generation)}
    for name, layer in graph.layers.items():
        if hasattr(layer, "weight_shape"):
            shapes = [layer.weight_shape(i) for i in range(len(layer.sources))]
            layers[name]["weights"] = [random.standard_normal(shape, np.float32) for shape in shapes]
    state = {"layers": layers, "epoch": 1, "batchnum": 1, "train_outputs": [], "test_outputs": []}
    checkpoint = Checkpoint({"model_state": state, "op": {}})
    checkpoint.path = Path("1.1")
    return checkpoint


def history_of(batches):
    """A long run with a test after every tenth batch, and many events."""
    random = np.random.default_rng(0)
    records = [{"line": "begin", "batches": 0, "time": 1e9, "options": {"train_range": list(range(1, 101))}}]
    for at in range(1, batches + 1):
        values = {f"logprob.{name}": float(value) for name, value in zip(("cost", "error"), random.random(2), strict=True)}
        where = {"batches": at, "time": 1e9 + at}
        more = {"epoch": 1 + at // 100, "seconds": 1.0, "images_per_second": float(random.random())}
        records.append({"line": "batch", **where, **values, **more})
        if at % 10 == 0:
            records += [{"line": "test", **where, **values, "tested": [1]}, {"line": "warning", **where, "text": "x" * 200}]
    return History.of(records, "a long run")


def evaluation_of(graph, classes, cases):
    random = np.random.default_rng(0)
    counted = Report(class_heads(graph)[0].cost, [f"a class of pictures {k}" for k in range(classes)])
    for _ in range(cases // 1000):
        counted.count(random.integers(0, classes, (1, 1000)), random.random((classes, 1000), np.float32))
    bars = [(f"class {k}", 0.5**k, k == 0) for k in range(5)]
    picks = [[Prediction(random.random((224, 224, 3)), "class 0", bars, n) for n in range(8)] for _ in range(3)]
    return Evaluation("1-50", cases, {"logprob": {"error": 0.4}}, [counted], Picks(*picks))


@pytest.mark.slow
def test_the_network_of_the_paper(monkeypatch):
    """61 million weights, a long run, 1000 classes, and photographs of noise, of which nothing can be compressed.

    Very many checkpoints were kept, of which films are made of both towers.
    """
    files = LayerFiles.open("layers-imagenet.cfg")
    graph = infer_data(parse(files)).graph
    checkpoint, evaluation = checkpoint_of(graph), evaluation_of(graph, 1000, 20_000)
    monkeypatch.setattr(film, "load", lambda _: checkpoint)
    made = {"checkpoint": checkpoint, "files": files, "graph": graph, "evaluation": evaluation}
    kept = [Path(f"{epoch}.100") for epoch in range(1, 91)]
    page = report(ReportedRun(history_of(20_000), kept=kept, title="x", **made))
    assert len(page.encode()) < MOST
    read = Read(page)
    films = [legend.text.partition(" at ")[0] for legend in read.all("legend")]
    assert films == ["conv1a", "conv1b"]
    captions = [caption.text.partition(":")[0] for caption in read.all("figcaption")]
    assert {f"conv{number}{tower}" for number in range(1, 6) for tower in "ab"} <= set(captions)
    assert len(read.all("img")) > 24 and [row[0] for row in read.rows("Layers;")][-1] == "total"


def test_of_very_many_layers_some_are_shown(monkeypatch):
    """Drawing and filters are left out beyond some, in words; every layer is counted."""
    monkeypatch.setattr(filters, "_ROOM", 1 << 17)
    monkeypatch.setattr(net, "_BOXES", 50)
    monkeypatch.setattr(net, "_ROWS", 30)
    text, source = DATA, "data"
    for i in range(60):
        text += (
            f"[conv{i}]\ntype=conv\ninputs={source}\nchannels={3 if i == 0 else 16}\nfilters=16\nfilterSize=3\npadding=1\n"
        )
        text, source = text + "stride=1\ninitW=0.1\n", f"conv{i}"
    text += f"[fc]\ntype=fc\ninputs={source}\noutputs=10\ninitW=0.1\n{cost_of('fc')}"
    graph = make_graph(text, {0: 3 * 16, 1: 1}, 10)
    made = {"checkpoint": checkpoint_of(graph), "files": LayerFiles(text, "net.cfg"), "graph": graph}
    page = report(ReportedRun(history_of(50), title="x", **made))
    read = Read(page)
    assert len(page.encode()) < MOST
    assert "A drawing of 65 layers is too large" in page and read.rows("Layers;")[-1][1] == "35 more"
    (note,) = [item.text for item in read.all("li") if "For want of room" in item.text]
    shown = [caption for caption in read.all("figcaption") if re.match(r"conv\d+:", caption.text)]
    assert f"filters of {61 - len(shown)} layers are not shown, from conv{len(shown)} on" in note


def test_what_classes_were_taken_for_is_a_drawing():
    graph = make_graph(DATA + "[fc]\ntype=fc\ninputs=data\noutputs=10\ninitW=0.1\n" + cost_of("fc"), {0: 4, 1: 1}, 10)
    read = Read(predictions.predictions_section(ReportedRun(History("x"), evaluation=evaluation_of(graph, 10, 1000))))
    assert len(read.all("svg")) == 1 and "What 1,000 test cases were taken for" in read.all("figcaption")[0].text
