"""The parameter file is edited while a net trains: what does not hold, what makes no mark, and what is told of it."""

import os

import pytest
from edited_runs import (
    SLOWER,
    edits,
    marks_of,
    params_of,
    replaced,
    told,
    train,
)
from interrupted import fail_to_save, state_of
from support import SMALL_NET, SMALL_PARAMS

from convnet.cli import main
from convnet.errors import CheckpointError
from convnet.training.records import records_of


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
    fail_to_save(monkeypatch, (1, 3), CheckpointError("no space left on device"))
    edits(monkeypatch, SLOWER, done=3)
    assert train(net, tmp_path / "run") == 0
    assert state_of(tmp_path / "run") == untouched and marks_of(tmp_path / "run") == []
    assert len(told(capsys, "are not taken, as no checkpoint can have them: no space left on device")) == 1
