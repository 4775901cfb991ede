"""Backends by name. Nothing is imported until it is asked for: a CPU user never touches CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convnet.errors import BackendError, OptionError
from convnet.language.source import nearest, one_of

if TYPE_CHECKING:
    from convnet.backends.base import Backend

NAMES = ("auto", "reference", "cpu", "cuda")


def make_backend(name: str = "auto", threads: int = 0, gpu: int = 0, math: str = "float32") -> Backend:
    """The backend called ``name``; ``auto`` takes cuda where it runs and cpu elsewhere. ``threads`` 0 means all cores;
    ``gpu`` and ``math`` ("float32" or "tf32") are cuda's.

    Raises ``OptionError`` for an unknown name and ``BackendError`` if the one asked for cannot run.
    """
    if name == "auto":
        name = "cpu" if why_not_cuda() else "cuda"
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
        from convnet.backends.cuda import Cuda
        from convnet.backends.cuda.driver import Driver

        return Cuda(Driver(gpu, math))
    raise OptionError(f"unknown backend '{name}'; expected {one_of(NAMES)}; nearest: {nearest(name, NAMES) or 'auto'}")


def make_backends(name: str, threads: int, gpus: Sequence[int], math: str = "float32") -> list[Backend]:
    """One backend for each place in ``gpus``, one object for a device named twice; a single one where there are no GPUs.

    Raises as ``make_backend`` does.
    """
    first = make_backend(name, threads, gpus[0], math)
    if first.name != "cuda":
        return [first]
    made = {gpus[0]: first}
    for gpu in gpus:
        if gpu not in made:
            made[gpu] = make_backend("cuda", threads, gpu, math)
    return [made[gpu] for gpu in gpus]


def why_not_cuda() -> str:
    """What keeps cuda from running here, in a sentence; empty if nothing does."""
    from convnet.backends.cuda.compile import find_compiler
    from convnet.backends.cuda.driver import load_blas, load_driver

    try:
        if load_driver().Device.count() == 0:
            return "no GPU on this machine"
        find_compiler()
        load_blas()
    except BackendError as error:
        return str(error)
    return ""
