"""Training a small net follows the formulas of numerics 14 at the edges of every interval, and 14.3 with noise."""

import math

import numpy as np
import pytest
from support import ORACLE, make_graph, values

from convnet.layers.label_tree import LabelTree
from convnet.net.net import Net
from convnet.training.plan import Plan

NET = "[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\noutputs=2\ninitW=0.5\n[cost]\ntype=cost.sum2\ninputs=fc\n"
BASE, EPOCHS, BATCHES = 0.01, 4, 5
PROGRESS = [Plan(list(range(1, BATCHES + 1)), [6], EPOCHS, 1).progress(done) for done in range(EPOCHS * BATCHES + 1)]
T, STEPS = 250.0, 4


def exp(b, target, p):
    q = math.log(b / target) / math.log(b) - 1
    return b ** (1 + p * q)


def dexp_rates(b, target, n):
    return [exp(b, target, i / (n - 1)) for i in range(n - 1)] + [b / target]


def interval(p, n):
    return next(i for i in range(n) if p <= (i + 1) / n)


def dexp(b, target, n, p):
    return dexp_rates(b, target, n)[interval(p, n)]


def jdexp(b, target, n, p):
    rates, i = dexp_rates(b, target, n), interval(p, n)
    if i > 0 and 0.2 < p < 0.9 and p > (i + 0.5) / n:
        return math.sqrt(rates[i] * rates[i - 1])
    return rates[i]


SCHEDULES = {
    # spelling of 2012 (schedW) or of 2014 (epsW): the rate by progress, as numerics 14.2 writes it
    "schedW=default": lambda p: BASE,
    f"schedW=linear[tgtFactor={T},noiseStdev=0]": lambda p: BASE * (1 - p) + BASE / T * p,
    f"schedW=exp[tgtFactor={T},noiseStdev=0]": lambda p: exp(BASE, T, p),
    f"schedW=dexp[tgtFactor={T},noiseStdev=0,numSteps={STEPS}]": lambda p: dexp(BASE, T, STEPS, p),
    f"schedW=jdexp[tgtFactor={T},noiseStdev=0,numSteps={STEPS}]": lambda p: jdexp(BASE, T, STEPS, p),
    f"epsW=const[base={BASE}]": lambda p: BASE,
    f"epsW=linear[base={BASE};tgtFactor={T}]": lambda p: BASE * (1 - p) + BASE / T * p,
    f"epsW=exp[base={BASE};tgtFactor={T}]": lambda p: exp(BASE, T, p),
    f"epsW=dexp[base={BASE};tgtFactor={T};numSteps={STEPS}]": lambda p: dexp(BASE, T, STEPS, p),
}


def net_with(spelling, **more):
    keys = {"epsW": BASE, "epsB": 0, "momW": 0, "momB": 0, "wc": 0} | more
    lines = [f"{key}={value}" for key, value in keys.items() if not spelling.startswith(f"{key}=")]
    params = "[fc]\n" + "\n".join([*lines, spelling]) + "\n[cost]\ncoeff=1\n"
    return Net(make_graph(NET, {0: 3}, params=params), ORACLE, minibatch=4, seed=1)


def rate_of_a_step(net, x, p):
    """What the step multiplied the mean gradient by: -2 sum(y x) / N for a sum of squares."""
    weights = net.nodes["fc"].weights[0]
    before = weights.value.copy()
    gradient = -2 * (before @ x) @ x.T / x.shape[1]
    net.train([x], x.shape[1], p)
    ratios = (weights.value - before) / gradient
    assert np.ptp(ratios) < 1e-9
    return ratios.mean()


@pytest.mark.parametrize("spelling, formula", SCHEDULES.items(), ids=SCHEDULES.keys())
def test_training_follows_the_schedule(spelling, formula):
    """Edges belong to the interval on their left: p = 0.25, 0.5, 0.75 are among the batches' progress."""
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(PROGRESS)
    net, x = net_with(spelling), values(3, 4)
    middles = [0.2, 0.3, 0.374, 0.376, 0.4, 0.6, 0.624, 0.626, 0.7, 0.874, 0.876, 0.9, 0.95]
    for p in [*PROGRESS, *middles, *(np.nextafter(edge, 1) for edge in (0.25, 0.5, 0.75))]:
        assert rate_of_a_step(net, x, p) == pytest.approx(formula(p), rel=1e-6), p


def test_noise_is_drawn_again_for_the_decay():
    """Numerics 13.5: the decay has its own draw and none of the gradient's."""
    net, x = net_with("schedW=linear[tgtFactor=1,noiseStdev=0.5]", wc=3), values(3, 4)
    weights, rates, decays = net.nodes["fc"].weights[0], [], []
    for _ in range(300):
        before = weights.value.copy()
        gradient = -2 * (before @ x) @ x.T / 4
        net.train([x], 4)
        basis = np.stack([gradient.ravel(), -before.ravel()], axis=1)
        rate, decay = np.linalg.lstsq(basis, (weights.value - before).ravel(), rcond=None)[0]
        rates.append(rate / BASE), decays.append(decay / (3 * BASE))
    for factors in (rates, decays):
        assert min(factors) >= 1 and np.mean(factors) == pytest.approx(1 + 0.5 * math.sqrt(2 / math.pi), rel=0.06)
    assert abs(np.corrcoef(rates, decays)[0, 1]) < 0.15


def test_a_tree_layer_follows_no_schedule():
    """Numerics 4.5."""
    text = NET.replace("cost.sum2\ninputs=fc", "cost.logreg\ninputs=labels,probs").replace("type=fc", "type=treefc")
    between = "[labels]\ntype=data\ndataIdx=1\n[probs]\ntype=softmax\ninputs=fc\n[cost]"
    text = text.replace("outputs=2\n", "").replace("[cost]", between)
    params = (
        "[fc]\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\nschedW=exp[tgtFactor=10]\nschedB=exp[tgtFactor=10]\n[cost]\ncoeff=1\n"
    )
    net = Net(make_graph(text, {0: 3, 1: 1}, 2, params, tree=LabelTree.flat(2)), ORACLE, minibatch=4)
    net.begin_step(1.0, 4)
    assert net.nodes["fc"].weights[0].rate == 0.1 and net.nodes["fc"].biases.rate == pytest.approx(0.01)
