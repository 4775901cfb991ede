"""What all families of the reference share: storing a result, and sums over clipped windows."""

from __future__ import annotations

import numpy as np


def store(out: np.ndarray, result: np.ndarray, scale_targets: float, scale_output: float = 1.0) -> None:
    """out = scale_targets * out + scale_output * result; old contents are not read when ``scale_targets`` is 0."""
    result = scale_output * result
    out[...] = result if scale_targets == 0 else scale_targets * out + result


def windows(side: int, outputs: int, size: int, start: int, stride: int) -> list[slice]:
    """The part inside [0, side) of each of ``outputs`` windows along one axis."""
    firsts = [start + o * stride for o in range(outputs)]
    return [slice(min(max(first, 0), side), max(min(first + size, side), 0)) for first in firsts]


def box_sum(x: np.ndarray, before: int, size: int, axis: int) -> np.ndarray:
    """Sums over [i - before, i - before + size), clipped, along one axis."""
    x = np.moveaxis(x, axis, 0)
    parts = windows(len(x), len(x), size, -before, 1)
    return np.moveaxis(np.stack([x[part].sum(axis=0) for part in parts]), 0, axis)
