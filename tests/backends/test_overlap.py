"""Copies beside the work of a device: results do not depend on what is done early and what late, and each wait is needed.

``LazyStreams`` does the work of its streams as late as possible, or at once; a missing wait must change results somewhere.
"""

import numpy as np
import pytest
from emulator import EmulatedDevice, EmulationError, LazyStreams
from nets import DATA, cost_of
from support import make_graph, values

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.transfers import COMPUTE, COPY
from convnet.data.images import Crops, PictureBatch
from convnet.errors import NumericalError
from convnet.layers.modes import Mode
from convnet.net.net import Net
from convnet.net.state import collect_state

NET = f"""{DATA}[top]
type=data
dataIdx=2
start=1
end=3
[conv]
type=conv
inputs=data
channels=2
filters=4
filterSize=3
initW=0.3
neuron=relu
gpu=0
[both]
type=concat
inputs=conv,top
gpu=1
[fc]
type=fc
inputs=both
outputs=3
initW=0.2
gpu=1
{cost_of("fc")}"""
CASES, STEPS = 4, 5
SCHEDULES = {"all late": (), "work early": (COMPUTE,), "copies early": (COPY,), "all early": (COMPUTE, COPY)}


def batch():
    """Pictures of 6 x 6, cut to 5 x 5, labels, and a matrix of which two rows are wanted."""
    random, cases = np.random.RandomState(0), CASES * STEPS
    pixels = random.randint(0, 256, (cases, 6, 6, 2)).astype(np.uint8)
    corners = random.randint(0, 2, (3, cases))
    crops = Crops(corners[0], corners[1], corners[2].astype(np.uint8), values(2, 5, 5) * 9, values(cases, 2), 0.01)
    labels = random.randint(0, 3, (1, cases)).astype(np.float32)
    return PictureBatch(pixels, [labels, values(3, cases).astype(np.float32)], [crops])


def train(devices, ahead=True):
    """Costs and weights of a few steps, each minibatch brought while the one before it is worked on; a test in between."""
    graph = make_graph(NET, {0: 50, 1: 1, 2: 3}, 3, dialect="2014")
    net, pieces = Net(graph, [Cuda(device) for device in devices], minibatch=CASES, seed=2), batch()
    minibatches = [pieces.minibatch(start, start + CASES) for start in range(0, CASES * STEPS, CASES)]
    costs = []
    for step, (inputs, next_inputs) in enumerate(zip(minibatches, [*minibatches[1:], ()], strict=True)):
        costs.append(net.train(inputs, CASES, next_inputs=next_inputs if ahead else ()))
        if step == 1:
            costs.append(net.test(minibatches[0], CASES))
    return costs, {name: [*own["weights"], own["biases"]] for name, own in collect_state(net).items()}


def same(one, other) -> bool:
    arrays = [(a, b) for name in one[1] for a, b in zip(one[1][name], other[1][name], strict=True)]
    return one[0] == other[0] and all(np.array_equal(a, b) for a, b in arrays)


@pytest.fixture(scope="module")
def expected():
    """What a device that does everything in order makes of it."""
    return train([EmulatedDevice()], ahead=False)


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in SCHEDULES if name != "all late"]


@pytest.mark.parametrize("peers", [True, False], ids=["direct", "by the host"])
@pytest.mark.parametrize("first", SCHEDULES)
@pytest.mark.parametrize(
    "second", ["", "all late", *(pytest.param(name, marks=pytest.mark.slow) for name in list(SCHEDULES)[1:])]
)
def test_results_do_not_depend_on_what_is_late(expected, first, second, peers):
    devices = [LazyStreams(SCHEDULES[first], peers)] + ([LazyStreams(SCHEDULES[second], peers)] if second else [])
    assert same(train(devices), expected)


class Forgetful(LazyStreams):
    """Leaves out the waits of one kind: (stream that waits, stream it waits for), or the host's."""

    def __init__(self, early, forgets):
        super().__init__(early)
        self.forgets = forgets

    def wait_event(self, stream, event):
        if (stream, event.stream) != self.forgets:
            super().wait_event(stream, event)

    def synchronize(self, event):
        if self.forgets != "host":
            super().synchronize(event)


@pytest.mark.parametrize("forgets", [(COMPUTE, COPY), (COPY, COMPUTE), "host"], ids=str)
def test_every_wait_is_needed(expected, forgets):
    kept = []
    for early in SCHEDULES.values():
        try:
            kept.append(same(train([Forgetful(early, forgets)]), expected))
        except (NumericalError, EmulationError):  # memory that was not filled holds NaN, which is not a label
            kept.append(False)
    assert not all(kept)


@pytest.mark.parametrize("peers", [True, False], ids=["direct", "by the host"])
@pytest.mark.parametrize("forgets", [None, (COMPUTE, COMPUTE)], ids=["", "forgetful"])
def test_copies_between_devices(forgets, peers):
    """The copy waits for what makes its source, and who writes over the source waits for the copy."""
    kept = []
    for early, late in (((), (COMPUTE,)), ((COMPUTE,), ())):
        one, other = Forgetful(early, forgets), Forgetful(late, forgets)
        one.peers = other.peers = peers
        here, there = Cuda(one), Cuda(other)
        x, y = there.zeros((5, 3)), here.zeros((5, 3))
        there.fill(x, 1.0)
        here.copy_from(there, x, y)
        there.fill(x, 2.0)
        kept.append((here.download(y) == 1).all() and (there.download(x) == 2).all())
    assert all(kept) == (forgets is None)


def test_copies_overtake_the_work_of_a_step():
    """When the host comes to wait for the costs, the next minibatch has arrived and the layers have not begun."""
    device = LazyStreams((COPY,))
    graph = make_graph(NET, {0: 50, 1: 1, 2: 3}, 3, dialect="2014")
    net, pieces = Net(graph, Cuda(device), minibatch=CASES), batch()
    first, second, third = (pieces.minibatch(start, start + CASES) for start in (0, CASES, 2 * CASES))
    net.train(first, CASES, next_inputs=second)
    device.sync()
    net.begin_step(0.0, CASES)
    net.forward(second, CASES, Mode.TRAIN)
    net.prefetch(third)
    pixels = net.nodes["data"]._prefetched.pixels
    assert not device.waiting[COPY] and pixels.sent.reached
    kernels = [work.args[1] for work in device.waiting[COMPUTE] if getattr(work, "func", None) == device._run]
    assert kernels[0] == "conv_forward"
    np.testing.assert_array_equal(
        device.download(pixels.slot.array).view(np.uint8)[: third[0].pixels.size], third[0].pixels.ravel()
    )


def test_slots_are_used_again():
    device = LazyStreams()
    be = Cuda(device)
    out = be.zeros((6, 4))
    for step in range(9):
        be.copy_in(be.prefetch(np.full((6, 4), step, np.float32)), out)
        be.prefetch(np.zeros((6, 4), np.float32))  # never used
    assert len(device.transfers.slots) <= 2
    np.testing.assert_array_equal(be.download(out), np.full((6, 4), 8))
