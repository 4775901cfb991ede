"""What of an edit can hold while a net trains: by key, as the key says itself."""

import pytest
from support import SMALL_NET, SMALL_PARAMS

from convnet.graph.loading import LayerFiles, build_graph
from convnet.graph.tuning import tuning
from convnet.layers import LAYER_TYPES

PLAIN = SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0.0004")


def graph_of(text=SMALL_NET, params=PLAIN, dialect="auto"):
    return build_graph(LayerFiles(text, "net.cfg", params, "params.cfg"), {0: 3 * 28**2, 1: 1}, 10, dialect=dialect)


def found(*pair, **text):
    return tuning(graph_of(), graph_of(params=PLAIN.replace(*pair), **text))


@pytest.mark.parametrize(
    "old, new, changed",
    [
        ("coeff=1", "coeff=0.5", ["logprob coeff: 1 -> 0.5"]),
        ("epsB=0.002", "epsB=0", ["conv1 epsB: 0.002 -> 0", "fc epsB: 0.002 -> 0"]),
        ("[logprob]", "[conv1]\nmomW=0\n[logprob]", ["conv1 momW[0]: 0.9 -> 0"]),
        ("keep=0.8", "keep=0.5", ["drop keep: 0.8 -> 0.5"]),
        ("[logprob]", "[fc]\nwc=0.5\nwball=2\n[logprob]", ["fc wc[0]: 0.01 -> 0.5", "fc wball[0]: none -> 2"]),
        ("[logprob]", "[fc]\nepsW=exp[base=0.0004;tgtFactor=9]\n[logprob]",
         ["fc epsW[0]: 0.0004 -> exp[base=0.0004;tgtFactor=9]"]),
        ("coeff=1", "coeff = 1.0 ", []),
    ],
)  # fmt: skip
def test_values_that_can_change(old, new, changed):
    assert found(old, new).fixed == []
    assert sorted(found(old, new).changed) == sorted(changed)
    assert found(old, new).is_meant == bool(changed)


@pytest.mark.parametrize(
    "old, new, fixed",
    [
        ("filters=8", "filters=16", ["conv1 filters: 8 -> 16"]),
        ("initW=0.01\nneuron=relu", "initW=0.02\nneuron=abs", ["conv1 initW: 0.01 -> 0.02", "conv1 neuron: relu -> abs"]),
        ("[drop]", "[dropped]", ["layer drop is called dropped"]),
    ],
)
def test_what_the_net_is_cannot(old, new, fixed):
    text = SMALL_NET.replace(old, new).replace("channels=8", "channels=16" if "filters=16" in new else "channels=8")
    text = text.replace("inputs=drop\n", "inputs=dropped\n" if "dropped" in new else "inputs=drop\n")
    said = found("", "", text=text).fixed
    assert set(fixed) <= set(said) and not any("shape" in line for line in said)


def test_another_generation_cannot():
    params = PLAIN.replace("epsW=0.0004", "epsW=0.0004\nschedW=exp[9,0]")
    later = graph_of(params=params, dialect="2012")
    assert tuning(graph_of(), later).fixed[0] == "files of 2014 -> of 2012, by the spelling of their keys"


def test_options_of_the_run():
    old, new = graph_of(params=PLAIN + "[run]\nepochs=3\nmini=8\n"), graph_of(params=PLAIN + "[run]\nepochs=9\n")
    assert tuning(old, new).run == {"epochs": 9} and tuning(old, new).options == {"epochs": "[run] epochs: 3 -> 9"}


def test_what_can_change_of_all_layers():
    keys = [key for layer in LAYER_TYPES.values() for key in layer.keys]
    assert {key.name for key in keys if key.can_change} == {
        *(
            "epsW",
            "epsB",
            "schedW",
            "schedB",
            "sched",
            "momW",
            "momB",
            "wc",
            "wball",
            "wcNormMin",
            "wcNormMax",
            "updatePeriod",
        ),
        *("coeff", "posWeight", "keep", "enable", "dropout", "scale", "pow", "minDiv", "doMax"),
        *("superMom", "threads", "quantF", "quantB"),  # without effect
    }
