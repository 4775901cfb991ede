"""A run that is killed at any moment after an edit goes on to the same bits, with the same marks in its history."""

import os
import subprocess
import sys

import pytest
from edited_runs import (
    RATES,
    SLOWER,
    edits,
    marks_of,
    params_of,
    replaced,
    train,
    words,
)
from interrupted import Killed, fail_to_save, state_of
from support import ROOT, SMALL_PARAMS

from convnet.cli import main
from convnet.net.net import Net
from convnet.training.history import History
from convnet.training.log import Log
from convnet.training.records import records_of


def kill_at_step(monkeypatch, step):
    original = Net.train

    def killed(net, *rest):
        if net.step == step:
            raise Killed
        return original(net, *rest)

    monkeypatch.setattr(Net, "train", killed)


@pytest.mark.parametrize("step", range(6, 18))
def test_killed_after_an_edit(net, tmp_path, whole, monkeypatch, capsys, step):
    save = tmp_path / "killed"
    with monkeypatch.context() as patch:
        edits(patch, SLOWER)
        kill_at_step(patch, step)
        with pytest.raises(Killed):
            train(net, save)
    capsys.readouterr()
    assert main(["run", "--load-file", str(save), "--backend", "cpu"]) == 0
    assert state_of(save) == whole
    assert marks_of(save) == [(2, RATES)]
    assert "has changed since" not in capsys.readouterr().out


def test_killed_before_a_checkpoint_has_it_the_file_holds_where_the_run_goes_on(net, tmp_path, whole, monkeypatch):
    save = tmp_path / "killed"
    with monkeypatch.context() as patch:
        edits(patch, SLOWER, done=3)
        fail_to_save(patch, (1, 3), Killed())
        with pytest.raises(Killed):
            train(net, save)
    assert marks_of(save) == []
    assert main(["run", "--load-file", str(save), "--backend", "cpu"]) == 0
    assert state_of(save) == whole
    assert marks_of(save) == [(2, RATES)]


def test_killed_before_the_log_has_it_the_mark_is_that_of_the_checkpoint(net, tmp_path, monkeypatch):
    save, original = tmp_path / "killed", Log.write

    def killed(log, line, *rest, **more):
        if line == "change":
            raise Killed
        original(log, line, *rest, **more)

    with monkeypatch.context() as patch:
        edits(patch, SLOWER, done=3)
        patch.setattr(Log, "write", killed)
        with pytest.raises(Killed):
            train(net, save)
    assert marks_of(save) == []
    params_of(net).write_text(SLOWER + "# looked at again\n")
    for batches in (1, 0):
        assert main(["run", "--load-file", str(save), "--backend", "cpu", "--max-batches", str(batches)]) == 0
    assert marks_of(save) == [(3, RATES)]


def test_a_run_that_goes_on_from_before_the_change_has_its_own_mark(net, tmp_path, monkeypatch):
    save = tmp_path / "parts"
    with monkeypatch.context() as patch:
        edits(patch, SLOWER, done=3)
        assert train(net, save, "--keep", 9) == 0
    assert marks_of(save) == [(3, RATES)]
    for _ in range(2):  # the second goes on from the same place
        again = ["run", "--load-file", save / "1.2", "--backend", "cpu", "--max-batches", 1]
        assert main(list(map(str, again))) == 0
        assert marks_of(save) == [(2, RATES)]
    aside, _ = History.read(save / "2.1.aside")
    assert [mark.at for mark in aside.marks if mark.kind == "change"] == [3]


def test_marks_of_a_run_without_a_log_are_those_of_its_checkpoint(net, tmp_path, whole):
    (tmp_path / "whole" / "log.jsonl").unlink()
    assert marks_of(tmp_path / "whole") == [(2, RATES)]
    lines = [record["line"] for record in records_of(tmp_path / "whole")[0]]
    assert lines == ["begin", "batch", "batch", "test", "change", *["batch", "batch", "test"] * 2, "final"]


@pytest.mark.slow
def test_a_process_that_is_killed_comes_to_what_one_comes_to_that_is_not(net, tmp_path, monkeypatch):
    script = "import sys, time; from convnet.cli import main; from convnet.net.net import Net\n"
    script += "train = Net.train; Net.train = lambda *a: (time.sleep(0.1), train(*a))[1]; sys.exit(main())"
    command = [sys.executable, "-c", script, "run", *words(net, tmp_path / "killed", "--epochs", 4)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            for word in ("\n1.3", "\nParameters changed", "\n"):
                while word not in "\n" + (line := process.stdout.readline()):
                    assert line
                if word == "\n1.3":
                    replaced(SLOWER)(params_of(net))
        finally:
            process.kill()
    assert main(["run", "--load-file", str(tmp_path / "killed"), "--backend", "cpu"]) == 0
    ((done, text),) = marks_of(tmp_path / "killed")
    assert done >= 3 and text == RATES
    params_of(net).write_text(SMALL_PARAMS)
    edits(monkeypatch, SLOWER, done=done)
    assert main(["run", *words(net, tmp_path / "whole", "--epochs", 4)]) == 0
    assert marks_of(tmp_path / "whole") == [(done, RATES)]
    assert state_of(tmp_path / "killed") == state_of(tmp_path / "whole")
