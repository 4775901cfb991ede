"""Trees of plain data, as checkpoints hold them: whether two are the same, with their types and what they share."""

from __future__ import annotations

from typing import Any

import numpy as np

from convnet.pickles import LegacyObject


def same_tree(a: Any, b: Any, where: str = "", known: dict[int, int] | None = None, order: bool = True) -> None:
    """Assert that two trees are equal: values, types, orders of arrays and (``order``) of keys, and what is one object."""
    known = {} if known is None else known
    assert type(a) is type(b), where
    if isinstance(a, list | dict | np.ndarray | LegacyObject):
        if id(a) in known:
            assert known[id(a)] == id(b), f"{where}: is another object"
            return
        known[id(a)] = id(b)
    match a:
        case LegacyObject():
            same_tree(vars(a), vars(b), where, known, order)
        case dict():
            assert (list(a) == list(b)) if order else (set(a) == set(b)), f"{where}: {set(a) ^ set(b)}"
            for key in a:
                same_tree(a[key], b[key], f"{where}[{key!r}]", known, order)
        case list() | tuple():
            assert len(a) == len(b), where
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                same_tree(x, y, f"{where}[{i}]", known, order)
        case np.ndarray():
            assert (a.dtype, a.shape) == (b.dtype, b.shape), where
            assert a.ndim < 2 or 1 in a.shape or a.flags.f_contiguous == b.flags.f_contiguous, f"{where}: order"
            assert a.tobytes() == b.tobytes(), where
        case float():
            assert repr(a) == repr(b), where
        case _:
            assert a == b, where
