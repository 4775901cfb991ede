"""Steps of a tiny net by hand, what limits lead to, and what is monotone."""

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import FLOPS, LATENCY, RATE, machine, shipped
from support import SHARED, make_graph, needs_museum

from convnet.drawing.picture import picture_of
from convnet.graph.analysis import memories
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.net.placement import logical_devices
from convnet.planning.machines import DEVICES, Link, Machine
from convnet.planning.plan import plan
from convnet.planning.splits import CASES, OUTPUTS, SCHEMES, WHOLE, splits
from convnet.planning.steps import step_of
from convnet.planning.towers import devices_named, towers_step

TINY = """
[data]
type=data
dataIdx=0

[labels]
type=data
dataIdx=1

[conv]
type=conv
inputs=data
channels=1
filters=2
filterSize=3
padding=0
stride=1
initW=0.1
neuron=relu

[fc]
type=fc
inputs=conv
outputs=4

[probs]
type=softmax
inputs=fc

[logprob]
type=cost.logreg
inputs=labels,probs
"""
CONV, FC = 2 * 9 + 2, 8 * 4 + 4  # parameters; the maps are of 2 x 2, 8 outputs


@cache
def tiny():
    return make_graph(TINY, {0: 16, 1: 1}, 4)


def layers(step):
    return {layer.name: layer for layer in step.layers}


def test_how_the_tiny_net_is_split():
    names = "data", "labels", "conv", "conv_neuron", "fc", "probs", "logprob"
    assert splits(tiny(), "data") == dict.fromkeys(names, CASES)
    model, hybrid = (WHOLE,) * 2 + (OUTPUTS,) * 3 + (WHOLE,) * 2, (CASES,) * 4 + (OUTPUTS,) + (WHOLE,) * 2
    assert splits(tiny(), "model") == dict(zip(names, model, strict=True))
    assert splits(tiny(), "hybrid") == dict(zip(names, hybrid, strict=True))


def test_data_parallel_by_hand():
    """Two ranks with 3 of 6 cases: 8 x 9 multiply-adds of conv, of which there is one product backward, 8 x 4 of fc."""
    step = step_of(tiny(), machine(), "data", 2, 6)
    conv, fc = layers(step)["conv"], layers(step)["fc"]
    assert (conv.forward, conv.backward) == pytest.approx((2 * 3 * 72 / FLOPS, 2 * 3 * 72 / FLOPS))
    assert (fc.forward, fc.backward) == pytest.approx((2 * 3 * 32 / FLOPS, 2 * 2 * 3 * 32 / FLOPS))
    assert (conv.sent, fc.sent) == (4 * CONV, 4 * FC)  # 2 (R - 1) / R of 4 bytes
    begins = conv.forward + fc.forward + fc.backward
    sums = [2 * P / RATE + 2 * LATENCY for P in (FC, CONV)]  # one way, for weights and biases
    assert fc.ready == pytest.approx(begins) and fc.busy == pytest.approx((begins, begins + sums[0]))
    assert conv.ready == pytest.approx(begins + conv.backward)
    assert conv.busy == pytest.approx((conv.ready, conv.ready + sums[1]))  # the link is free again by then
    assert (fc.waits, conv.waits) == pytest.approx((sums[0], 2 * sums[1]))  # new weights come when backward is over
    assert step.hidden == pytest.approx(sums[0])
    assert step.seconds == pytest.approx(2 * 3 * (2 * 72 + 3 * 32) / FLOPS + sums[0] + 2 * sums[1])


def test_a_link_that_is_still_busy():
    step = step_of(tiny(), machine(rate=100), "data", 2, 6)
    conv, fc = layers(step)["conv"], layers(step)["fc"]
    end = conv.forward + fc.forward + fc.backward + conv.backward
    assert conv.busy[0] == fc.busy[1] > end
    sums = [busy[1] - busy[0] for busy in (fc.busy, conv.busy)]
    assert (fc.waits, conv.waits) == pytest.approx((fc.busy[1] - end + sums[0], 2 * sums[1]))
    assert step.seconds == pytest.approx(conv.busy[1] + sum(sums))


def test_weights_come_beside_updates():
    """Updates of what is summed begin when all gradients are there, in running order; each then goes at once."""
    step = step_of(tiny(), machine(rate=math.inf, latency=1.0, bandwidth=1000.0), "data", 2, 6)
    conv, fc = layers(step)["conv"], layers(step)["fc"]
    assert (conv.update, fc.update) == pytest.approx((16 * CONV / 1000, 16 * FC / 1000))
    assert fc.update < 2  # seconds for two matrices: conv's weights are under way when fc's are ready
    assert conv.waits == pytest.approx(2 + 2 - fc.update)
    assert fc.waits == pytest.approx(fc.busy[1] - conv.ready + 2)
    assert step.seconds == pytest.approx(conv.busy[1] + conv.update + 2 * 2)


def test_processors_that_copy_hide_nothing():
    step = step_of(tiny(), machine(hides=False), "data", 2, 6)
    assert step.hidden == 0 and step.waiting == pytest.approx(4 * (CONV + FC) / RATE + 8 * LATENCY)


def test_model_parallel_by_hand():
    """Rank 1 of 2 has one of the filters and 2 outputs: half of 8 outputs cross for 6 cases, and back; half of 4 once."""
    step = step_of(tiny(), machine(), "model", 2, 6)
    conv, fc, probs = (layers(step)[name] for name in ("conv", "fc", "probs"))
    assert (conv.forward, fc.backward) == pytest.approx((2 * 6 * 36 / FLOPS, 2 * 2 * 6 * 16 / FLOPS))
    assert (conv.sent, fc.sent, probs.sent) == (0, 2 * 4 * 6 * 4, 4 * 6 * 2)
    assert fc.waits == pytest.approx(fc.sent / RATE + 2 * LATENCY) and step.hidden < 1e-9
    assert step.waiting == pytest.approx((fc.sent + probs.sent) / RATE + 3 * LATENCY)


def test_hybrid_by_hand():
    """In each of 2 passes one rank sends its 3 cases: 8 outputs of conv; slices of fc's 4 cross in each pass."""
    step = step_of(tiny(), machine(), "hybrid", 2, 6)
    conv, fc, probs, cost = (layers(step)[name] for name in ("conv", "fc", "probs", "logprob"))
    assert (conv.forward, fc.forward) == pytest.approx((2 * 3 * 72 / FLOPS, 2 * 6 * 16 / FLOPS))
    assert (conv.sent, fc.sent, probs.sent, cost.sent) == (4 * CONV, 2 * 4 * 3 * 8, 2 * 4 * 3 * 2, 0)
    assert fc.waits == pytest.approx(2 * 2 * (4 * 3 * 8 / RATE + LATENCY))
    assert probs.waits == pytest.approx(2 * (4 * 3 * 2 / RATE + LATENCY))
    assert conv.busy[1] - conv.busy[0] == pytest.approx(2 * CONV / RATE + 2 * LATENCY)


def test_cases_that_ranks_do_not_divide():
    """The others wait for the rank with the most of them: 2 of 6 on 4 ranks, 1 on 8, where two have none."""
    for scheme, busy in (("data", "fc"), ("hybrid", "conv")):
        for ranks, cases in ((4, 2), (8, 1)):
            step = step_of(tiny(), machine(), scheme, ranks, 6)
            assert layers(step)[busy].forward == pytest.approx(2 * cases * {"fc": 32, "conv": 72}[busy] / FLOPS)
            assert step.mini == 6


def test_bytes_bound_what_computes_little():
    """A device without end of operations: bytes of memory alone; hybrid reads and updates weights in each pass."""
    found = {}
    for scheme in SCHEMES:
        found[scheme] = layers(step_of(tiny(), machine(flops=math.inf, bandwidth=1.0), scheme, 2, 6))
    assert found["data"]["fc"].forward == 4 * (3 * (8 + 4) + FC)
    assert found["data"]["fc"].backward == 4 * (2 * 3 * (8 + 4) + 2 * FC)
    assert found["data"]["fc"].update == 5 * 4 * FC / 2 + 3 * 4 * FC / 2
    assert found["model"]["fc"].forward == 4 * (6 * (8 + 2) + FC / 2)
    assert found["hybrid"]["fc"].forward == 4 * (6 * (8 + 2) + FC)
    assert found["model"]["fc"].update == 5 * 4 * FC / 2
    assert found["hybrid"]["fc"].update == 2 * 5 * 4 * FC / 2
    assert found["model"]["conv_neuron"].forward == 4 * 6 * (4 + 4)


def test_memory_of_a_rank():
    graph = shipped("layers-imagenet-1gpu.cfg")
    of = {scheme: step_of(graph, machine(), scheme, 4, 128).memory for scheme in SCHEMES}
    weights = sum(memory.weights for memory in memories(graph, 1).values())  # and momenta
    whole, slices = 0.5 * weights, 0.5 * 0.75 * weights  # a gradient, and what three others send of a slice
    assert of["data"] == sum(memory.total for memory in memories(graph, 32).values()) + whole + slices
    everything = memories(graph, 128)
    assert of["model"] == sum(memory.total for memory in everything.values()) - weights + 1.5 / 4 * weights
    fc = sum(everything[name].weights for name in ("fc4096a", "fc4096b", "fc1000"))
    assert of["hybrid"] == of["data"] - (1.5 + 0.5 * 0.75) * fc + 1.5 / 4 * fc


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_infinite_link(scheme):
    """Arithmetic is divided, and nothing else costs time."""
    graph, ideal = shipped("layers-imagenet.cfg"), machine(rate=math.inf, latency=0)  # 64 divides the cases
    alone = step_of(graph, ideal, scheme, 1, 128).seconds
    for ranks in (2, 8, 64):
        step = step_of(graph, ideal, scheme, ranks, 128)
        assert step.waiting == 0 and alone / step.seconds == pytest.approx(ranks)


def test_latency_alone():
    """Arithmetic takes no time, nor do bytes: each matrix and its biases cross twice, one after the other."""
    step = step_of(tiny(), machine(math.inf, LATENCY, math.inf), "data", 2, 6)
    assert step.seconds == step.waiting == pytest.approx(2 * 2 * 2 * LATENCY)


def test_one_rank_waits_for_nothing():
    for scheme in SCHEMES:
        step = step_of(shipped("layers-imagenet.cfg"), machine(), scheme, 1, 128)
        assert (step.waiting, step.sent, step.hidden) == (0, 0, 0)


NETS = ("layers-imagenet.cfg", "layers-imagenet-1gpu.cfg", "layers-cifar10-11pct.cfg", "layers-photos-64.cfg")


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(NETS), st.sampled_from(SCHEMES), st.sampled_from((1, 2, 4, 8)), st.sampled_from((1, 2, 8, 32)),
    st.floats(1e7, 1e12), st.floats(0, 1e-2), st.floats(1e9, 1e15), st.floats(1, 10),
)  # fmt: skip
def test_better_machines_are_not_slower(name, scheme, ranks, cases, rate, latency, flops, better):
    graph, mini = shipped(name), ranks * cases

    def seconds(**changed):
        return step_of(graph, machine(**({"rate": rate, "latency": latency, "flops": flops} | changed)), scheme, ranks, mini)

    step = seconds()
    assert step.seconds == pytest.approx(step.arithmetic + step.waiting) and step.waiting <= step.link * (1 + 1e-9)
    for changed in ({"rate": rate * better}, {"latency": latency / better}, {"flops": flops * better}):
        assert seconds(**changed).seconds <= step.seconds * (1 + 1e-9)
    assert step_of(graph, machine(rate, latency, flops), scheme, ranks, 2 * mini).seconds >= step.seconds * (1 - 1e-9)


def test_towers_send_what_the_picture_says():
    graph = shipped("layers-imagenet.cfg")
    assert devices_named(graph) == 2
    step = towers_step(graph, machine(), 2, 128)
    back = sum(4 * 128 * source.outputs for source in crossing_back(graph))
    assert sum(layer.sent for layer in step.layers) == picture_of(graph, "", 128).sent + back
    assert layers(step)["conv3a"].sent == 4 * 128 * graph.layers["pool2b"].outputs  # the gradient for the other tower


def crossing_back(graph):
    """Layers whose outputs another device reads, and gives a gradient for."""
    where, learn = logical_devices(graph), graph.gradient_layers()
    for layer in graph.layers.values():
        if layer.name in learn and any(where[reader.name] != where[layer.name] for reader in layer.consumers):
            yield layer


def test_towers_on_one_rank_are_the_net_on_it():
    graph, one = shipped("layers-imagenet.cfg"), machine(bandwidth=1e9)
    towers, alone = towers_step(graph, one, 1, 128), step_of(graph, one, "data", 1, 128)
    assert towers.seconds == pytest.approx(alone.seconds) and towers.sent == 0
    assert towers.waiting == pytest.approx(0, abs=1e-12 * towers.seconds)


def test_towers_halve_arithmetic_but_for_the_last_layer():
    graph = shipped("layers-imagenet.cfg")
    step = towers_step(graph, machine(math.inf, 0), 2, 128)
    whole, last = step_of(graph, machine(), "data", 1, 128), layers(step)["fc1000"].arithmetic
    assert step.arithmetic == pytest.approx((whole.arithmetic + last) / 2)
    assert step.waiting == pytest.approx(0, abs=1e-9)
    own = [memory for name, memory in memories(graph, 128).items() if logical_devices(graph)[name] == 0]
    assert step.memory == sum(memory.total + memory.weights / 2 for memory in own)  # and a gradient


def test_devices_lie_on_ranks_in_turn():
    """As in a run, where devices 0 and 2 are two, and one device is no reason to place anything."""
    text = TINY.replace("neuron=relu", "neuron=relu\ngpu=0").replace("outputs=4", "outputs=4\ngpu=2")
    graph = make_graph(text, {0: 16, 1: 1}, 4)
    assert {name: layer.split for name, layer in layers(towers_step(graph, machine(), 2, 6)).items()} == {
        "conv": "rank 0", "conv_neuron": "rank 0", "fc": "rank 1", "probs": "rank 1", "logprob": "rank 1",
    }  # fmt: skip


def test_ranks_that_do_not_divide_devices_split_every_layer():
    found = plan(shipped("layers-imagenet.cfg"), machine(), [2, 3, 4], 128)
    assert [found.steps[ranks][1].layers[0].split for ranks in (2, 3, 4)] == ["rank 0", OUTPUTS, OUTPUTS]


@needs_museum
@pytest.mark.parametrize("name", ["layers-183-4gpu", "layers-153-4gpu"])
def test_nets_of_four_devices(name):
    folder = SHARED / "corpus/files/2012/layers"
    graph = infer_data(parse(LayerFiles.open(str(folder / f"{name}.cfg")))).graph
    found = plan(graph, Machine(DEVICES["GTX 580"], Link(6e9)), [1, 2, 4], 128)
    assert devices_named(graph) == 4
    assert found.one.seconds > found.steps[2][1].seconds > found.steps[4][1].seconds
    assert "on rank 3" in found.places()[1]
