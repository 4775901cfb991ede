"""Dead units are those that are 0 for every case of a test; where positions share weights, whole maps."""

import json

import numpy as np
import pytest
from nets import DATA, cost_of
from support import BACKENDS, SMALL_NET, each_backend, make_graph, write_cifar, write_net

from convnet.checkpoint import find_latest, load
from convnet.cli.run import main
from convnet.net.net import Net
from convnet.training.dead import DeadUnits, units_of

CONV = "type=conv\ninputs=data\nchannels=3\nfilters=4\nfilterSize=3\npadding=1\nstride=1\ninitW=0.1\n"
FC = "[fc]\ntype=fc\ninputs={below}\noutputs=6\nneuron={neuron}\n[out]\ntype=fc\ninputs=fc\noutputs=5\n" + cost_of("out")
POOL = "[pool]\ntype=pool\npool=max\ninputs=first\nchannels=4\nsizeX=2\nstride=2\n"


def net_of(text, be, minibatch=8):
    return Net(make_graph(DATA + text, {0: 3 * 64, 1: 1}, 5), be, minibatch, seed=1)


def cases(count, seed=0):
    random = np.random.RandomState(seed)
    return [random.rand(3 * 64, count).astype(np.float32), random.randint(0, 5, (1, count)).astype(np.float32)]


def bias(net, layer, values):
    biases = net.nodes[layer].biases.value
    net.nodes[layer].be.copy_in(np.asarray(values, np.float32).reshape(biases.shape), biases)


@each_backend
@pytest.mark.parametrize("neuron", ["relu", "brelu[2]"])
def test_planted_maps_and_units_are_found(be, neuron):
    net = net_of(f"[first]\n{CONV}neuron={neuron}\n{FC.format(below='first', neuron='relu')}", be)
    bias(net, "first", [0, -90, 1, -90])
    bias(net, "fc", [1, 1, -900, 1, -900, -900])
    dead = DeadUnits(net)
    dead.begin()
    for count, seed in ((8, 1), (3, 2)):
        net.test(cases(count, seed), count, observer=dead)
        dead.count(count)
    assert dead.shares() == {"first": 0.5, "fc": 0.5}


@each_backend
def test_a_unit_that_one_case_wakes_lives(be):
    net = net_of(FC.format(below="data", neuron="relu"), be)
    bias(net, "fc", [-9] * 6)
    inputs, dead = cases(8), DeadUnits(net)
    weights = net.nodes["fc"].be.download(net.nodes["fc"].weights[0].value)
    inputs[0][:, 5] = 1e4 * weights[2]  # of eight cases, one that unit 2 likes
    expected = np.mean((weights @ inputs[0] - 9).max(axis=1) <= 0)
    for start in (0, 4):
        net.test([matrix[:, start : start + 4] for matrix in inputs], 4, observer=dead)
        dead.count(4)
    assert dead.shares() == {"fc": expected} and expected < 1


@pytest.mark.parametrize(
    "text, units",
    [
        (f"[first]\n{CONV}neuron=relu\n", 4),
        (f"[first]\n{CONV}sharedBiases=0\nneuron=relu\n", 4 * 64),
        (f"[first]\n{CONV.replace('type=conv', 'type=local')}neuron=relu\n", 4 * 64),
        (f"[first]\n{CONV}{POOL}neuron=relu\n", 4),
        (f"[first]\n{CONV.replace('type=conv', 'type=local')}{POOL}neuron=relu\n", 4 * 16),
        (f"[first]\n{CONV}[relu]\ntype=neuron\ninputs=first\nneuron=nrelu\n", 4),
    ],
)
def test_a_unit_is_a_map_where_its_positions_share_weights(text, units):
    last = text.rpartition("[")[2].partition("]")[0] if text.count("[") > 1 else "first"
    graph = make_graph(DATA + text + FC.format(below=last, neuron="tanh[1,1]"), {0: 3 * 64, 1: 1}, 5)
    found = [layer for layer in graph.layers.values() if layer.function in ("relu", "nrelu")]
    assert [units_of(layer) for layer in found] == [units]


def test_enough_is_enough():
    """A large test is looked at in its beginning."""
    net = net_of(FC.format(below="data", neuron="relu"), BACKENDS["reference32"], 300)
    dead = DeadUnits(net)
    for expected in (["fc_neuron"], ["fc_neuron"], []):
        assert [net.nodes[name].layer.written_name for name in dead.wanted] == ["fc"] * len(expected)
        net.test(cases(300), 300, observer=dead)
        dead.count(300)
    dead.begin()
    assert len(dead.wanted) == 1 and dead.shares() == {}


def test_neurons_that_are_never_only_0_are_left_alone():
    net = net_of(FC.format(below="data", neuron="tanh[1,1]"), BACKENDS["reference32"])
    assert DeadUnits(net).wanted == []


def test_a_run_logs_them_and_computes_what_it_computed_before(tmp_path, monkeypatch):
    net = write_net(tmp_path, SMALL_NET.replace("initW=0.01\nneuron=relu", "initW=0.01\ninitB=-500\nneuron=relu"))
    options = ["--layer-def", net, "--data-path", write_cifar(tmp_path / "data", cases=40), "--mini", 16, "--epochs", 2]
    options = [*map(str, [*options, "--test-freq", 1, "--backend", "cpu", "--test-range", 3])]
    assert main([*options, "--save-file", str(tmp_path / "looked")]) == 0
    monkeypatch.setattr(DeadUnits, "wanted", ())
    assert main([*options, "--save-file", str(tmp_path / "not")]) == 0
    texts = [(tmp_path / name / "log.jsonl").read_text() for name in ("looked", "not")]
    records = [[json.loads(line) for line in text.splitlines()] for text in texts]
    measured, others = ([record for record in lines if record["line"] == "weights"] for lines in records)
    assert [record["dead"] for record in measured] == [{"conv1": 1.0}] * len(measured) and measured
    assert [record["weights"] for record in measured] == [record["weights"] for record in others]
    checkpoints = [find_latest(str(tmp_path / name), load)[1] for name in ("looked", "not")]
    for name, layer in checkpoints[0].layers.items():
        for key in ("weights", "weightsInc", "biases", "biasesInc"):
            np.testing.assert_equal(layer.get(key), checkpoints[1].layers[name].get(key))
