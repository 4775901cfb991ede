"""--similar: two planted neighbours find each other, over all test batches, by Euclidean distance in a layer's outputs."""

import numpy as np
import pytest
from nets import DATA, cost_of
from planted import HEAD, open_tests, save_net, write_pictures

from convnet.cli.shownet import main
from convnet.drawing.neighbour_scene import neighbour_scene
from convnet.drawing.neighbours import feature_layers, similar
from convnet.drawing.shapes import Raster, Words
from convnet.errors import ConvnetError

SIDE, CLASSES, CASES = 4, 3, 12
TEXT = (
    DATA
    + "".join(f"[hid{t}]\ntype=fc\ninputs=data\noutputs={n}\ninitW=0.01\nneuron=relu\n" for t, n in (("a", 5), ("b", 3)))
    + "[dropa]\ntype=dropout\ninputs=hida\nkeep=0.5\n"
    + HEAD.format(classes=CLASSES).replace("inputs=data", "inputs=dropa,hidb").replace("initW=0", "initW=0.1,0.1")
    + cost_of("fc")
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Batches 1 to 4; batch 2 has a picture like one of batch 4, but for a pixel; two of batch 3 are the same."""
    folder = tmp_path_factory.mktemp("similar")
    random = np.random.RandomState(0)
    pictures = random.randint(0, 256, (4, CASES, SIDE, SIDE, 3))
    pictures[3, 7] = pictures[1, 2]
    pictures[3, 7, 0, 0, 0] ^= 1
    pictures[2, 4] = pictures[2, 9]
    labels = [[n % CLASSES for n in range(CASES)]] * 4
    write_pictures(folder / "data", list(zip(pictures, labels, strict=True)), ["ant", "bee", "cat"])
    save_net(folder / "net", TEXT, SIDE, {}, CLASSES)
    return folder


@pytest.fixture(scope="module")
def tests(place):
    return open_tests(place / "net" / "1.1", place / "data", test_range=[2, 3, 4])


def known(tests, names):
    """Outputs of layers for all cases, and where each lies, in the order of the batches."""
    outputs, places = [], []
    for number in (2, 3, 4):
        parts = [np.concatenate(part) for part in tests.passes(names, number)]
        outputs.append(np.concatenate(parts, axis=1))
        places += [(number, n) for n in range(CASES)]
    return np.concatenate(outputs, axis=1).astype(np.float64), places


def test_planted_neighbours_find_each_other(tests):
    found = similar(tests, rows=36, nearest=2, seed=1)
    nearest = {(row.query.batch, row.query.case): row.nearest[0] for row in found.rows}
    assert len(nearest) >= 33  # of 36: the batches are drawn with replacement
    pairs = [((2, 2), (4, 7)), ((3, 4), (3, 9))]
    for here, there in [*pairs, *(pair[::-1] for pair in pairs)]:
        if here in nearest:
            assert (nearest[here].batch, nearest[here].case) == there
    assert sum(here in nearest for pair in pairs for here in pair) >= 3
    assert max(nearest[(3, 4)].distance, nearest[(3, 9)].distance) < 1e-5


@pytest.mark.parametrize("names, layers, width", [((), ["hida_neuron", "hidb_neuron"], 8), (("hid",), None, 8),
                                                  (("hidb",), ["hidb_neuron"], 3), (("data",), ["data"], 48)])  # fmt: skip
def test_all_test_pictures_are_compared(tests, names, layers, width):
    """The nearest of all batches but the picture itself, the nearest first, ties by their place."""
    layers = layers or ["hida_neuron", "hidb_neuron"]
    found = similar(tests, names, rows=5, nearest=6, seed=7)
    outputs, places = known(tests, layers)
    assert (found.outputs, found.cases, len(found.rows)) == (width, 36, 5)
    for row in found.rows:
        at = places.index((row.query.batch, row.query.case))
        distances = np.sqrt(np.square(outputs - outputs[:, at : at + 1]).sum(axis=0))
        order = [i for i in np.argsort(distances, kind="stable") if i != at][:6]
        np.testing.assert_allclose([each.distance for each in row.nearest], distances[order], rtol=1e-4, atol=1e-4)
        assert [(each.batch, each.case) for each in row.nearest] == [places[i] for i in order]
        assert row.query.truth == ["ant", "bee", "cat"][row.query.case % CLASSES] and row.query.distance == 0


def test_ties_go_by_place(tmp_path):
    pictures = np.full((2, 6, SIDE, SIDE, 3), 9)
    write_pictures(tmp_path / "data", [(each, [0] * 6) for each in pictures], ["a", "b", "c"])
    path = save_net(tmp_path / "net", TEXT, SIDE, {}, CLASSES)
    found = similar(open_tests(path, tmp_path / "data", test_range=[1, 2]), rows=3, nearest=4)
    for row in found.rows:
        places = [(1, n) for n in range(6) if (1, n) != (row.query.batch, row.query.case)][:4]
        assert [(each.batch, each.case) for each in row.nearest] == places


def test_the_seed_draws(tests):
    draws = [[(row.query.batch, row.query.case) for row in similar(tests, seed=seed).rows] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_fewer_than_asked_for(tmp_path):
    pictures = np.random.RandomState(0).randint(0, 256, (2, SIDE, SIDE, 3))
    write_pictures(tmp_path / "data", [(pictures, [0, 1])] * 2, ["a", "b", "c"])
    path = save_net(tmp_path / "net", TEXT, SIDE, {}, CLASSES)
    found = similar(open_tests(path, tmp_path / "data"))
    assert [len(row.nearest) for row in found.rows] == [1, 1] and found.cases == 2
    assert neighbour_scene(found).width > 700


def test_pictures_stand_in_rows(tests):
    """The first apart from the others; each with its true class and distance below it."""
    found = similar(tests, rows=3, nearest=4)
    scene = neighbour_scene(found)
    rasters = [shape for shape in scene.shapes if isinstance(shape, Raster)]
    words = [shape.text for shape in scene.shapes if isinstance(shape, Words)]
    assert words[0] == "Nearest test pictures by the outputs of 'hida', 'hidb'" and "36 test pictures" in words[1]
    assert len(rasters) == 3 * 5
    for i, row in enumerate(found.rows):
        line = rasters[5 * i : 5 * i + 5]
        steps = np.diff([raster.x for raster in line])
        assert len({raster.y for raster in line}) == 1 and steps[0] > steps[1] == steps[2] == steps[3] > line[0].width
        for raster, each in zip(line, [row.query, *row.nearest], strict=True):
            np.testing.assert_array_equal(np.asarray(raster.image), np.round(each.picture * 255))
            assert each is row.query or f"{each.distance:.4g}" in words
        assert f"batch {row.query.batch}, case {row.query.case}" in words


def test_the_layer_below_the_classes(tests):
    graph = tests.net.graph
    assert [layer.name for layer in feature_layers(graph)] == ["hida_neuron", "hidb_neuron"]
    assert [layer.name for layer in feature_layers(graph, ["fc", "probs", "fc"])] == ["fc", "probs"]
    with pytest.raises(ConvnetError, match="no layer 'hidden' in the net"):
        feature_layers(graph, ["hidden"])


def test_command_line(place, tmp_path, capsys):
    options = ["--load-file", str(place / "net"), "--data-path", str(place / "data"), "--backend", "reference"]
    for name in ("s.png", "s.svg"):
        words = ["--similar", "hida,hidb", "--rows", "2", "--nearest", "3", "--out", str(tmp_path / name)]
        assert main([*options, *words]) == 0
    assert (tmp_path / "s.svg").read_text().count("<image") == 8
    capsys.readouterr()
    assert main([*options, "--show-preds", "--rows", "3"]) == 2
    assert "--rows goes with --similar" in capsys.readouterr().err
