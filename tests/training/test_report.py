"""``--test-only --report``: counts are those of NumPy and scikit-learn, shares those that the cost prints."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest
from nets import DATA, cost_of
from sklearn.metrics import confusion_matrix, top_k_accuracy_score
from support import SMALL_NET, each_backend, make_graph, write_cifar, write_net

from convnet import pickles
from convnet.cli.run import main
from convnet.net.net import Net
from convnet.training.evaluator import find_logreg
from convnet.training.report import Report

TWO = f"""{DATA}[fc]
type=fc
inputs=data
outputs=10
initW=0.001
{cost_of("fc")}[fcb]
type=fc
inputs=data
outputs=10
initW=0.002
[probsb]
type=softmax
inputs=fcb
[second]
type=cost.logreg
inputs=labels,probsb
"""
PARAMS = "[DEFAULT]\nepsW=0.00001\nepsB=0.001\nmomW=0.9\nmomB=0.9\nwc=0\ncoeff=1\n[logprob]\ntopk=3\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A net of two costs, trained on two batches of three."""
    folder = tmp_path_factory.mktemp("report")
    write_cifar(folder / "data")
    write_net(folder, TWO, PARAMS)
    options = ["--layer-def", folder / "layers-small.cfg", "--data-path", folder / "data", "--save-file", folder / "saved"]
    assert run(*options, "--mini", 16, "--epochs", 1) == 0
    return folder


def run(*options):
    return main([*map(str, options), "--backend", "cpu"])


def logreg(classes, topk=1):
    return SimpleNamespace(name="logprob", topk=topk, num_inputs=[1, classes])


def counted(place, tmp_path, *more):
    """The counts, the errors and the heads of a report, and its predictions and labels."""
    out = tmp_path / "report.csv"
    assert run("--load-file", place / "saved", "--test-only", "--report", out, "--test-out", tmp_path, *more) == 0
    heads, *rows = csv.reader(out.read_text().splitlines())
    errors = heads.index("taken for class 0")
    counts = np.array([[int(cell) for cell in row[errors:]] for row in rows])
    shares = np.array([[float(cell) for cell in row[2:errors]] for row in rows])
    assert [row[0] for row in rows] == [f"class {k}" for k in range(10)]
    assert [int(row[1]) for row in rows] == counts.sum(axis=1).tolist()
    numbers = sorted(path.name.split("_")[-1] for path in tmp_path.glob("test_preds_*"))
    guessed = np.concatenate([pickles.load(tmp_path / f"test_preds_{n}")["data"] for n in numbers])
    labels = np.concatenate([pickles.load(place / "data" / f"data_batch_{n}")["labels"] for n in numbers])
    return counts, shares, heads[2:errors], guessed, labels


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--mini", "7", "--test-range", "1-3"],
        ["--logreg-name", "second"],
    ],
)
def test_counts_are_those_of_scikit_learn(place, tmp_path, capsys, more):
    counts, shares, heads, guessed, labels = counted(place, tmp_path, *more)
    k = 5 if "second" in more else 3  # of the cost, or five where it names one
    assert heads == ["error", f"top-{k} error"]
    np.testing.assert_array_equal(counts, confusion_matrix(labels, guessed.argmax(axis=1), labels=range(10)))
    plain = np.zeros((10, 10), int)
    for label, row in zip(labels, guessed, strict=True):
        plain[label, np.argmax(row)] += 1
    np.testing.assert_array_equal(counts, plain)
    cases = counts.sum(axis=1)
    assert (shares[:, 0] * cases).sum() == pytest.approx(sum(guessed.argmax(axis=1) != labels))
    hits = top_k_accuracy_score(labels, guessed, k=k, labels=range(10))
    assert (shares[:, 1] * cases).sum() / len(labels) == pytest.approx(1 - hits)
    out = capsys.readouterr().out
    name, printed = ("second", 0) if "second" in more else ("logprob", 1)
    values = re.search(rf"Test output=+\n.*\b{name}:  ([\d., ]+)", out)[1].split(", ")
    assert float(values[1]) == pytest.approx((shares[:, 0] * cases).sum() / len(labels), abs=1e-6)
    assert not printed or float(values[2]) == pytest.approx(1 - hits, abs=1e-6)
    assert f"Errors by class, of '{name}':" in out and f"Wrote {tmp_path / 'report.csv'}\n" in out


@pytest.mark.parametrize("crop", [["--data-provider", "cifar-cropped", "--crop-border", "4", "--multiview-test"]])
def test_several_views_count_once(tmp_path, crop, capsys):
    write_cifar(tmp_path / "data")
    options = ["--layer-def", write_net(tmp_path), "--data-path", tmp_path / "data", "--mini", 16, *crop[:4]]
    assert run(*options, "--max-batches", 2, "--save-file", tmp_path / "saved") == 0
    counts, _, _, guessed, labels = counted(tmp_path, tmp_path, *crop)
    np.testing.assert_array_equal(counts, confusion_matrix(labels, guessed.argmax(axis=1), labels=range(10)))
    assert counts.sum() == 60


def test_ties_are_shared_as_in_the_cost():
    report = Report(logreg(4, topk=2), ["a", "b"])
    report.count(np.array([[0.0, 1.0, 3.0]]), np.array([[0.5, 0.2, 0.25], [0.5, 0.4, 0.25], [0, 0.4, 0.25], [0, 0, 0.25]]))
    assert report.names == ["a", "b", "2", "3"] and report.heads() == ["error", "top-2 error"]
    assert report.misses.tolist() == [[0.5, 0.5, 0, 0.75], [0, 0, 0, 0.5]]
    assert report.confusions() == [(0, 0, 1), (1, 1, 1), (3, 0, 1)]
    assert list(report.rows()) == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


@each_backend
def test_counts_on_every_backend(be):
    """What a net is given as labels, and what it makes of one view and of two."""
    random = np.random.RandomState(0)
    pictures, labels = random.randn(3072, 12).astype(np.float32), random.randint(0, 10, (1, 12)).astype(np.float32)
    graph = make_graph(SMALL_NET, {0: 3072, 1: 1}, 10)
    net, report = Net(graph, be, minibatch=12, seed=1), Report(find_logreg(graph), [])
    names, guesses = [source.name for source in find_logreg(graph).sources], []
    for views in ([pictures], [pictures, pictures[:, ::-1].copy()]):
        net.test_views([[view, labels] for view in views], len(views), 12, names)
        report.count(*map(net.output, names))
        guesses.append(net.output(names[1]).argmax(axis=0))
    assert (guesses[0] != guesses[1]).any()
    expected = confusion_matrix(np.tile(labels[0], 2), np.concatenate(guesses), labels=range(10))
    assert list(report.rows()) == expected.tolist()


def many(classes):
    random = np.random.RandomState(0)
    report = Report(logreg(classes), [f"a class with a long name {k}" for k in range(classes)])
    labels = random.randint(0, classes, 500)
    scores = random.rand(classes, 500)
    scores[labels, np.arange(500)] += 0.4
    report.count(labels[None].astype(float), scores)
    return report


@pytest.mark.parametrize("classes, width, whole", [(12, 80, True), (12, 60, False), (12, 40, False), (100, 200, False)])
def test_tables_fit_the_terminal(classes, width, whole):
    report = many(classes)
    text = "\n".join(report.lines(width))
    assert max(map(len, text.splitlines())) <= width
    assert ("Cases of each class" in text) == whole and ("mistaken most often" in text) != whole
    assert (f"{classes - 20} more" in text) == (classes > 20)
    errors = [float(found) for found in re.findall(r" \d+ +([\d.]+)%", text.split("\nall")[0])]
    assert errors[:20] == sorted(errors[:20], reverse=True) and len(errors) == min(classes, 21)
    if not whole:
        off = np.array(list(report.rows())) * (1 - np.eye(classes, dtype=int))
        assert int(re.search(r"cases\n.* (\d+)\n", text.split("mistaken")[1])[1]) == off.max()


def test_names_that_forge_lines_and_classes_without_cases():
    report = Report(logreg(3), ["ok\nall  99", "\x1b[31m", "rare"])
    report.count(np.array([[0.0, 1.0]]), np.array([[1.0, 0], [0, 1], [0, 0]]))
    lines = report.lines(80)
    assert any(line.startswith(r"ok\nall  99 ") for line in lines) and not any(
        "\x1b" in line or "\n" in line for line in lines
    )
    assert report.csv().splitlines()[-1] == "rare,0,,0,0,0"


@pytest.mark.parametrize(
    "options, words",
    [
        (["--report", "/nowhere/r.csv"], "there is no folder /nowhere"),
        (["--report", "--logreg-name", "fc"], "layer 'fc' of type fc is not a cost.logreg"),
    ],
)
def test_mistakes(place, capsys, options, words):
    assert run("--load-file", place / "saved", "--test-only", *options) in (1, 2)
    assert words in capsys.readouterr().err


def test_in_a_file_of_options(place, tmp_path, capsys):
    (tmp_path / "run.toml").write_text("report = true\ntest-only = true\n")
    assert run("--load-file", place / "saved", "--config", tmp_path / "run.toml") == 0
    out = capsys.readouterr().out
    assert "Errors by class" in out and "Wrote" not in out
