"""Neurons that the layers beside them include: the same numbers as neurons of their own, and fewer kernels."""

import numpy as np
import pytest
from emulator import EmulatedDevice
from support import make_graph, poisoned, values

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.reference import Reference
from convnet.errors import NumericalError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers.modes import Mode
from convnet.net.dry_run import blank_inputs, empty_state
from convnet.net.gradcheck import check_gradients
from convnet.net.net import Net

HEAD = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
TAIL = "[fc]\ntype=fc\noutputs=3\ninitW=0.3\ninputs={}\n[probs]\ntype=softmax\ninputs=fc\n"
TAIL += "[cost]\ntype=cost.logreg\ninputs=labels,probs\n"
CONV = "[{}]\ntype=conv\ninputs={}\nchannels={}\nfilters=4\nfilterSize=3\npadding=1\ninitW=0.3\nneuron={}\n"
POOL = "[{}]\ntype=pool\npool={}\ninputs={}\nchannels=4\nsizeX=3\nstride=2\nneuron={}\n"
NORM = "[{}]\ntype={}\ninputs={}\nchannels=4\nsize=3\n"

# What follows the data, the layer that fc reads, the layers that include the neuron behind them in training, and the neurons
# whose readers multiply the gradient.
NETS = {
    "chain": (
        CONV.format("a", "data", 3, "relu") + NORM.format("n", "cmrnorm", "a") + POOL.format("p", "max", "n", "relu")
        + CONV.format("b", "p", 4, "relu"), "b", "a p b", "a p b",
    ),
    "two readers": (
        CONV.format("a", "data", 3, "relu") + CONV.format("b", "a", 4, "relu") + NORM.format("n", "rnorm", "a")
        + POOL.format("p", "avg", "a", "relu") + CONV.format("c", "b,n", "4,4", "logistic")
        + POOL.format("q", "avg", "c", "logistic"), "p,q", "a b p c q", "a b c p q",
    ),
    "a reader that cannot": (
        CONV.format("a", "data", 3, "relu") + CONV.format("b", "a", 4, "sqrt") + POOL.format("p", "max", "b", "logistic")
        + "[s]\ntype=eltsum\ninputs=a,a\n", "s,p", "a b", "b p",
    ),
    "what needs its inputs": (
        CONV.format("a", "data", 3, "abs") + CONV.format("b", "a", 4, "tanh[1,1]") + POOL.format("p", "max", "b", "softrelu")
        + NORM.format("n", "cnorm", "p"), "n", "", "",
    ),
    "read as well": (
        CONV.format("a", "data", 3, "relu") + "[s]\ntype=eltsum\ninputs=a,a\n"
        + POOL.format("p", "maxabs", "s", "relu"), "p", "a p", "p",
    ),
}  # fmt: skip


def graph_of(name):
    text, last, included, multiplied = NETS[name]
    text = text.replace("neuron=sqrt", "initB=30\nneuron=sqrt")
    graph = make_graph(HEAD + text + TAIL.format(last), {0: 3 * 64, 1: 1}, 3)
    return graph, set(included.split()), {f"{layer}_neuron" for layer in multiplied.split()}


def minibatch(cases=5):
    return [values(3 * 64, cases), np.arange(cases)[None] % 3.0]


def nets(name, be, other):
    """The same net with neurons included, and without."""
    graph, *_ = graph_of(name)
    other.includes_neurons, be.includes_neurons = False, True
    return [poisoned(Net(graph, backend, minibatch=5, seed=2)) for backend in (be, other)]


def assert_same_weights(one, other, tolerance):
    for found, expected in zip(one.weights, other.weights, strict=True):
        arrays = one.be.download(found.value), other.be.download(expected.value)
        np.testing.assert_allclose(*arrays, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NETS)
def test_who_includes_a_neuron(name):
    graph, included, multiplied = graph_of(name)
    be = Reference(np.float64)
    be.includes_neurons = True
    net = Net(graph, be, minibatch=5, seed=2)
    net.begin_pass((), 5, Mode.TRAIN)
    assert {layer for layer, node in net.nodes.items() if node.activation} == included
    assert {layer for layer, node in net.nodes.items() if node.readers_multiply} == multiplied


@pytest.mark.parametrize("name", NETS)
def test_the_same_step(name):
    """In float64; each neuron's gradient is multiplied before the sum over readers in one net, after it in the other."""
    included, apart = nets(name, Reference(np.float64), Reference(np.float64))
    costs = [net.train(minibatch(), 5)["cost"] for net in (included, apart)]
    np.testing.assert_allclose(*costs, rtol=1e-14)
    assert_same_weights(included, apart, 1e-12)


@pytest.mark.parametrize("name", ["chain", "two readers"])
def test_the_same_step_on_a_card(name):
    """Relu's derivative is 0 or 1, so that nothing is rounded otherwise: the same bits."""
    for net, other in [nets(name, Cuda(EmulatedDevice()), Cuda(EmulatedDevice()))]:
        for _ in range(2):
            found, expected = net.train(minibatch(), 5), other.train(minibatch(), 5)
            np.testing.assert_allclose(found["cost"], expected["cost"], rtol=0 if name == "chain" else 1e-5)
        assert_same_weights(net, other, 0 if name == "chain" else 1e-5)


@pytest.mark.parametrize("name", NETS)
def test_gradients_by_differences(name):
    graph, *_ = graph_of(name)
    be = Reference(np.float64)
    be.includes_neurons = True
    net = poisoned(Net(graph, be, minibatch=5, seed=2))
    for check in check_gradients(net, minibatch(), 5, samples=8):
        assert check.approximate or check.error < 1e-6, check.name


@pytest.mark.parametrize("layer", ["a", "p", "a_neuron", "p_neuron", "n"])
def test_outputs_that_somebody_wants_stay_as_they_are(layer):
    """A kept layer's output is the same as without; tests include neurons of any kind."""
    for net_name in ("chain", "what needs its inputs"):
        included, apart = nets(net_name, Reference(np.float64), Reference(np.float64))
        for net in (included, apart):
            net.test(minibatch(), 5, keep=[layer])
        np.testing.assert_array_equal(included.output(layer), apart.output(layer))


@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_outputs_of_one_pass_after_another(name, fuses):
    """What is kept is what a net gives that has run nothing else, and keeps everything, whatever was kept before."""
    graph, *_ = graph_of(name)
    be = Reference(np.float64)
    be.includes_neurons = fuses
    net, whole = (poisoned(Net(graph, be, minibatch=5, seed=2)) for _ in range(2))
    layers = [layer for layer, node in net.nodes.items() if not node.layer.is_cost]
    with pytest.raises(NumericalError):  # leaves the outputs of training behind
        net.train([values(3 * 64, 5) * np.nan, minibatch()[1]], 5)
    for number, keep in enumerate([[layer] for layer in layers for _ in range(2)] + [[], layers[::2], layers]):
        inputs = [values(3 * 64, 5, seed=number), minibatch()[1]]
        assert net.test(inputs, 5, keep=keep) == whole.test(inputs, 5, keep=layers)
        for layer in keep:
            np.testing.assert_array_equal(net.output(layer), whole.output(layer))


def test_every_map_of_the_paper_is_written_once():
    """No neuron is a kernel of its own but in the ops beside it; backward, those that a layer with dropout reads are."""
    graph = build_graph(LayerFiles.open("layers-imagenet.cfg"), {0: 150528, 1: 1}, 1000)
    recorder = Recorder()
    net, launched = Net(graph, Cuda(recorder), minibatch=128, state=empty_state(graph)), {}

    def record(node, kind, work):
        start = len(recorder.seen)
        work()
        launched[node.layer.name, kind] = [kernel for _, kernel, *_ in recorder.seen[start:]]

    net.around = record
    net.train(blank_inputs(graph, 128), 128)
    neurons = {key for key, kernels in launched.items() if key[0].endswith("_neuron") and kernels}
    assert neurons == {(f"fc2048{tower}_neuron", "backward") for tower in ("a", "b", "ba", "bb")}
