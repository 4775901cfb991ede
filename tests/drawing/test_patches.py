"""What excites maps most: planted templates are found in the pictures and at the places where they were put."""

from types import SimpleNamespace

import numpy as np
import pytest
from nets import DATA, cost_of
from PIL import Image
from support import dump, write_net

import convnet
from convnet.checkpoint import load
from convnet.cli import shownet
from convnet.drawing.patch_scene import patch_scene
from convnet.drawing.patches import OUTSIDE, PATCHES, TopPatches, _take, cut, top_patches
from convnet.drawing.samples import TestSet
from convnet.drawing.shapes import Raster, Words
from convnet.errors import ConvnetError, OptionError

SIDE, CASES = 12, 20
NET = f"""{DATA}[conv1]
type=conv
inputs=data
channels=3
filters=4
filterSize=3
padding=1
stride=STRIDE
initW=0.01
neuron=relu
[pool1]
type=pool
pool=max
inputs=conv1
channels=4
sizeX=2
stride=2
[fc]
type=fc
inputs=pool1
outputs=10
initW=0.01
{cost_of("fc")}"""
PARAMS = "[DEFAULT]\nepsW=0\nepsB=0\nmomW=0\nmomB=0\nwc=0\ncoeff=1\n"
# (batch, case, row and column of the template's middle) by map; map 2 sees it at the picture's corner, half outside
PLANTED = {0: (1, 7, 5, 3), 1: (3, 11, 2, 8), 2: (2, 0, 0, 0), 3: (2, 19, 9, 9)}


def templates():
    """A template of its own for each map, of -1 and 1: (3, 3, 3, 4)."""
    return np.sign(np.random.RandomState(5).randn(3, 3, 3, 4))


def write_data(folder):
    """Grey pictures of little noise, 20 in each of four batches, with each map's template in one of them."""
    random = np.random.RandomState(0)
    folder.mkdir()
    for number in range(1, 5):
        pictures = 128 + random.randint(-3, 4, (3, SIDE, SIDE, CASES))
        for f, (batch, case, row, column) in PLANTED.items():
            if batch == number:
                ys, xs = (slice(max(at - 1, 0), at + 2) for at in (row, column))
                part = templates()[:, ys.start - row + 1 :, xs.start - column + 1 :, f]
                pictures[:, ys, xs, case] = 128 + 100 * part
        labels = [int(label) for label in random.randint(0, 10, CASES)]
        dump(folder / f"data_batch_{number}", {"data": pictures.reshape(-1, CASES).astype(np.uint8), "labels": labels})
    mean = np.full((3 * SIDE * SIDE, 1), 128, np.float32)
    names = [f"class {c}" for c in range(10)]
    dump(folder / "batches.meta", {"label_names": names, "num_vis": len(mean), "data_mean": mean})
    return folder


@pytest.fixture(scope="module", params=[1, 2])
def planted(request, tmp_path_factory):
    """(stride, checkpoint, data) of a net whose filters are the templates."""
    folder = tmp_path_factory.mktemp("patches")
    text = NET.replace("STRIDE", str(request.param))
    net = convnet.build(write_net(folder, text, PARAMS), side=SIDE, backend="reference")
    net.weights["conv1"][0] = templates().reshape(27, 4).astype(np.float32)
    path = net.save(folder / "c" / "1.1")
    return request.param, path, write_data(folder / "data")


def opened(planted):
    _, path, data = planted
    options = {"backend": "reference", "data_path": str(data), "train_range": [4], "test_range": [1, 2, 3]}
    return TestSet.open(load(path), options)


def picture(data, batch, case):
    from convnet.data.batches import read_batch

    return read_batch(data / f"data_batch_{batch}")["data"].reshape(3, SIDE, SIDE, -1)[..., case].transpose(1, 2, 0)


@pytest.mark.parametrize("layer", ["conv1", "pool1"])
def test_a_planted_patch_is_found_where_it_is(planted, layer):
    stride, _, data = planted
    found = top_patches(opened(planted), layer)
    assert (found.numbers, found.cases, found.names[3:]) == ([0, 1, 2, 3], 60, ["map 3"])
    size, step = {"conv1": (3, stride), "pool1": (3 + stride, 2 * stride)}[layer]
    assert (found.sight.size, found.sight.step, found.sight.start) == (size, step, (-1, -1))
    for f, (batch, case, row, column) in PLANTED.items():
        best = found.patches[f][0]
        if stride == 1 or not (row % 2 or column % 2):  # else no window lies on it
            assert (best.batch, best.case) == (batch, case)
            top, left = (at * step - 1 for at in best.place)
            assert top <= row - 1 and row + 2 <= top + size and left <= column - 1 and column + 2 <= left + size
        whole = picture(data, best.batch, best.case)
        top, left = (at * step - 1 for at in best.place)
        for y in range(size):
            for x in range(size):
                is_inside = 0 <= top + y < SIDE and 0 <= left + x < SIDE
                expected = whole[top + y, left + x] if is_inside else OUTSIDE
                np.testing.assert_array_equal(best.pixels[y, x], expected)
    if layer == "conv1" and stride == 1:
        corner = found.patches[2][0]
        assert corner.place == (0, 0) and (corner.pixels[0] == OUTSIDE).all() and (corner.pixels[:, 0] == OUTSIDE).all()
        np.testing.assert_array_equal(found.patches[0][0].pixels, 128 + 100 * templates()[..., 0].transpose(1, 2, 0))


def test_the_strongest_come_first_and_one_of_a_picture(planted):
    tests = opened(planted)
    found = top_patches(tests, "conv1")
    outputs = []
    for number in (1, 2, 3):
        tests.number = number
        [values] = tests.outputs(["conv1_neuron"])
        outputs += list(values.reshape(4, -1, CASES).max(axis=1).T)  # [case, map]
    for m, kept in enumerate(found.patches):
        values = [patch.value for patch in kept]
        np.testing.assert_allclose(values, np.sort(np.array(outputs)[:, m])[::-1][:PATCHES])
        assert len({(patch.batch, patch.case) for patch in kept}) == PATCHES


def test_fully_connected_outputs_show_whole_pictures(planted):
    found = top_patches(opened(planted), "fc", [3, 1])
    assert found.sight is None and found.numbers == [3, 1] and found.names[3] == "class 3"
    best = found.patches[0][0]
    np.testing.assert_array_equal(best.pixels, picture(planted[2], best.batch, best.case))
    words = [shape.text for shape in patch_scene(found).shapes if isinstance(shape, Words)]
    assert "class 3" in words and words.index("class 3") < words.index("class 1")


@pytest.mark.parametrize(
    "numbers, told", [([4], "--maps 4: layer 'conv1' has 4 maps"), (list(range(17)), "has 4 maps, counted from 0")]
)
def test_maps_that_there_are_not(planted, numbers, told):
    with pytest.raises(OptionError, match=told):
        top_patches(opened(planted), "conv1", numbers)


def test_a_patch_is_cut_with_what_lies_beside_in_a_colour_of_its_own():
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    patch = cut(grey, (2, -1), 3)
    np.testing.assert_allclose(patch[:2, 1:, 0], grey[2:, :2, 0])
    assert (patch[2] == OUTSIDE).all() and (patch[:, 0] == OUTSIDE).all()
    assert (cut(grey, (9, 9), 2) == OUTSIDE).all()


def test_the_drawing_has_each_patch_above_its_value(planted):
    found = top_patches(opened(planted), "conv1", [1])
    scene = patch_scene(found)
    rasters = [shape for shape in scene.shapes if isinstance(shape, Raster)]
    values = [shape for shape in scene.shapes if isinstance(shape, Words) and shape.look == "weight"]
    assert [shape.text for shape in values] == [f"{patch.value:.3g}" for patch in found.patches[0]]
    for raster, words, patch in zip(rasters, values, found.patches[0], strict=True):
        assert words.y - (raster.y + raster.height) == 12 and words.x == raster.x + raster.width / 2
        np.testing.assert_array_equal(np.asarray(raster.image), patch.pixels)
        assert raster.is_pixelated and raster.x + raster.width <= scene.width and words.y < scene.height
    assert len({(raster.x, raster.y) for raster in rasters}) == PATCHES


@pytest.mark.parametrize("form, start", [("png", b"\x89PNG"), ("svg", b"<svg")])
def test_the_command_line(planted, tmp_path, form, start):
    _, path, data = planted
    out = tmp_path / f"top.{form}"
    options = ["--data-path", str(data), "--test-range", "1-3", "--backend", "reference", "--out", str(out)]
    assert shownet.main(["-f", str(path), "--top-patches", "conv1", "--maps", "1,3", *options]) == 0
    assert out.read_bytes().startswith(start)
    if form == "png":
        with Image.open(out) as drawn:
            assert drawn.width > 600


def test_mistakes_in_clear_words(planted, capsys):
    _, path, data = planted
    for options, told in (
        (["--top-patches", "conv2", "--data-path", str(data)], "did you mean 'conv1'"),
        (["--show-filters", "--maps", "1"], "--maps goes with --show-maps or --top-patches"),
        (["--top-patches", "conv1", "--maps", "x"], "is not a list of whole numbers from 0, such as 0,5,9"),
    ):
        assert shownet.main(["-f", str(path), *options]) in (1, 2)
        assert told in capsys.readouterr().err


def test_data_that_are_no_pictures(planted, monkeypatch):
    tests = opened(planted)
    monkeypatch.setattr(tests.provider, "cropper", None)
    with pytest.raises(ConvnetError, match="are not pictures"):
        top_patches(tests, "conv1")


def test_a_map_that_nothing_excites_shows_nothing(planted):
    """Behind relu, biases below all sums make it 0 everywhere; of a single output each picture has its value."""
    tests = opened(planted)
    biases = np.zeros(4, np.float32)
    biases[1] = -1e6
    node = tests.net.nodes["conv1"]
    node.biases.value[...] = biases.reshape(node.biases.value.shape)
    found = top_patches(tests, "conv1")
    assert [len(kept) for kept in found.patches] == [PATCHES, 0, PATCHES, PATCHES]
    words = [shape.text for shape in patch_scene(found).shapes if isinstance(shape, Words)]
    assert words.count("no test picture excites it anywhere") == 1


def test_of_equal_ones_the_first_stay():
    found = TopPatches("l", ["map 0"], [0], None, patches=[[]])
    pictures = np.zeros((1, 2, 2, 1), np.float32)
    tests = SimpleNamespace(provider=SimpleNamespace(images=lambda data: pictures))
    maps = np.zeros((1, 4, 12), np.float32)
    maps[0, 2] = [1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1]
    for batch in (1, 2):
        _take(found, tests, maps, np.zeros((4, 12), np.float32), batch, 0, 2)
    [kept] = found.patches
    assert [(patch.batch, patch.case) for patch in kept] == [
        (1, 1),
        (1, 4),
        (2, 1),
        (2, 4),
        *((1, n) for n in (0, 2, 3, 5, 6)),
    ]
    assert all(patch.place == (1, 0) for patch in kept)


def test_towers_are_taken_together(planted, tmp_path):
    """Filters 0 to 3 in tower a, and the same in the other order in tower b."""
    stride, _, data = planted
    start, end = (NET.index(f"[{name}]") for name in ("conv1", "pool1"))
    tower = NET[start:end].replace("STRIDE", str(stride))
    both = tower.replace("conv1", "conv1a") + tower.replace("conv1", "conv1b")
    text = NET[:start] + both + "[fc]\ntype=fc\ninputs=conv1a,conv1b\noutputs=10\ninitW=0.01,0.01\n" + cost_of("fc")
    params = PARAMS + "[fc]\nepsW=0,0\nmomW=0,0\nwc=0,0\n"
    net = convnet.build(write_net(tmp_path, text, params), side=SIDE, backend="reference")
    filters = templates().reshape(27, 4).astype(np.float32)
    net.weights["conv1a"][0], net.weights["conv1b"][0] = filters, filters[:, ::-1]
    found = top_patches(opened((stride, net.save(tmp_path / "1.1"), data)), "conv1", [1, 6])
    assert [found.names[number] for number in found.numbers] == ["map a1", "map b2"]
    assert [patch.value for patch in found.patches[0]] == [patch.value for patch in found.patches[1]]
    np.testing.assert_array_equal(found.patches[0][0].pixels, found.patches[1][0].pixels)
