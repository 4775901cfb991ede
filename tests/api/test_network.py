"""convnet.load, convnet.build and Network: the examples of the docs, pictures of every kind, checkpoints of every origin."""

import doctest
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import ROOT, SHARED, SMALL_NET, SMALL_PARAMS, dump, needs_museum, write_cifar, write_net

import convnet
from convnet import checkpoint, pickles
from convnet.api import network as api
from convnet.cli.run import main
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import CheckpointError, ConvnetError, DataError, LayerFileError, OptionError
from convnet.graph.table import layer_table

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_examples(test):
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test)
    assert runner.tries > 0 and runner.failures == 0


EXAMPLES = [test for test in doctest.DocTestFinder(exclude_empty=True).find(api) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_examples_of_docstrings(example):
    example.globs |= {"convnet": convnet, "np": np, "net": convnet.build("layers-digits.cfg", side=8)}
    run_examples(example)


def test_examples_of_the_page():
    text = (ROOT / "docs/python.md").read_text()
    run_examples(doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", "docs/python.md", 0))


def test_import_is_light():
    code = "import sys, convnet; print('numpy' in sys.modules); convnet.build; print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()
    assert out == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        convnet.laod


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A CIFAR-shaped set, and a run on it."""
    folder = tmp_path_factory.mktemp("api")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder / "runs"]
    assert main([*map(str, options), "--inner-size", "28", "--mini", "16", "--epochs", "8", "--test-freq", "8"]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(place):
    return convnet.load(place / "runs", minibatch=16, threads=1)


def pictures_of(place, number=3):
    """The last batch as pictures (N, H, W, C) and labels."""
    part = pickles.load(place / "data" / f"data_batch_{number}")
    return part["data"].reshape(3, 32, 32, -1).transpose(3, 1, 2, 0), np.array(part["labels"])


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_table(trained, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert str(trained) == layer_table(trained.graph, trained.net.minibatch, columns)
    assert max(map(len, str(trained).splitlines())) <= columns
    rows = {line.split()[0]: line for line in str(trained).splitlines() if line.strip()}
    assert rows.keys() >= set(trained.graph.layers) and "15" in rows["conv1"] and "4,538" in str(trained)
    assert repr(trained) == "<Network layers-small.cfg: 3x28x28 in, 10 classes, 4,538 weights>"


def test_testing_gives_what_the_run_printed(place, trained, capsys):
    """On pictures in memory, on the folder, and by --test-only: the same costs; the mean came with the checkpoint."""
    pictures, labels = pictures_of(place)
    costs = trained.test(pictures, labels)["logprob"]
    assert costs == pytest.approx(trained.test(place / "data")["logprob"])
    capsys.readouterr()
    assert main(["--load-file", str(place / "runs"), "--test-only", "--threads", "1"]) == 0
    printed = re.search(r"batch 3: \(\{'logprob': \[(.*?)\]\}, 60\)", capsys.readouterr().out)
    assert costs == pytest.approx([float(value) / 60 for value in printed[1].split(",")], rel=1e-4)
    error = (trained.predict(pictures).argmax(axis=1) != labels).mean()
    assert error == pytest.approx(costs[1]) and error < 0.5
    assert trained.classes[3] == "class 3" and len(trained.history) == 16


def test_pictures_of_every_kind(place, trained, tmp_path):
    pictures, _ = pictures_of(place)
    whole = trained.predict(pictures)
    assert whole.shape == (60, 10) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-5)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, picture in zip(files, pictures, strict=False):
        Image.fromarray(picture).save(file)
    maps = pictures.transpose(3, 1, 2, 0)
    mean = trained.mean[..., None]
    prepared = (maps[:, 2:30, 2:30].astype(np.float32) - mean).reshape(3 * 28 * 28, -1)
    same = {
        "list of arrays": list(pictures),
        "cut": pictures[:, 2:30, 2:30],
        "bytes as in batch files": maps.reshape(3 * 32 * 32, -1),
        "floats as the net takes them": prepared,
        "pixels as floats": pictures.astype(np.float64),
    }
    for name, images in same.items():
        np.testing.assert_allclose(trained.predict(images), whole, atol=1e-5, err_msg=name)
    for images in (files, [Image.fromarray(p) for p in pictures[:3]], list(map(str, files))):
        np.testing.assert_allclose(trained.predict(images), whole[:3], atol=1e-5)
    for one in (files[0], str(files[0]), Image.fromarray(pictures[0]), pictures[0]):
        np.testing.assert_allclose(trained.predict(one), whole[:1], atol=1e-5)
    assert trained.predict(pictures[:0]).shape == (0, 10)


def test_large_pictures_are_made_smaller(place, trained):
    """Pillow images of any size end as large as the stored ones, 32 pixels."""
    picture = Image.fromarray(pictures_of(place)[0][0])
    large = picture.resize((96, 64), Image.Resampling.NEAREST)
    assert trained.predict(large).shape == (1, 10)
    np.testing.assert_allclose(trained.predict(picture.resize((64, 64), 0)), trained.predict(picture), atol=1e-5)


def test_features_are_those_behind_the_neuron(place, trained):
    pictures, _ = pictures_of(place)
    conv = trained.features(pictures, "conv1")
    assert conv.shape == (60, 8 * 15 * 15) and conv.min() == 0 < conv.max()
    np.testing.assert_array_equal(trained.features(pictures, "conv1_neuron"), conv)
    np.testing.assert_array_equal(trained.features(pictures, "probs"), trained.predict(pictures))
    with pytest.raises(ConvnetError, match="no layer 'conv2' in the net; did you mean 'conv1'"):
        trained.features(pictures, "conv2")


def test_training_in_memory_goes_on_and_is_saved(place, tmp_path, capsys):
    net = convnet.load(place / "runs", threads=1, minibatch=16)
    pictures, labels = pictures_of(place, 1)
    before = net.weights["fc"][0]
    costs = net.train(pictures, labels, epochs=3)
    assert len(costs) == 3 and (net.weights["fc"][0] != before).any()
    path = net.save(tmp_path / "saved" / "11.1")
    again = convnet.load(path.parent)
    np.testing.assert_array_equal(again.weights["fc"][0], net.weights["fc"][0])
    np.testing.assert_allclose(again.predict(pictures), net.predict(pictures), rtol=1e-4)
    assert again.history == net.history and len(again.history) == 16 + 3
    capsys.readouterr()
    assert main(["--load-file", str(path), "--data-path", str(place / "data"), "--inner-size", "28", "--test-only"]) == 0
    assert "batch 3: " in capsys.readouterr().out


def test_training_on_a_folder(place):
    net = convnet.build(place / "layers-small.cfg", side=28, minibatch=16, threads=1, seed=3)
    costs = net.train(place / "data", epochs=6)
    assert costs[-1]["logprob"][0] < costs[0]["logprob"][0]
    assert len(net.history) == 12 and net.classes[0] == "class 0"
    run = convnet.load(place / "runs")
    np.testing.assert_array_equal(net.mean, run.mean)


def test_targets_and_gates():
    """Labels as numbers become what each cost wants; targets may be given whole."""
    text = SMALL_NET.replace("cost.logreg", "cost.crossent")
    net = convnet.build(text, SMALL_PARAMS, side=12)
    pictures, labels = np.zeros((6, 12, 12, 3), np.uint8), np.arange(6)
    hot = (np.arange(10)[:, None] == labels).astype(np.float32)
    assert net.graph.data_dims[1] == 10
    assert net.test(pictures, labels) == net.test(pictures, hot)
    assert net.test(pictures, labels)["logprob"][0] == pytest.approx(np.log(10), rel=0.05)


@needs_museum
@pytest.mark.parametrize("name", ["ckpt-2011.pickle", "ckpt-2011-zip.bin", "ckpt-2012.pickle", "ckpt-2014.pickle"])
def test_checkpoints_of_the_originals(name, tmp_path):
    pictures = np.random.RandomState(0).randint(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    net = convnet.load(SHARED / "fixtures" / name, backend="reference")
    with pytest.raises(DataError, match="no mean picture is known"):
        net.predict(pictures)
    net = convnet.load(SHARED / "fixtures" / name, mean=120, backend="reference")
    stored = checkpoint.load(SHARED / "fixtures" / name).layers
    np.testing.assert_array_equal(net.weights["conv1"][0], stored["conv1"]["weights"][0])
    probabilities = net.predict(pictures)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    net.train(pictures, np.arange(4))
    again = convnet.load(net.save(tmp_path / "1.1"), backend="reference")
    np.testing.assert_array_equal(again.predict(pictures), net.predict(pictures))


@needs_museum
def test_the_number_that_an_original_subtracted(tmp_path):
    value = checkpoint.load(SHARED / "fixtures" / "ckpt-2014.pickle")
    options = value["op"].options
    options["scalar_mean"].value, options["dp_type"].value = 100.0, "image"
    dump(tmp_path / "1.1", dict(value))
    np.testing.assert_array_equal(convnet.load(tmp_path / "1.1").mean, 100)


def test_mean_can_be_set(place):
    net = convnet.build(SMALL_NET, SMALL_PARAMS, side=28)
    pictures = pictures_of(place)[0]
    whole = np.random.RandomState(0).rand(3, 32, 32).astype(np.float32) * 255
    for given in (whole, whole.reshape(-1, 1), whole[:, 2:30, 2:30]):
        net.mean = given
        np.testing.assert_array_equal(net.mean, whole[:, 2:30, 2:30])
    net.mean = place / "data"
    assert (net.mean == 120).all()
    by_folder = net.predict(pictures)
    net.mean = 120
    np.testing.assert_array_equal(net.predict(pictures), by_folder)
    with pytest.raises(DataError, match=r"mean of shape \(5,\) does not fit"):
        net.mean = np.zeros(5)


def test_weights_can_be_set():
    net = convnet.build(SMALL_NET, SMALL_PARAMS, side=12)
    assert list(net.weights) == ["conv1", "fc"] and len(net.weights["fc"]) == 1
    value = np.random.RandomState(0).rand(*net.weights["fc"][0].shape)
    net.weights["fc"][0] = value
    net.weights["fc"].biases = np.full((1, 10), 2)
    np.testing.assert_allclose(net.weights["fc"][0], value, rtol=1e-6)
    pictures = np.random.RandomState(1).randint(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    below = net.features(pictures, "drop")
    np.testing.assert_allclose(net.features(pictures, "fc"), below @ value + 2, rtol=1e-3)
    with pytest.raises(ConvnetError, match=r"layer 'fc' needs shape \(72, 10\), not \(3,\)"):
        net.weights["fc"][0] = np.zeros(3)
    with pytest.raises(KeyError, match="did you mean 'conv1'"):
        net.weights["conv"]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda net: net.predict(np.zeros((2, 8, 8, 3), np.uint8)), DataError, "(N, H, W, 3) with H and W at least 12"),
        (lambda net: net.predict(np.zeros((5, 7))), DataError, "the net needs (432, cases)"),
        (lambda net: net.predict(["nowhere.png"]), DataError, "nowhere.png is not a picture that can be read"),
        (lambda net: net.predict([np.zeros((12, 12, 3)), np.zeros((13, 13, 3))]), DataError, "must have one size"),
        (lambda net: net.predict([str(ROOT / "README.md")]), DataError, "README.md is not a picture that can be read"),
        (lambda net: net.predict([3]), DataError, "a int is not a picture"),
        (lambda net: net.test(np.zeros((2, 12, 12, 3), np.uint8), [0, 10]), DataError, "labels from 0 to 10"),
        (lambda net: net.test(np.zeros((2, 12, 12, 3), np.uint8), [0]), DataError, "2 pictures but 1 label"),
        (lambda net: net.test(np.zeros((2, 12, 12, 3), np.uint8), np.zeros((4, 2))), DataError, "the net needs 1 row"),
        (lambda net: net.train(np.zeros((2, 12, 12, 3), np.uint8)), DataError, "pictures need their labels"),
        (lambda net: net.save("/proc/nowhere/1.1"), CheckpointError, "cannot be saved"),
        (lambda net: convnet.load("nowhere"), CheckpointError, "no checkpoint nowhere"),
        (lambda net: convnet.build("layers-nowhere.cfg"), LayerFileError, "no such layer file"),
        (lambda net: convnet.build(SMALL_NET.replace("filters=8", "filters=x"), SMALL_PARAMS), LayerFileError, "filters"),
        (lambda net: convnet.build(SMALL_NET, SMALL_PARAMS, side=1), LayerFileError, "larger than"),
        (lambda net: convnet.build(SMALL_NET, SMALL_PARAMS, dialect="2013"), OptionError, "'2013' is not auto, 2011"),
        (lambda net: convnet.build(SMALL_NET, SMALL_PARAMS, threads=-1), OptionError, "-1 is not a whole number from 0"),
    ],
)  # fmt: skip
def test_mistakes(call, error, message):
    with pytest.raises(error) as caught:
        call(convnet.build(SMALL_NET, SMALL_PARAMS, side=12))
    assert message in str(caught.value)


def test_trees_come_with_the_data(tmp_path, capsys):
    """2012's treefc on its batches.meta (io 5.4): trained, saved with its tree, loaded, checked."""
    folder = write_cifar(tmp_path / "data", classes=4)
    meta = pickles.load(folder / "batches.meta")
    tree = {6: [4, 5], 4: [0, 1], 5: [2, 3]}
    dump(folder / "batches.meta", meta | {"tree": tree, "all_wnids": {"gproot": 6, "n01": 0}})
    text = SMALL_NET.replace("type=fc\n", "type=treefc\n").replace("outputs=10\n", "")
    definition = write_net(tmp_path, text, SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0.001"))
    options = ["--layer-def", definition, "--data-path", folder, "--save-path", tmp_path / "runs", "--epochs", 2]
    assert main([*map(str, options), "--test-freq", "2"]) == 0
    net = convnet.load(tmp_path / "runs")
    layer = net.graph.layers["fc"]
    assert layer.tree.parents == [4, 4, 5, 5, 6, 6, 6] and net.weights["fc"][0].shape == (512, 7)
    assert net.predict(pictures_of(tmp_path)[0]).shape == (60, 4)
    assert main(["--load-file", str(tmp_path / "runs"), "--data-provider", "dummy", "--check-grads"]) == 0
    assert "ALL 4 TESTS PASSED" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tree": {6: [4], 4: [0, 1], 5: [2, 3]}}, "the tree has no root"),
        ({"tree": {6: [4, 5], 4: [0, 1], 5: [2]}}, "label tree"),
    ],
)
def test_trees_that_are_none(tmp_path, change, message):
    folder = write_cifar(tmp_path, classes=4)
    dump(folder / "batches.meta", pickles.load(folder / "batches.meta") | change)
    with pytest.raises(DataError, match=message) as caught:
        open_provider("", Request(str(folder)))
    assert str(folder) in str(caught.value)


def test_ten_views(place, trained):
    """The mean of ten predictions, one by one; with pictures no larger than the net's, of the picture and its mirror."""
    pictures = pictures_of(place)[0]
    corners = [(0, 0), (0, 4), (2, 2), (4, 0), (4, 4)]
    views = [pictures[:, y : y + 28, x : x + 28] for y, x in corners]
    single = [trained.predict(view[:, :, ::step]) for view in views for step in (1, -1)]
    np.testing.assert_allclose(trained.predict(pictures, ten_views=True), np.mean(single, axis=0), atol=1e-5)
    middle = np.mean([trained.predict(views[2]), trained.predict(views[2][:, :, ::-1])], axis=0)
    np.testing.assert_allclose(trained.predict(views[2], ten_views=True), middle, atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("ten_views", [False, True])
def test_bytes_and_floats_of_the_same_pictures(backend, ten_views):
    """A backend packs bytes, and NumPy the others: to the bit the same."""
    net = convnet.build("layers-digits.cfg", side=8, backend=backend)
    net.mean = np.random.RandomState(1).rand(1, 8, 8).astype(np.float32)
    pictures = np.random.RandomState(0).randint(0, 256, (3, 11, 10, 1)).astype(np.uint8)
    for some in (pictures, pictures[:1], pictures[:, ::-1]):
        found, expected = (net.predict(values, ten_views=ten_views) for values in (some, some.astype(np.float64)))
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("labels", [[0, 10], [-1, 0], [0, np.nan], [0, np.inf]])
def test_labels_that_are_none_of_the_classes(labels):
    net = convnet.build("layers-digits.cfg", side=8, backend="reference")
    with pytest.raises(DataError, match="labels"):
        net.test(np.zeros((2, 8, 8, 1), np.uint8), labels)


@pytest.mark.parametrize(
    "pixels, said",
    [
        (np.full((1, 8, 8, 1), 300, np.uint16), "pixels are from 300 to 300; expected 0 to 255"),
        (np.full((1, 8, 8, 1), -1), "pixels are from -1 to -1; expected 0 to 255"),
        (np.full((1, 8, 8, 1), "x"), "numbers"),
        (np.full((1, 8, 8, 1), None), "numbers"),
        ([np.full((8, 8), 70000)], "pixels are from 70000"),
    ],
)
def test_arrays_that_hold_no_pixels(pixels, said):
    net = convnet.build("layers-digits.cfg", side=8, backend="reference")
    with pytest.raises(DataError, match=said):
        net.predict(pixels)


def test_matrices_that_no_layer_reads_take_no_room():
    """A checkpoint can say that its data have more, of any size."""
    net = convnet.build("layers-digits.cfg", side=8, backend="reference")
    net.graph.data_dims[9] = 2**40
    assert net.predict(np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 10)
