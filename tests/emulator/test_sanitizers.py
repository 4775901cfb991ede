"""Kernels built with the sanitizers of g++: planted faults are found, and the kernels of every family have none.

A process has a sanitizer's library from its start or not at all, so each of these tests starts one.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OPTIONS = {
    "asan": {"ASAN_OPTIONS": "detect_leaks=0"},
    "tsan": {"TSAN_OPTIONS": "halt_on_error=1 ignore_noninstrumented_modules=1"},
}
NAMES = {"asan": "AddressSanitizer", "tsan": "ThreadSanitizer"}
SHARED = "__shared__ float t[64]; t[threadIdx.x] = x[threadIdx.x];"
COPY = "copy_async4(&t[threadIdx.x], x + threadIdx.x, true); copy_commit();"
FAULTS = {
    "asan": {
        "shared": f"{SHARED} out[threadIdx.x] = t[threadIdx.x + count - 63];",
        "local": "float t[4]; for (int i = 0; i < count - 59; i++) t[i] = x[i]; out[threadIdx.x] = t[threadIdx.x % 4];",
        "before": "out[threadIdx.x] = x[(int)threadIdx.x - 1];",
        "odd": "*(float4*)(out + threadIdx.x % 61) = *(const float4*)x;",
        "none": f"{SHARED} out[threadIdx.x] = t[threadIdx.x];",
    },
    "tsan": {
        "no barrier": f"{SHARED} out[threadIdx.x] = t[63 - threadIdx.x];",
        "no barrier in a warp": f"{SHARED} out[threadIdx.x] = t[threadIdx.x ^ 1];",
        "a barrier of other warps": f"{SHARED} __syncwarp(); out[threadIdx.x] = t[threadIdx.x ^ 32];",
        "a shuffle": f"{SHARED} __shfl_sync(~0u, x[0], 0); out[threadIdx.x] = t[threadIdx.x ^ 1];",
        "two write": "if (threadIdx.x > 61) out[0] = 1; else out[threadIdx.x + 1] = 1;",
        "two blocks": "out[(threadIdx.x + blockIdx.x) % 64] = 1;",
        "copied too early": f"{SHARED} __syncthreads(); out[threadIdx.x] = t[threadIdx.x ^ 1]; {COPY} copy_wait<0>();",
        "read too early": f"__shared__ float t[64]; {COPY} __syncthreads(); copy_wait<0>();"
        "out[threadIdx.x] = t[threadIdx.x ^ 1];",
        "none": f"if (blockIdx.x) return; {SHARED} __syncthreads(); out[threadIdx.x] = t[threadIdx.x ^ 32];",
        "none in a warp": f"if (blockIdx.x) return; {SHARED} __syncwarp(); out[threadIdx.x] = t[threadIdx.x ^ 1];",
        "none copied": f"if (blockIdx.x) return; __shared__ float t[64]; {COPY} copy_wait<0>(); __syncthreads();"
        "out[threadIdx.x] = t[threadIdx.x ^ 1];",
    },
}
PROGRAM = """
import pathlib, sys
import numpy as np
from convnet.backends.cuda import source
source.folder = lambda: pathlib.Path(sys.argv[1])
from emulator import EmulatedDevice
device = EmulatedDevice()
out = device.empty((64,))
device.launch(source.Source("planted.cu"), "planted", (2,), (64,), (device.upload(np.ones(64, np.float32)), out, 64))
assert (device.download(out) == 1).all()
"""


def run(sanitizer: str, *command: str) -> subprocess.CompletedProcess:
    """Python with a sanitizer's library; skips where there is none, or none that runs."""
    found = subprocess.run(["g++", f"-print-file-name=lib{sanitizer}.so"], capture_output=True, text=True).stdout.strip()
    if not Path(found).is_file():
        pytest.skip(f"g++ has no {NAMES[sanitizer]} here")
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    asked = {"CONVNET_EMULATOR": sanitizer, "LD_PRELOAD": found, "PYTHONPATH": path, **OPTIONS[sanitizer]}
    done = subprocess.run([sys.executable, *command], env={**os.environ, **asked}, capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip(f"{NAMES[sanitizer]} does not run on this kernel: {done.stderr[:200]}")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer, fault", [(sanitizer, fault) for sanitizer in FAULTS for fault in FAULTS[sanitizer]])
def test_planted_faults(sanitizer, fault, tmp_path):
    head = 'extern "C" __global__ void planted(const float* x, float* out, int count) {\n'
    (tmp_path / "planted.cu").write_text(head + FAULTS[sanitizer][fault] + "\n}\n")
    done = run(sanitizer, "-c", PROGRAM, str(tmp_path))
    if fault.startswith("none"):
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0 and "planted.cu:2" in done.stderr
        assert NAMES[sanitizer] in done.stderr or "runtime error" in done.stderr


@pytest.fixture(scope="module")
def over_every_kernel():
    """Each sanitizer over the tests of every layer, side by side, for each takes minutes."""
    chosen = "cuda and not large_tiles and not random"  # those take hours where every thread is a thread
    command = ("-m", "pytest", "-n0", "-s", "-p", "no:cacheprovider", "-m", "", "-k", chosen)
    with ThreadPoolExecutor() as pool:
        yield {sanitizer: pool.submit(run, sanitizer, *command, str(TESTS / "layers")) for sanitizer in FAULTS}


@pytest.mark.slow
@pytest.mark.minutes
@pytest.mark.parametrize("sanitizer", FAULTS)
def test_every_kernel(sanitizer, over_every_kernel):
    """What compute-sanitizer asks on a card: no kernel leaves its arrays, no two threads meet at one place unordered."""
    done = over_every_kernel[sanitizer].result()
    assert done.returncode == 0 and " passed" in done.stdout, done.stderr[-8000:] + done.stdout[-4000:]
