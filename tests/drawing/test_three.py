"""Figure 3: the kernels of the first layer, tower above tower, each where it should be and with a contrast of its own."""

import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from nets import DATA, cost_of
from PIL import Image
from support import write_net

import convnet
from convnet.checkpoint import load
from convnet.cli import main
from convnet.drawing.figures.three import figure_three

K, F = 5, 48


def conv(name):
    keys = f"channels=3\nfilters={F}\nfilterSize={K}\npadding=2\nstride=1\ninitW=0.01\n"
    return f"[{name}]\ntype=conv\ninputs=data\n{keys}"


FC = "[fc]\ntype=fc\ninputs=conv1a,conv1b\noutputs=10\ninitW=0.01,0.01\n"
NET = DATA + conv("conv1a") + conv("conv1b") + FC + cost_of("fc")
PARAMS = "[DEFAULT]\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\ncoeff=1\n[fc]\nepsW=0.1,0.1\nmomW=0,0\n"
SPOTS = {("conv1a", 17): (1, 3, 0), ("conv1b", 5): (2, 0, 2)}  # (row, column, channel) of one bright weight


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of kernels of little noise, the same in all but for one weight of two of them."""
    folder = tmp_path_factory.mktemp("three")
    net = convnet.build(write_net(folder, NET, PARAMS), side=8, backend="reference")
    noise = np.random.RandomState(0).randn(3, K, K).astype(np.float32)
    for name in ("conv1a", "conv1b"):
        kernels = np.repeat(noise[..., None], F, axis=-1)
        kernels *= np.linspace(0.01, 1, F, dtype=np.float32)  # of any size: each has its own contrast
        for (layer, f), (y, x, c) in SPOTS.items():
            if layer == name:
                kernels[c, y, x, f] = 40
        net.weights[name][0] = kernels.reshape(3 * K * K, F)
    return net.save(folder / "c" / "1.1")


def test_kernels_stand_where_the_paper_has_them(saved):
    scene = figure_three(load(saved))
    [raster] = scene.shapes
    pixels = np.asarray(raster.image).astype(int)
    assert pixels.shape == (6 * (K + 1) + 1, 16 * (K + 1) + 1, 3) and raster.is_pixelated
    assert scene.title == f"96 kernels of size 3x{K}x{K} of conv1a, conv1b"
    assert pixels[:: K + 1].max() == pixels[:, :: K + 1].max() == 0  # gaps
    for (layer, f), (y, x, c) in SPOTS.items():
        row = f // 16 + 3 * (layer == "conv1b")
        spot = pixels[row * (K + 1) + 1 + y, f % 16 * (K + 1) + 1 + x]
        assert spot[c] >= 250 and np.delete(spot, c).max() < 100
    assert (pixels >= 250).sum() == len(SPOTS)
    first, last = pixels[1 : K + 1, 1 : K + 1], pixels[13 : 13 + K, 15 * (K + 1) + 1 : -1]
    np.testing.assert_allclose(first, last, atol=1)  # a hundred times as large, and shown alike


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_verb_writes_each_form(saved, form, tmp_path):
    out = tmp_path / f"three.{form}"
    assert main(["figure", "3", str(saved), "--out", str(out)]) == 0
    if form == "pdf":
        assert out.read_bytes().startswith(b"%PDF")
        return
    if form == "svg":
        [image] = ET.parse(out).getroot().findall(".//{*}image")
        href = image.get("href") or image.get("{http://www.w3.org/1999/xlink}href")
        with Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2]))) as picture:
            assert picture.width % 97 == 0
        return
    with Image.open(out) as picture:
        size = picture.width / 97
        (y, x, c), row = SPOTS["conv1b", 5], 3
        at = [round((cell * (K + 1) + 1 + place + 0.5) * size) for cell, place in ((5, x), (row, y))]
        assert picture.convert("RGB").getpixel(tuple(at))[c] > 240


def test_what_has_no_kernels(tmp_path, capsys):
    fc = f"{DATA}[fc]\ntype=fc\ninputs=data\noutputs=10\ninitW=0.1\n{cost_of('fc')}"
    net = write_net(tmp_path, fc, PARAMS.partition("[fc]")[0])
    path = convnet.build(net, side=8).save(tmp_path / "1.1")
    filters = "no layer with filters, which Figure 3 would show"
    for run, told in ((path, filters), ("layers-digits.cfg", "no checkpoint"), (net, f"learned: {net} is no checkpoint")):
        assert main(["figure", "3", str(run), "--out", str(tmp_path / "x.svg")]) in (1, 2)
        assert told in capsys.readouterr().err
