"""Pictures within drawings: every pixel at its place, in SVG, PNG and PDF."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from convnet.drawing.figure import write_scene
from convnet.drawing.shapes import Raster, Rectangle, Scene, Words
from convnet.drawing.svg import svg_of

PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)


def scene(is_pixelated=True, pixels=PIXELS):
    picture = Raster(20, 10, 40, 60, Image.fromarray(pixels), is_pixelated)
    return Scene(100, 80, "four pixels", [Rectangle("ground", 0, 0, 100, 80), picture, Words("words", 2, 78, "below")])


@pytest.mark.parametrize("is_pixelated", [True, False])
def test_svg_holds_the_pixels_themselves(is_pixelated):
    text = svg_of(scene(is_pixelated))
    place, data = re.search(r'<image (x=.*?) preserveAspect.*href="data:image/png;base64,([^"]*)"/>', text).groups()
    assert place == 'x="20.0" y="10.0" width="40.0" height="60.0"'
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), PIXELS)
    assert ("image-rendering:pixelated" in text) == is_pixelated and "<defs>" not in text


def test_png_has_every_pixel_as_a_block(tmp_path):
    write_scene(scene(), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        drawn = np.asarray(picture.convert("RGB"))
    assert drawn.shape == (160, 200, 3)
    for y in range(2):
        for x in range(2):
            block = drawn[20 + 60 * y + 2 : 20 + 60 * (y + 1) - 2, 40 + 40 * x + 2 : 40 + 40 * (x + 1) - 2]
            assert (block == PIXELS[y, x]).all()
    assert (drawn[:18] == 255).all() and (drawn[:, :38] == 255).all(axis=-1)[:130].all() and (drawn[:130, 122:] == 255).all()


def test_grey_and_transparent_pictures(tmp_path):
    """Of any mode that Pillow has."""
    for mode in ("L", "RGBA", "P", "1"):
        picture = Raster(20, 10, 40, 60, Image.new(mode, (3, 3), 1 if mode == "1" else None), True)
        write_scene(Scene(100, 80, "x", [picture]), tmp_path / f"{mode}.png")
        with Image.open(tmp_path / f"{mode}.png") as drawn:
            assert drawn.size == (200, 160)
        assert "data:image/png" in svg_of(Scene(100, 80, "x", [picture]))


def test_pdf_has_the_colours_large_enough_to_print(tmp_path):
    write_scene(scene(), tmp_path / "x.pdf")
    data = (tmp_path / "x.pdf").read_bytes()
    [width], [height] = re.findall(rb"/Width (\d+)", data), re.findall(rb"/Height (\d+)", data)
    assert int(width) >= 4 * 40 and int(height) >= 4 * 60
