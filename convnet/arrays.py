"""Numbers of arrays that are wrong: the first that is not finite, and labels that are not classes."""

from typing import Any

import numpy as np

Place = tuple[Any, ...]  # an index for each axis


def not_finite(array: np.ndarray) -> Place | None:
    """Return the place of the first number that is not finite, once it is one of 32 bits; or ``None``."""
    if array.dtype.kind != "f":
        return None
    with np.errstate(all="ignore"):
        # A sum is quick, and finite unless a number is not, or very large.
        if array.dtype.itemsize <= 4 and np.isfinite(array.sum(dtype=np.float64)):
            return None
        finite = np.abs(array) <= np.finfo(np.float32).max
    return None if finite.all() else tuple(map(int, np.unravel_index(int(np.argmin(finite)), array.shape)))


def not_classes(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the indices of labels (N,) that are not whole numbers from 0 to ``classes`` - 1; NaN is none."""
    return np.flatnonzero(~((labels >= 0) & (labels < classes) & (labels == np.floor(labels))))
