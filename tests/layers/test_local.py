"""local: ops against the oracle, gradients by differences, and its meaning: conv whose filters differ by place."""

import numpy as np
import pytest
from support import ORACLE, assert_gradients, compare, each_backend, run_op, values

from convnet.backends.arguments import Geometry

SHAPES = [
    (3, 7, 5, 7, 3, 1, 2, 1),
    (1, 3, 2, 1, 1, 0, 1, 1),
    (8, 5, 33, 12, 3, 1, 1, 2),
    (4, 6, 130, 9, 5, 2, 3, 1),
    (15, 5, 49, 28, 2, 1, 1, 1),
]


@each_backend
@pytest.mark.parametrize("C, S, N, F, k, padding, stride, groups", SHAPES)
def test_ops(be, C, S, N, F, k, padding, stride, groups):
    M = 1 + -(-(2 * padding + S - k) // stride)
    x, w, g = values(C, S, S, N), values(M * M, C // groups, k, k, F, seed=1), values(F, M, M, N, seed=2)
    how = {"geometry": Geometry(padding, stride, groups)}
    compare(be, "conv_forward", [x, w], g.shape, **how)
    compare(be, "conv_input_grad", [g, w], x.shape, **how)
    compare(be, "conv_weight_grad", [x, g], w.shape, **how)


@each_backend
def test_random_connections(be):
    conns = np.concatenate([np.random.RandomState(i).permutation(8) for i in range(2)])
    x, w, g = values(8, 4, 4, 9), values(16, 4, 3, 3, 8), values(8, 4, 4, 9, seed=1)
    how = {"geometry": Geometry(1, 1, 4, conns)}
    compare(be, "conv_forward", [x, w], g.shape, **how)
    compare(be, "conv_input_grad", [g, w], x.shape, **how)
    compare(be, "conv_weight_grad", [x, g], w.shape, **how)


def test_equal_filters_make_a_convolution():
    x, w, how = values(2, 5, 5, 3), values(2, 3, 3, 4), {"geometry": Geometry(1, 2)}
    same = np.repeat(w[None], 9, axis=0)
    out = np.empty((4, 3, 3, 3))
    np.testing.assert_allclose(
        run_op(ORACLE, "conv_forward", [x, same], out, **how), run_op(ORACLE, "conv_forward", [x, w], out, **how)
    )


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[below]
type=local
inputs=data
channels=4
filters=2
filterSize=2
groups=2
randSparse={sparse}
initW=0.5
[local]
type=local
inputs=below
channels=4
filters=3
filterSize=3
padding=1
stride=2
initW=0.5
[fc]
type=fc
inputs=local
outputs=3
initW=0.5
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("sparse", ["false", "true"])
def test_gradients(sparse):
    assert_gradients(NET.format(sparse=sparse), [values(4 * 5 * 5, 4), np.array([[0.0, 1, 2, 1]])], classes=3)
