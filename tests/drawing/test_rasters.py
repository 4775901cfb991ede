"""Pictures within drawings, as SVG and PDF have them: every pixel at its place."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from convnet.drawing.files import write_picture
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


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_any_mode(mode, tmp_path):
    picture = Raster(20, 10, 40, 60, Image.new(mode, (3, 3), 1 if mode == "1" else None), True)
    drawing = Scene(100, 80, "x", [Rectangle("ground", 0, 0, 100, 80), picture])
    write_picture(drawing, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as drawn:
        assert drawn.size == (200, 160) and drawn.getpixel((80, 80)) == (255 * (mode in ("1", "RGBA")),) * 3
    assert "data:image/png" in svg_of(drawing)


def test_pdf_has_the_colours_large_enough_to_print(tmp_path):
    write_picture(scene(), tmp_path / "x.pdf")
    data = (tmp_path / "x.pdf").read_bytes()
    [width], [height] = re.findall(rb"/Width (\d+)", data), re.findall(rb"/Height (\d+)", data)
    assert int(width) >= 4 * 40 and int(height) >= 4 * 60
