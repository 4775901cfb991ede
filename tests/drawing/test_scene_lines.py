"""Drawings as Pillow images: slanting lines without steps, broken lines with gaps as their looks say."""

import numpy as np
import pytest

from convnet.drawing.scene_image import image_of
from convnet.drawing.shapes import LOOKS, Path, Rectangle, Scene


def drawn(look, points, scale=1.0):
    letters = ["M", *"L" * (len(points) - 1)]
    line = Path(look, list(zip(letters, points, strict=True)))
    return np.asarray(image_of(Scene(60, 60, "x", [Rectangle("paper", 0, 0, 60, 60), line]), scale)).astype(int)


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
    solid = drawn("sight", [(5, 5), (55, 30)])
    assert len(np.unique(solid.reshape(-1, 3), axis=0)) > 2  # the line's colour, and greys
    assert (slanting == 255).all()  # what has neither line nor paint is not seen
