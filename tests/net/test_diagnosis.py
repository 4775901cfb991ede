"""Why numbers are not finite: data, weights, labels and rates are blamed for what is theirs; and steps that end early."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nets import DATA, cost_of
from support import ORACLE, each_backend, make_graph

import convnet
from convnet.backends.reference import Reference
from convnet.data.provider import MatrixBatch, split
from convnet.errors import DataError, NumericalError
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.training.checks import check_batch

NET = f"""{DATA}[fc1]
type=fc
inputs=data
outputs=6
initW=0.3
neuron=tanh[1,1]
[fc2]
type=fc
inputs=fc1
outputs=4
initW=0.3
{cost_of("fc2")}"""
RATES = "[DEFAULT]\nepsW=0.1\nepsB=0.1\nmomW=0.9\nmomB=0.9\n[fc1]\n{}\n[fc2]\n[logprob]\ncoeff=1\n"


def net_on(be, more="", **options):
    return Net(make_graph(NET, {0: 8, 1: 1}, 4, params=RATES.format(more)), be, minibatch=5, seed=3, **options)


def inputs(seed=0):
    random = np.random.RandomState(seed)
    return [random.randn(8, 5).astype(np.float32), random.randint(0, 4, (1, 5)).astype(np.float32)]


def refused(net, given, told):
    with np.errstate(all="ignore"), pytest.raises(NumericalError, match=re.escape(told)):
        net.train(given, 5)


@each_backend
def test_the_data_are_blamed_for_what_is_in_them(be):
    net = net_on(be)
    bad = inputs()
    bad[0][6, 2:4] = np.nan
    refused(net, bad, "'data' reads, is not finite: value 6 of case 2 and 1 more, counted from 0, is nan. Mend the data.")
    bad = inputs()
    bad[1][0, 4] = np.nan
    if not be.name.startswith("cuda"):  # whose kernels take labels for rows without a look; ``check_batch`` comes before
        refused(net, bad, "which layer 'labels' reads, is not finite: value 0 of case 4, counted from 0, is nan")
    assert net.train(inputs(), 5)


SURE_OF_CLASS_0 = np.array([[9e4, 0, 0, 0]], np.float32)


@pytest.mark.parametrize("period", [1, 3])
def test_rates_are_blamed_when_one_has_acted(period):
    net = net_on(ORACLE, update_period=period)
    labels_of_1 = [inputs()[0], np.ones((1, 5), np.float32)]
    for step in range(period):
        net.train(labels_of_1, 5)
        assert net.has_learned == (step == period - 1)
    net.nodes["fc2"].be.copy_in(SURE_OF_CLASS_0.reshape(-1), net.nodes["fc2"].biases.value)
    refused(net, labels_of_1, "a label got probability 0. Lower epsW.")


def test_initial_weights_are_blamed_before():
    net = net_on(ORACLE)
    net.load_state(collect_state(net) | {"fc2": collect_state(net)["fc2"] | {"biases": SURE_OF_CLASS_0}})
    given = [inputs()[0], np.ones((1, 5), np.float32)]
    reach = np.abs(given[0]).max()
    told = "a label got probability 0. No learning rate has acted yet. Lower the initial weights (initW), or scale the data"
    refused(net, given, f"{told}, which reach {reach:.3g}.")


def test_initial_weights_of_layers_are_blamed_before():
    large = NET.replace("initW=0.3\nneuron=tanh[1,1]", "initW=1e37\nneuron=square")
    net = Net(make_graph(large, {0: 8, 1: 1}, 4), Reference(), minibatch=5)
    told = "No learning rate has acted yet. Lower the initial weights (initW) of the layers up to there, or scale the data"
    refused(net, inputs(), told)


def test_super_eps_is_blamed():
    files = NET.replace("neuron=tanh[1,1]\n", "initB=1\n"), RATES.format("superEps=0.01\nschedW=dexp[10,0,2]")
    net = Net(make_graph(files[0], {0: 8, 1: 1}, 4, params=files[1], dialect="2012"), ORACLE, minibatch=5)
    steady = [np.full((8, 5), 0.5, np.float32), np.zeros((1, 5), np.float32)]
    with np.errstate(all="ignore"), pytest.raises(NumericalError, match=r"fc1.*superEps=0.01 lets its rule take roots"):
        for _ in range(50):
            net.train(steady, 5)


@each_backend
def test_a_test_goes_on_at_probability_0(be):
    net = net_on(be)
    state = collect_state(net)
    state["fc2"]["biases"][:] = np.array([[9e4, 0, 0, 0]], np.float32)
    net.load_state(state)
    with np.errstate(all="ignore"):
        costs = net.test([inputs()[0], np.array([[0, 0, 1, 0, 0]], np.float32)], 5)["logprob"]
    assert costs[0] == np.inf and costs[1] == pytest.approx(1)


@pytest.mark.parametrize("where", ["forward", "backward", "update"])
@pytest.mark.parametrize("layer", ["fc1", "fc2"])
@pytest.mark.parametrize("more", ["", "superEps=0.5\nschedW=dexp[10,0,2]"])
def test_an_interrupt_leaves_no_half_gradient(where, layer, more):
    """The next step is that of a net whose momentum was zero where a gradient had begun to be added to it."""
    net = net_on(ORACLE, more)
    before = collect_state(net)

    def interrupt(node, kind, work):
        work()
        if (kind, node.layer.name) == (where, layer):
            raise KeyboardInterrupt

    net.around = interrupt
    with pytest.raises(KeyboardInterrupt):
        net.train(inputs(), 5)
    net.around = None
    assert not any(weights.contributions or weights.waited for weights in net.weights)
    assert not any(node.started or node.reached or node.acts is not None for node in net.nodes.values())
    if where == "update":
        return
    fresh = net_on(ORACLE, more, state=before)
    assert net.train(inputs(1), 5) == fresh.train(inputs(1), 5)
    for name, arrays in collect_state(fresh).items():
        for key, values in arrays.items():
            np.testing.assert_array_equal(collect_state(net)[name][key], values)


def network(minibatch=4):
    net = convnet.build(NET, RATES.format(""), minibatch=minibatch, backend="reference")
    return net, np.zeros((net.graph.data_dims[0], 10), np.float32), np.arange(10) % 4


def test_python_goes_on_after_an_interrupt():
    net, data, labels = network()
    net.net.around = lambda node, kind, work: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        net.train(data, labels)
    net.net.around = None
    assert len(net.train(data, labels)) == 1 and len(net.history) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_batch_with_what_is_no_number_is_not_trained_on(value):
    """Neither does tanh show an infinity in the costs, nor relu a NaN: the weights alone would."""
    net, data, labels = network()
    before = collect_state(net.net)
    data[3, 5] = value
    with pytest.raises(DataError, match=f"batch 1: matrix 0 of the data is not finite: value 3 of case 5 is {value}"):
        net.train(data, labels)
    for name, arrays in collect_state(net.net).items():
        np.testing.assert_equal(arrays["weights"], before[name]["weights"])


@pytest.mark.parametrize("label", [4, -1, 1.5, np.nan])
@pytest.mark.parametrize("training", [True, False])
def test_labels_that_are_no_classes(label, training):
    net, data, labels = network()
    matrices = [data, labels[None].astype(np.float32)]
    matrices[1][0, 7] = label
    where = f"batch 2: cost 'logprob' has classes 0 to 3, but the label of case 7 is {label}"
    where = "matrix 1 of the data is not finite: value 0 of case 7" if training and np.isnan(label) else where
    with pytest.raises(DataError, match=re.escape(where)):
        check_batch(net.graph, split(MatrixBatch(matrices), 4), "batch 2", finite=training)


def test_the_batch_of_a_failure_is_named():
    net, data, labels = network()
    data[:, 5] = 3e38
    with (
        np.errstate(all="ignore"),
        pytest.raises(NumericalError, match=r"^batch 1\.1, minibatch 2: .*the data reach 3e\+38"),
    ):
        net.train(data, labels)


def test_a_test_that_is_not_a_number_says_why(caplog):
    net, data, labels = network()
    data[3, 5] = np.nan
    with np.errstate(all="ignore"):
        assert np.isnan(net.test(data, labels)["logprob"][0])
    assert [record.message.split(":")[0] for record in caplog.records] == ["cost 'logprob' of test batch 1 is not a number"]
