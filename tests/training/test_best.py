"""``--keep-best`` and ``--patience``: the best is what the history says, and survives stops, kills and other folders."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import DATA, cost_of
from support import make_graph

from convnet import checkpoint
from convnet.checkpoint import CheckpointFolder, Position
from convnet.cli.run import main
from convnet.errors import OptionError
from convnet.options import Options
from convnet.training.best import Watch
from convnet.training.plan import Plan
from convnet.training.records import read_log
from convnet.training.run import Run

NET = f"""{DATA}[fc]
type=fc
inputs=data
outputs=10
{cost_of("fc")}[decay]
type=cost.sum2
inputs=fc
"""


def train(place, save, *more):
    options = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--mini", 16, "--backend", "cpu"]
    options += ["--test-range", "3-4", "--test-freq", 1, "--epochs", 6, "--save-file", save, *more]
    return main([*map(str, options)])


def go_on(path, *more):
    return main(["--load-file", str(path), "--backend", "cpu", *map(str, more)])


def newest(folder):
    return checkpoint.find_latest(folder, checkpoint.load)[1]


def best_of(folder):
    loaded = checkpoint.load(folder / "best")
    position = loaded.position()
    learned = [layer["weights"][0].tobytes() for layer in loaded.layers.values() if "weights" in layer]
    return position.best, position.batches_done, learned


def watch(name="", test=(3, 4), test_one=1, patience=0):
    graph = make_graph(NET, {0: 12, 1: 1}, 10)
    given = {"keep_best": name, "test_one": test_one, "patience": patience}
    return Watch.of(Options.of(given), graph, Plan([1, 2], list(test), 9, 1, bool(test_one)))


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 3)), max_size=30), st.integers(1, 4), st.booleans())
def test_like_is_compared_with_like(tests, count, in_turn):
    """The lowest mean over the cases of as many tests as there are test batches; the first of equals."""
    watched, position = watch("logprob", range(count), int(in_turn), 5), Position()
    values = []
    for number, (wrong, cases) in enumerate(tests):
        position.batches_done += 2
        position.finish_test({"logprob": [0.0, float(wrong), 0.0]}, cases, number % count if in_turn else -1)
        watched.see(position)
        window = tests[max(0, number + 1 - (count if in_turn else 1)) : number + 1]
        is_whole = len(window) == (count if in_turn else 1)
        values.append(sum(w for w, _ in window) / sum(n for _, n in window) if is_whole else math.inf)
    found = min(values, default=math.inf)
    assert position.best == pytest.approx(found)
    if math.isfinite(found):
        at = next(i for i, value in enumerate(values) if value == position.best)
        assert (position.best_at, position.tests_since) == (2 * at + 2, len(values) - 1 - at)
        assert watched.is_exhausted(position) == (position.tests_since >= 5)


def test_what_is_no_number_is_never_best():
    watched, position = watch("logprob.cost", [3], patience=2), Position(batches_done=1)
    for value in (math.nan, math.inf):
        position.finish_test({"logprob": [value, 0.0, 0.0]}, 4, 3)
        watched.see(position)
    assert (position.best_at, position.tests_since, watched.is_exhausted(position)) == (0, 2, True)
    position.finish_test({"logprob": [8.0, 0.0, 0.0]}, 4, 3)
    watched.see(position)
    assert (position.best, position.best_at, position.tests_since) == (2.0, 1, 0)


@pytest.mark.parametrize(
    "given, name",
    [("logprob", "logprob.error"), ("logprob.cost", "logprob.cost"), ("decay", "decay.cost"), ("logprob.top-1 error",) * 2],
)
def test_names(given, name):
    assert watch(given).name == name
    assert watch(patience=1).name == "logprob.error" and watch() is None


@pytest.mark.parametrize("given, hint", [("logprop", "logprob"), ("logprob.eror", "logprob.error"), ("fc", "")])
def test_names_that_are_none(given, hint):
    with pytest.raises(OptionError, match=f"^--keep-best: no '{given}' is printed.*{hint and f'did you mean .{hint}'}"):
        watch(given)
    with pytest.raises(OptionError, match=r"^keep-best of \[run\], or of the checkpoint: no "):
        Watch.of(Options(keep_best=given), make_graph(NET, {0: 12, 1: 1}, 10), Plan([1], [2], 9, 1))


def test_the_best_is_kept_and_can_be_loaded(place, tmp_path, capsys):
    assert train(place, tmp_path / "s", "--keep-best", "logprob.error", "--keep", 1, "--epochs", 12) == 0
    position = newest(tmp_path / "s").position()
    sums = [(costs["logprob"][1], cases) for costs, cases in position.test_outputs]
    means = [(sums[i][0] + sums[i + 1][0]) / (sums[i][1] + sums[i + 1][1]) for i in range(len(sums) - 1)]
    at = int(np.argmin(means)) + 2  # batches, after each of which there was a test
    assert at < 24  # or nothing was spared
    logged = [record["batches"] for record in read_log(tmp_path / "s" / "log.jsonl") if record.get("best")]
    assert logged[-1] == at and logged[0] == 2
    assert best_of(tmp_path / "s")[:2] == (pytest.approx(min(means)), at)
    assert sorted(p.name for p in (tmp_path / "s").iterdir() if p.name != "log.jsonl") == ["12.2", "best"]
    assert f"Best test: logprob.error {min(means):.6f} after {at} batches, kept as {tmp_path / 's' / 'best'}\n" in (
        capsys.readouterr().out
    )
    assert go_on(tmp_path / "s" / "best", "--test-only", "--test-range", "3-4") == 0
    assert f", {min(means):.6f}, " in capsys.readouterr().out


@pytest.mark.parametrize(
    "stops", [[5, 6], pytest.param([8, 13, 20], marks=pytest.mark.slow), pytest.param([1, 31], marks=pytest.mark.slow)]
)
def test_it_survives_stops(place, tmp_path, monkeypatch, stops):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(place, whole, "--keep-best", "logprob") == 0
    for number, stop in enumerate([*stops, 1000]):
        monkeypatch.setattr(Run, "must_stop", lambda run, stop=stop: run.net.step >= stop)
        assert (go_on(parts) if number else train(place, parts, "--keep-best", "logprob")) == 0
    assert best_of(parts) == best_of(whole)
    assert vars(newest(parts).position()) == vars(newest(whole).position())


def test_it_survives_a_kill_between_the_checkpoint_and_its_second_name(place, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(place, whole, "--keep-best", "logprob", "--max-batches", 2) == 0
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "keep_best", lambda *_: (_ for _ in ()).throw(MemoryError))
        assert train(place, killed, "--keep-best", "logprob") == 1
    assert not (killed / "best").exists() and (killed / "1.2").exists()
    assert go_on(killed, "--max-batches", 1) == 0
    assert best_of(killed)[1] >= 2 and newest(killed).position().best <= best_of(whole)[0]
    (killed / "best").unlink()


def test_without_hard_links_it_is_a_copy(place, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, os.strerror(1))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert train(place, tmp_path / "s", "--keep-best", "logprob") == 0
    assert best_of(tmp_path / "s")[:1] == (newest(tmp_path / "s").position().best,)
    assert not list((tmp_path / "s").glob(".best*"))


@pytest.mark.slow
def test_another_folder_and_older_checkpoints(place, tmp_path, capsys):
    old, new = tmp_path / "old", tmp_path / "new"
    assert train(place, old, "--keep-best", "logprob", "--epochs", 4, "--keep", 9) == 0
    assert go_on(old, "--save-path", new, "--epochs", 6) == 0
    folder = next(new.iterdir())
    assert best_of(folder)[0] == newest(folder).position().best <= best_of(old)[0]
    capsys.readouterr()
    assert go_on(old / "1.1", "--max-batches", 1) == 0
    assert (old / "best.aside").is_file()
    assert f"{old / 'best'} is not of this run; it is kept as best.aside.\n" in capsys.readouterr().out
    assert go_on(old, "--epochs", 12) == 0
    assert newest(old).position().tests_since > 0
    (old / "best").unlink()
    assert go_on(old, "--epochs", 14) == 0
    assert "What was best so far, " in capsys.readouterr().out
    assert go_on(old, "--epochs", 15, "--keep-best", "logprob.cost") == 0
    assert "is another value: it is looked for anew.\n" in capsys.readouterr().out


def test_going_on_from_the_best_sets_newer_ones_aside(place, tmp_path, capsys):
    assert train(place, tmp_path / "s", "--keep-best", "logprob", "--keep", 99, "--epochs", 12) == 0
    _, at, learned = best_of(tmp_path / "s")
    assert at < 24
    assert go_on(tmp_path / "s" / "best", "--test-freq", 99) == 0
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert {"12.2", "12.2.aside", "best"} <= names and f"{(at + 1) // 2}.{2 - at % 2}.aside" not in names
    assert best_of(tmp_path / "s")[1:] == (at, learned)


def test_a_run_with_nothing_to_do_leaves_all_files_as_they_are(place, tmp_path, capsys):
    assert train(place, tmp_path / "s", "--keep-best", "logprob", "--epochs", 1) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    assert go_on(tmp_path / "s" / "1.2", "--keep-best", "logprob.cost", "--test-range", 3) == 0
    assert "Nothing to do: 1 of 1 epochs are done.\n" in capsys.readouterr().out and "best" in before
    assert {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before


@pytest.mark.parametrize("name", [[], ["--keep-best", "logprob"]])
def test_patience(place, tmp_path, capsys, name):
    save = tmp_path / "s"
    assert train(place, save, "--epochs", 200, "--patience", 3, *name) == 0
    position = newest(save).position()
    assert position.batches_done == position.best_at + 3 < 400 and position.tests_since == 3
    text = f"3 tests in a row were no better than logprob.error {position.best:.6f} after {position.best_at} batches: "
    assert text + "--patience 3 ends the run; a larger one goes on.\n" in capsys.readouterr().out
    assert (save / "best").exists() == bool(name)
    assert go_on(save) == 0
    assert text in capsys.readouterr().out and newest(save).position() == position
    assert go_on(save, "--patience", 4) == 0
    assert newest(save).position().batches_done >= position.batches_done + 1


@pytest.mark.slow
def test_patience_survives_a_stop(place, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(place, whole, "--epochs", 200, "--patience", 3) == 0
    end = newest(whole).position()
    monkeypatch.setattr(Run, "must_stop", lambda run: run.net.step > 3 * (end.batches_done - 1))
    assert train(place, parts, "--epochs", 200, "--patience", 3) == 0
    assert newest(parts).position().tests_since == 2
    monkeypatch.undo()
    assert go_on(parts) == 0 and newest(parts).position() == end
