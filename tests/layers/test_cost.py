"""Costs: values by hand, ties, every gradient against the oracle and by differences."""

import itertools

import numpy as np
import pytest
from support import ORACLE, assert_close, assert_gradients, compare, each_backend, run_op, values

from convnet.backends.arguments import Criterion


def cost(be, kind, arrays, length, **constants):
    costs, (*targets, predictions) = be.cost_vector(length), [be.upload(array) for array in arrays]
    be.cost_forward(targets[0] if targets else None, predictions, costs, criterion=Criterion(kind, **constants))
    return be.download(costs)


def gradient(kind, arrays, **constants):
    return run_op(ORACLE, "cost_input_grad", arrays, np.empty(arrays[1].shape), criterion=Criterion(kind, **constants))


def probabilities(K, N):
    e = np.exp(values(K, N))
    return (e / e.sum(axis=0)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    "label, credits", [(0, [1, 1, 1, 1]), (1, [0, 1 / 3, 2 / 3, 1]), (3, [0, 1 / 3, 2 / 3, 1]), (4, [0] * 4)]
)
def test_ties_share_the_guesses(label, credits):
    """Numerics 24.8."""
    probs = np.float32([0.3, 0.2, 0.2, 0.2, 0.1])[:, None]
    for k, credit in enumerate(credits, 1):
        found = cost(ORACLE, "logreg", [np.array([[float(label)]]), probs], 3, topk=k)
        assert found[2] == pytest.approx(1 - credit)
        assert found[1] == pytest.approx(1 - credits[0])
        assert found[0] == pytest.approx(-np.log(probs[label, 0]))


def test_impossible_label_costs_infinity():
    assert np.isinf(cost(ORACLE, "logreg", [np.array([[1.0]]), np.array([[1.0], [0.0]])], 3, topk=1)[0])


@each_backend
@pytest.mark.parametrize("K, N", [(2, 1), (10, 33), (7, 130), (200, 35)])
def test_ops(be, K, N):
    probs, targets = probabilities(K, N), (values(K, N, seed=3) > 0).astype(np.float64)
    labels = np.random.RandomState(0).randint(0, K, (1, N)).astype(np.float64)
    y, gates = values(K, N, low=0.0) * 0.9 + 0.05, values(1, N)
    for kind, arrays, length, how in (
        ("logreg", [labels, probs], 3, {"topk": 2}),
        ("crossent", [targets, y], 2, {}),
        ("bce", [targets, y], 1, {}),
        ("bce", [targets, y], 3, {"pos_weight": 3.0}),
        ("dce", [targets, y], 2 + 3 * K, {"pos_weight": 3.0}),
        ("sum2", [y], 1, {}),
        ("gsum2", [gates, y], 1, {}),
        ("rflickr", [targets, y], 1, {}),
    ):
        assert_close(cost(be, kind, arrays, length, **how), cost(ORACLE, kind, arrays, length, **how))
    for kind, arrays, weight in (
        ("logreg", [labels, probs], 1.0),
        ("logreg_fused", [labels, probs], 1.0),
        ("crossent", [targets, y], 1.0),
        ("crossent_fused", [targets, probs], 1.0),
        ("bce", [targets, y], 1.0),
        ("bce", [targets, y], 3.0),
        ("bce_fused", [targets, y], 1.0),
        ("bce_fused", [targets, y], 3.0),
        ("gsum2", [gates, y], 1.0),
        ("rflickr", [targets, y], 1.0),
    ):
        compare(be, "cost_input_grad", arrays, y.shape, criterion=Criterion(kind, 0.7, pos_weight=weight))
    compare(be, "gsum2_gate_grad", [y], (1, N), coeff=0.7)


def test_binomial_by_hand():
    """Numerics 12.4 and 12.5."""
    t, y = np.array([[1.0, 0], [0, 1]]), np.array([[0.8, 0.6], [0.3, 0.4]])
    value = -(3 * np.log(0.8) + np.log(0.7) + np.log(0.4) + 3 * np.log(0.4))
    np.testing.assert_allclose(cost(ORACLE, "bce", [t, y], 3, pos_weight=3.0), [value, 2 / 2, 1])
    # Per class: declared positive, positive, truly positive.
    np.testing.assert_allclose(cost(ORACLE, "dce", [t, y], 8, pos_weight=3.0), [value, 1, 2, 1, 1, 0, 1, 0])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sets_by_enumeration(size):
    """Numerics 12.10: the probability of a set is proportional to the exponent of its energies' sum."""
    energies, labels = values(4, 3), np.array([[0.0, 2, 3]])
    sets = list(itertools.combinations(range(4), size))
    found = gradient("msm", [labels, energies], set_size=size)
    total = 0.0
    for n, label in enumerate(labels[0].astype(int)):
        weight = np.array([np.exp(energies[list(s), n].sum()) for s in sets])
        member = np.array([[i in s for s in sets] for i in range(4)])
        free = (member * weight).sum(axis=1) / weight.sum()
        given = (member * member[label] * weight).sum(axis=1) / (member[label] * weight).sum()
        total -= np.log(free[label])
        np.testing.assert_allclose(found[:, n], given - free)
    assert cost(ORACLE, "msm", [labels, energies], 3, set_size=size)[0] == pytest.approx(total)


@each_backend
def test_sets(be):
    energies, labels = values(6, 9), np.random.RandomState(1).randint(0, 6, (1, 9)).astype(np.float64)
    assert_close(cost(be, "msm", [labels, energies], 3, set_size=2), cost(ORACLE, "msm", [labels, energies], 3, set_size=2))
    compare(be, "cost_input_grad", [labels, energies], energies.shape, criterion=Criterion("msm", 0.7, set_size=2))


@each_backend
@pytest.mark.parametrize("size", [2, 3])
def test_topographic(be, size):
    x = values(9, 4, 4, 5)
    reciprocals = np.empty_like(x)
    ORACLE.tica_cost(x, reciprocals, np.zeros(1), size=size)
    mine = be.upload(reciprocals)
    costs = be.cost_vector(1)
    be.tica_cost(be.upload(x), mine, costs, size=size)
    assert_close(be.download(mine), reciprocals)
    assert be.download(costs)[0] == pytest.approx(reciprocals.sum(), rel=1e-5)
    compare(be, "tica_input_grad", [x, reciprocals], x.shape, size=size, coeff=0.7)


def test_topographic_gradient_is_of_the_root_energies():
    """Numerics 12.9: minus the gradient of the sum of sqrt(windowed energy), with the originals' 0.001 inside."""
    x, size = values(9, 3, 3, 1), 3
    reciprocals, found = np.empty_like(x), np.empty_like(x)
    ORACLE.tica_cost(x, reciprocals, np.zeros(1), size=size)
    ORACLE.tica_input_grad(x, reciprocals, found, size=size, coeff=1.0)
    energy = (1 / reciprocals - 0.001) ** 2
    back = np.lib.stride_tricks.sliding_window_view(
        np.pad(1 / (0.001 + np.sqrt(energy)), ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
    ).sum(axis=(-2, -1))
    np.testing.assert_allclose(found, -x * back)


NET = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc]
type=fc
inputs=data
outputs=3
initW=0.5
{between}
[cost]
type={cost}
{inputs}
"""
ONE_OF_THREE = np.array([[0.0, 1, 2, 1]])
TARGETS = np.array([[1.0, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]])
LOGISTIC = "neuron=logistic"
SOFTMAX = "[probs]\ntype=softmax\ninputs=fc"
NETS = {
    "logreg": (SOFTMAX, "cost.logreg", "inputs=labels,probs", ONE_OF_THREE),
    "crossent": (SOFTMAX, "cost.crossent", "inputs=labels,probs", TARGETS),
    "crossent2 fused": (LOGISTIC, "cost.crossent2", "inputs=labels,fc", TARGETS),
    "crossent2": (SOFTMAX, "cost.crossent2", "inputs=labels,probs", TARGETS),
    "bce fused": (LOGISTIC, "cost.bce", "posWeight=2\ninputs=labels,fc", TARGETS),
    "bce": (SOFTMAX, "cost.bce", "posWeight=2\ninputs=labels,probs", TARGETS),
    "dce": (LOGISTIC, "cost.dce", "inputs=labels,fc", TARGETS),
    "sum2": ("", "cost.sum2", "inputs=fc\n[unused]\ntype=cost.sum2\ninputs=labels", ONE_OF_THREE),
    "gsum2": ("", "cost.gsum2", "inputs=labels,fc", ONE_OF_THREE),
    "rflickr": ("", "cost.rflickr", "inputs=labels,fc", TARGETS),
    "msm": ("", "cost.msm", "setSize=2\ninputs=labels,fc", ONE_OF_THREE),
}


@pytest.mark.parametrize("between, kind, inputs, labels", NETS.values(), ids=NETS.keys())
def test_gradients(between, kind, inputs, labels):
    text = NET.format(between=between, cost=kind, inputs=inputs)
    assert_gradients(text, [values(4, 4), labels], classes=3)


def test_gradient_of_a_learned_gate():
    text = NET.format(
        between="[gate]\ntype=fc\ninputs=data\noutputs=1\ninitW=0.5", cost="cost.gsum2", inputs="inputs=gate,fc"
    )
    assert_gradients(text.replace("[labels]\ntype=data\ndataIdx=1\n", ""), [values(4, 4)])


def test_softmax_read_by_two():
    """Not fused: a second reader forces the general gradients of softmax and cost."""
    more = SOFTMAX + "\n[also]\ntype=cost.sum2\ninputs=probs"
    text = NET.format(between=more, cost="cost.logreg", inputs="inputs=labels,probs")
    assert_gradients(text, [values(4, 4), ONE_OF_THREE], classes=3)


def test_cross_entropy_by_hand():
    """Numerics 12.2: any positive target is right, shared among tied maxima; the log of nothing is -50."""
    t = np.array([[0.5, 0.0, 1.0, 0], [0.5, 0.2, 0.0, 1], [0, 0.8, 0, 0]])
    p = np.array([[0.6, 0.4, 0.0, 0.2], [0.3, 0.4, 0.5, 0.4], [0.1, 0.2, 0.5, 0.4]])
    value = -(0.5 * np.log(0.6) + 0.5 * np.log(0.3) + 0.2 * np.log(0.4) + 0.8 * np.log(0.2) - 50 + np.log(0.4))
    # Right; half right, for one of two maxima has a target; wrong; half right.
    np.testing.assert_allclose(cost(ORACLE, "crossent", [t, p], 2), [value, 4 - (1 + 0.5 + 0 + 0.5)])


def test_cross_entropy_2_by_hand():
    """Numerics 12.3: both logs are safe; one number, summed over classes. It is bce's first, with weight 1."""
    t, y = np.array([[1.0, 0], [0, 1]]), np.array([[0.8, 1.0], [0.3, 0.0]])
    found = cost(ORACLE, "bce", [t, y], 1, pos_weight=1.0)
    assert found[0] == pytest.approx(-(np.log(0.8) + np.log(0.7) - 50 - 50))
    grad = gradient("bce", [t[:, :1], y[:, :1]], coeff=2.0)
    np.testing.assert_allclose(grad[:, 0], [2 / 0.8, -2 / 0.7])  # the second sign is the right one


def test_sets_judge_errors_by_energies():
    """Numerics 12.10: top-1, and top-k with k the size of the sets, ties shared."""
    energies = np.array([[3.0, 3], [2, 3], [1, 0], [1, 0]])
    found = cost(ORACLE, "msm", [np.array([[1.0, 1]]), energies], 3, set_size=2)
    np.testing.assert_allclose(found[1:], [2 - 0.5, 2 - 2])


def test_robust_flickr_by_hand():
    """Numerics 12.8."""
    t, y = np.array([[1.0]]), np.array([[3.0]])
    grad = gradient("rflickr", [t, y], coeff=0.5)
    assert cost(ORACLE, "rflickr", [t, y], 1)[0] == pytest.approx(np.log(5)) and grad[0, 0] == pytest.approx(-0.5 * 4 / 5)


@each_backend
def test_energies_of_any_size_are_safe(be):
    energies, labels = 500 * values(7, 5), np.array([[0.0, 1, 2, 3, 6]])
    for size in (1, 2, 7):
        criterion = Criterion("msm", set_size=size)
        found = run_op(be, "cost_input_grad", [labels, energies], np.full((7, 5), np.nan), criterion=criterion)
        assert np.isfinite(found).all() and np.abs(found).max() <= 1 + 1e-6
        np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-5)
