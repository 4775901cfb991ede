"""Drawings as Pillow images: shapes at their places, lines without steps; and no library beside Pillow."""

import sys

import numpy as np
import pytest
from PIL import Image

from convnet.drawing import scene_image
from convnet.drawing.files import write_picture
from convnet.drawing.scene_image import image_of
from convnet.drawing.shapes import LOOKS, Group, Paint, Path, Raster, Rectangle, Scene, Words
from convnet.errors import ConvnetError

PIXELS = np.random.RandomState(0).randint(0, 256, (4, 6, 3), np.uint8)
RED = Paint("#ff0000")


def dots_of(*shapes, scale=1.0, height=40):
    return np.asarray(image_of(Scene(60, height, "", shapes), scale)).astype(int)


@pytest.mark.parametrize("scale", [1, 2, 2.5])
def test_a_rectangle_covers_its_dots(scale):
    dots = dots_of(Rectangle("bar", 10, 4, 20, 12, paint=RED), scale=scale)
    assert dots.shape == (40 * scale, 60 * scale, 3)
    ys, xs = np.nonzero((dots == (255, 0, 0)).all(axis=-1))
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == tuple(scale * at for at in (10, 30, 4, 16))
    assert len(ys) == 20 * 12 * scale**2


@pytest.mark.parametrize("opacity", [0, 0.25, 1])
def test_what_covers_in_part(opacity):
    dots = dots_of(Rectangle("bar", 10, 4, 20, 12, paint=Paint("#ff0000", fill_opacity=opacity)))
    assert abs(dots[10, 20] - [255, 255 * (1 - opacity), 255 * (1 - opacity)]).max() <= 1


def test_nothing_is_no_dot():
    assert (dots_of(Rectangle("bar", 10, 4, 0, 12, paint=RED)) == 255).all()


def test_every_pixel_of_a_picture_is_a_square():
    picture = Raster(6, 4, 30, 20, Image.fromarray(PIXELS), is_pixelated=True)
    for shapes in ((picture,), (Group(0, "", [picture]),)):
        dots = dots_of(*shapes, scale=2)
        np.testing.assert_array_equal(dots[13:48:10, 17:72:10], PIXELS)
        dots[8:48, 12:72] = 255
        assert (dots == 255).all()


def test_grey_and_smooth_pictures():
    grey = np.full((3, 3), 77, np.uint8)
    dots = dots_of(Raster(6, 4, 30, 20, Image.fromarray(grey)))
    assert (dots[4:24, 6:36] == 77).all()


@pytest.mark.parametrize("anchor, sides", [("start", (30, 60)), ("middle", (10, 50)), ("end", (0, 30))])
def test_words_begin_or_end_where_they_should(anchor, sides):
    dots = dots_of(Words("label", 30, 20, "mite", anchor))
    ys, xs = np.nonzero(dots.min(axis=-1) < 128)
    assert sides[0] <= xs.min() <= xs.max() <= sides[1] and 8 <= ys.min() <= ys.max() <= 20
    assert abs((xs.min() + xs.max()) / 2 - 30) < 2 or anchor != "middle"


def test_outlines():
    """A triangle is filled, a line is as wide as its look, a bend goes where its corners pull."""
    triangle = Path("swatch", [("M", (10, 10)), ("L", (30, 10)), ("L", (10, 30)), ("Z", ())], paint=RED)
    dots = dots_of(triangle)
    assert tuple(dots[14, 14]) == (255, 0, 0) and tuple(dots[28, 28]) == (255, 255, 255)
    line = dots_of(Path("crossing", [("M", (5, 20)), ("L", (55, 20))], paint=Paint(line="#0000ff")), scale=5)
    assert 11 <= (line[:, 150] == (0, 0, 255)).all(axis=-1).sum() <= 13
    bend = dots_of(Path("edge", [("M", (5, 5)), ("C", (5, 45, 55, 45, 55, 5))], paint=Paint(line="#0000ff")))
    ys, _ = np.nonzero((bend == (0, 0, 255)).all(axis=-1))
    assert 34 <= ys.max() <= 36  # three quarters of the way to its corners


def test_an_arrow_points_down_at_the_end():
    dots = dots_of(Path("crossing", [("M", (30, 5)), ("L", (30, 30))], arrow=True), scale=4)
    red = (dots[..., 1] < 128).sum(axis=1)
    assert red[60] == pytest.approx(4 * 2.4, abs=2) and red[95] > 20 and red[119] <= 10 and not red[126:].any()


@pytest.mark.parametrize("is_group", [False, True])
def test_round_corners_have_no_steps(is_group):
    box = Rectangle("box", 10, 4, 40, 30, radius=8, paint=RED)
    dots = dots_of(Group(0, "", [box]) if is_group else box)
    assert tuple(dots[20, 30]) == (255, 0, 0) and tuple(dots[4, 10]) == (255, 255, 255)
    assert len(np.unique(dots.reshape(-1, 3), axis=0)) > 3


def test_words_with_a_rim_can_be_read_across_lines():
    line = Rectangle("bar", 0, 12, 60, 10, paint=Paint("#0000ff"))
    plain, rimmed = (dots_of(line, Words(look, 30, 20, "mite", "middle"), scale=4) for look in ("weight", "shape"))
    assert ((plain == 255).all(axis=-1) & (rimmed == 255).all(axis=-1)).any()
    assert (rimmed[50:80] == 255).all(axis=-1).sum() > (plain[50:80] == 255).all(axis=-1).sum() + 200


def test_only_pdf_needs_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    scene = Scene(60, 40, "", [Rectangle("bar", 10, 4, 20, 12, paint=RED)])
    for name in ("one.png", "one.svg", "one.jpg"):
        write_picture(scene, tmp_path / name)
    with pytest.raises(ConvnetError, match=r"pip install matplotlib; names that end in \.svg and \.png need none"):
        write_picture(scene, tmp_path / "one.pdf")
    with pytest.raises(ConvnetError, match="is no format of pictures"):
        write_picture(scene, tmp_path / "one.xyz")


@pytest.mark.parametrize("most, size", [(60 * 40 * 4, (120, 80)), (60 * 40, (60, 40))])
def test_a_large_drawing_has_fewer_dots(most, size, monkeypatch):
    monkeypatch.setattr(scene_image, "MOST_PIXELS", most)
    assert image_of(Scene(60, 40, "", []), 2).size == size
    with pytest.raises(ConvnetError, match=r"too large for its format; write .svg or .pdf"):
        image_of(Scene(600, 400, "", []), 2)


def drawn(look, points, scale=1.0):
    letters = ["M", *"L" * (len(points) - 1)]
    return dots_of(Path(look, list(zip(letters, points, strict=True))), scale=scale, height=60)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_broken_line_has_gaps(scale):
    """Dashes of 4 and gaps of 2.5, all along a line with a corner."""
    dash, gap = LOOKS["across"].dashes
    pixels = drawn("across", [(5, 20), (55, 20), (55, 58)], scale)
    red = pixels[round(20 * scale) - 1 : round(20 * scale) + 2, :, 1].min(axis=0) < 128
    ends = np.flatnonzero(np.diff(red.astype(int)))
    begins, stops = ends[::2], ends[1::2]
    np.testing.assert_allclose(np.diff(begins), (dash + gap) * scale, atol=1)
    np.testing.assert_allclose(stops[:6] - begins[:6], dash * scale, atol=1.5)
    down = pixels[:, round(55 * scale) - 1 : round(55 * scale) + 2, 1].min(axis=1) < 128
    assert 0.4 < down[round(20 * scale) : round(58 * scale)].mean() < 0.9


def test_a_slanting_line_has_no_steps():
    """Between black and white there are greys; a line along the side has nothing but its colour."""
    slanting, level = drawn("volume", [(5, 5), (55, 30)]), drawn("grid", [(5, 5), (55, 5)])
    assert len(np.unique(level.reshape(-1, 3), axis=0)) == 2
    solid = drawn("ray", [(5, 5), (55, 30)])
    assert len(np.unique(solid.reshape(-1, 3), axis=0)) > 2  # the line's colour, and greys
    assert (slanting == 255).all()  # what has neither line nor paint is not seen
