"""Gradients at the pictures, for a Python caller: what ``Network.input_gradient`` does with its arguments.

Letters: C channels, S side that the net sees, D features, N cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from convnet.api.arguments import whole_number
from convnet.errors import OptionError
from convnet.graph.graph import Graph
from convnet.graph.needs import predicted_by
from convnet.net.dry_run import blank_inputs
from convnet.net.input_gradient import InputGradient
from convnet.net.net import Net
from convnet.texts import counted, did_you_mean, listed


def cost_called(graph: Graph, name: str, predictions: str) -> str:
    """Return the cost ``name``, or where it is empty that of the layer ``predictions``; raises ``OptionError``."""
    known = [cost.name for cost in graph.costs]
    if name and name not in known:
        raise OptionError(f"no cost '{name}' in the net; there are {listed(known) or 'none'}" + did_you_mean(name, known))
    judging = [cost.name for cost in graph.costs if predicted_by(cost).name == predictions]
    if not known:
        raise OptionError("the net has no cost; give output=, and its layer as of=")
    return name or (judging or known)[0]


def output_numbers(output: Any, cases: int, count: int, classes: Sequence[str]) -> np.ndarray:
    """Return which of ``count`` outputs is meant for each case, of one for all or one for each; raises ``OptionError``."""
    several = output if isinstance(output, list | tuple | np.ndarray) else [output] * cases
    if len(several) != cases:
        raise OptionError(f"output: {counted(len(several), 'output')} for {counted(cases, 'picture')}")
    words = [classes.index(word) if isinstance(word, str) and word in classes else word for word in several]
    for word in words:
        if isinstance(word, str):
            raise OptionError(f"output: no class '{word}'" + did_you_mean(word, classes))
    return np.array([whole_number("output", word, 0, count - 1) for word in words], int)


def gradient(
    net: Net,
    start: str,
    matrices: Iterable[np.ndarray],
    labels: Sequence[np.ndarray] = (),
    outputs: np.ndarray | None = None,
) -> np.ndarray:
    """Return the gradient (D, N) of the cost ``start``, or of the output of each case in ``outputs`` of that layer.

    ``matrices`` are minibatches of matrix 0 of the data, ``labels`` the whole matrices 1, 2, ...; blank without.
    """
    at_data, parts, first = InputGradient(net, start), [np.empty((net.graph.data_dims[0], 0))], 0
    for matrix in matrices:
        cases, last = matrix.shape[1], first + matrix.shape[1]
        others = [label[:, first:last] for label in labels] or blank_inputs(net.graph, cases)[1:]
        parts.append(at_data([matrix, *others], cases, None if outputs is None else outputs[first:last]))
        first = last
    return np.concatenate(parts, axis=1)
