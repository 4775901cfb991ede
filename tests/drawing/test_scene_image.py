"""Drawings as Pillow images: shapes at their places, as SVG and matplotlib have them; and no library beside Pillow."""

import sys

import numpy as np
import pytest
from PIL import Image

from convnet.drawing.figure import write_scene
from convnet.drawing.scene_image import image_of, save_scene
from convnet.drawing.shapes import Group, Paint, Path, Raster, Rectangle, Scene, Words
from convnet.errors import ConvnetError

PIXELS = np.random.RandomState(0).randint(0, 256, (4, 6, 3), np.uint8)
RED = Paint("#ff0000")


def dots_of(*shapes, scale=1.0):
    return np.asarray(image_of(Scene(60, 40, "", shapes), scale)).astype(int)


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


def test_png_is_as_matplotlib_draws_it(tmp_path):
    pytest.importorskip("matplotlib")
    shapes = [Rectangle("paper", 0, 0, 60, 40), Rectangle("bar", 10, 4, 20, 12, paint=RED)]
    shapes.append(Raster(32, 4, 24, 16, Image.fromarray(PIXELS), is_pixelated=True))
    scene = Scene(60, 40, "", shapes)
    write_scene(scene, tmp_path / "one.png")
    save_scene(scene, tmp_path / "two.png", scale=2)
    one, two = (np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int) for name in ("one.png", "two.png"))
    assert one.shape == two.shape and (np.abs(one - two).max(axis=-1) > 2).mean() < 0.02  # the rim of the rectangle


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    scene = Scene(60, 40, "", [Rectangle("bar", 10, 4, 20, 12, paint=RED)])
    for name in ("one.png", "one.svg", "one.jpg"):
        save_scene(scene, tmp_path / name)
    with pytest.raises(ConvnetError, match="matplotlib"):
        save_scene(scene, tmp_path / "one.pdf")
    with pytest.raises(ConvnetError, match="is no format of pictures"):
        save_scene(scene, tmp_path / "one.xyz")
