"""The glossary has a line for every word that a net shows, in the words of the declarations."""

import pytest
from support import ROOT

from convnet.cli import main
from convnet.graph.glossary import all_words, glossary, words_of
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.table import COLUMNS
from convnet.language.neurons import TYPES
from convnet.layers import LAYER_TYPES
from convnet.layers.cost import Cost

SHIPPED = sorted(path.name for path in (ROOT / "layers-cfg").glob("layers-*.cfg"))


def words(name):
    return words_of(infer_data(parse(LayerFiles.open(name))).graph)


def test_the_words_of_the_paper_net():
    found = words("layers-imagenet.cfg")
    flat = {word: meaning for part in found.values() for word, meaning in part.items()}
    for word in ("conv", "pool", "rnorm", "partialSum", "epsW", "momW", "wc", "top-5 error", "logprob", "minibatch", "hs"):
        assert len(flat[word]) > 10
    assert flat["epsW"] == LAYER_TYPES["conv"].epsW.help and flat["relu"].startswith(TYPES["relu"].formula)
    assert "energy of neighbouring pixels" in flat["rnorm"] and "5 likeliest" in flat["top-5 error"]
    assert set(found["types of layers"]) == {
        "data", "conv", "cmrnorm", "pool", "neuron", "rnorm", "fc", "hs", "softmax", "cost.logreg",
    }  # fmt: skip
    assert "local" not in flat and "coeffs" not in flat and "tanh" not in flat and "mismatch" not in flat


def test_words_that_only_some_nets_have():
    photos, digits = words("layers-photos-64.cfg"), words("layers-digits.cfg")
    assert "classes" in photos["other words"]["num_classes"] and "num_classes" not in digits["other words"]
    assert photos["numbers of a run"]["top-1 error"].startswith("the error again")


def test_a_key_with_several_meanings_says_of_which_layers():
    keys = words("layers-cifar10-18pct.cfg")["keys"]
    assert keys["stride"] == LAYER_TYPES["conv"].stride.help
    everything = all_words()["keys"]["stride"]
    assert "of nailbed: pixels between those kept" in everything and "conv, local, pool" in everything


@pytest.mark.parametrize("name", SHIPPED)
def test_every_word_of_a_net_is_there(name):
    graph = infer_data(parse(LayerFiles.open(name))).graph
    found = words_of(graph)
    assert set(found["columns"]) > {column.head for column in COLUMNS}
    assert {layer.type for layer in graph.layers.values()} == set(found["types of layers"])
    written = {key.name for layer in graph.declared for key in layer.keys if key.name in layer.check.places}
    assert set(found["keys"]) == written
    total = all_words()
    for heading, meanings in found.items():
        assert heading == "numbers of a run" or meanings.keys() <= total[heading].keys()


def test_all_words_cover_all_declarations():
    total = all_words()
    assert total["types of layers"].keys() == LAYER_TYPES.keys() and total["neurons"].keys() == TYPES.keys()
    assert total["keys"].keys() == {key.name for kind in LAYER_TYPES.values() for key in kind.keys}
    costs = [kind for kind in LAYER_TYPES.values() if issubclass(kind, Cost)]
    assert total["numbers of a run"].keys() == {name.format(k=5) for kind in costs for name in kind.value_names}
    assert all(meaning for part in total.values() for meaning in part.values())
    for width in (20, 40, 80):
        assert max(map(len, glossary(total, width).splitlines())) <= max(width, 4 + max(map(len, total["other words"])))


def test_on_the_command_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["explain", "--glossary"]) == 0
    every = capsys.readouterr().out
    assert every == glossary(all_words(), 60) + "\n"
    assert main(["explain", "layers-digits.cfg", "--glossary"]) == 0
    assert capsys.readouterr().out == glossary(words("layers-digits.cfg"), 60) + "\n"
    assert main(["explain"]) == 2
    assert capsys.readouterr().err == "convnet: DEF is missing; see --help\n"
    assert main(["explain", "layers-digits.cfg", "--glossary", "--json"]) == 2
    assert "not allowed with" in capsys.readouterr().err
