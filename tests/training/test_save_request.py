"""A run that is asked to save goes on, and whatever kills it later, it goes on from there to the same bits."""

import os
import signal
import subprocess
import sys

import pytest
from interrupted import Killed, fail_to_save, state_of
from support import ROOT

from convnet import checkpoint
from convnet.cli import main
from convnet.data.matrices import Matrices
from convnet.errors import CheckpointError
from convnet.net.net import Net
from convnet.training.records import records_of
from convnet.training.run import Run

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 on Windows")


def words(place, save, *more):
    options = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--save-file", save, "--mini", "16"]
    options += ["--train-range", "1-2", "--test-freq", "2", "--test-range", "3-4", "--test-one", "0", "--epochs", "3"]
    return ["run", *map(str, options), "--backend", "cpu", *more]


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    """What a run comes to that is asked nothing."""
    save = tmp_path_factory.mktemp("whole")
    assert main(words(place, save)) == 0
    return state_of(save)


def ask_at(patch, owner, name, calls, killed_at=0):
    """Send SIGUSR1 in some calls of ``owner.name``, and kill the run at the beginning of one."""
    original, seen = getattr(owner, name), []

    def counted(*args, **kwargs):
        seen.append(None)
        if len(seen) == killed_at:
            raise Killed
        if len(seen) in calls:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(*args, **kwargs)

    patch.setattr(owner, name, counted)


def lines_of(save, kind="saved"):
    return [record for record in records_of(save)[0] if record["line"] == kind]


# A batch has three minibatches of training, a test six; after every second batch there is a test.
@pytest.mark.parametrize(
    "call, name, minibatches", [(1, "0.0", 1), (2, "0.0", 2), (3, "1.1", 0), (5, "1.1", 2), (7, "1.2", 1)]
)
def test_between_two_minibatches(place, whole, tmp_path, monkeypatch, capsys, call, name, minibatches):
    with monkeypatch.context() as patch:
        ask_at(patch, Net, "train", [call], killed_at=call + 1)
        with pytest.raises(Killed):
            main(words(place, tmp_path))
    assert f"Saved checkpoint to {tmp_path / name}, as asked." in capsys.readouterr().out
    assert checkpoint.load(tmp_path / name).position().minibatches == minibatches
    assert lines_of(tmp_path)[-1]["checkpoint"] == name
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


@pytest.mark.parametrize("call", [1, 3, 5, 7])
def test_in_a_test_which_is_then_repeated(place, whole, tmp_path, monkeypatch, capsys, call):
    with monkeypatch.context() as patch:
        ask_at(patch, Net, "test", [call], killed_at=call + 1)
        with pytest.raises(Killed):
            main(words(place, tmp_path))
    name, _, _ = state_of(tmp_path)
    assert name == ("1.1" if call < 6 else "2.1") and "as asked." in capsys.readouterr().out
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


def test_several_times_everywhere_and_nothing_ends(place, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        ask_at(patch, Net, "train", range(1, 99))
        ask_at(patch, Net, "test", range(1, 99))
        ask_at(patch, Matrices, "batch", range(1, 99))
        assert main(words(place, tmp_path, "--keep", "99")) == 0
    assert state_of(tmp_path) == whole
    assert capsys.readouterr().out.count("as asked.") > 18


def test_the_line_of_the_batch_is_whole_after_it(place, tmp_path, monkeypatch, capsys):
    ask_at(monkeypatch, Net, "train", [2])
    assert main(words(place, tmp_path, "--epochs", "1")) == 0
    out = capsys.readouterr().out
    begun, costs = out[out.index("1.1 (") :].splitlines()[0], out[out.rindex("1.1 (") :].splitlines()[0]
    assert begun == "1.1 (0.00%)... " and costs.startswith("1.1 (0.00%)... logprob:  ")


def test_the_originals_never_said_so_on_standard_output(place, tmp_path, monkeypatch, capsys):
    ask_at(monkeypatch, Net, "train", [2, 3])
    assert main(words(place, tmp_path, "--compat", "2014")) == 0
    shown = capsys.readouterr()
    assert "as asked" not in shown.out and shown.err.count("as asked.") == 2


def test_a_full_disk_ends_nothing(place, whole, tmp_path, monkeypatch, capsys):
    ask_at(monkeypatch, Net, "train", [4])
    fail_to_save(monkeypatch, (1, 1), CheckpointError("no space left on device"))
    assert main(words(place, tmp_path)) == 0
    assert "No checkpoint was saved: no space left on device\n" in capsys.readouterr().out
    assert state_of(tmp_path) == whole


def test_another_thread_may_ask_and_stop(place, whole, tmp_path, monkeypatch, capsys):
    """As the buttons of a page do."""
    original, steps = Net.train, []

    def asked(net, *rest):
        steps.append(None)
        if len(steps) == 4:
            run[0].save_request.ask()
        if len(steps) == 5:
            run[0].stop.ask("the page")
        return original(net, *rest)

    run, begin = [], Run.run
    with monkeypatch.context() as patch:
        patch.setattr(Net, "train", asked)
        patch.setattr(Run, "run", lambda self: (run.append(self), begin(self))[1])
        assert main(words(place, tmp_path)) == 0
    out = capsys.readouterr().out
    assert f"Saved checkpoint to {tmp_path / '1.1'}, as asked." in out
    assert "\nStopped by the page after batch 1.1 and 2 minibatches.\n" in out
    assert lines_of(tmp_path, "stopped")[-1]["by"] == "the page"
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole


@pytest.mark.slow
def test_a_process_under_nohup_saves_and_goes_on_after_kill_9(place, whole, tmp_path):
    """Also while it starts, when there is nothing to save: then nothing happens."""
    script = (
        "import os, signal, sys; from convnet import cli; from convnet.net.net import Net; train, steps = Net.train, []\n"
    )
    script += "def killed(*rest):\n    steps.append(None)\n"
    script += "    if len(steps) in (5, 7): os.kill(os.getpid(), signal.SIGUSR1 if len(steps) == 5 else signal.SIGKILL)\n"
    script += "    return train(*rest)\n"
    script += "own = cli.end_program_on_signals; Net.train = killed\n"
    script += "cli.end_program_on_signals = lambda is_quiet: (own(is_quiet), os.kill(os.getpid(), signal.SIGUSR1))\n"
    script += "sys.exit(cli.main())"
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", script, *words(place, tmp_path)],
        env=env,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL and f"Saved checkpoint to {tmp_path / '1.1'}, as asked." in done.stdout
    assert main(words(place, tmp_path)) == 0
    assert state_of(tmp_path) == whole
