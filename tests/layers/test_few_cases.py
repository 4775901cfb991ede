"""conv of 1 to 40 cases, whose vectors may run over filters: every instruction set against sums in float64."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import ORACLE, assert_close, make_backends, run_op, values

from convnet.backends.arguments import Activation, Geometry, Slope
from convnet.backends.cpu import Cpu

CPUS = {name: be for name, be in make_backends().items() if name.startswith("cpu-")}
MOST = 2_000_000  # products of a case that takes a few milliseconds


@st.composite
def cases(draw):
    """Shapes of images, weights and outputs, and the geometry."""
    one = lambda *choices: draw(st.sampled_from(choices))  # noqa: E731 (as short as its use)
    G, Cf, FG, N = one(1, 1, 2, 3), one(1, 3, 17, 48), draw(st.integers(1, 70)), one(1, 1, 2, 3, 4, 7, 15, 16, 33, 40)
    S, k, stride = draw(st.integers(1, 12)), draw(st.integers(1, 6)), one(1, 1, 2, 4)
    padding = one(0, 1, 2, k - 1, k + 1)
    assume(k <= S + 2 * padding)
    M = max(1, 1 + -(-(2 * padding + S - k) // stride) + one(0, 0, -1, 1))  # as modulesX may say
    assume(G * FG * M * M * Cf * k * k * N <= MOST)
    C, conns = G * Cf, None
    if G > 1 and draw(st.booleans()):
        conns = np.array(draw(st.lists(st.integers(0, C - 1), min_size=C, max_size=C)), np.int32)
    return ((C, S, S, N), (Cf, k, k, G * FG), (G * FG, M, M, N)), Geometry(padding, stride, G, conns)


@pytest.mark.slow
@pytest.mark.parametrize("name", CPUS)
def test_against_the_oracle_and_one_thread(name):
    alone = Cpu(threads=1, kernels=name.removeprefix("cpu-"))

    @settings(deadline=None, max_examples=60, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cases(), st.sampled_from([0.0, 1.0, 0.5]), st.sampled_from(["map", "place", ""]))
    def check(case, scale_targets, biases):
        (images, weights, out), geometry = case
        x, w, g = (values(*shape, seed=seed) for seed, shape in enumerate((images, weights, out)))
        relu = Activation("relu") if biases else None
        added = {"map": values(out[0], seed=4), "place": values(int(np.prod(out[:3])), seed=4), "": None}[biases]
        for op, arrays, shape, more in (
            ("conv_forward", [x, w], out, {"activation": relu, "biases": added}),
            ("conv_input_grad", [g, w], images, {"slope": Slope(relu, values(*images, seed=5))} if relu else {}),
            ("conv_weight_grad", [x, g], weights, {}),
        ):
            before = values(*shape, seed=7) if scale_targets else np.full(shape, np.nan)
            expected, found, by_one = (
                run_op(each, op, arrays, before, scale_targets, geometry=geometry, **more)
                for each in (ORACLE, CPUS[name], alone)
            )
            assert_close(found, expected, 2e-5)
            assert found.tobytes() == by_one.tobytes()

    check()
