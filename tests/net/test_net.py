"""Nets: order, accumulation, shared buffers, minibatches of any size, agreement of backends, bad numbers."""

import numpy as np
import pytest
from nets import DATA, cost_of
from support import BACKENDS, SHARED, assert_close, default_params, each_backend, make_graph, needs_museum, poisoned, values

from convnet.backends.reference import Reference
from convnet.errors import NumericalError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers.modes import Mode
from convnet.net.initial import initial_state
from convnet.net.net import Net
from convnet.net.state import collect_state

NET = f"""{DATA}[conv]
type=conv
inputs=data
channels=3
filters=6
filterSize=3
initW=0.3
neuron=relu
[norm]
type=cmrnorm
inputs=conv
channels=6
size=3
[pool]
type=pool
pool=max
inputs=norm
channels=6
sizeX=3
stride=2
neuron=tanh[1.5,0.5]
[local]
type=local
inputs=pool
channels=6
filters=4
filterSize=2
initW=0.3
neuron=linear[2,1]
[hs]
type=hs
keep=0.6
inputs=local
[sum]
type=fc
inputs=hs,pool
outputs=8
initW=0.3,0.2
neuron=relu
[fc]
type=fc
inputs=sum
outputs=4
initW=0.5
{cost_of("fc")}"""


def data(cases, seed=0):
    labels = np.random.RandomState(seed).randint(0, 4, (1, cases))
    return [values(3 * 64, cases, seed=seed).astype(np.float32), labels.astype(np.float32)]


def net_on(be, **options):
    return Net(make_graph(NET, {0: 192, 1: 1}, 4), be, minibatch=options.pop("minibatch", 9), seed=5, **options)


@each_backend
def test_training_agrees_with_the_oracle(be):
    """Costs and weights over several steps, the last minibatch smaller, buffers poisoned when given back."""
    net, oracle = poisoned(net_on(be)), poisoned(net_on(Reference(np.float64)))
    for step, cases in enumerate((9, 9, 4, 9, 1)):
        inputs = data(cases, step)
        found, expected = net.train(inputs, cases), oracle.train(inputs, cases)
        assert_close(np.array(found["logprob"]), np.array(expected["logprob"]), 1e-4)
    for name, layer in collect_state(net).items():
        for mine, theirs in zip(layer["weights"], collect_state(oracle)[name]["weights"], strict=True):
            assert_close(mine, theirs, 1e-4)


def test_buffers_are_reused():
    """A second step allocates nothing, and gradients need less than one buffer per layer."""
    net = net_on(Reference(np.float32))
    net.train(data(9), 9)
    first = sum(pool.allocated for pool in net.pools.values())
    net.train(data(9, 1), 9)
    assert sum(pool.allocated for pool in net.pools.values()) == first
    everything = 2 * 9 * sum(layer.outputs for layer in net.graph.layers.values())
    assert first < 0.75 * everything


def test_elementwise_layers_work_in_place_where_nobody_minds():
    net = net_on(Reference(np.float32))
    assert net.nodes["conv_neuron"].acts_in_place  # conv needs no outputs for its backward
    assert not net.nodes["pool_neuron"].acts_in_place  # max-pooling compares with its outputs
    assert not net.nodes["hs"].acts_in_place or net.nodes["local_neuron"].layer.uses_acts is False


def test_work_of_nodes_can_be_watched():
    """``around`` is called in place of every forward, backward and update, in order, and changes no number."""
    net, plain, seen = net_on(BACKENDS["reference32"]), net_on(BACKENDS["reference32"]), []
    net.around = lambda node, kind, work: (seen.append((kind, node.layer.name)), work())
    assert net.train(data(9), 9) == plain.train(data(9), 9)
    names = {kind: [name for other, name in seen if other == kind] for kind, _ in seen}
    assert list(names) == ["forward", "backward", "update"]
    assert names["forward"] == list(net.nodes)
    assert names["backward"] == [name for name in reversed(net.nodes) if name not in ("data", "labels")]
    assert names["update"] == ["conv", "local", "sum", "fc"]


def test_small_minibatches_equal_their_part_of_a_large_one():
    net = net_on(BACKENDS["reference32"])
    inputs = data(9)
    net.test(inputs, 9, keep=["fc"])
    whole = net.output("fc")
    net.test([matrix[:, 2:5] for matrix in inputs], 3, keep=["fc"])
    np.testing.assert_allclose(net.output("fc"), whole[:, 2:5], rtol=1e-4)


def test_testing_changes_nothing():
    net = net_on(BACKENDS["reference32"])
    before = collect_state(net)["conv"]["weights"][0].copy()
    first = net.test(data(9), 9)
    assert first == net.test(data(9), 9)
    np.testing.assert_array_equal(collect_state(net)["conv"]["weights"][0], before)
    assert net.step == 0


def test_seed_decides_everything():
    runs = []
    for seed in (1, 1, 2):
        net = Net(make_graph(NET, {0: 192, 1: 1}, 4), BACKENDS["reference32"], minibatch=9, seed=seed)
        runs.append([net.train(data(9), 9)["logprob"][0] for _ in range(2)])
    assert runs[0] == runs[1] != runs[2]


def test_initial_weights_are_those_of_the_originals_generator():
    """Drawn with numpy's RandomState in file order (numerics 15.4)."""
    state = initial_state(make_graph(NET, {0: 192, 1: 1}, 4), seed=7)
    random = np.random.RandomState(7)
    np.testing.assert_array_equal(state["conv"]["weights"][0], (0.3 * random.randn(27, 6)).astype(np.float32))
    np.testing.assert_array_equal(state["local"]["weights"][0], (0.3 * random.randn(4 * 24, 4)).astype(np.float32))
    fc = state["sum"]["weights"]
    np.testing.assert_array_equal(fc[0], (0.3 * random.randn(16, 8)).astype(np.float32))
    assert fc[0].flags.f_contiguous and not fc[0].flags.c_contiguous


def test_state_survives_a_round_trip():
    net = net_on(BACKENDS["reference32"])
    net.train(data(9), 9)
    other = net_on(BACKENDS["reference32"], state=collect_state(net))
    assert net.test(data(9), 9) == other.test(data(9), 9)


@each_backend
def test_bad_numbers_are_named(be):
    net = net_on(be)
    bad = data(9)
    bad[0][5, 3] = np.nan
    before = collect_state(net)
    with np.errstate(all="ignore"), pytest.raises(NumericalError, match="layer 'data'"):
        net.train(bad, 9)
    after = collect_state(net)
    for name, own in before.items():
        np.testing.assert_equal(after[name]["weights"], own["weights"])
    assert net.train(data(9), 9) and net.step == 1 and net.check_weights() is None
    weights = net.nodes["local"].weights[0]
    be.copy_in(np.full(weights.value.shape, np.inf, np.float32), weights.value)
    with (
        np.errstate(all="ignore"),
        pytest.raises(NumericalError, match="weights of layer 'local' are not finite"),
    ):
        net.train(data(9), 9)
    with pytest.raises(NumericalError, match="layer 'local'"):
        net.check_weights()


def test_zero_coefficient_sends_no_gradient():
    params = default_params(NET).replace("coeff=1", "coeff=0")
    net = Net(make_graph(NET, {0: 192, 1: 1}, 4, params), BACKENDS["reference32"], minibatch=9)
    before = collect_state(net)["fc"]["weights"][0].copy()
    net.train(data(9), 9)
    np.testing.assert_array_equal(collect_state(net)["fc"]["weights"][0], before)


def test_the_paper_has_sixty_million_parameters():
    """Numerics 21.7 and 21.8."""
    graph = build_graph(LayerFiles.open("layers-imagenet.cfg"), {0: 150528, 1: 1}, 1000)
    assert graph.parameters() == 60_965_224
    maps = {name: graph.layers[name].maps for name in ("conv1a", "pool1b", "conv2a", "pool2a", "conv3b", "conv5a", "pool3a")}
    assert maps == {
        "conv1a": (48, 55), "pool1b": (48, 27), "conv2a": (128, 27), "pool2a": (128, 13), "conv3b": (192, 13),
        "conv5a": (128, 13), "pool3a": (128, 6),
    }  # fmt: skip
    assert graph.layers["fc2048a"].num_inputs == [4608, 4608]


@needs_museum
def test_shipped_networks_are_the_historical_ones():
    """Shapes and learning of our files equal those of the files whose numbers they carry."""
    museum = SHARED / "corpus" / "files"
    pairs = [
        (f"layers-imagenet-{net}", f"2014/layers/layers-imagenet-{net}", 150528, 1000) for net in ("1gpu", "2gpu-model")
    ]
    pairs += [("layers-cifar10-18pct", "2011/example-layers/layers-18pct", 3072, 10)]
    pairs += [("layers-cifar10-26pct", "2011/example-layers/layers-80sec", 3072, 10)]
    pairs += [("layers-cifar10-11pct", "2011/example-layers/layers-conv-local-11pct", 1728, 10)]
    for ours, theirs, dims, classes in pairs:
        mine, old = (
            build_graph(LayerFiles.open(path), {0: dims, 1: 1}, classes)
            for path in (f"{ours}.cfg", museum / f"{theirs}.cfg")
        )
        assert [(v.type, v.outputs) for v in mine.declared] == [(v.type, v.outputs) for v in old.declared]
        for a, b in zip(mine.declared, old.declared, strict=True):
            for key in ("epsW", "epsB", "momW", "wc", "initW", "initB", "scale", "pow", "minDiv", "padding", "stride"):
                assert getattr(a, key, None) == getattr(b, key, None), (a.name, key)


def test_view_pass_is_like_testing():
    net = net_on(BACKENDS["reference32"])
    net.forward(data(9), 9, Mode.VIEW, keep=["probs"])
    view = net.output("probs")
    net.forward(data(9), 9, Mode.TEST, keep=["probs"])
    np.testing.assert_array_equal(net.output("probs"), view)


class Painted:
    """A matrix that fills itself, as pictures do."""

    def __init__(self, values):
        self.values = values

    def fill(self, be, out):
        be.copy_in(self.values, out)


@each_backend
def test_rows_of_a_matrix(be):
    """Numerics 5.3: 2014's start and end, of matrices and of pictures."""
    text = "[top]\ntype=data\ndataIdx=0\nend=2\n[rest]\ntype=data\ndataIdx=0\nstart=2\n[all]\ntype=data\ndataIdx=0\n"
    text += "[mix]\ntype=concat\ninputs=rest,top,all\n[cost]\ntype=cost.sum2\ninputs=mix\n"
    net, x = Net(make_graph(text, {0: 5}), be, minibatch=4), np.arange(15, dtype=np.float32).reshape(5, 3)
    for matrix in (x, Painted(x)):
        net.forward([matrix], 3, Mode.TEST, keep=["mix"])
        np.testing.assert_array_equal(net.output("mix"), np.concatenate([x[2:], x[:2], x]))
