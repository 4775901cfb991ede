"""Convolutions by Winograd's methods: the values of direct sums, over shapes that fit no tile, and how large errors are."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ORACLE, assert_close, run_op, values

from convnet.backends.arguments import Activation, Geometry, Slope
from convnet.backends.cpu import Cpu
from convnet.backends.cpu.compiled import KernelOps

METHODS = {"Winograd F(2x2,3x3)": 3e-6, "Winograd F(4x4,3x3)": 3e-6, "Winograd F(4x4,5x5)": 3e-5}  # largest errors
SIDES = {
    "Winograd F(2x2,3x3)": (2, 3, 4, 5, 7, 8),
    "Winograd F(4x4,3x3)": (2, 3, 4, 5, 6, 7),
    "Winograd F(4x4,5x5)": (4, 5, 8, 9),
}
MOST = 300_000  # products of a case


def runs(kernels: str) -> bool:
    try:
        KernelOps(1, kernels)
    except ValueError:
        return False
    return True


KERNELS = [name for name in ("avx512", "avx2", "baseline") if runs(name)]


@pytest.fixture(params=KERNELS)
def kernels(request):
    return request.param


def backend(method: str, kernels: str, threads: int = 2) -> Cpu:
    be = Cpu(threads, kernels, "fast")
    be.method = method.encode()
    return be


def there(be, given: dict) -> dict:
    return {name: be.upload(value) if name == "biases" else value for name, value in given.items()}


@st.composite
def cases(draw, k):
    """Shapes of images, weights and outputs, and the geometry."""
    one = lambda *choices: draw(st.sampled_from(choices))  # noqa: E731 (as short as its use)
    groups, C, F, N = one(1, 1, 2, 3), one(1, 3, 17, 70), one(1, 3, 17, 30), one(1, 3, 16, 33, 130)
    H, W, padding = draw(st.integers(1, 14)), draw(st.integers(1, 14)), draw(st.integers(0, 4))
    My, Mx = (max(1, 1 + side + 2 * padding - k + one(0, 0, -1, 1)) for side in (H, W))  # as modulesX may say
    while groups * F * My * Mx * C * k * k * N > MOST and max(C, F, N) > 1:
        C, F, N = -(-C // 2), -(-F // 2), -(-N // 2)
    shapes = (groups * C, H, W, N), (C, k, k, groups * F), (groups * F, My, Mx, N)
    return shapes, Geometry(padding, 1, groups, None)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_against_the_oracle(method, kernels):
    be = backend(method, kernels)

    @settings(deadline=None, max_examples=12, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(SIDES[method]).flatmap(cases), st.sampled_from([0.0, 1.0, 0.5]), st.booleans())
    def check(case, scale_targets, with_neuron):
        (images, weights, out), geometry = case
        x, w, g = (values(*shape, seed=seed) for seed, shape in enumerate((images, weights, out)))
        relu, biases = Activation("relu"), values(out[0], seed=4)
        for op, arrays, shape, more in (
            ("conv_forward", [x, w], out, {"activation": relu, "biases": biases} if with_neuron else {}),
            ("conv_input_grad", [g, w], images, {"slope": Slope(relu, values(*images, seed=5))} if with_neuron else {}),
            ("conv_weight_grad", [x, g], weights, {}),
        ):
            assert be.conv_method(op, x, w, g, geometry=geometry) == method
            before = values(*shape, seed=7) if scale_targets else np.full(shape, np.nan)
            found, expected = (
                run_op(one, op, arrays, before, geometry=geometry, scale_targets=scale_targets, **there(one, more))
                for one in (be, ORACLE)
            )
            assert_close(found, expected, max(1e-5, METHODS[method]))

    check()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inputs", ["random", "large mean", "outputs of relu", "one large"])
def test_errors(method, inputs, kernels):
    """Of outputs and gradients against float64, beside the largest value: what docs/performance.md says."""
    k, C, F, H, N = (5, 48, 32, 10, 8) if "5x5" in method else (3, 128, 32, 10, 8)
    be, random = backend(method, kernels), np.random.RandomState(1)
    geometry = Geometry(k // 2, 1, 1, None)

    def array(*shape):
        x = random.randn(*shape).astype(np.float32)
        if inputs == "large mean":
            x += 5
        elif inputs == "outputs of relu":
            x = np.maximum(x, 0)
        elif inputs == "one large":
            x.flat[x.size // 2] = 1000
        return x

    w = (random.randn(C, k, k, F) / 100).astype(np.float32)
    g = random.randn(F, H, H, N).astype(np.float32)
    for op, arrays, shape in (
        ("conv_forward", [array(C, H, H, N), w], (F, H, H, N)),
        ("conv_input_grad", [array(F, H, H, N), w], (C, H, H, N)),
        ("conv_weight_grad", [array(C, H, H, N), g], w.shape),
    ):
        target = np.zeros(shape, np.float32)
        found, expected = (run_op(one, op, arrays, target, geometry=geometry) for one in (be, ORACLE))
        assert np.abs(found - expected).max() <= METHODS[method] * np.abs(expected).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("op", ["conv_forward", "conv_weight_grad"])
def test_threads_leave_bits_alone(op, method):
    x, w, out = values(20, 9, 11, 70, seed=1), values(20, 5, 5, 24, seed=2), values(24, 9, 11, 70, seed=3)
    arrays, target = ([x, w], out) if op == "conv_forward" else ([x, out], w)
    one, two, three = (
        run_op(backend(method, KERNELS[0], threads), op, arrays, target, geometry=Geometry(2, 1, 1, None))
        for threads in (1, 2, 3)
    )
    assert one.tobytes() == two.tobytes() == three.tobytes()


def chosen(math: str, C: int, k: int, F: int, H: int, N: int, stride: int = 1, **kwargs) -> set[str]:
    """Methods of a layer's outputs and gradients."""
    padding = k // 2
    M = 1 + (H + 2 * padding - k) // stride
    groups = kwargs.get("groups", 1)
    arrays = (np.empty(shape, np.float32) for shape in ((C, H, H, N), (C // groups, k, k, F), (F, M, M, N)))
    images, weights, out = arrays
    geometry = Geometry(padding, stride, groups, kwargs.get("conns"))
    be = Cpu(1, math=math)
    passes = ("conv_forward", "conv_input_grad", "conv_weight_grad")
    return {be.conv_method(op, images, weights, out, geometry=geometry) for op in passes}


@pytest.mark.parametrize(
    "layer, float32, fast",
    [
        ({"C": 96, "k": 5, "F": 256, "H": 27, "N": 128, "groups": 2}, "Winograd F(4x4,3x3)", "Winograd F(4x4,5x5)"),
        ({"C": 256, "k": 3, "F": 384, "H": 13, "N": 128}, "Winograd F(4x4,3x3)", "Winograd F(4x4,3x3)"),
        ({"C": 32, "k": 5, "F": 32, "H": 16, "N": 128}, "Winograd F(4x4,3x3)", "Winograd F(4x4,5x5)"),
        ({"C": 96, "k": 3, "F": 96, "H": 2, "N": 128}, "direct", "direct"),
        ({"C": 3, "k": 5, "F": 4, "H": 32, "N": 128}, "direct", "direct"),
        ({"C": 64, "k": 1, "F": 64, "H": 13, "N": 128}, "direct", "direct"),
        ({"C": 64, "k": 3, "F": 64, "H": 13, "N": 128, "stride": 2}, "direct", "direct"),
    ],
)
def test_choice(layer, float32, fast):
    assert chosen("float32", **layer) == {float32}
    assert chosen("fast", **layer) == {fast}
    assert chosen("exact", **layer) == {"direct"}
