"""Signals: a run saves wherever it is, in a test or while it waits for data, and goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support import ROOT

from convnet import checkpoint
from convnet.cli import main
from convnet.data.matrices import Matrices
from convnet.errors import DataError
from convnet.interrupts import SIGNALS
from convnet.net.net import Net
from convnet.training.events import BatchBegin, BatchClosed, BatchEnd, TestEnd, WeightsMeasured
from convnet.training.lines import Lines


def words(place, save, *more):
    options = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--save-file", save, "--mini", "16"]
    options += ["--train-range", "1-2", "--test-freq", "2", "--test-range", "3-4", "--test-one", "0", "--epochs", "3"]
    return ["run", *map(str, options), *more]


def state_of(save):
    path, loaded, remarks = checkpoint.find_latest(save, checkpoint.load)
    assert not remarks
    state = loaded["model_state"]
    arrays = {
        (name, key): [np.asarray(part).tobytes() for part in (layer[key] if isinstance(layer[key], list) else [layer[key]])]
        for name, layer in loaded.layers.items()
        for key in ("weights", "weightsInc", "biases", "biasesInc")
        if key in layer
    }
    position = state["convnet"]["position"]
    return path.name, state["train_outputs"], state["test_outputs"], position, arrays


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    """What a run that nobody stops comes to."""
    save = tmp_path_factory.mktemp("whole")
    assert main(words(place, save)) == 0
    return state_of(save)


def signal_at(monkeypatch, owner, name, call, number):
    """Send this process a signal when ``owner.name`` is called for the ``call``-th time."""
    original, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("call", [1, 4, 5, 6])
def test_a_test_that_is_stopped_is_not_counted_and_is_repeated(number, call, place, whole, tmp_path, monkeypatch, capsys):
    """In a first, a middle and the last minibatch of the first of three tests, of two batches of three minibatches."""
    with monkeypatch.context() as patch:
        calls = signal_at(patch, Net, "test", call, number)
        assert main(words(place, tmp_path, "--test-out", str(tmp_path / "preds"))) == 0
    out = capsys.readouterr().out
    assert "no test was due" not in out  # what was written of a test that was stopped stays
    assert f"Stopped by {number.name} after " in out and "Saved checkpoint to" in out and len(calls) == call
    saved = state_of(tmp_path)
    if call < 6:  # else it was through
        assert saved[2] == [] and len(saved[1]) == 1 and saved[3]["minibatches"] == 3
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


@pytest.mark.parametrize("call", [1, 2, 3, 4, 6])
def test_a_signal_in_any_minibatch(call, place, whole, tmp_path, monkeypatch, capsys):
    """The last before a test among them: it is then not begun."""
    with monkeypatch.context() as patch:
        signal_at(patch, Net, "train", call, signal.SIGTERM)
        assert main(words(place, tmp_path)) == 0
    assert "Stopped by SIGTERM" in capsys.readouterr().out
    trained = 40 * (call // 3) + 16 * (call % 3)  # of three minibatches the last has 8
    assert sum(cases for _, cases in state_of(tmp_path)[1]) + state_of(tmp_path)[3]["cases"] == trained
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


@pytest.mark.parametrize("batch", [1, 2, 3], ids=["first", "second", "of a test"])
def test_a_signal_while_data_are_loaded(batch, place, whole, tmp_path, monkeypatch, capsys):
    """From a disk that never answers."""
    answers, original, train, trained = threading.Event(), Matrices.batch, Net.train, []

    def counted(*args):
        costs = train(*args)
        trained.append(None)
        return costs

    def stuck(self, epoch, number):
        if (epoch, number) == (1, batch):
            while len(trained) < 3 * (batch - 1):
                time.sleep(0.01)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
            answers.wait(60)
        return original(self, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Matrices, "batch", stuck)
        patch.setattr(Net, "train", counted)
        assert main(words(place, tmp_path)) == 0
        assert not answers.is_set()
    answers.set()
    assert "Stopped by SIGTERM" in capsys.readouterr().out
    assert len(state_of(tmp_path)[1]) == {1: 0, 2: 1, 3: 1}[batch]
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


@pytest.mark.parametrize(
    "kind, call",
    [(BatchEnd, 1), (BatchEnd, 2), (TestEnd, 1), (WeightsMeasured, 2), (BatchClosed, 2), (BatchBegin, 3)],
)
def test_an_output_that_breaks_loses_nothing(kind, call, place, whole, tmp_path, monkeypatch, capsys):
    """As when the terminal is gone: what was trained is saved before the run ends."""
    original, calls = Lines.__call__, []

    def broken(self, event):
        calls.extend([event] * isinstance(event, kind))
        if isinstance(event, kind) and len(calls) >= call:
            raise OSError(5, "Input/output error")
        original(self, event)

    with monkeypatch.context() as patch:
        patch.setattr(Lines, "__call__", broken)
        assert main(words(place, tmp_path)) == 1
    assert capsys.readouterr().err == "convnet: Input/output error\n"
    assert len(state_of(tmp_path)[1]) >= 1
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


def test_a_test_that_fails_is_made_up_for(place, whole, tmp_path, monkeypatch, capsys):
    """As when its data cannot be read for a while: the batch before it counts as trained, but not as tested."""
    original = Matrices.batch

    def damaged(self, epoch, number):
        if number == 4:
            raise DataError("data_batch_4: damaged")
        return original(self, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Matrices, "batch", damaged)
        assert main(words(place, tmp_path)) == 1
    assert capsys.readouterr().err == "convnet: data_batch_4: damaged\n"
    assert state_of(tmp_path)[3]["minibatches"] == 3
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


# -- processes


def start(*command, **settings):
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1")
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env}
    return subprocess.Popen([sys.executable, "-m", "convnet", *map(str, command)], **usual | settings)


def wait_for(text, process):
    """Read what a program prints up to ``text``, which begins with the end of a line where a line has to begin so."""
    line = "\n"
    while text not in line:
        line = process.stdout.readline()
        assert line, process.communicate()
        line = "\n" + line


ENDLESS = {  # what runs for long without anything to save; the word that says that it has begun
    "bench": (["bench", "--layer-def", "layers-digits.cfg", "--steps", "1000000", "--mini", "16"], "ready"),
    "check-grads": (["run", "--layer-def", "layers-cifar10-13pct.cfg", "--check-grads"], "Gradients of"),
    "starting": (["run", "--layer-def", "layers-imagenet.cfg"], "ready"),
    "pipe": (["explain", "/dev/stdin"], "ready"),
}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("verb", ENDLESS)
@pytest.mark.parametrize("moment", [0.0, 0.3], ids=["importing", "later"])
def test_a_program_with_nothing_to_save_ends_at_once(verb, number, moment, tmp_path):
    """One line, the status of shells, nothing half written."""
    command, word = ENDLESS[verb]
    script = "import sys; from convnet import cli; own = cli.end_program_on_signals\n"
    script += "cli.end_program_on_signals = lambda is_quiet: (own(), print('ready', flush=True)); sys.exit(cli.main())"
    environment = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1", CONVNET_CACHE_DIR=str(tmp_path / "cache"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", script, *command], cwd=tmp_path, env=environment, **pipes)
    try:
        wait_for(word, process)
        time.sleep(moment)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number, said
    assert said == "convnet: interrupted; what was saved before is untouched\n"
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "checkpoints").exists()


def test_a_second_signal_ends_at_once(place, tmp_path):
    """With whole checkpoints only; the first has not been answered since the step takes long."""
    script = "import sys, time; from convnet.cli import main; from convnet.net.net import Net\n"
    script += "train = Net.train; Net.train = lambda *a: (print('step', flush=True), time.sleep(60), train(*a))[2]\n"
    script += "sys.exit(main())"
    command = [sys.executable, "-c", script, *words(place, tmp_path / "run")]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    wait_for("step", process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == "convnet: interrupted; what was saved before is untouched\n"
    assert not (tmp_path / "run").exists()  # nor its lock


def test_nohup_is_meant(place, tmp_path):
    """A run that was started to ignore SIGHUP goes on; one that was not saves and ends."""
    ignoring = start(
        *words(place, tmp_path / "a", "--epochs", "400"), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    taking = start(*words(place, tmp_path / "b", "--epochs", "400"))
    for process in (ignoring, taking):
        wait_for("1.2", process)
        process.send_signal(signal.SIGHUP)
    out, _ = taking.communicate(timeout=60)
    assert taking.returncode == 0 and "Stopped by SIGHUP" in out and "Saved checkpoint" in out
    wait_for("\n3.", ignoring)
    ignoring.send_signal(signal.SIGTERM)
    out, _ = ignoring.communicate(timeout=60)
    assert "Stopped by SIGTERM" in out and ignoring.returncode == 0
