"""Predictions and Figure 4: lengths of bars, what is red, several labels, several heads, nets that tell no classes."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from nets import DATA, cost_of
from PIL import Image
from planted import HEAD, open_tests, rows_of, save_net, write_pictures

from convnet.cli import main
from convnet.drawing.figures.four import both_halves, figure_four
from convnet.drawing.neighbours import Neighbour, Row
from convnet.drawing.prediction_scene import PRINT, SHEET, case_shapes, prediction_scene
from convnet.drawing.samples import Prediction, predictions
from convnet.drawing.scene_image import image_of
from convnet.drawing.shapes import Path, Raster, Rectangle, Words
from convnet.errors import ConvnetError

TRUE, OTHER = "#ffaaaa", "#aaaaff"
NAMES = ["mite", "container ship", "Madagascar cat, ring-tailed lemur", "шмель", "蘑菇"]
BARS = [("container ship", 0.5, False), ("mite", 0.25, True), ("шмель", 0.125, False), ("蘑菇", 0, False), ("x", 1.5, False)]


def case(truth="mite", bars=BARS, picture=None):
    return Prediction(np.full((8, 8, 1), 0.5) if picture is None else picture, truth, bars)


@pytest.mark.parametrize("size, inset", [(SHEET, 14), (PRINT, 0)])
def test_a_bar_is_as_long_as_its_share(size, inset):
    shapes, right, bottom = case_shapes([case()] * 6, size, 0, 0)
    bars = [shape for shape in shapes if isinstance(shape, Rectangle)]
    assert len(bars) == 30 and [bar.paint.fill for bar in bars[:5]] == [OTHER, TRUE, OTHER, OTHER, OTHER]
    room = size.picture - inset
    assert [bar.width / room for bar in bars[:5]] == [0.5, 0.25, 0.125, 0, 1]
    assert max(bar.x + bar.width for bar in bars) <= right and max(bar.y + bar.height for bar in bars) <= bottom
    pictures = [shape for shape in shapes if isinstance(shape, Raster)]
    assert len({raster.x for raster in pictures[:4]}) == 4 and [raster.x for raster in pictures[4:]] == [
        raster.x for raster in pictures[:2]
    ]
    for raster, first in zip(pictures, bars[::5], strict=True):  # the picture, its truth, the bars
        truth = next(
            w for w in shapes if isinstance(w, Words) and w.anchor == "middle" and w.x == raster.x + raster.width / 2
        )
        assert truth.text == "mite" and first.y > raster.y + raster.height
    truths = [shape for shape in shapes if isinstance(shape, Words) and shape.anchor == "middle"]
    assert all(raster.y + raster.height < words.y < bars[5 * i].y + 2 for i, (raster, words) in enumerate(
        zip(pictures, truths, strict=True)))  # fmt: skip


def test_what_is_true_is_marked_without_colour():
    marks = [shape for shape in case_shapes([case()], SHEET, 0, 0)[0] if isinstance(shape, Path)]
    assert len(marks) == 1 and not any(isinstance(shape, Path) for shape in case_shapes([case()], PRINT, 0, 0)[0])


@pytest.mark.parametrize("side, channels", [(1, 1), (2, 3), (64, 1), (200, 3)])
def test_pictures_of_every_size(side, channels):
    """As large as others; of few pixels each is a square. One channel is grey."""
    picture = np.linspace(0, 1, side * side * channels).reshape(side, side, channels)
    [raster] = [shape for shape in case_shapes([case(picture=picture)], SHEET, 0, 0)[0] if isinstance(shape, Raster)]
    assert (raster.width, raster.height, raster.is_pixelated) == (SHEET.picture, SHEET.picture, side < 64)
    assert raster.image.mode == ("L" if channels == 1 else "RGB")
    assert image_of(prediction_scene([case(picture=picture)])).width > 1000


def test_a_long_name_ends_before_its_share():
    long = [("a very long name of a class " * 9, 0.5, True), ("蘑" * 90, 0.25, False)]
    for size in (SHEET, PRINT):
        words = [w.text for w in case_shapes([case("щ" * 200, long)], size, 0, 0)[0] if isinstance(w, Words)]
        assert sum(word.endswith("…") for word in words) == 3 and "蘑…" in "".join(words)
    dots = np.asarray(image_of(prediction_scene([case("щ" * 200, long)])))
    assert (dots[78:, 24 + 288 : 24 + 288 + 24] == 255).all()  # nothing between a case and the next


def write_multilabel(folder):
    """Pictures of several labels, or none, for a net of yes-or-no outputs that reads them off one pixel each."""
    text = (
        "[data]\ntype=data\ndataIdx=0\n[targets]\ntype=data\ndataIdx=2\n"
        + HEAD.format(classes=5)
        + "neuron=logistic\n[bce]\ntype=cost.bce\ninputs=targets,fc\n"
    )
    labels = [[0, 2], [1], [2, 3, 4], [0], [4], [1, 2]]
    pictures = np.zeros((6, 4, 4, 3))
    for n, those in enumerate(labels):
        pictures[n, 0, 0, 0] = 250
        pictures[n, 1, 1, those[0] % 3] = 200
    places = {(c, 1, 1): c for c in range(3)}
    write_pictures(folder / "data", [(pictures, labels)] * 2, NAMES)
    return save_net(folder / "net", text, 4, {"fc": rows_of(4, places, 5, 0.02)}, 5), labels


def test_several_labels(tmp_path):
    path, labels = write_multilabel(tmp_path)
    tests = open_tests(path, tmp_path / "data")
    short = [name.partition(",")[0] for name in NAMES]
    for word in ("", "fc", "bce", "fc_neuron"):
        for each in predictions(tests, word, seed=2):
            those = labels[each.case]
            assert each.truth == ", ".join(short[k] for k in those)
            assert {name for name, _, true in each.bars if true} == {short[k] for k in those}
            assert each.bars[0][1] == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-5)
    wrong = predictions(tests, only_errors=True)
    assert {each.case for each in wrong} == {n for n, those in enumerate(labels) if those[0] % 3 not in those} == {4}


TWO_HEADS = (
    DATA
    + HEAD.format(classes=5)
    + cost_of("fc")
    + "[second]\ntype=fc\ninputs=data\noutputs=5\ninitW=0\n[coarse]\ntype=softmax\ninputs=second\n"
    + "[logprob2]\ntype=cost.logreg\ninputs=labels,coarse\n"
)


def test_several_heads_are_chosen_by_name(tmp_path):
    pictures = np.zeros((6, 4, 4, 3))
    pictures[:, 1, 1, 1] = 100
    write_pictures(tmp_path / "data", [(pictures, [1] * 6)] * 2, NAMES)
    weights = {"fc": rows_of(4, {(1, 1, 1): 1}, 5, 0.1), "second": rows_of(4, {(1, 1, 1): 3}, 5, 0.1)}
    tests = open_tests(save_net(tmp_path / "net", TWO_HEADS, 4, weights, 5), tmp_path / "data")
    for word, likeliest in (("", 1), ("probs", 1), ("logprob", 1), ("coarse", 3), ("logprob2", 3)):
        for each in predictions(tests, word):
            assert each.bars[0] == (NAMES[likeliest], pytest.approx(1, abs=1e-3), likeliest == 1)
    with pytest.raises(ConvnetError, match="no softmax layer 'rough' in the checkpoint; there are probs, coarse"):
        predictions(tests, "rough")
    with pytest.raises(ConvnetError, match="all 6 cases of test batch 2 are right"):
        predictions(tests, "probs", only_errors=True)


def test_a_net_that_tells_no_classes(tmp_path, capsys):
    text = DATA.replace("labels", "values") + HEAD.format(classes=1)
    text += "[off]\ntype=eltsum\ninputs=fc,values\ncoeffs=1,-1\n[sqdiff]\ntype=cost.sum2\ninputs=off\n"
    write_pictures(tmp_path / "data", [(np.zeros((3, 4, 4, 3)), [0, 0, 0])] * 2, [])
    save_net(tmp_path / "net", text, 4, {}, 0)
    options = ["-f", str(tmp_path / "net"), "--data-path", str(tmp_path / "data"), "--out", str(tmp_path / "x.png")]
    for words, told in (
        (
            ["--show-preds"],
            "the net has no softmax layer, nor another that gives shares of classes: it is trained by 'sqdiff'",
        ),
        (["--similar"], "the net tells no classes, so that no layer is the last before them; name one: --similar LAYER"),
    ):
        assert main(["shownet", *options, *words]) == 2
        assert told in capsys.readouterr().err
    assert main(["shownet", *options, "--similar", "fc"]) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    pictures = np.random.RandomState(0).randint(0, 256, (2, 20, 4, 4, 3))
    write_pictures(folder / "data", [(each, [n % 5 for n in range(20)]) for each in pictures], NAMES)
    save_net(folder / "net", TWO_HEADS, 4, {"fc": rows_of(4, {(1, 1, 1): 1}, 5, 0.01)}, 5)
    return folder


def test_figure_four_has_both_halves(place):
    scene = figure_four(open_tests(place / "net" / "1.1", place / "data"), seed=3)
    rasters = [shape for shape in scene.shapes if isinstance(shape, Raster)]
    left, right = rasters[:8], rasters[8:]
    assert len(right) == 5 * 7 and max(r.x + r.width for r in left) < min(r.x for r in right)
    assert len({r.y for r in left}) == 2 and len({r.x for r in left}) == 4
    assert len({r.y for r in right}) == 5 and len({r.x for r in right}) == 7
    assert min(r.y for r in left) == min(r.y for r in right)
    bars = [shape for shape in scene.shapes if isinstance(shape, Rectangle) and shape.paint.fill in (TRUE, OTHER)]
    assert len(bars) == 8 * 5
    assert all(r.x + r.width <= scene.width and r.y + r.height <= scene.height for r in rasters + bars)


def test_figure_four_of_a_few():
    one = Neighbour(np.zeros((4, 4, 1)), 1, 0, "a", 0.0)
    scene = both_halves([case()], [Row(one, [])])
    assert sum(isinstance(shape, Raster) for shape in scene.shapes) == 2


@pytest.mark.parametrize("form", ["svg", pytest.param("pdf", marks=pytest.mark.slow), "png"])
def test_the_verb_writes_figure_four(place, form, tmp_path, capsys):
    options = [str(place / "net"), "--data-path", str(place / "data"), "--backend", "reference"]
    files = [tmp_path / f"{name}.{form}" for name in ("one", "two", "three")]
    for file, seed in zip(files, ("1", "1", "2"), strict=True):
        assert main(["figure", "4", *options, "--seed", seed, "--out", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Wrote {files[2]}."
    one, two, three = (file.read_bytes() for file in files)
    assert one == two != three
    if form == "svg":
        assert len(ET.fromstring(one).findall(".//{*}image")) == 8 + 35
    elif form == "png":
        with Image.open(files[0]) as picture:
            assert picture.width > 3000


@pytest.mark.parametrize(
    "words, status, told",
    [
        (["5"], 2, "'5' is not "),
        (["4", "--out", "x.gif"], 2, "must end in .svg, .pdf, .png"),
        (["4", "--preds", "prob"], 2, "no softmax layer 'prob' in the checkpoint; did you mean 'probs'?"),
        (["2", "--seed", "1"], 2, "--seed goes with figure 4"),
        (["4", "--similar", "cf"], 2, "no layer 'cf' in the net"),
    ],
)
def test_mistakes_of_the_verb(place, words, status, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--data-path", str(place / "data"), "--backend", "reference"]
    assert main(["figure", words[0], str(place / "net"), *words[1:], *options]) == status
    assert told in capsys.readouterr().err
