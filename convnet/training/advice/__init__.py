"""What stands out in a run, and what to do about it: a cost that does not move, dead units, rates too large or too small.

    history, _ = History.read("checkpoints")
    for advice in advice_on(history): ...

It is sparing: a run that learns gets none. What is said is the practice of 2012, where that is on record:

- The paper (Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012, section 5)
  began with weights of a standard deviation of 0.01, and with biases of 1 in most layers behind relu, so that units get
  something positive to begin with. Rates were divided by 10 when the validation error stopped improving.
- The manual of 2014 (wiki of cuda-convnet2, page TrainingExample) explains the three numbers that a test prints of each
  matrix: mean size of the weights, mean size of the increments, and their ratio; to watch them helps where a net does not
  converge. It gives no bounds. In the run that it shows the ratios are 1e-4 to 3.4e-3.
- The bounds are from the same group (Hinton: A Practical Guide to Training Restricted Boltzmann Machines, 2010, section
  7.1): increments of about a thousandth of the weights, to an order of magnitude, and less for units of many inputs.
"""

from convnet.training.advice.costs import misfitting, rising, stuck, tests
from convnet.training.advice.course import ended, slow
from convnet.training.advice.kinds import LEVELS, Advice
from convnet.training.advice.weights import Verdict, dead, frozen, judged, ratio_verdict, ratios, zero
from convnet.training.history import History

_CHECKS = (ended, zero, stuck, rising, dead, frozen, ratios, misfitting, tests, slow)

__all__ = ["LEVELS", "Advice", "Verdict", "advice_on", "judged", "ratio_verdict"]


def advice_on(history: History) -> list[Advice]:
    """Return what stands out in a run, the gravest first; empty for one that learns as it should."""
    found = [advice for check in _CHECKS for advice in check(history)]
    return sorted(found, key=lambda advice: LEVELS.index(advice.level))
