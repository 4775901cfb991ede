"""cmrnorm, rnorm, cnorm: against the oracle, worked values, gradients by differences where they are exact."""

import numpy as np
import pytest
from support import ORACLE, assert_gradients, compare, each_backend, run_op, values

from convnet.backends.arguments import Activation, Response, Slope

KINDS = ["cmrnorm", "rnorm", "cnorm"]
# C, S, N, size, power
SHAPES = [
    (45, 2, 3, 17, 0.75),
    (1, 3, 1, 1, 0.75),
    (7, 4, 5, 2, 0.75),
    (16, 5, 33, 5, 0.5),
    (3, 9, 70, 3, 1.25),
    (40, 3, 130, 9, 0.75),
]


@each_backend
@pytest.mark.parametrize("kind", [*KINDS, "blocked"])
@pytest.mark.parametrize("C, S, N, size, power", SHAPES)
def test_ops(be, kind, C, S, N, size, power):
    how = {"response": Response(size, 0.3, power, 1.5, blocked=kind == "blocked")}
    kind = "cmrnorm" if kind == "blocked" else kind
    x, g = 2 * values(C, S, S, N), values(C, S, S, N, seed=1)
    compare(be, "norm_forward", [kind, x], x.shape, scales=False, **how)
    compare(be, "norm_input_grad", [kind, x, g], x.shape, **how)
    compare(be, "norm_input_grad", [kind, x, g], x.shape, slope=Slope(Activation("relu"), x), **how)


@each_backend
@pytest.mark.parametrize("power", [0.75, 1.3])
@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_is_seen_in_every_window(be, kind, power):
    x = 1 + values(6, 5, 5, 7) ** 2
    x[2, 3, 1, 4] = np.nan
    out = run_op(be, "norm_forward", [kind, x], np.zeros_like(x), response=Response(3, 0.3, power, 1.5))
    expected = run_op(ORACLE, "norm_forward", [kind, x], np.zeros_like(x), response=Response(3, 0.3, power, 1.5))
    assert np.isnan(expected).sum() > 2
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))


@each_backend
@pytest.mark.parametrize("kind", ["rnorm", "cnorm"])
@pytest.mark.parametrize("C, H, W, N, size", [(1, 42, 70, 9, 5), (2, 9, 67, 3, 4), (2, 17, 40, 20, 2), (1, 10, 66, 1, 9)])
def test_within_maps_of_several_strips(be, kind, C, H, W, N, size):
    how, x, g = {"response": Response(size, 0.3, 0.75, 1.5)}, values(C, H, W, N), values(C, H, W, N, seed=1)
    compare(be, "norm_forward", [kind, x], x.shape, scales=False, **how)
    compare(be, "norm_input_grad", [kind, x, g], x.shape, **how)


@each_backend
@pytest.mark.parametrize("kind", KINDS)
def test_windows_larger_than_any_map(be, kind):
    size = 1 << 26 if be.name == "cpu" else 50  # what cards do for each place grows with it
    how, x = {"response": Response(size, 0.3, 0.75, 1.5)}, values(3, 4, 5, 9)
    compare(be, "norm_forward", [kind, x], x.shape, scales=False, **how)
    compare(be, "norm_input_grad", [kind, x, values(*x.shape, seed=1)], x.shape, **how)


ACROSS = [
    # size, divided scale, min_div, blocked, y, dx: numerics 24.1 and 24.2
    (3, 0.1, 1, False, [0.737788, 1.037222, 1.080993, 1.563180], [0.664009, -0.064404, -0.336091, 0.227717]),
    (3, 0.1, 2, False, [0.502973, 0.798768, 0.910907, 1.294645], [0.472795, -0.004587, -0.284713, 0.187061]),
    (2, 0.1, 1, False, [0.931012, 1.475576, 1.606295, 1.563180], [0.804056, 0.209517, -0.321647, 0.061411]),
    (2, 0.1, 1, True, None, [0.664009, -0.147558, -0.340550, 0.262391]),
]


@pytest.mark.parametrize("size, scale, min_div, blocked, y, dx", ACROSS)
def test_across_by_hand(size, scale, min_div, blocked, y, dx):
    x, g = np.array([1.0, 2, 3, 4]).reshape(4, 1, 1, 1), np.array([1, 0, -1, 0.5]).reshape(4, 1, 1, 1)
    response = Response(size, scale, 0.75, min_div, blocked)
    out = run_op(ORACLE, "norm_forward", ["cmrnorm", x], np.empty_like(x), response=response)
    input_grad = run_op(ORACLE, "norm_input_grad", ["cmrnorm", x, g], np.empty_like(x), response=response)
    if y is not None:
        np.testing.assert_allclose(out.reshape(-1), y, atol=1e-6)
    np.testing.assert_allclose(input_grad.reshape(-1), dx, atol=1e-6)


def test_within_by_hand():
    """Numerics 24.3."""
    x, response = np.array([1.0, 2, 3, 4]).reshape(1, 2, 2, 1), Response(3, 0.1, 0.75, 1.0)
    rnorm = run_op(ORACLE, "norm_forward", ["rnorm", x], np.empty_like(x), response=response)
    cnorm = run_op(ORACLE, "norm_forward", ["cnorm", x], np.empty_like(x), response=response)
    np.testing.assert_allclose(rnorm.reshape(-1), [0.353553, 0.707107, 1.06066, 1.414214], atol=1e-6)
    np.testing.assert_allclose(cnorm.reshape(-1), [0.737788, 1.475576, 2.213364, 2.951152], atol=1e-6)


def test_contrast_gradient_is_the_approximation_of_the_originals():
    """Numerics 9.5: the gradient of rnorm with x - mean for x, which differences do not confirm."""
    x, g = values(1, 5, 5, 1), values(1, 5, 5, 1, seed=1)
    size, scale, power = 3, 0.2, 0.75
    pad = np.pad(x[0, :, :, 0], 1, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(pad, (3, 3))
    m = x[0, :, :, 0] - np.nanmean(windows, axis=(2, 3))
    squares = np.lib.stride_tricks.sliding_window_view(np.pad(m**2, 1), (3, 3)).sum(axis=(2, 3))
    d = 1 + scale * squares
    u = -2 * power * scale * g[0, :, :, 0] * x[0, :, :, 0] * d ** (-power - 1)
    back = np.lib.stride_tricks.sliding_window_view(np.pad(u, 1), (3, 3)).sum(axis=(2, 3))
    expected = g[0, :, :, 0] * d**-power + m * back
    response = Response(size, scale, power, 1.0)
    input_grad = run_op(ORACLE, "norm_input_grad", ["cnorm", x, g], np.empty_like(x), response=response)
    np.testing.assert_allclose(input_grad[0, :, :, 0], expected)


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
outputs=64
initW=0.7
[norm]
type={kind}
inputs=below
channels=4
size={size}
blocked={blocked}
[fc]
type=fc
inputs=norm
outputs=3
initW=0.5
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind, blocked", [("cmrnorm", 0), ("cmrnorm", 1), ("rnorm", 0)])
def test_gradients(kind, size, blocked):
    text = NET.format(kind=kind, size=size, blocked=blocked)
    assert_gradients(text, [values(6, 4), np.array([[0.0, 1, 2, 1]])], classes=3)


def test_scale_is_divided_by_the_values_in_the_window():
    """Numerics 9.0."""
    from support import make_graph

    for kind, divided in (("cmrnorm", 0.9 / 3), ("rnorm", 0.9 / 9), ("cnorm", 0.9 / 9)):
        graph = make_graph(NET.format(kind=kind, size=3, blocked=0), {0: 6, 1: 1}, classes=3)
        assert graph.layers["norm"].scaled == pytest.approx(divided)
