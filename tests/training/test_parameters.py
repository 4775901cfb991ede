"""The parameter file is edited while a net trains: what holds from the next batch on, what does not, and what is told of it.

A run that is killed at any moment after goes on to the same bits, with the same marks in its history.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT, SMALL_NET, SMALL_PARAMS, write_net

from convnet import checkpoint
from convnet.checkpoint import CheckpointFolder
from convnet.cli.run import main
from convnet.errors import CheckpointError
from convnet.language import watched
from convnet.net.net import Net
from convnet.training.events import Changed
from convnet.training.log import Log
from convnet.training.records import records_of
from convnet.training.run import Run

SLOWER = SMALL_PARAMS.replace("base=0.0004", "base=0.0001")
WITHOUT_MOMENTUM = SMALL_PARAMS.replace("momW=0.9", "momW=0")
RATES = [f"{name} epsW[0]: dexp[base=0.0004;tgtFactor=10;numSteps=3] -> dexp[base=0.0001;tgtFactor=10;numSteps=3]"
         for name in ("conv1", "fc")]  # fmt: skip


class Killed(BaseException):
    """What stands for kill -9 in tests of one process: nothing is saved, and nothing said."""


@pytest.fixture(autouse=True)
def at_rest(monkeypatch):
    monkeypatch.setattr(watched, "REST", 0)


@pytest.fixture
def net(place, tmp_path):
    """A definition whose parameters may be edited, and data."""
    definition = write_net(tmp_path / "net")
    (tmp_path / "net" / "data").symlink_to(place / "data")
    return definition


def params_of(net):
    return net.with_name("layer-params-small.cfg")


def train(net, save, *more, first=()):
    options = ["--layer-def", net, "--data-path", net.parent / "data", "--mini", 16, "--backend", "cpu", "--seed", 3]
    options += ["--train-range", "1-3", "--test-range", "4", "--epochs", 2, "--test-freq", 2, "--save-file", save]
    return main([*map(str, options), *map(str, more)])


def edits(monkeypatch, *texts, done=2, path=None):
    """Have a run's parameter file edited after ``done`` batches, then after one more each."""
    original, waiting = Run.before_batch, list(texts)

    def edited(run):
        if waiting and run.position.batches_done >= done:
            file = path or run.parameters._watched.path
            text = waiting.pop(0)
            text(file) if callable(text) else file.write_text(text)
        original(run)

    monkeypatch.setattr(Run, "before_batch", edited)


def kill_at_step(monkeypatch, step):
    original = Net.train

    def killed(net, *rest):
        if net.step == step:
            raise Killed
        return original(net, *rest)

    monkeypatch.setattr(Net, "train", killed)


def state_of(save):
    path, loaded, remarks = checkpoint.find_latest(save, checkpoint.load)
    assert not remarks
    state, own = loaded["model_state"], loaded.own
    learned = ("weights", "weightsInc", "biases", "biasesInc")
    arrays = [layer[key] for layer in loaded.layers.values() for key in learned if key in layer]
    arrays = [np.asarray(part).tobytes() for item in arrays for part in (item if isinstance(item, list | tuple) else [item])]
    return path.name, arrays, repr([state["train_outputs"], state["test_outputs"], own["position"], own["noise_state"]])


def marks_of(save):
    return [(record["batches"], record["text"]) for record in records_of(save)[0] if record["line"] == "change"]


@pytest.fixture
def whole(net, tmp_path):
    """What a run comes to whose parameters are edited after two batches."""
    with pytest.MonkeyPatch.context() as patch:
        edits(patch, SLOWER)
        assert train(net, tmp_path / "whole") == 0
    params_of(net).write_text(SMALL_PARAMS)
    assert marks_of(tmp_path / "whole") == [(2, RATES)]
    return state_of(tmp_path / "whole")


def test_an_edit_holds_from_the_next_batch_as_if_made_while_the_run_stood_still(net, tmp_path, whole, capsys):
    save = tmp_path / "parts"
    assert train(net, save, "--max-batches", 2) == 0
    params_of(net).write_text(SLOWER)
    capsys.readouterr()
    assert main(["--load-file", str(save), "--backend", "cpu", "--max-batches", "0"]) == 0
    assert state_of(save) == whole
    assert marks_of(save) == [(2, RATES)]
    out = capsys.readouterr().out
    assert f"Parameters changed after batch 1.2: {', '.join(RATES)}\n" in out
    assert "has changed since the checkpoint was saved: its new values hold from here on" in out


# 8 minibatches are trained on before the edit: two batches of 40 cases, in parts of 16.
@pytest.mark.parametrize("step", range(6, 18))
def test_killed_after_an_edit(net, tmp_path, whole, monkeypatch, capsys, step):
    save = tmp_path / "killed"
    with monkeypatch.context() as patch:
        edits(patch, SLOWER)
        kill_at_step(patch, step)
        with pytest.raises(Killed):
            train(net, save)
    capsys.readouterr()
    assert main(["--load-file", str(save), "--backend", "cpu"]) == 0
    assert state_of(save) == whole
    assert marks_of(save) == [(2, RATES)]
    assert "has changed since" not in capsys.readouterr().out
