"""Pictures within drawings: the same pixels at the same places in SVG, PNG and PDF."""

import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from convnet.drawing.figure import write_scene
from convnet.drawing.shapes import Raster, Rectangle, Scene
from convnet.drawing.svg import svg_of

PIXELS = np.random.RandomState(0).randint(0, 256, (4, 6, 3), np.uint8)


def scene(is_pixelated=True, pixels=PIXELS):
    picture = Raster(10, 20, 60, 40, Image.fromarray(pixels), is_pixelated)
    return Scene(120, 90, "one picture", [Rectangle("paper", 0, 0, 120, 90), picture])


@pytest.mark.parametrize("is_pixelated", [False, True])
def test_svg_holds_the_picture(is_pixelated):
    [element] = ET.fromstring(svg_of(scene(is_pixelated))).findall(".//{*}image")
    assert [float(element.get(name)) for name in ("x", "y", "width", "height")] == [10, 20, 60, 40]
    head, _, data = element.get("href").partition(",")
    assert head == "data:image/png;base64" and ("pixelated" in element.get("style", "")) == is_pixelated
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), PIXELS)


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]], ids=["colour", "grey"])
def test_every_pixel_is_a_square_at_its_place(pixels, tmp_path):
    """Ten pixels of the drawing, twenty dots, for each of the picture's; and nothing beside it."""
    write_scene(scene(pixels=pixels), tmp_path / "one.png")
    dots = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))
    shown = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(dots[50:120:20, 30:140:20], shown)
    outside = np.array(dots)
    outside[40:120, 20:140] = 255
    assert (outside == 255).all() and dots.shape == (180, 240, 3)


def test_the_same_file_twice(tmp_path):
    for name in ("one.pdf", "two.pdf", "one.svg", "two.svg"):
        write_scene(scene(), tmp_path / name)
    for form in ("pdf", "svg"):
        assert (tmp_path / f"one.{form}").read_bytes() == (tmp_path / f"two.{form}").read_bytes()
