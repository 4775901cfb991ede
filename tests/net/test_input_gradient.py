"""The gradient at the data equals differences, as in testing, on every backend; and leaves the net as it was."""

import numpy as np
import pytest
from emulator import EmulatedDevice
from nets import DATA, cost_of
from support import ORACLE, assert_close, each_backend, make_graph, poisoned, values

from convnet.backends.cuda import Cuda
from convnet.backends.reference import Reference
from convnet.errors import ConvnetError
from convnet.layers.modes import Mode
from convnet.net.input_gradient import InputGradient
from convnet.net.net import Net
from convnet.net.state import collect_state

CASES, CLASSES = 3, 4


def layer(name, kind, inputs, *lines):
    """A section of a layer file."""
    return "\n".join([f"[{name}]", f"type={kind}", f"inputs={inputs}", *lines, ""])


CONV = layer("conv1", "conv", "data", "channels=3", "filters=4", "filterSize=3", "padding=1", "stride=2", "initW=0.4",
             "partialSum=0", "neuron=relu")  # fmt: skip
HEAD = layer("fc4", "fc", "{below}", "outputs=4", "initW=0.3") + cost_of("fc4")
FC = layer("fc", "fc", "data", "outputs=7", "initW=0.2", "neuron={neuron}")
NETS = {
    "conv": CONV + HEAD.format(below="conv1"),
    "max-pool": CONV + layer("pool", "pool", "conv1", "pool=max", "channels=4", "sizeX=3", "stride=2")
    + HEAD.format(below="pool"),
    "avg-pool of norm": CONV + layer("norm", "cmrnorm", "conv1", "channels=4", "size=3")
    + layer("pool", "pool", "norm", "pool=avg", "channels=4", "sizeX=2", "stride=1") + HEAD.format(below="pool"),
    "rnorm": layer("norm", "rnorm", "data", "channels=3", "size=3") + HEAD.format(below="norm"),
    "local": CONV + layer("local", "local", "conv1", "channels=4", "filters=4", "filterSize=3", "initW=0.3", "neuron=abs")
    + HEAD.format(below="local"),
    "tanh, logistic": FC.format(neuron="tanh[1,0.5]") + layer("f2", "fc", "fc,data", "outputs=5", "initW=0.3,0.1",
                                                              "neuron=logistic") + HEAD.format(below="f2"),
    "dropout": FC.format(neuron="relu") + layer("drop", "dropout", "fc", "keep=0.3") + HEAD.format(below="drop"),
    "hs": FC.format(neuron="relu") + layer("drop", "hs", "fc", "keep=0.3") + HEAD.format(below="drop"),
    "dropout= of 2011": FC.format(neuron="relu\ndropout=0.4") + HEAD.format(below="fc"),
    "shared weights": layer("a", "fc", "data", "outputs=6", "initW=0.3", "neuron=tanh[1,1]")
    + layer("b", "fc", "a", "outputs=6", "initW=0.3") + layer("c", "fc", "b,a", "outputs=6", "initW=0.2,0.2",
                                                              "weightSource=b[0],b", "neuron=relu") + HEAD.format(below="c"),
    "neuron on data": layer("t", "neuron", "data", "neuron=tanh[1,1]") + HEAD.format(below="t"),
    "two towers": layer("a", "fc", "data", "outputs=6", "initW=0.3", "gpu=0", "neuron=relu")
    + layer("b", "fc", "data", "outputs=6", "initW=0.3", "gpu=1", "neuron=tanh[1,1]")
    + layer("both", "concat", "a,b", "gpu=0") + layer("sum", "eltsum", "a,b", "coeffs=1,-2", "gpu=1")
    + layer("most", "eltmax", "a,sum", "gpu=1") + HEAD.format(below="both,most").replace("initW=0.3", "initW=0.3,0.3"),
}  # fmt: skip
X, LABELS = values(3 * 49, CASES), np.array([[1.0, 3, 0]])


def make(text, be=None, inputs=(X, LABELS), params="", towers=1):
    graph = make_graph(DATA + text, {i: len(matrix) for i, matrix in enumerate(inputs)}, CLASSES, params)
    backends = [be or Reference(np.float64) for _ in range(towers)]  # without ``be`` others, between which is copied
    return poisoned(Net(graph, backends, minibatch=CASES + 1, seed=3))


def differences(net, inputs, read, index=0, step=1e-6, count=25):
    """(rows, slopes): central differences of ``read()``, (N,), at some rows of a matrix of the data."""
    rows = np.random.RandomState(0).permutation(len(inputs[index]))[:count]
    slopes = []
    for row in rows:
        found = []
        for sign in (1, -1):
            changed = [np.array(matrix) for matrix in inputs]
            changed[index][row] += sign * step
            found.append(read(changed))
        slopes.append((found[0] - found[1]) / (2 * step))
    return rows, np.array(slopes)


def by_case(net, cost):
    """A function that returns the cost of every case by itself."""

    def read(inputs):
        alone = [[matrix[:, n : n + 1] for matrix in inputs] for n in range(CASES)]
        return np.array([net.test(one, 1)[cost][0] for one in alone])

    return read


def output_of(net, name, row):
    def read(inputs):
        net.forward(inputs, CASES, Mode.TEST, keep=[name])
        return net.output(name)[row]

    return read


@pytest.mark.parametrize("name", NETS)
def test_it_equals_differences_of_the_cost(name):
    net = make(NETS[name], towers=2)
    found = InputGradient(net, "logprob")([X, LABELS], CASES)
    rows, expected = differences(net, [X, LABELS], by_case(net, "logprob"))
    assert found.shape == X.shape and np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found[rows], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("start, row", [("probs", 2), ("fc4", 0), ("fc_neuron", 5), ("fc", 4)])
def test_it_equals_differences_of_an_output(start, row):
    """Of probabilities below a cost that is joined with them; before and behind a neuron."""
    net = make(NETS["tanh, logistic"])
    found = InputGradient(net, start)([X, LABELS], CASES, np.full(CASES, row))
    rows, expected = differences(net, [X, LABELS], output_of(net, start, row))
    np.testing.assert_allclose(found[rows], expected, rtol=1e-5, atol=1e-8)


def test_every_case_may_ask_for_its_own_output():
    net = make(NETS["max-pool"])
    gradient = InputGradient(net, "probs")
    whole = [gradient([X, LABELS], CASES, np.full(CASES, row)) for row in range(CLASSES)]
    np.testing.assert_array_equal(gradient([X, LABELS], CASES, np.array([2, 0, 3]))[:, 1], whole[0][:, 1])
    np.testing.assert_allclose(sum(whole), 0, atol=1e-12)  # probabilities add up to one, whatever the picture


@each_backend
@pytest.mark.parametrize("name", ["max-pool", "avg-pool of norm", "local", "two towers"])
def test_every_backend(be, name):
    state = collect_state(make(NETS[name]))
    for start, outputs in (("logprob", None), ("probs", np.array([1, 2, 3]))):
        found, expected = (
            InputGradient(Net(net.graph, net.backends, CASES, state=state), start)([X, LABELS], CASES, outputs)
            for net in (make(NETS[name], be, towers=2), make(NETS[name], ORACLE, towers=2))
        )
        assert_close(found, expected, 1e-4)


def test_the_net_is_as_before():
    """Weights, momenta and the next step are those of a net that nobody asked."""
    nets = [make(NETS["dropout"]), make(NETS["dropout"])]
    gradient = InputGradient(nets[0], "logprob")
    for _ in range(3):
        gradient([X, LABELS], CASES)
        for net in nets:
            net.train([X, LABELS], CASES)
    first, second = map(collect_state, nets)
    for name, arrays in first.items():
        for key in ("biases", "biasesInc"):
            np.testing.assert_array_equal(arrays[key], second[name][key])
        np.testing.assert_array_equal(arrays["weightsInc"][0], second[name]["weightsInc"][0])
    fresh = InputGradient(nets[1], "logprob")([X, LABELS], CASES)  # the weights are those of now
    np.testing.assert_array_equal(gradient([X, LABELS], CASES), fresh)


def test_buffers_are_returned():
    net = make(NETS["two towers"])
    gradient = InputGradient(net, "logprob")
    gradient([X, LABELS], CASES)
    before = [pool.allocated for pool in net.pools.values()]
    for cases in (1, CASES):
        gradient([X[:, :cases], LABELS[:, :cases]], cases)
    assert [pool.allocated for pool in net.pools.values()] == before


@pytest.mark.parametrize("coeff", [0.25, -3])
def test_coefficients_do_not_count(coeff):
    params = "[DEFAULT]\nepsW=0.1\nepsB=0\nmomW=0\nmomB=0\nwc=0\n[conv1]\n[fc4]\n[logprob]\ncoeff={}\n"
    one, other = (
        InputGradient(make(NETS["conv"], params=params.format(c)), "logprob")([X, LABELS], CASES) for c in (1, coeff)
    )
    np.testing.assert_allclose(other, one, rtol=1e-10)
    with pytest.raises(ConvnetError, match="cost 'logprob' has coeff=0"):
        InputGradient(make(NETS["conv"], params=params.format(0)), "logprob")


SEVERAL = """
[targets]
type=data
dataIdx=2
[left]
type=data
dataIdx=0
start=3
end=40
[a]
type=fc
inputs=data,left,targets
outputs=5
initW=0.2,0.2,0.2
neuron=tanh[1,1]
[out]
type=fc
inputs=a
outputs=4
initW=0.5
[sig]
type=neuron
inputs=out
neuron=logistic
[bce]
type=cost.bce
inputs=targets,sig
[size]
type=cost.sum2
inputs=a
[unused]
type=fc
inputs=targets
outputs=2
initW=0.1
[size2]
type=cost.sum2
inputs=unused
""" + HEAD.format(below="a")


@pytest.mark.parametrize("index, cost", [(0, "bce"), (0, "size"), (2, "size"), (0, "logprob"), (2, "logprob")])
def test_several_data_layers(index, cost):
    """Two that read rows of one matrix add up; of several costs one counts; joined with a logistic neuron or not."""
    inputs = [X, LABELS, np.random.RandomState(0).randint(0, 2, (4, CASES)).astype(float)]
    net = make(SEVERAL, inputs=inputs)
    found = InputGradient(net, cost, index)(inputs, CASES)
    rows, expected = differences(net, inputs, by_case(net, cost), index)
    np.testing.assert_allclose(found[rows], expected, rtol=1e-5, atol=1e-8)


def test_where_there_is_no_way_back():
    inputs = [X, LABELS, values(4, CASES)]
    net = make(SEVERAL, inputs=inputs)
    with pytest.raises(ConvnetError, match="'size2' does not depend on matrix 0 of the data"):
        InputGradient(net, "size2")
    scaled = layer("half", "resize", "data", "channels=3", "scale=1.5") + HEAD.format(below="half")
    with pytest.raises(ConvnetError, match=r"no gradient reaches the data: 'half' \(resize\) passes none on"):
        InputGradient(make(scaled), "logprob")


def test_one_pixel_that_decides():
    """A net whose prediction depends on one pixel has its gradient there and nowhere else."""
    C, side, y, x = 1, 7, 2, 5
    text = layer("conv1", "conv", "data", "channels=1", "filters=2", "filterSize=3", "padding=1", "stride=1", "initW=0",
                 "partialSum=0") + HEAD.format(below="conv1")  # fmt: skip
    inputs = [values(C * side**2, CASES), LABELS]
    net = make(text, inputs=inputs)
    state = collect_state(net)
    kernel = np.zeros((C * 9, 2))
    kernel[4, 1] = 1  # filter 1 is the middle of its window
    weights = np.zeros((2 * side**2, CLASSES))
    weights[side**2 + y * side + x] = [0, 3, 0, 0]
    state["conv1"]["weights"], state["fc4"]["weights"] = [kernel], [np.asfortranarray(weights)]
    net.load_state(state)
    for start, outputs in (("logprob", None), ("probs", np.ones(CASES, int)), ("fc4", np.ones(CASES, int))):
        found = InputGradient(net, start)(inputs, CASES, outputs).reshape(side, side, CASES)
        assert {(int(i), int(j)) for i, j, _ in np.argwhere(found)} == {(y, x)}
        sign = np.where(LABELS[0] == 1, -1, 1) if start == "logprob" else np.ones(CASES)
        np.testing.assert_array_equal(np.sign(found[y, x]), sign)
    assert (found[y, x] == 3).all()


def test_two_emulated_devices():
    """Gradients cross between them, and are those of one."""
    devices = EmulatedDevice(), EmulatedDevice()
    text = NETS["two towers"]
    state = collect_state(make(text))
    nets = [Net(make(text).graph, backends, CASES, state=state) for backends in (list(map(Cuda, devices)), [ORACLE])]
    one, other = (InputGradient(net, "logprob")([X, LABELS], CASES) for net in nets)
    assert_close(one, other, 1e-4)


def test_cases_one_by_one():
    """In buffers of a single case, beside those of the net."""
    net = make(NETS["max-pool"])
    whole = InputGradient(net, "logprob")([X, LABELS], CASES)
    single = InputGradient(net, "logprob", minibatch=1)
    for n in range(CASES):
        found = single([X[:, n : n + 1], LABELS[:, n : n + 1]], 1)
        np.testing.assert_allclose(found[:, 0], whole[:, n], rtol=1e-10, atol=1e-12)
        net.train([X, LABELS], CASES)
        whole = InputGradient(net, "logprob")([X, LABELS], CASES)
