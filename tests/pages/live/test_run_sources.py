"""What a run that goes on tells a page, and what that costs it; what the files of another tell."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from nets import DATA, cost_of
from support import each_backend, make_graph, write_cifar, write_net

from convnet import checkpoint
from convnet.backends.reference import Reference
from convnet.cli.run import main as run
from convnet.net.net import Net
from convnet.pages.live import sources
from convnet.pages.live.filters import LiveFilters, NetFilters, filters_part, shown_layers, stored_filters
from convnet.pages.live.sources import LiveRun, WatchedRun
from convnet.training.events import BatchBegin, BatchEnd, Message, MinibatchEnd, RunBegin, Saved, TestBegin

TEXT = f"""{DATA}[conv1]
type=conv
inputs=data
channels=3
filters=4
filterSize=3
padding=1
stride=1
initW=0.1
[fc]
type=fc
inputs=conv1
outputs=3
initW=0.1
{cost_of("fc")}"""


class Clock:
    """A clock that stands until it is moved; every look costs ``tick`` seconds."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 100.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


def begun(clock):
    """A live run at its beginning, its net, and the session that it was told of."""
    net = Net(make_graph(TEXT, {0: 3 * 6 * 6, 1: 1}, 3), Reference(np.float32), minibatch=4)
    plan = SimpleNamespace(batches_left=lambda _: 10, train=[1, 2, 3, 4, 5])
    session = SimpleNamespace(plan=plan, position=SimpleNamespace(batches_done=0))
    live = LiveRun(clock)
    live(RunBegin(session, net, "CPU (1 thread)", None, [], []))
    return live, net, session


def train(live, count=1):
    for i in range(count):
        live(MinibatchEnd(i + 1, count, {}, 4))


def test_the_moment():
    clock = Clock()
    live, _, _ = begun(clock)
    assert live.moment == ("Loading data", "the beginning", "", "", "", "CPU (1 thread)")
    live(BatchBegin(1, 1, 0.0))
    live.asked()
    live(BatchBegin(1, 1, 0.0))  # of which a minibatch may take minutes
    assert live.moment[:2] == ("Training", "batch 1.1, 1 of 10")
    for i in range(4):
        clock.now += 1
        live(MinibatchEnd(i + 1, 4, {}, 4))
    # A minibatch of 4 a second; 10 batches of 4 minibatches, of which 4 are done.
    assert live.moment == (
        "Training",
        "batch 1.1, 1 of 10",
        "minibatch 4 of 4",
        "4.0 images/s",
        "36 s left",
        "CPU (1 thread)",
    )
    live(BatchEnd(1, 1, 0.0, {}, 16, 4.0))
    live(TestBegin([6, 7]))
    assert live.moment[:2] == ("Testing on 6-7", "batch 1.1, 1 of 10")


def test_without_a_page_nothing_is_done_for_it(monkeypatch):
    """Neither words nor copies, however long it goes on; with one that is open, both."""
    clock = Clock()
    live, _, _ = begun(clock)
    copies, words = [], []
    monkeypatch.setattr(live, "_copy", lambda: copies.append(clock.now))
    monkeypatch.setattr(live, "_tell", lambda doing: words.append(doing))
    live(BatchBegin(1, 1, 0.0))
    for _ in range(100):
        clock.now += 10
        train(live)
    assert copies == words == []
    live.asked()
    train(live)
    assert len(copies) == len(words) == 1
    clock.now += sources._OPEN + 1  # it was closed
    train(live)
    assert len(copies) == 1


def test_filters_are_copied_as_they_form_but_seldom():
    """They are those of the net; what a copy takes is a small share of the time until the next."""
    clock = Clock()
    live, net, session = begun(clock)
    (first,) = live.filters
    values = net.nodes["conv1"].weights[0].value
    np.testing.assert_array_equal(first.layers[0]["weights"][0], values.reshape(-1, 4))
    values[...] = 7
    session.position.batches_done = 3
    live.asked()
    train(live)
    assert live.filters[0] is first and live.when == "after 0 batches"  # less than two seconds later
    clock.now += 2
    train(live)
    assert (live.filters[0].layers[0]["weights"][0] == 7).all() and live.when == "after 3 batches"
    values[...] = 8  # what was copied is not the run's
    assert (live.filters[0].layers[0]["weights"][0] == 7).all()

    slow = live.filters
    clock.tick = 1.0  # now a copy takes seconds
    clock.now += 3
    live.asked()
    train(live)
    assert live.filters is not slow
    taken, clock.tick = live.filters, 0.0
    for _ in range(190):
        clock.now += 1
        live.asked()
        train(live)
    assert live.filters is taken


@each_backend
def test_filters_are_those_of_the_device(be):
    net = Net(make_graph(TEXT, {0: 3 * 6 * 6, 1: 1}, 3), be, minibatch=4)
    stored = net.nodes["conv1"].weights[0]
    (bank,) = NetFilters(net).copy()
    copied = bank.layers[0]["weights"][0]
    np.testing.assert_array_equal(copied, be.download(stored.value).reshape(27, 4))
    be.fill(stored.value, 0.0)
    assert np.abs(copied).max() > 0


def test_what_the_page_may_do():
    asked = []
    work = SimpleNamespace(
        asked_to_save=SimpleNamespace(ask=lambda: asked.append("save")),
        asked_to_stop=SimpleNamespace(ask=lambda by: asked.append(by)),
    )
    live = LiveRun(Clock())
    assert live.acts == {}
    live.take(work)
    live.acts["save"]()
    live.acts["stop"]()
    assert asked == ["save", "the page"]
    live.said = "Asked to save"
    live(Message("No checkpoint was saved: no space"))
    assert live.said == "No checkpoint was saved: no space"
    live(Saved(None))
    assert live.said == ""
    live(Message("Patience ends"))
    assert live.said == ""
    live.end(ValueError("no\nmore"))
    assert (live.acts, live.is_over, live.fault) == ({}, True, "no")


def test_which_layers_are_shown():
    kinds = {
        "data": "data",
        "conv1a": "conv",
        "conv1b": "conv",
        "pool1": "pool",
        "conv2": "conv",
        "local3": "local",
        "fc": "fc",
    }
    assert shown_layers(kinds) == [("conv1", ["conv1a", "conv1b"]), ("conv2", ["conv2"])]
    assert shown_layers({"fc": "fc"}) == [] and shown_layers({"a": "local"}) == [("a", ["a"])]
    assert NetFilters(Net(make_graph(TEXT, {0: 108, 1: 1}, 3), Reference())).names == [("conv1", ["conv1"])]


def test_pictures_of_filters():
    """Of two towers one picture; of filters that are not numbers, or do not fit, what is wrong."""
    layer = {"name": "a", "type": "conv", "filterChannels": [3], "filterSize": [5]}
    towers = [layer | {"weights": [np.full((75, 16), value, np.float32)]} for value in (-0.5, 1.5)]
    html = filters_part([LiveFilters("conv1", towers)], "after 7 batches")
    assert "conv1: 32 filters of 3x5x5, after 7 batches" in html and html.count("<img") == 1
    assert "-0.5 is black, 1.5 white" in html
    many = layer | {"filterChannels": [20], "weights": [np.random.RandomState(0).randn(500, 16).astype(np.float32)]}
    assert "with the strongest 16 of its channels" in filters_part([LiveFilters("conv2", [many])], "now")
    for wrong in ([np.full((75, 16), math.nan)], [np.zeros((74, 16))], []):
        html = filters_part([LiveFilters("conv1", [layer | {"weights": wrong}])], "now")
        assert 'class="warn"' in html and "<img" not in html


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("watched")
    options = ["--layer-def", write_net(place), "--data-path", write_cifar(place / "data"), "--mini", 16, "--epochs", 1]
    options += ["--test-freq", 1, "--keep", 9, "--backend", "cpu", "--save-path", place / "runs"]
    assert run(list(map(str, options))) == 0
    return next((place / "runs").iterdir())


def when_read(watched):
    """Look, and wait for what is read in a thread."""
    watched.asked()
    if watched._reading:
        watched._reading.result()
    return watched.when


def test_filters_of_the_newest_checkpoint(saved, tmp_path):
    watched = WatchedRun(tmp_path)
    assert (when_read(watched), list(watched.filters), watched.acts, watched.is_own) == ("", [], {}, False)
    (tmp_path / "1.1").write_bytes((saved / "1.1").read_bytes())
    assert when_read(watched) == "in checkpoint 1.1"
    first = watched.filters
    stored = checkpoint.load(saved / "1.1").layers["conv1"]["weights"][0]
    np.testing.assert_array_equal(first[0].layers[0]["weights"][0], stored)
    assert when_read(watched) and watched.filters is first  # it is read once
    (tmp_path / "1.2").write_bytes((saved / "1.2").read_bytes()[:1000])  # not whole
    assert when_read(watched) == "in checkpoint 1.1" and watched.filters is first
    time.sleep(0.01)
    (tmp_path / "1.2").write_bytes((saved / "1.2").read_bytes())
    assert when_read(watched) == "in checkpoint 1.2"
    assert set(watched.filters[0].layers[0]) == {"name", "type", "filterChannels", "filterSize", "weights"}
    (tmp_path / "1.2").unlink()
    (tmp_path / "1.1").unlink()
    assert when_read(watched) == "in checkpoint 1.2"


def test_filters_of_a_checkpoint_hold_nothing_else_of_it(saved):
    loaded = checkpoint.load(saved / "1.1")
    (bank,) = stored_filters(loaded.layers)
    assert bank.name == "conv1" and not np.shares_memory(bank.layers[0]["weights"][0], loaded.layers["conv1"]["weights"][0])
