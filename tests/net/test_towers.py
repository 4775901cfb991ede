"""Ops of a captured step that share no memory run in any order, and the bits are those of a step issued op by op."""

import numpy as np
import pytest
from emulator import EmulatedDevice, LazyStreams
from support import make_graph

from convnet.backends import make_backend, why_not_cuda
from convnet.backends.cuda import Cuda, branches
from convnet.backends.cuda.recorder import Recorder
from convnet.errors import BackendError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.dry_run import blank_inputs, empty_state
from convnet.net.net import Net
from convnet.net.state import collect_state

SIDE, CLASSES, CASES, STEPS = 9, 5, 8, 8
# Two towers that meet twice; an input that both read, a matrix that both use, dropout, and a cost of each.
TOWERS = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
for own in "ab":
    TOWERS += f"""
[conv1{own}]
type=conv
inputs=data
channels=2
filters=4
filterSize=3
stride=2
initW=0.3
partialSum=0
{"weightSource=conv1a" if own == "b" else ""}
[norm1{own}]
type=cmrnorm
inputs=conv1{own}
channels=4
size=3
[pool1{own}]
type=pool
pool={"max" if own == "a" else "avg"}
inputs=norm1{own}
channels=4
sizeX=3
stride=1
neuron=relu
"""
for own, other in ("ab", "ba"):
    TOWERS += f"""
[conv2{own}]
type=conv
inputs=pool1{own},pool1{other}
channels=4,4
filters=4,4
filterSize=2,2
padding=1,1
initW=0.2,0.3
partialSum=0
neuron=relu
[fc{own}]
type=fc
inputs=conv2{own}
outputs=6
initW=0.2
neuron=tanh[1,1]
[hidden{own}]
type=hs
inputs=fc{own}
keep=0.5
"""
TOWERS += """
[both]
type=eltsum
inputs=hiddena,hiddenb
coeffs=1,0.5
[fc5]
type=fc
inputs=hiddena,both
outputs=5
initW=0.3,0.3
[probs]
type=softmax
inputs=fc5
[logprob]
type=cost.logreg
inputs=labels,probs
[sizea]
type=cost.sum2
inputs=fca
[sizeb]
type=cost.sum2
inputs=hiddenb
"""
REASON = why_not_cuda()
card = pytest.param("card", marks=[pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=REASON or "a GPU is here")])
DEVICES = {"emulated": EmulatedDevice, "late": LazyStreams, "early": lambda: LazyStreams((0, 1))}


def make_be(kind: str, captures=True, runs_branches=True):
    be = make_backend("cuda") if kind == "card" else Cuda(DEVICES[kind]())
    be.captures, be.runs_branches = captures, runs_branches
    return be


def minibatch(step: int) -> list[np.ndarray]:
    random = np.random.RandomState(step)
    labels = random.randint(0, CLASSES, (1, CASES)).astype(np.float32)
    return [random.rand(2 * SIDE * SIDE, CASES).astype(np.float32), labels]


def make_net(be) -> Net:
    return Net(make_graph(TOWERS, {0: 2 * SIDE * SIDE, 1: 1}, CLASSES, dialect="2012"), be, minibatch=CASES, seed=3)


def train(be):
    """Costs of each step, the weights after the last, and the net."""
    net = make_net(be)
    costs = [net.train(minibatch(step), CASES) for step in range(STEPS)]
    return (costs, collect_state(net)), net


@pytest.mark.parametrize("kind", [*DEVICES, card])
def test_branches_leave_the_bits(kind):
    plain, net = train(make_be(kind, captures=False))
    assert not net.steps.captured
    for runs_branches in (True, False):
        found, net = train(make_be(kind, runs_branches=runs_branches))
        np.testing.assert_equal(found, plain)
        assert len(net.steps.captured) == 1


def test_every_dependency_is_needed(monkeypatch):
    """Without any one of them, and what it waits for delayed, the numbers are others."""
    monkeypatch.setattr(branches, "WORKSPACES", 100)  # NumPy's products have no workspaces to wait for
    device = EmulatedDevice()
    net = make_net(Cuda(device))
    for step in range(STEPS):
        net.train(minibatch(step), CASES)
    arrays = [array for weights in net.weights for array in (weights.value, weights.inc)]
    begin = [net.be.download(array) for array in arrays]

    def go_on():
        for array, values in zip(arrays, begin, strict=True):
            net.be.copy_in(values, array)
        net.step = STEPS
        with np.errstate(all="ignore"):
            found = [net.train(minibatch(STEPS + step), CASES) for step in range(2)]
        return found, [net.be.download(array) for array in arrays]

    expected = go_on()
    np.testing.assert_equal(go_on(), expected)
    (step,), missed = net.steps.captured.values(), []
    recordings = [captured.work for captured in (step._forward, step._backward, step._update)]
    edges = [(before, node) for recording in recordings for before in recording.before for node in before]
    for before, node in edges:
        before.remove(node)
        device.delayed = node
        try:
            np.testing.assert_equal(go_on(), expected)
            missed.append((before, node))
        except (AssertionError, ArithmeticError):
            pass
        before.append(node)
    assert len(edges) > 60 and not missed


class Drawing(Recorder):
    """Notes what captured ops wait for, by (layer, pass, kernel); computes nothing."""

    captures = runs_branches = True

    def __init__(self):
        super().__init__()
        self.doing, self.graphs = ("", ""), []

    def begin_capture(self):
        self.next = []
        self.graphs.append([])

    def captured_last(self):
        return self.next

    def depend_on(self, nodes):
        self.next = nodes

    def end_capture(self):
        return self.graphs[-1]

    def issue_captured(self, work):
        pass

    def start(self, source, kernel, *args):
        super().start(source, kernel, *args)
        self.note(kernel)

    def multiply(self, product, workspace):
        self.note("gemm")

    def note(self, kernel):
        if self._capturing:
            self.graphs[-1].append((*self.doing, kernel, self.next))
            self.next = [len(self.graphs[-1]) - 1]


def drawn(definition: str, classes: int, side: int) -> list[dict]:
    """For forward, backward, update of a captured step: each (layer, kernel), and all that is done before it."""
    device = Drawing()
    graph = build_graph(LayerFiles.open(definition), {0: 3 * side * side, 1: 1}, classes)
    net = Net(graph, Cuda(device), 4, state=empty_state(graph))

    def noting(work, *doing):
        def run(*args):
            device.doing = doing
            work(*args)

        return run

    for node in net.nodes.values():
        for name in ("forward", "backward", "update"):
            setattr(node, name, noting(getattr(node, name), node.layer.name))
    for _ in range(3):
        net.train(blank_inputs(graph, 4), 4)
    assert net.steps.captured and len(device.graphs) == 3
    return [_with_all_before(graph) for graph in device.graphs]


def _with_all_before(graph) -> dict:
    done: list[set[int]] = []
    for *_, before in graph:
        done.append(set(before).union(*(done[op] for op in before)))
    names = [op[:2] for op in graph]
    return {name: {names[op] for i in range(len(graph)) if names[i] == name for op in done[i]} for name in names}


def test_the_towers_of_2012_are_branches():
    forward, backward, update = drawn("layers-imagenet.cfg", 1000, 224)
    layers = {name: {layer.removesuffix("_neuron") for layer, _ in before} for name, before in forward.items()}
    for own, other in ("ab", "ba"):
        assert {layer[-1] for layer in layers[f"pool2{own}", "pool_forward"]} == {own}
        assert layers[f"conv3{own}", "conv_forward"] >= {"pool2a", "pool2b", "conv1a", "conv1b"}
        weights, inputs = (f"conv4{own}", "conv_weight_grad"), (f"conv4{own}", "conv_input_grad")
        assert weights not in backward[inputs] and inputs not in backward[weights]
        assert {(f"conv5{own}", "conv_input_grad"), ("fc1000", "gemm")} <= backward[inputs] & backward[weights]
        towers = {layer.removesuffix("_neuron")[-1] for layer, _ in backward[inputs] if layer.startswith(("conv", "pool"))}
        assert towers == {own}
        assert not any("weight" in kernel for _, kernel in backward[f"conv1{own}", "conv_weight_grad"])
        assert (f"conv3{other}", "conv_input_grad") in backward[f"conv2{own}", "conv_input_grad"]
    assert not any(update.values()) and len(update) == 15


@pytest.mark.parametrize("refused", ["", "conv_forward", "conv_weight_grad", "update"])
def test_a_device_may_refuse_branches(refused, caplog):
    """Then steps are captured in the order of their ops, in no more memory than without; it is said once."""

    class Refusing(EmulatedDevice):
        def start(self, source, kernel, *args):
            if kernel == refused and self._branches is not None:
                raise BackendError("no memory for branches")
            super().start(source, kernel, *args)

    device, serial = Refusing(), EmulatedDevice()
    serial.runs_branches = False
    (found, net), (expected, _) = train(Cuda(device)), train(Cuda(serial))
    np.testing.assert_equal(found, expected)
    assert net.steps.captured and net.be.runs_branches == (refused == "")
    warning = "branches of a net do not run at the same time, which may take longer: no memory for branches"
    assert caplog.messages == [warning] * (refused != "")
    arrays = len(device._extents), len(serial._extents)
    assert arrays[0] > arrays[1] if refused == "" else arrays[0] == arrays[1]
