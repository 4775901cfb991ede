"""Nets over several devices: results are those of one device, whatever the devices and however many."""

import numpy as np
import pytest
from emulator import EmulatedDevice, EmulationError
from support import BACKENDS, ROOT, assert_close, default_params, make_graph, poisoned, values

from convnet.backends import make_backends
from convnet.backends.cuda import Cuda
from convnet.backends.reference import Reference
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.gradcheck import check_gradients
from convnet.net.layout import Layout
from convnet.net.net import Net
from convnet.net.placement import logical_devices, place, remarks, remarks_on_ranks
from convnet.net.state import collect_state

HEAD = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
"""
TOWER = """
[conv1{t}]
type=conv
inputs=data
channels=3
filters=4
filterSize=3
initW=0.3
neuron=relu
gpu={d}
[pool1{t}]
type=pool
pool=max
inputs=conv1{t}
channels=4
sizeX=3
stride=2
"""
# Each tower reads both of the layer below, as conv3 and the fully-connected layers of 2012 did.
JOINED = """
[conv2{t}]
type=conv
inputs=pool1a,pool1b
channels=4,4
filters=4
filterSize=2
initW=0.3,0.2
neuron=tanh[1.5,0.5]
gpu={d}
[hs{t}]
type=hs
keep=0.6
inputs=conv2{t}
[fc{t}]
type=fc
inputs=hsa,hsb
outputs=6
initW=0.3,0.2
gpu={d}
[more{t}]
type=fc
inputs=hsb
outputs=6
initW=0.3
gpu={d}
"""
TOP = """
[sum]
type=eltsum
inputs=fca,moreb,fcb,morea
gpu=1
neuron=relu
[fc10]
type=fc
inputs=sum,pool1a
outputs=4
initW=0.5,0.1
gpu={d}
[probs]
type=softmax
inputs=fc10
gpu=1
[logprob]
type=cost.logreg
inputs=labels,probs
gpu=0
[small]
type=cost.sum2
inputs=fcb
gpu=0
"""


def interleave(text: str, first: int, second: int) -> str:
    """The sections of ``text`` for tower a, then for tower b, one after another."""
    sections = ["[" + part for part in text.split("[", 1)[1].replace("\n[", "\n\0[").split("\0[")]
    return "\n".join(part.format(t=t, d=d) for part in sections for t, d in (("a", first), ("b", second)))


TOWERS = HEAD + interleave(TOWER, 0, 1) + interleave(JOINED, 0, 1) + TOP.format(d=0)
PARAMS = default_params(TOWERS) + "topk=2\n"


def two_of(name: str) -> list:
    if name == "cuda-emulated":
        return [Cuda(EmulatedDevice()), Cuda(EmulatedDevice())]
    if name == "reference":
        return [Reference(np.float32), Reference(np.float32)]
    if name == "mixed":
        return [BACKENDS["cpu-baseline"], Cuda(EmulatedDevice())]
    return make_backends(name, 1, [0]) + make_backends(name, 1, [0])


def graph():
    return make_graph(TOWERS, {0: 192, 1: 1}, 4, PARAMS)


def data(cases, seed=0):
    labels = np.random.RandomState(seed).randint(0, 4, (1, cases))
    return [values(3 * 64, cases, seed=seed).astype(np.float32), labels.astype(np.float32)]


def train(be, **options) -> tuple[list, dict]:
    """Costs and final state of a few steps, the last minibatches smaller."""
    net = poisoned(Net(graph(), be, minibatch=7, seed=5, **options))
    costs = [net.train(data(cases, step), cases) for step, cases in enumerate((7, 7, 3, 7, 1))]
    return [*costs, net.test(data(7, 9), 7)], collect_state(net)


@pytest.mark.parametrize("name", ["reference", "cpu", "cuda-emulated"])
def test_two_devices_equal_one_bit_for_bit(name):
    two = two_of(name)
    (costs, state), (expected_costs, expected) = train(two), train(two[0])
    assert costs == expected_costs
    for layer, own in expected.items():
        for key in ("weights", "weightsInc"):
            for mine, theirs in zip(state[layer][key], own[key], strict=True):
                np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(state[layer]["biases"], own["biases"])


@pytest.mark.gpu
@pytest.mark.skipif("cuda" not in BACKENDS, reason="no GPU runs here")
def test_two_devices_on_one_card_equal_one():
    """Each with streams, memory and cuBLAS of its own; which may add what it is to add to in another order."""
    two = two_of("cuda")
    assert two[0] is not two[1]
    (costs, state), (expected_costs, expected) = train(two), train(two[0])
    for found, right in zip(costs, expected_costs, strict=True):
        for name, values_of_cost in right.items():
            np.testing.assert_allclose(found[name], values_of_cost, rtol=1e-5)
    for layer, own in expected.items():
        for mine, theirs in zip(state[layer]["weights"], own["weights"], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_several_views_are_averaged_across_devices():
    costs = []
    for be in (two_of("reference"), Reference(np.float32)):
        net = poisoned(Net(graph(), be, minibatch=7, seed=5))
        views = [[data(7, seed)[0], data(7)[1]] for seed in range(3)]
        costs.append(net.test_views(views, 3, 7))
    assert costs[0] == costs[1]


def test_devices_of_different_kinds_agree():
    (costs, state), (expected_costs, expected) = train(two_of("mixed")), train(Reference(np.float64))
    for mine, theirs in zip(costs, expected_costs, strict=True):
        assert_close(np.array(mine["logprob"]), np.array(theirs["logprob"]), 1e-4)
    for layer, own in expected.items():
        for mine, theirs in zip(state[layer]["weights"], own["weights"], strict=True):
            assert_close(mine, theirs, 1e-4)


def test_layers_run_where_the_file_says():
    first, second = two_of("reference")
    places = place(graph(), [first, second])
    assert places["conv1a"] is places["conv1a_neuron"] is first
    assert places["conv2b"] is places["hsb"] is places["moreb"] is second
    assert places["data"] is first  # where conv1a reads it
    assert places["logprob"] is places["probs"] is places["labels"] is second  # their gradients are one formula


def test_the_list_of_devices_is_gone_through_again():
    net = Net(graph(), [BACKENDS["reference32"]] * 2, minibatch=7, seed=5)
    assert {id(node.be) for node in net.nodes.values()} == {id(BACKENDS["reference32"])}
    assert not any(node.peers.readers for node in net.nodes.values())
    assert remarks(graph(), [0, 1])[0].startswith("On another device")
    wrapped = remarks(graph(), [3])
    assert wrapped[0] == "The layer file names devices 0, 1; --gpu lists 1: 0 on GPU 3, 1 on GPU 3."


def test_each_output_crosses_once_to_a_device():
    """Whatever reads it there; a gradient comes back from each reader."""

    class Counting(Reference):
        def copy_from(self, other, x, out):
            assert other is not self
            crossed.append((self, x.shape[0]))
            super().copy_from(other, x, out)

    crossed: list = []
    two = [Counting(), Counting()]
    net = Net(graph(), two, minibatch=7, seed=5)
    net.train(data(7), 7)
    sizes = {name: node.layer.outputs for name, node in net.nodes.items()}
    to_second = [sizes[name] for name in ("data", "pool1a", "hsa", "fca", "morea", "fc10")]
    to_first = [sizes[name] for name in ("pool1b", "hsb", "sum_neuron", "fcb")]
    back_to_first = [sizes[name] for name in ("pool1a", "hsa", "fca", "morea", "fc10")]
    back_to_second = [sizes[name] for name in ("pool1b", "hsb", "hsb", "sum_neuron", "fcb")]  # fca and morea read hsb
    assert sorted(n for be, n in crossed if be is two[1]) == sorted(to_second + back_to_second)
    assert sorted(n for be, n in crossed if be is two[0]) == sorted(to_first + back_to_first)


def test_nothing_is_allocated_after_the_first_step():
    net = Net(graph(), two_of("reference"), minibatch=7, seed=5)
    net.train(data(7), 7)
    before = [pool.allocated for pool in net.pools.values()]
    net.train(data(7, 1), 7)
    assert [pool.allocated for pool in net.pools.values()] == before and all(before)


def test_gradients_across_devices():
    net = poisoned(Net(graph(), [Reference(np.float64), Reference(np.float64)], minibatch=5, seed=3))
    checks = list(check_gradients(net, data(5), 5, samples=6))
    assert len(checks) > 12 and all(check.error < 1e-6 for check in checks), [c.name for c in checks if c.error > 1e-6]


def test_checkpoints_do_not_depend_on_placement():
    two = two_of("reference")
    net = Net(graph(), two, minibatch=7, seed=5)
    net.train(data(7), 7)
    moved = Net(graph(), two[0], minibatch=7, seed=5, state=collect_state(net))
    assert net.test(data(7, 1), 7) == moved.test(data(7, 1), 7)


def test_layers_that_share_weights_keep_together():
    text = HEAD + interleave(TOWER, 0, 1).replace("channels=3\n", "channels=3\nweightSource=conv1a\n").replace(
        "weightSource=conv1a\n", "", 1
    )
    text += "[fc]\ntype=fc\ninputs=pool1a,pool1b\noutputs=4\ninitW=0.5,0.5\n[probs]\ntype=softmax\ninputs=fc\n"
    shared = make_graph(text + "[logprob]\ntype=cost.logreg\ninputs=labels,probs\n", {0: 192, 1: 1}, 4)
    assert logical_devices(shared)["conv1b"] == logical_devices(shared)["conv1b_neuron"] == 0
    assert "conv1b, conv1b_neuron" in remarks(shared, [0, 1])[0]
    results = []
    for be in (two_of("reference"), Reference(np.float32)):
        net = Net(shared, be, minibatch=6, seed=1)
        results.append([net.train(data(6, step), 6) for step in range(3)])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("size", "shards", "said"),
    [
        (1, 0, []),
        (1, 4, ["Each minibatch of 64 cases is computed in 4 parts of 16."]),
        (2, 0, ["2 ranks hold the net together; each sees all 64 cases of a minibatch.", "0 on rank 0, 1 on rank 1."]),
        (3, 0, ["Each of 3 ranks has the whole net, and up to 22 of the 64 cases of a minibatch."]),
        (4, 4, ["Each of 2 groups of 2 ranks has the whole net, and 32 of the 64 cases of a minibatch in 2 parts of 16."]),
    ],
)
def test_what_ranks_have_is_told(size, shards, said):
    towers = graph()
    lines = remarks_on_ranks(towers, Layout.of(towers, 0, size, shards), 64)
    assert all(line.endswith(text) for line, text in zip(lines, said, strict=False)) and bool(lines) == bool(said)


def test_replicas_run_as_one():
    text = TOWERS.replace("gpu=0", "gpu=0,1").replace("gpu=1\n", "gpu=0,1\n")
    replicated = make_graph(text, {0: 192, 1: 1}, 4, PARAMS, dialect="2014")
    assert set(logical_devices(replicated).values()) == {0}
    assert remarks(replicated, [0, 1])[-1].startswith("In one process replicas (several numbers in gpu=, at 'conv1a' and 1")


def test_the_paper_s_net_over_two_devices():
    """Of layers-imagenet nothing but conv3, the fully-connected layers and the top crosses."""
    built = build_graph(LayerFiles.open(str(ROOT / "layers-cfg/layers-imagenet.cfg")), {0: 150528, 1: 1}, 1000)
    where = logical_devices(built)
    crossing = {
        (source.name, layer.name)
        for layer in built.layers.values()
        for source in layer.sources
        if where[source.name] != where[layer.name]
    }
    readers = {reader for _, reader in crossing}
    assert {"conv1b", "conv3a", "conv3b"} <= readers
    assert not {"conv2a", "conv2b", "conv4a", "conv4b", "conv5a", "conv5b"} & readers


def test_an_emulated_device_refuses_foreign_memory():
    one, other = Cuda(EmulatedDevice()), Cuda(EmulatedDevice())
    x, y = one.upload(np.ones((3, 3))), other.upload(np.zeros((3, 3)))
    for mistake in (lambda: one.add(y, x), lambda: one.copy_in(np.ones((3, 3)), y), lambda: one.fc_forward(x, y, x)):
        with pytest.raises(EmulationError, match="not memory of"):
            mistake()
    other.copy_from(one, x, y)
    np.testing.assert_array_equal(other.download(y), np.ones((3, 3)))
