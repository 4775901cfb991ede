"""Testing modes: several views, predictions, features, and what does not fit; genuine checkpoints are tested too."""

import shutil

import numpy as np
import pytest
from support import SHARED, needs_museum, write_cifar, write_net

import convnet
from convnet import pickles
from convnet.cli import shownet as show
from convnet.cli.run import main
from convnet.data.provider import Request
from convnet.data.providers import open_provider


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and a net trained on crops of it for one epoch."""
    folder = tmp_path_factory.mktemp("testing")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data")]
    options += ["--data-provider", "cifar-cropped", "--mini", 16, "--epochs", 1, "--save-path", folder / "saved"]
    assert run(*options) == 0
    return folder


def run(*options):
    return main([str(option) for option in (*options, "--backend", "cpu")])


def last_numbers(capsys):
    """The numbers of the test block."""
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if "Test output" in line)
    return [float(text) for text in lines[at + 1].split(":")[1].split(",")]


def views_of(folder):
    """Ten views of the test batch and its labels, cut by hand."""
    provider = open_provider("cifar-cropped", Request(str(folder / "data"), multiview=True))
    batch = provider.batch(1, 3)
    data = []
    for crops in batch.crops:
        parts = []
        for n in range(batch.cases):
            part = batch.pixels[n, crops.tops[n] : crops.tops[n] + 24, crops.lefts[n] : crops.lefts[n] + 24]
            parts.append((part[:, ::-1] if crops.flips[n] else part).transpose(2, 0, 1) - crops.mean)
        data.append(np.stack(parts, -1).reshape(-1, batch.cases).astype(np.float32))
    return data, batch.labels[0][0].astype(int)


def test_views_are_averaged_before_the_cost(place, capsys, tmp_path):
    options = ["--load-file", place / "saved", "--test-only", "--multiview-test", "--logreg-name", "logprob"]
    assert run(*options, "--test-out", tmp_path / "out") == 0
    printed = last_numbers(capsys)
    data, labels = views_of(place)
    net = convnet.load(place / "saved", backend="reference")
    mean = np.mean([net.predict(view) for view in data], axis=0, dtype=np.float64)
    assert printed[0] == pytest.approx(-np.log(mean[np.arange(len(labels)), labels]).mean(), rel=1e-5)
    assert printed[1] == pytest.approx((mean.argmax(axis=1) != labels).mean())
    written = pickles.load(tmp_path / "out" / "test_preds_3")
    assert written["data"].dtype == np.float32 and written["data"].flags.c_contiguous
    assert written["note"].startswith("generated from ") and written["note"].endswith(str(net_folder(place)))
    np.testing.assert_allclose(written["data"], mean, rtol=1e-4, atol=1e-6)


def net_folder(place):
    return next((place / "saved").iterdir())


def test_views_count_cases_once(place, capsys):
    assert run("--load-file", place / "saved", "--test-only", "--multiview-test", "--mini", 7) == 0
    several = capsys.readouterr().out
    assert "}, 60) (" in several
    assert run("--load-file", place / "saved", "--test-only", "--multiview-test", "--mini", 60) == 0
    line = next(line for line in several.splitlines() if line.startswith("logprob:"))
    assert line in capsys.readouterr().out


def test_training_tests_with_views_too(place, tmp_path, capsys):
    options = ["--load-file", place / "saved", "--save-path", tmp_path, "--epochs", 2, "--test-freq", 2]
    assert run(*options) == 0
    plain = last_numbers(capsys)
    assert run(*options, "--multiview-test") == 0
    assert last_numbers(capsys) != plain


def test_predictions_of_one_view(place, tmp_path):
    assert run("--load-file", place / "saved", "--test-only", "--test-out", tmp_path) == 0
    data, _ = views_of(place)
    net = convnet.load(place / "saved", backend="reference")
    np.testing.assert_allclose(pickles.load(tmp_path / "test_preds_3")["data"], net.predict(data[2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer, outputs", [("conv1", 8 * 13 * 13), ("fc", 10)])
def test_features(place, tmp_path, capsys, layer, outputs):
    """A case per row, neurons applied, nothing dropped; the folder is a data set again (io section 3)."""
    options = ["--load-file", place / "saved", "--test-only", "--write-features", layer, "--feature-path", tmp_path]
    assert run(*options, "--test-range", "2-3") == 0
    assert f"Wrote feature file {tmp_path / 'data_batch_2'}" in capsys.readouterr().out
    part, meta = pickles.load(tmp_path / "data_batch_3"), pickles.load(tmp_path / "batches.meta")
    assert part["data"].shape == (60, outputs) and part["labels"].shape == (1, 60)
    assert (meta["num_vis"], meta["source_model"]) == (outputs, str(place / "saved"))
    data, labels = views_of(place)
    net = convnet.load(place / "saved", backend="reference")
    np.testing.assert_allclose(part["data"], net.features(data[2], layer), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(part["labels"][0], labels)
    again = open_provider("", Request(str(tmp_path)))
    matrices = again.batch(1, 3).minibatch(0, 60)
    assert again.dims[0] == outputs
    np.testing.assert_allclose(matrices[0], part["data"].T - again.mean[:, None], atol=1e-5)


def test_features_replace_no_other_batches(place, tmp_path, capsys):
    """Neither those that they are made of nor batches of other kinds; features of an earlier call they do."""
    shutil.copytree(place / "data", tmp_path / "data")
    options = ["--load-file", place / "saved", "--test-only", "--write-features", "fc"]
    features = tmp_path / "features"
    for data, folder, status in (
        (place / "data", tmp_path / "data", 1),
        (place / "data", features, 0),
        (place / "data", features, 0),
        (tmp_path / "data", tmp_path / "other/../data", 1),
    ):
        (tmp_path / "other").mkdir(exist_ok=True)
        before = {path: path.read_bytes() for path in (tmp_path / "data").iterdir()}
        assert run(*options, "--data-path", data, "--feature-path", folder) == status
        assert ("holds other batches, which features would replace" in capsys.readouterr().err) == bool(status)
        assert {path: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


def test_as_many_features_as_cases(place, tmp_path):
    """A square matrix does not say which way it lies; the description does."""
    options = ["--load-file", place / "saved", "--test-only", "--write-features", "fc", "--feature-path", tmp_path]
    assert run(*options) == 0
    part = pickles.load(tmp_path / "data_batch_3")
    with (tmp_path / "data_batch_3").open("wb") as file:
        pickles.dump({"data": part["data"][:10].copy(), "labels": part["labels"][:, :10].copy()}, file)
    provider = open_provider("", Request(str(tmp_path)))
    whole = provider.batch(1, 3).minibatch(0, 10)[0] + provider.mean[:, None]
    np.testing.assert_allclose(whole, part["data"][:10].T, atol=1e-5)


def test_testing_can_save(place, tmp_path, capsys):
    assert run("--load-file", place / "saved", "--test-only", "--save-path", tmp_path / "x") == 0
    assert not (tmp_path / "x").exists()
    assert run("--load-file", place / "saved", "--test-only", "--save-path", tmp_path / "x", "--force-save") == 0
    assert run("--load-file", tmp_path / "x", "--test-only") == 0


@pytest.mark.parametrize(
    "options, words",
    [
        (["--write-features", "fc"], "--feature-path"),
        (["--write-features", "fc", "--feature-path", "x"], "--test-only"),
        (["--test-only", "--write-features", "conv", "--feature-path", "x"], "did you mean 'conv1'"),
        (["--test-only", "--write-features", "fc", "--feature-path", "/proc/x"], "cannot be written"),
        (["--test-only", "--test-out", "/proc/x"], "cannot be written"),
        (["--test-only", "--logreg-name", "fc"], "layer 'fc' of type fc is not a cost.logreg"),
        (["--test-only", "--logreg-name", "logprop"], "did you mean 'logprob'"),
        (["--test-only", "--write-features", "fc", "--feature-path", "x", "--multiview-test"], "one view"),
    ],
)
def test_mistakes(place, capsys, options, words):
    assert run("--load-file", place / "saved", *options) in (1, 2)
    assert words in capsys.readouterr().err


def test_data_with_one_view(place, capsys):
    options = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--test-only", "--multiview-test"]
    assert run(*options) == 2
    assert "one view of each case" in capsys.readouterr().err


@needs_museum
@pytest.mark.parametrize("generation", ["2011", "2012", "2014"])
def test_genuine_checkpoints_are_tested(generation, capsys, tmp_path):
    """Without their layer files, which nobody has; the statistics are those that the originals printed."""
    path = SHARED / "fixtures" / f"ckpt-{generation}.pickle"
    assert run("--load-file", path, "--test-only", "--data-provider", "dummy-cn-3072") == 0
    out = capsys.readouterr().out
    printed = (SHARED / "fixtures" / f"stdout-{generation}.txt").read_text().splitlines()
    said = [line for line in printed if line.startswith("Layer '") and "weights[" in line]
    for line in said[-4:]:
        name, size = line.split("weights")[0], float(line.split(": ")[1].split()[0])
        mine = next(other for other in out.splitlines() if other.startswith(name) and "weights" in other)
        assert float(mine.split(": ")[1].split()[0]) == pytest.approx(size, rel=1e-6)
    features = ["--test-only", "--data-provider", "dummy-cn-3072", "--write-features", "pool1", "--feature-path", tmp_path]
    assert run("--load-file", path, *features) == 0
    assert np.isfinite(pickles.load(tmp_path / "data_batch_6")["data"]).all()


def test_shownet_writes_features_as_in_2011(place, tmp_path, capsys):
    options = ["-f", str(place / "saved"), "--write-features", "fc", "--feature-path", str(tmp_path)]
    assert show.main(options) == 0
    assert pickles.load(tmp_path / "data_batch_3")["data"].shape == (60, 10)
    assert show.main(options[:4]) == 2


@pytest.mark.parametrize("several", [[], ["--multiview-test"]])
def test_a_label_of_probability_0(place, capsys, tmp_path, several):
    """The cost is infinite, and printed so; the error, which a person wants, beside it."""
    net = convnet.load(place / "saved", backend="reference")
    last = list(net.weights)[-1]
    net.weights[last][0] = net.weights[last][0] * 0
    biases = net.weights[last].biases
    biases[:] = 0
    biases.reshape(-1)[3] = 1e5
    net.weights[last].biases = biases
    assert net.history
    net.save(tmp_path / "9.9")
    options = [
        "--load-file",
        tmp_path / "9.9",
        "--data-path",
        place / "data",
        "--data-provider",
        "cifar-cropped",
        "--test-only",
    ]
    assert run(*options, *several) == 0
    printed = last_numbers(capsys)
    assert printed[0] == np.inf and 0 < printed[1] <= 1
    assert run(*options, "--force-save", "--save-path", tmp_path / "forced") == 0
