"""A net takes up other rates in the middle of training: on every backend to the bits of one made anew with them.

Captured steps hold the numbers with which they were captured, so that none may outlive a change.
"""

import weakref

import numpy as np
import pytest
from emulator import EmulatedDevice
from support import SMALL_NET, SMALL_PARAMS, each_backend, make_graph, poisoned

from convnet.backends.cuda import Cuda
from convnet.backends.reference import Reference
from convnet.errors import BackendError
from convnet.net.net import Net
from convnet.net.state import collect_state

SIDE, CASES = 8, 6
PLAIN = SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0.02")
SHARED = SMALL_NET.replace("[probs]", "[again]\ntype=fc\ninputs=drop\noutputs=10\nweightSource=fc\n[probs]")
SHARED = SHARED.replace("inputs=labels,probs", "inputs=labels,probs").replace(
    "[probs]", "[sum]\ntype=eltsum\ninputs=fc,again\n[probs]"
)
SHARED = SHARED.replace("type=softmax\ninputs=fc", "type=softmax\ninputs=sum")
NETS = {"SMALL": SMALL_NET, "SHARED": SHARED}
EDITS = {
    "rate": ("epsW=0.02", "epsW=0.001"),
    "schedule": ("epsW=0.02", "epsW=exp[base=0.02;tgtFactor=100]"),
    "momentum": ("momW=0.9", "momW=0.1"),
    "bias momentum": ("momB=0.9", "momB=0.1"),
    "decay": ("wc=0.01", "wc=0.9"),
    "coefficient": ("coeff=1", "coeff=0.2"),
    "limit": ("wc=0.01", "wc=0.01\nwball=0.003"),
    "dropout": ("keep=0.8", "keep=0.3"),
    "frozen below": ("[logprob]", "[conv1]\nepsW=0\nepsB=0\n[logprob]"),
    "period": ("wc=0.01", "wc=0.01\nupdatePeriod=3"),
}


def graph_of(params=PLAIN, text=SMALL_NET):
    return make_graph(text, {0: 3 * SIDE**2, 1: 1}, 10, params)


def train(net, steps, first=0):
    for step in range(first, first + steps):
        random = np.random.RandomState(step)
        inputs = [random.rand(3 * SIDE**2, CASES).astype(np.float32), random.randint(0, 10, (1, CASES)).astype(np.float32)]
        net.train(inputs, CASES, progress=step / 20)


def bits(net):
    return [array.tobytes() for layer in collect_state(net).values() for array in _arrays(layer)]


def _arrays(layer):
    return [np.asarray(part) for value in layer.values() for part in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("edit, text", [*((edit, "SMALL") for edit in EDITS), ("rate", "SHARED"), ("decay", "SHARED")])
@each_backend
def test_as_a_net_made_anew_with_the_same_weights(be, edit, text):
    text = NETS[text]
    after = graph_of(PLAIN.replace(*EDITS[edit]), text)
    net = poisoned(Net(graph_of(text=text), be, CASES, seed=3))
    train(net, 4)
    other = poisoned(Net(after, be, CASES, seed=3, state=collect_state(net)))
    other.step, other.has_learned = net.step, True
    net.retune(after)
    untouched = poisoned(Net(graph_of(text=text), be, CASES, seed=3, state=collect_state(net)))
    untouched.step = net.step
    for one in (net, other, untouched):
        train(one, 4, first=4)
    assert bits(net) == bits(other) != bits(untouched)


@pytest.mark.parametrize("edit", EDITS)
def test_no_captured_step_outlives_a_change(edit):
    ended = []
    for captures in (True, False):
        device = EmulatedDevice()
        device.captures = captures
        net = Net(graph_of(), Cuda(device), CASES, seed=3)
        train(net, 5)
        assert bool(net.steps.captured) == captures
        net.retune(graph_of(PLAIN.replace(*EDITS[edit])))
        assert not net.steps.captured
        train(net, 7, first=5)
        ended.append(bits(net))
    assert ended[0] == ended[1]


def test_gradients_that_wait_for_an_update_are_kept():
    """Of three minibatches two have been added up; the mean over three is the step, whatever the period is later."""
    params = [PLAIN.replace("wc=0.01", f"wc=0\nupdatePeriod={period}").replace("keep=0.8", "keep=1") for period in (3, 2)]
    nets = [Net(graph_of(params[0]), Reference(np.float64), CASES, seed=3) for _ in range(2)]
    for net in nets:
        train(net, 2)
    nets[0].retune(graph_of(params[1]))
    for net in nets:
        train(net, 1, first=2)
    assert bits(nets[0]) == bits(nets[1])
    assert {weights.period for weights in nets[0].weights} == {2} and all(not w.waited for w in nets[0].weights)


def test_a_net_that_cannot_be_made_anew_stays(monkeypatch):
    nets = [Net(graph_of(), Reference(np.float64), CASES, seed=3) for _ in range(2)]
    for net in nets:
        train(net, 3)

    def full(*_):
        raise BackendError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("convnet.net.net.bind_weights", full)
        with pytest.raises(BackendError):
            nets[0].retune(graph_of(PLAIN.replace("momW=0.9", "momW=0")))
    for net in nets:
        train(net, 3, first=3)
    assert bits(nets[0]) == bits(nets[1])


@each_backend
def test_nothing_is_left_of_the_nodes_before(be):
    """Nor of their buffers, those that a test has kept among them."""
    net = Net(graph_of(), be, CASES, seed=3)
    allocated = []
    for _ in range(3):
        train(net, 1)
        net.test([np.zeros((3 * SIDE**2, CASES), np.float32), np.zeros((1, CASES), np.float32)], CASES, keep=[*net.nodes])
        before = [weakref.ref(held) for node in net.nodes.values() for held in (node, *node.all_weights)]
        net.retune(graph_of())
        assert not any(held() for held in before)
        allocated.append(net.pools[be].allocated)
    assert len(set(allocated)) == 1
