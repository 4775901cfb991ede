"""The cpu's pools, norms, dropout and cost on awkward shapes: against plain NumPy, and with neurons beside them included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnet.backends import philox
from convnet.backends.arguments import Activation, Criterion, Response, Slope, Window
from convnet.backends.cpu import KERNELS, Cpu
from convnet.backends.reference import Reference

CASES = st.sampled_from([1, 3, 7, 16, 33, 64, 65, 100, 128])
ACTIVATIONS = st.sampled_from([Activation("relu"), Activation("tanh", 1.5, 0.7), Activation("brelu", 0.4)])
SCALES = st.sampled_from([0.0, 1.0, 0.5])


@pytest.fixture(scope="module", params=KERNELS)
def be(request):
    try:
        return Cpu(2, request.param)
    except ValueError:
        pytest.skip(f"this processor does not run {request.param}")


def halves(rng, shape):
    """Values with many ties."""
    return np.round(2 * rng.standard_normal(shape, np.float32)) / 2


def gradients(rng, shape, scale):
    """A target, whose contents must not be read where ``scale`` is 0."""
    return rng.standard_normal(shape, np.float32) if scale else np.full(shape, np.nan, np.float32)


def assert_multiplied(be, op, like, slope, scale, rng):
    """Assert that ``op`` with a slope stores the very bits of ``op`` and then a neuron's backward."""
    plain, fused = np.empty_like(like), gradients(rng, like.shape, scale)
    apart = fused.copy()
    op(plain, 0.0, None)
    if scale in (0.0, 1.0) and slope.activation.kind != "tanh":  # else sums and products are rounded in another order
        be.neuron_input_grad(slope.y, slope.y, plain, apart, scale, activation=slope.activation)
        op(fused, scale, slope)
        np.testing.assert_array_equal(fused, apart)
        return
    be.neuron_input_grad(slope.y, slope.y, plain, apart, scale, activation=slope.activation)
    op(fused, scale, slope)
    np.testing.assert_allclose(fused, apart, rtol=1e-5, atol=1e-6)


@st.composite
def windows(draw):
    """Maps (C, H, W, N), a window, and the side of its output."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(CASES)
    window = Window(draw(st.integers(1, 5)), draw(st.integers(-3, 2)), draw(st.integers(1, 4)))
    return shape, window, (draw(st.integers(1, 6)), draw(st.integers(1, 6)))


@settings(max_examples=60, deadline=None)
@given(windows(), st.sampled_from(["max", "maxabs", "avg", "sum"]), ACTIVATIONS, SCALES, st.integers(0, 99))
def test_pools(be, case, kind, activation, scale, seed):
    (C, H, W, N), window, (Oy, Ox) = case
    rng, ref = np.random.default_rng(seed), Reference(np.float64)
    images, out = halves(rng, (C, H, W, N)), np.full((C, Oy, Ox, N), np.nan, np.float32)
    be.pool_forward(kind, images, out, window=window)
    expected = np.empty(out.shape)
    ref.pool_forward(kind, images.astype(float), expected, window=window)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)

    included, apart = np.empty_like(out), out.copy()
    be.pool_forward(kind, images, included, window=window, activation=activation)
    be.neuron_forward(apart, apart, activation=activation)
    np.testing.assert_array_equal(included, apart)

    grad = rng.standard_normal(out.shape, np.float32)

    def backward(target, scale, slope, be=be, dtype=np.float32):
        values = [array.astype(dtype) for array in (images, out, grad)]
        if kind in ("max", "maxabs"):
            be.pool_max_input_grad(*values, target, scale, window=window, slope=slope)
        else:
            be.pool_avg_input_grad(kind, values[2], target, scale, window=window, slope=slope)

    target = gradients(rng, images.shape, scale)
    expected = target.astype(float)
    backward(target, scale, None)
    backward(expected, scale, None, ref, float)
    np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-5)
    assert_multiplied(be, backward, images, Slope(activation, images), scale, rng)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 8), CASES), st.sampled_from(["cmrnorm", "blocked", "rnorm", "cnorm"]),
    st.integers(1, 6), st.sampled_from([0.75, 0.5, 0.6]), st.sampled_from([1.0, 2.0, 0.01]), ACTIVATIONS, SCALES,
)  # fmt: skip
def test_norms(be, shape, kind, size, power, min_div, activation, scale):
    C, S, N = shape
    rng, ref = np.random.default_rng(C + N), Reference(np.float64)
    images = rng.standard_normal((C, S, S, N), np.float32)
    response = Response(size, 0.3, power, min_div, kind == "blocked")
    kind = kind.replace("blocked", "cmrnorm")
    out, expected = np.empty_like(images), np.empty(images.shape)
    be.norm_forward(kind, images, out, response=response)
    ref.norm_forward(kind, images.astype(float), expected, response=response)
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-6)

    grad = rng.standard_normal(images.shape, np.float32)

    def backward(target, scale, slope):
        be.norm_input_grad(kind, images, grad, target, scale, response=response, slope=slope)

    target = gradients(rng, images.shape, scale)
    expected = target.astype(float)
    backward(target, scale, None)
    ref.norm_input_grad(kind, images.astype(float), grad.astype(float), expected, scale, response=response)
    np.testing.assert_allclose(target, expected, rtol=1e-4, atol=1e-5 * max(1, np.abs(expected).max()))
    assert_multiplied(be, backward, images, Slope(activation, images), scale, rng)


@pytest.mark.parametrize("power", [0.75, 0.5, 0.9])
@pytest.mark.parametrize("size", [2, 5])
def test_roots_hold_over_the_whole_range(be, power, size):
    """d from 1 to what float32 still squares; NaN stays what it is."""
    images = np.zeros((size, 1, 1, 64), np.float32)
    images[0] = np.geomspace(1e-3, 1e17, 64)
    out = np.empty_like(images)
    be.norm_forward("cmrnorm", images, out, response=Response(size, 1.0, power, 1.0, False))
    x = images[0].astype(float)
    np.testing.assert_allclose(out[0], x * (1 + x * x) ** -power, rtol=3e-5 if power == 0.9 else 1e-6)
    images[0, ..., 3] = np.nan
    be.norm_forward("cmrnorm", images, out, response=Response(size, 1.0, power, 1.0, False))
    assert np.isnan(out[0]).sum() == 1 and np.isnan(out[0, 0, 0, 3])


@pytest.mark.parametrize("count", [1, 3, 63, 64, 65, 1000])
@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_dropout_draws_the_numbers_of_philox(be, count, scale):
    x, key = np.arange(1, count + 1, dtype=np.float32), philox.key_for(1, "layer", 5, 0)
    out = np.ones(count, np.float32) if scale else np.full(count, np.nan, np.float32)
    be.dropout(x, out, scale, keep=0.4, gain=2.5, key=key)
    expected = np.where(philox.uniform(key, (count,)) < 0.4, 2.5 * x, 0) + (scale if scale else 0)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_what_is_dropped_may_be_anything(be):
    x, out = np.full(64, np.nan, np.float32), np.empty(64, np.float32)
    be.dropout(x, out, keep=0.5, gain=1.0, key=philox.key_for(1, "layer", 5, 0))
    assert 0 < np.isnan(out).sum() < 64 and set(out[~np.isnan(out)]) == {0.0}


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 20), CASES), st.integers(1, 5), SCALES, st.integers(0, 99))
def test_logreg(be, shape, topk, scale, seed):
    """With ties, and labels that name no class."""
    rng = np.random.default_rng(seed)
    y = (rng.integers(1, 6, shape) / 6).astype(np.float32)
    labels = rng.integers(0, shape[0], (1, shape[1])).astype(np.float32)
    costs, expected = np.zeros(3), np.zeros(3)
    be.cost_forward(labels, y, costs, criterion=Criterion("logreg", topk=topk))
    Reference.cost_forward(be, labels, y, expected, criterion=Criterion("logreg", topk=topk))
    np.testing.assert_allclose(costs, expected, rtol=1e-9)
    labels[0, 0], y[0, 0] = -1, np.nan
    for kind in ("logreg", "logreg_fused"):
        target = gradients(rng, shape, scale)
        other = target.copy()
        be.cost_input_grad(labels, y, target, scale, criterion=Criterion(kind, 0.7))
        Reference.cost_input_grad(be, labels, y, other, scale, criterion=Criterion(kind, 0.7))
        np.testing.assert_allclose(target, other, rtol=1e-5, atol=1e-6)
    be.cost_forward(labels, y, costs, criterion=Criterion("logreg", topk=topk))
    assert np.isnan(costs[0])


def test_results_do_not_depend_on_the_number_of_threads(be):
    rng = np.random.default_rng(0)
    images = halves(rng, (5, 9, 9, 33))
    results = []
    for threads in (1, 3):
        be.set_threads(threads)
        out, grad = np.empty((5, 4, 4, 33), np.float32), np.empty_like(images)
        norm, norm_grad = np.empty_like(images), np.empty_like(images)
        be.pool_forward("max", images, out, window=Window(3, 0, 2))
        be.pool_max_input_grad(images, out, out, grad, window=Window(3, 0, 2))
        for kind in ("cmrnorm", "rnorm"):
            response = Response(3, 0.3, 0.75, 1.0, False)
            be.norm_forward(kind, images, norm, response=response)
            be.norm_input_grad(kind, images, norm, norm_grad, response=response)
            results.append((threads, out.copy(), grad.copy(), norm.copy(), norm_grad.copy()))
    be.set_threads(be.threads)
    for one, other in zip(results[:2], results[2:], strict=True):
        for a, b in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(a, b)
