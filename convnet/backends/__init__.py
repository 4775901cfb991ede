"""Backends by name. Nothing is imported until it is asked for: a CPU user never touches CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convnet.errors import BackendError, OptionError
from convnet.language.source import nearest, one_of

if TYPE_CHECKING:
    from convnet.backends.base import Backend

NAMES = ("auto", "reference", "cpu", "cuda")


def make_backend(name: str = "auto", threads: int = 0) -> Backend:
    """The backend called ``name``; ``auto`` takes the best one that runs here. ``threads`` 0 means all cores.

    Raises ``OptionError`` for an unknown name and ``BackendError`` if the one asked for cannot run.
    """
    if name == "auto":
        name = "cpu"
    if name == "reference":
        from convnet.backends.reference import Reference

        return Reference()
    if name == "cpu":
        try:
            from convnet.backends.cpu import Cpu
        except ImportError as error:
            raise BackendError(
                f"the cpu backend is not built here ({error}); run 'pip install .' in the project's folder"
            ) from None
        return Cpu(threads)
    if name == "cuda":
        raise BackendError("the cuda backend is not part of this version; use --backend cpu")
    raise OptionError(f"unknown backend '{name}'; expected {one_of(NAMES)}; nearest: {nearest(name, NAMES) or 'auto'}")
