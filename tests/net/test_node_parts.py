"""A minibatch that is trained part by part draws the random numbers of the whole one."""

import numpy as np
import pytest
from support import assert_close, each_backend, make_graph

from convnet.layers.modes import Mode
from convnet.net.net import Net
from convnet.net.state import collect_state

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
neuron=nrelu
[pool]
type=pool
pool=rand
inputs=conv
channels=4
sizeX=3
stride=2
[hidden]
type=hs
inputs=pool
keep=0.5
[fc]
type=fc
inputs=hidden
outputs=6
initW=0.2
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""
CASES = 37


def make_net(be, parts: int) -> Net:
    return Net(make_graph(NET, {0: 64, 1: 1}, 6, dialect="2012"), be, minibatch=CASES, seed=5, update_period=parts)


def inputs_of(first: int, cases: int) -> list[np.ndarray]:
    random = np.random.RandomState(1)
    values = random.rand(64, CASES).astype(np.float32), random.randint(0, 6, (1, CASES)).astype(np.float32)
    return [matrix[:, first : first + cases].copy() for matrix in values]


def set_part(net: Net, first: int) -> None:
    net._context.whole, net._context.first, net.step = CASES, first, 7


@each_backend
@pytest.mark.parametrize("name", ["small", "conv", "pool", "hidden"])
def test_outputs_of_a_part_are_those_of_the_whole(be, name):
    outputs = []
    for first, cases in ((0, CASES), (0, 1), (1, 3), (4, 33)):
        net = make_net(be, 1)
        set_part(net, first)
        net.forward(inputs_of(first, cases), cases, Mode.TRAIN)
        outputs.append(be.download(net.nodes[name].out))
    whole, *parts = outputs
    assert_close(np.concatenate(parts, axis=1), whole, 1e-4)


@each_backend
@pytest.mark.parametrize("sizes", [(19, 18), (1, 3, 33)])
def test_a_step_of_parts_is_that_of_the_whole(be, sizes):
    """But for the number of minibatches by which the rate of several is divided."""
    steps = []
    for cut in ((CASES,), sizes):
        net = make_net(be, len(cut))
        for i, cases in enumerate(cut):
            set_part(net, sum(cut[:i]))
            net.train(inputs_of(sum(cut[:i]), cases), cases)
        state = collect_state(net)
        names = [(layer, name) for layer in ("conv", "fc") for name in ("weightsInc", "biasesInc")]
        steps.append({at: len(cut) * np.ravel(state[at[0]][at[1]]) for at in names})
    for name, expected in steps[0].items():
        assert np.abs(expected).max() > 0
        assert_close(steps[1][name], expected, 1e-4)
