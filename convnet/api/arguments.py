"""Arguments of Python callers: checked where they come in, so that what is wrong is named, with what was expected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from convnet.arrays import not_finite
from convnet.errors import ConvnetError, DataError, OptionError
from convnet.options import MOST
from convnet.pickles.rules import shown
from convnet.texts import did_you_mean, one_of

MOST_PIXELS = 65535  # of a side


def whole_number(name: str, value: Any, least: int | None = None, most: int = MOST) -> int:
    """Return ``value`` as an int; raises ``OptionError`` for other types, and beyond ``least``, if any, to ``most``."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if is_whole and (least is None or least <= value <= most):
        return int(value)
    limits = "" if least is None else f" from {least} to {most}"
    raise OptionError(f"{name}={shown(value)} is not a whole number{limits}")


def word(name: str, value: Any, known: Iterable[str]) -> str:
    """Return ``value`` if it is one of the words ``known``; raises ``OptionError`` with the nearest."""
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    raise OptionError(f"{name}={shown(value)} is not {one_of(known)}{hint}")


def path_of(name: str, value: Any, error: type[ConvnetError]) -> Path:
    """Return ``value`` as a path; raises ``error`` for what is no path, an empty one included."""
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        text = os.fspath(value)
        if text and "\0" not in text:
            return Path(text)
    raise error(f"{name}={shown(value)} is not a path; expected a text or a pathlib.Path")


def functions(name: str, value: Any) -> list[Callable[..., Any]]:
    """Return ``value``, one function or several, as a list; raises ``OptionError`` for what cannot be called."""
    several = [value] if callable(value) else list(value) if isinstance(value, Iterable) else [value]
    for one in several:
        if not callable(one):
            raise OptionError(f"{name}: {shown(one)} cannot be called; expected functions of one argument, the event")
    return several


def numbers(what: str, value: Any, finite: bool = True) -> np.ndarray:
    """Return ``value`` as an array of real numbers; raises ``DataError`` for anything else.

    ``finite``: also for what holds NaN or infinity, as it is or as float32, with the place of the first.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"{what} do not make an array: {error}") from None
    if array.dtype.kind not in "buif":
        kind = type(value).__name__ if array.ndim == 0 else f"dtype {array.dtype}"
        raise DataError(f"{what} of {kind} are not numbers; expected integers or floats")
    if finite and (place := not_finite(array)) is not None:
        raise DataError(f"{what}: the value at {list(place)} is {array[place]}; expected finite numbers of float32")
    return array
