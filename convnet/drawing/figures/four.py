"""The paper's Figure 4: on the left what a net says of eight test pictures, on the right five and those it finds alike.

It has no words but the classes, as in the paper, whose caption says the rest. Lengths are pixels.
"""

from collections.abc import Sequence

from convnet.drawing.neighbour_scene import row_shapes, row_width
from convnet.drawing.neighbours import Row, similar
from convnet.drawing.prediction_scene import PRINT, case_shapes
from convnet.drawing.samples import Prediction, TestSet, predictions
from convnet.drawing.shapes import Rectangle, Scene, Shape

_SIDE, _BELOW = 76, 8  # of pictures on the right, and between their rows
_APART = 20  # the halves


def figure_four(tests: TestSet, head: str = "", layers: Sequence[str] = (), seed: int = 0) -> Scene:
    """Return both halves, of pictures drawn by ``seed`` from the test batches.

    ``head`` is the layer of shares of classes on the left, ``layers`` those whose outputs are compared on the right; without
    them the first, and what it is made from. Raises ``ConvnetError``.
    """
    return both_halves(predictions(tests, head, seed=seed), similar(tests, layers, seed=seed).rows)


def both_halves(cases: Sequence[Prediction], rows: Sequence[Row]) -> Scene:
    """Return predictions on the left, rows of neighbours on the right, from the same height on."""
    shapes, right, bottom = case_shapes(cases, PRINT, 0, PRINT.gap)
    left = right + _APART
    neighbours: list[Shape] = []
    for i, row in enumerate(rows):
        neighbours += row_shapes(row, left, PRINT.gap + i * (_SIDE + _BELOW), _SIDE)
    across = 1 + max((len(row.nearest) for row in rows), default=0)
    width = left + row_width(across, _SIDE) + PRINT.gap
    height = max(bottom, PRINT.gap + len(rows) * (_SIDE + _BELOW))
    return Scene(width, height, "Figure 4", [Rectangle("paper", 0, 0, width, height), *shapes, *neighbours])
