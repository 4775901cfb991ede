"""When the programs of a generation read the parameters of a net as they are, and what they are given else."""

import pytest
from support import make_graph

from convnet.checkpoint.fitting import parameters_for
from convnet.generation import G2011, G2012, G2014, GENERATIONS

NET = """[data]
type=data
dataIdx=0
[a]
type=fc
inputs=data
outputs=4
[b]
type=fc
inputs=data,a
outputs=4
[s]
type=eltsum
inputs=a,b
[c]
type=cost.sum2
inputs=s
"""
RATES = "epsB=1\nmomB=0\n"
BOTH = "epsW=0.1,0.2\nmomW=0,0\nwc=0,0\n"
A = f"[a]\nepsW=0.1\nmomW=0\nwc=0\n{RATES}"
C = "[s]\n[c]\ncoeff=1\n"


def parameters(params, generation, net=NET):
    return parameters_for(make_graph(net, {0: 6}, None, params, dialect=generation), generation)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_files_in_their_words_are_theirs(generation):
    assert parameters(f"{A}[b]\n{BOTH}{RATES}{C}[run]\nepochs=3\n", generation) == ""
    assert parameters(f"[DEFAULT]\n{RATES}wc=0,0\n{A}[b]\n{BOTH}{C}", generation) == ""


@pytest.mark.parametrize("generation, is_read", [(G2011, False), (G2012, False), (G2014, True)])
def test_one_value_for_several_inputs(generation, is_read):
    text = parameters(f"{A}[b]\n{BOTH.replace('0.1,0.2', '0.1')}{RATES}{C}", generation)
    assert (text == "") == is_read and (is_read or "epsW=0.1,0.1\n" in text)


def test_keys_that_only_2011_wants_and_other_spellings():
    params = f"{A}[b]\n{BOTH}{RATES}{C}".replace("wc=0,0\n", "")
    assert "wc=0,0\n" in parameters(params, G2011) and parameters(params, G2012) == ""


def test_keys_that_stand_in_the_other_file():
    net = NET.replace("inputs=a,b\n", "inputs=a,b\ncoeffs=1,-1\n")
    params = f"{A}[b]\n{BOTH}{RATES}{C}"
    assert parameters(params, G2012, net) == "" and "[s]\ncoeffs=1,-1\n" in parameters(params, G2014, net)


def test_a_layer_without_a_section():
    assert "[a]\n" in parameters(f"[DEFAULT]\nepsW=0.1\nmomW=0\nwc=0\n{RATES}[b]\n{BOTH}{RATES}{C}", G2014)
