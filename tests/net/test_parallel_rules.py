"""Nets in parts keep the rules of nets in one piece: rates, neurons in ops, costs of wide layers, views, orders of costs."""

import numpy as np
import pytest
from ranks.threads import on_ranks
from test_parallel import (
    CASES,
    CONV,
    DATA,
    TOP,
    assert_alike,
    cut,
    data,
    flat,
    graph_of,
    hybrid,
    learning,
    on,
    parallel,
    plain,
    towers,
    whole,
)

from convnet.backends import make_backend
from convnet.errors import NumericalError
from convnet.net.net import Net
from convnet.net.state import collect_state

RATES = "momW=0.9\nmomB=0.9\nwc=0.001\n"


def shared(schedule=""):
    """fc and local layers of one matrix, each with a rate of its own."""
    text, params = plain()
    text = text.replace("[probs]", "[fc3]\ntype=fc\ninputs=drop\noutputs=5\ninitW=0.2\nweightSource=fc2\n[probs]")
    text = text.replace("[logprob]", "[size]\ntype=cost.sum2\ninputs=fc3\n[logprob]")
    params += f"[fc3]\nepsW=0.4\nepsB=0.1\n{RATES}[size]\ncoeff=0.1\n"
    return text, params.replace("[fc2]\n", f"[fc2]\n{schedule}").replace("[fc1]\n", f"[fc1]\n{schedule}")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_layers_of_one_matrix_learn_at_their_own_rates(size):
    assert_alike(on(size, shared(), shards=size), whole(shared()))


def test_gradients_between_updates_have_the_rates_of_their_minibatches():
    def trained(net):
        for step in range(4):
            net.train(cut(net, data(CASES, step)), CASES, step / 4)
        return flat(collect_state(net))

    files = shared("schedW=exp[tgtFactor=20]\nschedB=linear[tgtFactor=3]\n")
    expected = trained(Net(graph_of(files), make_backend("cpu", 1), CASES, 3, update_period=4))
    found = on_ranks(2, lambda communicator: trained(parallel(communicator, files, update_period=4)))
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


def crossing():
    """A neuron that a layer on another device reads, and a cost that reads labels beside those of another device."""
    text = DATA + CONV.format(name="", filters=4, gpu="gpu=0").replace("neuron=relu", "neuron=logistic")
    text += "[fc1]\ntype=fc\ninputs=conv1\noutputs=6\ninitW=0.2\nneuron=logistic\ngpu=1\n"
    text += "[fc2]\ntype=fc\ninputs=fc1,pool1\noutputs=5\ninitW=0.2,0.2\ngpu=1\n" + TOP.format("gpu=1")
    text += "[one]\ntype=fc\ninputs=fc1\noutputs=1\ninitW=0.2\nneuron=logistic\ngpu=0\n"
    text += "[yes]\ntype=cost.crossent2\ninputs=labels,one\ngpu=1\n"
    return text, learning(conv1=1, fc1=1, fc2=2, one=1) + "[logprob]\ncoeff=1\n[yes]\ncoeff=0.1\n"


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_of_a_group_agree_who_multiplies_by_slopes_and_keep_labels_as_long(size):
    expected, results = whole(crossing()), on(size, crossing())
    assert_alike(results, expected)
    for costs, *_ in results:
        assert [list(of_step) for of_step in costs] == [["logprob", "yes"]] * len(costs)
        np.testing.assert_allclose([cost["yes"] for cost in costs], [cost["yes"] for cost in expected[0]], rtol=1e-5)


def replicas():
    """Costs of wide layers and of narrow ones, which read wide layers, narrow ones, or both."""
    text = DATA + CONV.format(name="", filters=8, gpu="gpu=0,1,2,3")
    text += "[wide]\ntype=fc\ninputs=conv1\noutputs=5\ninitW=0.2\n{0}[pw]\ntype=softmax\ninputs=wide\n{0}"
    text += "[costw]\ntype=cost.logreg\ninputs=labels,pw\n{0}[sizew]\ntype=cost.sum2\ninputs=wide\n{0}"
    text += "[sizen]\ntype=cost.sum2\ninputs=pool1\n{1}"
    text += "[fc2]\ntype=fc\ninputs=pool1\noutputs=5\ninitW=0.2\n{1}" + TOP.format("gpu=0")
    params = learning(conv1=1, wide=1, fc2=1).replace("[fc2]\n", "[fc2]\nupdatePeriod=4\n")
    params += "".join(f"[{name}]\ncoeff=0.1\n" for name in ("costw", "sizew", "sizen")) + "[logprob]\ncoeff=1\n"
    return text.format("gpu=0,1,2,3\n", "gpu=0\n"), params


@pytest.mark.parametrize("cases", [CASES, 13, 7, 2])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_costs_of_wide_layers_count_once_and_views_are_averaged(size, cases):
    """Those of the smallest minibatches have no case on some lanes."""
    text, params = replicas()
    one_piece = (
        "\n".join(line for line in text.split("\n") if not line.startswith("gpu=")),
        params.replace("updatePeriod=4", ""),
    )

    def work(net):
        for pool in net.pools.values():
            pool.poison = True
        costs = [net.train(cut(net, data(cases, step)), cases) for step in range(2)]
        first, second = data(cases, 7), data(cases, 8)
        second[1] = first[1]
        keep = ["labels", "wide", "pool1", "fc2"]
        costs.append(net.test_views([cut(net, view) for view in (first, second)], 2, cases, keep))
        return costs, [net.output(name) for name in keep], flat(collect_state(net))

    expected = work(Net(graph_of(one_piece), make_backend("cpu", 1), cases, 3))
    results = on_ranks(size, lambda communicator: work(parallel(communicator, (text, params), cases=cases)))
    np.testing.assert_allclose(results[0][2], expected[2], atol=2e-6)
    for costs, outputs, _ in results:
        for mine, theirs in zip(costs, expected[0], strict=True):
            assert list(mine) == list(theirs)
            for name in theirs:
                np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5)
        for mine, theirs in zip(outputs, expected[1], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)


class _Halt(Exception):
    pass


def _fail(net, how):
    """Have a step fail: at a cost that is not finite, or after a layer's work."""
    bad = data(CASES, 1)
    if how == "nan":
        bad[0][5, 7] = np.nan
        with pytest.raises(NumericalError):
            net.train(cut(net, bad), CASES)
        return

    def around(node, kind, work):
        work()
        if (kind, node.layer.name) == how:
            raise _Halt

    net.around = around
    with pytest.raises(_Halt):
        net.train(cut(net, bad), CASES)
    net.around = None


@pytest.mark.parametrize(
    "how", ["nan", ("forward", "fc2"), ("backward", "fc2"), ("backward", "conv1"), ("backward", "conv1a")]
)
@pytest.mark.parametrize("files", [plain(), towers(), hybrid(4)], ids=["plain", "towers", "hybrid"])
@pytest.mark.parametrize("size", [2, 4])
def test_a_net_goes_on_after_a_step_that_all_ranks_dropped(size, files, how):
    """What the step has left on its way changes nothing, whenever it comes."""

    def work(net):
        net.train(cut(net, data(CASES, 0)), CASES)
        _fail(net, how)
        costs = [net.train(cut(net, data(CASES, step)), CASES)["logprob"] for step in (2, 3)]
        return costs, flat(collect_state(net))

    is_there = how == "nan" or how[1] in graph_of(files).layers
    if not is_there:
        pytest.skip("another net has this layer")
    if files == hybrid(4) and how == ("backward", "conv1"):
        pytest.skip("as many passes have been learned from as there are lanes")
    (expected,) = on_ranks(1, lambda communicator: work(parallel(communicator, files)))
    for costs, _ in (results := on_ranks(size, lambda communicator: work(parallel(communicator, files)))):
        np.testing.assert_allclose(costs, expected[0], rtol=1e-5)
    np.testing.assert_allclose(results[0][1], expected[1], atol=2e-6)
