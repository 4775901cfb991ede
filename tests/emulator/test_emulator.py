"""Mistakes that a kernel can make are found: each is planted here, and reported."""

import numpy as np
import pytest

from convnet.backends.cuda import source
from convnet.backends.cuda.source import Source
from emulator import EmulatedDevice, EmulationError

HEAD = 'extern "C" __global__ void planted(const float* x, float* out, int count) {\n'
FAULTS = {
    "an odd address": ("copy_async16(out + 1, x, true);", "not aligned"),
    "out of bounds": ("out[threadIdx.x + count] = x[threadIdx.x];", "access out of bounds"),
    "far away": ("out[threadIdx.x] = x[threadIdx.x + (1 << 28)];", "access out of bounds"),
    "divergent barrier": ("if (threadIdx.x < 8) __syncthreads(); out[threadIdx.x] = 0;", "divergent barrier: 8 of 64"),
    "two barriers": ("if (threadIdx.x < 8)\n__syncthreads();\nelse\n__syncthreads();", "different barriers"),
    "lanes that never come": ("if (threadIdx.x < 8) out[0] = __shfl_sync(~0u, x[0], 0);", "lanes that never come"),
}
SHARED = "__shared__ float t[64]; t[threadIdx.x] = x[threadIdx.x];"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the body of a kernel over one block of 64 threads."""
    (tmp_path / "common.cuh").write_text("")
    monkeypatch.setattr(source, "folder", lambda: tmp_path)
    source.read.cache_clear()

    def run(body: str, x: np.ndarray, name: str = "planted.cu", seed: int = 1) -> np.ndarray:
        source.read.cache_clear()
        source.signatures.cache_clear()
        (tmp_path / name).write_text(HEAD + body + "\n}\n")
        device = EmulatedDevice(seed)
        out = device.empty((64,))
        device.launch(Source(name), "planted", (1,), (64,), (device.upload(x), out, 64))
        return device.download(out)

    yield run
    source.read.cache_clear()
    source.signatures.cache_clear()


def test_shared_array_in_a_template(run):
    """g++ keeps those outside of the section that the emulator fills with NaN."""
    with pytest.raises(EmulationError, match="in a template"):
        run("}\ntemplate <int I> void part() {\n    __shared__ float t[4];", np.ones(64, np.float32), "template.cu")


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults(run, fault):
    body, words = FAULTS[fault]
    with pytest.raises(EmulationError, match=words):
        run(body, np.ones(64, np.float32), name=f"{fault.replace(' ', '_')}.cu")


def test_missing_barrier_shows(run):
    x = np.arange(64, dtype=np.float32)
    with_barrier = run(SHARED + "__syncthreads(); out[threadIdx.x] = t[63 - threadIdx.x];", x, "with.cu")
    without = run(SHARED + "out[threadIdx.x] = t[63 - threadIdx.x];", x, "without.cu")
    np.testing.assert_array_equal(with_barrier, x[::-1])
    assert not np.array_equal(without, x[::-1])


def test_order_of_threads_follows_the_seed(run):
    body = "__shared__ int turn; if (threadIdx.x == 0) turn = 0; __syncthreads(); out[threadIdx.x] = atomicAdd(&turn, 1);"
    first, same, other = (run(body, np.ones(64, np.float32), "turns.cu", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert sorted(other) == list(range(64)) and not np.array_equal(first, other)


def test_unwritten_memory_is_no_number(run):
    body = "__shared__ float t[64]; out[threadIdx.x] = threadIdx.x % 2 ? t[threadIdx.x] : x[threadIdx.x];"
    out = run(body, np.ones(64, np.float32), "unwritten.cu")
    assert np.isnan(out[1::2]).all() and (out[::2] == 1).all()
    device = EmulatedDevice()
    assert np.isnan(device.download(device.empty((5,)))).all()


def test_warps(run):
    x = np.arange(64, dtype=np.float32)
    body = "float v = x[threadIdx.x]; for (int by = 16; by; by /= 2) v += __shfl_xor_sync(~0u, v, by); out[threadIdx.x] = v;"
    np.testing.assert_array_equal(run(body, x, "warps.cu"), np.repeat([x[:32].sum(), x[32:].sum()], 32))


def test_tensor_product(run):
    """d += a b with operands rounded to ten bits, laid out over a warp as PTX says."""
    random = np.random.RandomState(0)
    a, b = random.randint(-8, 9, (16, 8)), random.randint(-8, 9, (8, 8))
    body = """
        if (threadIdx.x >= 32) { out[threadIdx.x] = 0; return; }
        int g = threadIdx.x / 4, t = threadIdx.x % 4;
        const float* B = x + 128;
        float a[4] = {x[g * 8 + t], x[(g + 8) * 8 + t], x[g * 8 + t + 4], x[(g + 8) * 8 + t + 4]};
        float b[2] = {B[t * 8 + g], B[(t + 4) * 8 + g]}, d[4] = {0, 0, 0, 0};
        mma_tf32(d, a, b);
        out[g * 4 + t] = d[0] * 1000000 + d[3];
    """
    out = run(body, np.concatenate([a.ravel(), b.ravel()]).astype(np.float32), "tensor.cu")
    product = (a @ b).astype(np.float32)
    g, t = np.divmod(np.arange(32), 4)
    np.testing.assert_array_equal(out[:32], product[g, 2 * t] * np.float32(1000000) + product[g + 8, 2 * t + 1])


COPIED = """
    __shared__ float t[64], u[64];
    u[threadIdx.x] = 0;
    __syncthreads();
    t[threadIdx.x] = u[(threadIdx.x + 1) % 64]; BEFORE
    copy_async4(&u[threadIdx.x], x + threadIdx.x, threadIdx.x != 5);
    copy_commit(); AFTER
    copy_wait<PENDING>();
    __syncthreads();
    out[threadIdx.x] = u[63 - threadIdx.x] + t[threadIdx.x];
"""


@pytest.mark.parametrize("barrier, pending, kept", [("BEFORE", 0, 6), ("AFTER", 0, 3), ("BEFORE", 1, 3)])
def test_asynchronous_copies(run, barrier, pending, kept):
    """Done at once or not before they are waited for: without a barrier before, or the wait after, half of the runs fail."""
    x = np.arange(64, dtype=np.float32)
    expected = np.where(x == 5, 0, x)[::-1]
    body = COPIED.replace(barrier, "__syncthreads();").replace("PENDING", str(pending))
    body = body.replace("BEFORE", "").replace("AFTER", "")
    right = [np.array_equal(run(body, x, f"copied{barrier}{pending}.cu", seed), expected) for seed in range(6)]
    assert sum(right) == kept


def test_batches_of_copies_arrive_in_order(run):
    body = """
    __shared__ float t[128];
    for (int half = 0; half < 2; half++) copy_async4(&t[half * 64 + threadIdx.x], x + threadIdx.x, true), copy_commit();
    copy_wait<1>();
    out[threadIdx.x] = t[threadIdx.x] + (t[64 + threadIdx.x] == t[threadIdx.x] ? 0 : 100);
    """
    sums = {run(body, np.ones(64, np.float32), "batches.cu", seed).sum() for seed in (1, 2)}
    assert sums == {64, 64 * 101}
