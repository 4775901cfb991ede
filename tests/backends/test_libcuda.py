"""The CUDA driver's calls, made for real, over a driver that works on the processor (``emulator/libcuda.cpp``)."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from emulator import libcuda
from support import ROOT

from convnet.backends.cuda.source import Source

GRAPHS = """
import ctypes, sys
from cuda.bindings import driver as api
from convnet.backends.cuda.graphs import Graphs

def checked(result):
    assert result[0] == api.CUresult.CUDA_SUCCESS, result
    return result[1] if len(result) == 2 else None

checked(api.cuInit(0))
checked(api.cuCtxPushCurrent(checked(api.cuDevicePrimaryCtxRetain(checked(api.cuDeviceGet(1))))))
stream, at = checked(api.cuStreamCreate(0)), checked(api.cuMemAlloc(4 * 300))
image = open(sys.argv[1], "rb").read()
fill = checked(api.cuModuleGetFunction(checked(api.cuModuleLoadDataEx(image, 0, [], [])), b"fill"))

def issue(value):
    values = (int(at), 300, value), (ctypes.c_void_p, ctypes.c_longlong, ctypes.c_float)
    checked(api.cuLaunchKernel(fill, 2, 1, 1, 256, 1, 1, 0, stream, values, 0))

def contents():
    out = (ctypes.c_float * 300)()
    checked(api.cuMemcpyDtoHAsync(ctypes.addressof(out), at, 1200, stream))
    return set(out)

graphs = Graphs()
issue(1.0)
graphs.begin(int(stream))
issue(2.0)
graph = graphs.end(int(stream))
captured = graphs.instantiate(graph)
graphs.forget(graph)
print(contents())
graphs.launch(captured, int(stream))
issue(3.0)
graphs.launch(captured, int(stream))
print(contents())
graphs.begin(int(stream))
try:
    graphs.begin(int(stream))
except Exception as error:
    print(error)
graphs.destroy(captured)
"""


# Two threads use a device, a third collects it; another is left to the end.
ENDING = """
import ctypes, gc, threading
from emulator import libcuda

libcuda.pytest_configure()
import numpy as np
from convnet.backends import make_backend

def use(be, products):
    for _ in range(5):
        out = be.zeros((3, 4))
        be.copy_in(be.stage(np.ones((3, 4), np.float32)), out)
        if products:
            be.fc_forward(out.reshape(4, 3), out, be.empty((4, 4)))
        with be.capturing() as held:
            be.fill(out, 2.0)
        be.replay(held[0])
        be.late = be.fetch(out), be.device.record_event(0), held, be.stage(np.ones((300, 4), np.float32))

def elsewhere(work, *args):
    thread = threading.Thread(target=work, args=args)
    thread.start()
    thread.join()

gc.disable()
living = ctypes.CDLL("libcuda.so.1").libcuda_living
living.restype = ctypes.c_char_p
made = []
elsewhere(lambda: made.append(make_backend("cuda")))
be = made.pop()
for second in (False, True):
    elsewhere(use, be, second)
print(living().decode())
del be
elsewhere(gc.collect)
print(living().decode())
last = make_backend("cuda", gpu=1)
use(last, True)
"""


def run(*command: str, **environment: str) -> str:
    """What a Python process prints that finds the libraries; raises with its errors."""
    return ran(*command, **environment).stdout


def ran(*command: str, **environment: str) -> subprocess.CompletedProcess:
    """A Python process that found the libraries; raises with its errors."""
    paths = {"LD_LIBRARY_PATH": str(libcuda.libraries()), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, **paths, **environment}, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def needs_pycuda() -> None:
    missing = [name for name in ("pycuda", "nvmath") if not find_spec(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: pip install '.[cuda]' where a CUDA toolkit is")


@pytest.mark.parametrize("early", ["", "1"], ids=["late", "early"])
def test_graphs(tmp_path, early):
    """To capture is not to run; what was captured runs in its turn, as often as it is launched."""
    pytest.importorskip("cuda.bindings.driver")
    image = tmp_path / "fill"
    image.write_bytes(libcuda.image(Source.of("eltwise.cu", {}, {"THREADS": 256})))
    printed = run("-c", GRAPHS, str(image), **({"LIBCUDA_EARLY": "1"} if early else {})).splitlines()
    assert printed[:2] == ["{1.0}", "{2.0}"]
    assert printed[2].startswith("CUDA graphs: CUDA_ERROR_STREAM_CAPTURE")


@pytest.mark.parametrize("early", ["", "1"], ids=["late", "early"])
def test_the_driver(early):
    """Nets and ops through PyCUDA and nvmath."""
    needs_pycuda()
    tests = [str(Path("tests") / name) for name in ("layers/test_fc.py", "layers/test_neuron.py", "net/test_net.py")]
    options = ["-q", "-p", "emulator.libcuda", "-p", "no:cacheprovider", "-m", "gpu"]
    assert "100%" in run("-m", "pytest", *options, *tests, **({"LIBCUDA_EARLY": "1"} if early else {}))


def test_nothing_is_left_behind():
    """Whichever threads used a device, and whichever comes upon it when it is of no use any more."""
    needs_pycuda()
    done = ran("-W", "error", "-c", ENDING)
    before, after = done.stdout.splitlines()
    assert not before.startswith("0 arrays") and not done.stderr
    assert after == "0 arrays, 0 page-locked, 0 streams, 0 events, 0 modules, 0 graphs"


def test_doctor_over_it():
    needs_pycuda()
    printed = run(
        "-c", "from emulator import libcuda; libcuda.pytest_configure(); from convnet.cli import doctor; doctor.main([])"
    )
    assert "CUDA 13.0, 2 GPUs" in printed and printed.count("MiB free") == 2 and "backend:   cuda" in printed
