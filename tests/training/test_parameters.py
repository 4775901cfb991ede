"""The parameter file is edited while a net trains: what holds from the next batch on, what does not, and what is told of it.

A run that is killed at any moment after goes on to the same bits, with the same marks in its history.
"""

import os
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from support import ROOT, SMALL_NET, SMALL_PARAMS, dump, write_net

from convnet import checkpoint
from convnet.checkpoint import CheckpointFolder
from convnet.cli import main
from convnet.errors import CheckpointError
from convnet.language import watched
from convnet.net.net import Net
from convnet.texts import grouped
from convnet.training.history import History
from convnet.training.log import Log
from convnet.training.records import records_of
from convnet.training.run import Run

SLOWER = SMALL_PARAMS.replace("base=0.0004", "base=0.0001")
WITHOUT_MOMENTUM = SMALL_PARAMS.replace("momW=0.9", "momW=0")
RATES = [f"{name} epsW[0]: dexp[base=0.0004;tgtFactor=10;numSteps=3] -> dexp[base=0.0001;tgtFactor=10;numSteps=3]"
         for name in ("conv1", "fc")]  # fmt: skip
SHOWN = RATES[0].replace("conv1 ", "conv1, fc ")


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


def words(net, save, *more):
    options = ["--layer-def", net, "--data-path", net.parent / "data", "--mini", 16, "--backend", "cpu", "--seed", 3]
    options += ["--train-range", "1-3", "--test-range", "4", "--epochs", 2, "--test-freq", 2, "--save-file", save]
    return [*map(str, options), *map(str, more)]


def train(net, save, *more):
    return main(["run", *words(net, save, *more)])


def edits(monkeypatch, *texts, done=2, path=None):
    """Have a run's parameter file edited after ``done`` batches, then after one more each."""
    original, waiting = Run.before_batch, list(texts)

    def edited(run):
        if waiting and run.position.batches_done >= done:
            file = path or run.edits.parameters._watched.path
            text = waiting.pop(0)
            text(file) if callable(text) else file.write_text(text)
        return original(run)

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
    found = [(record["batches"], record["text"]) for record in records_of(save)[0] if record["line"] == "change"]
    marks = [(mark.at, mark.text) for mark in History.read(save)[0].marks if mark.kind == "change"]
    assert marks == [(at, "; ".join(grouped(text))) for at, text in found]
    return found


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
    assert main(["run", "--load-file", str(save), "--backend", "cpu", "--max-batches", "0"]) == 0
    assert state_of(save) == whole
    assert marks_of(save) == [(2, RATES)]
    out = capsys.readouterr().out
    assert f"Parameters changed after batch 1.2: {SHOWN}\n" in out
    assert "has changed since the checkpoint was saved: its new values hold from here on" in out


# 6 minibatches are trained on before the edit: two batches of 40 cases, in parts of 16.
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
    save, original = tmp_path / "killed", CheckpointFolder.save

    def killed(folder, value, epoch, batch):
        if (epoch, batch) == (1, 3):
            raise Killed
        return original(folder, value, epoch, batch)

    with monkeypatch.context() as patch:
        edits(patch, SLOWER, done=3)
        patch.setattr(CheckpointFolder, "save", killed)
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


PLAIN_NET = SMALL_NET.replace("[drop]\ntype=dropout\ninputs=pool1\n", "").replace("inputs=drop", "inputs=pool1")
PLAIN = SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0.0004").replace("keep=0.8\n", "")


@pytest.mark.parametrize("form", ["2014", "2012", "2011", "npz"])
def test_checkpoints_of_every_format_have_it(net, tmp_path, monkeypatch, form):
    write_net(net.parent, PLAIN_NET, PLAIN)
    edits(monkeypatch, PLAIN.replace("epsW=0.0004", "epsW=0.0001"))
    assert train(net, tmp_path / form, "--checkpoint-format", form) == 0
    _, loaded, _ = checkpoint.find_latest(tmp_path / form, checkpoint.load)
    assert loaded.position().changes == [
        {"batches": 2, "minibatches": 0, "text": ["conv1 epsW[0]: 0.0004 -> 0.0001", "fc epsW[0]: 0.0004 -> 0.0001"]}
    ]
    assert "epsW=0.0001" in loaded.files().params and "epsW=0.0004" not in loaded.files().params
    stored = loaded.layers["conv1"]["epsW"][0]
    assert float(stored["params"]["base"] if isinstance(stored, dict) else stored) == pytest.approx(0.0001)


OTHERS = {
    "frozen": PLAIN + "[conv1]\nepsW=0\nepsB=0\n",
    "momenta": PLAIN.replace("momW=0.9\nmomB=0.9", "momW=0\nmomB=0.5"),
    "decay and limits": PLAIN.replace("wc=0.01", "wc=0.5\nwball=0.02"),
    "contrast": PLAIN + "[conv1]\nwcNormMin=0.001\nwcNormMax=0.01\n",
    "coefficient": PLAIN.replace("coeff=1", "coeff=0.1"),
    "schedule": PLAIN.replace("epsW=0.0004", "epsW=exp[base=0.0004;tgtFactor=100]"),
    "period": PLAIN + "[fc]\nupdatePeriod=2\n",
    "other period": PLAIN.replace("wc=0.01", "wc=0.01\nupdatePeriod=5"),
    "dropout": PLAIN + "[drop]\nkeep=0.3\n",
}


@pytest.mark.parametrize("more", [(), ("--wupdate-freq", 4)], ids=["each", "4"])
@pytest.mark.parametrize("name", OTHERS)
def test_whatever_changes_it_is_as_in_a_run_that_goes_on_with_it(net, tmp_path, monkeypatch, name, more):
    write_net(net.parent, params=PLAIN)
    with monkeypatch.context() as patch:
        edits(patch, OTHERS[name])
        assert train(net, tmp_path / "run", *more) == 0
    params_of(net).write_text(PLAIN)
    assert train(net, tmp_path / "parts", "--max-batches", 2, *more) == 0
    params_of(net).write_text(OTHERS[name])
    assert main(["run", "--load-file", str(tmp_path / "parts"), "--backend", "cpu", "--max-batches", "0"]) == 0
    assert state_of(tmp_path / "run") == state_of(tmp_path / "parts")
    assert len(marks_of(tmp_path / "run")) == 1


def test_rates_follow_a_new_schedule_at_once_and_the_log_has_them(net, tmp_path, monkeypatch):
    write_net(net.parent, params=PLAIN)
    edits(monkeypatch, PLAIN.replace("epsW=0.0004", "epsW=linear[base=0.0004;tgtFactor=4]"))
    assert train(net, tmp_path / "run") == 0
    records = records_of(tmp_path / "run")[0]
    rates = [record["rates"]["fc"]["weights[0]"] for record in records if "rates" in record]
    assert rates == pytest.approx([0.0004] + [0.0004 * (1 - p) + 0.0001 * p for p in (2 / 6, 3 / 6, 4 / 6, 5 / 6)])


def test_a_frozen_layer_stays_and_one_that_is_freed_learns(net, tmp_path, monkeypatch):
    frozen = PLAIN + "[conv1]\nepsW=0\nepsB=0\n"
    write_net(net.parent, params=frozen)
    edits(monkeypatch, PLAIN, frozen, done=2)
    assert train(net, tmp_path / "run", "--keep", 9, "--test-freq", 1) == 0
    saved = [checkpoint.load(tmp_path / "run" / name) for name in ("1.1", "1.2", "1.3", "2.1", "2.3")]
    weights = [one.layers["conv1"]["weights"][0] for one in saved]
    assert [np.array_equal(*pair) for pair in pairwise(weights)] == [True, False, True, True]


def test_a_definition_of_one_file_is_watched_too(net, tmp_path, monkeypatch, capsys):
    text = """
[layer.data]
type = "data"
dataIdx = 0
[layer.labels]
type = "data"
dataIdx = 1
[layer.fc]
type = "fc"
inputs = "data"
outputs = 10
initW = 0.01
epsW = 0.0001
epsB = 0.001
momW = 0.9
momB = 0.9
[layer.probs]
type = "softmax"
inputs = "fc"
[layer.logprob]
type = "cost.logreg"
inputs = ["labels", "probs"]
coeff = 1
"""
    file = net.parent / "net.toml"
    file.write_text(text)
    other, slower = text.replace("initW = 0.01", "initW = 0.02"), text.replace("epsW = 0.0001", "epsW = 0.0002")
    with monkeypatch.context() as patch:
        edits(patch, other, slower, done=1)
        assert train(file, tmp_path / "run", "--max-batches", 4) == 0
    mark = (2, ["fc epsW[0]: 0.0001 -> 0.0002"])
    assert marks_of(tmp_path / "run") == [mark]
    assert "cannot change while a net trains (fc initW: 0.01 -> 0.02)" in capsys.readouterr().out
    file.write_text(slower + "# a note\n")
    go_on = ["run", "--load-file", str(tmp_path / "run"), "--backend", "cpu", "--max-batches", "1"]
    assert main(go_on) == 0 and told(capsys, "has changed") == []
    file.write_text(text)
    assert main(go_on) == 0 and len(told(capsys, "its new values hold from here on")) == 1
    assert marks_of(tmp_path / "run") == [mark, (5, ["fc epsW[0]: 0.0002 -> 0.0001"])]


# -- what does not hold


def told(capsys, *words):
    out = capsys.readouterr().out
    return [line for line in out.splitlines() if any(word in line for word in words)]


@pytest.fixture
def untouched(net, tmp_path):
    assert train(net, tmp_path / "untouched") == 0
    return state_of(tmp_path / "untouched")


def test_mistakes_are_shown_once_with_their_carets_and_the_old_values_go_on(net, tmp_path, untouched, monkeypatch, capsys):
    broken = SMALL_PARAMS.replace("momW=0.9", "momW=fast").replace("coeff=1", "coef=1")
    edits(monkeypatch, broken, lambda file: os.utime(file, (1, 1)), broken, done=1)
    capsys.readouterr()
    assert train(net, tmp_path / "run") == 0
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []
    out = capsys.readouterr().out
    file = params_of(net)
    assert out.count("has changed and does not hold; the values before it stay:\n") == 1
    assert out.count(f"{file}:5:6: error: [DEFAULT]: momW=fast is not valid\n    momW=fast\n         ^^^^\n") == 1
    assert "did you mean 'coeff'?" in out
    messages = [record["text"] for record in records_of(tmp_path / "run")[0] if record["line"] == "message"]
    assert sum("momW=fast is not valid" in text for text in messages) == 1


@pytest.mark.parametrize(
    "edit, reason",
    [
        ((SMALL_PARAMS.replace("epsW=dexp[base=0.0004;tgtFactor=10;numSteps=3]", "epsW=0").replace("epsB=0.002", "epsB=0")),
         "every learning rate is 0"),
        (SMALL_PARAMS.replace("coeff=1", "coeff=0"), "every cost has coeff=0"),
        (SMALL_PARAMS.replace("topk=2", "topk=3"), "cannot change while a net trains (logprob topk: 2 -> 3)"),
        (SMALL_PARAMS.replace("momB", "superEps=1\nmomB") + "[conv1]\nepsW=0.001", "conv1 superEps: 0 -> 1"),
        (b"\x89PNG\r\n\x1a\n", "a picture, not a layer file"),
        (SMALL_PARAMS.replace("dexp[base", "dxp[base"), "did you mean 'dexp'?"),
    ],
)  # fmt: skip
def test_what_cannot_hold_is_told_and_not_taken(net, tmp_path, untouched, monkeypatch, capsys, edit, reason):
    edits(monkeypatch, edit if isinstance(edit, str) else lambda file: file.write_bytes(edit))
    capsys.readouterr()
    assert train(net, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert out.count(reason) == 1 and "has changed and does not hold; the values before it stay" in out
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []


def replaced(text):
    """What an editor does that writes a new file and renames it."""

    def edit(file):
        beside = file.with_name("new")
        beside.write_text(text)
        beside.replace(file)

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        SMALL_PARAMS + "\n# a note\n",
        SMALL_PARAMS.replace("momW=0.9", "momW = 0.90"),
        SMALL_PARAMS.replace("momW=0.9\nmomB=0.9", "momB=0.9\nmomW=0.9"),
        replaced(SMALL_PARAMS),
        lambda file: os.utime(file),
        lambda file: file.unlink(),
        lambda file: file.write_text(""),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["comment", "spelling", "order", "replaced", "touched", "gone", "empty", "folder"],
)
def test_what_means_nothing_else_makes_no_mark(net, tmp_path, untouched, monkeypatch, capsys, edit):
    with monkeypatch.context() as patch:
        edits(patch, edit)
        capsys.readouterr()
        assert train(net, tmp_path / "run", "--max-batches", 4) == 0
    if params_of(net).is_file() and not params_of(net).read_text():  # which a run that begins would not take
        params_of(net).unlink()
    assert main(["run", "--load-file", str(tmp_path / "run"), "--backend", "cpu", "--max-batches", "0"]) == 0
    assert told(capsys, "changed", "does not hold", "Mistake") == []
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []


def test_what_only_a_new_start_can_change_is_a_mark_of_it(net, tmp_path):
    assert train(net, tmp_path / "run", "--max-batches", 2) == 0
    params_of(net).write_text(SMALL_PARAMS.replace("topk=2", "topk=3"))
    assert main(["run", "--load-file", str(tmp_path / "run"), "--backend", "cpu", "--max-batches", "1"]) == 0
    assert marks_of(tmp_path / "run") == [(2, ["logprob topk: 2 -> 3"])]


def test_comments_written_while_a_run_stands_still_are_no_change(net, tmp_path, untouched, capsys):
    assert train(net, tmp_path / "run", "--max-batches", 4) == 0
    params_of(net).write_text(SMALL_PARAMS + "# a note\n")
    capsys.readouterr()
    assert main(["run", "--load-file", str(tmp_path / "run"), "--backend", "cpu", "--max-batches", "0"]) == 0
    assert told(capsys, "changed") == [] and state_of(tmp_path / "run") == untouched


# -- several, and back


def test_several_edits_and_one_back(net, tmp_path, monkeypatch):
    edits(monkeypatch, replaced(SLOWER), SMALL_PARAMS.replace("momW=0.9", "momW=fast"), SMALL_PARAMS, done=1)
    assert train(net, tmp_path / "run") == 0
    back = [" ".join((*line.split()[:2], line.split()[4], "->", line.split()[2])) for line in RATES]
    assert marks_of(tmp_path / "run") == [(1, RATES), (3, back)]


def test_an_edit_back_before_it_was_looked_at_is_none(net, tmp_path, untouched, monkeypatch):
    edits(monkeypatch, lambda file: (file.write_text(SLOWER), file.write_text(SMALL_PARAMS)))
    assert train(net, tmp_path / "run") == 0
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []


def test_a_file_that_is_gone_comes_back_with_other_values(net, tmp_path, whole, monkeypatch):
    edits(monkeypatch, lambda file: file.unlink(), SLOWER, done=1)
    assert train(net, tmp_path / "run") == 0
    assert state_of(tmp_path / "run") == whole and marks_of(tmp_path / "run") == [(2, RATES)]


def test_a_link_is_followed_and_a_file_elsewhere_too(net, tmp_path, whole, monkeypatch):
    other = tmp_path / "elsewhere" / "rates.cfg"
    other.parent.mkdir()
    other.write_text(SMALL_PARAMS)
    link = tmp_path / "link.cfg"
    link.symlink_to(other)
    edits(monkeypatch, SLOWER, path=other)
    assert train(net, tmp_path / "run", "--layer-params", link) == 0
    assert state_of(tmp_path / "run") == whole and marks_of(tmp_path / "run") == [(2, RATES)]
    assert params_of(net).read_text() == SMALL_PARAMS


def test_a_definition_out_of_a_pipe_is_read_once(net, tmp_path):
    pipe = net.with_name("pipe")
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=(SMALL_NET,)).start()
    assert train(pipe, tmp_path / "run", "--max-batches", 1, "--layer-params", params_of(net)) == 0


@pytest.mark.parametrize("text", [SMALL_NET.replace("filters=8", "filters=16").encode(), b"\x89PNG\r\n"])
def test_an_edited_definition_is_told_of_once(net, tmp_path, untouched, monkeypatch, capsys, text):
    edits(monkeypatch, lambda file: file.write_bytes(text), path=net)
    capsys.readouterr()
    assert train(net, tmp_path / "run") == 0
    assert len(told(capsys, "The net stays as it is: a definition is read when a run begins.")) == 1
    assert state_of(tmp_path / "run") == untouched


def test_a_misspelt_key_that_means_nothing_is_shown(net, tmp_path, untouched, monkeypatch, capsys):
    edits(monkeypatch, SMALL_PARAMS + "[fc]\nmonW=0.5\n")
    capsys.readouterr()
    assert train(net, tmp_path / "run") == 0
    assert len(told(capsys, "no key 'monW' in this layer type")) == 1
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []


def test_a_disk_that_takes_no_checkpoint_keeps_the_old_values(net, tmp_path, untouched, monkeypatch, capsys):
    original = CheckpointFolder.save

    def full(folder, value, epoch, batch):
        if (epoch, batch) == (1, 3):
            raise CheckpointError("no space left on device")
        return original(folder, value, epoch, batch)

    monkeypatch.setattr(CheckpointFolder, "save", full)
    edits(monkeypatch, SLOWER, done=3)
    assert train(net, tmp_path / "run") == 0
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []
    assert len(told(capsys, "are not taken, as no checkpoint can have them: no space left on device")) == 1


def test_options_of_the_run_hold_when_it_goes_on(net, tmp_path, monkeypatch):
    text = "[run]\nkeep-best=logprob\n"
    params_of(net).write_text(SMALL_PARAMS + text)
    with monkeypatch.context() as patch:
        edits(patch, SMALL_PARAMS + text + "patience=7\n")
        assert train(net, tmp_path / "run", "--max-batches", 3) == 0
    assert marks_of(tmp_path / "run") == [(2, ["[run] patience: none -> 7, from the next start"])]
    _, loaded, _ = checkpoint.find_latest(tmp_path / "run", checkpoint.load)
    assert loaded.option("patience") == 7 and loaded.option("keep_best") == "logprob"


@pytest.mark.parametrize(
    "now, done, last",
    [("epochs=3\ntest-freq=1", 2, 9), ("epochs=3\ntest-freq=1", 6, 9), ("epochs=1\ntest-freq=2", 3, 3)],
)
def test_a_run_becomes_longer_or_shorter_and_schedules_follow(net, tmp_path, monkeypatch, now, done, last):
    before = SMALL_PARAMS + "[run]\nepochs=2\ntest-freq=2\nmini=16\n"
    after = before.replace("epochs=2\ntest-freq=2", now)
    write_net(net.parent, params=before)
    options = ["--layer-def", net, "--data-path", net.parent / "data", "--backend", "cpu", "--train-range", "1-3"]
    options = ["run", *map(str, options), "--test-range", "4", "--save-file"]
    with monkeypatch.context() as patch:
        edits(patch, after, done=done)
        assert main([*options, str(tmp_path / "run")]) == 0
    records = records_of(tmp_path / "run")[0]
    assert [one["batches"] for one in records if one["line"] == "batch"] == list(range(1, last + 1))
    assert [one["line"] for one in records].count("test") == {2: 8, 6: 6, 3: 1}[done]
    params_of(net).write_text(before)
    assert main([*options, str(tmp_path / "parts"), "--max-batches", str(done)]) == 0
    params_of(net).write_text(after)
    assert main(["run", "--load-file", str(tmp_path / "parts"), "--backend", "cpu", "--max-batches", "0"]) == 0
    run, parts = state_of(tmp_path / "run"), state_of(tmp_path / "parts")
    assert run[:2] == parts[:2] and (run == parts or last == done)  # nothing was left to do, nor to be changed


def test_an_edit_of_the_last_batch_leaves_a_run_that_stops_after_some_as_short_as_it_was(net, tmp_path, monkeypatch):
    before = SMALL_PARAMS + "[run]\nepochs=2\ntest-freq=2\nmini=16\n"
    write_net(net.parent, params=before)
    options = ["--layer-def", net, "--data-path", net.parent / "data", "--backend", "cpu", "--train-range", "1-3"]
    options += ["--test-range", "4", "--save-file", tmp_path / "run", "--max-batches", 2]
    edits(monkeypatch, before.replace("epochs=2", "epochs=3"), done=2)
    assert main(["run", *map(str, options)]) == 0
    assert max(one["batches"] for one in records_of(tmp_path / "run")[0]) == 2
    _, loaded, _ = checkpoint.find_latest(tmp_path / "run", checkpoint.load)
    assert loaded.option("epochs") == 3


def test_the_originals_never_said_so_on_standard_output(net, tmp_path, monkeypatch, capsys):
    assert train(net, tmp_path / "one", "--compat", 2014) == 0
    expected = capsys.readouterr().out.count("\n")
    edits(monkeypatch, SLOWER)
    assert train(net, tmp_path / "two", "--compat", 2014) == 0
    shown = capsys.readouterr()
    assert shown.out.count("\n") == expected and "Parameters changed" not in shown.out
    assert f"Parameters changed after batch 1.2: {SHOWN}" in shown.err


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


def test_layer_files_given_to_an_originals_checkpoint_are_no_change_unless_they_say_other_values(net, tmp_path):
    write_net(net.parent, params=PLAIN)
    assert train(net, tmp_path / "run", "--max-batches", 2) == 0
    value = checkpoint.load(tmp_path / "run" / "1.2")
    del value["model_state"]["convnet"]
    dump(tmp_path / "1.2", dict(value))
    for rate, marks in (("0.0004", []), ("0.0001", [(2, ["fc epsW[0]: 0.0004 -> 0.0001"])])):
        write_net(net.parent, params=PLAIN + f"[fc]\nepsW={rate}\n")
        options = ["--layer-def", net, "--data-path", net.parent / "data", "--save-path", tmp_path / rate, "--epochs", 1]
        options += ["--load-file", tmp_path / "1.2", "--train-range", "1-3", "--test-range", 4, "--backend", "cpu"]
        assert main(["run", *map(str, options)]) == 0
        assert marks_of(tmp_path / rate) == marks
