"""Numbers, neurons and schedules in all their spellings; the formulas of the schedules at their edges."""

import pytest

from convnet.language.neurons import NEURON
from convnet.language.schedules import RATE, SCHEDULE, Rate, Schedule
from convnet.language.values import BOOL, FLOAT, INIT_FUNC, INT, WEIGHT_SOURCE, BadValue


@pytest.mark.parametrize(
    "kind, text, expected",
    [
        (INT, "+16", 16), (INT, "016", 16), (INT, " 3 ", 3), (INT, "-2", -2),
        (FLOAT, ".5", 0.5), (FLOAT, "5.", 5.0), (FLOAT, "1E-2", 0.01), (FLOAT, "inf", float("inf")),
        (BOOL, "YES", True), (BOOL, "off", False), (BOOL, "1", True),
        (WEIGHT_SOURCE, "a[1]", ("a", 1)), (WEIGHT_SOURCE, " a ", ("a", 0)), (WEIGHT_SOURCE, "", None),
        (INIT_FUNC, "m.f(a,b)", "m.f(a,b)"), (INIT_FUNC, "m.f", "m.f"),
        (RATE, "0.001", Rate(0.001)), (RATE, "1e-3", Rate(0.001)), (RATE, "const[base=0.1]", Rate(0.1, Schedule())),
        (RATE, "dexp[base=0.01;tgtFactor=250;numSteps=4]", Rate(0.01, Schedule("dexp", 250, 4))),
        (RATE, "dexp[numSteps=4, base=0.01, tgtFactor=250]", Rate(0.01, Schedule("dexp", 250, 4))),
        (SCHEDULE, "default", Schedule()), (SCHEDULE, "default[]", Schedule()),
        (SCHEDULE, "dexp[tgtFactor=250,noiseStdev=0,numSteps=4]", Schedule("dexp", 250, 4, 0)),
        (SCHEDULE, "DEXP[250,0.5,4]", Schedule("dexp", 250, 4, 0.5)), (SCHEDULE, "dexp[1000,4]", Schedule("dexp", 1000, 4)),
        (SCHEDULE, "linear[1,1]", Schedule("linear", 1, 1, 1)), (SCHEDULE, "exp[1000]", Schedule("exp", 1000)),
        (SCHEDULE, " jdexp [ tgtFactor = 5 ; numSteps = 2 ] ", Schedule("jdexp", 5, 2)),
    ],
)  # fmt: skip
def test_spellings(kind, text, expected):
    assert kind.parse(text) == expected
    assert kind.parse(kind.write(expected)) == expected


@pytest.mark.parametrize(
    "kind, text",
    [
        (INT, "16.0"), (INT, "0x10"), (INT, "1_6"), (INT, ""), (INT, "\x1c3"), (INT, "9" * 5000),
        (FLOAT, "1_0"), (FLOAT, "x"), (BOOL, "t"), (BOOL, "2"),
        (WEIGHT_SOURCE, "A [0]"), (WEIGHT_SOURCE, f"a[{'9' * 5000}]"), (INIT_FUNC, "f"), (INIT_FUNC, "m.f(a))"),
        (RATE, "fast"), (RATE, "dexp[tgtFactor=250;numSteps=4]"), (RATE, "const[base=0.1]x"),
        (RATE, "dexp[base=1;tgtFactor=2]"),
        (SCHEDULE, "dexp[250]"), (SCHEDULE, "exp[base=1;tgtFactor=2]"), (SCHEDULE, "exp[tgtFactor=0]"),
        (SCHEDULE, "step[1]"),
        (NEURON, "Relu"), (NEURON, "relu[]"), (NEURON, "tanh[1,]"), (NEURON, "tanh[]"), (NEURON, "tanh(1,2)"),
        (NEURON, "abstanh[1,2]"),
    ],
)  # fmt: skip
def test_rejected(kind, text):
    with pytest.raises(BadValue):
        kind.parse(text)


def test_nearest_neuron():
    with pytest.raises(BadValue) as caught:
        NEURON.parse("Relu")
    assert caught.value.nearest == "relu"
    assert NEURON.parse("tanh[1.79,-0.66]").values == (1.79, -0.66)


@pytest.mark.parametrize(
    "schedule, progress, expected",
    [
        # Numerics 24.7: four quarters, edges inclusive on the right.
        (Schedule("dexp", 250, 4), 0.0, 0.01), (Schedule("dexp", 250, 4), 0.25, 0.01),
        (Schedule("dexp", 250, 4), 0.2501, 0.00158740105), (Schedule("dexp", 250, 4), 0.5, 0.00158740105),
        (Schedule("dexp", 250, 4), 0.75, 0.00025198421), (Schedule("dexp", 250, 4), 0.7501, 0.00004),
        (Schedule("dexp", 250, 4), 1.0, 0.00004), (Schedule("dexp", 250, 1), 0.5, 0.00004),
        (Schedule("exp", 250), 0.25, 0.00251486686), (Schedule("exp", 250), 1.0, 0.00004),
        (Schedule("jdexp", 250, 4), 0.4, 0.00398422019), (Schedule("jdexp", 250, 4), 0.6, 0.00025198421),
        (Schedule("jdexp", 250, 4), 0.95, 0.00004), (Schedule("linear", 250), 0.0, 0.01),
        (Schedule("linear", 250), 0.5, 0.00502),
        (Schedule("linear", 250), 1.0, 0.00004), (Schedule(), 0.7, 0.01),
    ],
)  # fmt: skip
def test_rates(schedule, progress, expected):
    assert schedule.rate(0.01, progress) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("kind", ["exp", "dexp"])
def test_rates_where_the_originals_formula_is_singular(kind):
    """b^(1 + P*q) divides by log b; the rate itself is regular at b = 1 and b = 0."""
    assert Schedule(kind, 10, 2).rate(1.0, 1.0) == pytest.approx(0.1)
    assert Schedule(kind, 10, 2).rate(0.0, 0.5) == 0
