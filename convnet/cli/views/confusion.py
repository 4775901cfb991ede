"""Which classes the test cases were taken for, as a matrix: what ``convnet run --test-only --report`` prints."""

import argparse
from dataclasses import replace

from convnet.checkpoint import Checkpoint
from convnet.cli.views.view import Flag, View, opened
from convnet.drawing.confusion import confusion_scene
from convnet.drawing.samples import chosen_name
from convnet.drawing.shapes import Scene
from convnet.options import BY_NAME, text
from convnet.training.averaging import averaging
from convnet.training.evaluator import Tester
from convnet.training.report import Report
from convnet.training.session import Session

_AVERAGE = ("average", "average_weights")


def _draw(checkpoint: Checkpoint, softmax: str, args: argparse.Namespace) -> Scene:
    averaged = {name: getattr(args, name) for name in _AVERAGE if getattr(args, name)}
    return confusion_scene(_report(opened(checkpoint, args, **averaged), softmax))


def _report(session: Session, softmax: str) -> Report:
    """Test on all test batches, and return what the cases were taken for by ``softmax``, or by the first."""
    known = [cost for cost in session.graph.costs if cost.type == "cost.logreg"]
    costs = {cost.sources[-1].name: cost.name for cost in known} | {cost.name: cost.name for cost in known}
    name = costs[chosen_name(softmax, costs, "softmax layer of a cost.logreg")]
    session.options = options = replace(session.options, report="-", logreg_name=name, test_out="")
    net = session.net(session.backends()[0])
    tester = averaging(session, net)[0] if options.average else Tester.of(net, session.test, options, "")
    for number in session.plan.test:
        tester.batch(number)
    assert tester.report is not None
    return tester.report


CONFUSION = View(
    "show_confusion",
    text("SOFTMAX"),
    "draw what the cases of each class were taken for by this softmax layer [the first]",
    _draw,
    tuple(Flag(name, BY_NAME[name].kind, BY_NAME[name].help.removeprefix("with --test-only: "), []) for name in _AVERAGE),
    takes_data=True,
    dots=2,
)
