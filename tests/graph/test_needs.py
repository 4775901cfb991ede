"""Which matrices of the data nets need: targets as many as outputs, labels of several kinds of classes, other values."""

import pytest
from nets import DATA
from support import SHARED, default_params, needs_museum

from convnet.errors import LayerFileError
from convnet.graph.infer import infer_data, needed_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.needs import needs_of, predicted_by

PICTURES = DATA.split("[labels]")[0]


def data(name, index, more=""):
    return f"[{name}]\ntype=data\ndataIdx={index}\n{more}"


def fc(name, outputs, inputs="data"):
    return f"[{name}]\ntype=fc\ninputs={inputs}\noutputs={outputs}\ninitW={','.join('0.1' for _ in inputs.split(','))}\n"


def eltsum(name, inputs):
    return f"[{name}]\ntype=eltsum\ninputs={inputs}\ncoeffs=1,-1\n"


def sum2(name, inputs):
    return f"[{name}]\ntype=cost.sum2\ninputs={inputs}\n"


def head(name, outputs, labels):
    softmax = f"[{name}_probs]\ntype=softmax\ninputs={name}\n"
    return fc(name, outputs) + softmax + f"[{name}_cost]\ntype=cost.logreg\ninputs={labels},{name}_probs\n"


REGRESSION = PICTURES + data("targets", 1) + fc("fc", 6) + eltsum("diff", "fc,targets") + sum2("cost", "diff")
HEADS = PICTURES + data("labels", 1) + data("colours", 2) + head("a", 10, "labels") + head("b", 4, "colours")


def begin(text):
    return parse(LayerFiles(text, "net.cfg", default_params(text), "params.cfg"))


NETS = {
    "eltsum": (REGRESSION, {1: 6}, {1: ("value", 6, 0)}),
    "eltmax": (
        PICTURES + data("t", 1) + fc("fc", 6) + "[m]\ntype=eltmax\ninputs=fc,t\n" + sum2("c", "m"),
        {1: 6},
        {1: ("value", 6, 0)},
    ),
    "concat": (
        PICTURES
        + data("t", 3)
        + fc("a", 4)
        + fc("b", 10)
        + "[c]\ntype=concat\ninputs=a,t\n"
        + eltsum("d", "b,c")
        + sum2("e", "d"),
        {3: 6},
        {3: ("value", 6, 0)},
    ),
    "through a neuron": (
        PICTURES
        + data("t", 1)
        + "[n]\ntype=neuron\nneuron=relu\ninputs=t\n"
        + fc("a", 6)
        + eltsum("d", "a,n")
        + sum2("e", "d"),
        {1: 6},
        {1: ("value", 6, 0)},
    ),
    "one tells the other": (
        PICTURES + data("t", 1) + data("u", 2) + fc("a", 6) + eltsum("d", "a,t") + eltsum("e", "d,u") + sum2("f", "e"),
        {1: 6, 2: 6},
        {1: ("value", 6, 0), 2: ("value", 6, 0)},
    ),
    "rows from 3 on": (
        PICTURES + data("t", 1, "start=3\n") + fc("a", 6) + eltsum("d", "a,t") + sum2("f", "d"),
        {1: 9},
        {1: ("value", 9, 0)},
    ),
    "two heads": (HEADS, {1: 1, 2: 1}, {1: ("label", 1, 10), 2: ("label", 1, 4)}),
    "a head and values": (
        HEADS + data("t", 3) + fc("c", 2) + eltsum("d", "c,t") + sum2("e", "d"),
        {1: 1, 2: 1, 3: 2},
        {1: ("label", 1, 10), 2: ("label", 1, 4), 3: ("value", 2, 0)},
    ),
    "rows of one matrix": (
        PICTURES + data("x", 1, "end=1\n") + data("y", 1, "start=1\n") + head("a", 10, "x") + head("b", 4, "y"),
        {1: 2},
        {1: ("label", 2, 10)},
    ),
    "any number of classes": (
        HEADS.replace("outputs=10", "outputs=num_classes"),
        {1: 1, 2: 1},
        {1: ("label", 1, 0), 2: ("label", 1, 4)},
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_what_a_net_needs(name):
    text, dims, expected = NETS[name]
    needs = needed_data(begin(text))
    assert {index: (need.kind, need.rows, need.classes) for index, need in needs.items() if index} == expected
    inferred = infer_data(begin(text))
    assert inferred.dims == {0: 3072} | dims
    shaped = needs_of(inferred.graph, inferred.dims)
    assert {index: need.rows for index, need in shaped.items()} == inferred.dims


def test_an_autoencoder_tells_the_size_of_its_data():
    text = PICTURES + fc("h", 20) + fc("r", 784, "h") + eltsum("diff", "r,data") + sum2("cost", "diff")
    inferred = infer_data(begin(text))
    assert (inferred.dims, inferred.side) == ({0: 784}, 0)
    assert infer_data(begin(text), [784]).dims == {0: 784}
    with pytest.raises(LayerFileError, match=r"not 784 of 'r' .* and 10 of 'data'"):
        infer_data(begin(text), [10])


def test_classes_of_each_head():
    inferred = infer_data(begin(HEADS))
    assert (inferred.classes, inferred.heads) == (10, {2: 4})
    assert "Assumed 4 classes of the labels in matrix 2 of the data." in inferred.notes
    free = HEADS.replace("outputs=10", "outputs=num_classes").replace("outputs=4", "outputs=num_classes")
    graph = begin(free).shape({0: 3072, 1: 1, 2: 1}, 7, heads={2: 3})
    assert (graph.layers["a"].outputs, graph.layers["b"].outputs) == (7, 3)


@pytest.mark.parametrize(
    "shape, line, words",
    [
        (({0: 3072, 1: 1}, 10), 10, "the data have no matrix number 2"),
        (({0: 3072, 1: 1, 2: 1}, 10), 25, "the data have 10 classes"),
        (({0: 3072, 1: 1, 2: 1}, 10, None, "", {2: 5}), 25, "the data have 5 classes in matrix 2"),
        (({0: 3072, 1: 1, 2: 10}, 10, None, "", {2: 4}), 32, "the labels must have one row; input 'colours' has 10"),
    ],
)
def test_what_does_not_fit_is_named_where_it_stands(shape, line, words):
    with pytest.raises(LayerFileError) as caught:
        begin(HEADS).shape(*shape)
    problem = next(problem for problem in caught.value.problems if problem.severity == "error")
    assert (problem.place.line, words in str(problem)) == (line, True)


def test_what_is_predicted():
    """Of a regression the layer that is compared with the targets."""
    graph = infer_data(begin(REGRESSION)).graph
    assert predicted_by(graph.costs[0]).name == "fc"
    graph = infer_data(begin(HEADS)).graph
    assert [predicted_by(cost).name for cost in graph.costs] == ["a_probs", "b_probs"]


@needs_museum
@pytest.mark.parametrize("name", ["flickr-102", "flickr-102-inet-init"])
def test_nets_of_2012_whose_targets_have_a_row_for_each_output(name):
    folder = SHARED / "corpus/files/2012/layers"
    builder = parse(LayerFiles.open(folder / f"layers-{name}.cfg", folder / f"layer-params-{name}.cfg"))
    assert needed_data(builder)[1].rows == 10003


def test_the_last_layer_of_2012s_flickr_nets():
    """The labels stand first in the sum, and only the other input says how many there are."""
    text = PICTURES + data("labels", 1) + fc("fc10003", 10003) + eltsum("diff", "labels,fc10003") + sum2("sqdiff", "diff")
    assert needed_data(begin(text))[1].rows == infer_data(begin(text)).dims[1] == 10003


def test_rows_of_one_matrix_may_be_of_different_classes():
    builder = begin(NETS["rows of one matrix"][0])
    graph = builder.shape({0: 3072, 1: 2}, 10)
    assert [layer.outputs for layer in (graph.layers["a"], graph.layers["b"])] == [10, 4]
    with pytest.raises(LayerFileError, match="not within the data's 1 row"):
        begin(NETS["rows of one matrix"][0]).shape({0: 3072, 1: 1}, 10)
