"""Numbers of replicas: what ``gpu=`` of several devices means for a minibatch, and which numbers do not fit."""

import os
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import DATA
from support import default_params

from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.graph.replicas import active_passes, devices, fewest, most, passes, replicas, update_passes, wide
from convnet.graph.table import layer_table
from convnet.layers.weighted import WeightLayer

CONV = "[conv]\ntype=conv\ninputs=data\nchannels=3\nfilters=4\nfilterSize=3\ninitW=0.1\nneuron=relu\ngpu=0,1,2,3\n"
POOL = "[pool]\ntype=pool\npool=max\ninputs=conv\nchannels=4\nsizeX=2\nstride=2\n"
TOP = "[probs]\ntype=softmax\ninputs=joined\n[cost]\ntype=cost.logreg\ninputs=labels,probs\n"


def fc(name, inputs, gpu="", outputs=10):
    weights = ",".join("0.1" for _ in inputs.split(","))
    return f"[{name}]\ntype=fc\ninputs={inputs}\noutputs={outputs}\ninitW={weights}\n" + (f"gpu={gpu}\n" if gpu else "")


def joined(*inputs, gpu=0):
    return f"[joined]\ntype=pass\ninputs={','.join(inputs)}\ngpu={gpu}\n"


def sum2(of):
    return f"[{of}_cost]\ntype=cost.sum2\ninputs={of}\n"


def build(text, periods=""):
    """The graph, with the lines ``periods`` in the sections of convolutions and fc layers."""
    params = default_params(text)
    for name in ("conv", "middle", "joined"):
        params = params.replace(f"[{name}]\n", f"[{name}]\n{periods}")
    return build_graph(LayerFiles(text, "net.cfg", params, "params.cfg"), {0: 3 * 64, 1: 1}, 10)


HYBRID = DATA + CONV + POOL + fc("fca", "pool", "0", 5) + fc("fcb", "pool", "1", 5) + joined("fca", "fcb") + TOP
THREE = DATA + CONV + POOL + fc("middle", "pool", "2,3") + fc("joined", "middle", "1") + TOP


def test_convolutions_of_four_replicas_below_fc_layers_of_one():
    graph = build(HYBRID)
    assert (most(graph), fewest(graph), passes(graph), devices(graph)) == (4, 1, 4, [0, 1, 2, 3])
    assert wide(graph) == ["data", "conv", "conv_neuron", "pool"]
    assert {name: replicas(layer) for name, layer in graph.layers.items() if name not in wide(graph)} == {
        "labels": 1, "fca": 1, "fcb": 1, "joined": 1, "probs": 1, "cost": 1
    }  # fmt: skip


@pytest.mark.parametrize("gpu", ["", "gpu=1\n", "gpu=3,1\n"])
def test_one_number_for_all_layers_is_one_pass(gpu):
    graph = build(DATA + CONV.replace("gpu=0,1,2,3\n", gpu) + POOL + fc("joined", "pool") + TOP)
    count = max(1, gpu.count(",") * 2)
    assert (most(graph), fewest(graph), passes(graph), wide(graph)) == (count, count, 1, [])
    assert devices(graph) == {"": [0], "gpu=1\n": [1], "gpu=3,1\n": [1, 3]}[gpu]
    assert update_passes(graph.layers["conv"], fewest(graph)) == 1


@pytest.mark.parametrize("period, expected", [(0, (4, 2, 1)), (1, (4, 2, 1)), (4, (4, 4, 4)), (8, (8, 8, 8))])
def test_weights_are_updated_when_all_replicas_have_their_cases(period, expected):
    graph = build(
        THREE, f"updatePeriod={period}\n".join(["", *(f"[{name}]\n" for name in ("conv", "middle", "joined")), ""])
    )
    layers = [graph.layers[name] for name in ("conv", "middle", "joined")]
    assert tuple(update_passes(layer, fewest(graph)) for layer in layers) == expected
    assert [active_passes(layer, fewest(graph)) for layer in layers] == [4, 2, 1]


def seen(counts, level, replica, pass_index):
    """The part of the minibatch that a replica of the layer at ``level`` of a chain has in a pass, as 2014 wired it."""
    if level == 0:
        return replica
    period, inputs = counts[level] // counts[-1], counts[level - 1] // counts[level]
    which = pass_index // period % inputs
    return seen(counts, level - 1, replica + which * counts[level], pass_index // period * period)


@given(st.integers(1, 3), st.lists(st.integers(1, 4), max_size=4))
def test_the_fewest_replicas_see_the_parts_in_their_order(low, ratios):
    """Whatever the numbers of replicas between: the docstring's statement, from the rule by which 2014 took inputs."""
    counts = [low * prod(ratios[place:]) for place in range(len(ratios) + 1)]
    for pass_index in range(counts[0] // low):
        parts = [seen(counts, len(ratios), replica, pass_index) for replica in range(low)]
        assert parts == list(range(pass_index * low, (pass_index + 1) * low))


BELOW = DATA + CONV + POOL
SHARED = fc("joined", "data", "0").replace("outputs=10\n", "outputs=10\nweightSource=a\n")
WRONG = {
    "twice": (
        BELOW.replace("gpu=0,1,2,3", "gpu=0,1,1") + fc("joined", "pool", "0") + TOP, "gpu",
        ["net.cfg:16:5", "'conv'", "gpu=0,1,1: each replica runs on a device of its own", "expected different numbers"],
    ),
    "below 0": (
        BELOW.replace("gpu=0,1,2,3", "gpu=0,-1") + fc("joined", "pool", "0") + TOP, "gpu",
        ["gpu=0,-1: each replica", "expected different numbers from 0"],
    ),
    "more above": (
        BELOW + fc("joined", "pool", "0,1,2,3,4,5,6,7") + TOP, "gpu",
        ["'joined'", "gpu=0,1,2,3,4,5,6,7 is 8 replicas, but input 'pool' has 4", "a number of devices that divides 4"],
    ),
    "not a divisor": (BELOW + fc("joined", "pool", "0,1,2") + TOP, "gpu", ["is 3 replicas, but input 'pool' has 4"]),
    "inputs": (
        BELOW + fc("a", "data", "0") + fc("b", "data", "0,1") + fc("joined", "a,b", "0") + TOP + sum2("pool"), "inputs",
        ["'joined': inputs of different numbers of replicas: 'a' has 1, 'b' has 2", "expected equal numbers"],
    ),
    "readers": (
        BELOW + fc("a", "conv", "0") + fc("b", "pool", "0") + fc("joined", "a,b") + TOP, "gpu",
        ["'a': gpu=0 is 1 replica, but 'pool', which reads 'conv' too, has 4", "or a layer of type=pass between"],
    ),
    "branches": (
        BELOW + fc("a", "pool") + fc("joined", "data", "0,1,2") + TOP + sum2("a"), "gpu",
        ["'conv': gpu=0,1,2,3 is 4 replicas, in a net with layers of 3 and of 4", "expected a multiple of 3 that divides 4"],
    ),
    "shared": (
        BELOW + fc("a", "data", "0,1,2,3") + SHARED + TOP + sum2("a") + sum2("pool"), "weightSource",
        ["'joined': shares weights of 'a', which has 4 replicas, not 1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, key, expected", WRONG.values(), ids=WRONG)
def test_numbers_that_do_not_fit_are_reported(text, key, expected):
    with pytest.raises(LayerFileError) as error:
        build(text)
    for part in expected:
        assert part in str(error.value)
    line = text.splitlines()[error.value.problems[0].place.line - 1]
    assert line.startswith(key)


def test_a_period_that_ends_within_a_layers_cases():
    with pytest.raises(LayerFileError, match=r"(?s)updatePeriod=6 counts passes.* needs 4 .*expected a multiple of 4"):
        build(HYBRID, "updatePeriod=6\n")


def test_all_of_them_at_once():
    text = DATA + CONV.replace("2,3", "2,2") + POOL + fc("a", "pool", "0,1,2,4,5") + fc("joined", "pool", "0,1,1") + TOP
    with pytest.raises(LayerFileError) as error:
        build(text)
    reported = [problem.about for problem in error.value.problems if "gpu=" in problem.message]
    assert reported == ["conv", "a", "joined"]


def test_a_pass_between_lets_layers_of_other_numbers_read():
    between = "[between]\ntype=pass\ninputs=conv\n"
    text = DATA + CONV + POOL + between + fc("a", "between", "0") + fc("b", "pool", "0") + fc("joined", "a,b") + TOP
    assert wide(build(text)) == ["data", "conv", "conv_neuron", "pool", "between"]


# (net, replicas at the bottom and at the top, minibatch, parameters, rates of the first and the last layer)
SHIPPED = [
    ("imagenet-2gpu-data", 2, 2, 256, 61_100_840, 0.02, 0.02),
    ("imagenet-4gpu-data", 4, 4, 512, 61_100_840, 0.04, 0.04),
    ("imagenet-2gpu-model", 1, 1, 256, 60_965_224, 0.02, 0.02),
    ("imagenet-4gpu-data-model", 4, 1, 512, 61_100_840, 0.04, 0.01),
    ("cifar10-2gpu-data-model", 2, 1, 128, 58_106, 0.001, 0.001),
]


@pytest.mark.parametrize("net, high, low, mini, parameters, bottom, top", SHIPPED)
def test_shipped_nets_for_several_devices(net, high, low, mini, parameters, bottom, top):
    side, classes = (224, 1000) if "imagenet" in net else (32, 10)
    graph = build_graph(LayerFiles.open(f"layers-{net}.cfg"), {0: 3 * side * side, 1: 1}, classes)
    assert (most(graph), fewest(graph), graph.run["mini"], graph.parameters()) == (high, low, mini, parameters)
    weighted = [layer for layer in graph.declared if isinstance(layer, WeightLayer)]
    assert [layer.epsW[0].base for layer in (weighted[0], weighted[-1])] == [bottom, top]
    assert [update_passes(layer, low) for layer in (weighted[0], weighted[-1])] == [high // low, 1]
    assert not graph.warnings
    where = f"{len(devices(graph))} logical devices" + (f" in {high // low} passes" if high > low else "")
    assert f"{where}, {parameters:,} parameters" in layer_table(graph, mini)


def originals(name):
    """A file of 2014 below the folder that CONVNET_MUSEUM names."""
    folder = os.environ.get("CONVNET_MUSEUM")
    found = sorted(Path(folder).rglob(name)) if folder else []
    return found[0] if found else pytest.skip(f"CONVNET_MUSEUM names no folder with {name}")


@pytest.mark.parametrize("net", [net for net, *_ in SHIPPED if "imagenet" in net])
def test_shipped_nets_are_those_of_2014(net):
    """Layer by layer and key by key, but for names, and for periods that say as often as possible in another way."""
    files = LayerFiles.open(originals(f"layers-{net}.cfg"), originals(f"layer-params-{net}.cfg"))
    ours, theirs = (build_graph(one, {0: 150_528, 1: 1}, 1000) for one in (LayerFiles.open(f"layers-{net}.cfg"), files))
    for mine, other in zip(ours.in_file_order, theirs.in_file_order, strict=True):
        keys = [key.name for key in mine.keys if key.name not in ("inputs", "updatePeriod")]
        assert (mine.type, mine.outputs, mine.maps) == (other.type, other.outputs, other.maps)
        assert {key: getattr(mine, key) for key in keys} == {key: getattr(other, key) for key in keys}, mine.name
        assert [ours.places[name] for name in mine.inputs] == [theirs.places[name] for name in other.inputs]
        if isinstance(mine, WeightLayer):
            assert update_passes(mine, fewest(ours)) == update_passes(other, fewest(theirs))
