"""``mpiexec -n N convnet run``, with pictures cropped and coloured at random, and dropout, does what one process does."""

import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from picture_files import encoded
from PIL import Image
from ranks.started import Ranks, has_mpi, ranks
from support import SMALL_NET, SMALL_PARAMS, dump, write_net

from convnet import checkpoint
from convnet.cli import main

pytestmark = [has_mpi, pytest.mark.slow]
finds_ranks = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes of ranks are found in /proc")
CASES, BATCHES, SIDE, STEPS = 40, 3, 36, 24  # 3 steps of each of 2 batches in 4 epochs
OPTIONS = "--layer-def layers-small.cfg --data-path data --inner-size 32 --color-noise 0.1 --mini 16"
RUN = f"{OPTIONS} --test-freq 2 --backend cpu --epochs 4".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures of ten classes and a small net, and what one process makes of them in ``one``."""
    folder = tmp_path_factory.mktemp("mpi")
    random = np.random.RandomState(1)
    patterns = random.randint(0, 256, (10, SIDE, SIDE, 3))
    (folder / "data").mkdir()
    for number in range(1, BATCHES + 1):
        labels = random.randint(0, 10, CASES)
        pixels = np.clip(patterns[labels] * 0.6 + random.randint(0, 100, (CASES, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        strings = [encoded(Image.fromarray(one), "JPEG") for one in pixels]
        dump(folder / "data" / f"data_batch_{number}", {"data": strings, "labels": [[int(label)] for label in labels]})
    meta = {"num_vis": 3 * SIDE**2, "label_names": [*"abcdefghij"], "color_pca": (np.ones(3) * 30, np.eye(3))}
    dump(folder / "data" / "batches.meta", meta | {"data_mean": np.full(3 * SIDE**2, 120.0)})
    write_net(folder, SMALL_NET, SMALL_PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, more in (("one", []), ("sharded", ["--shards", "4"])):
            assert main(["run", *RUN, "--save-file", name, *more]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def run(size, *arguments):
    ended = ranks(size, "-m", "convnet", "run", *arguments, folder=Path.cwd())
    assert ended.status == 0 and "Traceback" not in ended.error, ended
    return ended


def weights_of(folder):
    """All that training changes, and the costs."""
    _, loaded, _ = checkpoint.find_latest(folder, checkpoint.load)
    assert loaded.own["step"] == STEPS
    keys = ("weights", "weightsInc", "biases", "biasesInc")
    held = [layer[key] for layer in loaded.layers.values() for key in keys if key in layer]
    arrays = [np.asarray(one) for value in held for one in (value if isinstance(value, list) else [value])]
    return arrays, loaded["model_state"]["train_outputs"], loaded["model_state"]["test_outputs"]


def assert_same(one, other):
    (arrays, *costs), (others, *other_costs) = weights_of(one), weights_of(other)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(arrays, others, strict=True))
    assert costs == other_costs


def test_shards_give_the_bits_of_one_process():
    ended = run(4, *RUN, "--save-file", "sharded-4", "--shards", "4")
    assert_same("sharded", "sharded-4")
    assert ended.out.count("Saved checkpoint to") == 5 and ended.error == ""


def test_without_shards_weights_are_as_close_as_sums():
    run(2, *RUN, "--save-file", "ranks")
    for mine, theirs in zip(weights_of("one")[0], weights_of("ranks")[0], strict=True):
        np.testing.assert_allclose(theirs, mine, atol=1e-5)


def test_a_run_goes_on_on_any_number_of_ranks():
    """Four, then one, then two."""
    run(4, *RUN, "--save-file", "moving", "--shards", "4", "--max-batches", "3")
    assert main(["run", "--save-file", "moving", "--max-batches", "2"]) == 0
    run(2, "--save-file", "moving")
    assert_same("sharded", "moving")


@finds_ranks
def test_a_signal_to_one_rank_saves_once_and_ends_all():
    with Ranks(2, "-m", "convnet", "run", *endless("stopped"), folder=Path.cwd()) as started:
        started.wait_for("stopped/[0-9]*.[0-9]*")
        os.kill(started.pids()[1], signal.SIGINT)
        ended = started.end(30)
    assert ended.status == 0, ended
    assert ended.out.count("Stopped by SIGINT") == 1 and "Traceback" not in ended.error
    _, loaded, remarks = checkpoint.find_latest("stopped", checkpoint.load)
    assert loaded and not remarks


def endless(folder):
    return [*RUN[:-1], "100000", "--save-file", folder]


@finds_ranks
def test_a_killed_rank_leaves_the_last_checkpoint_whole():
    with Ranks(2, "-m", "convnet", "run", *endless("killed"), folder=Path.cwd()) as started:
        started.wait_for("killed/[0-9]*.[0-9]*")
        pids = started.pids()
        os.kill(pids[1], signal.SIGKILL)
        ended = started.end(30)
    assert ended.status != 0 and "Traceback" not in ended.error
    said = [line for line in ended.error.replace("\0", "").splitlines() if line.startswith("convnet:")]
    assert len(said) <= 1 and all("the last checkpoint is " in line and "/killed/" in line for line in said)
    assert said or "Killed (signal 9)" in ended.out
    _, loaded, remarks = checkpoint.find_latest("killed", checkpoint.load)
    assert loaded and not remarks


@pytest.mark.parametrize(
    ("more", "texts"),
    [
        (["--mini", "8", "--layer-path", "other"], ["    --mini: 16 on rank 0 (", "    layer files: "]),
        (["--data-path", "less"], ["    training data: 1-3 of image on rank 0 ("]),
    ],
    ids=["options", "data"],
)
def test_ranks_that_differ_say_so_before_the_first_step(place, more, texts):
    write_net(place / "other", params=SMALL_PARAMS.replace("keep=0.8", "keep=0.7"))
    (place / "less").mkdir(exist_ok=True)
    for name in ("data_batch_1", "data_batch_3", "batches.meta"):
        (place / "less" / name).write_bytes((place / "data" / name).read_bytes())
    line = ["-m", "convnet", "run", *RUN, "--save-file", "differ"]
    ended = ranks(1, *line, ":", "-n", "1", sys.executable, *line, *more, folder=place)
    assert ended.status != 0 and "Traceback" not in ended.error
    said = ended.error.partition("convnet: ranks differ, where all must be alike:\n")[2]
    for text in texts:
        assert said.count(text) == 1
    assert ended.error.count("ranks differ") == 1 and not list(place.glob("differ/[0-9]*"))


def test_a_mistake_is_said_once(place):
    ended = ranks(3, "-m", "convnet", "run", *RUN, "--data-path", "nowhere", folder=place)
    assert ended.status != 0 and ended.error.count("nowhere") == 1 and "Traceback" not in ended.error


@pytest.mark.parametrize("wrong", [["--epoch", "x"], ["--config", "nowhere.toml"]], ids=["option", "config"])
def test_a_rank_whose_options_are_wrong_does_not_leave_the_others_waiting(place, wrong):
    line = ["-m", "convnet", "run", *RUN]
    ended = ranks(1, *line, ":", "-n", "1", sys.executable, *line, *wrong, folder=place)
    assert ended.status != 0 and re.search(rf"convnet: rank 1 on \S+: .*{wrong[0]}|nowhere", ended.error), ended


def test_other_verbs_are_done_once(place):
    ended = ranks(2, "-m", "convnet", "--version", folder=place)
    assert ended.status == 0 and ended.out.count("convnet ") == 1
