"""Updates: worked steps, decay, freezing, sharing, periods, noise, constraints (numerics section 13)."""

import numpy as np
import pytest
from support import ORACLE, assert_close, each_backend, make_graph, values

from convnet.backends.arguments import Rates
from convnet.backends.reference import Reference
from convnet.language.schedules import Schedule
from convnet.net.net import Net
from convnet.net.state import collect_state, learning_of
from convnet.net.weights import Learning, Weights


def weights(be, value, learning, **options):
    array = np.asarray(value, np.float64)
    return Weights(be, be.upload(array), be.zeros(array.shape), learning, **options)


def step(w, gradient, cases=1, progress=0.0):
    """One update with a given gradient of minus the cost, summed over cases."""
    w.begin(progress, cases)
    target, scale_targets, scale_output = w.grad_target()
    w.be.add(w.be.upload(np.full(target.shape, gradient, np.float64)), target, scale_targets, scale_output)
    w.update()


@each_backend
@pytest.mark.parametrize("folds", [False, True])
def test_three_steps(be, folds):
    """Numerics 24.6."""
    w = weights(be, [1.0], Learning(0.01, mom=0.9, wc=0.0005), folds_gradient=folds)
    for v, value in (
        (0.004995, 1.004995),
        (0.009490475025, 1.014485475025),
        (0.013536355095125, 1.028021830120125),
    ):
        step(w, 0.5 * 4, cases=4)
        assert be.download(w.inc)[0] == pytest.approx(v, rel=1e-5)
        assert be.download(w.value)[0] == pytest.approx(value, rel=1e-5)


def test_frozen_weights_do_not_move():
    """Numerics 13.3: no gradient, no decay, no constraint."""
    w = weights(ORACLE, [[3.0], [4.0]], Learning(0.0, mom=0.9, wc=1, norm_limit=1), column_shape=(1, 2, 1))
    assert not w.learns
    w.begin(0.0, 1)
    w.update()
    np.testing.assert_array_equal(w.value, [[3], [4]])


@pytest.mark.parametrize("folds", [False, True])
def test_two_contributions_add_up(folds):
    """Numerics 2.13 and 4.2; 2011 lost the first of them in fc layers."""
    w = weights(ORACLE, [1.0], Learning(0.1, mom=0.5), folds_gradient=folds)
    for expected in (1.3, 1.75):
        w.begin(0.0, 1)
        for gradient in (1.0, 2.0):
            target, scale_targets, scale_output = w.grad_target()
            ORACLE.add(np.array([gradient]), target, scale_targets, scale_output)
        w.update()
        assert w.value[0] == pytest.approx(expected)


@pytest.mark.parametrize("folds", [False, True])
def test_update_period(folds):
    """Gradients of several minibatches add up before one step (numerics 13.9)."""
    w = weights(ORACLE, [1.0], Learning(0.1, mom=0.5), folds_gradient=folds, period=2)
    step(w, 1.0)
    assert w.value[0] == 1
    step(w, 3.0)
    assert w.value[0] == pytest.approx(1 + 0.1 * (1 + 3) / 2)


def test_no_gradient_leaves_momentum_to_run_out():
    w = weights(ORACLE, [1.0], Learning(0.1, mom=0.5))
    step(w, 1.0)
    w.begin(0.0, 1)
    w.update()
    assert w.value[0] == pytest.approx(1 + 0.1 + 0.05)


def test_noise_multiplies_the_rate():
    """Numerics 14.3: e * (1 + |z| * stdev), drawn anew for the gradient."""
    w = weights(ORACLE, [1.0], Learning(0.1, Schedule("linear", 1, 1, 1.0)))
    noise = np.random.Generator(np.random.Philox(key=1))
    rates = []
    for _ in range(200):
        w.begin(0.5, 1, noise)
        rates.append(w.rate)
    assert min(rates) >= 0.1 and np.mean(rates) == pytest.approx(0.1 * (1 + np.sqrt(2 / np.pi)), rel=0.1)


@each_backend
def test_norm_limit(be):
    """Numerics 13.6: longer columns are cut; hard: all non-zero columns are set."""
    w = np.array([[[3.0, 0.3, 0], [4, 0.4, 0]]])
    for hard, expected in ((False, [[1.2, 0.3, 0], [1.6, 0.4, 0]]), (True, [[1.2, 1.2, 0], [1.6, 1.6, 0]])):
        array = be.upload(w)
        be.limit_norm(array, 2.0, hard)
        np.testing.assert_allclose(be.download(array)[0], expected, rtol=1e-6)


@each_backend
def test_contrast_limit(be):
    """Numerics 24.10: the statistic of [1, 2, 3, 4] is 0.559017; the mean is scaled along."""
    w = np.array([1.0, 2, 3, 4]).reshape(1, 4, 1)
    for least, most, factor in ((0, 0.25, 0.25 / 0.559017), (1, 2, 1 / 0.559017), (0.5, 0.6, 1)):
        array = be.upload(w)
        be.limit_contrast(array, least, most)
        np.testing.assert_allclose(be.download(array), w * factor, rtol=1e-5)


@each_backend
@pytest.mark.parametrize("outer, rows, inner", [(5, 1100, 1), (1, 70, 33), (3, 2, 64), (1, 3, 5), (2, 1, 1)])
def test_limits_of_long_columns(be, outer, rows, inner):
    """Numerics 13.6 and 13.7, with some columns within the limits and some outside."""
    w = values(outer, rows, inner) * np.linspace(0.1, 2, outer * inner).reshape(outer, 1, inner)
    norms = np.sqrt((w**2).sum(axis=1))
    contrasts = np.sqrt(((w - w.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)) / rows
    for op, limits in (
        ("limit_norm", (np.median(norms), False)),
        ("limit_norm", (1.5, True)),
        ("limit_contrast", (np.quantile(contrasts, 0.3), np.quantile(contrasts, 0.7))),
        ("limit_contrast", (np.median(contrasts), np.inf)),
    ):
        found = []
        for backend in (be, ORACLE):
            array = backend.upload(w)
            getattr(backend, op)(array, *limits)
            found.append(backend.download(array))
        assert_close(*found)


@each_backend
def test_mean_magnitude(be):
    w = values(7, 13)
    assert be.mean_magnitude(be.upload(w)) == pytest.approx(np.abs(w).mean(), rel=1e-6)


@each_backend
def test_super_update(be):
    """Numerics 13.8, with its hard-coded 0.9 and unsquared mean."""
    w, v, g = values(5, 3), values(5, 3, seed=1), values(5, 3, seed=2)
    a, b = values(5, 3, low=0.0) * 0.1, values(5, 3, low=1.0)
    arrays = [be.upload(array) for array in (w, v, g, a, b)]
    be.super_update(*arrays[:3], tuple(arrays[3:]), rates=Rates(0.8, 0.01, 0.001), epsilon=5.0)
    a, b = 0.8 * a + 0.2 * g, 0.8 * b + 0.2 * g * g
    v = 0.9 * v + 0.01 * g / np.sqrt(b - a + 5) - 0.001 * w
    assert_close(be.download(arrays[1]), v)
    assert_close(be.download(arrays[0]), w + v)


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[a]
type=fc
inputs=data
outputs=5
initW=0.5
[b]
type=fc
inputs=a,a
outputs=5
initW=0.5,0.5
weightSource={source}
[probs]
type=softmax
inputs=b
[logprob]
type=cost.logreg
inputs=labels,probs
"""


def test_shared_weights_stay_one(source=",b[0]"):
    graph = make_graph(NET.format(source=source), {0: 4, 1: 1}, 5)
    net = Net(graph, Reference(np.float64), minibatch=6)
    before = net.nodes["b"].weights[0].value.copy()
    assert net.nodes["b"].weights[0] is net.nodes["b"].weights[1]
    net.train([values(4, 6), np.array([[0.0, 1, 2, 3, 4, 0]])], 6)
    assert (net.nodes["b"].weights[0].value != before).all()
    assert graph.parameters() == 4 * 5 + 5 + 5 * 5 + 5


@each_backend
def test_gradients_of_shared_weights_add_up(be):
    """A matrix used twice moves by the sum of what two unshared copies would have got."""
    x, labels = values(4, 6), np.array([[0.0, 1, 2, 3, 4, 0]])
    shared = Net(make_graph(NET.format(source=",b[0]"), {0: 4, 1: 1}, 5), be, minibatch=6)
    apart = Net(make_graph(NET.format(source=","), {0: 4, 1: 1}, 5), be, minibatch=6)
    for own, other in zip(apart.nodes["b"].weights, shared.nodes["b"].weights, strict=True):
        be.copy_in(be.download(other.value), own.value)
    for net in (shared, apart):
        be.copy_in(be.download(shared.nodes["a"].weights[0].value), net.nodes["a"].weights[0].value)
    before = be.download(shared.nodes["b"].weights[0].value)
    for net in (shared, apart):
        net.train([np.float32(x), np.float32(labels)], 6)
    moved = be.download(shared.nodes["b"].weights[0].value) - before
    assert_close(moved, sum(be.download(w.value) - before for w in apart.nodes["b"].weights), 1e-4)


def test_several_minibatches_count_as_full_ones():
    """Numerics 13.9: one minibatch is divided by its own cases; several by their nominal size, the last one too."""
    for period, divisor in ((1, 3), (2, 2 * 6)):
        net = Net(make_graph(NET.format(source=","), {0: 4, 1: 1}, 5), ORACLE, minibatch=6, update_period=period)
        net.begin_step(0.0, 3)
        assert {w.case_scale for w in net.weights} == {1 / divisor}


def test_period_of_a_layer():
    """2014's updatePeriod, or --wupdate-freq where that is longer."""
    params = "[a]\nupdatePeriod=3\n[b]\n[logprob]\ncoeff=1\n[DEFAULT]\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\n"
    graph = make_graph(NET.format(source=","), {0: 4, 1: 1}, 5, params)
    net = Net(graph, ORACLE, minibatch=6, update_period=2)
    state = [collect_state(net)]
    for _ in range(6):
        net.train([values(4, 6), np.array([[0.0, 1, 2, 3, 4, 0]])], 6)
        state.append(collect_state(net))
    moved = {
        name: [i for i in range(1, 7) if (state[i][name]["biases"] != state[i - 1][name]["biases"]).any()] for name in "ab"
    }
    assert moved == {"a": [3, 6], "b": [2, 4, 6]}


@pytest.mark.parametrize("dialect, hard, factor", [("2011", False, 1), ("2012", False, 18), ("2014", True, 1)])
def test_limits_of_each_generation(dialect, hard, factor):
    """Numerics 13.6 and 13.8: wball counts per weight in 2012, sets the norm of conv in 2014, which ignored superEps."""
    image = "inputs={}\nchannels=2\nfilters=4\nfilterSize=3\npadding=1\ninitW=0.1\n"
    text = "[data]\ntype=data\ndataIdx=0\n[conv]\ntype=conv\n" + image.format("data")
    text += "[local]\ntype=local\n" + image.format("conv").replace("channels=2", "channels=4")
    text += "[cost]\ntype=cost.sum2\ninputs=local\n"
    keys = "epsW=0.1\nepsB=0\nmomW=0\nmomB=0\nwball=2\nsuperEps=0.5\nwc=0\n"
    graph = make_graph(text, {0: 50}, params=f"[conv]\n{keys}[local]\n{keys}[cost]\ncoeff=1\n", dialect=dialect)
    conv, local = (learning_of(graph.layers[name], 0, graph) for name in ("conv", "local"))
    if dialect == "2011":
        assert conv.norm_limit == conv.superEps == 0  # its parser reads neither
        return
    assert (conv.norm_limit, conv.norm_hard) == (2 * factor, hard)
    assert (local.norm_limit, local.norm_hard) == (2 * (36 if dialect == "2012" else 1), False)
    assert conv.superEps == (0.5 if dialect == "2012" else 0)


@each_backend
def test_contrast_is_limited_before_the_norm(be):
    """Numerics 13.7: after an update first wcNorm, then wball."""
    learning = Learning(0.1, contrast=(1.0, 2.0), norm_limit=5.0)
    w = weights(be, np.array([1.0, 2, 3, 4]).reshape(1, 4, 1), learning, column_shape=(1, 4, 1))
    step(w, 0.0)
    # The contrast 0.559017 is raised to 1, which makes the norm 9.798; then the norm is cut to 5.
    expected = np.array([1.0, 2, 3, 4]) * 5 / np.sqrt(30)
    np.testing.assert_allclose(be.download(w.value).ravel(), expected, rtol=1e-5)
