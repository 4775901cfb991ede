"""A net in the words of another generation computes what it did, and learns what it would have; or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from nets import DATA, cost_of
from support import assert_close, make_graph, values

from convnet.backends.reference import Reference
from convnet.checkpoint.fitting import fitting, holding, misfits
from convnet.errors import CheckpointError
from convnet.generation import G2011, G2012, G2014
from convnet.graph.graph import Graph
from convnet.graph.writer import write_graph
from convnet.net.initial import initial_state
from convnet.net.net import Net
from convnet.net.state import collect_state

FC = "[fc]\ntype=fc\ninputs={}\noutputs=4\ninitW=0.3\n" + cost_of("fc")
CONV = "[conv]\ntype=conv\ninputs=data\nchannels=3\nfilters=16\nfilterSize=3\ninitW=0.3\n"
POOL = "[pool]\ntype=pool\ninputs=conv\nchannels=16\nsizeX=2\n"
SPARSE = CONV.replace("channels=3", "channels=12\ngroups=2\nfilterChannels=12\nrandSparse=1")
PASS = f"{DATA}{CONV}[all]\ntype={{}}\ninputs=conv,conv\n{FC.format('all')}"
PARAMS = "[DEFAULT]\nepsW=0.01\nepsB=0.02\nmomW=0.9\nmomB=0.9\nwc=0.1\ncoeff=1\nscale=0.9\npow=0.75\n{}\n" + "".join(
    f"[{name}]\n" for name in ("conv", "fc", "hs", "drop", "norm", "logprob", "bce")
)
CROSS = DATA.replace("labels", "targets") + (
    "[fc]\ntype=fc\ninputs=data\noutputs=4\ninitW=0.3\nneuron=logistic\n[bce]\ntype={}\ninputs=targets,fc\n"
)


def drop(kind: str, more: str = "") -> str:
    return f"{DATA}{CONV}[hs]\ntype={kind}\ninputs=conv\nkeep=0.75\n{more}{FC.format('hs')}"


# (definition, parameters, generation of the files, of the target, the words that it is written with)
CASES = {
    "hs-2014": (drop("hs"), "enable=1", G2012, G2014, "of type hs is written as dropout2"),
    "dropout2-2012": (drop("dropout2"), "", G2014, G2012, "of type dropout2 is written as hs"),
    "dropout-2012": (drop("dropout"), "keep=0.75", G2014, G2012, "written as hs, neuron=linear[1.3333333333333333,0]"),
    "hs-2011": (drop("hs"), "enable=1", G2012, G2011, "written as neuron, neuron=linear[1,0], dropout=0.25"),
    "dropout-2011": (drop("dropout"), "keep=0.75", G2014, G2011, "neuron=linear[1.3333333333333333,0], dropout=0.25"),
    "idle-hs-2011": (drop("hs"), "enable=0", G2012, G2011, "written as neuron, neuron=linear[0.75,0]"),
    "fork-2014": (
        DATA + CONV + "neuron=relu\n" + FC.format("conv"), "[conv]\ndropout=0.5\n[DEFAULT]", G2011, G2014,
        "'conv': its dropout=0.5 is layer 'conv_dropout'",
    ),
    "doMax": (DATA + CONV + POOL + "pool=rand\nstride=2\n" + FC.format("pool"), "doMax=1", G2012, G2014, "with pool=max"),
    "sum": (DATA + CONV + POOL + "pool=avg\nsum=1\nstride=2\n" + FC.format("pool"), "", G2014, G2012, "neuron=linear[4,0]"),
    "minDiv-2011": (
        f"{DATA}{CONV}[norm]\ntype=cmrnorm\nchannels=16\nsize=5\ninputs=conv\n{FC.format('norm')}", "minDiv=2", G2012, G2011,
        "with scale=0.45, neuron=linear[0.5946035575013605,0]",
    ),
    "minDiv-2012": (
        f"{DATA}{CONV}[norm]\ntype=rnorm\nchannels=16\nsize=3\ninputs=conv\n{FC.format('norm')}", "minDiv=2", G2014, G2012,
        "with scale=0.45, neuron=linear[0.5946035575013605,0]",
    ),
    "pass": (PASS.format("pass"), "", G2014, G2012, "written as concat"),
    "crossent2": (CROSS.format("cost.crossent2"), "", G2012, G2014, "written as cost.bce"),
    "dce": (CROSS.format("cost.dce"), "", G2014, G2012, "written as cost.crossent2"),
}  # fmt: skip
DRAWN_IN_ANOTHER_WAY = {"hs-2011", "dropout-2011", "fork-2014"}  # which units are dropped


def trained(graph: Graph, state: dict, data: list) -> tuple[dict, dict]:
    """What it costs to test, and what the layers have learned after a step from ``state``."""
    own = initial_state(graph, 3)
    net = Net(graph, Reference(np.float64), minibatch=6, seed=5, state={name: state[name] for name in own})
    costs = net.test(data, 6)
    net.train(data, 6)
    return costs, collect_state(net)


@pytest.mark.parametrize("name", CASES)
def test_means_the_same(name):
    text, params, source, target, told = CASES[name]
    params = PARAMS.replace("{}", params)
    classes = 4
    many = "targets" in text
    graph = make_graph(text, {0: 192, 1: 4 if many else 1}, classes, params, dialect=source)
    fitted = fitting(graph, target)
    assert fitted.graph.generation == target and len(fitted.told) == 1 and told in fitted.told[0]
    assert not misfits(fitted.graph, target) and not fitting(fitted.graph, target).told
    labels = np.random.RandomState(1).randint(0, 2 if many else 4, (4 if many else 1, 6)).astype(np.float32)
    data = [values(192, 6), labels]
    state = initial_state(graph, 3)
    before, after = trained(graph, state, data), trained(fitted.graph, state, data)
    for cost, sums in before[0].items():
        assert_close(np.array(after[0][cost][:1]), np.array(sums[:1]), 1e-6)
    for layer, arrays in () if name in DRAWN_IN_ANOTHER_WAY else before[1].items():
        assert_close(after[1][layer]["weights"][0], arrays["weights"][0], 1e-5)


MISFITS = {
    "neuron": (DATA + CONV + "neuron=log[1]\n" + FC.format("conv"), "", G2014, G2012, "2012 has no neuron 'log'"),
    "type": (PASS.format("concat"), "", G2014, G2011, "has no type 'concat'"),
    "pool": (DATA + CONV + POOL + "pool=rand\nstride=2\n" + FC.format("pool"), "[pool]", G2012, G2014, "has no pool=rand"),
    "key": (DATA + SPARSE + FC.format("conv"), "", G2012, G2014, "has no key 'randSparse'"),
    "clipped": (
        DATA + CONV + POOL + "pool=avg\nsum=1\nstride=2\nstart=-1\n" + FC.format("pool"), "", G2014, G2012, "no key 'sum'"
    ),
    "taken neuron": (drop("dropout", "neuron=relu\n"), "keep=0.75", G2014, G2012, "has no type 'dropout'"),
    "rows": (DATA + "start=0\n" + CONV + FC.format("conv"), "", G2014, G2012, None),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_has_no_word(name):
    text, params, source, target, expected = MISFITS[name]
    graph = make_graph(text, {0: 192, 1: 1}, 4, PARAMS.replace("{}", params), dialect=source)
    assert holding(graph)[-1] == "npz"
    if expected is None:
        assert not misfits(graph, target)
        return
    with pytest.raises(CheckpointError, match=r"formats that do: .*npz") as raised:
        fitting(graph, target)
    assert expected in str(raised.value) and f"of {target} cannot hold" in str(raised.value)
    assert target not in holding(graph) and source in holding(graph)


def test_what_is_lost_but_no_other_net():
    params = PARAMS.replace(
        "{}", "schedW=jdexp[tgtFactor=10,noiseStdev=0,numSteps=3]\nwball=3\n[logprob]\ntopk=2\n[DEFAULT]"
    )
    graph = make_graph(DATA + FC.format("data"), {0: 192, 1: 1}, 4, params, dialect="2012")
    assert [note.partition(": ")[2] for note in fitting(graph, G2011).notes] == [
        "2011 has no schedules; epsW keeps its base, without jdexp[tgtFactor=10,noiseStdev=0,numSteps=3]",
        "2011 has no key 'wball', which was 3",
        "2011 has no key 'topk', which was 2",
    ]
    assert any("2014 has no jdexp" in note for note in fitting(graph, G2014).notes)
    assert holding(graph) == ["2014", "2012", "2011", "npz"]


def test_its_own_generation_leaves_a_net_as_it_is():
    graph = make_graph(drop("hs"), {0: 192, 1: 1}, 4, PARAMS.replace("{}", "enable=1"), dialect="2012")
    assert fitting(graph, G2012).graph is graph
    before = [vars(layer).copy() for layer in graph.declared]
    write_graph(graph, G2014)
    assert [vars(layer) for layer in graph.declared] == before


def test_rates_of_another_generation_are_said_in_its_words():
    params = PARAMS.replace("{}", "enable=1\n[fc]\nepsW=exp[base=0.1;tgtFactor=10]\n[DEFAULT]")
    graph = make_graph(drop("hs"), {0: 192, 1: 1}, 4, params)
    assert graph.generation == G2012
    layer = fitting(graph, G2012).graph.layers["fc"]
    assert layer.epsW[0].schedule is None and layer.schedW == graph.layers["fc"].weight_schedule(0)


@pytest.mark.parametrize(("source", "target", "limit"), [(G2012, G2014, 0.5 * 192), (G2014, G2012, 0.5 / 192)])
def test_a_limit_per_weight_becomes_one_of_the_filter(source, target, limit):
    graph = make_graph(DATA + FC.format("data"), {0: 192, 1: 1}, 4, PARAMS.replace("{}", "wball=0.5"), dialect=source)
    fitted = fitting(graph, target)
    assert fitted.graph.layers["fc"].wball == [limit]
    assert fitted.notes == ["layer 'fc': 2014 gives every filter the norm that wball says, 2012 longer ones alone"]


def test_sizes_that_shapes_change_are_those_of_the_file():
    cmpool = "[cm]\ntype=cmpool\npool=max\ninputs=hs\nchannels=16\nsize=2\nstride=2\n"
    more = f"{cmpool}[sfc]\ntype=sfc\ninputs=cm\nparts=2\noutputs=3\n"
    graph = make_graph(
        drop("hs", more).replace("inputs=hs\noutputs", "inputs=sfc\noutputs"), {0: 192, 1: 1}, 4, dialect="2012"
    )
    fitted = fitting(graph, G2014).graph
    shapes = [{layer.name: (layer.outputs, layer.maps) for layer in one.declared} for one in (graph, fitted)]
    assert shapes[0] == shapes[1] and shapes[0]["sfc"] == (6, None)
