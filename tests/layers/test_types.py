"""What the declarations of layer types say: the order of keys, which checkpoints and converted files repeat."""

import pytest
from support import make_graph

from convnet.generation import G2014
from convnet.layers import LAYER_TYPES, Layer

FIRST, LAST = ["inputs", "neuron", "gpu"], ["dropout", "quantF", "quantB"]  # keys of every layer
WINDOW = "channels filters filterSize padding stride groups randSparse filterChannels initCFunc modulesX initW"
INIT = "initB initWFunc initBFunc weightSource"
LEARNING = "epsW epsB momW momB wc wball schedW schedB sched superEps superMom updatePeriod"


def names(type_):
    return [key.name for key in LAYER_TYPES[type_].keys]


@pytest.mark.parametrize(
    "type_, expected",
    [
        ("conv", f"{WINDOW} {INIT} sharedBiases partialSum sumWidth {LEARNING} wcNormMin wcNormMax"),
        ("local", f"{WINDOW} {INIT} {LEARNING}"),
        ("fc", f"outputs initW {INIT} {LEARNING}"),
        ("sfc", f"initW {INIT} {LEARNING} outputs parts"),
        ("treefc", f"initW {INIT} {LEARNING}"),
        ("cost.logreg", "coeff children outputFilter topk"),
        ("cost.dce", "coeff children posWeight outputFilter"),
        ("cost.crossent2", "coeff"),
        ("hs", "keep enable"),
        ("rgb2lab", "center"),
    ],
)
def test_order_of_keys(type_, expected):
    assert " ".join(name for name in names(type_) if name not in FIRST + LAST) == expected


def test_keys_of_every_layer_stand_first_and_last():
    assert [key.name for key in Layer.keys] == FIRST + LAST
    assert (names("pool")[:3], names("pool")[-3:]) == (FIRST, LAST)
    assert names("data") == ["dataIdx", "start", "end", *LAST]
    assert "neuron" not in names("cost.sum2")


def test_outputs_of_a_pool_across_maps_are_features():
    text = "[data]\ntype=data\ndataIdx=0\n[x]\ntype=cmpool\ninputs=data\npool=max\nchannels=3\nsize=2\nstride=1\n"
    layer = make_graph(text + "outputs=2\n[cost]\ntype=cost.sum2\ninputs=x\n", {0: 48}).layers["x"]
    stored = layer.stored(G2014)
    assert (layer.outputs, stored["outputs"], stored["outputChannels"]) == (32, 32, 2)
