"""No op gets arrays or sizes that it does not fit, on any backend: the table of ``convnet.backends.checks``."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from op_calls import Maker, perform, spoil
from support import ORACLE, ROOT, each_backend

from convnet.backends.arguments import Criterion, Geometry, Window
from convnet.backends.base import Backend
from convnet.backends.checks import MOST, OPS
from convnet.data.images import Crops
from convnet.errors import ArrayError, ConvnetError

WITHOUT_SHAPES = {
    *("empty", "upload", "download", "cost_vector", "connections"),  # nothing to fit
    *("fill", "all_finite", "mean_magnitude"),  # one array of any shape
}


def test_every_op_is_in_the_table():
    assert set(OPS) == Backend.__abstractmethods__ - WITHOUT_SHAPES | {"copy_from"}
    for name, op in OPS.items():
        assert set(op.arrays) <= set(inspect.signature(getattr(Backend, name)).parameters), name


@each_backend
def test_every_op_is_guarded(be):
    assert not [name for name in OPS if not hasattr(getattr(be, name), "is_guarded") and name != "copy_from"]


@each_backend
@pytest.mark.parametrize("op", [op for op in OPS if op != "copy_from"])
def test_wrong_calls_are_refused(be, op):
    """What the table lets through is computed as the reference does; all else is an ``ArrayError``, the same everywhere."""
    refused = 0
    for seed in range(8 if be.name == "cuda" else 25):
        call = Maker(seed).make(op)
        with np.errstate(all="ignore"):
            for tried in (call, spoil(call, np.random.RandomState(seed))[0]):
                expected, found = perform(ORACLE, tried), perform(be, tried)
                refused += isinstance(found, str)
                if isinstance(expected, str) or isinstance(found, str):
                    assert expected == found and tried is not call
                    assert found.startswith(f"{op}: ") and "\n" not in found
                else:
                    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-3)
                    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * scale)
    assert refused >= 4


def seen_as(*shape):
    """An array of any size that takes no memory."""
    return np.broadcast_to(np.zeros((), np.float32), shape)


@each_backend
@pytest.mark.parametrize("N", [0, MOST + 1, 2**31, 2**40])
def test_numbers_of_cases(be, N):
    images, small, geometry = seen_as(2, 3, 3, N), seen_as(2, 3, 3, N), Geometry(0, 1)
    weights = seen_as(2, 1, 1, 2)
    calls = [
        lambda: be.conv_forward(images, weights, small, geometry=geometry),
        lambda: be.conv_input_grad(small, weights, images, geometry=geometry),
        lambda: be.conv_weight_grad(images, small, weights, geometry=geometry),
        lambda: be.conv_weight_grad(images, small, seen_as(9, 2, 1, 1, 2), geometry=geometry),
        lambda: be.pool_forward("max", images, small, window=Window(1, 0, 1)),
        lambda: be.softmax_forward(seen_as(3, N), seen_as(3, N)),
        lambda: be.cost_forward(
            seen_as(1, N), seen_as(3, N), np.zeros(3), criterion=Criterion("logreg")
        ),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ArrayError, match=r"each length from 1 to 536,870,912"):
            call()


@each_backend
@pytest.mark.parametrize("sides", [(2**16, 2**16), (2**20, 2**12), (3, 2**28)])
def test_maps_of_too_many_pixels(be, sides):
    images, window = seen_as(1, *sides, 1), Window(1, 0, 1)
    for call in (
        lambda: be.pool_forward("max", images, images, window=window),
        lambda: be.pool_avg_input_grad("avg", images, images, window=window),
        lambda: be.conv_forward(images, seen_as(1, 1, 1, 1), images, geometry=Geometry(0, 1)),
        lambda: be.mirror(images, images),
        lambda: be.resize(images, images, 1.0),
        lambda: be.blur(images, images, taps=[1.0]),
    ):
        with pytest.raises(ArrayError, match="are too large"):
            call()


@each_backend
def test_cmpool_outside_its_channels(be):
    images, window = be.zeros((3, 2, 2, 5)), Window(2, 0, 4)
    with pytest.raises(ConvnetError, match="16 windows of 2 channels every 4 from 0 leave the 3 channels"):
        be.cmpool_forward(images, be.zeros((16, 2, 2, 5)), window=window)


@each_backend
@pytest.mark.parametrize("field, value", [("tops", 1), ("tops", -1), ("lefts", 2**31), ("lefts", -(2**40))])
def test_crops_outside_pictures(be, field, value):
    places = {"tops": np.zeros(2, int), "lefts": np.zeros(2, int)} | {field: np.array([0, value])}
    crops = Crops(**places, flips=np.zeros(2, np.uint8), mean=np.zeros((3, 4, 4), np.float32), shifts=np.zeros((2, 3)))
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ArrayError, match="leave pictures of 4"):
        be.pack_images(pixels, crops, be.empty((3, 4, 4, 2)))
    with pytest.raises(ArrayError, match="not bytes"):
        be.pack_images(pixels.astype(np.int64), crops, be.empty((3, 4, 4, 2)))


@each_backend
def test_wrong_shifts_are_not_read(be):
    """``color_pca`` of two channels: the kernel would read a third beyond the array."""
    zeros = np.zeros(2, int)
    crops = Crops(zeros, zeros, np.zeros(2, np.uint8), np.zeros((3, 4, 4), np.float32), np.zeros((2, 2), np.float32))
    with pytest.raises(ArrayError, match="shifts of crops has shape"):
        be.pack_images(np.zeros((2, 4, 4, 3), np.uint8), crops, be.empty((3, 4, 4, 2)))


@each_backend
@pytest.mark.parametrize("label", [-1, 3, 7, 1e9, -1e30, 1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["logreg", "msm"])
def test_labels_that_are_none_of_the_classes(be, label, kind):
    """Such a label has probability 0; nothing outside the scores is read."""
    labels, scores = be.upload(np.float32([[1, label]])), be.upload(np.float32([[0.2, 0.1], [0.7, 0.6], [0.1, 0.3]]))
    costs, grad = be.cost_vector(3), be.zeros((3, 2))
    with np.errstate(all="ignore"):
        be.cost_forward(labels, scores, costs, criterion=Criterion(kind))
    assert be.download(costs)[0] == np.inf
    if kind == "logreg":
        assert be.download(costs)[1] == 1
        be.cost_input_grad(labels, scores, grad, criterion=Criterion("logreg"))
        np.testing.assert_allclose(be.download(grad), [[0, 0], [1 / 0.7, 0], [0, 0]], rtol=1e-5)


@each_backend
def test_connections_outside_the_channels(be):
    images, weights, out = be.zeros((4, 3, 3, 2)), be.zeros((2, 1, 1, 2)), be.zeros((2, 3, 3, 2))
    for channels in ([0, 4], [-1, 0], [0, 1, 2], [0]):
        with pytest.raises(ArrayError, match="connections must name one of 4 channels for each of 2 slots"):
            be.conv_forward(images, weights, out, geometry=Geometry(0, 1, 1, be.connections(channels)))


def test_arrays_that_c_cannot_read():
    from convnet.backends.cpu import Cpu

    be, x = Cpu(1), np.zeros((4, 6), np.float32)
    odd = np.zeros(4 * 24 + 1, np.uint8)[1:].view(np.float32).reshape(4, 6)
    for wrong in (x.astype(np.float64), x.astype(np.int32), x.astype(">f4"), odd):
        with pytest.raises(ArrayError, match="expected a float32 array"):
            be.add(wrong, x)
    with pytest.raises(ArrayError, match="add: 'x' is a list; expected an array"):
        be.add(x.tolist(), x)
    for wrong in (np.zeros((6, 4), np.float32).T, np.zeros((4, 12), np.float32)[:, ::2]):
        with pytest.raises(ArrayError, match="expected a C-ordered array"):
            be.add(wrong, x)


def test_checks_do_not_depend_on_assertions():
    program = (
        "import numpy as np\nfrom convnet.backends import make_backend\nbe = make_backend('cpu', 1)\n"
        "try:\n    be.softmax_forward(be.zeros((3, 0)), be.zeros((3, 0)))\n"
        "except ValueError as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "ArrayError\n"
