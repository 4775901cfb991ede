"""A net in parts, on one rank or several, learns what it learns in one piece."""

import numpy as np
import pytest
from ranks.threads import on_ranks
from support import make_graph

from convnet.backends import make_backend
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.layout import Layout
from convnet.net.net import Net
from convnet.net.parallel import ParallelNet, Ranks
from convnet.net.state import collect_state
from convnet.ranks.communicator import Solo

CASES, STEPS = 12, 4
PLAIN = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
channels=3
filters=8
padding=1
stride=1
filterSize=3
initW=0.2
partialSum=0
neuron=relu
[pool1]
type=pool
pool=max
inputs=conv1
channels=8
sizeX=3
stride=2
[norm1]
type=cmrnorm
inputs=pool1
channels=8
size=3
[fc1]
type=fc
inputs=norm1
outputs=10
initW=0.2
neuron=relu
[fc2]
type=fc
inputs=fc1
outputs=5
initW=0.2
[probs]
type=softmax
inputs=fc2
[logprob]
type=cost.logreg
inputs=labels,probs
"""
PARAMS = """
[conv1]
epsW=0.05
epsB=0.1
momW=0.9
momB=0.9
wc=0.001
[fc1]
epsW=0.05
epsB=0.1
momW=0.9
momB=0.9
wc=0.001
[fc2]
epsW=0.05
epsB=0.1
momW=0.9
momB=0.9
wc=0.001
[norm1]
scale=0.01
pow=0.75
[logprob]
coeff=1
"""


def graph_of(definition, params):
    return build_graph(LayerFiles(definition, "d.cfg", params, "p.cfg"), {0: 3 * 64, 1: 1}, 5)


def data(cases=CASES, seed=1):
    random = np.random.default_rng(seed)
    return [random.standard_normal((3 * 64, cases), np.float32), random.integers(0, 5, (1, cases)).astype(np.float32)]


def train(net, steps=STEPS, cases=CASES):
    costs = []
    for step in range(steps):
        inputs = data(cases, step)
        parts = net.cut(lambda a, b: [np.ascontiguousarray(matrix[:, a:b]) for matrix in inputs], 0, cases)
        costs.append(net.train(parts, cases, 0.0))
    test = net.test(
        net.cut(lambda a, b: [np.ascontiguousarray(m[:, a:b]) for m in data(cases, 99)], 0, cases), cases, ["fc2"]
    )
    return costs, test, net.output("fc2"), collect_state(net)


def on(size, graph, shards=0, cases=CASES, steps=STEPS, backend="cpu"):
    def work(communicator):
        layout = Layout.of(graph(), communicator.rank, communicator.size, shards)
        net = ParallelNet(graph(), make_backend(backend, 1), Ranks(communicator, layout, lambda be, c: c), cases, 3)
        return train(net, steps, cases)

    return on_ranks(size, work)


def flat(state):
    return np.concatenate(
        [
            np.ravel(a)
            for layer in state.values()
            for key in ("weights", "biases", "weightsInc", "biasesInc")
            for a in layer[key]
        ]
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_ranks_learn_what_one_does(size):
    graph = lambda: graph_of(PLAIN, PARAMS)
    whole = train(Net(graph(), make_backend("cpu", 1), CASES, 3))
    for costs, test, output, state in on(size, graph):
        np.testing.assert_allclose(flat(state), flat(whole[3]), atol=1e-6)
        np.testing.assert_allclose(output, whole[2], atol=1e-5)
        for mine, theirs in zip(costs, whole[0], strict=True):
            np.testing.assert_allclose(mine["logprob"], theirs["logprob"], rtol=1e-5)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("cases", [16, 13, 5])
def test_shards_give_the_same_bits_on_any_number_of_ranks(size, cases):
    graph = lambda: graph_of(PLAIN, PARAMS)
    one = on(1, graph, 8, cases)[0]
    for costs, test, output, state in on(size, graph, 8, cases):
        assert flat(state).tobytes() == flat(one[3]).tobytes()
        assert costs == one[0] and test == one[1]
        assert output.tobytes() == one[2].tobytes()


TOWERS = (
    PLAIN.split("[conv1]")[0]
    + "".join(
        f"""
[conv1{own}]
type=conv
inputs=data
channels=3
filters=4
filterSize=3
padding=1
initW=0.2
partialSum=0
neuron=relu
gpu={gpu}
[pool1{own}]
type=pool
pool=max
inputs=conv1{own}
channels=4
sizeX=3
stride=2
"""
        for gpu, own in enumerate("ab")
    )
    + "".join(
        f"""
[conv2{own}]
type=conv
inputs=pool1{own},pool1{other}
channels=4,4
filters=6,6
filterSize=3,3
padding=1,1
initW=0.2,0.2
partialSum=0
neuron=relu
"""
        for own, other in ("ab", "ba")
    )
    + "".join(
        f"""
[fc1{own}]
type=fc
inputs=conv2{own},conv2{other}
outputs=7
initW=0.1,0.1
neuron=tanh[1,1]
"""
        for own, other in ("ab", "ba")
    )
    + """
[fc2]
type=fc
inputs=fc1a,fc1b
outputs=5
initW=0.2,0.2
gpu=0
[probs]
type=softmax
inputs=fc2
[logprob]
type=cost.logreg
inputs=labels,probs
gpu=0
"""
)
TOWER_PARAMS = (
    "".join(
        f"\n[{name}]\nepsW={','.join(['0.05'] * n)}\nepsB=0.1\nmomW={','.join(['0.9'] * n)}\nmomB=0.9\nwc={','.join(['0.001'] * n)}\n"
        for name, n in [("conv1a", 1), ("conv1b", 1), ("conv2a", 2), ("conv2b", 2), ("fc1a", 2), ("fc1b", 2), ("fc2", 2)]
    )
    + "\n[logprob]\ncoeff=1\n"
)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 3])
@pytest.mark.parametrize("cases", [12, 7])
def test_towers_lie_on_ranks(size, cases):
    graph = lambda: graph_of(TOWERS, TOWER_PARAMS)
    whole = train(Net(graph(), make_backend("cpu", 1), cases, 3), cases=cases)
    results = on(size, graph, 0, cases)
    np.testing.assert_allclose(flat(results[0][3]), flat(whole[3]), atol=1e-6)
    for costs, test, output, state in results:
        np.testing.assert_allclose(output, whole[2], atol=1e-5)
        for mine, theirs in zip(costs, whole[0], strict=True):
            np.testing.assert_allclose(mine["logprob"], theirs["logprob"], rtol=1e-5)


def hybrid(replicas, period=0):
    gpus = ",".join(map(str, range(replicas)))
    text = PLAIN.split("[fc1]")[0].replace("[conv1]\n", f"[conv1]\ngpu={gpus}\n")
    for i in range(replicas):
        text += f"\n[fc1{i}]\ntype=fc\ninputs=norm1\noutputs=4\ninitW=0.2\nneuron=relu\ngpu={i}\n"
    text += f"\n[join]\ntype=pass\ninputs={','.join(f'fc1{i}' for i in range(replicas))}\ngpu=0\n"
    text += "\n[fc2]\ntype=fc\ninputs=join\noutputs=5\ninitW=0.2\n[probs]\ntype=softmax\ninputs=fc2\n"
    text += "[logprob]\ntype=cost.logreg\ninputs=labels,probs\ngpu=0\n"
    text = text.replace("partialSum=0\n", "")
    section = "\n[{}]\nepsW=0.05\nepsB=0.1\nmomW=0.9\nmomB=0.9\nwc=0.001\n"
    params = section.format("conv1")
    for name in [f"fc1{i}" for i in range(replicas)] + ["fc2"]:
        params += section.format(name) + (f"updatePeriod={period}\n" if period else "")
    return text, params + "\n[norm1]\nscale=0.01\npow=0.75\n[logprob]\ncoeff=1\n"


@pytest.mark.parametrize("size", [2, 4, 8, 3])
@pytest.mark.parametrize("cases", [16, 13, 3])
@pytest.mark.parametrize("period", [0, 2, 4, 8])
def test_replicas_feed_one_after_the_other(size, cases, period):
    graph = lambda: graph_of(*hybrid(4, period))
    one = on(1, graph, 0, cases)[0]
    if size in (8, 3):
        cases = 16
        one = on(1, graph, 0, cases)[0]
    results = on(size, graph, 0, cases)
    np.testing.assert_allclose(flat(results[0][3]), flat(one[3]), atol=2e-6)
    for costs, test, output, state in results:
        np.testing.assert_allclose(output, one[2], atol=1e-5)
        for mine, theirs in zip(costs, one[0], strict=True):
            np.testing.assert_allclose(mine["logprob"], theirs["logprob"], rtol=1e-5)


def test_one_update_a_minibatch_is_that_of_the_whole():
    graph = lambda: graph_of(*hybrid(4, 4))
    one = on(1, graph, 0, 16)[0]
    plain = train(Net(graph_of(*hybrid(4, 1)), make_backend("cpu", 1), 16, 3), cases=16)
    np.testing.assert_allclose(flat(one[3]), flat(plain[3]), atol=2e-6)
