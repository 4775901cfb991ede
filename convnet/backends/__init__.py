"""The table of ops and what computes them: plain NumPy (reference), processors (cpu), NVIDIA cards (cuda).

Backends by name: none is imported until it is asked for, so a CPU user never touches CUDA.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convnet.errors import BackendError, OptionError
from convnet.texts import nearest, one_of

if TYPE_CHECKING:
    from convnet.backends.base import Backend

_THREADS = 64  # more are allowed only where there are processors for them: each takes memory
_NOTHING_THERE = ("no NVIDIA driver on this machine", "no GPU on this machine")
_ORDER = re.compile(r"[;,] (?:or )?use --backend cpu")  # which is what happens
MATH = ("float32", "exact", "fast", "tf32")
NAMES = ("auto", "reference", "cpu", "cuda")
# Ways to compute products that change nothing on a backend: the reference knows one, and TF32 is NVIDIA's.
_IDLE_MATH = {"reference": ("fast", "tf32"), "cpu": ("tf32",)}


def make_backend(name: str = "auto", threads: int = 0, gpu: int = 0, math: str = "float32") -> Backend:
    """Make the backend called ``name``; ``auto`` takes cuda where it runs and cpu elsewhere.

    ``threads`` 0 means all cores; ``gpu`` is cuda's. ``math`` says how products are computed: "float32", "exact" (direct
    sums on cpu), "fast" (within 1e-4 on cpu; TF32 where a GPU has it), "tf32".

    Raises ``OptionError`` for an unknown name and ``BackendError`` if the one asked for cannot run.
    """
    return make_backends(name, threads, [gpu], math)[0]


def make_backends(name: str, threads: int, gpus: Sequence[int], math: str = "float32") -> list[Backend]:
    """Make one backend for each place in ``gpus``, one object for a device named twice; a single one without GPUs.

    Raises as ``make_backend`` does.
    """
    return choose_backends(name, threads, gpus, math)[0]


def choose_backends(name: str, threads: int, gpus: Sequence[int], math: str = "float32") -> tuple[list[Backend], str]:
    """Make them as ``make_backends`` does, and say why ``auto`` did not choose cuda where there is a driver or a GPU."""
    most = max(_THREADS, 8 * (os.cpu_count() or 1))
    if not 0 <= threads <= most:
        raise OptionError(f"threads: {threads} is not a whole number from 0 to {most}; 0 takes one for each processor")
    if name == "cuda":
        return _cuda(gpus, math), ""
    if name != "auto":
        return [_by_name(name, threads, math)], ""
    reason = why_not_cuda(gpus[0])
    if not reason:
        from convnet.backends.cuda.machine import find_gpu, load_driver

        for gpu in gpus:  # a wrong --gpu is an error, not a reason for another backend
            find_gpu(load_driver(), gpu)
        try:
            backends = _cuda(gpus, math)
            for be in backends:
                try_out(be)
            return backends, ""
        except BackendError as error:
            reason = str(error)
    reason = "" if reason.startswith(_NOTHING_THERE) else _ORDER.sub("", reason)
    return [_by_name("cpu", threads, math)], reason


def reads_math(backend: str, math: str) -> bool:
    """Return whether a backend computes as ``math`` says."""
    return math not in _IDLE_MATH.get(backend, ())


def try_out(be: Backend) -> None:
    """Load and run a small kernel; raises ``BackendError`` where that fails."""
    be.download(be.zeros((1,)))


def why_not_cuda(gpu: int = 0) -> str:
    """Say in a sentence why cuda cannot run on a GPU here; empty if it can, as far as is known before a kernel runs."""
    from convnet.backends.cuda.machine import as_backend_error, capability_of, check_libraries, find_gpu, load_driver

    try:
        drv = load_driver()
        with as_backend_error("the NVIDIA driver does not answer", "use --backend cpu"):
            count = drv.Device.count()
            if count == 0:
                return "no GPU on this machine"
            check_libraries(drv, capability_of(find_gpu(drv, gpu if 0 <= gpu < count else 0)))
    except BackendError as error:
        return str(error)
    return ""


def gpu_count() -> int:
    """Return how many GPUs the driver shows to this process; 0 without a driver."""
    from convnet.backends.cuda.machine import as_backend_error, load_driver

    try:
        drv = load_driver()
        with as_backend_error("the NVIDIA driver does not answer", "use --backend cpu"):
            return int(drv.Device.count())
    except BackendError:
        return 0


def _cuda(gpus: Sequence[int], math: str) -> list[Backend]:
    from convnet.backends.cuda import Cuda
    from convnet.backends.cuda.driver import CudaDevice

    made: dict[int, Backend] = {}
    for gpu in gpus:
        if gpu not in made:
            made[gpu] = Cuda(CudaDevice(gpu, math))
    return [made[gpu] for gpu in gpus]


def _by_name(name: str, threads: int, math: str) -> Backend:
    if name == "reference":
        from convnet.backends.reference import Reference

        return Reference()
    if name != "cpu":
        near = nearest(name, NAMES) or "auto"
        raise OptionError(f"unknown backend '{name}'; expected {one_of(NAMES)}; nearest: {near}")
    try:
        from convnet.backends.cpu import Cpu
    except ImportError as error:
        raise BackendError(
            f"the cpu backend is not built here ({error}); run 'pip install .' in the project's folder"
        ) from None
    return Cpu(threads, math=math if reads_math("cpu", math) else "float32")
