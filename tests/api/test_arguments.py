"""What programs give by mistake: one error of this project for each, which names the argument and what was expected."""

from __future__ import annotations

import re

import numpy as np
import pytest

import convnet
from convnet.errors import CheckpointError, ConvnetError, DataError, LayerFileError, OptionError

PIXELS = np.zeros((4, 8, 8, 1), np.uint8)
LABELS = [0, 1, 2, 3]


def build(**changed):
    return convnet.build(**{"definition": "layers-digits.cfg", "side": 8, "backend": "reference", "minibatch": 4} | changed)


@pytest.fixture(scope="module")
def net():
    return build()


NUMBERS = {
    "minibatch": (0, -1, 2.5, "x", None, True, np.nan, 2**31),
    "side": (-1, 3.5, "8", 10**9, 10**30, True),
    "classes": (-1, 2.5, "x", 2**31),
    "seed": (2.5, "x", None, [1]),
    "threads": (-1, 2**31, 2.5, "x", None),
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in NUMBERS.items() for value in values])
def test_numbers_of_build(name, value):
    with pytest.raises(OptionError, match=f"^{name}=.*is not a whole number"):
        build(**{name: value})


def test_numbers_of_numpy_are_numbers():
    assert build(seed=np.int64(-3), minibatch=np.uint8(4), side=np.int32(8)).net.seed == -3


@pytest.mark.parametrize("name", ["minibatch", "threads"])
@pytest.mark.parametrize("value", [-1, 2.5, "x", None])
def test_numbers_of_load(net, tmp_path, name, value):
    with pytest.raises(OptionError, match=f"^{name}=.*is not a whole number"):
        convnet.load(net.save(tmp_path / "1.1"), **{name: value})


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("backend", "cpuu", "auto, reference, cpu or cuda; did you mean 'cpu'?"),
        ("backend", None, "auto, reference, cpu or cuda"),
        ("dialect", "20144", "auto, 2011, 2012 or 2014; did you mean '2014'?"),
        ("dialect", 2012, "auto, 2011, 2012 or 2014"),
    ],
)
def test_words(name, value, told):
    with pytest.raises(OptionError, match=re.escape(f"{name}={value!r} is not {told}") + "$"):
        build(**{name: value})


def test_a_keyword_that_is_none_names_the_function():
    with pytest.raises(TypeError, match=r"^build\(\) got an unexpected keyword argument 'foo'"):
        build(foo=1)
    with pytest.raises(TypeError, match=r"^load\(\) got an unexpected keyword argument 'foo'"):
        convnet.load("nowhere", foo=1)


@pytest.mark.parametrize("value", [None, 3, b"x\ny", ["a"], "", "nul\0"])
def test_definitions_that_are_none(value):
    with pytest.raises(ConvnetError, match="definition"):
        build(definition=value)


@pytest.mark.parametrize(
    "value, error", [("", LayerFileError), (3, OptionError), (b"x", OptionError), ("nosuch", ConvnetError)]
)
def test_parameters_that_are_none(value, error, tmp_path):
    """An empty text has no parameters; other texts of one line are paths."""
    text = "[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\noutputs=2\n"
    for definition in (text, "layers-digits.cfg"):
        if value or definition == text:
            with pytest.raises(error):
                build(definition=definition, params=value)
    with pytest.raises(ConvnetError):
        build(definition=text, params=tmp_path)


def test_texts_and_paths_together(tmp_path):
    files = build().files
    (tmp_path / "p.cfg").write_text(files.params)
    assert build(definition=files.definition, params=tmp_path / "p.cfg").graph.parameters() == 38282
    assert build(params=files.params).graph.parameters() == 38282


@pytest.mark.parametrize("value", [None, 3, "", "nowhere"])
def test_checkpoints_that_are_none(value):
    with pytest.raises(CheckpointError):
        convnet.load(value)


LABELLED = [["a"] * 4, [0, 1, 2], [[0], [1], [2], [3]], [0, 1, 2, np.nan], [0, 1, 2, 2.5], [0, 1, 2, 10], [-1, 0, 1, 2]]
LABELLED += [
    [],
    "abcd",
    3,
    [None] * 4,
    np.zeros((4, 4)),
    [1, 2, 3, [4]],
    {1: 2},
    np.zeros(4, complex),
    np.full((1, 4), 99.0),
]


@pytest.mark.parametrize("labels", LABELLED, ids=lambda labels: str(labels)[:20])
def test_labels(labels):
    for method in ("train", "test"):
        with pytest.raises(DataError, match="label"):
            getattr(build(), method)(PIXELS, labels)


def test_labels_that_are_whole_floats(net):
    assert net.test(PIXELS, [0.0, 1.0, 2.0, 3.0]) == net.test(PIXELS, LABELS)


PICTURES = {
    "objects": np.full(PIXELS.shape, "a", object),
    "texts": np.full(PIXELS.shape, "a"),
    "NaN": np.full(PIXELS.shape, np.nan),
    "too large": np.full(PIXELS.shape, 1e300),
    "complex": PIXELS.astype(complex),
    "times": np.zeros(PIXELS.shape, "M8[s]"),
    "records": np.zeros(PIXELS.shape, [("a", "f4")]),
    "text matrix": np.full((64, 4), "a"),
    "NaN matrix": np.full((64, 4), np.nan),
    "None": None,
    "a list of None": [None],
    "a number": 3,
    "NumPy's number": np.float32(3),
    "a dict": {},
    "a set": {1},
    "bytes": b"abc",
    "a generator": (row for row in PIXELS),
    "no file": "nosuch.png",
    "other sizes": [np.zeros((8, 8, 1)), np.zeros((9, 9, 1))],
    "one dimension": np.zeros(64),
    "five": np.zeros((1, 1, 8, 8, 1)),
    "too small": np.zeros((4, 7, 7, 1)),
    "colours": np.zeros((4, 8, 8, 3), np.uint8),
}


@pytest.mark.parametrize("pictures", PICTURES.values(), ids=PICTURES.keys())
def test_pictures(net, pictures):
    for call in (net.predict, lambda given: net.predict(given, ten_views=True), lambda given: build().train(given, LABELS)):
        with pytest.raises(DataError):
            call(pictures)


@pytest.mark.parametrize("pictures", [[], np.zeros((0, 8, 8, 1), np.uint8)])
def test_no_pictures(net, pictures):
    assert net.predict(pictures).shape == (0, 10)
    with pytest.raises(DataError):
        build().train(pictures, [])


def test_pictures_backwards(net):
    """Of negative strides; the last bits may depend on a picture's place in a product of matrices."""
    pictures = np.random.RandomState(0).randint(0, 256, PIXELS.shape, np.uint8)
    np.testing.assert_allclose(net.predict(pictures[::-1]), net.predict(pictures)[::-1], rtol=1e-5)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "x", None, True])
def test_epochs(epochs):
    with pytest.raises(OptionError, match=r"^epochs=.*is not a whole number from 1"):
        build().train(PIXELS, LABELS, epochs=epochs)


MEANS = [
    "nosuch",
    np.zeros(3),
    np.nan,
    np.full((1, 8, 8), np.nan),
    np.inf,
    1e39,
    {},
    object(),
    np.array(["a"]),
    b"x",
    np.zeros(0),
]


@pytest.mark.parametrize("mean", MEANS, ids=lambda mean: str(mean)[:12])
def test_means(mean):
    net = build()
    with pytest.raises(DataError):
        net.mean = mean
    assert net.mean is None


VALUES = [
    np.zeros(3),
    np.nan,
    np.full((9, 16), np.nan),
    np.full((9, 16), 1e39),
    "x",
    None,
    [[1, 2], [3]],
    np.full((9, 16), "a"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:12])
def test_weights(net, value):
    before = net.weights["conv1"][0]
    with pytest.raises(DataError, match="layer 'conv1'"):
        net.weights["conv1"][0] = value
    with pytest.raises(DataError, match="layer 'conv1'"):
        net.weights["conv1"].biases = value
    np.testing.assert_array_equal(net.weights["conv1"][0], before)


@pytest.mark.parametrize("index", [5, -2, "a", None, slice(0, 1)])
def test_matrices_that_are_not_there(net, index):
    with pytest.raises(OptionError, match="layer 'conv1' has 1 matrix"):
        net.weights["conv1"][index] = np.zeros((9, 16))
    if not isinstance(index, slice):
        with pytest.raises(IndexError):
            net.weights["conv1"][index]
    assert len(list(net.weights["conv1"])) == 1


def test_layers_that_are_not_there(net):
    for name, told in (("conv", "did you mean 'conv"), (3, "no layer '3' with weights")):
        with pytest.raises(OptionError, match=told):
            net.weights[name]
        assert name not in net.weights
    for name in ("conv", None, ["conv1"], "logprob"):
        with pytest.raises(ConvnetError, match=r"no layer .* in the net"):
            net.features(PIXELS, name)


@pytest.mark.parametrize("path", [None, "", 3, "nul\0", "folder", "file/below"])
def test_places_to_save(net, tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError):
        net.save(tmp_path if path == "folder" else f"{tmp_path}/{path}" if path and isinstance(path, str) else path)


def test_a_net_that_reads_no_pictures():
    """Its data are all of other matrices than 0."""
    text = (
        "[data]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=2\ninitW=0.1\n[cost]\ntype=cost.sum2\ninputs=fc\n"
    )
    net = build(definition=text, params="[DEFAULT]\ncoeff=1\nepsW=1\nepsB=1\nmomW=0\nmomB=0\nwc=0\n")
    with pytest.raises(ConvnetError):
        net.predict(np.zeros((1, 4, 4, 3), np.uint8))
