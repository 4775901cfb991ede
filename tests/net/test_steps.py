"""Steps captured and issued as a whole give the bits of steps issued op by op, whatever comes between them."""

import numpy as np
import pytest
from emulator import EmulatedDevice, LazyStreams
from support import BACKENDS, SMALL_NET, SMALL_PARAMS, make_graph

from convnet.backends.cuda import Cuda
from convnet.errors import BackendError, NumericalError
from convnet.net.net import Net
from convnet.net.state import collect_state
from convnet.net.steps import uncapturable

# Everything that random numbers, several users of one matrix or the host's choices could make differ between steps.
NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[small]
type=rscale
inputs=data
channels=1
maxScale=1.5
tgtSize=6
[conv]
type=conv
inputs=small
channels=1
filters=4
filterSize=3
padding=1
initW=0.3
partialSum=0
neuron=nrelu
[pool]
type=pool
pool=rand
inputs=conv
channels=4
sizeX=3
stride=2
[norm]
type=cmrnorm
inputs=pool
channels=4
size=3
[one]
type=fc
inputs=norm
outputs=6
initW=0.2
neuron=relu
[hidden]
type=hs
inputs=one
keep=0.5
[two]
type=fc
inputs=hidden
outputs=6
initW=0.2
[three]
type=fc
inputs=two
outputs=6
weightSource=two
initW=0.2
[probs]
type=softmax
inputs=three
[logprob]
type=cost.logreg
inputs=labels,probs
[size]
type=cost.sum2
inputs=two
"""
CASES = (8, 8, 5, 8, 8, 5, 5, 8, 8)
SIDE, CLASSES = 8, 6


def minibatch(step: int, cases: int) -> list[np.ndarray]:
    random = np.random.RandomState(step)
    return [random.rand(SIDE * SIDE, cases).astype(np.float32), random.randint(0, CLASSES, (1, cases)).astype(np.float32)]


def make_net(device, text=NET, params="", **options) -> Net:
    graph = make_graph(text, {0: SIDE * SIDE, 1: 1}, CLASSES, params, dialect="2012")
    return Net(graph, Cuda(device), minibatch=8, seed=5, **options)


def train(net: Net, progress=lambda step: 0.0, sizes=CASES):
    """Costs and weights of steps of several sizes, each brought ahead, with tests in between."""
    inputs = [minibatch(step, cases) for step, cases in enumerate(sizes)]
    costs = []
    for step, (cases, next_inputs) in enumerate(zip(sizes, [*inputs[1:], ()], strict=True)):
        costs.append(net.train(inputs[step], cases, progress(step), next_inputs))
        if step % 3 == 2:
            costs.append(net.test(minibatch(99, 8), 8, keep=["two"]))
    return costs, collect_state(net)


def plain(device=EmulatedDevice):
    made = device()
    made.captures = False
    return made


def assert_same(one, other) -> None:
    np.testing.assert_equal(one, other)


@pytest.mark.parametrize("device", [EmulatedDevice, LazyStreams])
def test_captured_steps_are_plain_ones(device):
    net = make_net(device())
    assert_same(train(net), train(make_net(plain())))
    assert sorted(kind[0] for kind in net.steps.captured) == [5, 8]


def test_parts_of_a_minibatch_are_captured_apart():
    """Their random numbers are those of other cases."""
    states = []
    for device in (EmulatedDevice(), plain()):
        net = make_net(device)
        for step in range(8):
            net._context.whole, net._context.first = 8, step % 2 * 5
            net.train(minibatch(step, 3), 3)
        states.append(collect_state(net))
    assert_same(*states)


CHANGING = "[DEFAULT]\nepsW=linear[base=0.05;tgtFactor=3]\nepsB=0.02\nmomW=0.9\nmomB=0.5\nwc=0.01\ncoeff=1\nenable=1\n"
CHANGING += "scale=0.1\npow=0.75\n" + "".join(
    f"[{name}]\n" for name in ("conv", "norm", "one", "hidden", "two", "three", "logprob", "size")
)


def test_every_kind_of_step_is_another():
    """Rates that change, weights that wait for several minibatches."""
    given = lambda step: step // 7 / 3, (8,) * 14
    net = make_net(EmulatedDevice(), params=CHANGING, update_period=2)
    assert_same(train(net, *given), train(make_net(plain(), params=CHANGING, update_period=2), *given))
    assert len(net.steps.captured) == 4


def test_kinds_that_are_met_twice_are_not_captured():
    """As with rates that change with every data batch of two minibatches: each capture would be used once."""
    net = make_net(EmulatedDevice(), params=CHANGING)
    train(net, lambda step: step // 2 / 5)
    assert not net.steps.captured


def test_what_varies_stays_outside():
    net = make_net(EmulatedDevice())
    assert [node.layer.name for node in uncapturable(net)] == ["data", "labels", "small"]


@pytest.mark.parametrize("reason", ["noise", "two devices", "another backend"])
def test_some_nets_are_never_captured(reason):
    params = SMALL_PARAMS.replace("tgtFactor=10;numSteps=3", "tgtFactor=10;numSteps=3;noiseStdev=0.1")
    dialect = {"dialect": "2012"} if reason == "noise" else {}
    graph = make_graph(SMALL_NET, {0: 768, 1: 1}, 10, params if reason == "noise" else SMALL_PARAMS, **dialect)
    backends = {
        "noise": [Cuda(EmulatedDevice())],
        "two devices": [Cuda(EmulatedDevice()), Cuda(EmulatedDevice())],
        "another backend": [BACKENDS["reference32"]],
    }[reason]
    net = Net(graph, backends, minibatch=4)
    for _ in range(3):
        net.train([np.ones((768, 4), np.float32), np.zeros((1, 4), np.float32)], 4)
    assert not net.steps.captured and net.step == 3


@pytest.mark.parametrize("refused", ["conv_forward", "conv_weight_grad", "update"])
def test_a_device_may_refuse(refused, caplog):
    """Then steps go on op by op, with the same numbers, and it is said once."""

    class Refusing(EmulatedDevice):
        def launch(self, source, kernel, *args):
            if kernel == refused and self._captured is not None:
                raise BackendError("not while capturing")
            super().launch(source, kernel, *args)

    net, other = make_net(Refusing()), make_net(plain())
    assert_same(train(net), train(other))
    assert not net.steps.captured
    warning = "steps are issued op by op, which may take longer: not while capturing"
    assert caplog.messages == [warning]
    other.be.count_step(0)  # which a capture begins with
    beside_pools = [len(made.be.device._extents) - len(made.pools[made.be]._free) for made in (net, other)]
    assert beside_pools[0] == beside_pools[1]  # what was captured before keeps no memory


def test_memory_of_dropped_steps_is_given_back():
    """While a captured step is kept, its temporary arrays are; arrays that were made meanwhile live on."""
    device = EmulatedDevice()
    be, before = Cuda(device), len(device._extents)
    with be.capturing() as captured:
        made = be.zeros((3, 4))
        be.zeros((5, 4))
    step, both = 1, 2
    assert len(device._extents) == before + step + both
    captured.clear()
    assert len(device._extents) == before + step + 1
    be.fill(made, 1.0)
    with be.capturing() as one:
        be.zeros((5, 4))
    with be.capturing() as other:  # works in the same memory, in its turn
        be.zeros((5, 4))
    assert len(device._extents) == before + step + both
    one.clear()
    be.replay(other[0])
    np.testing.assert_array_equal(be.download(made), np.ones((3, 4)))


def test_why_steps_are_not_captured_is_said_once(caplog):
    device = plain()
    device.why_no_capture = "the bindings do not fit"
    train(make_net(device))
    assert caplog.messages == ["steps are issued op by op, which may take longer: the bindings do not fit"]
    caplog.clear()
    train(make_net(plain()))
    assert not caplog.messages


def test_a_failed_step_leaves_the_weights():
    net, bad = make_net(EmulatedDevice()), minibatch(0, 8)
    bad[0][3, 2] = np.inf
    for step in range(3):
        net.train(minibatch(step, 8), 8)
    before = collect_state(net)
    with np.errstate(all="ignore"), pytest.raises(NumericalError, match="layer 'data'"):
        net.train(bad, 8)
    after = collect_state(net)
    for name, own in before.items():
        np.testing.assert_equal(after[name]["weights"], own["weights"])
    assert net.train(minibatch(5, 8), 8) and net.check_weights() is None and net.steps.captured


def test_new_weights_are_not_those_that_were_captured():
    one, other = make_net(EmulatedDevice()), make_net(plain())
    for net in (one, other):
        for step in range(3):
            net.train(minibatch(step, 8), 8)
        net.load_state(collect_state(make_net(plain())))
    assert not one.steps.captured
    assert_same(train(one), train(other))


def test_steps_that_failed_are_not_those_before_a_capture():
    """They have not issued all that a step does at first: an update sets its moments to zero once, not at every replay."""
    params = CHANGING.replace("[DEFAULT]", "[DEFAULT]\nsuperEps=0.5")
    one, other = (make_net(device, params=params) for device in (EmulatedDevice(), plain()))
    for net in (one, other):
        for _ in range(3):
            with np.errstate(all="ignore"), pytest.raises(NumericalError):
                net.train([minibatch(0, 8)[0] * np.nan, minibatch(0, 8)[1]], 8)
    assert_same(train(one), train(other))
    assert one.steps.captured and any(weights.moments for weights in one.weights)


def test_inputs_that_fail_leave_the_buffers():
    """A data layer that cannot read keeps none of a captured step's buffers, which the pool would be given twice."""
    one, other = make_net(EmulatedDevice()), make_net(plain())
    for net in (one, other):
        train(net)
        with pytest.raises(IndexError):
            net.train(minibatch(0, 8)[:1], 8)
        net.step = 100
    assert_same(train(one), train(other))
    free = [id(buffer) for *_, buffer in one.pools[one.be]._free]
    assert len(free) == len(set(free))
