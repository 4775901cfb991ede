"""The generation of a pair of files, by what only one of them reads or demands."""

import pytest

from convnet.graph.detection import detect
from convnet.language.diagnostics import Problems
from convnet.language.ini import read_ini

CONV = "[data]\ntype=data\ndataIdx=0\n[c]\ntype=conv\ninputs=data\nchannels=3\nfilters=16\nfilterSize=5\ninitW=0.1\n"
RATES = "[c]\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\n"
DROPOUT = "[d]\ntype={}\ninputs=c\n"


def detected(definition, params=None):
    problems = Problems()
    documents = [read_ini(text, "x", problems) if text is not None else None for text in (definition, params)]
    assert not problems.items
    return detect(*documents)


@pytest.mark.parametrize(
    "definition, params, expected",
    [
        (CONV + "partialSum=1\n", RATES + "wc=0\n", "2011"),  # no device at all, and wc, which 2011 demands
        (CONV + "partialSum=1\n", RATES + "wc=0\ndropout=0.5\n", "2011"),
        (CONV + "partialSum=1\ngpu=0\n", RATES, "2012"),
        (CONV + "partialSum=1\ngpu=0\n", RATES + "schedW=exp[tgtFactor=10,noiseStdev=0]\n", "2012"),
        (CONV + "sumWidth=4\ngpu=0\n", RATES, "2014"),
        (CONV + "sumWidth=4\ngpu=0\n", RATES.replace("0.1", "dexp[base=0.1;tgtFactor=9;numSteps=2]", 1), "2014"),
        (CONV + "partialSum=1\ngpu=0\n" + DROPOUT.format("hs") + "keep=0.5\n", RATES + "[d]\nenable=1\n", "2012"),
        (CONV + "sumWidth=4\ngpu=0\n" + DROPOUT.format("dropout2"), RATES + "[d]\nkeep=0.5\n", "2014"),
        (CONV + "PARTIALSUM=1\nGPU=0\n", RATES, "2012"),  # keys are case-insensitive
        (CONV + "partialSum=1\n", None, "2011"),
        ("", None, "2011"),
    ],
)
def test_generation(definition, params, expected):
    assert detected(definition, params) == expected


def test_unknown_types_and_sections_do_not_vote():
    strange = "[x]\ntype=nonesuch\ninputs=c\n[y]\nkey=value\n"
    for text, expected in ((CONV + "sumWidth=4\ngpu=0\n", "2014"), (CONV + "partialSum=1\ngpu=0\n", "2012")):
        assert detected(text + strange, RATES) == expected
