"""Advice names what is wrong with a run, and is silent on those that learn: on planted lines of logs, and on real runs."""

import gzip
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import SHARED, SMALL_NET, SMALL_PARAMS, needs_museum, write_cifar, write_net

from convnet.cli.run import main
from convnet.training.advice import LEVELS, advice_on, ratio_verdict
from convnet.training.advice.trends import chance_classes, plateau, rise, worsening
from convnet.training.history import History


def lines(costs, errors, tests=None, every=5, cases=1000, classes=10, more=(), **batch):
    """Lines of a log: a batch for each cost and error, and after every few of them a test of the errors given."""
    found = [{"line": "begin", "batches": 0, "data": {"classes": classes}, "options": {}}]
    for i, (cost, error) in enumerate(zip(costs, errors, strict=True), 1):
        found.append({"line": "batch", "batches": i, "cases": 100, "logprob.cost": cost, "logprob.error": error, **batch})
        if tests is not None and i % every == 0:
            error = tests[i // every - 1]
            found.append({"line": "test", "batches": i, "tested": [6], "cases": cases, "logprob.error": error})
            found[-1]["logprob.cost"] = 3 * error
            found += [{"batches": i} | line for line in more]
    return found


def advised(found, *texts):
    """The advice on lines, each of which has one of the texts in it, in order."""
    advice = advice_on(History.of(found, "run"))
    assert len(advice) == len(texts), advice
    for one, text in zip(advice, texts, strict=True):
        assert text in str(one) and one.level in LEVELS and one.remedy.endswith((".", "?")), one
    return advice


def falling(count, first=2.3, last=0.3):
    return list(np.geomspace(first, last, count))


def healthy(count=100, more=()):
    errors = falling(count, 0.9, 0.05)
    return lines(falling(count), errors, errors[4::5], more=more)


def weights(**layers):
    return {"line": "weights", "weights": {name: {"weights[0]": list(pair)} for name, pair in layers.items()}}


def test_a_run_that_learns_gets_none():
    assert not advised(healthy())
    assert not advised([]) and not advised(healthy()[:1]) and not advised(healthy(4))


# -- costs


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("noise", [0, 0.004])
def test_a_cost_that_is_stuck(classes, noise):
    random = np.random.RandomState(classes)
    costs = math.log(classes) * (1 + noise * random.randn(40))
    found = lines(costs, [1 - 1 / classes] * 40, classes=classes)
    [advice] = advised(found, f"which is ln({classes})")
    assert advice.where == "logprob" and advice.level == "warning" and "initB=1" in advice.remedy
    assert f"stays at {math.log(classes):.4g}," in advice.text


def test_without_knowing_how_many_classes_there_are_few_are_guessed():
    for classes, is_found in ((10, True), (700, False)):
        found = lines([math.log(classes)] * 20, [1 - 1 / classes] * 20, classes=None)
        assert bool(advice_on(History.of(found, ""))) == is_found


@pytest.mark.parametrize("cost, error", [(2.3026, 0.8), (2.2, 0.9), (2.1, 0.85)])
def test_a_cost_near_it_that_is_better_than_guessing_is_not_stuck(cost, error):
    assert chance_classes([cost] * 10, [error] * 10, 10) is None


def test_what_to_do_depends_on_how_it_came():
    at = math.log(10)
    stuck = [0.9] * 30
    [before] = advised(lines([3, 1.9, 2.1, 9, *[at] * 26], stuck), "ln(10)")
    assert "the rates were too high" in before.remedy
    for size, word in ((1e-4, "larger initW"), (0.1, "initB=1")):
        more = [weights(conv1=(size, 0.001 * size), fc=(1e-4, 1e-7))]
        [now] = advised(lines([at] * 30, stuck, [0.9] * 6, more=more), "ln(10)")
        assert word in now.remedy, size


def test_a_cost_that_rises():
    costs = [*falling(30, 2.3, 1.0), *np.linspace(1.0, 2.0, 20)]
    [advice] = advised(lines(costs, [0.5] * 50), "the cost of training rises")
    assert "was 1.0" in advice.text and "tenth" in advice.remedy
    change = {"line": "change", "batches": 45, "text": ["conv1 epsW[0]: 0.1 -> 0.01"]}
    assert not advised([*lines(costs, [0.5] * 50)[:46], change, *lines(costs, [0.5] * 50)[46:]])


def test_noise_at_the_end_is_no_rise():
    random = np.random.RandomState(3)
    noise = 0.05 * (1 + 0.5 * random.rand(60))
    assert rise([*falling(60, 2.3, 0.05), *noise], 2.3) is None
    assert rise(noise, 2.3) is None  # what is left after an edit


# -- tests


def test_tests_that_get_worse_while_training_gets_better():
    tests = [*falling(10, 0.9, 0.2), *np.linspace(0.2, 0.3, 10)]
    [advice] = advised(lines(falling(100), falling(100, 0.9, 0.01), tests), "looks like overfitting")
    assert advice.level == "note" and "is 28.89%" in advice.text and "to 1.10%" in advice.text
    assert not advised(lines(falling(100), [0.4] * 100, tests))  # training does not get better, either


def test_chance_makes_no_overfitting():
    random = np.random.RandomState(0)
    for cases in (100, 1000):
        errors = [*falling(20, 0.9, 0.1), *(random.binomial(cases, 0.1, 60) / cases)]
        assert worsening(errors, cases) is None


def test_tests_that_stand_still_at_the_same_rates():
    tests = [*falling(6, 0.9, 0.2), *[0.2, 0.201] * 7]
    rates = {"rates": {"conv1": {"weights[0]": 0.001}}}
    [advice] = advised(lines(falling(100), falling(100, 0.9, 0.1), tests, **rates), "has not fallen for 10 tests")
    assert "to a tenth" in advice.remedy
    found = lines(falling(100), falling(100, 0.9, 0.1), tests, **rates)
    found[61]["rates"] = {"conv1": {"weights[0]": 0.0001}}  # a schedule lowers them
    assert not advised(found)
    assert not advised(lines(falling(100), falling(100, 0.9, 0.001), tests, **rates))  # nothing is left to learn
    assert plateau([0.5, 0.4, 0.3], 1000) is None


def test_tests_that_are_as_bad_as_guessing():
    [advice] = advised(lines(falling(40), falling(40, 0.9, 0.05), [0.9] * 8), "as bad as guessing")
    assert "same order" in advice.remedy
    assert not advised(lines(falling(40), falling(40, 0.9, 0.05), [0.9] * 8, cases=20))


# -- weights, units, rates


@pytest.mark.parametrize(
    "change, word",
    [
        (0, "still"),
        (1e-7, "very small"),
        (1e-6, "small"),
        (1e-5, "usual"),
        (1e-4, "usual"),
        (1e-3, "large"),
        (0.1, "too large"),
    ],
)
def test_ratios(change, word):
    verdict = ratio_verdict(0.02, change)
    assert verdict.word == word and verdict.ratio == change / 0.02 and bool(verdict.meaning) == (word != "usual")


def test_the_run_that_the_manual_of_2014_shows_is_usual_or_nearly():
    sizes = [(7.898808e-03, 2.681663e-05), (7.992361e-03, 4.403163e-06), (2.364471e-02, 2.431529e-06)]
    assert {ratio_verdict(*pair).word for pair in sizes} == {"usual"}


@pytest.mark.parametrize(
    "size, change, word", [(math.nan, 1, "not a number"), (1, math.inf, "not a number"), (0, 0, "all 0")]
)
def test_sizes_that_have_no_ratio(size, change, word):
    assert ratio_verdict(size, change).word == word


def test_increments_that_are_too_large():
    [advice] = advised(healthy(more=[weights(conv1=(0.1, 0.02), fc=(0.1, 1e-4))]), "0.2 of the weights")
    assert advice.where == "conv1" and "Lower epsW of conv1" in advice.remedy


def test_increments_that_are_too_small_for_a_cost_that_hardly_falls():
    rates = {"rates": {"conv1": {"weights[0]": 1e-6}}}
    more = [weights(conv1=(0.1, 1e-7))]
    slow = lines(np.linspace(2.4, 2.0, 50), np.linspace(0.9, 0.7, 50), [0.8] * 10, more=more, **rates)
    [advice] = advised(slow, "1e-06 of the weights")
    assert "Raise epsW" in advice.remedy
    assert not advised(healthy(more=more))


def test_batches_without_errors_tell_nothing_of_increments_that_are_too_small():
    slow = lines(np.linspace(2.4, 2.0, 50), np.linspace(0.9, 0.7, 50), [0.8] * 10, more=[weights(conv1=(0.1, 1e-7))])
    for record in slow:
        if record["line"] == "batch":
            record["rates"] = {"conv1": {"weights[0]": 1e-6}}
            del record["logprob.error"]
    assert not advised(slow)


def test_rates_that_were_lowered_make_small_increments():
    found = lines(np.linspace(2.4, 2.0, 50), np.linspace(0.9, 0.7, 50), [0.8] * 10, more=[weights(conv1=(0.1, 1e-7))])
    for record in found:
        if record["line"] == "batch":
            record["rates"] = {"conv1": {"weights[0]": 0.1 if record["batches"] < 3 else 1e-6}}
    assert not advised(found)


def test_dead_units():
    more = [weights(conv1=(0.1, 1e-4)) | {"dead": {"conv1": 0.75, "fc": 0.1}}]
    [advice] = advised(healthy(more=more), "75% of the units were 0")
    assert advice.where == "conv1" and "initB" in advice.remedy
    assert not advised(healthy(more=[weights(conv1=(0.1, 1e-4)) | {"dead": {"conv1": 0.4}}]))
    few = lines(falling(20), falling(20, 0.9, 0.1), [0.9] * 4, cases=50, more=more)
    assert not advised(few)


def test_weights_that_are_all_0():
    """They say why, where the cost does not: here some classes are more often than others."""
    more = [weights(conv1=(0, 0), fc=(0.1, 1e-4)) | {"dead": {"conv1": 1.0, "fc": 0.9}}]
    found = lines([2.1] * 40, [0.6] * 40, [0.6] * 8, more=more)
    [advice] = advised(found, "all weights are 0")
    assert advice.where == "conv1" and "initW above 0" in advice.remedy
    found[1]["rates"] = {"conv1": {"weights[0]": 0.0}, "fc": {"weights[0]": 0.1}}  # which is not to learn
    advised(found, "100%, 90% of the units")


def test_rates_that_are_all_0():
    found = healthy()
    found[-3]["rates"] = {"conv1": {"weights[0]": 0.0, "biases": 0.0}}
    advised(found, "all learning rates are 0")


# -- how it went


@pytest.mark.parametrize(
    "text, where, remedy",
    [
        ("batch 1.1: the weights of layer 'conv2' are not finite numbers any more. Lower epsW.", "conv2", "a tenth"),
        (
            "batch 1.1: matrix 0 of the data, which layer 'data' reads, is not finite: nan. Mend the data.",
            "data",
            "When that",
        ),
        ("cost 'logprob' is not finite. No learning rate has acted yet. Lower the initial weights (initW).", "", "initW"),
        ("no space left on the device", "", "--load-file"),
    ],
)
def test_an_error_that_ended_a_run(text, where, remedy):
    found = [*healthy(), {"line": "error", "batches": 100, "text": text}]
    [advice] = advised(found, text)
    assert advice.level == "error" and advice.where == where and remedy in advice.remedy
    assert not advised([*found, {"line": "resume", "batches": 100}])  # gone on with since


def test_the_gravest_comes_first():
    found = lines([math.log(10)] * 30, [0.9] * 30, [0.9] * 6, more=[{"line": "weights", "dead": {"fc": 1.0}}])
    found.append({"line": "error", "batches": 30, "text": "x"})
    advised(found, "ended the run", "ln(10)", "100% of the units")


def test_a_run_that_became_slow():
    found = healthy()
    for record in found:
        if record["line"] == "batch":
            record |= {"seconds": 2.0, "images_per_second": 1000 if record["batches"] < 50 else 300}
    advised(found, "300 cases a second")
    found[-2]["seconds"] = 0.02  # so short that anything may be in the way
    assert not advised(found)


values = st.one_of(st.none(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.integers(), max_size=2))


@settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    st.dictionaries(
        st.sampled_from(["cases", "seconds", "logprob.cost", "logprob.error", "data", "options", "text"]), values
    )
)
def test_lines_that_hold_anything(odd):
    """What the reader of logs lets through makes no traceback."""
    found = healthy(20, more=[weights(conv1=(0.1, 1e-4)) | {"dead": {"conv1": 0.75}}])
    advice_on(History.of([record | odd for record in found] + [{"line": "error", "batches": 20} | odd], ""))


# -- real runs


@needs_museum
@pytest.mark.parametrize("year", ["2011", "2014"])
def test_genuine_runs_of_the_originals_get_none(year, tmp_path):
    for path in sorted((SHARED / "engines" / year).glob("*/after-3.1.pickle.gz")):
        (tmp_path / path.parent.name).write_bytes(gzip.decompress(path.read_bytes()))
        history, _ = History.read(tmp_path / path.parent.name)
        assert history.curves and advice_on(history) == [], path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cifar(tmp_path_factory.mktemp("sick") / "data", batches=5, cases=100)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers, params, texts",
    [
        (("", ""), ("", ""), []),
        (("initW=0.01", "initW=0"), ("", ""), ["initW above 0", "ln(10)"]),
        (("initW=0.01\nneuron", "initW=0.01\ninitB=-900\nneuron"), ("", ""), ["ln(10)", "100% of the units"]),
        (("", ""), ("base=0.0004", "base=0.00000001"), ["Raise epsW"]),
    ],
    ids=["healthy", "no weights", "dead", "rates too low"],
)
def test_runs_that_are_sick_are_told_from_one_that_is_not(data, tmp_path, layers, params, texts):
    net = write_net(
        tmp_path, SMALL_NET.replace(*layers), SMALL_PARAMS.replace(*params).replace("epsB=0.002", "epsB=0.00001")
    )
    options = ["--layer-def", net, "--data-path", data, "--mini", 16, "--epochs", 8, "--test-freq", 4, "--backend", "cpu"]
    assert main([*map(str, [*options, "--save-file", tmp_path / "s"])]) == 0
    advice = advice_on(History.read(tmp_path / "s")[0])
    assert len(advice) == len(texts) and all(text in str(one) for one, text in zip(advice, texts, strict=True)), advice
