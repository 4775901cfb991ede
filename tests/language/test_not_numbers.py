"""Rates and other values of layers that are not numbers: refused with file and line, before anything runs."""

import pytest

import convnet
from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.language.neurons import NEURON
from convnet.language.schedules import RATE, SCHEDULE
from convnet.language.values import INITIAL, Float
from convnet.layers import LAYER_TYPES
from convnet.layers.examples import CHAIN, CLASSES, DIMS, EXAMPLES, PARAMS, PRELUDE, PRELUDE_PARAMS
from convnet.layers.label_tree import LabelTree

NUMBERS = [
    (type_, key.name)
    for type_, layer in LAYER_TYPES.items()
    for key in layer.keys
    if (isinstance(key.kind, Float) or key.kind in (RATE, SCHEDULE, NEURON)) and key.kind is not INITIAL
]


def spellings(type_, name):
    kind = next(key.kind for key in LAYER_TYPES[type_].keys if key.name == name)
    if kind is NEURON:
        return ["tanh[nan,1]", "tanh[1,-inf]", "log[inf]", "linear[1e39,0]"]
    if kind is SCHEDULE:
        return [
            "dexp[tgtFactor=10,noiseStdev=nan,numSteps=3]",
            "linear[inf,0]",
            "dexp[tgtFactor=10,noiseStdev=0,numSteps=nan]",
        ]
    words = ["nan", "inf", "-inf", "NaN", "1e999", "1e39", "-3.5e38"]  # 1e39 is infinite in float32
    return (
        [*words, "dexp[base=inf;tgtFactor=2;numSteps=2]", "-0.001", "1e-60", "exp[base=1;tgtFactor=nan]"]
        if kind is RATE
        else words
    )


@pytest.mark.parametrize("type_, name", NUMBERS)
def test_every_number_of_every_type(type_, name):
    definition, params = EXAMPLES[type_]
    for word in spellings(type_, name):
        in_params = next(key for key in LAYER_TYPES[type_].keys if key.name == name).home == "params"
        section = "[cost]" if type_.startswith("cost.") else "[x]"
        texts = [definition, params if params or not in_params else section + "\n"]
        lines = [line for line in texts[in_params].splitlines() if not line.startswith(name + "=")]
        texts[in_params] = "\n".join([*lines, f"{name}={word}"]) + "\n"
        files = LayerFiles(PRELUDE + texts[0], "def.cfg", PRELUDE_PARAMS + texts[1], "params.cfg")
        with pytest.raises(LayerFileError) as raised:
            build_graph(files, DIMS, CLASSES, LabelTree.flat(CLASSES))
        found = [problem for problem in raised.value.problems if f": {name}=" in problem.message]
        text = (files.params if in_params else files.definition).splitlines()
        assert [(problem.place.file, problem.place.line) for problem in found] == [
            (("def.cfg", "params.cfg")[in_params], text.index(f"{name}={word}") + 1)
        ], (word, raised.value)


def test_in_toml():
    text = '[layer.data]\ntype = "data"\ndataIdx = 0\n[layer.fc]\ntype = "fc"\ninputs = "data"\noutputs = 2\nepsW = nan\n'
    text += 'epsB = 0.1\nmomW = 0.9\nmomB = inf\n[layer.cost]\ntype = "cost.sum2"\ninputs = "fc"\ncoeff = nan\n'
    with pytest.raises(LayerFileError) as raised:
        build_graph(LayerFiles(text, "net.toml"), {0: 4})
    assert sorted(problem.place.line for problem in raised.value.problems) == [8, 11, 15]


@pytest.mark.parametrize("key", ["initW", "initB"])
@pytest.mark.parametrize("word", ["nan", "inf", "1e999"])
def test_first_values_can_be_read_but_not_begun_with(key, word):
    """The originals read them."""
    definition = CHAIN.replace("initW=0.01\n", "").replace("outputs=10\n", f"outputs=10\n{key}={word}\n")
    files = LayerFiles(definition, "definition", PARAMS, "parameters")
    assert [problem.severity for problem in build_graph(files, DIMS, CLASSES).warnings] == ["warning"]
    with pytest.raises(LayerFileError, match=f"layer 'fc': '{key}' is {float(word)}; no result would be a number") as raised:
        convnet.build(definition, PARAMS, side=8)
    assert raised.value.problems[-1].place.line == definition.splitlines().index(f"{key}={word}") + 1
