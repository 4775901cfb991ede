"""Labels and targets of a Python caller: the matrices 1, 2, ... that a net reads beside its pictures.

One array is for every matrix that can be made of it; several go by the names of the data layers that read them, or by
``dataIdx``. Letters: N cases.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from convnet.api.arguments import numbers
from convnet.arrays import not_classes
from convnet.data.labels import Labels
from convnet.data.provider import one_hot
from convnet.data.targets import are_values
from convnet.errors import DataError
from convnet.graph.graph import Graph
from convnet.graph.needs import Need, data_layers, needs_of
from convnet.pickles.rules import shown
from convnet.texts import counted, did_you_mean, listed


def label_matrices(labels: Any, graph: Graph) -> list[np.ndarray]:
    """Return matrices 1, 2, ... of a net, float32 (rows, N); a blank one where the net reads none.

    ``labels`` are class numbers (N,), or values (rows, N) or (N, rows), (N,) for one, or several of these in a dict. Classes
    become a one in the row of each where a matrix has as many rows; in a list a case may have several then. Raises
    ``DataError``, also where a matrix is missing.
    """
    needs = {index: need for index, need in needs_of(graph, graph.data_dims).items() if index}
    by_name = isinstance(labels, Mapping)
    given = _by_index(labels, graph) if by_name else dict.fromkeys(needs, labels)
    missing = [need for index, need in needs.items() if index not in given] if by_name else _not_meant(needs)
    if missing:
        names = ", ".join(f"'{need.layer.name}': ..." for need in needs.values())
        wants = listed(f"{need.where} needs {need.text}" for need in missing)
        raise DataError(f"labels: {wants}, which nothing was given for; give each its own: {{{names}}}")
    matrices = {index: _matrix(given[index], need, by_name) for index, need in needs.items()}
    cases = {need.layer.name: matrices[index].shape[1] for index, need in needs.items()}
    if len(set(cases.values())) > 1:
        counts = listed(f"{count} for '{name}'" for name, count in cases.items())
        raise DataError(f"labels: {counts}; expected as many for each")
    blank = np.zeros((1, max(cases.values(), default=0)), np.float32)
    return [matrices.get(index, blank) for index in range(1, max(needs, default=0) + 1)]


def _by_index(labels: Mapping[Any, Any], graph: Graph) -> dict[int, Any]:
    """Return labels by matrix, which are given by the names of data layers or by ``dataIdx``."""
    index_of = {layer.name: layer.dataIdx for layer in data_layers(graph) if layer.dataIdx}
    given: dict[int, Any] = {}
    for key, value in labels.items():
        index = index_of.get(key, key if key in index_of.values() else None)
        if index is None:
            hint = did_you_mean(key, index_of) if isinstance(key, str) else ""
            known = f"there are {listed(index_of)}" if index_of else "there are none"
            raise DataError(f"labels: {shown(key)} is no data layer beside that of the pictures; {known}{hint}")
        if index in given:
            raise DataError(f"labels: matrix {index} of the data is given twice")
        given[index] = value
    return given


def _not_meant(needs: Mapping[int, Need]) -> list[Need]:
    """Return the needs that one array of labels is not meant for: all but the first, and the same classes as 0 and 1."""
    first, others = next(iter(needs.values()), None), list(needs.values())[1:]
    classes = first.classes if first and first.kind == "label" else 0
    return [need for need in others if need.kind in ("label", "gate") or need.rows != classes]


def _are_lists(labels: Any) -> bool:
    """Return whether there is a list of numbers for each case, none of them twice."""

    def is_list(case: Any) -> bool:
        are_numbers = isinstance(case, list | tuple) and all(isinstance(each, int | float | np.number) for each in case)
        return are_numbers and len(set(case)) == len(case)

    return isinstance(labels, list | tuple) and all(map(is_list, labels))


def _matrix(labels: Any, need: Need, by_name: bool) -> np.ndarray:
    """Return what a caller gave for one matrix as float32 (rows, N); raises ``DataError``."""
    what = f"labels of '{need.layer.name}'" if by_name else "labels"
    if need.rows > 1 and _are_lists(labels) and not are_values(labels, need):
        lists = Labels.lists(labels)
        lists.check(need.rows, 0, what)
        return lists.matrix(need.rows)
    array = numbers(what, labels)
    one_each = array.ndim == 1
    if one_each and need.kind == "label" and not_classes(array, need.classes).size:
        if (array != np.floor(array)).any():
            raise DataError(f"{what} must be whole numbers of classes, not {array[array != np.floor(array)][0]}")
        raise DataError(f"{what} from {array.min()} to {array.max()}; the net has {counted(need.classes, 'class')}, from 0")
    if one_each and need.rows > 1 and not not_classes(array, need.rows).size:
        return one_hot(array, need.rows)
    matrix = array[None] if one_each else array
    if matrix.ndim == 2 and len(matrix) != need.rows == matrix.shape[1] > 1:  # a row for each case, as results have
        matrix = matrix.T
    if matrix.ndim != 2 or len(matrix) != need.rows:
        wanted = f"the net needs {counted(need.rows, 'row')} per case for {need.where}"
        raise DataError(f"{what} of shape {array.shape} do not fit; {wanted}")
    return np.ascontiguousarray(matrix, np.float32)
