"""--show-data-grad: a planted pixel is coloured, at its place, the way it counts, and nothing else."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import DATA, cost_of
from PIL import Image
from planted import HEAD, open_tests, rows_of, save_net, write_pictures
from support import default_params, dump

import convnet
from convnet import pickles
from convnet.cli.shownet import main
from convnet.drawing.gradient_scene import COLUMNS, gradient_scene, signed_map, size_map
from convnet.drawing.gradients import GradientCase, Start, gradient_cases, start_of
from convnet.drawing.samples import Prediction
from convnet.drawing.shapes import Raster, Words
from convnet.errors import ConvnetError

SIDE, CLASSES = 6, 3
NET = DATA + HEAD.format(classes=CLASSES) + cost_of("fc")
PLACES = {(1, 2, 4): 2}  # the pixel (2, 4) of channel 1 speaks for class 2
RED, BLUE = (178, 24, 43), (33, 102, 172)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grad")
    random = np.random.RandomState(0)
    pictures = random.randint(0, 256, (2, 9, SIDE, SIDE, 3))
    pictures[:, :, 2, 4, 1] = 10 + np.arange(9)
    labels = [[2, 0, 1, 2, 0, 1, 2, 0, 1]] * 2
    write_pictures(folder / "data", list(zip(pictures, labels, strict=True)), ["ant", "bee", "Мышь, mouse"])
    save_net(folder / "net", NET, SIDE, {"fc": rows_of(SIDE, PLACES, CLASSES)}, CLASSES)
    return folder


@pytest.fixture(scope="module")
def tests(place):
    return open_tests(place / "net" / "1.1", place / "data")


def colored(case):
    """The places that are not white, and the colour of the first."""
    pixels = np.round(255 * signed_map(case.gradient)).astype(int)
    ys, xs = np.nonzero((pixels != 255).any(axis=-1))
    return list(zip(ys.tolist(), xs.tolist(), strict=True)), tuple(pixels[ys[0], xs[0]].tolist())


@pytest.mark.parametrize("word, sign", [("", None), ("logprob", None), ("fc:2", 1), ("probs:2", 1), ("probs:1", -1),
                                        ("probs:Мышь", 1), ("fc:bee", 0), ("probs", 1)])  # fmt: skip
def test_one_pixel_is_coloured(tests, word, sign):
    start, cases = gradient_cases(tests, word, seed=3)
    assert len(cases) == 8 and len({case.said.case for case in cases}) == 8
    for case in cases:
        wanted = sign if sign is not None else (-1 if case.said.truth == "Мышь" else 1)  # the cost falls with what is true
        assert case.said.picture.shape == (SIDE, SIDE, 3) and case.said.bars[0][0] == "Мышь" and case.said.bars[0][1] > 1 / 3
        assert np.round(255 * case.said.picture[2, 4, 1]) == 10 + case.said.case
        if not wanted:
            assert (signed_map(case.gradient) == 1).all() and (size_map(case.gradient) == 1).all()
            continue
        assert colored(case) == ([(2, 4)], RED if wanted > 0 else BLUE)
        greys = size_map(case.gradient)[..., 0]
        assert greys[2, 4] == 0 and np.delete(greys.ravel(), 2 * SIDE + 4).min() == 1
    if word == "fc:2":
        assert start == Start("fc", False, 2, "output 2 of 'fc' (Мышь)") and case.gradient[1, 2, 4] == pytest.approx(0.05)


def test_what_is_asked_for_and_the_scale_are_written(tests):
    start, cases = gradient_cases(tests, "fc:2", seed=3)
    scene = gradient_scene(start, cases[:3])
    words = [shape.text for shape in scene.shapes if isinstance(shape, Words)]
    assert words[0] == "Gradient of output 2 of 'fc' (Мышь) at the pixels"
    assert words.count("±0.05") == words.count("0 to 0.05") == 3 and words[3:6] == list(COLUMNS)
    assert f"truth: {cases[0].said.truth}; the net says: Мышь, {cases[0].said.bars[0][1]:.1%}" in words
    rasters = [shape for shape in scene.shapes if isinstance(shape, Raster)]
    assert len(rasters) == 9 and all(raster.is_pixelated and raster.width == 150 for raster in rasters)
    signed = np.asarray(rasters[1].image)
    assert tuple(signed[2, 4]) == RED and rasters[1].x > rasters[0].x + 150 and rasters[1].y == rasters[0].y
    assert all(raster.x >= 0 and raster.x + raster.width <= scene.width for raster in rasters)


def test_channels_add_up_and_the_strongest_counts():
    gradient = np.zeros((3, 2, 2))
    gradient[:, 0, 0], gradient[:, 1, 1] = [4, -4, 0], [1, 1, -4]
    signed, greys = signed_map(gradient), size_map(gradient)[..., 0]
    assert (signed[0, 0] == 1).all() and np.allclose(signed[1, 1] * 255, BLUE)
    np.testing.assert_array_equal(greys, [[0, 1], [1, 0]])


def test_only_errors(tests):
    _, cases = gradient_cases(tests, only_errors=True)
    assert len(cases) == 6 and {case.said.truth for case in cases} == {"ant", "bee"}


@pytest.mark.parametrize(
    "word, told",
    [
        ("logprb", "no cost or layer 'logprb' in the checkpoint; did you mean 'logprob'?"),
        ("probs:3", "no output '3' of 'probs', which has 3 outputs, from 0"),
        ("probs:bea", "no output 'bea' of 'probs', which has 3 outputs, from 0; did you mean 'bee'?"),
        ("prob:1", "no layer 'prob' in the net; did you mean 'probs'?"),
    ],
)
def test_mistakes_in_clear_words(place, tests, word, told, tmp_path, capsys):
    with pytest.raises(ConvnetError) as error:
        start_of(tests, word)
    assert str(error.value) == told
    options = ["-f", str(place / "net"), "--data-path", str(place / "data"), "--out", str(tmp_path / "g.png")]
    assert main([*options, "--show-data-grad", word]) == 2 and told in capsys.readouterr().err


def test_of_compressed_pictures(place, tests, tmp_path):
    """They are packed where the net runs, and give the same."""
    parts = []
    for number in (1, 2):
        part = pickles.load(place / "data" / f"data_batch_{number}")
        files = [io.BytesIO() for _ in range(9)]
        for file, pixels in zip(files, part["data"].reshape(3, SIDE, SIDE, 9).transpose(3, 1, 2, 0), strict=True):
            Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
        parts.append({"data": [file.getvalue() for file in files], "labels": [[label] for label in part["labels"]]})
    for number, part in enumerate(parts, 1):
        dump(tmp_path / f"data_batch_{number}", part)
    dump(tmp_path / "batches.meta", pickles.load(place / "data" / "batches.meta") | {"img_size": SIDE})
    packed = open_tests(place / "net" / "1.1", tmp_path)
    assert packed.provider.name == "image"
    for word in ("", "fc"):
        for one, other in zip(gradient_cases(packed, word)[1], gradient_cases(tests, word)[1], strict=True):
            np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-5)
            np.testing.assert_array_equal(one.said.picture, other.said.picture)


def test_a_net_that_sees_a_part_of_its_data(place, tmp_path):
    text = DATA.replace("dataIdx=0\n", "dataIdx=0\nend=60\n") + HEAD.format(classes=CLASSES) + cost_of("fc")
    tests = open_tests(save_net(tmp_path, text, SIDE, {}, CLASSES), place / "data")
    with pytest.raises(ConvnetError, match="'data' takes only a part of the data, so that there are no pictures to show"):
        gradient_cases(tests)


@given(st.text() | st.from_regex(r"(probs|fc|data|labels|conv9|)(:[\w ,]{0,3})?", fullmatch=True))
def test_any_word_is_a_start_or_a_mistake(tests, word):
    try:
        start = start_of(tests, word)
    except ConvnetError as error:
        assert word or "name" in str(error)
        return
    layer = tests.net.graph.layers[start.layer]
    assert layer.is_cost == start.is_cost and (start.output is None or 0 <= start.output < layer.outputs)


def test_a_gradient_that_overflows_is_not_drawn(place, tmp_path):
    net = convnet.load(place / "net", backend="reference")
    net.weights["fc"][0] = np.where(net.weights["fc"][0], 3e38, 0)
    tests = open_tests(net.save(tmp_path / "1.1"), place / "data")
    with np.errstate(all="ignore"), pytest.raises(ConvnetError, match="not all finite numbers, so there is nothing to show"):
        gradient_cases(tests, "fc")


REGRESSION = """
[data]
type=data
dataIdx=0
[values]
type=data
dataIdx=1
[fc]
type=fc
inputs=data
outputs=1
initW=0
[off]
type=eltsum
inputs=fc,values
coeffs=1,-1
[sqdiff]
type=cost.sum2
inputs=off
"""


def test_a_regression(tmp_path):
    """No classes: cases by their numbers; the cost rises where the output is too large."""
    pictures = np.full((4, SIDE, SIDE, 3), 100)
    write_pictures(tmp_path / "data", [(pictures, [0, 0, 0, 0])] * 2, [])
    path = save_net(tmp_path / "net", REGRESSION, SIDE, {"fc": rows_of(SIDE, {(0, 5, 0): 0}, 1)}, 0)
    tests = open_tests(path, tmp_path / "data")
    start, cases = gradient_cases(tests)
    assert start.text == "cost 'sqdiff'" and [case.said.truth for case in cases] == [""] * 4
    for case in cases:
        assert colored(case) == ([(5, 0)], RED) and case.gradient[0, 5, 0] == pytest.approx(2 * 5 * 0.05)
    words = [shape.text for shape in gradient_scene(start, cases).shapes if isinstance(shape, Words)]
    assert {f"case {n}" for n in range(4)} <= set(words)
    with pytest.raises(ConvnetError, match="--only-errors is for nets that tell classes"):
        gradient_cases(tests, only_errors=True)


def test_what_is_behind_an_approximation_says_so(tmp_path):
    text = DATA + "[norm]\ntype=cnorm\ninputs=data\nchannels=3\nsize=3\n" + HEAD.format(classes=3).replace(
        "inputs=data", "inputs=norm"
    ) + cost_of("fc")  # fmt: skip
    pictures = np.random.RandomState(0).randint(0, 256, (4, SIDE, SIDE, 3))
    write_pictures(tmp_path / "data", [(pictures, [0, 1, 2, 0])] * 2, ["a", "b", "c"])
    params = default_params(text)
    path = save_net(tmp_path / "net", text, SIDE, {"fc": np.ones((108, 3))}, 3, params)
    start, cases = gradient_cases(open_tests(path, tmp_path / "data"))
    words = " ".join(shape.text for shape in gradient_scene(start, cases).shapes if isinstance(shape, Words))
    assert "behind 'norm' (cnorm)" in words and "local means count as constants" in words


def test_a_gradient_of_nothing_is_white():
    nothing = GradientCase(Prediction(np.zeros((4, 4, 1)), "", []), np.zeros((1, 4, 4)))
    scene = gradient_scene(Start("cost", True, None, "cost 'cost'"), [nothing])
    maps = [np.asarray(shape.image) for shape in scene.shapes if isinstance(shape, Raster)]
    assert (maps[1] == 255).all() and (maps[2] == 255).all()
