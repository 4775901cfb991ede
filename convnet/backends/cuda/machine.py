"""What this machine has for the cuda backend: a driver, cards, and whether driver, compiler and libraries match."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from convnet.backends.cuda.blas import load_blas
from convnet.backends.cuda.compile import find_compiler
from convnet.errors import BackendError, first_line

TF32_SINCE = 80  # compute capability
_DRIVERS = {12: " (525 or later)", 13: " (580 or later)"}  # the oldest that support a generation of CUDA


def load_driver() -> Any:
    """Import ``pycuda.driver`` and initialise it; raises ``BackendError`` with what is missing and how to get it."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        raise BackendError("no NVIDIA driver on this machine (libcuda is missing); use --backend cpu") from None
    try:
        import pycuda.driver as drv
    except Exception as error:  # loading an extension fails in several ways
        why = f"PyCUDA is missing ({first_line(error)}); pip install '.[cuda]'"
        if "undefined symbol" in str(error):
            why = (
                f"PyCUDA was built for a newer driver than this machine has ({first_line(error)}); update the NVIDIA "
                f"driver, build PyCUDA against an older CUDA toolkit"
            )
        raise BackendError(f"{why}, or use --backend cpu") from None
    with as_backend_error("the NVIDIA driver finds no GPU", "use --backend cpu"):
        drv.init()
    return drv


def find_gpu(drv: Any, index: int) -> Any:
    """Return PyCUDA's device number ``index``; raises ``BackendError`` if there is none."""
    with as_backend_error("the NVIDIA driver does not answer", "use --backend cpu"):
        count = drv.Device.count()
        if 0 <= index < count:
            return drv.Device(index)
    raise BackendError(
        f"there is no GPU {index}; this machine has {count}, from 0. To put several logical devices on one, name it "
        f"several times: --gpu 0,0"
    )


def capability_of(device: Any) -> int:
    """Return 90 for compute capability 9.0."""
    major, minor = device.compute_capability()
    return 10 * major + minor


def math_for(capability: int, math: str) -> str:
    """Return how a card computes products, ``float32`` or ``tf32``, for what ``--math`` says: ``fast`` is TF32 if it can."""
    return {"exact": "float32", "fast": "tf32" if capability >= TF32_SINCE else "float32"}.get(math, math)


def check_libraries(drv: Any, capability: int) -> None:
    """Raise ``BackendError`` where compiler or cuBLAS are missing, do not know the card, or are newer than the driver."""
    compiler, blas = find_compiler(), load_blas()
    compiler.target(capability)
    version = drv.get_driver_version()
    for what, generation in ((compiler.version, compiler.generation), ("cuBLAS", blas.get_property(0))):
        if generation > version // 1000:
            old = version // 1000
            libraries = "pip install '.[cuda12]'" if old == 12 else f"install libraries of CUDA {old}"
            raise BackendError(
                f"the NVIDIA driver knows CUDA {cuda_version(version)}, but {what} is of CUDA {generation}: update the "
                f"driver{_DRIVERS.get(generation, '')}, {libraries}, or use --backend cpu"
            )


def cuda_version(number: int) -> str:
    """Format the 12040 of a driver as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


@contextmanager
def as_backend_error(what: str, advice: str = "") -> Iterator[None]:
    """Turn any exception inside into a ``BackendError`` of one line: what, its first line, advice."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(f"{what}: {first_line(error)}{'; ' * bool(advice)}{advice}") from None
