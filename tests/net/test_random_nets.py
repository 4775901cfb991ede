"""Nets of random shape: the same numbers with neurons included in ops or apart, captured or op by op.

All maps are 4 maps of 6 x 6, so that every layer can read every other.
"""

import numpy as np
import pytest
from emulator import EmulatedDevice, LazyStreams
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from support import default_params, make_graph, poisoned

from convnet.backends.cuda import Cuda
from convnet.backends.reference import Reference
from convnet.errors import NumericalError
from convnet.net.net import Net

SIDE, CASES = 6, 3
NEURONS = ["", "", "relu", "relu", "relu", "logistic", "softrelu", "tanh[1,1]", "ident", "abs", "square"]
HEAD = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
HEAD += "[l0]\ntype=conv\ninputs=data\nchannels=2\nfilters=4\nfilterSize=3\npadding=1\ninitW=0.3\n"
TAIL = "[fc]\ntype=fc\noutputs=3\ninitW={}\ninputs={}\n[probs]\ntype=softmax\ninputs=fc\n"
TAIL += "[cost]\ntype=cost.logreg\ninputs=labels,probs\n"
KINDS = {
    "conv": "type=conv\nchannels=4\nfilters=4\nfilterSize=3\npadding=1\ninitW=0.2\n",
    "local": "type=local\nchannels=4\nfilters=4\nfilterSize=3\npadding=1\ninitW=0.2\n",
    "max": "type=pool\npool=max\nchannels=4\nsizeX=3\nstride=1\nstart=-1\noutputsX=6\n",
    "avg": "type=pool\npool=avg\nchannels=4\nsizeX=3\nstride=1\nstart=-1\noutputsX=6\n",
    "cmrnorm": "type=cmrnorm\nchannels=4\nsize=3\n",
    "rnorm": "type=rnorm\nchannels=4\nsize=3\n",
    "eltsum": "type=eltsum\n",
    "eltmax": "type=eltmax\n",
    "dropout": "type=dropout\n",
    "neuron": "type=neuron\nneuron=relu\n",
}


@st.composite
def texts(draw):
    """The text of a net: up to six layers behind the first, each reading one or two before it; fc reads what nobody does."""
    lines, names, unread = [HEAD], ["l0"], ["l0"]
    for i in range(1, draw(st.integers(2, 7))):
        kind, name = draw(st.sampled_from(sorted(KINDS))), f"l{i}"
        several = kind in ("eltsum", "eltmax") or (kind == "conv" and draw(st.booleans()))
        inputs = [draw(st.sampled_from(names[-3:])) for _ in range(1 + several)]
        text = KINDS[kind]
        if kind == "conv" and several:
            text = text.replace("channels=4", "channels=4,4").replace("filters=4", "filters=4,4").replace("=3", "=3,3")
            text = text.replace("padding=1", "padding=1,1").replace("initW=0.2", "initW=0.2,0.1")
        neuron = draw(st.sampled_from(NEURONS)) if kind != "neuron" else ""
        lines.append(f"[{name}]\ninputs={','.join(inputs)}\n{text}" + (f"neuron={neuron}\n" if neuron else ""))
        names.append(name)
        unread = [*(other for other in unread if other not in inputs), name]
    return "".join(lines) + TAIL.format(",".join(["0.2"] * len(unread)), ",".join(unread))


def minibatch():
    random = np.random.RandomState(4)
    return [random.randn(2 * SIDE * SIDE, CASES).astype(np.float32), np.arange(CASES)[None].astype(np.float32) % 3]


def train(text, be, steps):
    """Costs of each step, and the weights after the last."""
    params = default_params(text).replace("[DEFAULT]", "[DEFAULT]\nkeep=0.6")
    graph = make_graph(text, {0: 2 * SIDE * SIDE, 1: 1}, 3, params)
    net = poisoned(Net(graph, be, minibatch=CASES, seed=2))
    try:
        costs = [net.train(minibatch(), CASES)["cost"][0] for _ in range(steps)]
    except NumericalError:
        reject()
    return costs, [net.be.download(weights.value) for weights in net.weights]


def assert_near(one, other, tolerance):
    np.testing.assert_allclose(one[0], other[0], rtol=tolerance)
    for found, expected in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


quietly = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@settings(quietly, max_examples=60)
@given(texts())
def test_neurons_included_or_apart(text):
    """In float64, where maxima do not tie: a difference would be one of formulas."""
    backends = [Reference(np.float64) for _ in range(2)]
    backends[0].includes_neurons = True
    assert_near(*(train(text, be, 2) for be in backends), 1e-9)


@pytest.mark.slow
@settings(quietly, max_examples=12)
@given(texts())
def test_captured_or_op_by_op(text):
    """The same bits, with ops that share no memory in any order."""
    by_op, captured = Cuda(EmulatedDevice()), Cuda(LazyStreams())
    by_op.captures = False
    assert captured.captures
    assert_near(train(text, by_op, 5), train(text, captured, 5), 0)
