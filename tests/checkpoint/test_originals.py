"""The unmodified programs of 2011, 2012 and 2014 open our checkpoints, draw them, test them and train on (tests/originals.py)."""

import numpy as np
import pytest
from every_layer import every_layer
from originals import STEP, YEARS, checkpoint_of, needs_originals, run_original
from support import dump, write_cifar, write_net

from convnet import checkpoint, pickles
from convnet.checkpoint import find_latest
from convnet.cli.run import main
from convnet.generation import Generation

pytestmark = [needs_originals, pytest.mark.slow]
MATRICES = ("--data-provider", "matrices", "--data-path", "192,1,10")


def load_flag(year):
    return "--load-file" if year == "2014" else "-f"


def run(*options):
    assert main([str(option) for option in options]) == 0


def newest(folder):
    return find_latest(folder, checkpoint.load)[0]


def original(year, script, file, *options, folder):
    """Run an original over a checkpoint; return what it printed."""
    done = run_original(year, script, load_flag(year), file, *options, folder=folder)
    assert done.status == 0 and "Traceback" not in done.output and "Error:" not in done.output, done.output
    return done.output


@pytest.mark.parametrize("year", YEARS)
def test_every_type_of_layer(year, tmp_path, capsys):
    net = write_net(tmp_path, *every_layer(Generation(year)))
    data = ("--data-provider", "dummy", "--mini", 8, "--train-range", "1-2", "--test-range", 3, "--dialect", year)
    saved = ("--save-path", tmp_path / "run", "--epochs", 1, "--test-freq", 1, "--checkpoint-format", year)
    run("--layer-def", net, *data, *saved)
    ours = checkpoint.load(newest(tmp_path / "run"))
    shown = ("--show-cost", "logprob", "--show-filters", "conv")
    assert "Show learned filters" in original(year, "shownet.py", ours.path, *shown, folder=tmp_path)
    assert {path.name for path in tmp_path.glob("figure-*.png")} == {"figure-1.png", "figure-2.png"}
    assert "Test output" in original(year, "convnet.py", ours.path, *MATRICES, "--test-only", 1, folder=tmp_path)
    printed = original(year, "convnet.py", ours.path, *MATRICES, "--epochs", 2, folder=tmp_path)
    assert "2.1" in printed and "2.2" in printed and "Saved checkpoint" in printed
    theirs = checkpoint.load(checkpoint_of(tmp_path / "run"))
    assert theirs.is_original and theirs.has_files and (theirs.position().epoch, theirs.position().batch) == (3, 1)
    assert len(theirs.position().train_outputs) == 5  # it trains a batch too many
    for name, layer in ours.layers.items():
        for key in ("weights", "weightsInc", "biases", "biasesInc"):
            before, after = (
                np.concatenate([np.ravel(a) for a in one.get(key, ())]) if key in one else None
                for one in (layer, theirs.layers[name])
            )
            if before is not None:
                gained = 3 * STEP * (not key.endswith("Inc"))
                np.testing.assert_allclose(after, before + np.float32(gained), rtol=1e-6, atol=1e-6, err_msg=f"{name}.{key}")
    capsys.readouterr()
    run("--load-file", theirs.path, "--data-provider", "dummy", "--save-path", tmp_path / "on", "--max-batches", 1)
    assert "trained it on from 1.2; of what this one saved there, it keeps layer files" in capsys.readouterr().out
    ours = checkpoint.load(newest(tmp_path / "on"))
    assert not ours.is_original and ours["model_state"]["convnet"]["format"] == year
    original(year, "shownet.py", ours.path, *shown, folder=tmp_path)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """CIFAR batches as 2014 reads them, and the small net, in folders whose names are not of ASCII letters."""
    folder = tmp_path_factory.mktemp("Bilder-ü")
    meta = pickles.load(write_cifar(folder / "Stapel-é", cases=20) / "batches.meta")
    dump(folder / "Stapel-é" / "batches.meta", meta | {"img_size": 32})
    return folder
