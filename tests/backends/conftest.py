"""The machine that tests of the driver's calls run on."""

import gc

import pytest
from emulator import libcuda, pycuda_driver

from convnet.backends.cuda import blas, compile, contexts, driver
from convnet.backends.cuda import machine as machine_module


class Compiler(compile.Compiler):
    """Of CUDA 13, as is cuBLAS beside it."""

    version, generation, architectures = "NVRTC 13.5", 13, (75, 90)

    def compile(self, text, name, target):
        return b""


@pytest.fixture
def machine(monkeypatch):
    """Puts ``libcuda.cpp`` where the driver would be; at the end everything must have been destroyed, in its context."""

    def put(**options):
        pycuda_driver.configure(**options)
        return pycuda_driver

    for module in (driver, machine_module):
        monkeypatch.setattr(module, "load_driver", lambda: pycuda_driver)
    for module in (blas, machine_module):
        monkeypatch.setattr(module, "load_blas", lambda: pycuda_driver.cublas)
    monkeypatch.setattr(machine_module, "find_compiler", Compiler)
    monkeypatch.setattr(driver, "load_graphs", lambda: (pycuda_driver.graphs, ""))
    monkeypatch.setattr(driver, "build", libcuda.image)
    monkeypatch.setattr(contexts.atexit, "register", lambda work, *args: pycuda_driver.at_exit.append((work, args)))
    contexts.primary_context.cache_clear()
    yield put
    pycuda_driver.refused.clear()
    gc.collect()  # devices end here
    contexts.primary_context.cache_clear()
    assert pycuda_driver.current() is None and not pycuda_driver.library().libcuda_refusals()
    assert not any(pycuda_driver.living().values())
