"""The test of a report: counts and picks are those that whoever looks at every case would find."""

import numpy as np
import pytest
from html_pages import Read, image_of
from nets import DATA, cost_of
from support import SMALL_NET, SMALL_PARAMS, default_params, dump, write_cifar, write_net

from convnet import pickles
from convnet.api.network import build
from convnet.checkpoint import load
from convnet.drawing.samples import TestSet
from convnet.pages.report import predictions
from convnet.pages.report.material import Material
from convnet.pages.report.predictions import case_picture, predictions_section
from convnet.pages.report.trial import Case, Picks, Trial, heads_of
from convnet.training.history import History
from convnet.training.report import Report


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    data = write_cifar(folder / "data", cases=90)
    net = build(write_net(folder), side=32, classes=10, seed=1, minibatch=40)
    net.train(data, epochs=1)
    return load(net.save(folder / "1.1")), {"data_path": str(data), "test_range": [2, 3]}


@pytest.fixture(scope="module")
def trial(saved):
    return Trial.of(*saved)


@pytest.fixture(scope="module")
def scores(saved):
    """Of every case of both batches: (batch, number), its class, and probabilities."""
    checkpoint, options = saved
    found = []
    for number in options["test_range"]:
        tests = TestSet.open(checkpoint, options | {"test_range": [number]})
        labels, values = tests.outputs(["labels", "probs"])
        found += [((number, n), int(labels[0, n]), values[:, n]) for n in range(labels.shape[1])]
    return found


def test_it_counts_every_case_of_all_batches(trial, scores):
    (report,) = trial.reports
    matrix = np.zeros((10, 10), int)
    for _, label, values in scores:
        matrix[label, values.argmax()] += 1
    assert (trial.batches, trial.cases, len(scores)) == ("2-3", 180, 180)
    assert np.array_equal(list(report.rows()), matrix)
    assert trial.values["logprob"]["error"] == pytest.approx(1 - np.trace(matrix) / 180)


@pytest.mark.parametrize("kind", ["right", "wrong", "unsure"])
def test_the_picks_are_the_first_of_their_kind(trial, scores, kind):
    wanted = [s for s in scores if kind == "unsure" or (s[2].argmax() == s[1]) == (kind == "right")]
    wanted.sort(key=lambda s: s[2].max() * (1 if kind == "unsure" else -1))
    picked = getattr(trial.picks, kind)
    assert [(case.batch, case.number) for case in picked] == [place for place, _, _ in wanted[:8]]
    for case, (_, label, values) in zip(picked, wanted, strict=False):
        assert case.truth == label and case.guesses[0] == (values.argmax(), pytest.approx(values.max()))
        assert [share for _, share in case.guesses] == sorted((share for _, share in case.guesses), reverse=True)


def test_pictures_are_those_of_the_cases(saved, trial):
    case = trial.picks.right[0]
    tests = TestSet.open(saved[0], saved[1] | {"test_range": [case.batch]})
    (data,) = tests.outputs([tests.data_layer()])
    expected = tests.provider.images(np.ascontiguousarray(data[:, [case.number]]))[0]
    np.testing.assert_allclose(case.picture, expected, atol=1e-6)
    (found,) = Read(case_picture(case.picture, "")).all("img")
    np.testing.assert_array_equal(image_of(found), np.round(255 * expected))


def test_what_was_picked_before_stays_first_among_equals():
    picks = Picks()
    for start in (0, 10):
        picks.see([Case(1, start + n, None, 0, [(n % 2, 0.5)]) for n in range(10)])
    assert [case.number for case in picks.right] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert [case.number for case in picks.unsure] == list(range(8))


def section_of(trial):
    return Read(predictions_section(Material(History("a run"), trial=trial)))


def test_the_page_shows_the_counts(trial):
    page = section_of(trial)
    counts = list(trial.reports[0].rows())
    mistakes = [row[j] for i, row in enumerate(counts) for j in range(10) if i != j and row[j]]
    rows = page.rows("What was mistaken most often")[1:]
    assert [row[2] for row in rows] == [str(count) for count in sorted(mistakes, reverse=True)][:20]
    for label, guess, count in rows:
        assert str(counts[int(label.split()[1])][int(guess.split()[1])]) == count
    assert len(page.all("svg")) == 1
    errors = page.rows("Errors by class")
    assert errors[0] == ["class", "cases", "error", "top-2 error"]
    assert errors[-1][:3] == ["all", "180", f"{trial.values['logprob']['error']:.2%}"]
    shares = [float(row[2].rstrip("%")) for row in errors[1:-1]]
    assert shares == sorted(shares, reverse=True)
    assert "on 180 cases of test batches 2-3" in page.all("p")[0].text
    headings = [heading.text for heading in page.all("h3")]
    assert headings == ["Most certain, and right", "Most certain, and wrong", "Least certain"]
    assert len(page.all("img")) == sum(len(getattr(trial.picks, kind)) for kind in ("right", "wrong", "unsure"))


def test_a_thousand_classes_stay_a_page(monkeypatch):
    graph = build(SMALL_NET.replace("outputs=10", "outputs=1000"), side=32, classes=1000).graph
    report = Report(heads_of(graph)[0], [f"class {k}, also so" for k in range(1000)])
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 1000, (1, 5000)), random.random((1000, 5000))
    scores[7, labels[0] == 3] = 2  # all of class 3 are taken for class 7
    report.count(labels, scores)
    page = section_of(Trial("1", 5000, {"logprob": {"error": 1.0}}, [report], Picks()))
    mistakes, errors = page.rows("What was mistaken most often"), page.rows("Errors by class")
    assert mistakes[1] == ["class 3", "class 7", str((labels == 3).sum())] and len(mistakes) == 21
    assert len(errors) == 1 + 40 + 1 + 1 and errors[21][0].endswith("classes between")
    assert sum(int(row[1].replace(",", "")) for row in errors[1:-1]) == 5000
    assert not page.all("h3")


def test_heads_are_costs_of_classes():
    two = SMALL_NET + "[fc2]\ntype=fc\ninputs=drop\noutputs=4\ninitW=0.01\n[probs2]\ntype=softmax\ninputs=fc2\n"
    two += "[labels2]\ntype=data\ndataIdx=2\n[logprob2]\ntype=cost.crossent\ninputs=labels2,probs2\n"
    assert [cost.name for cost in heads_of(build(two, side=32).graph)] == ["logprob", "logprob2"]
    sums = (
        "[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\noutputs=2\ninitW=0.1\n[cost]\ntype=cost.sum2\ninputs=fc\n"
    )
    graph = build(sums, features=4).graph
    assert heads_of(graph) == []
    page = section_of(Trial("1", 5, {"cost": {"cost": 1.5}}, [], Picks()))
    assert "no single class" in page.all("p")[-1].text and page.all("dd")[0].text == "1.5"


def test_every_head_has_its_own_matrix(tmp_path):
    """Both heads tell the same classes apart; cases are shown of the first."""
    text = SMALL_NET + "[fc2]\ntype=fc\ninputs=drop\noutputs=10\ninitW=0.01\n[probs2]\ntype=softmax\ninputs=fc2\n"
    text += "[logprob2]\ntype=cost.logreg\ninputs=labels,probs2\n"
    layers = write_net(tmp_path, text, SMALL_PARAMS.replace("[logprob]", "[logprob2]\ncoeff=1\n[logprob]"))
    checkpoint = load(build(layers, side=32, classes=10, seed=2).save(tmp_path / "1.1"))
    trial = Trial.of(checkpoint, {"data_path": str(write_cifar(tmp_path / "data"))})
    assert [report.cost for report in trial.reports] == ["logprob", "logprob2"]
    assert [sum(map(sum, report.rows())) for report in trial.reports] == [60, 60]
    page = section_of(trial)
    headings = [heading.text for heading in page.all("h3")]
    assert headings[:2] == ["Classes of logprob", "Classes of logprob2"] and len(headings) == 5
    assert [term.text for term in page.all("dt")][:2] == ["logprob: cost", "logprob: error"]


def test_cases_of_several_classes_are_mistaken_for_none(tmp_path):
    """Nor are those without any: both would count as their first class."""
    layers = write_net(tmp_path, SMALL_NET.replace("cost.logreg", "cost.crossent"))
    checkpoint = load(build(layers, side=32, classes=10, seed=2).save(tmp_path / "1.1"))
    for labels, heads in (([[n % 10] for n in range(60)], 1), ([[n % 10, (n + 1) % 10][: n % 3] for n in range(60)], 0)):
        data = write_cifar(tmp_path / "data")
        batch = pickles.load(data / "data_batch_3")
        dump(data / "data_batch_3", {**batch, "labels": labels})
        trial = Trial.of(checkpoint, {"data_path": str(data)})
        assert len(trial.reports) == heads and len(trial.picks.unsure) == 8 * heads and "logprob" in trial.values


def test_data_that_enter_in_parts_are_no_pictures(tmp_path):
    """Of the whole of a case there is no output, so that it is tested without its picture."""
    text = DATA.replace("dataIdx=0\n", "dataIdx=0\nend=64\n[rest]\ntype=data\ndataIdx=0\nstart=64\n")
    text += "[fc]\ntype=fc\ninputs=data,rest\noutputs=10\ninitW=0.01,0.01\n" + cost_of("fc")
    checkpoint = load(build(text, default_params(text), features=192, classes=10).save(tmp_path / "1.1"))
    trial = Trial.of(checkpoint, {"data_path": str(write_cifar(tmp_path / "data", side=8))})
    assert trial.cases == 60 and {case.picture for case in trial.picks.unsure} == {None}


def test_large_pictures_are_photos():
    (found,) = Read(case_picture(np.full((100, 200, 3), 0.5), "")).all("img")
    assert found.attributes["src"].startswith("data:image/jpeg") and found.attributes["width"] == "128"
    assert predictions._PHOTO == 128
