"""Image layers: worked values, oracle, transposes, gradients by differences."""

import numpy as np
import pytest
from support import (
    BACKENDS,
    ORACLE,
    assert_gradients,
    compare,
    default_params,
    each_backend,
    make_graph,
    problems_of,
    run_op,
    values,
)

from convnet.data.images import Crops
from convnet.errors import ConvnetError
from convnet.layers.modes import Mode
from convnet.net.net import Net


@each_backend
@pytest.mark.parametrize("C, S, N", [(3, 8, 5), (1, 1, 1), (2, 13, 70)])
def test_ops(be, C, S, N):
    x = values(C, S, S, N)
    compare(be, "blur", [x], x.shape, taps=[0.1, 0.2, 0.4, 0.2, 0.1])
    compare(be, "mirror", [x], x.shape)
    if S > 3:
        O = -(-S // 3)
        start = (S - 3 * (O - 1)) // 2
        compare(be, "nailbed_forward", [x], (C, O, O, N), start=start, stride=3, scales=False)
        compare(be, "nailbed_input_grad", [values(C, O, O, N)], x.shape, start=start, stride=3)
        compare(be, "crop", [x], (C, 3, 3, N), 1, 0, scales=False)
        for scale in (0.5, 1.3, 2.0):
            T = int(S / scale)
            compare(be, "resize", [x], (C, T, T, N), scale, scales=False)


@each_backend
def test_colors(be):
    x = values(3, 4, 4, 6, low=0.0)
    compare(be, "rgb2yuv", [x], x.shape, scales=False)
    for center in (False, True):
        compare(be, "rgb2lab", [x], x.shape, center, scales=False)


def test_white_and_black():
    """Numerics 11.5: white has lightness near 100 and no color, black lightness 0."""
    x = np.array([1.0, 0.0])[None, None, :, None] * np.ones((3, 1, 2, 1))
    lab = run_op(ORACLE, "rgb2lab", [x], np.empty_like(x), False)
    np.testing.assert_allclose(lab[:, 0, 0, 0], [100, 0, 0], atol=1e-9)
    np.testing.assert_allclose(lab[:, 0, 1, 0], [116 * 0.13793103 - 16, 0, 0], atol=1e-9)


def one_layer(layer, side, channels=3):
    text = f"[data]\ntype=data\ndataIdx=0\n[image]\ninputs=data\n{layer}\n[cost]\ntype=cost.sum2\ninputs=image\n"
    return make_graph(text, {0: channels * side * side})


def test_blur_filter():
    """Numerics 24.9."""
    graph = one_layer("type=blur\nchannels=3\nfilterSize=5\nstdev=2", 8)
    np.testing.assert_allclose(graph.layers["image"].taps(), [0.152469, 0.221841, 0.251379, 0.221841, 0.152469], atol=1e-6)


@pytest.mark.parametrize("side, stride, outputs, start", [(27, 2, 14, 0), (224, 3, 75, 1), (8, 3, 3, 1)])
def test_bed_of_nails(side, stride, outputs, start):
    """Numerics 24.9."""
    layer = one_layer(f"type=nailbed\nchannels=3\nstride={stride}", side).layers["image"]
    assert (layer.maps, layer.start) == ((3, outputs), start)


def test_random_scales():
    """Numerics 24.9: 33 scales, drawn with probability proportional to the square of their rank."""
    layer = one_layer(f"type=rscale\nchannels=3\nmaxScale={256 / 224}\ntgtSize=224", 256).layers["image"]
    draws = [layer._draw_excess(u) for u in np.linspace(0, 1, 12529, endpoint=False) + 1e-9]
    counts = np.bincount(draws)
    np.testing.assert_array_equal(counts, np.arange(1, 34) ** 2)
    assert counts.sum() == 12529


@each_backend
def test_random_scale_passes(be):
    net = Net(one_layer("type=rscale\nchannels=3\nmaxScale=1.5\ntgtSize=6", 9), be, minibatch=2, seed=5)
    x = values(3 * 9 * 9, 2).astype(np.float32)
    net.forward([x], 2, Mode.TEST, keep=["image"])
    centre = x.reshape(3, 9, 9, 2)[:, 1:7, 1:7]
    np.testing.assert_array_equal(net.output("image").reshape(3, 6, 6, 2), centre)
    net.forward([x], 2, Mode.TRAIN)
    trained = net.output("image")
    assert np.isfinite(trained).all() and x.min() - 1e-5 <= trained.min() and trained.max() <= x.max() + 1e-5


BELOW = "[fc]\ntype=fc\ninputs=data\noutputs=75\ninitW=0.5\n"


@pytest.mark.parametrize(
    "layer", ["type=blur\nchannels=3\nfilterSize=3\nstdev=1", "type=nailbed\nchannels=3\nstride=2", "type=href\nchannels=3"]
)
def test_gradients(layer):
    text = f"[data]\ntype=data\ndataIdx=0\n{BELOW}[image]\ninputs=fc\n{layer}\n[cost]\ntype=cost.sum2\ninputs=image\n"
    assert_gradients(text, [values(6, 4)])


@each_backend
@pytest.mark.parametrize("dialect", ["2012", "2014"])
def test_random_scale_when_testing(be, dialect):
    """Numerics 11.6: 2012 crops the centre, 2014 shrinks by maxScale; with nothing to shrink both copy."""
    layer, x = "type=rscale\nchannels=1\nmaxScale={}\ntgtSize={}", values(81, 2)
    text = "[data]\ntype=data\ndataIdx=0\n[image]\ninputs=data\n{}\n[cost]\ntype=cost.sum2\ninputs=image\n"
    for scale, side in ((1.5, 6), (1, 9)):
        net = Net(make_graph(text.format(layer.format(scale, side)), {0: 81}, dialect=dialect), be, minibatch=2)
        net.forward([x.astype(np.float32)], 2, Mode.TEST, keep=["image"])
        found, image = net.output("image").reshape(side, side, 2), x.reshape(1, 9, 9, 2)
        shrunk = run_op(ORACLE, "resize", [image], np.empty((1, side, side, 2)), scale)[0]
        centre = image[0, (9 - side) // 2 :, (9 - side) // 2 :][:side, :side]
        np.testing.assert_allclose(found, shrunk if dialect == "2014" and side < 9 else centre, rtol=1e-5, atol=1e-5)


def test_grey_has_no_colour():
    """Numerics 11.4: luminance of a grey is itself, both differences vanish; and the three columns of the matrix."""
    x = np.full((3, 1, 1, 1), 0.7)
    np.testing.assert_allclose(run_op(ORACLE, "rgb2yuv", [x], x).ravel(), [0.7, 0, 0], atol=1e-12)
    columns = [[0.2126, -0.09991, 0.615], [0.7152, -0.33609, -0.55861], [0.0722, 0.436, -0.05639]]
    for channel, column in enumerate(columns):
        one = np.zeros((3, 1, 1, 1))
        one[channel] = 1
        np.testing.assert_allclose(run_op(ORACLE, "rgb2yuv", [one], x).ravel(), column)


def test_resize_by_hand():
    """Numerics 11.3: four pixels to two and to eight, where sources stop at S - 1.01."""
    x = np.arange(4.0)[None, None, :, None] * np.ones((1, 4, 1, 1))
    out = run_op(ORACLE, "resize", [x], np.empty((1, 2, 2, 1)), 2.0)
    np.testing.assert_allclose(out[0, 0, :, 0], [0, 2])
    out = run_op(ORACLE, "resize", [x], np.empty((1, 8, 8, 1)), 0.5)
    np.testing.assert_allclose(out[0, 0, :, 0], [0, 0.5, 1, 1.5, 2, 2.5, 2.99, 2.99])


@each_backend
def test_crop_and_mirror_layers(be):
    x = values(3 * 49, 2).astype(np.float32)
    image = x.reshape(3, 7, 7, 2)
    for layer, expected in (
        ("type=crop\nchannels=3\nstartX=1\nstartY=3\nsizeX=4", image[:, 3:7, 1:5]),
        ("type=crop\nchannels=3\nstartX=2\nsizeX=4", image[:, 2:6, 2:6]),
        ("type=href\nchannels=3", image[:, :, ::-1]),
        ("type=nailbed\nchannels=3\nstride=3", image[:, ::3, ::3]),
    ):
        net = Net(one_layer(layer, 7), be, minibatch=2)
        net.forward([x], 2, Mode.TEST, keep=["image"])
        np.testing.assert_array_equal(net.output("image").reshape(expected.shape), expected)


def test_forward_only_layers_refuse_to_stand_over_weights():
    """Numerics 11.3 to 11.6: no gradient passes them."""
    forward_only = ("resize\nscale=1.5", "rscale\nmaxScale=1.2\ntgtSize=4", "crop\nstartX=0\nsizeX=2", "rgb2yuv", "rgb2lab")
    for layer in forward_only:
        text = f"[data]\ntype=data\ndataIdx=0\n{BELOW}[image]\ninputs=fc\nchannels=3\ntype={layer}\n"
        text += "[cost]\ntype=cost.sum2\ninputs=image\n"
        errors = problems_of(text, default_params(text), {0: 6}).errors
        assert [error.message for error in errors if "passes no gradient down" in error.message], layer


def test_a_type_without_an_engine_can_be_read_but_not_run():
    """Numerics 5.7."""
    with pytest.raises(ConvnetError, match="layer 'image': sum can be read but not run"):
        Net(one_layer("type=sum\nstride=3", 4), ORACLE)


@pytest.mark.parametrize("be", [be for name, be in BACKENDS.items() if name == "cuda-emulated"])
def test_the_mean_picture_is_copied_once(be, monkeypatch):
    """Another array is another mean, at the same address too."""
    uploaded, upload, mean = [], be.device.upload, np.ones((3, 4, 4), np.float32)
    monkeypatch.setattr(be.device, "upload", lambda values: uploaded.append(values.shape) or upload(values))
    pixels, out = np.full((2, 4, 4, 3), 9, np.uint8), be.empty((3, 4, 4, 2))

    def packed(mean):
        zeros = np.zeros(2, int)
        be.pack_images(pixels, Crops(zeros, zeros, zeros, mean, np.zeros((2, 3), np.float32)), out)
        return be.download(out)

    for value in (1, 1, 5, 7):
        if value > 1:
            del mean
            mean = np.full((3, 4, 4), value, np.float32)
        np.testing.assert_array_equal(packed(mean), 9 - value)
    assert uploaded.count((3, 4, 4)) == 3
