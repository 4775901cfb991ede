"""On a GPU: nets against the processor, repeatable to the bit, captured steps, starts. Skipped where there is none.

The ops are tested on it by every test that takes ``each_backend``. With NVIDIA's sanitizer:

    compute-sanitizer --tool memcheck python -m pytest -m gpu tests/layers
    compute-sanitizer --tool racecheck python -m pytest -m gpu tests/layers
"""

from dataclasses import replace

import numpy as np
import pytest

from convnet.backends import make_backend, make_backends, why_not_cuda
from convnet.backends.cuda.compile import find_compiler
from convnet.data.provider import Request, batch_bounds
from convnet.data.providers import open_provider
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.dry_run import dry_run
from convnet.net.net import Net
from convnet.net.profile import Resident
from convnet.net.state import collect_state

REASON = why_not_cuda()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=REASON or "a GPU is here")]
# definition, its classes, side of its pictures, minibatch, steps to compare
NETS = [("layers-cifar10-26pct.cfg", 10, 32, 64, 20), ("layers-imagenet.cfg", 1000, 224, 128, 5)]
each_net = pytest.mark.parametrize("definition, classes, side, mini, steps", NETS, ids=["cifar", "imagenet"])


def noise(definition, classes, side, mini, steps):
    """A graph, and minibatches of noise: in a flat picture one rounding decides which of two pixels is the largest."""
    random = np.random.RandomState(1)
    graph = build_graph(LayerFiles.open(definition), {0: 3 * side * side, 1: 1}, classes)
    labels = random.randint(0, classes, (steps, 1, mini)).astype(np.float32)
    return graph, [([40 * random.randn(3 * side * side, mini).astype(np.float32), own], mini) for own in labels]


def pieces(definition, classes, side, mini, steps):
    """A graph, and minibatches of the drawn pictures for it."""
    provider = open_provider("demo", Request(classes=classes, inner_size=side, training=True, seed=1))
    found, number = [], 0
    while len(found) < steps:
        number += 1
        batch = provider.batch(1, number)
        found += [(batch.minibatch(start, stop), stop - start) for start, stop in batch_bounds(batch.cases, mini)]
    return build_graph(LayerFiles.open(definition), provider.dims, classes), found[:steps]


def train(be, definition, classes, side, mini, steps, pace=1.0):
    """Costs of each minibatch, the weights after the last, and the net; rates times ``pace``."""
    graph, minibatches = pieces(definition, classes, side, mini, steps)
    net = Net(graph, be, mini, seed=1)
    for weights in net.weights:
        weights.learning = replace(weights.learning, base=pace * weights.learning.base)
    costs = [net.train(inputs, cases)["logprob"] for inputs, cases in minibatches]
    return np.array(costs), collect_state(net), net


def follow(be, leader, definition, classes, side, mini, steps):
    """Largest relative differences of costs and of changes of weights, over steps that begin with the leader's weights.

    Without that, trajectories diverge within a few steps, on any two machines, at the rates of the first epoch.
    """
    graph, minibatches = noise(definition, classes, side, mini, steps)
    one, other = Net(graph, be, mini, seed=1), Net(graph, leader, mini, seed=1)
    pairs, worst = list(zip(one.weights, other.weights, strict=True)), [0.0, 0.0]
    for inputs, cases in minibatches:
        before = [leader.download(theirs.value) for _, theirs in pairs]
        for ours, theirs in pairs:
            be.copy_in(leader.download(theirs.value), ours.value)
            be.copy_in(leader.download(theirs.inc), ours.inc)
        found, expected = (net.train(inputs, cases)["logprob"][0] for net in (one, other))
        worst[0] = max(worst[0], abs(found / expected - 1))
        for (ours, theirs), old in zip(pairs, before, strict=True):
            change, right = be.download(ours.value) - old, leader.download(theirs.value) - old
            worst[1] = max(worst[1], np.linalg.norm(change - right) / max(np.linalg.norm(right), 1e-30))
    return worst


def cuda(math="float32", graphs=True, branches=True):
    be = make_backend("cuda", math=math)
    be.captures, be.runs_branches = be.captures and graphs, be.runs_branches and branches
    return be


@each_net
@pytest.mark.parametrize("math, cost, change", [("float32", 1e-6, 0.05), ("tf32", 1e-3, 0.3)])
def test_every_step_is_that_of_the_processor(definition, classes, side, mini, steps, math, cost, change):
    costs, changes = follow(cuda(math), make_backend("cpu"), definition, classes, side, mini, steps)
    print(f"costs {costs:.2e}, changes of weights {changes:.2e}")
    assert costs < cost and changes < change


@each_net
def test_slow_training_is_that_of_the_processor(definition, classes, side, mini, steps):
    """Each net on its own trajectory, at rates that let rounding errors grow little."""
    (found, _, _), (expected, _, _) = (
        train(be, definition, classes, side, mini, steps, pace=1e-3) for be in (cuda(), make_backend("cpu"))
    )
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-4)


@each_net
@pytest.mark.parametrize("math", ["float32", "tf32"])
def test_the_same_run_gives_the_same_bits(definition, classes, side, mini, steps, math):
    """Captured, with branches at the same time or without, or issued op by op, today or tomorrow."""
    ways = (True, True), (True, True), (True, False), (False, False)
    runs = [train(cuda(math, *way), definition, classes, side, mini, 6) for way in ways]
    assert [(bool(net.steps.captured), net.be.runs_branches) for _, _, net in runs] == list(ways)
    for costs, weights, _ in runs[1:]:
        np.testing.assert_equal(costs, runs[0][0])
        np.testing.assert_equal(weights, runs[0][1])


@pytest.mark.parametrize("math", ["float32", "tf32"])
def test_two_logical_devices_on_one_card(math):
    """``--gpu 0,0``: the towers of 2012 on one card, named twice, are the net that knows of one device."""
    graph, minibatches = noise(*NETS[1][:4], 4)
    found = []
    for backends in (make_backends("cuda", 0, [0, 0], math), [make_backend("cuda", math=math)]):
        net = Net(graph, backends, NETS[1][3], seed=1)
        found.append(([net.train(inputs, cases) for inputs, cases in minibatches], collect_state(net)))
    (costs, state), (expected_costs, expected) = found
    assert costs == expected_costs
    np.testing.assert_equal(state, expected)


def test_a_second_start_compiles_nothing(tmp_path, monkeypatch):
    """All kernels of layers-imagenet are compiled before the first step, and found again by the next process."""
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    graph = build_graph(LayerFiles.open("layers-imagenet.cfg"), {0: 150528, 1: 1}, 1000)
    be = make_backend("cuda")
    be.prepare(lambda noting: dry_run(graph, noting, 128))
    compiled = {path: path.stat().st_mtime_ns for path in (tmp_path / "kernels").iterdir()}
    monkeypatch.setattr(type(find_compiler()), "compile", lambda *_: pytest.fail("compiled again"))
    be.prepare(lambda noting: dry_run(graph, noting, 128))
    train(be, *NETS[1][:4], 1)
    assert len(compiled) > 20
    assert compiled.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "kernels").iterdir()}.items()


def test_a_captured_step_is_issued_in_three_calls(monkeypatch):
    """Beside its inputs, which the host brings to their buffers."""
    _, _, net = train(cuda(), *NETS[0][:4], 4)
    device, calls = net.be.device, []
    launch, replay = device.launch, device.replay
    monkeypatch.setattr(device, "launch", lambda *args: (calls.append(args[1]), launch(*args)))
    monkeypatch.setattr(device, "replay", lambda captured: (calls.append("graph"), replay(captured)))
    inputs = [Resident(net.be, np.zeros((rows, NETS[0][3]), np.float32)) for rows in (3 * 32 * 32, 1)]
    net.train(inputs, NETS[0][3])
    assert calls == ["add", "add", "graph", "graph", "graph"]
