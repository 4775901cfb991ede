"""conv and local of random geometry: groups, random connections, strides that skip pixels, padding wider than a filter."""

import numpy as np
import pytest
from emulator import EmulatedDevice, as_tf32
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import ORACLE, assert_close, each_backend, run_op, values

from convnet.backends.arguments import Activation, Geometry, Slope
from convnet.backends.cuda import Cuda, tiles

BACKENDS = {math: Cuda(EmulatedDevice(math=math)) for math in ("float32", "tf32")}
MOST = 3_000_000  # products of a case that takes about a second


@st.composite
def cases(draw):
    """Shapes of images, weights and outputs, the geometry, and how long the list of rows is."""
    one = lambda *choices: draw(st.sampled_from(choices))  # noqa: E731 (as short as its use)
    G, Cf, FG, N = (
        one(1, 1, 2, 3),
        one(1, 3, 4, 8, 16, 17, 33),
        one(1, 3, 4, 8, 20, 33, 65),
        one(1, 3, 4, 7, 16, 33, 64, 130),
    )
    S, k = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    padding, stride = one(0, 1, 2, k, k + 2), one(1, 1, 2, 3, k + 1)
    assume(k <= S + 2 * padding)
    M = 1 + -(-(2 * padding + S - k) // stride)
    M = max(1, M + one(0, 0, 0, -1, 1))  # as modulesX may say
    C, conns = G * Cf, None
    assume(G * FG * M * M * Cf * k * k * N <= MOST)
    if G > 1 and draw(st.booleans()):
        C = one(Cf, G * Cf)
        conns = np.array(draw(st.lists(st.integers(0, C - 1), min_size=G * Cf, max_size=G * Cf)))
    local = [M * M] if one(False, False, True) else []
    shapes = (C, S, S, N), (*local, Cf, k, k, G * FG), (G * FG, M, M, N)
    return shapes, Geometry(padding, stride, G, conns), one(64, 1024)


@pytest.mark.slow
@pytest.mark.parametrize("math", BACKENDS)
def test_against_the_oracle(math, monkeypatch):
    be = BACKENDS[math]

    @settings(deadline=None, max_examples=30, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cases(), st.sampled_from([0.0, 1.0, 0.5]), st.booleans())
    def check(case, scale_targets, with_neuron):
        (images, weights, out), geometry, length = case
        monkeypatch.setattr(tiles, "LIST", length)
        tiles.tile_for.cache_clear()  # a tile keeps its constants
        x, w, g = (values(*shape, seed=seed) for seed, shape in enumerate((images, weights, out)))
        if math == "tf32":
            x, w, g = (as_tf32(array).astype(np.float64) for array in (x, w, g))
        relu = Activation("relu") if with_neuron else None
        for op, arrays, shape, more in (
            ("conv_forward", [x, w], out, {"activation": relu}),
            ("conv_input_grad", [g, w], images, {"slope": Slope(relu, values(*images, seed=5))} if relu else {}),
            ("conv_weight_grad", [x, g], weights, {}),
        ):
            before = values(*shape, seed=7) if scale_targets else np.full(shape, np.nan)
            found, expected = (
                run_op(each, op, arrays, before, scale_targets, geometry=geometry, **more) for each in (be, ORACLE)
            )
            assert np.isfinite(expected).all()
            assert_close(found, expected, 2e-5)

    check()
    tiles.tile_for.cache_clear()


@each_backend
def test_padding_below_zero(be):
    """Pixels that no window reaches get no gradient, also where windows skip pixels."""
    geometry = Geometry(-1, 3, 1, None)
    x, w, g = values(2, 5, 1, 33), values(2, 2, 2, 3), values(3, 1, 1, 33)
    found, expected = (
        run_op(one, "conv_input_grad", [g, w], np.full_like(x, np.nan), geometry=geometry) for one in (be, ORACLE)
    )
    assert_close(found, expected)
