"""The matrix of classes as a drawing: its numbers are scikit-learn's, at the places of their classes."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix
from support import write_cifar, write_net

from convnet.cli import main as cli
from convnet.cli.run import main as run
from convnet.drawing.confusion import confusion_scene, shown
from convnet.drawing.shapes import Rectangle, Words
from convnet.training.report import Report


def report_of(labels, guesses, classes, names=()):
    report = Report(SimpleNamespace(name="logprob", topk=1, num_inputs=[1, classes]), names)
    predictions = np.zeros((classes, len(labels)))
    predictions[guesses, np.arange(len(labels))] = 1
    report.count(np.asarray(labels, np.float32)[None], predictions)
    return report


def random_report(classes, cases, seed=0):
    random = np.random.RandomState(seed)
    labels = random.randint(0, classes, cases)
    guesses = np.where(random.rand(cases) < 0.6, labels, random.randint(0, classes, cases))
    return labels, guesses, report_of(labels, guesses, classes)


def cells(scene, n):
    """The numbers of a drawing by row and column of its squares, and where these lie."""
    squares = [shape for shape in scene.shapes if isinstance(shape, Rectangle) and shape.look == "grid"]
    assert len(squares) == n * n
    matrix = np.zeros((n, n), int)
    for shape in scene.shapes:
        if isinstance(shape, Words) and shape.anchor == "middle" and shape.look == "words":
            inside = [i for i, s in enumerate(squares) if s.x < shape.x < s.x + s.width and s.y < shape.y < s.y + s.height]
            matrix[divmod(inside[0], n)] = int(shape.text.replace(",", ""))
    return matrix, squares


@pytest.mark.parametrize("classes, cases", [(2, 300), (3, 100_000), (10, 2000), (40, 3000)])
def test_all_classes_are_counted_as_scikit_learn_does(classes, cases):
    labels, guesses, report = random_report(classes, cases)
    expected = confusion_matrix(labels, guesses, labels=range(classes))
    scene = confusion_scene(report)
    matrix, squares = cells(scene, classes)
    assert (shown(report).counts == expected).all() and not shown(report).has_others
    assert (matrix == expected).all()
    ys = [square.y for square in squares]
    assert ys == sorted(ys) and squares[1].x > squares[0].x  # rows are what cases are
    assert f"{np.mean(labels != guesses):.2%} error" in scene.title


def test_errors_stand_beside_their_classes():
    labels, guesses = [0] * 4 + [1] * 5 + [2] * 2, [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2]
    scene = confusion_scene(report_of(labels, guesses, 4, ["cat", "dog", "owl", "elk"]))
    words = [shape for shape in scene.shapes if isinstance(shape, Words)]
    beside = {shape.text: shape.y for shape in words if shape.anchor == "end"}
    assert list(beside) == ["0 cat", "1 dog", "2 owl", "3 elk"]
    errors = {shape.y: shape.text for shape in words if " of " in shape.text or shape.text == "no cases"}
    assert [errors[y] for y in beside.values()] == ["75.0% of 4", "0.0% of 5", "50.0% of 2", "no cases"]
    lengths = [s.width for s in scene.shapes if isinstance(s, Rectangle) and s.paint.fill_opacity == 0.75]
    assert lengths[0] * 2 == lengths[2] * 3 and lengths[1] == 0


def test_colours_are_shares_of_a_row():
    scene = confusion_scene(report_of([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], 2))
    bars = [s for s in scene.shapes if isinstance(s, Rectangle) and s.look == "bar" and s.width == s.height]
    assert [round(bar.paint.fill_opacity, 2) for bar in bars] == [0.75, 0.5, 1.0]
    assert bars[0].paint.fill == bars[2].paint.fill != bars[1].paint.fill


def test_of_many_classes_those_that_are_confused_are_side_by_side():
    """A planted pair and a planted chain among a thousand classes; the rest adds up."""
    random = np.random.RandomState(4)
    labels = random.randint(0, 1000, 30_000)
    guesses = labels.copy()
    for one, other, share in ((700, 20, 0.9), (3, 500, 0.8), (500, 999, 0.7)):
        at = np.flatnonzero(labels == one)
        guesses[at[: int(share * len(at))]] = other
    report = report_of(labels, guesses, 1000)
    classes, counts, has_others = shown(report)
    assert sorted(classes) == [3, 20, 500, 700, 999] and has_others
    places = [classes.index(k) for k in (700, 20, 3, 500, 999)]
    assert abs(places[0] - places[1]) == abs(places[2] - places[3]) == abs(places[3] - places[4]) == 1
    full = confusion_matrix(labels, guesses, labels=range(1000))
    assert (counts[:-1, :-1] == full[np.ix_(classes, classes)]).all()
    assert (counts.sum(axis=1)[:-1] == full.sum(axis=1)[classes]).all() and counts.sum() == 30_000
    assert any("Of 1,000 classes the 5 most often" in s.text for s in confusion_scene(report).shapes if isinstance(s, Words))


@pytest.mark.parametrize("classes", [41, 1000])
def test_a_drawing_of_many_classes_is_bounded(classes):
    _, _, report = random_report(classes, 20_000)
    scene = confusion_scene(report)
    assert len(shown(report).classes) == 30 and max(scene.width, scene.height) < 1300 and len(scene.shapes) < 3200
    cells(scene, 31)


def test_without_a_mistake_the_first_classes_are_shown():
    report = report_of(np.arange(50), np.arange(50), 50)
    assert list(shown(report).classes) == list(range(30)) and shown(report).counts.sum() == 50


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confusion")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data", batches=4), "--mini", 16]
    options += ["--epochs", 1, "--test-range", "3-4", "--backend", "cpu", "--save-file", folder / "saved"]
    assert run([*map(str, options)]) == 0
    return folder / "saved"


def test_the_view_counts_what_the_report_of_a_test_counts(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["--load-file", str(saved), "--test-only", "--report", "r.csv", "--backend", "cpu"]) == 0
    rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()[1:]]
    expected = np.array([[int(count) for count in row[-10:]] for row in rows])
    drawn = []
    monkeypatch.setattr("convnet.cli.shownet.write_picture", lambda scene, *_: drawn.append(scene))
    assert cli(["shownet", "--load-file", str(saved), "--show-confusion", "probs", "--backend", "cpu"]) == 0
    assert (cells(drawn[0], 10)[0] == expected).all() and expected.sum() == 120
    assert "Wrote confusion.png" in capsys.readouterr().out


def test_the_view_writes_a_picture(saved, tmp_path, capsys):
    out = tmp_path / "c.png"
    words = ["shownet", "--load-file", str(saved), "--show-confusion", "--out", str(out), "--backend", "cpu"]
    assert cli(words) == 0
    with Image.open(out) as image:
        assert image.width > 1000
    assert cli([*words[:4], "fc", *words[4:]]) == 2
    assert "no softmax layer of a cost.logreg 'fc' in the checkpoint; there are probs, logprob" in capsys.readouterr().err
    assert cli([*words[:4], "logprob", *words[4:]]) == 0


def test_the_view_of_several_nets_is_of_their_mean(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    again = ["--load-file", str(saved), "--epochs", "3", "--save-path", "more", "--backend", "cpu"]
    average = ["--average", "more", "--average-weights", "1,2"]
    assert run(again) == 0
    assert run(["--load-file", str(saved), "--test-only", "--report", "r.csv", *average, "--backend", "cpu"]) == 0
    rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()[1:]]
    drawn = []
    monkeypatch.setattr("convnet.cli.shownet.write_picture", lambda scene, *_: drawn.append(scene))
    assert cli(["shownet", "--load-file", str(saved), "--show-confusion", *average, "--backend", "cpu"]) == 0
    assert (cells(drawn[0], 10)[0] == [[int(count) for count in row[-10:]] for row in rows]).all()
    assert cli(["shownet", "--load-file", str(saved), "--show-preds", *average, "--backend", "cpu"]) == 2
    assert "--average goes with --show-confusion" in capsys.readouterr().err
