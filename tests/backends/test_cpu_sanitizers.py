"""The C code of the cpu backend and its packer, built with AddressSanitizer and UndefinedBehaviorSanitizer.

Right and wrong calls of every op (``tests/op_calls.py``) run over each instruction set that this processor has.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from emulator.test_sanitizers import run
from support import BACKENDS, ROOT

from convnet.storage import cache_folder

CPU = ROOT / "convnet" / "backends" / "cpu"
FLAGS = ["-O1", "-g", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-DNDEBUG"]
CALLS = 800  # of an instruction set
INSTRUCTION_SETS = [name.removeprefix("cpu-") for name in BACKENDS if name.startswith("cpu-")]
PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("convnet.backends.cpu._kernels", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
"""
FAULT = """
import numpy as np
from convnet.backends.cpu import Cpu
from convnet.backends.cpu.compiled import KernelOps
x = np.zeros((4, 7), np.float32)
KernelOps.add(Cpu(1), x, np.zeros((4, 5), np.float32))  # without the checks that are before it
"""


def build() -> Path:
    """The extension with both sanitizers, compiled as ``setup.py`` does, and kept by content."""
    spec = importlib.util.spec_from_file_location("convnet_setup", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    sources = [path for path in sorted(CPU.iterdir()) if path.suffix in (".c", ".h", ".pyx") and path.name != "_kernels.c"]
    content = b"".join(path.read_bytes() for path in sources) + repr((FLAGS, setup.COMPILE, sys.version)).encode()
    folder = cache_folder() / f"sanitized-{hashlib.sha256(content).hexdigest()[:16]}"
    built = folder / "_kernels.so"
    if built.is_file():
        return built
    folder.mkdir(parents=True, exist_ok=True)
    generated = folder / f"{os.getpid()}.c"
    subprocess.run([sys.executable, "-m", "cython", "-3", CPU / "_kernels.pyx", "-o", generated], check=True)
    includes = [f"-I{path}" for path in (CPU, numpy.get_include(), sysconfig.get_path("include"))]
    common = [flag for flag in setup.COMPILE if not flag.startswith("-O")] + setup.OPENMP + FLAGS + includes

    def compile_one(source: Path) -> str:
        target = folder / f"{os.getpid()}-{source.stem}.o"
        subprocess.run(["gcc", *common, *setup.ISA_FLAGS.get(source.name, []), "-c", source, "-o", target], check=True)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [generated, *(CPU / name for name in setup.KERNELS)]))
    linked = folder / f"{os.getpid()}.so"
    subprocess.run(["gcc", "-shared", *common, *objects, "-lm", "-o", linked], check=True)
    linked.replace(built)
    for leftover in (generated, *map(Path, objects)):
        leftover.unlink()
    return built


def sanitized(program: str, *arguments: str) -> subprocess.CompletedProcess:
    return run("asan", "-c", PROGRAM + program, str(build()), *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("instructions", INSTRUCTION_SETS)
def test_every_op(instructions):
    program = "import op_calls\nop_calls.main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])"
    done = sanitized(program, str(CALLS), "0", instructions)
    assert done.returncode == 0, done.stderr[-6000:]
    assert f"{instructions}: {CALLS} calls, " in done.stdout and "runtime error" not in done.stderr


@pytest.mark.slow
def test_a_fault_is_found():
    done = sanitized(FAULT)
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr and "neuron.c" in done.stderr
