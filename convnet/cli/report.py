"""A run as one file to hand on: it needs no network and no script, and has all of its pictures in it.

convnet report checkpoints --out run.html                          the newest run there
convnet report checkpoints/RUN --data-path ~/cifar-10-batches-py   its test data lie elsewhere now
convnet report checkpoints/RUN/best --no-data                      without a test, in a moment
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convnet.cli.common import Parser, print_problems, run_verb, say, write_text
from convnet.cli.views.view import add_data_options, data_options
from convnet.drawing.samples import TestSet, session_of
from convnet.errors import ConvnetError, DataError, OptionError, first_line
from convnet.options import flag_of, text
from convnet.pages.report.document import report
from convnet.pages.report.evaluation import evaluate
from convnet.pages.report.private import last_name
from convnet.pages.report.reported_run import ReportedRun
from convnet.storage import check_folder
from convnet.texts import bytes_text

_FORMS = (".html", ".htm")


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    description = "Write what a run was, what it learned and what it says of test data into one page."
    parser = Parser(prog, description, "checkpoints --out run.html", argument_default=argparse.SUPPRESS)
    parser.add_argument("run", metavar="RUN", help="folder of a run, or a checkpoint, of any generation")
    parser.add_value("--out", text("HTML"), "page to write [report.html]", "")
    parser.add_value("--title", text("TEXT"), "what stands above it [the name of the layer definition]", "")
    parser.add_argument("--no-data", action="store_true", default=False, help="test nothing: leave errors by class out")
    add_data_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet report") -> int:
    """Write the report of a run; return the exit status."""
    return run_verb(_report, parser(prog), arguments)


def _report(args: argparse.Namespace) -> int:
    given = data_options(args)
    if args.no_data and given:
        raise OptionError(f"--no-data: no effect of {', '.join(map(flag_of, given))} without a test")
    out = Path(args.out or "report.html")
    if out.suffix.lower() not in _FORMS:
        raise OptionError(f"--out {out}: the name must end in {' or '.join(_FORMS)}")
    check_folder(out)
    run = ReportedRun.open(args.run, args.title or "")
    for remark in run.remarks:
        say(f"convnet: {remark}")
    _test(run, args)
    page = report(run)
    write_text(out, page)
    print(f"Wrote {out}, {bytes_text(len(page.encode()))}.")
    return 0


def _test(run: ReportedRun, args: argparse.Namespace) -> None:
    """Test the net of the report, or say why not; raises ``ConvnetError`` where data were named and are not there."""
    given, checkpoint = data_options(args), run.checkpoint
    if args.no_data or checkpoint is None:
        run.untested = "Its test was left out (--no-data)." if args.no_data else "No checkpoint was saved yet."
        return
    if run.graph:
        print_problems(run.graph.warnings)
    try:
        run.evaluation = evaluate(TestSet.of(session_of(checkpoint, given)))
    except (DataError, OptionError) as error:
        if given:
            raise
        name = last_name(checkpoint.option("data_path"))
        data = f"The test data, {name}," if name else "Its test data"
        run.untested = f"{data} could not be used when this report was made; it has all the rest."
        say(f"convnet: not tested: {error}")
    except ConvnetError as error:
        run.untested = run.public(f"It could not be: {first_line(error)}.")
        say(f"convnet: not tested: {error}")
