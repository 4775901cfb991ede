"""pool and cmpool: clipping, ties, every kind against the oracle, gradients by differences, worked values."""

import math

import numpy as np
import pytest
from support import ORACLE, assert_close, assert_gradients, compare, each_backend, integers, run_op, values

from convnet.backends.arguments import Activation, Slope, Window
from convnet.backends.philox import Key

# C, S, N, size, start, stride
SHAPES = [(3, 11, 5, 3, 0, 2), (1, 1, 1, 1, 0, 1), (2, 6, 33, 4, -2, 4), (5, 7, 70, 3, 1, 3), (17, 4, 130, 4, -1, 1)]


def outputs(side, size, start, stride):
    return 1 + math.ceil((side - start - size) / stride)


@each_backend
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("C, S, N, size, start, stride", SHAPES)
def test_ops(be, C, S, N, size, start, stride, tied):
    O, how = outputs(S, size, start, stride), {"window": Window(size, start, stride)}
    x = integers(C, S, S, N) if tied else values(C, S, S, N)
    g = values(C, O, O, N, seed=1)
    for kind in ("max", "maxabs", "avg", "sum"):
        compare(be, "pool_forward", [kind, x], g.shape, scales=False, **how)
        if kind in ("avg", "sum"):
            compare(be, "pool_avg_input_grad", [kind, g], x.shape, **how)
        else:
            y = run_op(ORACLE, "pool_forward", [kind, x], g, **how)
            compare(be, "pool_max_input_grad", [x, y, g], x.shape, **how)
    compare(be, "pool_rand_forward", [x], g.shape, key=Key(1, 2, 3, 4), scales=False, **how)


@each_backend
@pytest.mark.parametrize("C, S, N, size, start, stride", SHAPES)
def test_with_the_neurons_beside_it(be, C, S, N, size, start, stride):
    O, how, relu = outputs(S, size, start, stride), {"window": Window(size, start, stride)}, Activation("relu")
    x, g = values(C, S, S, N), values(C, O, O, N, seed=1)
    for kind in ("max", "maxabs", "avg", "sum"):
        compare(be, "pool_forward", [kind, x], g.shape, scales=False, activation=relu, **how)
    for activation in (relu, Activation("logistic")):
        y = run_op(ORACLE, "neuron_forward", [x], x, activation=activation).astype(np.float32).astype(np.float64)
        best = run_op(ORACLE, "pool_forward", ["max", y], g, **how)
        compare(be, "pool_max_input_grad", [y, best, g], x.shape, slope=Slope(activation, y), **how)
        compare(be, "pool_avg_input_grad", ["avg", g], x.shape, slope=Slope(activation, y), **how)


@each_backend
@pytest.mark.parametrize("C, size, start, stride, O", [(5, 2, 0, 2, 3), (8, 3, -1, 2, 4), (6, 6, 0, 1, 1)])
def test_cross_map_ops(be, C, size, start, stride, O):
    x, g, window = integers(C, 3, 3, 7), values(O, 3, 3, 7), Window(size, start, stride)
    compare(be, "cmpool_forward", [x], g.shape, scales=False, window=window)
    y = run_op(ORACLE, "cmpool_forward", [x], g, window=window)
    compare(be, "cmpool_input_grad", [x, y, g], x.shape, window=window)


def test_by_hand():
    """Numerics 24.4: means are over pixels inside the image; and 8.6: every tied maximum gets the whole gradient."""
    x = np.arange(1.0, 17).reshape(1, 4, 4, 1)
    out = run_op(ORACLE, "pool_forward", ["avg", x], np.empty((1, 2, 2, 1)), window=Window(3, 0, 2))
    np.testing.assert_allclose(out.reshape(-1), [6, 7.5, 12, 13.5])
    same = np.ones((1, 2, 2, 1))
    arrays = [same, same[:, :1, :1], 3 * same[:, :1, :1]]
    grad = run_op(ORACLE, "pool_max_input_grad", arrays, same, window=Window(2, 0, 2))
    np.testing.assert_array_equal(grad, 3 * same)


def test_magnitude_keeps_the_sign_and_the_later_one():
    x = np.array([1.0, -3, 3, 2]).reshape(1, 2, 2, 1)
    out = run_op(ORACLE, "pool_forward", ["maxabs", x], np.empty((1, 1, 1, 1)), window=Window(2, 0, 2))
    assert out.item() == 3


@each_backend
@pytest.mark.parametrize("kind", ["max", "maxabs", "avg", "sum", "rand"])
def test_not_a_number_stays_one(be, kind):
    """Wherever it is in a window, and whatever follows it; a random member is drawn as if all were alike."""
    x, window = values(4, 6, 6, 5), Window(3, -1, 1)
    x[0, 2, 2, 0] = x[1, 0, 0, 4] = x[2, 5, 5, 1] = np.nan
    op, args, given = "pool_forward", [kind, x], {}
    if kind == "rand":
        op, args, given = "pool_rand_forward", [x], {"key": Key(1, 2, 3, 4)}
    found, expected = (run_op(each, op, args, np.zeros_like(x), window=window, **given) for each in (be, ORACLE))
    assert np.isnan(expected).any()
    assert_close(found, expected)


@pytest.mark.parametrize("side, expected", [(55, 27), (27, 13), (13, 6), (32, 16), (16, 8), (8, 4)])
def test_output_sides(side, expected):
    assert outputs(side, 3, 0, 2) == expected


def test_random_members_follow_their_weights():
    x = np.tile(np.array([1.0, 3, 0, -2]).reshape(1, 2, 2, 1), (1, 1, 1, 20000))
    out = run_op(ORACLE, "pool_rand_forward", [x], np.empty((1, 1, 1, 20000)), key=Key(5, 6, 0, 0), window=Window(2, 0, 2))
    assert set(np.unique(out)) == {1, 3}
    assert abs((out == 3).mean() - 0.75) < 0.02


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[below]
type=fc
inputs=data
outputs=50
initW=0.5
[pool]
inputs=below
channels=2
{pool}
[fc]
type=fc
inputs=pool
outputs=3
initW=0.5
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""
WINDOW = "sizeX=3\nstride=2\nstart=-1\n"
KINDS = {
    "max": f"type=pool\npool=max\n{WINDOW}",
    "maxabs": f"type=pool\npool=maxabs\n{WINDOW}",
    "avg": f"type=pool\npool=avg\n{WINDOW}",
    "sum": f"type=pool\npool=avg\nsum=1\n{WINDOW}",
    "rand": f"type=pool\npool=rand\n{WINDOW}",
    "rand as max": f"type=pool\npool=rand\ndoMax=1\n{WINDOW}",
    "cross-map": "type=cmpool\npool=max\nsize=2\nstride=1\nstart=-1\noutputs=3\n",
}


@pytest.mark.parametrize("pool", KINDS.values(), ids=KINDS.keys())
def test_gradients(pool):
    assert_gradients(NET.format(pool=pool), [values(6, 4), np.array([[0.0, 1, 2, 1]])], classes=3)
