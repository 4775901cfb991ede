"""shownet: sizes and contents of filter pictures, towers, local and fc layers, curves, mistakes; the tools as programs."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import ROOT, SHARED, needs_museum, write_cifar, write_net

import convnet
from convnet.cli import shownet as show
from convnet.cli.run import main as run
from convnet.data.batches import read_batch
from convnet.drawing.filters import filter_mosaic, filters_of, normalise
from convnet.drawing.samples import TestSet, feature_maps, maps_mosaic, predictions


@pytest.mark.parametrize(
    "channels, k, count, color, shape",
    [(3, 5, 32, True, (13, 97)), (3, 5, 32, False, (37, 97)), (64, 5, 64, False, (385, 322)), (3, 11, 96, True, (73, 193))],
)
def test_mosaic_sizes(channels, k, count, color, shape):
    """io section 7."""
    mosaic = filter_mosaic(np.ones((channels, k, k, count)), color)
    assert mosaic.shape == (*shape, 3 if color else 1)
    assert mosaic[0].max() == 0 and mosaic[1, 1].max() == 1


def test_filters_lie_where_they_should():
    weights = np.arange(3 * 4 * 5, dtype=np.float32).reshape(12, 5)  # (c, ky, kx) x filter
    layer = {"name": "c", "type": "conv", "weights": [weights], "filterChannels": [3], "filterSize": [2]}
    filters = filters_of(layer)
    assert filters[1, 0, 1, 3] == weights[4 + 1, 3]
    grey = filter_mosaic(filters, color=False)[..., 0]
    assert grey[1, 1 + 7 + 2] == filters[1, 0, 0, 1]  # second filter, second channel beside the first
    local = {
        "name": "l",
        "type": "local",
        "weights": [np.arange(48.0).reshape(24, 2)],
        "filterChannels": [2],
        "filterSize": [2],
    }
    assert filters_of(local, plane=1)[1, 0, 1, 2] == local["weights"][0][2 * 8 + 4 + 1, 1]
    fc = {"name": "f", "type": "fc", "weights": [np.arange(36.0).reshape(18, 2)]}
    assert filters_of(fc, channels=2)[1, 2, 0, 1] == fc["weights"][0][9 + 6, 1]


def test_normalising():
    filters = np.random.RandomState(0).randn(1, 3, 3, 4) * np.array([1, 10, 100, 1000])
    assert (normalise(filters).min(), normalise(filters).max()) == (0, 1)
    spreads = normalise(filters, each=True).std(axis=(0, 1, 2))
    np.testing.assert_allclose(spreads, spreads[0])
    assert (normalise(np.zeros((1, 2, 2, 1))) == 0.5).all()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder / "c"]
    assert run([*map(str, options), "--epochs", "2", "--test-freq", "1"]) == 0
    return folder / "c"


def test_programs_write_pictures(saved, tmp_path):
    """As the README says: no screen, a PNG file, from the tool in the checkout."""
    out = tmp_path / "filters.png"
    command = [sys.executable, str(ROOT / "tools" / "shownet.py"), "--load-file", str(saved), "--out", str(out)]
    done = subprocess.run([*command, "--show-filters", "conv1"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(out) as picture:
        assert picture.size == (4 * (16 * 6 + 1), 4 * 7) and picture.mode == "RGB"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "makebatches.py"), "nowhere", "--out", "x"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "no folder nowhere" in done.stderr


def test_curves(saved, tmp_path):
    out = tmp_path / "cost.png"
    assert show.main(["-f", str(saved), "--show-cost", "logprob", "--cost-idx", "1", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (800, 500)


def test_predictions_are_those_of_the_net(saved, tmp_path):
    tests = TestSet(str(saved), {"backend": "reference"})
    cases = predictions(tests, "probs", seed=3)
    assert len(cases) == 8
    net, batch = convnet.load(saved, backend="reference"), read_batch(saved.parent / "data" / "data_batch_3")
    known = net.predict(batch["data"])
    for case in cases:
        shares = [share for _, share, _ in case.bars]
        assert any(np.allclose(np.sort(row)[::-1][:5], shares, atol=1e-5) for row in known)
        assert case.picture.shape == (32, 32, 3) and sum(true for *_, true in case.bars) <= 1
        assert all((name == case.truth) == true for name, _, true in case.bars)
    for case in predictions(tests, "probs", only_errors=True):
        assert case.bars[0][0] != case.truth


def test_maps(saved):
    tests = TestSet(str(saved), {"backend": "reference"})
    maps = feature_maps(tests, "conv1")
    filters = tests.graph.layers["conv1"].maps[0]
    assert maps.shape[:2] == (12, min(16, filters)) and maps.min() == 0
    [values] = tests.outputs(["conv1"], max_cases=12)
    np.testing.assert_allclose(maps[5].ravel(), np.maximum(values[:, 5], 0))
    mosaic = maps_mosaic(maps)
    side = maps.shape[-1] + 1
    assert mosaic.shape == (12 * side + 1, maps.shape[1] * side + 1, 1) and mosaic[::side].max() == 0


@pytest.mark.parametrize(
    "what", [["--show-preds", "probs"], ["--show-preds", "probs", "--only-errors"], ["--show-maps", "conv1"]]
)
def test_samples_are_drawn(saved, tmp_path, what):
    out = tmp_path / "x.png"
    assert show.main(["-f", str(saved), *what, "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert len(np.unique(np.asarray(picture))) > 10


@pytest.mark.parametrize(
    "options, word",
    [
        (["--show-filters", "conv2"], "did you mean 'conv1'"),
        (["--show-filters", "pool1"], "no weights"),
        (["--show-filters", "fc"], "--channels"),
        (["--show-filters", "conv1", "--input-idx", "3"], "--input-idx 3"),
        (["--show-cost", "logprop"], "did you mean 'logprob'"),
        (["--show-cost", "logprob", "--cost-idx", "7"], "--cost-idx 7"),
        (["--show-preds", "prob"], "did you mean 'probs'"),
        (["--show-preds", "conv1"], "no softmax layer 'conv1'"),
        (["--show-maps", "fc"], "no layer of maps 'fc'"),
        (["--show-preds", "probs", "--data-path", "nowhere"], "no folder nowhere"),
        (["--show-cost", "logprob", "--only-errors"], "--only-errors goes with --show-preds"),
        (["--show-filters", "conv1", "--channels", "5"], "--channels: no effect on 'conv1', of type conv with 3 channels"),
        (["--show-filters", "conv1", "--local-plane", "1"], "--local-plane: no effect on 'conv1', of type conv"),
        (["--show-filters", "fc", "--channels", "8", "--no-rgb"], "--no-rgb: no effect on 'fc', of type fc with 8 channels"),
        (["--show-filters", "conv1", "--out", "/nowhere/x.png"], "cannot be written"),
        ([], "nothing to show"),
        (["--show-filtres", "conv1"], "unknown option '--show-filtres'; did you mean '--show-filters'?"),
    ],
)
def test_mistakes(saved, capsys, options, word):
    assert show.main(["--load-file", str(saved), *options]) in (1, 2)
    assert word in capsys.readouterr().err


def test_towers_are_shown_together(tmp_path, capsys):
    """conv1 stands for conv1a above conv1b."""
    text = (
        (ROOT / "layers-cfg" / "layers-cifar10-19pct.cfg")
        .read_text()
        .replace("[conv1]", "[conv1a]")
        .replace("inputs=conv1\n", "inputs=both\n")
    )
    tower = text[text.index("[conv1a]") : text.index("[pool1]")]
    both = tower + tower.replace("conv1a", "conv1b") + "[both]\ntype=eltsum\ninputs=conv1a,conv1b\n\n"
    net = write_net(tmp_path, text.replace(tower, both), "[DEFAULT]\nepsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\ncoeff=1\n")
    options = [
        "--layer-def",
        net,
        "--data-path",
        write_cifar(tmp_path / "data"),
        "--save-path",
        tmp_path,
        "--max-batches",
        1,
    ]
    assert run([str(option) for option in options]) == 0
    assert "--show-filters conv1 " in capsys.readouterr().out
    assert show.main(["-f", str(tmp_path), "--show-filters", "conv1", "--out", str(tmp_path / "f.png"), "--zoom", "1"]) == 0
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.size == (97, 4 * 6 + 1)


@needs_museum
@pytest.mark.parametrize("generation", ["2011", "2012", "2014"])
def test_genuine_checkpoints_show(generation, tmp_path):
    path = str(SHARED / "fixtures" / f"ckpt-{generation}.pickle")
    for what in (["--show-filters", "conv1"], ["--show-filters", "local2"], ["--show-cost", "logprob"]):
        assert show.main(["-f", path, *what, "--out", str(tmp_path / "x.png")]) == 0
