"""What a batch must hold before a net is trained on it: finite numbers, and labels that are numbers of classes.

A number that is not finite need not show in the costs (tanh makes 1 of infinity) but spoils the weights for good.
"""

from collections.abc import Sequence

import numpy as np

from convnet.arrays import not_classes, not_finite
from convnet.data.provider import Minibatch
from convnet.errors import DataError
from convnet.graph.graph import Graph
from convnet.layers.data import Data


def check_batch(graph: Graph, minibatches: Sequence[Minibatch], where: str, finite: bool = True) -> None:
    """Raise ``DataError`` naming the first wrong case of a batch; ``where`` says which. Cases count from 0.

    Pictures are bytes, and not looked at. Without ``finite`` only labels are, as a test may well show a NaN.
    """
    used = sorted({layer.dataIdx for layer in graph.declared if isinstance(layer, Data)})
    labels = [(cost, cost.sources[0]) for cost in graph.costs if cost.first_input == "label"]
    first = 0
    for inputs, cases in minibatches:
        for index in used if finite else ():
            matrix = inputs[index]
            if isinstance(matrix, np.ndarray) and (place := not_finite(matrix)) is not None:
                row, case = place
                value = f"value {row} of case {first + case} is {matrix[row, case]}"
                raise DataError(f"{where}: matrix {index} of the data is not finite: {value}")
        for cost, source in labels:
            held = inputs[source.dataIdx] if isinstance(source, Data) else None
            if isinstance(source, Data) and isinstance(held, np.ndarray):
                _check_labels(held[source.start], cost.num_inputs[1], first, f"{where}: cost '{cost.name}'")
        first += cases


def _check_labels(labels: np.ndarray, classes: int, first: int, where: str) -> None:
    wrong = not_classes(labels, classes)
    if len(wrong):
        label = f"the label of case {first + wrong[0]} is {labels[wrong[0]]:g}"
        raise DataError(f"{where} has classes 0 to {classes - 1}, but {label}")
