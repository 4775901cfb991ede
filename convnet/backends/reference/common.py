"""What all families of the reference share: the type of arrays, blending a result, and sums over clipped windows."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

Array = np.ndarray


def store(out: Array, result: Array, scale_targets: float, scale_output: float = 1) -> None:
    """out = scale_targets * out + scale_output * result; old contents are not read when ``scale_targets`` is 0."""
    result = scale_output * result
    out[...] = result if scale_targets == 0 else scale_targets * out + result


@cache
def _libraries() -> Any:
    return ThreadpoolController()


def blas_of_one_thread() -> AbstractContextManager[Any]:
    """Let NumPy's products run on one thread: several cut sums in their own way, and results would depend on the cores."""
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limited


def windows(side: int, outputs: int, size: int, start: int, stride: int) -> list[slice]:
    """Return the part inside [0, side) of each of ``outputs`` windows along one axis."""
    firsts = [start + o * stride for o in range(outputs)]
    return [slice(min(max(first, 0), side), max(min(first + size, side), 0)) for first in firsts]


def box_sum(x: Array, before: int, size: int, axis: int) -> Array:
    """Return sums over [i - before, i - before + size), clipped, along one axis."""
    x = np.moveaxis(x, axis, 0)
    parts = windows(len(x), len(x), size, -before, 1)
    return np.moveaxis(np.stack([x[part].sum(axis=0) for part in parts]), 0, axis)
