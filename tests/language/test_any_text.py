"""Whatever the bytes, reading ends in a net or in ``LayerFileError``; a net written and read again is the same."""

from __future__ import annotations

import pytest
from corpus import meaning
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.writer import TARGETS, write_files
from convnet.language.files import read_text

DIMS = {0: 3 * 24 * 24, 1: 1}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PIECES = st.sampled_from(
    ["[", "]", "=", "%", "%(k)s", ";", " ; ", "#", "\n", "\r", "\t", "\n  ", "0", "-1", "1e999", "nan", ",", "\x00", "é",
     "[conv1]", "[DEFAULT]\n", "type=", "inputs=", "neuron=", "dexp[", "\ufeff", "9" * 30, "true", '"', "'''", "a.b = 1"]
)  # fmt: skip


def attempt(definition, params, ending=".cfg", dialect="auto"):
    files = LayerFiles(definition, "d" + ending, params, "p" + ending)
    try:
        return build_graph(files, DIMS, 10, dialect=dialect)
    except LayerFileError as error:
        assert error.problems and str(error)
        return None


@QUICK
@given(st.binary(max_size=300), st.sampled_from([".cfg", ".toml"]))
def test_bytes(tmp_path_factory, data, ending):
    path = tmp_path_factory.mktemp("fuzz") / "layers"
    path.write_bytes(data)
    try:
        text = read_text(path)
    except LayerFileError as error:
        assert str(error).endswith("not a layer file") or "expected" in str(error)
        return
    attempt(text, None, ending)
    attempt(text, text, ending)


@QUICK
@given(st.lists(PIECES | st.text(max_size=6), max_size=40), st.sampled_from([".cfg", ".toml"]))
def test_pieces(pieces, ending):
    attempt("".join(pieces), "".join(reversed(pieces)), ending)


@st.composite
def nets(draw):
    """A chain of random layers over pictures of 3 x 24 x 24, as INI texts."""
    number = st.floats(0, 1e3, allow_nan=False, width=32).map(repr)
    definition = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
    params, below, channels = "", "data", 3
    for i in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(["c", "a b", "x.y", "é"])) + str(i)
        neuron = draw(st.sampled_from(["", "neuron=relu\n", "neuron=tanh[1.5,0.5]\n"]))
        definition += (
            f"[{name}]\ntype=conv\ninputs={below}\nchannels={channels}\nfilters=16\nfilterSize={draw(st.integers(1, 5))}\n"
        )
        definition += f"padding={draw(st.integers(2, 4))}\ninitW={draw(number)}\npartialSum=0\n{neuron}"
        params += f"[{name}]\nepsW={draw(number)}\nepsB={draw(number)}\nmomW=0.9\nmomB={draw(number)}\nwc={draw(number)}\n"
        params += draw(st.sampled_from(["", "schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]\n"]))
        below, channels = name, 16
    definition += f"[fc]\ntype=fc\ninputs={below}\noutputs=10\ninitW={draw(number)}\n[p]\ntype=softmax\ninputs=fc\n"
    definition += "[cost]\ntype=cost.logreg\ninputs=labels,p\n"
    params += f"[fc]\nepsW={draw(number)}\nepsB=1\nmomW=0\nmomB=0\nwc=0\n[cost]\ncoeff={draw(number)}\n"
    return definition, params


@pytest.mark.parametrize("target", TARGETS)
@QUICK
@given(pair=nets())
def test_printed_nets_read_back(target, pair):
    before = attempt(*pair)
    assert before is not None
    written = write_files(parse(LayerFiles(pair[0], "d.cfg", pair[1], "p.cfg")), target)
    after = attempt(written.definition, written.params, ".toml" if target == "toml" else ".cfg")
    assert after is not None
    schedules = any("schedW" in line for line in pair[1].splitlines())
    assert bool(written.notes) == (target == "2011" and schedules)  # nothing else is beyond 2011, which has no schedules
    if not written.notes:
        assert meaning(after) == meaning(before)
