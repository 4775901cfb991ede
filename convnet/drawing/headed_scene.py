"""What drawings of test cases share: a heading above all, and pictures among the shapes. Lengths are pixels."""

from collections.abc import Sequence

import numpy as np

from convnet.drawing.shapes import LOOKS, Raster, Rectangle, Scene, Shape, Words
from convnet.drawing.sheet import enlarged, trimmed

_FEWEST = 64  # pixels along a picture, below which they are seen as squares


def headed_scene(
    width: float, height: float, title: str, captions: Sequence[str], shapes: Sequence[Shape], margin: float
) -> Scene:
    """Return shapes below a title and captions, each cut where it is wider than the drawing."""
    room = width - 2 * margin
    heading: list[Shape] = [
        Rectangle("paper", 0, 0, width, height),
        Words("title", margin, 36, trimmed(title, LOOKS["title"].size, room)),
        *(
            Words("subtitle", margin, 60 + 17 * i, trimmed(text, LOOKS["subtitle"].size, room))
            for i, text in enumerate(captions)
        ),
    ]
    return Scene(width, height, title, [*heading, *shapes])


def picture_shape(values: np.ndarray, x: float, y: float, side: float) -> Raster:
    """Return a picture (H, W, 1 or 3) from 0 to 1 in the middle of a square; few pixels are seen as such."""
    height, width = values.shape[:2]
    scale = side / max(height, width)
    left, top = x + (side - width * scale) / 2, y + (side - height * scale) / 2
    return Raster(left, top, width * scale, height * scale, enlarged(values, 1), max(height, width) < _FEWEST)
