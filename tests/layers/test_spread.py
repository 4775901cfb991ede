"""Pools and norms within maps of few cases, whose vectors hold several channels: every instruction set against float64."""

import numpy as np
import pytest
from support import ORACLE, assert_close, make_backends, run_op, values

from convnet.backends.arguments import Activation, Response, Slope
from convnet.backends.cpu import Cpu

CPUS = {name: be for name, be in make_backends().items() if name.startswith("cpu-")}
SHAPES = [(C, N) for C in (1, 2, 7, 21) for N in (1, 2, 3, 5, 8, 9)]
WINDOW = (3, -1, 2)  # size, start, stride
RELU = Activation("relu")
S, OUT = 9, 5


def check(name, op, arrays, target, *args, **more):
    """``op`` is that of the oracle, and the same bits with one thread."""
    alone = Cpu(threads=1, kernels=name.removeprefix("cpu-"))
    for scale_targets in (0.0, 0.5):
        before = values(*target, seed=7) if scale_targets else np.full(target, np.nan)
        blend = {} if op.endswith("forward") else {"scale_targets": scale_targets}
        expected, found, by_one = (run_op(be, op, arrays, before, **blend, **more) for be in (ORACLE, CPUS[name], alone))
        assert_close(found, expected, 2e-5)
        assert found.tobytes() == by_one.tobytes()


@pytest.mark.parametrize(("C", "N"), SHAPES)
@pytest.mark.parametrize("name", CPUS)
def test_pools(name, C, N):
    images, small = (C, S, S, N), (C, OUT, OUT, N)
    x, g = values(*images), values(*small, seed=1)
    for kind in ("max", "avg"):
        check(name, "pool_forward", [kind, x], small, window=WINDOW, activation=RELU)
    best = run_op(ORACLE, "pool_forward", ["max", x], np.zeros(small), window=WINDOW)
    check(name, "pool_max_input_grad", [x, best, g], images, window=WINDOW)
    check(name, "pool_avg_input_grad", ["avg", g], images, window=WINDOW, slope=Slope(RELU, values(*images, seed=5)))


@pytest.mark.parametrize("window", [(1, 2, 3), (2, 0, 2), (4, -3, 1), (3, -7, 4), (5, 6, 1), (60, -9, 2)])
@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("name", CPUS)
def test_maxima_of_windows_that_leave_the_map(name, N, window):
    x = values(7, S, S, N)
    x[3, 4, 4, 0] = np.nan
    check(name, "pool_forward", ["max", x], (7, OUT, OUT, N), window=window)


@pytest.mark.parametrize(("C", "N"), SHAPES)
@pytest.mark.parametrize("kind", ["rnorm", "cnorm"])
@pytest.mark.parametrize("name", CPUS)
def test_norms(name, kind, C, N):
    images, response = (C, S, S, N), Response(5, 0.01, 0.75, 1.0, False)
    x, g = values(*images), values(*images, seed=1)
    check(name, "norm_forward", [kind, x], images, response=response)
    check(name, "norm_input_grad", [kind, x, g], images, response=response, slope=Slope(RELU, values(*images, seed=5)))
