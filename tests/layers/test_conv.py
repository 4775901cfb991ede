"""conv: ops against the oracle over awkward shapes, gradients by differences, worked values."""

import numpy as np
import pytest
from emulator import as_tf32, device
from support import (
    BACKENDS,
    ORACLE,
    assert_close,
    assert_gradients,
    compare,
    each_backend,
    each_tf32_backend,
    make_graph,
    run_op,
    values,
)

from convnet.backends.arguments import Activation, Geometry, Slope
from convnet.backends.cpu import Cpu
from convnet.backends.cuda import conv, tiles
from convnet.backends.cuda.tile_table import table_for
from convnet.backends.cuda.tiles import Tile

# C, S, N, F, k, padding, stride, groups
SHAPES = [
    (5, 8, 16, 9, 3, 2, 2, 1),
    (1, 1, 1, 1, 1, 0, 1, 1),
    (3, 11, 5, 7, 5, 0, 4, 1),  # the last window hangs over the border
    (3, 9, 33, 16, 3, 1, 1, 1),
    (8, 7, 20, 12, 3, 1, 1, 2),
    (6, 6, 130, 3, 2, 0, 3, 3),  # windows leave pixels unread
    (17, 5, 3, 40, 5, 2, 1, 1),
    (4, 13, 64, 33, 11, 5, 4, 1),
    (2, 4, 7, 2, 4, 3, 1, 2),  # wide padding
    (13, 9, 65, 15, 3, 1, 1, 1),  # tiles of unlike heights on every instruction set; a case more than two blocks
    (14, 10, 48, 29, 2, 0, 2, 1),  # half a block of cases at the end
    (3, 19, 17, 13, 5, 2, 3, 1),  # a band of rows that ends in a single one; columns that come three at a time
]


def geometry(C, S, N, F, k, padding, stride, groups):
    M = 1 + -(-(2 * padding + S - k) // stride)
    return (C, S, S, N), (C // groups, k, k, F), (F, M, M, N), {"geometry": Geometry(padding, stride, groups)}


def passes(x, w, g):
    """The three ops of a convolution: each with what it reads, and the shape of what it writes."""
    return (
        ("conv_forward", [x, w], g.shape),
        ("conv_input_grad", [g, w], x.shape),
        ("conv_weight_grad", [x, g], w.shape),
    )


@each_backend
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ops(be, shape):
    images, kernel, out, how = geometry(*shape)
    x, w, g = values(*images), values(*kernel, seed=1), values(*out, seed=2)
    compare(be, "conv_forward", [x, w], out, **how)
    compare(be, "conv_input_grad", [g, w], images, **how)
    compare(be, "conv_weight_grad", [x, g], kernel, **how)


@pytest.mark.parametrize("kernels", [name.removeprefix("cpu-") for name in BACKENDS if name.startswith("cpu-")])
@pytest.mark.parametrize("math", ["exact", "fast"])  # float32 is every backend's
@pytest.mark.parametrize("shape", [*SHAPES, (18, 12, 37, 33, 3, 1, 1, 1), (32, 16, 64, 32, 5, 2, 1, 1)], ids=str)
def test_ops_in_every_math(kernels, math, shape):
    """At the same tolerance: what is fast here takes few channels, whose errors are small."""
    images, kernel, out, how = geometry(*shape)
    x, w, g = values(*images), values(*kernel, seed=1), values(*out, seed=2)
    be = Cpu(2, kernels, math)
    for op, arrays, target in passes(x, w, g):
        found, expected = (run_op(one, op, arrays, np.full(target, np.nan), **how) for one in (be, ORACLE))
        assert_close(found, expected)


@each_backend
@pytest.mark.parametrize("shape", [SHAPES[i] for i in (0, 2, 4, 6)], ids=str)
@pytest.mark.parametrize("neuron", ["relu", "logistic"])
def test_with_the_neurons_beside_it(be, shape, neuron):
    images, kernel, out, how = geometry(*shape)
    x, w, g, activation = values(*images), values(*kernel, seed=1), values(*out, seed=2), Activation(neuron)
    y = run_op(ORACLE, "neuron_forward", [x], x, activation=activation).astype(np.float32)
    compare(be, "conv_forward", [x, w], out, activation=activation, **how)
    compare(be, "conv_input_grad", [g, w], images, slope=Slope(activation, y), **how)


@pytest.mark.parametrize("kernels", [name.removeprefix("cpu-") for name in BACKENDS if name.startswith("cpu-")])
def test_targets_that_no_cache_keeps(kernels):
    """They are stored past the caches: the same bits as in two halves, which a cache may keep."""
    images, kernel, out, how = geometry(8, 33, 128, 8, 3, 1, 1, 1)
    x, w, g, relu = values(*images), values(*kernel, seed=1), values(*out, seed=2), Activation("relu")
    be = Cpu(2, kernels, "exact")

    def run(first, last):
        images, grad, nothing = x[..., first:last], g[..., first:last], np.full((*out[:3], last - first), np.nan)
        yield run_op(be, "conv_forward", [images, w], nothing, biases=values(8, seed=3), activation=relu, **how)
        yield run_op(be, "conv_input_grad", [grad, w], nothing, slope=Slope(relu, images), **how)
        yield run_op(be, "conv_input_grad", [grad, w], nothing, **how)

    for whole, *halves in zip(run(0, 128), run(0, 64), run(64, 128), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(halves, axis=-1))


@pytest.mark.parametrize(
    "shape", [SHAPES[0], *(pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[1:])], ids=str
)
@each_tf32_backend
def test_ops_in_tf32(be, shape):
    """Tensor cores see rounded inputs and add in float32: equal to the oracle on rounded inputs, near it on others."""
    images, kernel, out, how = geometry(*shape)
    x, w, g = values(*images), values(*kernel, seed=1), values(*out, seed=2)
    for op, given, target in passes(x, w, g):
        rounded = [as_tf32(array).astype(np.float64) for array in given]
        compare(be, op, rounded, target, **how)
        exact = run_op(ORACLE, op, given, np.zeros(target), **how)
        found = run_op(be, op, given, np.zeros(target), **how)
        assert_close(found, run_op(ORACLE, op, rounded, np.zeros(target), **how))
        assert np.abs(found - exact).max() <= 2e-3 * np.abs(exact).max()
        assert np.abs(found - exact).max() > 0 or not exact.any()


@pytest.mark.parametrize("shape", [SHAPES[3], pytest.param(SHAPES[6], marks=pytest.mark.slow)], ids=str)
@each_tf32_backend
def test_local_in_tf32(be, shape):
    """Filters of their own for each window are rounded as they are read."""
    images, kernel, out, how = geometry(*shape)
    kernel = (out[1] * out[2], *kernel)
    x, w, g = (values(*dims, seed=seed) for seed, dims in enumerate((images, kernel, out)))
    for op, given, target in passes(x, w, g):
        rounded = [as_tf32(array).astype(np.float64) for array in given]
        compare(be, op, rounded, target, **how)
        found = run_op(be, op, given, np.zeros(target), **how)
        assert_close(found, run_op(ORACLE, op, rounded, np.zeros(target), **how))


@each_tf32_backend
def test_not_a_number_stays_one_in_tf32(be):
    """Rounded as an integer, the NaN that devices compute with, all ones, would become -0."""
    shape = (4, 3, 8, 4, 3, 1, 1, 1)
    images, kernel, out, how = geometry(*shape)
    x, w, g = values(*images), values(*kernel, seed=1), values(*out, seed=2)
    ones, infinite = np.full(1, -1, np.int32).view(np.float32)[0], np.float32(np.inf)
    for wrong in (ones, -ones, np.float32(np.nan), infinite):
        for op, given, target in passes(x, w, g):
            for which in (0, 1):
                spoilt = [np.float32(array) for array in given]
                spoilt[which].flat[0] = wrong
                with np.errstate(invalid="ignore"):
                    exact = run_op(ORACLE, op, [array.astype(np.float64) for array in spoilt], np.zeros(target), **how)
                found = run_op(be, op, spoilt, np.zeros(target), **how)
                assert not np.isfinite(exact).all() and not np.isfinite(found[~np.isfinite(exact)]).any()


TILES = [
    *(Tile.of(*sizes, tensor=True, k_major=False) for sizes in [(96, 128, 96, 32), (192, 128, 96, 32), (128, 128, 64, 64)]),
    *(Tile.of(*sizes, tensor=True, k_major=True) for sizes in [(64, 96, 32, 48), (128, 192, 64, 48), (256, 128, 64, 64)]),
    *(Tile.of(*sizes, tensor=False, k_major=False) for sizes in [(48, 128, 8, 8), (128, 128, 8, 8)]),
    Tile.of(96, 128, 8, 8, tensor=False, k_major=True),
    # Slices that a measured table may ask for.
    *(Tile(64, 128, 32, 64, True, k_major, BK, stages) for k_major in (False, True) for BK, stages in [(32, 2), (16, 4)]),
    Tile(64, 128, 8, 8, False, False, 8, 5),
]


MEASURED = {choice.tile for choice in table_for(90, 132).values()}


def use_of(tile):
    return f"{'TF32' if tile.tensor else 'float32'} {'weight gradients' if tile.k_major else 'others'}"


def name_of(tile):
    return tile if isinstance(tile, str) else f"{tile.BM}x{tile.BN}x{tile.BK}-{tile.STAGES}{'-tf32' if tile.tensor else ''}"


@pytest.mark.slow
@pytest.mark.parametrize("use, tile", [(use_of(tile), tile) for tile in sorted({*TILES, *MEASURED}, key=repr)], ids=name_of)
@each_tf32_backend
def test_large_tiles(be, use, tile, monkeypatch):
    """Tiles that only large layers are given, whatever device is at hand; sums longer than the list of rows."""
    monkeypatch.setattr(conv, "tile_for", lambda *_, **__: tile)
    monkeypatch.setattr(tiles, "LIST", 64)
    if tile in MEASURED:
        monkeypatch.setitem(device._SHARED, "tf32", 227 << 10)  # of the devices with that table
    be = be if tile.tensor else BACKENDS["cuda" if be.device.capability else "cuda-emulated"]
    images, kernel, out, how = geometry(36, 2, 132, 200, 3, 1, 1, 1)
    given = [array if not tile.tensor else as_tf32(array) for array in (values(*images), values(*kernel), values(*out))]
    x, w, g = (array.astype(np.float64) for array in given)
    if tile.k_major:
        compare(be, "conv_weight_grad", [x, g], kernel, scales=False, **how)
    else:
        compare(be, "conv_forward", [x, w], out, scales=False, **how)
        compare(be, "conv_input_grad", [g, w], images, scales=False, **how)


@each_backend
@pytest.mark.parametrize("layer, shape", [("conv", SHAPES[4]), ("conv", SHAPES[6]), ("local", SHAPES[3])], ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_biases(be, layer, shape, shared):
    """One per filter, or one per output, added to the blended sums."""
    images, kernel, out, how = geometry(*shape)
    kernel = (out[1] * out[2], *kernel) if layer == "local" else kernel
    biases = values(out[0] if shared else out[0] * out[1] * out[2], seed=3)
    x, w, before = values(*images), values(*kernel, seed=1), values(*out, seed=2)
    plain = run_op(ORACLE, "conv_forward", [x, w], before, 0.5, **how)
    expected = plain + biases.reshape(out[0], *(1, 1) if shared else out[1:3], 1)
    found = run_op(be, "conv_forward", [x, w], before, 0.5, biases=be.upload(biases), **how)
    assert_close(found, expected)
    how |= {"biases": be.upload(biases), "activation": Activation("relu")}
    assert_close(run_op(be, "conv_forward", [x, w], before, 0.5, **how), np.maximum(expected, 0))


@each_backend
@pytest.mark.parametrize("groups, Cf", [(2, 4), (4, 8), (4, 4)])
def test_random_connections(be, groups, Cf):
    C, S, N, F, k = 8, 5, 9, 4 * groups, 3
    random = np.random.RandomState(0)
    conns = np.concatenate([random.permutation(C) for _ in range(groups * Cf // C)])
    x, w, g = values(C, S, S, N), values(Cf, k, k, F), values(F, S, S, N, seed=1)
    how = {"geometry": Geometry(1, 1, groups, conns)}
    compare(be, "conv_forward", [x, w], g.shape, **how)
    compare(be, "conv_input_grad", [g, w], x.shape, slope=Slope(Activation("relu"), x), **how)
    compare(be, "conv_input_grad", [g, w], x.shape, **how)
    compare(be, "conv_weight_grad", [x, g], w.shape, **how)


def test_forward_by_hand():
    """One filter of ones sums each window; taps outside the image count as zero."""
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    out = run_op(ORACLE, "conv_forward", [x, np.ones((1, 2, 2, 1))], np.empty((1, 2, 2, 1)), geometry=Geometry(0, 2))
    np.testing.assert_array_equal(out.reshape(2, 2), [[12, 9], [15, 9]])


@pytest.mark.parametrize(
    "side, padding, size, stride, modules",
    [(224, 0, 11, 4, 55), (227, 0, 11, 4, 55), (32, 2, 5, 1, 32), (27, 2, 5, 1, 27), (13, 1, 3, 1, 13), (11, 0, 5, 4, 3)],
)
def test_modules(side, padding, size, stride, modules):
    """Numerics 24.5."""
    text = f"""
[data]
type=data
dataIdx=0
[conv]
type=conv
inputs=data
channels=1
filters=2
filterSize={size}
padding={padding}
stride={stride}
initW=0.1
[cost]
type=cost.sum2
inputs=conv
"""
    graph = make_graph(text, {0: side * side})
    assert graph.layers["conv"].modulesX == modules


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[below]
type=conv
inputs=data
channels=2
filters=4
filterSize=2
initW=0.5
sharedBiases={shared}
[conv]
type=conv
inputs=below,data
channels=4,2
filters=3,3
filterSize=3,3
padding=1,1
stride=2,2
groups=2,2
initW=0.5,0.7
initB=0.3
sharedBiases={shared}
[fc]
type=fc
inputs=conv
outputs=4
initW=0.5
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
"""


@pytest.mark.parametrize("shared", [0, 1])
def test_gradients(shared):
    inputs = [values(2 * 7 * 7, 5), np.array([[0.0, 1, 2, 3, 1]])]
    assert_gradients(NET.format(shared=shared), inputs, classes=4)
