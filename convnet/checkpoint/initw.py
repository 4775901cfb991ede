"""Functions for ``initWFunc`` and ``initBFunc``: weights and biases from a checkpoint, or as written (numerics 15.3).

    initWFunc=initw.makew(PATH)                 the matrix of the layer with the same name, for the same input
    initWFunc=initw.makew(PATH,LAYER)           the matrix of another layer
    initWFunc=initw.makewcat(PATH,A,B)          matrices of A and B, side by side or one below the other
    initBFunc=initw.makeb(PATH)                 the same layer's biases; makeb(PATH,LAYER), makebcat(PATH,A,B) alike
    initBFunc=initw.makeb_vec(0.1,0.2,0.3)      these biases
    initCFunc=initw.makec(PATH)                 the same layer's random connections; makec(PATH,LAYER)

PATH is a checkpoint of any generation, or its folder, as seen from where the program was started. Files of 2012 leave it
out, ``makew(LAYER)``, since it stood in their ``initw.py``; the environment variable CONVNET_INITW names it for them.

Put an ``initw.py`` of your own beside the layer file to use that one. A function of yours is called as ``f(name, input,
(rows, columns), params=[...])`` for weights, without ``input`` for biases; ``params`` are the texts between the brackets.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from convnet.checkpoint import find_latest, load
from convnet.errors import ConvnetError
from convnet.texts import counted, did_you_mean

Shape = tuple[int, int]


def makew(name: str, index: int, shape: Shape, params: Sequence[str] = ()) -> np.ndarray:
    """Return matrix ``index`` of layer ``name``, or of ``params[1]``, in checkpoint ``params[0]``; float32 of ``shape``."""
    path, source = _arguments("makew", name, params)
    return _checked(_matrix(path, source, index), shape, f"weights[{index}] of '{source}' in {path}")


def makeb(name: str, shape: Shape, params: Sequence[str] = ()) -> np.ndarray:
    """Return the biases of layer ``name``, or of ``params[1]``, in checkpoint ``params[0]``."""
    path, source = _arguments("makeb", name, params)
    return _checked(_layer(path, source)["biases"], shape, f"the biases of '{source}' in {path}")


def makec(name: str, index: int, _shape: tuple[int, int, int], params: Sequence[str] = ()) -> list[int]:
    """Return the connections of input ``index`` of layer ``name``, or of ``params[1]``; the caller checks their shape."""
    path, source = _arguments("makec", name, params)
    conns = _layer(path, source).get("filterConns") or []
    if index >= len(conns) or not len(conns[index]):
        raise ConvnetError(f"layer '{source}' in {path} has no random connections for input {index}")
    return [int(channel) for channel in conns[index]]


def makewcat(_name: str, _index: int, shape: Shape, params: Sequence[str] = ()) -> np.ndarray:
    """Return the first matrices of several layers joined to ``shape``: along columns if their rows fit, else along rows."""
    path, *sources = _some("makewcat", params, 2)
    return _joined([_matrix(path, source, 0) for source in sources], shape, f"weights of {', '.join(sources)} in {path}")


def makebcat(_name: str, shape: Shape, params: Sequence[str] = ()) -> np.ndarray:
    """Return the biases of several layers joined to ``shape``."""
    path, *sources = _some("makebcat", params, 2)
    return _joined([_layer(path, name)["biases"] for name in sources], shape, f"biases of {', '.join(sources)} in {path}")


def makeb_vec(_name: str, shape: Shape, params: Sequence[str] = ()) -> np.ndarray:
    """Return the numbers between the brackets, one per bias."""
    values = np.array([float(text) for text in _some("makeb_vec", params, 1)], np.float32)
    if values.size != shape[0] * shape[1]:
        raise ConvnetError(f"{counted(values.size, 'value')} for {shape[0] * shape[1]} biases")
    return values.reshape(shape)


def _some(function: str, params: Sequence[str], least: int) -> Sequence[str]:
    if len(params) < least:
        raise ConvnetError(f"{function} takes at least {counted(least, 'argument')} in brackets, not {len(params)}")
    return params


def _arguments(function: str, name: str, params: Sequence[str]) -> tuple[str, str]:
    """Return (checkpoint, layer)."""
    path, *source = _some(function, params, 1)
    if source or Path(path).exists():
        return path, source[0] if source else name
    known = os.environ.get("CONVNET_INITW")
    if not known:
        text = f"no checkpoint {path}; if {path} is a layer, as in files of 2012, let CONVNET_INITW name the checkpoint"
        raise ConvnetError(f"{text}, or have weights drawn: --init-funcs draw")
    return known, path


@lru_cache(maxsize=1)
def _layers(path: Path, _changed: int) -> dict[str, dict[str, Any]]:
    """Return the layers of a checkpoint; read once for all the layers of a net."""
    return load(path).layers


def _layer(path: str, name: str) -> dict[str, Any]:
    file, *_ = find_latest(path, lambda found: found)
    layers = _layers(file, file.stat().st_mtime_ns)
    if name not in layers or "biases" not in layers[name]:
        known = [other for other, layer in layers.items() if "biases" in layer]
        raise ConvnetError(f"{path} has no weights of a layer '{name}'" + did_you_mean(name, known))
    return layers[name]


def _matrix(path: str, name: str, index: int) -> np.ndarray:
    weights = _layer(path, name).get("weights", [])
    matrices = list(weights) if isinstance(weights, list | tuple) else [weights]
    if index >= len(matrices):
        raise ConvnetError(
            f"layer '{name}' in {path} has {counted(len(matrices), 'matrix')}, counted from 0; none is number {index}"
        )
    return matrices[index]


def _checked(array: np.ndarray, shape: Shape, what: str) -> np.ndarray:
    if array.shape != shape:
        raise ConvnetError(f"{what} have shape {array.shape}; the layer needs {shape}")
    return np.array(array, np.float32)


def _joined(arrays: list[np.ndarray], shape: Shape, what: str) -> np.ndarray:
    for axis in (1, 0):
        if len({array.shape[1 - axis] for array in arrays}) == 1:
            joined = np.concatenate(arrays, axis=axis)
            if joined.shape == shape:
                return np.array(joined, np.float32)
    raise ConvnetError(f"{what} have shapes {[array.shape for array in arrays]}, which do not join to {shape}")
