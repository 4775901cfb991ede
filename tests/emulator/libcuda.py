"""The driver's own libraries on the processor: PyCUDA and its kin run over ``libcuda.cpp`` and ``libcublas.cpp``.

As a pytest plugin it gives ``driver.py`` emulated kernels for machine code, so that the tests of a card run without one:

    PYTHONPATH=tests LD_LIBRARY_PATH=$(python tests/emulator/libcuda.py) pytest -p emulator.libcuda -m gpu tests/layers

PyCUDA is built from source against the headers of a toolkit, so that it is no dependency of the tests.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convnet.backends import cuda
from convnet.backends.cuda import driver
from convnet.backends.cuda.device import formats
from convnet.backends.cuda.source import Source, signatures
from convnet.storage import cache_folder
from emulator.device import compile_library, library_of

HERE = Path(__file__).parent
# text, name to be found by, flags: a library is known by the name that is compiled in
LIBRARIES = (
    ("libcuda.cpp", "libcuda.so.1"),
    ("libcublas.cpp", "libcublas.so.13"),
    ("libcublas.cpp", "libcublasLt.so.13"),
)


def libraries() -> Path:
    """A folder for LD_LIBRARY_PATH; compiled where it is not yet."""
    key = hashlib.sha256(b"".join((HERE / text).read_bytes() for text, _ in LIBRARIES)).hexdigest()[:24]
    folder = cache_folder() / "emulated" / f"driver-{key}"
    for text, name in LIBRARIES:
        if not (folder / name).is_file():
            compile_library((HERE / text).read_text(), ["-O1", "-g1", f"-Wl,-soname,{name}"], folder / name)
    linked = folder / "libcuda.so"  # what PyCUDA asks for if it was built against a stub without a name of its own
    if not linked.is_symlink():
        with suppress(FileExistsError):
            linked.symlink_to("libcuda.so.1")
    return folder


def image(source: Source, capability: int = 90) -> bytes:
    """What stands for the machine code of ``source``: the text that ``libcuda.cpp`` reads."""
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
    cuda.compile_all = lambda sources, capability: 0


if __name__ == "__main__":
    print(os.pathsep.join([str(libraries()), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]))
