"""Small definitions with the verdict of each original: the same meaning, a message with a place, never a traceback."""

from __future__ import annotations

import json

import pytest
from corpus import CORPUS, MISSING

from convnet.errors import LayerFileError
from convnet.generation import GENERATIONS
from convnet.graph.loading import LayerFiles, build_graph
from convnet.layers.label_tree import LabelTree

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=MISSING)
PATH = CORPUS / "snippets.json"
SNIPPETS = [snippet for snippet in json.loads(PATH.read_text()) if snippet["def_text"] is not None] if PATH.is_file() else []

# What all originals took and none could have run.
REFUSED_HERE = {"pool-start-past-end": "no window touches the image"}
# What all originals refused, and why it is accepted.
ACCEPTED_HERE = {
    "params-file-missing": "a definition alone is a net that does not learn",
    "utf8-bom": "a byte order mark says nothing",
    "initWFunc-not-float32": "functions are called when weights are made, not when files are read",
    "initWFunc-bad-shape": "as above",
    "initBFunc-bad-shape": "as above",
    "fc-missing-initW": "the default that 2011 declared for initW, 0.01, holds",
    "pool-rand": "2012's pool=rand, for which it demanded parameters that have defaults",
    "pool-channels-8-over-weights": "a limit of the kernels",
    "cmrnorm-24ch": "a limit of the kernels",
    "rnorm-5ch": "a limit of the kernels",
    "href-4ch": "a limit of the kernels",
    "dropout-no-params": "keep and enable have defaults",
    "neuron-36-tanh[+1,2]": "+1 is a number",
    "epsW-sched-04-jdexp[base=0.01;tgtFactor=250;numSteps=4]": "2012's jdexp in 2014's spelling",
    "epsW-sched-05-dexp[base=0.01,tgtFactor=250,numSteps=4]": "commas inside the brackets",
    "epsW-sched-06-dexp[tgtFactor=250;base=0.01;numSteps=4]": "named parameters in another order",
    "msm-setsize-bad": "2012 died while it made its message",
    "msm-threads-bad": "2012 died while it made its message",
}


def build(snippet: dict, dialect: str = "auto"):
    files = LayerFiles(snippet["def_text"], "layers.cfg", snippet["params_text"], "params.cfg")
    tree = LabelTree.flat(snippet["num_classes"])
    return build_graph(files, dict(enumerate(snippet["data_dims"])), snippet["num_classes"], tree, dialect)


def meaning(layers: list[dict]) -> dict:
    return {layer["name"]: (layer["type"], layer["outputs"], tuple(layer.get("inputs", ()))) for layer in layers}


def verdicts(snippet: dict) -> list[dict]:
    """Meanings that originals found, one of each kind."""
    found = [meaning(snippet[g]["layers"]) for g in GENERATIONS if g in snippet and snippet[g]["ok"]]
    return [one for i, one in enumerate(found) if one not in found[:i]]


def refusals(snippet: dict) -> int:
    return sum(not snippet[g]["ok"] for g in GENERATIONS if g in snippet)


def ours(snippet: dict, dialect: str = "auto") -> dict | LayerFileError:
    try:
        graph = build(snippet, dialect)
    except LayerFileError as error:
        assert error.problems
        return error
    return {layer.name: (layer.type, layer.outputs, tuple(layer.inputs)) for layer in graph.layers.values()}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet["name"])
def test_meaning(snippet):
    result, known = ours(snippet), verdicts(snippet)
    if not isinstance(result, LayerFileError):
        # With no original to agree with, it must be a deliberate extension.
        assert result in known if known else snippet["name"] in ACCEPTED_HERE
        return
    agreed = len(known) == 1 and not refusals(snippet)
    assert not agreed or snippet["name"] in REFUSED_HERE
    # A file without any section has no line to blame.
    assert all(problem.place.line for problem in result.problems) or not snippet["def_text"].strip()


@pytest.mark.parametrize("dialect", GENERATIONS)
@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet["name"])
def test_no_dialect_ends_in_a_traceback(snippet, dialect):
    ours(snippet, dialect)


def test_every_exception_is_still_one():
    by_name = {snippet["name"]: snippet for snippet in SNIPPETS}
    assert all(isinstance(ours(by_name[name]), LayerFileError) for name in REFUSED_HERE)
    assert not any(isinstance(ours(by_name[name]), LayerFileError) for name in ACCEPTED_HERE)
