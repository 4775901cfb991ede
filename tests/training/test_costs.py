"""What is printed of costs: children folded into their parent, filters, old checkpoints' expressions (numerics 12.11)."""

import math

import numpy as np
import pytest
from support import ORACLE, default_params, make_graph, problems_of, values

from convnet.checkpoint.layer_dicts import stored_graph
from convnet.generation import G2014
from convnet.layers.filters import FILTERS, recognise
from convnet.net.net import Net
from convnet.training.costs import Outputs

NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc]
type=fc
inputs=data
outputs=3
initW=0.5
neuron=logistic
[first]
type=cost.bce
inputs=labels,fc
[second]
type=cost.bce
inputs=labels,fc
posWeight=2
[both]
type=cost.bce
inputs=labels,fc
children=first,second
"""
TARGETS = np.array([[1.0, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]])


def test_children_are_added_and_left_out():
    """Of a child only what adds up is used: bce's first value (numerics 12.4)."""
    graph = make_graph(NET, {0: 4, 1: 3}, 3)
    costs = Net(graph, ORACLE, minibatch=4).test([values(4, 4), TARGETS], 4)
    shown = Outputs.of(graph).shown(costs, 4)
    assert list(shown) == ["both"]
    assert shown["both"] == [pytest.approx(sum(costs[name][0] for name in ("first", "second", "both")) / 4)]


def test_children_of_children():
    outputs = Outputs(children={"c": ["b"], "b": ["a"]})
    assert outputs.shown({"a": [1.0, 2.0], "b": [10.0, 20.0], "c": [100.0, 200.0]}, 2) == {"c": [55.5, 111]}


@pytest.mark.parametrize("child, message", [("last", "is not defined, or stands later"), ("other", "not cost.bce")])
def test_children_that_cannot_be(child, message):
    other, last = "[other]\ntype=cost.sum2\ninputs=fc\n", "[last]\ntype=cost.bce\ninputs=labels,fc\n"
    text = other.join(NET.replace("first,second", child).partition("[both]")[::2]).replace(other, other + "[both]") + last
    errors = problems_of(text, default_params(text), {0: 4, 1: 3}).errors
    assert len(errors) == 1 and message in errors[0].message


def test_filters():
    sums = [8.0, 4.0, 2, 4, 1, 0, 0, 0]
    shown = {word: Outputs({"c": word}).shown({"c": sums}, 4)["c"] for word in FILTERS}
    assert shown["mean"] == [value / 4 for value in sums]
    assert shown["sum"] == sums
    assert shown["first"] == [2]
    assert shown["detection"] == [2, 1, 1 / 2, 1 / 4, math.inf, math.inf]  # numerics 12.5


def test_detection_is_shown_as_rates():
    graph = make_graph(NET.replace("cost.bce", "cost.dce").replace("children=first,second\n", ""), {0: 4, 1: 3}, 3)
    costs = Net(graph, ORACLE, minibatch=4).test([values(4, 4), TARGETS], 4)
    shown = Outputs.of(graph).shown(costs, 4)["both"]
    declared, there, right = costs["both"][2:5]
    assert len(shown) == 2 + 2 * 3 and shown[3] == right / there and (not declared or shown[2] == right / declared)


def test_expressions_are_recognised_and_never_run():
    for word, filter in FILTERS.items():
        assert recognise(filter.expression) == word
    assert recognise("lambda costs,num_cases: [c/num_cases for c in costs[:2]] + [f(costs[2:])]") == "detection"
    assert recognise("__import__('os').abort()") == "mean"


@pytest.mark.parametrize("word", FILTERS)
def test_checkpoints_keep_the_filter(word):
    text = NET.replace("[both]", f"[both]\noutputFilter={word}")
    stored = {layer["name"]: layer for layer in stored_graph(make_graph(text, {0: 4, 1: 3}, 3), "2014")}
    assert stored["both"]["children"] == ["first", "second"] and stored["both"]["aggregated"]
    assert Outputs.of_stored(stored).filters["both"] == word
    assert not any("outputFilter" in layer for layer in stored_graph(make_graph(text, {0: 4, 1: 3}, 3), "2012"))


@pytest.mark.parametrize(
    "kind, keys, count, names",
    [
        ("logreg", {"topk": 5}, 3, ["cost", "error", "top-5 error"]),
        ("msm", {"setSize": 2}, 3, ["cost", "error", "top-2 error"]),
        ("crossent", {}, 2, ["cost", "error"]),
        ("bce", {}, 1, ["cost"]),
        ("dce", {}, 5, ["cost", "mismatch", "precision of class 0", "recall of class 0", "precision of class 1"]),
        ("sum2", {}, 1, ["cost"]),
        ("unheard-of", {}, 2, ["value 0", "value 1"]),
    ],
)
def test_values_have_names(kind, keys, count, names):
    word = FILTERS["detection" if kind == "dce" else "mean"].expression
    outputs = Outputs.of_stored({"c": {"type": f"cost.{kind}", "outputFilter": word} | keys})
    assert outputs.value_names("c", count) == names


def test_values_of_a_graph_have_the_names_of_its_checkpoint():
    graph = make_graph(NET, {0: 4, 1: 3}, 3)
    stored = Outputs.of_stored({name: layer.stored(G2014) | {"type": layer.type} for name, layer in graph.layers.items()})
    assert (
        Outputs.of(graph).names
        == stored.names
        == {name: ["cost", "mismatch", "error"] for name in ("first", "second", "both")}
    )
