"""shownet: sizes and contents of filter pictures, towers, local and fc layers, curves, mistakes; the tools as programs."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import ROOT, SHARED, needs_museum, write_cifar, write_net

import convnet
from convnet.checkpoint import find_latest, load
from convnet.cli import shownet as show
from convnet.cli.run import main as run
from convnet.data.batches import read_batch
from convnet.drawing import sheet
from convnet.drawing.filter_sheet import channel_rows, mosaic
from convnet.drawing.filters import filters_of, first_filters, normalise, standardised
from convnet.drawing.maps import FeatureMaps, feature_maps, map_sheet
from convnet.drawing.prediction_scene import prediction_scene, write_predictions
from convnet.drawing.samples import Prediction, TestSet, predictions
from convnet.drawing.scene_image import image_of
from convnet.drawing.sheet import fitted
from convnet.errors import ConvnetError
from convnet.texts import printable
from convnet.training.evaluator import output_layer
from convnet.training.session import RunInputs, Session


@pytest.mark.parametrize(
    "channels, k, count, color, shape",
    [(3, 5, 32, True, (13, 97)), (3, 5, 32, False, (37, 97)), (64, 5, 64, False, (385, 322)), (3, 11, 96, True, (73, 193))],
)
def test_mosaic_sizes(channels, k, count, color, shape):
    """io section 7."""
    pixels = np.asarray(mosaic(np.ones((channels, k, k, count)), color, zoom=1))
    assert pixels.shape == (*shape, 3)
    assert pixels[0].max() == 0 and pixels[1, 1].max() == 255


def test_filters_lie_where_they_should():
    weights = np.arange(3 * 4 * 5, dtype=np.float32).reshape(12, 5)  # (c, ky, kx) x filter
    layer = {"name": "c", "type": "conv", "weights": [weights], "filterChannels": [3], "filterSize": [2]}
    filters = filters_of(layer)
    assert filters[1, 0, 1, 3] == weights[4 + 1, 3]
    grey = np.asarray(mosaic(filters / 255, color=False, zoom=1))[..., 0]
    assert grey[1, 1 + 7 + 2] == filters[1, 0, 0, 1]  # second filter, second channel beside the first
    local = {
        "name": "l",
        "type": "local",
        "weights": [np.arange(48.0).reshape(24, 2)],
        "filterChannels": [2],
        "filterSize": [2],
    }
    assert filters_of(local, plane=1)[1, 0, 1, 2] == local["weights"][0][2 * 8 + 4 + 1, 1]
    fc = {"name": "f", "type": "fc", "weights": [np.arange(36.0).reshape(18, 2)]}
    assert filters_of(fc, channels=2)[1, 2, 0, 1] == fc["weights"][0][9 + 6, 1]


@pytest.mark.parametrize("zoom", [3, 9])
def test_planted_filters_stand_under_their_numbers(zoom):
    """16 in a row, a gap of one weight between; words are grey, so that what is red is a filter."""
    k, F = 5, 35
    filters = np.zeros((3, k, k, F))
    filters[0] = (100 + np.arange(F)) / 255
    filters[1, 1, 3, 33] = 1
    sheet = np.asarray(mosaic(filters, True, [str(i) for i in range(F)], zoom))
    assert sheet.shape[1] == (16 * (k + 1) + 1) * zoom
    tops = []
    for i in range(F):
        ys, xs = np.nonzero((sheet[..., 0] == 100 + i) & (sheet[..., 2] == 0))
        assert (xs.min(), np.ptp(xs), np.ptp(ys)) == (zoom + i % 16 * (k + 1) * zoom, k * zoom - 1, k * zoom - 1)
        tops.append(ys.min())
    pitch = tops[16] - tops[0]
    assert pitch > (k + 1) * zoom and tops == [tops[0] + i // 16 * pitch for i in range(F)]
    ys, xs = np.nonzero((sheet == (133, 255, 0)).all(axis=-1))
    assert (ys.min(), xs.min(), len(ys)) == (tops[33] + zoom, zoom + (k + 1) * zoom + 3 * zoom, zoom**2)
    if zoom > 4:  # room for words: above each filter, and nowhere else
        words = sheet[: tops[0], :, 2].max(axis=0) > 0
        assert all(words[zoom + i * (k + 1) * zoom :][: k * zoom].any() for i in range(16)) and not words[:zoom].any()


def test_many_channels_are_rows_of_the_strongest():
    C, k, F, zoom = 40, 3, 5, 8
    filters = np.zeros((C, k, k, F))
    for f in range(F):
        for c in (f, f + 20):
            filters[c, 1, 2, f] = 0.25 * (1 if c < 20 else -2)
    sheet = np.asarray(channel_rows(filters, [str(f) for f in range(F)], zoom))[..., 0]
    assert (sheet == 128).sum() >= F * 14 * (k * zoom) ** 2  # of zeros
    for f in range(F):
        x, y = 64 + f % 2 * (64 + 16 * 32), 16 + f // 2 * (k * zoom + 16)
        first, second = sheet[y : y + 24, x : x + 24], sheet[y : y + 24, x + 32 : x + 56]
        assert (first[8:16, 16:] == 0).all() and (second[8:16, 16:] == 191).all()
        assert (first == 128).sum() == (second == 128).sum() == 8 * zoom**2


def test_no_numbers_draws_what_the_originals_drew(saved, tmp_path):
    out = tmp_path / "plain.png"
    assert show.main(["-f", str(saved), "--show-filters", "conv1", "--no-numbers", "--zoom", "4", "--out", str(out)]) == 0
    filters = filters_of(find_latest(str(saved), load)[1].layers["conv1"])
    known = np.asarray(mosaic(normalise(filters), color=True, zoom=1))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.kron(known, np.ones((4, 4, 1), np.uint8)))


def test_normalising():
    filters = np.random.RandomState(0).randn(1, 3, 3, 4) * np.array([1, 10, 100, 1000])
    assert (normalise(filters).min(), normalise(filters).max()) == (0, 1)
    spreads = standardised(filters).std(axis=(0, 1, 2))
    np.testing.assert_allclose(spreads, spreads[0])
    assert (normalise(np.zeros((1, 2, 2, 1))) == 0.5).all()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder / "c"]
    assert run([*map(str, options), "--epochs", "2", "--test-freq", "1"]) == 0
    return folder / "c"


def test_programs_write_pictures(saved, tmp_path):
    """As the README says: no screen, a PNG file, from the tool in the checkout."""
    out = tmp_path / "filters.png"
    command = [sys.executable, str(ROOT / "tools" / "shownet.py"), "--load-file", str(saved), "--out", str(out)]
    done = subprocess.run([*command, "--show-filters", "conv1"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(out) as picture:
        assert picture.width == 16 * (16 * 6 + 1) and picture.mode == "RGB"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "makebatches.py"), "nowhere", "--out", "x"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "no folder nowhere" in done.stderr


def test_curves(saved, tmp_path):
    """All values of the first cost, or one, in any form; SVG needs no matplotlib."""
    for name, words, panels in (
        ("all", ["--show-cost"], ["cost", "error", "top-2 error"]),
        ("one", ["--show-cost", "logprob", "--cost-idx", "1"], ["error"]),
    ):
        assert show.main(["-f", str(saved), *words, "--out", str(tmp_path / f"{name}.svg")]) == 0
        text = (tmp_path / f"{name}.svg").read_text()
        assert re.findall(r'class="panel-name"[^>]*>([^<]*)<', text) == panels
        assert show.main(["-f", str(saved), *words, "--out", str(tmp_path / f"{name}.png")]) == 0
        width, height = re.search(r'viewBox="0 0 (\d+) (\d+)"', text).groups()
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (2 * int(width), 2 * int(height))
    assert show.main(["-f", str(saved), "--show-cost", "--out", str(tmp_path / "all.pdf")]) == 0
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")


def test_curves_of_several_runs(saved, tmp_path, capsys):
    """Each with its name, once by checkpoint and log, once by a log alone, and once by a checkpoint alone."""
    [folder] = saved.iterdir()
    for name in ("wider", "deeper"):
        (tmp_path / name).mkdir()
    (tmp_path / "wider" / "log.jsonl").write_bytes((folder / "log.jsonl").read_bytes())
    (tmp_path / "deeper" / "2.2").write_bytes((folder / "2.2").read_bytes())
    out, others = tmp_path / "cost.svg", f"{tmp_path}/wider, {tmp_path}/deeper"
    assert show.main(["-f", str(saved), "--show-cost", "--with", others, "--out", str(out)]) == 0
    words = re.findall(r'class="words"[^>]*>([^<]*)<', out.read_text())
    assert [word for word in words if word in (folder.name, "wider", "deeper")] == [folder.name, "wider", "deeper"]
    assert len(set(re.findall(r'<path class="(run-\d-test)"', out.read_text()))) == 3
    assert "There is no log.jsonl here" in capsys.readouterr().err
    assert show.main(["-f", str(saved), "--show-cost", "--with", str(folder), "--out", str(out)]) == 0
    words = re.findall(r'class="words"[^>]*>([^<]*)<', out.read_text())
    assert any(word.endswith("2.2") for word in words)  # runs that are called alike are named by their paths
    assert show.main(["-f", str(saved), "--show-cost", "--with", "nowhere", "--out", str(out)]) == 1
    assert "no run nowhere" in capsys.readouterr().err


def test_a_checkpoint_is_read_once_for_all_pictures(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("convnet.training.session.find_latest", lambda *_: pytest.fail("it is read again"))
    monkeypatch.chdir(tmp_path)
    assert show.main(["-f", str(saved), "--show-filters", "--show-preds", "--show-maps", "--backend", "reference"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"filters.png", "preds.png", "maps.png"}


def test_predictions_are_those_of_the_net(saved, tmp_path):
    tests = TestSet.open(find_latest(saved, load)[1], {"backend": "reference"})
    cases = predictions(tests, "probs", seed=3)
    assert len(cases) == 8
    net, batch = convnet.load(saved, backend="reference"), read_batch(saved.parent / "data" / "data_batch_3")
    known = net.predict(batch["data"])
    for case in cases:
        shares = [share for _, share, _ in case.bars]
        assert any(np.allclose(np.sort(row)[::-1][:5], shares, atol=1e-5) for row in known)
        assert case.picture.shape == (32, 32, 3) and sum(true for *_, true in case.bars) <= 1
        assert all((name == case.truth) == true for name, _, true in case.bars)
    for case in predictions(tests, "probs", only_errors=True):
        assert case.bars[0][0] != case.truth


def test_maps(saved):
    tests = TestSet.open(find_latest(saved, load)[1], {"backend": "reference"})
    shown = feature_maps(tests)
    filters = tests.net.graph.layers["conv1"].maps[0]
    assert shown.layer == "conv1" and shown.maps.shape[:2] == (12, min(16, filters))
    data, values = tests.outputs(["data", output_layer(tests.net.graph, "conv1")], max_cases=12)
    np.testing.assert_array_equal(shown.maps[5].ravel(), values[:, 5])
    np.testing.assert_array_equal(shown.pictures, tests.provider.images(data))
    asked = feature_maps(tests, "conv1", [5, 2])
    assert asked.numbers == [5, 2]
    np.testing.assert_array_equal(asked.maps, shown.maps[:, [5, 2]])


def test_a_net_that_overflows_is_not_drawn(saved, tmp_path):
    net = convnet.load(saved, backend="reference")
    net.weights["conv1"][0] = np.full_like(net.weights["conv1"][0], 3e38)
    options = {"backend": "reference", "data_path": str(saved.parent / "data")}
    tests = TestSet.open(load(net.save(tmp_path / "1.1")), options)
    for look in (predictions, feature_maps):
        with (
            np.errstate(all="ignore"),
            pytest.raises(ConvnetError, match="are not all finite numbers, so there is nothing to show"),
        ):
            look(tests)


def test_a_row_of_maps_begins_with_its_picture():
    """The picture, then maps each scaled for itself, ``zoom`` pixels for a value, all of one height."""
    pictures = np.zeros((2, 4, 4, 3))
    pictures[0, ..., 0], pictures[1, ..., 0] = 1, 0.5
    maps = np.array([[[[0, 1], [2, 4]], [[-3, -1], [-1, -3]]]] * 2, float)
    sheet = np.asarray(map_sheet(FeatureMaps("conv1", 9, np.array([3, 7]), maps, pictures), zoom=40))
    red = [np.nonzero(np.all(sheet == colour, axis=-1)) for colour in ((255, 0, 0), (128, 0, 0))]
    assert [(len(ys), np.ptp(ys), np.ptp(xs)) for ys, xs in red] == [(6400, 79, 79)] * 2
    assert red[0][1].min() == red[1][1].min() < 80 and red[0][0].max() < red[1][0].min()
    for ys, xs in red:
        row = sheet[ys.min() : ys.min() + 80, xs.max() + 1 :, 0]
        first, second = row[:, 8:88], row[:, 96:176]
        for found, values in ((first, [[0, 64], [128, 255]]), (second, [[0, 255], [255, 0]])):
            np.testing.assert_array_equal(found, np.kron(values, np.ones((40, 40))))
    without = np.asarray(map_sheet(FeatureMaps("conv1", 9, np.array([3, 7]), maps, None), zoom=40))  # of no pictures
    np.testing.assert_array_equal(without[ys, xs], sheet[ys, xs + 88])


def test_a_sheet_of_predictions_says_what_is_true_without_colour():
    grey = np.full((4, 4, 1), 0.5)
    bars = [("cat", 0.75, False), ("dog", 0.25, True)]
    one = np.asarray(image_of(prediction_scene([Prediction(grey, "dog", bars)], "x")))
    wrong = np.asarray(image_of(prediction_scene([Prediction(grey, "dog", [(n, p, False) for n, p, _ in bars])], "x")))
    marks = np.all(one == (17, 17, 17), axis=-1) & ~np.all(wrong == (17, 17, 17), axis=-1)
    ys, xs = np.nonzero(marks)
    assert len(ys) > 50 and np.ptp(xs) <= 11 and np.ptp(ys) <= 13  # the arrow before the second bar, in black
    lengths = [np.all(one == colour, axis=-1).sum(axis=1).max() for colour in ((170, 170, 255), (255, 170, 170))]
    assert lengths[0] / lengths[1] == pytest.approx(3, rel=0.25)  # words stand before both


def test_predictions_of_a_net_in_memory(saved, tmp_path):
    """As at the end of a run: what is drawn is what the checkpoint's net says, and the net is as before."""
    session = Session(RunInputs({"load_file": str(saved), "backend": "reference", "test_only": 1}))
    net = session.net(session.backends()[0])
    before = {name: node.weights for name, node in net.nodes.items() if hasattr(node, "weights")}
    write_predictions(TestSet(net, session.test, session.plan.test[0]), tmp_path / "live.png", seed=4)
    assert (
        show.main(
            ["-f", str(saved), "--backend", "reference", "--show-preds", "--seed", "4", "--out", str(tmp_path / "s.png")]
        )
        == 0
    )
    assert (tmp_path / "live.png").read_bytes() == (tmp_path / "s.png").read_bytes()
    assert before == {name: node.weights for name, node in net.nodes.items() if hasattr(node, "weights")}


@pytest.mark.parametrize("words", [["--show-filters"], ["--show-preds"], ["--show-maps"]])
def test_without_matplotlib(saved, tmp_path, words, monkeypatch, capsys):
    """All but curves with dots; and without a name the first there is."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert show.main(["-f", str(saved), *words, "--out", str(tmp_path / "x.png")]) == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert 1000 <= picture.width <= 1610 or words == ["--show-maps"]
    assert show.main(["-f", str(saved), "--show-cost", "--out", str(tmp_path / "y.png")]) == 1
    assert "pip install matplotlib; a name that ends in .svg needs none" in capsys.readouterr().err
    assert show.main(["-f", str(saved), "--show-cost", "--out", str(tmp_path / "y.svg")]) == 0


@pytest.mark.parametrize("name, bare", [("caf\xe9", "cafe"), ("e\u0301", "e"), ("\u0434\u043e\u043c \x1b", "??? \\x1b")])
def test_words_in_other_letters(name, bare, monkeypatch):
    """In a font that has them, of matplotlib at least; where there is none, what can be read of them."""
    shown, font = fitted(name, 12)
    assert shown == printable(name) and font.getname()[0] != "Aileron"
    monkeypatch.setattr(sheet, "_other_fonts", lambda size: [])
    assert (fitted(name, 12)[0], fitted(name, 12)[1].getname()[0]) == (bare, "Aileron")


def test_words_that_are_too_long():
    assert fitted("a" * 99, 12, 100)[0].endswith("a…") and len(fitted("a" * 99, 12, 100)[0]) < 30
    assert fitted("a" * 10**6, 12, 3)[0] == ""


@pytest.mark.parametrize(
    "types, name",
    [({"conv1a": "conv", "conv1b": "conv"}, "conv1"), ({"fc": "fc", "a": "local", "b": "conv"}, "a"), ({"fc": "fc"}, "")],
)
def test_the_first_filters(types, name):
    assert first_filters(types) == name


@pytest.mark.parametrize(
    "what", [["--show-preds", "probs"], ["--show-preds", "probs", "--only-errors"], ["--show-maps", "conv1"]]
)
def test_samples_are_drawn(saved, tmp_path, what):
    out = tmp_path / "x.png"
    assert show.main(["-f", str(saved), *what, "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert len(np.unique(np.asarray(picture))) > 10


@pytest.mark.parametrize(
    "options, word",
    [
        (["--show-filters", "conv2"], "did you mean 'conv1'"),
        (["--show-filters", "pool1"], "no weights"),
        (["--show-filters", "fc", "--channels", "7"], "--channels must say how many square maps they are"),
        (["--show-filters", "conv1", "--input-idx", "3"], "--input-idx 3"),
        (["--show-cost", "logprop"], "did you mean 'logprob'"),
        (["--show-cost", "logprob", "--cost-idx", "7"], "--cost-idx 7"),
        (["--show-preds", "prob"], "did you mean 'probs'"),
        (["--show-preds", "conv1"], "no softmax layer 'conv1'"),
        (["--show-maps", "fc"], "no layer of maps 'fc'"),
        (["--show-preds", "probs", "--data-path", "nowhere"], "no folder nowhere"),
        (["--show-cost", "logprob", "--only-errors"], "--only-errors goes with --show-preds"),
        (["--show-filters", "conv1", "--channels", "5"], "--channels: no effect on 'conv1', of type conv with 3 channels"),
        (["--show-filters", "conv1", "--local-plane", "1"], "--local-plane: no effect on 'conv1', of type conv"),
        (["--show-filters", "fc", "--channels", "8", "--no-rgb"], "--no-rgb: no effect on 'fc', of type fc with 8 channels"),
        (["--show-filters", "conv1", "--out", "/nowhere/x.png"], "cannot be written"),
        ([], "nothing to show"),
        (["--show-filtres", "conv1"], "unknown option '--show-filtres'; did you mean '--show-filters'?"),
    ],
)
def test_mistakes(saved, capsys, options, word):
    assert show.main(["--load-file", str(saved), *options]) in (1, 2)
    assert word in capsys.readouterr().err


def test_towers_are_shown_together(tmp_path, capsys):
    """conv1 stands for conv1a above conv1b."""
    text = (
        (ROOT / "layers-cfg" / "layers-cifar10-19pct.cfg")
        .read_text()
        .replace("[conv1]", "[conv1a]")
        .replace("inputs=conv1\n", "inputs=both\n")
    )
    tower = text[text.index("[conv1a]") : text.index("[pool1]")]
    both = tower + tower.replace("conv1a", "conv1b") + "[both]\ntype=eltsum\ninputs=conv1a,conv1b\n\n"
    net = write_net(tmp_path, text.replace(tower, both), "[DEFAULT]\nepsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\ncoeff=1\n")
    options = [
        "--layer-def",
        net,
        "--data-path",
        write_cifar(tmp_path / "data"),
        "--save-path",
        tmp_path,
        "--max-batches",
        1,
    ]
    assert run([str(option) for option in options]) == 0
    assert "--show-filters conv1\n" in capsys.readouterr().out
    assert (
        show.main(
            ["-f", str(tmp_path), "--show-filters", "conv1", "--out", str(tmp_path / "f.png"), "--zoom", "1", "--no-numbers"]
        )
        == 0
    )
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.size == (97, 4 * 6 + 1)


@needs_museum
@pytest.mark.parametrize("generation", ["2011", "2012", "2014"])
def test_genuine_checkpoints_show(generation, tmp_path):
    path = str(SHARED / "fixtures" / f"ckpt-{generation}.pickle")
    for what in (["--show-filters", "conv1"], ["--show-filters", "local2"], ["--show-cost", "logprob"]):
        assert show.main(["-f", path, *what, "--out", str(tmp_path / "x.png")]) == 0
