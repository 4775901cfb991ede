"""The driver's own libraries on the processor: ``libcuda.cpp`` built, for PyCUDA, cuda-bindings and nvmath to run over it.

As a pytest plugin it gives ``driver.py`` emulated kernels for machine code, so that the tests of a card run without one:

    PYTHONPATH=tests LD_LIBRARY_PATH=$(python tests/emulator/libcuda.py) pytest -p emulator.libcuda -m gpu tests/layers

PyCUDA is built from source against the headers of a toolkit, so that the tests do not depend on it: where it, or nvmath, is
missing, ``pycuda_driver.py`` takes its place.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convnet.backends import cuda
from convnet.backends.cuda import driver
from convnet.backends.cuda.parameters import formats
from convnet.backends.cuda.source import Source, signatures
from convnet.storage import cache_folder
from emulator.device import compile_library, library_of

HERE = Path(__file__).parent
TEXT, HEADER = HERE / "libcuda.cpp", HERE / "libcuda.h"
# Without a number: what PyCUDA loads if it was built against a stub without a name of its own.
LINKS = ("libcuda.so", "libcublas.so.13", "libcublasLt.so.13")


def libraries() -> Path:
    """A folder for LD_LIBRARY_PATH, compiled if need be: one library by several names."""
    digest = hashlib.sha256(HEADER.read_bytes() + TEXT.read_bytes()).hexdigest()
    folder = cache_folder() / "emulated" / f"driver-{digest[:24]}"
    if not (folder / "libcuda.so.1").is_file():
        compile_library(TEXT.read_text(), ["-O1", "-g1", f"-I{HERE}"], folder / "libcuda.so.1")
    for name in LINKS:
        with suppress(FileExistsError):
            (folder / name).symlink_to("libcuda.so.1")
    return folder


def image(source: Source, capability: int = 90) -> bytes:
    """The text that ``libcuda.cpp`` reads in place of the machine code of ``source``."""
    lines = [f"library {library_of(source)}"]
    for name, value in source.shapes:
        lines.append(f"{'float' if isinstance(value, float) else 'int'} {name} {value!r}")
    for name, signature in signatures(source.file).items():
        lines.append(f"kernel {name} {formats(signature.types) or '-'}")
    return "\n".join(lines).encode() + b"\0"


def pytest_configure() -> None:
    """Emulated kernels for those of the compiler; functions of the driver that nobody calls may be missing."""
    sys.setdlopenflags(os.RTLD_LAZY)
    driver.build = image
    cuda.compile_all = lambda sources, capability: None
    from emulator import pycuda_driver

    for name, module in (("pycuda.driver", pycuda_driver), ("nvmath.bindings", pycuda_driver)):
        package = name.split(".")[0]
        if not find_spec(package):
            sys.modules[package], sys.modules[name] = ModuleType(package), module


if __name__ == "__main__":
    print(os.pathsep.join([str(libraries()), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]))
