"""A run that ends by itself ends with a test of its last weights, which loses nothing and changes nothing."""

import os
import re
import signal

import pytest

from convnet import checkpoint
from convnet.cli import main
from convnet.cli.run import given_options
from convnet.cli.run import parser as run_parser
from convnet.net.net import Net
from convnet.texts import time_text
from convnet.training import evaluator
from convnet.training.costs import Outputs
from convnet.training.session import RunInputs, Session

END = re.compile(
    r"\nDone: (\d+) epochs?, (\d+) batch(?:es)?(?:, (\d+) of them now)?, in [^\n]+\.\nFinal test of (\d+) cases: (.*)\n"
)


def words(place, save, *more):
    options = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--save-file", save, "--mini", 16]
    return ["run", *map(str, [*options, "--train-range", "1-2", "--test-range", "3-4", "--threads", 1, *more])]


def loaded(save):
    return checkpoint.find_latest(save, checkpoint.load)[1]


def contents(save):
    """All of a checkpoint but the options, as text to the last bit."""
    state = loaded(save)["model_state"]
    own = {key: value for key, value in state["convnet"].items() if key not in ("options", "op")}  # of the run's folder
    return repr(state | {"convnet": own})


def final_test(save):
    (pair,) = loaded(save).position().final_test
    return pair


def test_it_is_that_of_all_test_batches(place, tmp_path, capsys):
    assert main(words(place, tmp_path, "--epochs", 2, "--test-freq", 3)) == 0
    out = capsys.readouterr().out
    assert END.search(out).groups()[:4] == ("2", "4", None, "80")
    costs, cases = final_test(tmp_path)
    assert cases == 80 and Outputs.of_stored(loaded(tmp_path).layers).text(costs, cases) == END.search(out)[5]
    assert main(words(place, tmp_path, "--test-only", 1)) == 0
    tested = re.findall(r"'logprob': \[([\d.]+), ([\d.]+), ([\d.]+)\]", capsys.readouterr().out)
    assert [sum(map(float, values)) for values in zip(*tested, strict=True)] == pytest.approx(costs["logprob"])
    assert loaded(tmp_path).position().tests_done == 1  # it is not one of the tests in turn


@pytest.mark.parametrize("more", [[], ["--test-one", 0, "--test-freq", 2]])
def test_who_goes_on_comes_to_the_same_bits(place, tmp_path, more):
    assert main(words(place, tmp_path / "whole", "--epochs", 3, *more)) == 0
    for _ in range(2):
        assert main(words(place, tmp_path / "parts", "--epochs", 3, "--max-batches", 3, *more)) == 0
        assert final_test(tmp_path / "parts")[1] == 80
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_it_is_forgotten_when_training_goes_on(place, tmp_path, monkeypatch):
    assert main(words(place, tmp_path, "--epochs", 1)) == 0 and final_test(tmp_path)
    calls = signal_at(monkeypatch, Net, "train", 2)
    assert main(words(place, tmp_path, "--epochs", 2)) == 0 and len(calls) == 2
    assert loaded(tmp_path).position().final_test == []


def signal_at(monkeypatch, owner, name, call):
    """Send this process SIGINT when ``owner.name`` is called for the ``call``-th time."""
    original, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_a_signal_in_it_loses_nothing_and_it_is_done_later(place, tmp_path, monkeypatch, capsys):
    assert main(words(place, tmp_path / "whole", "--epochs", 1)) == 0
    for call in (1, 3, 5):
        save = tmp_path / f"stopped-{call}"
        with monkeypatch.context() as patch:
            signal_at(patch, Net, "test", call)
            capsys.readouterr()
            assert main(words(place, save, "--epochs", 1)) == 0
        out = capsys.readouterr().out
        assert "Stopped by SIGINT after batch 1.2.\nSaved checkpoint to" in out and "Final test" not in out
        assert loaded(save).position().final_test == [] and loaded(save).position().batches_done == 2
        assert main(words(place, save)) == 0
        assert END.search(capsys.readouterr().out).groups()[:3] == ("1", "2", "0")
        assert contents(save) == contents(tmp_path / "whole")
    assert main(words(place, save)) == 0
    assert "\nNothing to do: 1 of 1 epochs are done.\n" in capsys.readouterr().out


def test_a_test_of_everything_is_not_repeated(place, tmp_path, monkeypatch, capsys):
    tested = []
    original = evaluator.Tester.batch
    monkeypatch.setattr(evaluator.Tester, "batch", lambda self, number: tested.append(number) or original(self, number))
    assert main(words(place, tmp_path, "--epochs", 1, "--test-one", 0, "--test-freq", 2)) == 0
    assert tested == [3, 4] and END.search(capsys.readouterr().out)[4] == "80"
    assert final_test(tmp_path) == loaded(tmp_path).position().test_outputs[-1]


def test_the_originals_had_none(place, tmp_path, capsys):
    assert main(words(place, tmp_path, "--epochs", 1, "--compat", "2014")) == 0
    assert not END.search(capsys.readouterr().out) and loaded(tmp_path).position().final_test == []


def test_what_to_do_next_is_more_than_is_done(place, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        signal_at(patch, Net, "test", 1)
        assert main(words(place, tmp_path, "--epochs", 3)) == 0
    assert main(words(place, tmp_path, "--epochs", 1)) == 0
    assert capsys.readouterr().out.endswith(" --epochs 6\n")


def test_what_to_do_next_does_something(place, tmp_path, capsys):
    for more, end in ((["--epochs", 2, "--max-batches", 1], ""), (["--epochs", 2], " --epochs 4")):
        assert main(words(place, tmp_path, *more)) == 0
        assert re.search(r"\nGo on with: +convnet run --load-file (\S+)(.*)\n", capsys.readouterr().out)[2] == end


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7300, "2 h 1 min"),
        (90000, "1 day 1 h"),
        (2e6, "23 days 3 h"),
    ],
)
def test_times(seconds, text):
    assert time_text(seconds) == text


@pytest.mark.parametrize("more, is_endless", [((), True), (("--epochs", 3), False), (("--max-batches", 2), False)])
def test_who_says_nothing_of_an_end_is_told_how_to_make_one(place, tmp_path, more, is_endless):
    given = given_options(run_parser("convnet run").read(words(place, tmp_path / "save", *more)[1:]))
    session = Session(RunInputs(given))
    with session.folder:
        assert ("Trains until Ctrl-C; --epochs N ends it." in session.remarks) == is_endless == session.plan.is_endless
