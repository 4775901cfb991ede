"""The parameter file is edited while a net trains: what holds from the next batch on, and what it comes to."""

import os
import threading
from itertools import pairwise

import numpy as np
import pytest
from edited_runs import (
    PLAIN,
    PLAIN_NET,
    RATES,
    SHOWN,
    SLOWER,
    edits,
    marks_of,
    params_of,
    replaced,
    told,
    train,
)
from interrupted import state_of
from support import SMALL_NET, SMALL_PARAMS, dump, write_net

from convnet import checkpoint
from convnet.cli import main
from convnet.training.records import records_of


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
