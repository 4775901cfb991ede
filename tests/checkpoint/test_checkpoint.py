"""Checkpoints: shape of the files, genuine old ones, choosing and pruning."""

import numpy as np
import pytest
from support import SHARED, SMALL_NET, SMALL_PARAMS, needs_museum, write_cifar, write_net

from convnet import checkpoint, pickles
from convnet.checkpoint import CheckpointFolder, find_latest
from convnet.cli.run import main
from convnet.errors import CheckpointError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a short run."""
    folder = tmp_path_factory.mktemp("saved")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder]
    assert main([*map(str, options), "--max-batches", "2", "--test-freq", "1"]) == 0
    return find_latest(folder, checkpoint.load)[0]


def test_shape_of_2014(saved):
    value = checkpoint.load(saved)
    state = value["model_state"]
    assert (state["epoch"], state["batchnum"], saved.name) == (1, 2, "1.2")
    assert value["op"].options["minibatch_size"].value == 128 and value.option("mini") == 128
    conv, fc = state["layers"]["conv1"], state["layers"]["fc"]
    assert conv["padding"] == [-2] and conv["gpu"] == [0] and conv["inputs"] == ["data"]
    assert conv["weights"][0].shape == (75, 8) and conv["weights"][0].flags.c_contiguous
    assert fc["weights"][0].shape == (512, 10) and fc["weights"][0].flags.f_contiguous
    assert conv["biases"].shape == (8, 1) and fc["biases"].shape == (1, 10)
    assert fc["weightsInc"][0].dtype == np.float32 and np.abs(fc["weightsInc"][0]).max() > 0
    assert state["layers"]["conv1_neuron"]["neuron"]["type"] == "relu"
    assert len(state["train_outputs"]) == 2 and state["test_outputs"][0][1] == 60


def test_what_a_checkpoint_says(saved):
    value = checkpoint.load(saved)
    assert not value.is_original and value.generation == "2014"
    assert value.data_dims == {0: 3072, 1: 1, 2: 10} and value.classes == 10 and value.label_tree is None
    assert value.files().definition == SMALL_NET and value.files().params == SMALL_PARAMS
    assert value.option("max_batches") == 2 and value.options["test_freq"] == 1
    position = value.position()
    assert (position.epoch, position.batch, position.batches_done, position.tests_at) == (1, 2, 2, [1, 2])


def test_two_runs_do_not_share_a_folder(tmp_path):
    first = checkpoint.new_folder(tmp_path)
    first.mkdir()
    assert checkpoint.new_folder(tmp_path) != first


def test_newest_by_number_and_only_own_files_are_pruned(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "10.1.backup").write_text("mine")
    for epoch, batch in ((9, 10), (10, 1), (10, 2)):
        folder.save({"model_state": {"epoch": epoch}}, epoch, batch)
    assert [p.name for p in folder.names()] == ["10.1", "10.2"]
    assert {p.name for p in tmp_path.iterdir()} == {"10.1", "10.2", "notes.txt", "10.1.backup"}


def test_damaged_newest_falls_back(saved, tmp_path):
    for name in ("1.1", "1.2"):
        (tmp_path / name).write_bytes(saved.read_bytes())
    (tmp_path / "1.2").write_bytes(saved.read_bytes()[:1000])
    path, _, remarks = find_latest(tmp_path, checkpoint.load)
    assert path.name == "1.1" and "1.2" in remarks[0]
    (tmp_path / "1.1").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        find_latest(tmp_path, checkpoint.load)


@pytest.mark.parametrize("own", [3, {}, {"version": 1}])
def test_a_damaged_part_of_our_own_is_not_an_original(tmp_path, own):
    with (tmp_path / "1.1").open("wb") as file:
        pickles.dump({"model_state": {"layers": {}, "convnet": own}, "op": {}}, file)
    with pytest.raises(CheckpointError, match="damaged; 'convnet' lacks"):
        checkpoint.load(tmp_path / "1.1")


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, "text", {"model_state": 3}])
def test_other_pickles_are_no_checkpoints(tmp_path, value):
    with (tmp_path / "1.1").open("wb") as file:
        pickles.dump(value, file)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "1.1")


@needs_museum
@pytest.mark.parametrize("generation", ["2011", "2012", "2014"])
def test_genuine_checkpoints(generation):
    """io 11, 2: container, aliasing, orders, stored values, options."""
    value = checkpoint.load(SHARED / "fixtures" / f"ckpt-{generation}.pickle")
    layers = value.layers
    assert layers["conv1"]["padding"] == [-2]
    shared = [layers[name]["weights"][0] for name in ("fcA", "fcB")]
    assert shared[0] is shared[1] and shared[0].flags.f_contiguous
    assert value.option("test_freq") == 2 and value.is_original and value.generation == generation
    costs, cases = value.position().train_outputs[0]
    assert costs["logprob"][0] / cases == pytest.approx(2.302585, abs=1e-5)


@needs_museum
def test_bare_layers_are_accepted(tmp_path):
    """io 5.5: files that hold the layers alone."""
    value = checkpoint.load(SHARED / "fixtures" / "ckpt-2014.pickle")
    with (tmp_path / "layers").open("wb") as file:
        pickles.dump(value["model_state"]["layers"], file)
    assert checkpoint.load(tmp_path / "layers").layers.keys() == value.layers.keys()


@pytest.mark.parametrize(
    "name, side", [("layers-digits.cfg", 8), ("layers-cifar10-26pct.cfg", 32), ("layers-cifar10-11pct.cfg", 24)]
)
def test_its_size_is_known_before(tmp_path, name, side):
    import convnet
    from convnet.checkpoint import checkpoint_bytes

    net = convnet.build(name, side=side)
    net.mean = 100
    size = net.save(tmp_path / "1.1").stat().st_size
    assert checkpoint_bytes(net.graph) == pytest.approx(size, rel=0.05, abs=30_000)
