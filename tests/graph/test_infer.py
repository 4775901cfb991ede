"""Data that definitions seem to want: the historical nets get their own sizes, others the first that fits."""

import json
import subprocess
import sys

import pytest
from support import SHARED, default_params, needs_museum

import convnet
from convnet.errors import LayerFileError
from convnet.graph.infer import channels_of, expected_classes, infer_data
from convnet.graph.loading import LayerFiles, parse

NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[flip]
type=dropout
inputs=data
[conv]
type=conv
inputs=flip
channels={channels}
filters=4
filterSize={filterSize}
initW=0.1
[fc]
type=fc
inputs=conv
outputs={classes}
initW=0.1
[probs]
type=softmax
inputs=fc
[cost]
type=cost.logreg
inputs=labels,probs
"""


def begin(text, **options):
    return parse(LayerFiles(text, "net.cfg", default_params(text), "params.cfg"), **options)


def net(channels=3, filterSize=5, classes=10):
    return begin(NET.format(channels=channels, filterSize=filterSize, classes=classes))


def museum():
    """Pairs of the corpus at the size they had, as far as it shows: not gradient checks nor trees."""
    for path in sorted((SHARED / "corpus" / "expected").glob("*/*/*.json")):
        if not any(word in path.name for word in ("@", "error", "gc", "tree")):
            yield pytest.param(path, id=f"{path.parent.parent.name} {path.stem}")


@needs_museum
@pytest.mark.parametrize("path", list(museum()))
def test_historical_nets_get_their_own_sizes(path):
    expected = json.loads(path.read_text())
    folder = SHARED / "corpus" / "files" / path.parent.relative_to(SHARED / "corpus" / "expected")
    builder = parse(LayerFiles.open(folder / expected["def_file"], folder / expected["params_file"]))
    assumed = infer_data(builder)
    used = {layer.dataIdx for layer in assumed.graph.declared if layer.type == "data"}
    assert assumed.dims == {int(i): rows for i, rows in expected["data_dims"].items() if int(i) in used}
    assert assumed.classes == assumed.graph.classes == expected["num_classes"]
    assert assumed.graph.parameters() == expected["totals"]["params"]


@pytest.mark.parametrize(
    "shape, side", [({}, 32), ({"classes": 1000}, 224), ({"filterSize": 33}, 40), ({"filterSize": 33, "channels": 1}, 40)]
)
def test_first_usual_side_that_fits(shape, side):
    assumed = infer_data(net(**shape))
    channels = shape.get("channels", 3)
    assert (assumed.side, assumed.dims) == (side, {0: channels * side**2, 1: 1})
    assert assumed.graph.layers["conv"].imgSize == [side]
    assert assumed.kinds == {1: "label"}
    assert (
        assumed.notes[0] == f"Assumed pictures of {channels}x{side}x{side}, as --data-dims {channels * side**2},1 would say."
    )


def test_what_is_given_holds():
    assumed = infer_data(net(), [3 * 9 * 9], 10)
    assert (assumed.dims, assumed.classes, assumed.side, assumed.notes) == ({0: 243, 1: 1}, 10, 0, [])
    with pytest.raises(LayerFileError, match="243 values, which are not 4 square maps"):
        infer_data(net(channels=4), [243])
    with pytest.raises(LayerFileError, match="but the data have 11 classes"):
        infer_data(net(), None, 11)


def test_a_trial_leaves_no_trace():
    """Sides that do not fit report nothing, and keys that follow from the data do not keep what a trial made of them."""
    text = NET.format(channels=3, filterSize=33, classes=10)
    pool = "[pool]\ntype=pool\npool=max\ninputs=conv\nchannels=4\nsizeX=2\nstride=2\n[fc]"
    assumed = infer_data(begin(text.replace("[fc]", pool).replace("inputs=conv\noutputs", "inputs=pool\noutputs")))
    assert assumed.graph.warnings == []
    assert (assumed.side, assumed.graph.layers["conv"].modulesX, assumed.graph.layers["pool"].outputsX) == (40, 8, 4)


def test_every_mistake_is_reported_for_the_best_side():
    with pytest.raises(LayerFileError) as caught:
        infer_data(begin(NET.format(channels=3, filterSize=5, classes=10).replace("inputs=fc\n", "inputs=fcc\n") + "[x]\n"))
    assert [problem.nearest for problem in caught.value.problems if problem.severity == "error"] == ["fc", ""]


def test_rows_of_one_matrix_and_targets():
    text = NET.format(channels=3, filterSize=5, classes=10)
    text = text.replace("[labels]\ntype=data\ndataIdx=1", "[labels]\ntype=data\ndataIdx=2\nstart=5").replace(
        "logreg", "crossent"
    )
    assumed = infer_data(begin(text))
    assert (assumed.dims, assumed.kinds) == ({0: 3072, 2: 15}, {2: "target"})
    assert assumed.notes[0].endswith("--data-dims 3072,1,15 would say.")


def test_costs_that_disagree_on_the_classes():
    text = NET.format(channels=3, filterSize=5, classes=10)
    second = text[text.index("[fc]") :].replace("[", "[other").replace("=fc", "=otherfc").replace("probs", "otherprobs")
    second = second.replace("[otherother", "[other").replace("outputs=10", "outputs=7").replace("type=otherfc", "type=fc")
    assumed = infer_data(begin(text + second))
    assert assumed.graph.classes is None and assumed.graph.layers["otherprobs"].outputs == 7


def test_tree_of_labels():
    text = NET.format(channels=3, filterSize=5, classes=10).replace(
        "type=fc\ninputs=conv\noutputs=10", "type=treefc\ninputs=conv"
    )
    assumed = infer_data(begin(text), classes=6)
    assert assumed.graph.layers["probs"].outputs == assumed.tree.leaves == 6
    assert "tree of labels in which all 6 classes" in assumed.notes[-1]


def test_what_the_definition_declares():
    builder = net(channels=5, classes=17)
    assert (channels_of(builder.graph), channels_of(builder.graph, 1, default=0), expected_classes(builder)) == (5, 0, 17)
    joined = NET.format(channels=3, filterSize=5, classes=10).replace(
        "[probs]\ntype=softmax\ninputs=fc\n",
        "[fc2]\ntype=fc\ninputs=conv\noutputs=4\ninitW=1\n[both]\ntype=concat\ninputs=fc,fc2\n[probs]\ntype=softmax\ninputs=both\n",
    )
    assert expected_classes(begin(joined)) == 14


def test_needs_no_numpy():
    code = "import sys, convnet.graph.infer; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_clone_is_shaped_on_its_own():
    builder = net()
    twin = builder.clone()
    assert twin.shape({0: 3 * 12**2, 1: 1}, 10).layers["conv"].outputs == 4 * 8**2
    assert builder.graph.layers["conv"].outputs == 0 and builder.graph.data_dims == {}
    assert all(layer.sources == [twin.graph.layers[s.name] for s in layer.sources] for layer in twin.graph.layers.values())
    with pytest.raises(LayerFileError):
        builder.clone().shape({0: 5, 1: 1}, 10)
    assert not builder.problems.errors and builder.shape({0: 3 * 9**2, 1: 1}, 10).layers["conv"].outputs == 4 * 5**2


@pytest.mark.parametrize(
    ("run", "side", "stored"),
    [
        ("", 32, 32),
        ("inner-size=20", 20, 20),
        ("picture-size=24\ninner-size=20", 20, 24),
        ("picture-size=24", 24, 24),
        ("picture-size=3", 32, 32),  # too small for the net
    ],
)
def test_pictures_that_the_parameter_file_names(run, side, stored):
    """A section [run] says for which pictures a net is; from Python they are scaled and cut as then."""
    text = NET.format(channels=3, filterSize=5, classes="num_classes")
    params = f"[run]\n{run}\n{default_params(text)}"
    inferred = infer_data(parse(LayerFiles(text, "net.cfg", params, "params.cfg")))
    assert (inferred.side, inferred.classes) == (side, 10)
    net = convnet.build(text, params, classes=3)
    assert (net.preprocessor.size, net.preprocessor.side, net.graph.layers["probs"].outputs) == (side, stored, 3)
