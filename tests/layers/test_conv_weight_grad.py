"""The processors' weight gradient where its work is cut: chunks of channels, parts, blocks of cases, strips, heights."""

import numpy as np
import pytest
from support import BACKENDS, ORACLE, assert_close, run_op, values

from convnet.backends.arguments import Geometry
from convnet.backends.cpu import Cpu

KERNELS = [name.removeprefix("cpu-") for name in BACKENDS if name.startswith("cpu-")]
# C, S, N, F, k, padding, stride, groups, local
SHAPES = [
    (130, 5, 3, 48, 3, 1, 1, 1, False),  # two chunks, of three vectors of 16
    (67, 6, 7, 20, 4, 1, 2, 1, False),  # chunks of 33 and 34 channels
    (3, 9, 401, 50, 3, 1, 1, 1, False),  # three blocks of cases, four vectors
    (2, 23, 33, 7, 5, 2, 1, 1, False),  # many parts, rows of a column together
    (1, 40, 1, 5, 3, 2, 3, 1, False),  # many windows at a time
    (24, 6, 2, 44, 3, 0, 1, 2, False),
    (9, 7, 18, 99, 2, 1, 2, 1, False),
    (3, 7, 48, 37, 5, 2, 1, 1, False),  # squares of gradients in place, and a vector that is not full
    (4, 5, 16, 33, 3, 3, 1, 1, False),  # windows that see nothing
    (6, 5, 32, 32, 3, 3, 2, 2, True),
    (12, 4, 193, 34, 3, 1, 1, 2, True),  # two blocks of cases add to one window
    (5, 8, 1, 17, 3, 2, 2, 1, True),
]


@pytest.mark.parametrize("scale_targets", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernels", KERNELS)
def test_cut_work(kernels, shape, scale_targets):
    """Equal to the oracle, and the same bits on one, two and three threads."""
    C, S, N, F, k, padding, stride, groups, local = shape
    M = 1 + -(-(2 * padding + S - k) // stride)
    x, g = values(C, S, S, N), values(F, M, M, N, seed=1)
    weights = ([M * M] if local else []) + [C // groups, k, k, F]
    before = values(*weights, seed=2) if scale_targets else np.full(weights, np.nan)
    op, how = "conv_weight_grad", {"geometry": Geometry(padding, stride, groups)}
    first, *others = (run_op(Cpu(n, kernels), op, [x, g], before, scale_targets, 0.25, **how) for n in (1, 2, 3))
    for other in others:
        assert other.tobytes() == first.tobytes()
    assert_close(first, run_op(ORACLE, op, [x, g], before, scale_targets, 0.25, **how), 1e-5)
