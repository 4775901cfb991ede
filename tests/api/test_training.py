"""Training from Python: what callbacks are told, how they end it, the line of progress; what a notebook shows."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from support import ROOT, SMALL_NET, SMALL_PARAMS, write_cifar

import convnet
from convnet.data.provider import MatrixBatch, Provider, Request
from convnet.errors import DataError, OptionError
from convnet.training.events import BatchBegin, BatchEnd, MinibatchEnd

PICTURES = np.random.RandomState(0).randint(0, 256, (20, 12, 12, 3)).astype(np.uint8)
LABELS = np.arange(20) % 10


@pytest.fixture
def net():
    return convnet.build(SMALL_NET, SMALL_PARAMS, side=12, minibatch=8, backend="reference")


def test_callbacks_are_told_in_order(net):
    events, kinds = [], []
    costs = net.train(PICTURES, LABELS, epochs=2, callbacks=[events.append, lambda event: kinds.append(type(event))])
    assert kinds == [BatchBegin, *[MinibatchEnd] * 3, BatchEnd] * 2 == [type(event) for event in events]
    ends = [event for event in events if isinstance(event, BatchEnd)]
    assert [(end.epoch, end.progress, end.cases) for end in ends] == [(1, 0.0, 20), (2, 0.5, 20)]
    assert [end.costs["logprob"][0] / 20 for end in ends] == pytest.approx([cost["logprob"][0] for cost in costs])
    assert [event.cases for event in events if isinstance(event, MinibatchEnd)] == [8, 8, 4] * 2


def test_a_callback_ends_training(net, tmp_path):
    """After a batch it counts, within one it does not; the net goes on from there either way."""

    def stop_at(kind, number):
        seen = []

        def callback(event):
            seen.extend([event] if isinstance(event, kind) else [])
            if len(seen) == number:
                raise convnet.StopTraining

        return callback

    assert len(net.train(PICTURES, LABELS, epochs=9, callbacks=stop_at(BatchEnd, 2))) == 2 == len(net.history)
    assert net.train(PICTURES, LABELS, epochs=9, callbacks=[stop_at(BatchBegin, 1)]) == []
    assert len(net.train(PICTURES, LABELS, epochs=9, callbacks=[stop_at(MinibatchEnd, 4)])) == 1
    assert len(net.history) == 3 and net.position.cases == 0 and net.position.epoch == 3
    assert len(convnet.load(net.save(tmp_path / "3.1")).train(PICTURES, LABELS)) == 1


def test_an_epoch_that_was_cut_short_counts_as_far_as_it_went(net, tmp_path):
    done = []

    def callback(event):
        done.extend([event] if isinstance(event, BatchEnd) else [])
        if len(done) == 3:
            raise convnet.StopTraining

    costs = net.train(write_cifar(tmp_path, batches=3, side=12), epochs=5, callbacks=[callback])
    assert len(costs) == 2 and [event.batch for event in done] == [1, 2, 1]
    assert costs[1]["logprob"][0] == pytest.approx(done[2].costs["logprob"][0] / 60)


def test_errors_of_callbacks_are_theirs(net):
    def callback(event):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        net.train(PICTURES, LABELS, callbacks=[callback])
    for wrong in (3, [3], "x"):
        with pytest.raises(OptionError, match=r"callbacks: .* cannot be called"):
            net.train(PICTURES, LABELS, callbacks=wrong)


def test_the_line_of_progress(net, capsys, monkeypatch):
    monkeypatch.setattr("convnet.api.progress._RENEWED", 0.0)
    monkeypatch.setenv("COLUMNS", "70")
    costs = net.train(PICTURES, LABELS, epochs=2, progress=True)
    out = capsys.readouterr().out
    assert out.endswith("\n") and out.count("\n") == 1
    lines = out.strip("\n").split("\r")[1:]
    assert len(lines) == 6 and max(map(len, lines)) < 70
    assert all(re.match(r"epoch [12] of 2: cost \d\S*, error \d\S* %; [\d,]+ images/s, ", line) for line in lines)
    assert " left" in lines[0] and re.search(r" images/s, in \d+ (s|min .*)$", lines[-1].rstrip())
    assert f"cost {costs[1]['logprob'][0]:.4g}, error {costs[1]['logprob'][1]:.2%};".replace("%", " %") in lines[-1]
    net.train(PICTURES, LABELS)
    assert capsys.readouterr().out == ""


class Sums(Provider):
    """A provider of one's own: points, and whether they lie above a line."""

    name = "sums"

    def __init__(self, request):
        super().__init__(request)
        self.numbers, self.classes, self.dims, self.label_names = [1, 2], 2, {0: 3, 1: 1}, ["below", "above"]

    def batch(self, epoch, number):
        points = np.random.default_rng(number).standard_normal((3, 200))
        return MatrixBatch([points, (points.sum(axis=0) > 0)[None]])


POINTS = """[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=2\ninitW=0.1
[probs]\ntype=softmax\ninputs=fc\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"""
POINTS_PARAMS = "[fc]\nepsW=0.1\nepsB=0.1\nmomW=0.9\nmomB=0.9\nwc=0\n[logprob]\ncoeff=1\n"


@pytest.mark.parametrize("classes", [3, 12])
def test_nothing_is_learnt_of_data_that_do_not_fit(classes, net, tmp_path):
    """Folders of another number of classes, and labels that are none: the next data are as good as the first."""
    other, right = write_cifar(tmp_path / "other", side=12, classes=classes), write_cifar(tmp_path / "right", side=12)
    for act in (net.train, net.test):
        with pytest.raises(
            DataError, match=rf"other has {classes} classes, cost 'logprob' knows 10 \(outputs=10 of 'fc' at "
        ):
            act(other)
    with pytest.raises(DataError, match="the net has 10 classes"):
        net.train(255 - PICTURES, LABELS + 1)
    assert net.mean is None and net.classes == list(map(str, range(10)))
    net.train(right)
    assert net.classes[0] == "class 0" and net.mean.mean() == 120


def test_a_provider_of_ones_own():
    net = convnet.build(POINTS, POINTS_PARAMS, side=1, classes=2, backend="reference")
    net.train(Sums(Request()), epochs=20)
    assert net.test(Sums(Request()))["logprob"][1] <= 0.05 and net.graph.data_dims[0] == 3


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_what_a_notebook_shows(net):
    html = net._repr_html_()
    cells, side = Cells(), net.graph.layers["conv1"].maps[1]
    cells.feed(html)
    assert cells.tags.count("tr") == len(net.graph.layers) + 2 and "script" not in cells.tags
    assert cells.texts[0] == repr(net)[1:-1] and {"conv1", f"8x{side}x{side}", f"{net.graph.parameters():,}"} <= set(
        cells.texts
    )
    assert not re.search("color|background|#[0-9a-f]{3}", html)  # those of the page, light or dark
    picture = ET.fromstring(net.picture()._repr_svg_())
    assert picture.tag.endswith("svg") and "conv1" in "".join(picture.itertext())
    odd = convnet.build(SMALL_NET.replace("conv1", "<b>&\x1b"), SMALL_PARAMS, side=12, backend="reference")
    assert "<b>" not in odd._repr_html_() and "&lt;b&gt;&amp;\\x1b" in odd._repr_html_()
    ET.fromstring(odd.picture().svg)


def test_what_the_package_shows():
    assert dir(convnet) == sorted(["Network", "StopTraining", "__version__", "build", "load"])
    code = "import convnet; help(convnet)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True).stdout
    assert all(word in text for word in ("load(path", "build(definition", "class Network", "predict(self", "StopTraining"))
    assert "TYPE_CHECKING" not in text
