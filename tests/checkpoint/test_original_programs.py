"""The unmodified programs of 2011, 2012 and 2014 open our checkpoints, draw them and train on (``original_programs.py``)."""

import shutil

import numpy as np
import pytest
from every_layer import every_layer
from original_programs import STEP, YEARS, checkpoint_of, needs_originals, run_original
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


def _net(source):
    """A net with two layers that share a matrix and read ``source``, which all generations read."""
    layers = {
        "conv1": "type=conv\ninputs=data\nchannels=3\nfilters=16\nfilterSize=5\nstride=4\ninitW=0.01\nneuron=relu\n"
        "partialSum=1\nsumWidth=4\nsharedBiases=1\n",
        "pool1": "type=pool\npool=max\ninputs=conv1\nchannels=16\nsizeX=3\nstride=2\n",
        "fcA": f"type=fc\ninputs={source}\noutputs=10\ninitW=0.01\n",
        "fcB": f"type=fc\ninputs={source}\noutputs=10\ninitW=0.01\nweightSource=fcA\n",
        "sum": "type=eltsum\ninputs=fcA,fcB\n",
        "probs": "type=softmax\ninputs=sum\n",
        "logprob": "type=cost.logreg\ninputs=labels,probs\n",
    }
    if source != "pool1":
        del layers["pool1"]
    data = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
    rates = "epsW=0.001\nepsB=0.001\nmomW=0.9\nmomB=0.9\nwc=0\n"
    learned = "".join(f"[{name}]\n{rates}" for name in ("conv1", "fcA", "fcB"))
    definition = data + "".join(f"[{name}]\n{keys}gpu=0\n" for name, keys in layers.items())
    return definition, f"{learned}[sum]\n[logprob]\ncoeff=1\ntopk=2\n"


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """CIFAR batches as 2014 reads them, and the small net, in folders whose names are not all of ASCII letters."""
    folder = tmp_path_factory.mktemp("pictures") / "Bilder-\u00fc"
    meta = pickles.load(write_cifar(folder / "Stapel", cases=20) / "batches.meta")
    dump(folder / "Stapel" / "batches.meta", meta | {"img_size": 32})
    return folder


@pytest.fixture(scope="module", params=[("2014", False), ("2012", False), ("2011", False), ("2011", True)], ids=str)
def small(request, cifar, tmp_path_factory):
    """A run on CIFAR pictures: its generation, its folder, its checkpoint."""
    year, is_zipped = request.param
    folder = tmp_path_factory.mktemp("small") / "L\u00e4ufe"
    net = write_net(folder, *_net("pool1"))
    options = ("--layer-def", net, "--data-path", cifar / "Stapel", "--save-path", folder / "run", "--dialect", year)
    more = ("--epochs", 2, "--test-freq", 2, "--checkpoint-format", year, "--zip-save", int(is_zipped))
    run(*options, *more)
    return year, folder, newest(folder / "run")


def test_draw_and_predict(small, tmp_path):
    year, _, file = small
    original(year, "shownet.py", file, "--show-cost", "logprob", "--show-filters", "conv1", folder=tmp_path)
    original(year, "shownet.py", file, "--show-preds", "probs", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.glob("figure-*.png")) == ["figure-1.png", "figure-2.png", "figure-3.png"]


def test_what_they_print_of_the_options(small, tmp_path):
    """Values of ours, and as defaults what is theirs."""
    year, folder, file = small
    lines = original(year, "shownet.py", file, folder=tmp_path).splitlines()
    listed = {line[:81].strip(): line[81:].removeprefix(":").split() for line in lines}
    assert listed["Data batch range: training"] == ["1-2"] and listed["Data batch range: testing"] == ["3-3"]
    assert listed["Minibatch size"] == ["128", "[DEFAULT]"] and listed["Number of epochs"] == ["2"]
    assert listed["Testing frequency"] == ["2"] and listed["Data provider"] == ["cifar"]
    assert listed["GPU override"][0] == ("0" if year == "2014" else "-1")
    assert listed["Save path"] == [str(folder / "run")]


def test_trained_on_with_other_options(small, tmp_path, capsys):
    """What the original was given holds on here; what nobody has changed is ours."""
    year, _, file = small
    copy = shutil.copytree(file.parent, tmp_path / "copy") / file.name
    given = ("--epochs", 3, "--test-freq", 1, "--save-path", tmp_path)
    printed = original(year, "convnet.py", copy, *given, folder=tmp_path)
    assert "3.1" in printed and "3.2" in printed
    theirs = checkpoint.load(checkpoint_of(tmp_path / "copy"))
    ours = checkpoint.load(file)
    assert theirs.options == ours.options | {"epochs": 3, "test_freq": 1} and not theirs.options_left
    assert theirs.files() == ours.files() and theirs.data["label_names"] == ours.data["label_names"]
    capsys.readouterr()
    run("--load-file", theirs.path, "--save-path", tmp_path / "on", "--epochs", 4)
    said = capsys.readouterr().out
    assert said.count("A program of the originals trained it on from 2.2") == 1 and "4.2" in said


def test_trained_on_with_other_parameters(small, tmp_path, capsys):
    """Rates that an original read anew are those of its layers, not of the files that were saved."""
    year, folder, file = small
    copy = shutil.copytree(file.parent, tmp_path / "copy") / file.name
    params = tmp_path / "other.cfg"
    params.write_text((folder / "layer-params-small.cfg").read_text().replace("epsW=0.001", "epsW=0.5"))
    original(year, "convnet.py", copy, "--layer-params", params, "--epochs", 3, "--test-freq", 1, folder=tmp_path)
    theirs = checkpoint.load(checkpoint_of(tmp_path / "copy"))
    assert not theirs.has_files and "epsW=0.5" in theirs.files().params and "layer_def" not in theirs.options
    capsys.readouterr()
    run("--load-file", theirs.path, "--save-path", tmp_path / "on", "--epochs", 4)
    assert "its layers are not those of its files" in capsys.readouterr().out
    saved = checkpoint.load(newest(tmp_path / "on"))
    assert "epsW=0.5" in saved.files().params and saved["model_state"]["convnet"]["format"] == year


def test_tested_and_saved_again(small, tmp_path):
    """2014's --force-save saves after a test, at the same batch: our part holds, and the run goes on to the same bits."""
    year, _, file = small
    if year != "2014":
        return
    copy = shutil.copytree(file.parent, tmp_path / "copy") / file.name
    original(year, "convnet.py", copy, "--test-only", 1, "--force-save", 1, folder=tmp_path)
    assert not pickles.has_checksum(copy) and not checkpoint.load(copy).is_original
    for start, save in ((copy, "again"), (file, "whole")):
        run("--load-file", start, "--save-path", tmp_path / save, "--epochs", 3)
    first, second = (checkpoint.load(newest(tmp_path / save)) for save in ("again", "whole"))
    for name, layer in first.layers.items():
        for one, other in zip(layer.get("weights", ()), second.layers[name].get("weights", ()), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("year", YEARS)
def test_a_shipped_net(year, cifar, tmp_path):
    """Its files are in other words; parameters in those of the originals lie in the cache."""
    options = ("--layer-def", "layers-cifar10-26pct.cfg", "--data-path", cifar / "Stapel", "--save-path", tmp_path / "run")
    run(*options, "--epochs", 1, "--test-freq", 2, "--checkpoint-format", year)
    for epochs in (2, 3):
        original(year, "convnet.py", newest(tmp_path / "run"), "--epochs", epochs, "--test-freq", 2, folder=tmp_path)
        found = checkpoint.load(checkpoint_of(tmp_path / "run"))
        assert found.position().epoch == epochs and found.has_files and len(found.remarks) == 1


def test_unshared_and_made_local(tmp_path, cifar):
    """What --unshare-weights and --conv-to-local leave behind is what they expect."""
    net = write_net(tmp_path, *_net("conv1"))
    options = ("--layer-def", net, "--data-path", cifar / "Stapel", "--save-path", tmp_path / "run", "--test-freq", 2)
    run(*options, "--epochs", 1, "--unshare-weights", "fcB", "--conv-to-local", "conv1")
    file = newest(tmp_path / "run")
    original("2014", "shownet.py", file, "--show-filters", "conv1", folder=tmp_path)
    original("2014", "convnet.py", file, "--epochs", 2, "--test-freq", 2, folder=tmp_path)
    layers = checkpoint.load(checkpoint_of(tmp_path / "run")).layers
    assert layers["conv1"]["type"] == "local" and layers["fcA"]["weights"][0] is not layers["fcB"]["weights"][0]


def test_shared_matrices_stay_one(tmp_path, cifar):
    net = write_net(tmp_path, *_net("conv1"))
    run("--layer-def", net, "--data-path", cifar / "Stapel", "--save-path", tmp_path / "run", "--epochs", 1)
    original("2014", "convnet.py", newest(tmp_path / "run"), "--epochs", 2, "--test-freq", 2, folder=tmp_path)
    layers = checkpoint.load(checkpoint_of(tmp_path / "run")).layers
    for key in ("weights", "weightsInc"):
        assert layers["fcA"][key][0] is layers["fcB"][key][0]


def test_a_long_chain(tmp_path):
    """Layers hold their inputs, which hold theirs: Python 2 does not read further than 1000 within each other."""
    fc = "".join(
        f"[f{i}]\ntype=fc\ninputs={f'f{i - 1}' if i else 'data'}\noutputs=4\ninitW=0.01\ngpu=0\n" for i in range(600)
    )
    definition = f"[data]\ntype=data\ndataIdx=0\n{fc}[cost]\ntype=cost.sum2\ninputs=f599\ngpu=0\n"
    params = "[DEFAULT]\nepsW=0\nepsB=0.1\nmomW=0\nmomB=0\nwc=0\ncoeff=1\n[cost]\n" + "".join(
        f"[f{i}]\n" for i in range(600)
    )
    net = write_net(tmp_path, definition, params)
    data = ("--data-provider", "dummy", "--train-range", 1, "--test-range", 2)
    run("--layer-def", net, *data, "--save-path", tmp_path / "run", "--epochs", 1, "--test-freq", 1)
    assert "epochs" in original("2014", "shownet.py", newest(tmp_path / "run"), folder=tmp_path)
