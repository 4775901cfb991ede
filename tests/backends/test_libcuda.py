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
captured = graphs.end(int(stream))
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


def run(*command: str, **environment: str) -> str:
    """What a Python process prints that finds the libraries; raises with its errors."""
    paths = {"LD_LIBRARY_PATH": str(libcuda.libraries()), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, **paths, **environment}, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


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
    missing = [name for name in ("pycuda", "nvmath") if not find_spec(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: pip install '.[cuda]' where a CUDA toolkit is")
    tests = [str(Path("tests") / name) for name in ("layers/test_fc.py", "layers/test_neuron.py", "test_net.py")]
    options = ["-q", "-p", "emulator.libcuda", "-p", "no:cacheprovider", "-m", "gpu"]
    assert "100%" in run("-m", "pytest", *options, *tests, **({"LIBCUDA_EARLY": "1"} if early else {}))
