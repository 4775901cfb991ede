"""Parameters of kernels: their C types, and the plain numbers that a launch passes for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from convnet.backends.cuda.array import DeviceArray

_FORMATS = {"int": "i", "unsigned": "I", "long long": "q", "float": "f", "double": "d"}


def formats(types: tuple[str, ...]) -> str:
    """Translate C types of parameters to the letters of ``struct``."""
    return "".join("P" if kind.endswith("*") else _FORMATS[kind] for kind in types)


def convert(types: tuple[str, ...], args: tuple[Any, ...], kernel: str) -> list[int | float]:
    """Convert ``args`` to what ``struct`` packs as a kernel's C types; raises ``TypeError`` where their number differs."""
    if len(types) != len(args):
        raise TypeError(f"{kernel} takes {len(types)} arguments ({', '.join(types)}), not {len(args)}")
    return [to_number(value) for to_number, value in zip(_converters(types), args, strict=True)]


@cache  # every launch asks for them
def _converters(types: tuple[str, ...]) -> list[Callable[[Any], int | float]]:
    return [_address if kind.endswith("*") else _CONVERTERS[kind] for kind in types]


def _address(array: DeviceArray | None) -> int:
    return 0 if array is None else array.pointer


def _unsigned(value: Any) -> int:
    return int(value) & 0xFFFFFFFF


_CONVERTERS: dict[str, Callable[[Any], int | float]] = {
    "int": int, "long long": int, "unsigned": _unsigned, "float": float, "double": float,
}  # fmt: skip
