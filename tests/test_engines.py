"""Genuine runs of the engines of 2011 and 2014 go on here as they went on there (README.md beside them says what they are).

From the checkpoint at which the original was stopped, three data batches are trained with ``--compat``; weights, momenta
and costs are then the original's, to a thousandth of what these batches changed, and so is every line that it printed.
"""

import gzip

import numpy as np
import pytest
from printed_lines import assert_same_lines
from support import SHARED

from convnet.checkpoint import load
from convnet.cli.run import main

ENGINES = SHARED / "engines"
RUNS = [path.parent for path in sorted(ENGINES.glob("20*/*/layers.cfg"))]
FIRST, LAST = "2.1", "3.1"  # what the checkpoints are called
BATCHES = 3

pytestmark = pytest.mark.skipif(not RUNS, reason="the genuine runs beside the project are not here")


def unpack(source, target):
    target.write_bytes(gzip.decompress(source.read_bytes()))
    return load(target)


def arrays(checkpoint):
    """Matrices, biases and their momenta by (layer, key, input)."""
    found = {}
    for name, layer in checkpoint.layers.items():
        for key in ("weights", "weightsInc", "biases", "biasesInc"):
            values = layer.get(key, [])
            for i, array in enumerate(values if isinstance(values, list) else [values]):
                found[name, key, i] = np.asarray(array, np.float64)
    return found


def costs(checkpoint):
    """[[sums of the values of every cost] of the last batches], trained and tested, and the numbers of cases."""
    position = checkpoint.position()
    return {
        (kind, name, value): [batch[name][value] for batch, _ in outputs[-BATCHES - 1 :]]
        for kind, outputs in (("train", position.train_outputs), ("test", position.test_outputs))
        for name in outputs[0][0]
        for value in range(len(outputs[0][0][name]))  # what the original counted; ours may count one value more
    }


def assert_repeated(ours, theirs, change, name):
    error = np.abs(np.subtract(ours, theirs)).max() / max(change, 1e-6 * np.abs(theirs).max(), 1e-30)
    assert error < 1e-3, f"{name}: {error:.1e} of the change"


@pytest.mark.parametrize("backend", ["cpu", pytest.param("reference", marks=pytest.mark.slow)])
@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_run_goes_on_as_it_did(run, backend, tmp_path, capsys):
    year, folder = run.parent.name, tmp_path / "run"
    folder.mkdir()
    start = unpack(run / f"before-{FIRST}.pickle.gz", folder / FIRST)
    theirs = unpack(run / f"after-{LAST}.pickle.gz", tmp_path / "after")
    options = ["--load-file", folder, "--data-path", run.parent / "data", "--backend", backend]
    assert main([*map(str, options), "--test-freq=1", "--epochs=2", "--compat", year]) == 0
    assert_same_lines(capsys.readouterr().out, (run / "after.log").read_text(), 1e-3)
    ours = load(folder / LAST)

    before, found = arrays(start), arrays(ours)
    for key, expected in arrays(theirs).items():
        assert_repeated(found[key].reshape(expected.shape), expected, np.abs(expected - before[key]).max(), key)
    found = costs(ours)
    for key, expected in costs(theirs).items():
        assert_repeated(found[key][1:], expected[1:], np.ptp(expected), key)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_first_lines(run, tmp_path, capsys):
    """Of a run that begins, layers, options and devices; its weights are others."""
    year, size = run.parent.name, ["--inner-size=0"] * (run.parent.name == "2014")
    files = ["--layer-def", run / "layers.cfg", "--layer-params", run / "params.cfg", "--data-path", run.parent / "data"]
    data = ["--data-provider=cifar", "--train-range=1-3", "--test-range=4", "--mini=32", "--gpu=0", *size]
    more = ["--test-freq=1", "--epochs=1", "--max-batches=1", "--save-path", tmp_path, "--compat", year]
    assert main([*map(str, files), *data, *map(str, more)]) == 0
    ours, theirs = capsys.readouterr().out, (run / "before.log").read_text()
    lines = ours.count("\n")
    assert lines > 50
    assert_same_lines(ours, "".join(theirs.splitlines(keepends=True)[:lines]))
