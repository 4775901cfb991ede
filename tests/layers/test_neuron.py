"""Neurons, softmax, dropout and elementwise ops: oracle, kinks, gradients by differences, shared buffers."""

import numpy as np
import pytest
from support import (
    BACKENDS,
    ORACLE,
    assert_close,
    assert_gradients,
    compare,
    default_params,
    each_backend,
    integers,
    make_graph,
    run_op,
    values,
)

from convnet.backends.arguments import NEURONS, Activation
from convnet.backends.philox import Key
from convnet.language.neurons import TYPES
from convnet.layers.modes import Mode
from convnet.net.net import Net

SPELLINGS = ["ident", "logistic", "relu", "brelu[1.5]", "abs", "tanh[1.7,0.6]", "drelu[2]", "softrelu", "square", "sqrt"]
SPELLINGS += ["linear[3,2.2]", "log[1.5]"]


def activation_of(spelling):
    name, _, rest = spelling.partition("[")
    return Activation(name, *(float(part) for part in rest.rstrip("]").split(",") if part))


def test_every_type_is_tested():
    assert {activation_of(spelling).kind for spelling in SPELLINGS} | {"nrelu"} == set(TYPES) == {*NEURONS, "nrelu"}


@each_backend
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_ops(be, spelling):
    activation = activation_of(spelling)
    positive = activation.kind in ("sqrt", "log")
    x = values(7, 33, low=0.1) if positive else np.concatenate([3 * values(7, 33), integers(7, 33)], axis=1)
    g = values(*x.shape, seed=1)
    y = run_op(ORACLE, "neuron_forward", [x], g, activation=activation)
    assert_close(run_op(be, "neuron_forward", [x], g, activation=activation), y)
    compare(be, "neuron_input_grad", [x, y.astype(np.float32).astype(np.float64), g], x.shape, activation=activation)


@each_backend
def test_noise_of_nrelu(be):
    x, key = values(300, 20), Key(1, 2, 0, 0)
    out = run_op(be, "nrelu_forward", [x], x.copy(), key=key)
    assert_close(out, run_op(ORACLE, "nrelu_forward", [x], x.copy(), key=key), 1e-4)
    assert (out[x <= 0] == 0).all()
    ratio = out[x > 0] / x[x > 0]
    assert abs(ratio.mean() - 1.083) < 0.05  # the mean of max(0, 1 + z)


@each_backend
def test_noise_of_nrelu_does_not_hide_what_is_not_a_number(be):
    x = values(8, 33)
    x[0, 2] = x[3, 20] = np.nan
    found = run_op(be, "nrelu_forward", [x], x, key=Key(1, 2, 3, 4))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))


def test_softrelu_jumps_at_four():
    """Numerics 24.9."""
    x = np.array([[4.0, np.nextafter(4, 5)]])
    y = run_op(ORACLE, "neuron_forward", [x], x, activation=Activation("softrelu"))
    assert y[0, 0] - y[0, 1] == pytest.approx(0.018150, abs=1e-6)


@each_backend
@pytest.mark.parametrize("rows, N", [(10, 5), (1, 1), (33, 130), (150, 35)])
def test_softmax(be, rows, N):
    x, g = 5 * values(rows, N), values(rows, N, seed=1)
    y = run_op(ORACLE, "softmax_forward", [x], g)
    assert_close(run_op(be, "softmax_forward", [x], g), y)
    compare(be, "softmax_input_grad", [y, g], x.shape)


@each_backend
def test_softmax_has_probabilities_down_to_the_smallest_number_of_float32(be):
    """So that the cost of a label is finite as long as it was in the originals, down to logits of -103."""
    logits = np.concatenate([np.arange(-103.25, -80, 0.25), [-87.3125, -104.5, -110, -1e30, -np.inf]])
    x = np.stack([np.zeros_like(logits), logits])
    found, expected = run_op(be, "softmax_forward", [x], x)[1], run_op(ORACLE, "softmax_forward", [x], x)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2**-149)
    assert (found[logits > -103.5] > 0).all() and (found[logits < -104] == 0).all()


@each_backend
@pytest.mark.parametrize("spelling", ["logistic", "tanh[1.7,0.6]", "drelu[2]", "softrelu"])
def test_neurons_far_from_zero(be, spelling):
    """Where exponentials are subnormal, 0 or infinite."""
    x = np.concatenate([np.arange(-120, 120.5, 0.5), [-1e4, 1e4]])[None]
    activation = activation_of(spelling)
    with np.errstate(over="ignore"):
        expected = run_op(ORACLE, "neuron_forward", [x], x, activation=activation)
        found = run_op(be, "neuron_forward", [x], x, activation=activation)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=3e-7 if spelling != "logistic" else 1e-38)


@each_backend
def test_dropout_mask_is_the_same_everywhere(be):
    x = values(101, 7, low=1.0)
    for keep, gain in ((0.5, 1.0), (0.3, 1 / 0.3), (0.0, 1.0), (1.0, 1.0)):
        compare(be, "dropout", [x], x.shape, keep=keep, gain=gain, key=Key(1, 2, 3, 4))
    ones = np.ones((400, 100))
    kept = run_op(be, "dropout", [ones], np.full_like(ones, np.nan), keep=0.3, gain=1.0, key=Key(9, 8, 7, 6))
    assert abs(kept.mean() - 0.3) < 0.01


@each_backend
def test_elementwise(be):
    x, y, g = integers(9, 37), integers(9, 37, seed=1), values(9, 37)
    top = np.maximum(x, y)
    out = be.upload(x)
    be.eltmax_forward(be.upload(y), out)
    np.testing.assert_array_equal(be.download(out), top)
    compare(be, "eltmax_input_grad", [x, top, g], x.shape)
    compare(be, "add", [x], x.shape, scale_output=-2.5)


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[below]
type=fc
inputs=data
outputs=5
initW=0.5
initB=1.2
neuron={neuron}
[fc]
type=fc
inputs=below
outputs=3
initW=0.5
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_gradients(spelling):
    data = values(4, 4, low=0.5) * 0.1
    assert_gradients(NET.format(neuron=spelling), [data, np.array([[0.0, 1, 2, 1]])], classes=3)


def dropout_net(layer):
    text = NET.format(neuron="relu").replace("inputs=below", "inputs=drop")
    return text.replace("[fc]", f"[drop]\ninputs=below\n{layer}\n[fc]")


DROPOUTS = {"hs": "type=hs\nkeep=0.4", "dropout2": "type=dropout2\nkeep=0.4", "dropout": "type=dropout\nkeep=0.4"}


@pytest.mark.parametrize("layer", DROPOUTS.values(), ids=DROPOUTS.keys())
def test_dropout_gradients(layer):
    """Differences run in the GRADCHECK pass, where no unit is dropped (numerics 10.1)."""
    assert_gradients(dropout_net(layer), [values(4, 4), np.array([[0.0, 1, 2, 1]])], classes=3)


@pytest.mark.parametrize("kind, gain, others", [("hs", 1.0, 0.4), ("dropout2", 1.0, 0.4), ("dropout", 2.5, 1.0)])
@pytest.mark.parametrize("enable", [0, 1])
def test_dropout_passes(kind, gain, others, enable):
    """Training with units dropped, training without, and testing (numerics section 10)."""
    text = (
        "[data]\ntype=data\ndataIdx=0\n"
        + f"[drop]\ninputs=data\n{DROPOUTS[kind]}\n"
        + "[cost]\ntype=cost.sum2\ninputs=drop\n"
    )
    params = f"[drop]\nenable={enable}\n[cost]\ncoeff=1\n"
    net = Net(make_graph(text, {0: 50}, params=params), BACKENDS["reference32"], minibatch=40)
    x = np.ones((50, 40), np.float32)
    net.forward([x], 40, Mode.TRAIN)
    trained = net.output("drop")
    assert set(np.unique(trained)) == ({0, np.float32(gain)} if enable else {np.float32(others)})
    net.forward([x], 40, Mode.TEST, keep=["drop"])
    np.testing.assert_allclose(net.output("drop"), others)


@pytest.mark.parametrize("p", [0.0, 0.25])
def test_dropout_of_the_fork(p):
    """Any layer of 2011's fork may drop outputs: masked in training, scaled when testing (numerics 10.4)."""
    text = "[data]\ntype=data\ndataIdx=0\n[sum]\ntype=eltsum\ninputs=data\n[cost]\ntype=cost.sum2\ninputs=sum\n"
    params = f"[sum]\ndropout={p}\n[cost]\ncoeff=1\n"
    net = Net(make_graph(text, {0: 200}, params=params), BACKENDS["reference32"], minibatch=50)
    x = np.ones((200, 50), np.float32)
    net.forward([x], 50, Mode.TRAIN)
    assert abs(net.output("sum").mean() - (1 - p)) < 0.02
    net.forward([x], 50, Mode.TEST, keep=["sum"])
    np.testing.assert_allclose(net.output("sum"), 1 - p)


def test_gradients_with_dropout_of_the_fork():
    """Its mask works in a gradient check too, and is the same in every pass of it (numerics 10.4)."""
    text = NET.format(neuron="relu")
    params = default_params(text).replace("[below]\n", "[below]\ndropout=0.4\n")
    data = [values(4, 6), np.array([[0.0, 1, 2, 1, 0, 2]])]
    assert_gradients(text, data, classes=3, params=params)
    net = Net(make_graph(text, {0: 4, 1: 1}, 3, params), ORACLE, minibatch=6, seed=3)
    net.forward(data, 6, Mode.GRADCHECK)
    dropped = net.output("below") == 0
    assert 0 < dropped.mean() < 1


@pytest.mark.parametrize("mode", Mode)
def test_noise_of_nrelu_is_drawn_in_every_pass(mode):
    """Numerics 7.1: testing included; anew in every training step."""
    text = "[data]\ntype=data\ndataIdx=0\n[noisy]\ntype=neuron\nneuron=nrelu\ninputs=data\n"
    text += "[cost]\ntype=cost.sum2\ninputs=noisy\n"
    net, x = Net(make_graph(text, {0: 50}), ORACLE, minibatch=4), np.ones((50, 4))
    outputs = []
    for _ in range(2):
        net.forward([x], 4, mode, keep=["noisy"])
        outputs.append(net.output("noisy"))
        net.step += 1
    assert (outputs[0] != 1).all() and (outputs[0] >= 0).all() and (outputs[0] != outputs[1]).any()
