"""The calls of a whole process over a driver that works on the processor (``emulator/libcuda.cpp``).

They come from cuda-bindings, and from PyCUDA and nvmath where these are installed, else from ``emulator/pycuda_driver.py``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulator import libcuda
from support import ROOT

GRAPHS = """
from emulator import libcuda

libcuda.pytest_configure()
from convnet.backends import make_backend

be = make_backend("cuda", gpu=1)
out = be.zeros((300,))
be.fill(out, 1.0)
with be.capturing() as captured:
    be.fill(out, 2.0)
print({float(value) for value in be.download(out)})
be.replay(captured[0])
be.fill(out, 3.0)
be.replay(captured[0])
print({float(value) for value in be.download(out)})
one, other, both = (be.zeros((9, 9)) for _ in range(3))
with be.capturing() as captured:  # two branches that meet; the last op waits for both
    be.fill(one, 2.0)
    be.fill(other, 3.0)
    be.fc_forward(one, one, both)
    be.fc_forward(other, other, both, 1.0)
    be.fill(one, 5.0)
    be.fill(other, 5.0)
for _ in range(4):
    be.replay(captured[0])
    print({float(value) for value in be.download(both).ravel()}, {float(value) for value in be.download(one).ravel()})
be.device.begin_capture()
try:
    be.device.begin_capture()
except Exception as error:
    print(error)
be.device.end_capture()
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
        be.copy_in(be.prefetch(np.ones((3, 4), np.float32)), out)
        if products:
            be.fc_forward(out.reshape(4, 3), out.reshape(3, 4), be.empty((3, 3)))
        with be.capturing() as captured:
            be.fill(out, 2.0)
        be.replay(captured[0])
        be.late = be.fetch(out), be.device.record_event(0), captured, be.prefetch(np.ones((300, 4), np.float32))

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


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a Python process that finds the libraries; raises with its errors."""
    paths = {"LD_LIBRARY_PATH": str(libcuda.libraries()), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    environment = {**os.environ, **paths, **environment}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.parametrize("early", ["", "1"], ids=["late", "early"])
def test_graphs(early):
    """Captured work does not run; a graph runs in its turn, as often as it is launched. By cuda-bindings."""
    pytest.importorskip("cuda.bindings.driver")
    printed = run("-c", GRAPHS, **({"LIBCUDA_EARLY": "1"} if early else {})).stdout.splitlines()
    assert printed[:2] == ["{1.0}", "{2.0}"]
    assert printed[2:6] == ["{117.0} {5.0}"] * 4
    assert printed[6].endswith("CUDA graphs: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")


@pytest.mark.slow
@pytest.mark.parametrize("early", ["", "1"], ids=["late", "early"])
def test_the_driver(early):
    """Ops and nets, issued op by op and captured."""
    names = "layers/test_fc.py", "layers/test_neuron.py", "net/test_net.py", "net/test_towers.py"
    tests = [str(Path("tests") / name) for name in names]
    options = ["-q", "-p", "emulator.libcuda", "-p", "no:cacheprovider", "-m", "gpu", "-n0"]
    assert "100%" in run("-m", "pytest", *options, *tests, **({"LIBCUDA_EARLY": "1"} if early else {})).stdout


def test_nothing_is_left_behind():
    """Whichever threads used a device, and whichever thread collects it."""
    done = run("-W", "error", "-c", ENDING)
    before, after = done.stdout.splitlines()
    assert not before.startswith("0 arrays") and not done.stderr
    assert after == "0 arrays, 0 page-locked, 0 streams, 0 events, 0 modules, 0 graphs, 0 handles"


def test_doctor_over_it():
    printed = run(
        "-c", "from emulator import libcuda; libcuda.pytest_configure(); from convnet.cli import doctor; doctor.main([])"
    ).stdout
    assert "CUDA 13.0, 2 GPUs" in printed and printed.count("MiB free") == 2 and "backend:   cuda" in printed
