"""``convnet run`` and ``python -m convnet.run``: from options to a training run.

convnet run --layer-def layers-imagenet.cfg                      train on the demonstration set
convnet run --layer-def net.cfg --data-path DIR --epochs 10      train on one's own data
convnet run --load-file CHECKPOINT                               go on
convnet run --load-file CHECKPOINT --test-only                   test and leave
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from convnet.cli.check_grads import check_grads
from convnet.cli.common import Parser, add_option, print_problems, run_verb, say, terminal_width, write_text
from convnet.cli.permission import may_run_code
from convnet.errors import shell_quoted
from convnet.graph.graph import Graph
from convnet.options import BY_NAME, GROUPS, IGNORED, OPTIONS, read_config
from convnet.storage import check_folder
from convnet.training.evaluator import write_features
from convnet.training.events import Callback, Message, RunBegin, RunEnd
from convnet.training.lines import Lines
from convnet.training.log import Log
from convnet.training.run import Run
from convnet.training.session import RunInputs, Session


def main(arguments: Sequence[str] | None = None, prog: str = "convnet run") -> int:
    """Train or test; return the exit status."""
    return run_verb(_main, run_parser(prog), arguments)


def _main(args: argparse.Namespace) -> int:
    if ignored := [flag for flag in IGNORED if getattr(args, flag[2:].replace("-", "_"), None) is not None]:
        say(f"convnet: no effect: {', '.join(ignored)}, which only the originals had")
    return run(given_options(args))


def run_parser(prog: str) -> Parser:
    """Return the parser of ``convnet run``: every option of a run, by groups."""
    description = "Train, test or go on training a network that two layer files describe."
    usage = f"{prog} --layer-def FILE [--data-path DIR] [options]\n       {prog} --load-file CHECKPOINT [options]"
    example = "--layer-def layers-cifar10-26pct.cfg --data-path cifar-10-batches-py"
    parser = Parser(prog, description, example, usage=usage, argument_default=argparse.SUPPRESS)
    for title in GROUPS:
        group = parser.add_argument_group(title)
        for option in OPTIONS:
            if option.group == title:
                add_option(group, option)
    for flag in IGNORED:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    return parser


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options given on the command line and in ``--config``, by name; the command line wins."""
    options = {name: value for name, value in vars(args).items() if name in BY_NAME}
    return read_config(Path(options["config"])) | options if options.get("config") else options


def run(given: dict[str, Any]) -> int:
    """Train or test as the ``given`` options say; return the exit status. Raises ``ConvnetError``."""
    lines = Lines()
    try:
        return _run(given, lines)
    finally:
        lines.end_line()  # so that a message does not stand behind the line of a batch


def _run(given: dict[str, Any], lines: Lines) -> int:
    inputs = RunInputs(given)
    if inputs.options.check_grads:
        return check_grads(inputs, lines)
    session = Session(inputs)
    with session.folder, Log(session) if session.options.trains else nullcontext() as log:
        _work(session, [log, lines] if log else [lines])
    return 0


def _work(session: Session, callbacks: Sequence[Callback]) -> None:
    """Do what the options of an open session say, and tell of it."""
    print_problems(session.graph.warnings)
    session.check_costs()
    if session.state is None:
        session.may_run_code = may_run_code(session.graph, bool(session.options.allow_init_code))
    drawn = session.graph if session.checkpoint is None else None
    edits = session.apply_edits()
    backends, remarks = session.backends()
    device = ", ".join(be.describe() for be in dict.fromkeys(backends))
    work = Run(session, session.net(backends), callbacks)
    moved = [*session.set_newer_aside(), *session.find_best()]  # now that nothing else can be wrong
    remarks = [*session.remarks, *moved, *remarks]
    work.tell(RunBegin(session, work.net, device, drawn, edits, remarks))
    if session.options.write_features:
        source, folder = session.options.load_file or session.files.definition_path, Path(session.options.feature_path)
        layer, numbers = session.options.write_features, session.plan.test
        for file in write_features(work.net, session.test, numbers, layer, folder, source):
            work.tell(Message(f"Wrote feature file {file}"))
    elif session.options.test_only:
        _test(work)
    else:
        _train(work)


def _test(work: Run) -> None:
    """Test once; tell, and write, what was mistaken for what, if asked to."""
    file, report = work.session.options.report, work.tester.report
    if report and file != "-":
        check_folder(Path(file))
    work.test_once()
    if report:
        for line in ["", *report.lines(terminal_width())]:
            work.tell(Message(line))
    if report and file != "-":
        write_text(file, report.csv())
        work.tell(Message(f"Wrote {file}"))


def _train(work: Run) -> None:
    """Train, and say what to do next."""
    options, tests = work.session.options, work.position.tests_done
    saved = work.run()
    if options.test_out and work.position.tests_done == tests and not work.stop:
        text = f"Nothing was written to {options.test_out}: no test was due (--test-freq {work.plan.test_freq})."
        work.tell(Message(text))
    if saved:
        for line in _next_steps(saved, work.session.graph):
            work.tell(Message(line))
    work.tell(RunEnd(saved))


def _next_steps(path: Path, graph: Graph) -> Iterator[str]:
    """Yield what to try next."""
    yield f"Go on with:       convnet run --load-file {shell_quoted(str(path.parent))}"
    filters = next((layer.name for layer in graph.declared if layer.type in ("conv", "local")), None)
    if filters and filters[-1] == "a" and filters[:-1] + "b" in graph.layers:
        filters = filters[:-1]  # both towers in one picture
    if filters:
        command = "python tools/shownet.py" if Path("tools/shownet.py").is_file() else "convnet shownet"
        words = "--load-file", str(path), "--show-filters", filters, "--out", "filters.png"
        yield f"See its filters:  {command} {' '.join(map(shell_quoted, words))}"
