"""Several nets tested as one: the mean of their predictions, by the rules of the cost, beside what each does alone."""

import re

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from support import SMALL_NET, SMALL_PARAMS, write_cifar, write_net

from convnet import pickles
from convnet.checkpoint import find_latest, load
from convnet.cli import main as cli
from convnet.cli.run import main
from convnet.errors import DataError, OptionError
from convnet.training.averaging import averaging, check_same_classes
from convnet.training.report import Report
from convnet.training.session import RunInputs, Session

OTHER = SMALL_NET.replace("filters=8", "filters=4").replace("channels=8", "channels=4")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three runs on the same batches: two of one net, from other seeds, and one of another net with crops."""
    folder = tmp_path_factory.mktemp("average")
    write_cifar(folder / "data", batches=5, cases=60)
    for name, net, more in (("a", SMALL_NET, ()), ("b", SMALL_NET, ("--seed", 5)), ("c", OTHER, ("--inner-size", 28))):
        words = ["--layer-def", write_net(folder / name, net, SMALL_PARAMS), "--data-path", folder / "data", "--epochs", 2]
        words += ["--mini", 16, "--test-range", "4-5", "--save-file", folder / f"run-{name}", "--backend", "cpu", *more]
        assert main([*map(str, words)]) == 0
    return folder


def predictions(place, folder, *more):
    """What --test-out writes of batches 4 and 5, cases in rows."""
    assert main(["--load-file", *map(str, more), "--test-only", "--test-out", str(folder), "--backend", "cpu"]) == 0
    return np.concatenate([pickles.load(folder / f"test_preds_{number}")["data"] for number in (4, 5)])


def labels_of(place):
    return np.concatenate([pickles.load(place / "data" / f"data_batch_{number}")["labels"] for number in (4, 5)])


def cost_of(probabilities, labels):
    return -np.mean(np.log(probabilities[np.arange(len(labels)), labels], dtype=np.float64))


@pytest.fixture(scope="module")
def alone(place, tmp_path_factory):
    return [predictions(place, tmp_path_factory.mktemp(name), place / f"run-{name}") for name in "abc"]


@pytest.mark.parametrize("weights", [None, (0.5, 0.3, 0.2), (0, 0, 4), (1, 2, 3)])
def test_the_mean_is_that_of_the_nets(place, alone, tmp_path, capsys, weights):
    given = ("--average-weights", ",".join(map(str, weights))) if weights else ()
    average = f"{place / 'run-b'},{place / 'run-c'}"
    capsys.readouterr()
    found = predictions(place, tmp_path, place / "run-a", "--average", average, *given)
    out = capsys.readouterr().out
    expected = np.average(alone, axis=0, weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    labels = labels_of(place)
    cost, error = cost_of(expected, labels), np.mean(expected.argmax(axis=1) != labels)
    printed = re.search(r"Test output=*\nlogprob:  ([\d.]+), ([\d.]+), ([\d.]+)", out)
    assert float(printed[1]) == pytest.approx(cost, abs=2e-6) and float(printed[2]) == pytest.approx(error, abs=1e-6)
    top2 = np.mean([label not in np.argsort(-row)[:2] for label, row in zip(labels, expected, strict=True)])
    assert float(printed[3]) == pytest.approx(top2, abs=1e-6)
    rows = [line.split() for line in out.splitlines() if re.match(r"\S*run-[abc]/2\.3|the mean of all", line)]
    for row, own, weight in zip(rows, alone, weights or (1, 1, 1), strict=False):
        assert float(row[1]) == weight and float(row[2]) == pytest.approx(cost_of(own, labels), abs=1e-3)
        assert float(row[3]) == pytest.approx(100 * np.mean(own.argmax(axis=1) != labels), abs=0.01)
    assert len(rows) == 4 and float(rows[3][4]) == pytest.approx(cost, abs=1e-3)


def test_views_are_averaged_in_each_net_first(place, tmp_path, capsys):
    run = place / "run-c"
    expected = predictions(place, tmp_path / "alone", run, "--multiview-test")
    first = predictions(place, tmp_path / "first", place / "run-a")
    found = predictions(place, tmp_path / "both", run, "--multiview-test", "--average", place / "run-a")
    np.testing.assert_allclose(found, (expected + first) / 2, rtol=1e-5)


def test_the_report_is_of_the_mean(place, alone, tmp_path):
    words = ["--load-file", place / "run-a", "--test-only", "--average", place / "run-b", "--report", tmp_path / "r.csv"]
    assert main([*map(str, words), "--backend", "cpu"]) == 0
    rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()[1:]]
    mean = (alone[0] + alone[1]) / 2
    expected = confusion_matrix(labels_of(place), mean.argmax(axis=1), labels=range(10))
    assert (np.array([[int(count) for count in row[-10:]] for row in rows]) == expected).all()


def test_nets_of_other_classes_are_refused(place, tmp_path, capsys):
    write_cifar(tmp_path / "data", batches=2, cases=40, classes=7)
    text = SMALL_NET.replace("outputs=10", "outputs=7")
    words = ["--layer-def", write_net(tmp_path, text), "--data-path", tmp_path / "data", "--max-batches", 1, "--mini", 16]
    assert main([*map(str, [*words, "--save-file", tmp_path / "seven", "--backend", "cpu"])]) == 0
    capsys.readouterr()
    words = ["--load-file", place / "run-a", "--test-only", "--average", tmp_path / "seven", "--backend", "cpu"]
    assert main([*map(str, words)]) != 0
    err = capsys.readouterr().err
    assert f"--average {tmp_path / 'seven'}:" in err and "classes that the net was not trained on: class 7" in err


@pytest.mark.parametrize(
    "ours, theirs, word",
    [
        (["cat", "dog"], ["cat", "dog", "owl"], "3 classes, a 2"),
        (["cat", "dog"], ["cat", "owl"], "class 1 is 'owl' for b and 'dog' for a"),
        (["cat", "dog"], ["dog", "cat"], "class 0 is 'dog'"),
    ],
)
def test_classes_are_compared_by_names(ours, theirs, word):
    with pytest.raises(OptionError, match=word):
        check_same_classes(ours, theirs, "a", "b")
    check_same_classes(ours, ["0", "1"], "a", "b")  # a net that knows no names


def test_other_cases_are_no_mean(place, monkeypatch):
    path, checkpoint, _ = find_latest(place / "run-a", load)
    given = {"load_file": str(path), "test_only": 1, "average": [str(place / "run-b")], "backend": "cpu"}
    session = Session(RunInputs(given, checkpoint))
    together, _ = averaging(session, session.net(session.backends()[0]))
    kept = together.members[1].kept
    monkeypatch.setattr(kept, "count", lambda labels, predictions: Report.count)
    monkeypatch.setattr(kept, "take", lambda: [np.zeros((1, 60), np.float32), np.zeros((10, 60))])
    with pytest.raises(DataError, match="batch 4 has other cases"):
        together.batch(4)


@pytest.mark.parametrize(
    "words, message",
    [
        (("--average-weights", "1,2"), "--average-weights needs --average"),
        (("--average", "x", "--average-weights", "1,2,3"), "give 2 numbers, that of --load-file first"),
        (("--average", "nowhere"), "nowhere"),
        (("--average", "run-b", "--logreg-name", "fc"), "not a cost.logreg"),
        (("--average", ","), "is not a list of paths"),
        (("--average", "run-b", "--average-weights", "0,0"), "not all 0"),
        (("--average", "run-b", "--average-weights", "1,nan"), "not all 0"),
    ],
)
def test_mistakes(place, monkeypatch, capsys, words, message):
    monkeypatch.chdir(place)
    assert cli(["run", "--load-file", "run-a", "--test-only", *words, "--backend", "cpu"]) != 0
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_without_test_only_it_has_no_effect(place, tmp_path, capsys):
    words = ["--load-file", place / "run-a", "--average", place / "run-b", "--epochs", 2, "--save-path", tmp_path]
    assert main([*map(str, [*words, "--backend", "cpu"])]) == 0
    assert "No effect in training: --average." in capsys.readouterr().out
