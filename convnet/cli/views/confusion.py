"""Which classes the test cases were taken for, as a matrix: what ``convnet run --test-only --report`` prints."""

import argparse
from dataclasses import replace
from pathlib import Path

from convnet.checkpoint import Checkpoint
from convnet.cli.common import print_problems, say
from convnet.cli.views.view import Flag, View, chosen, data_options
from convnet.drawing.confusion import confusion_scene
from convnet.drawing.figure import write_scene
from convnet.drawing.samples import chosen_name
from convnet.options import BY_NAME, text
from convnet.training.averaging import averaging
from convnet.training.evaluator import Tester
from convnet.training.report import Report
from convnet.training.session import RunInputs, Session

_AVERAGE = ("average", "average_weights")


def _draw(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> None:
    given = {flag.name: getattr(args, flag.name) for flag in VIEW.flags if getattr(args, flag.name)}
    given |= {"load_file": str(checkpoint.path), "test_only": 1, **data_options(args)}
    session = Session(RunInputs(given, checkpoint))
    session.check_costs()
    print_problems(session.graph.warnings)
    for remark in session.remarks:
        say(remark)
    write_scene(confusion_scene(_report(session, chosen(args, VIEW.name))), out)


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


VIEW = View(
    "show_confusion",
    text("SOFTMAX"),
    "draw what the cases of each class were taken for by this softmax layer [the first]",
    _draw,
    tuple(Flag(name, BY_NAME[name].kind, BY_NAME[name].help.removeprefix("with --test-only: "), []) for name in _AVERAGE),
    takes_data=True,
)
