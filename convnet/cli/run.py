"""``convnet run`` and ``python -m convnet.run``: from options to a training run.

convnet run --layer-def layers-imagenet.cfg                      train on the demonstration set
convnet run --layer-def net.cfg --data-path DIR --epochs 10      train on one's own data
convnet run --load-file CHECKPOINT                               go on
convnet run --load-file CHECKPOINT --test-only                   test and leave
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convnet.cli.check_grads import check_grads
from convnet.cli.common import Parser, add_option, print_problems, run_verb, say, terminal_width, write_text
from convnet.cli.next_steps import next_steps, what_stands_out
from convnet.cli.output import before_errors
from convnet.cli.permission import may_run_code
from convnet.errors import ConvnetError
from convnet.interrupts import undo_if_interrupted
from convnet.options import BY_NAME, GROUPS, IGNORED, OPTIONS, TEST, USUAL, read_config
from convnet.ranks.agreement import together
from convnet.ranks.communicator import Communicator
from convnet.ranks.launch import world
from convnet.storage import check_folder
from convnet.training.alike import check_backends, remarks_on_arithmetic
from convnet.training.averaging import Averaging, averaging
from convnet.training.events import Callback, Message, RunBegin, RunEnd
from convnet.training.lines import Lines
from convnet.training.log import Log
from convnet.training.run import Run
from convnet.training.screen import Screen
from convnet.training.session import RunInputs, Session

if TYPE_CHECKING:
    from convnet.cli.page import LivePage


def main(arguments: Sequence[str] | None = None, prog: str = "convnet run") -> int:
    """Train or test; return the exit status."""
    return run_verb(_main, parser(prog), arguments)


def _main(args: argparse.Namespace) -> int:
    if ignored := [flag for flag in IGNORED if getattr(args, flag[2:].replace("-", "_"), None) is not None]:
        say(f"convnet: no effect: {', '.join(ignored)}, which only the originals had")
    with _ending_all_ranks():
        given = given_options(args)
    return run(given)


@contextmanager
def _ending_all_ranks() -> Iterator[None]:
    """Have other ranks, which wait for this one to begin, hear of its error."""
    try:
        yield
    except ConvnetError:
        with world():
            raise


class _Parser(Parser):
    """One whose mistakes other ranks hear of."""

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        with _ending_all_ranks():
            return super().read(arguments)


def parser(prog: str) -> Parser:
    """Return the parser of ``convnet run``: every option of a run, the usual ones first, the others by groups."""
    description = "Train, test or go on training a network that two layer files describe. In []: what holds otherwise."
    usage = f"{prog} --layer-def FILE [--data-path DIR] [options]\n       {prog} --load-file CHECKPOINT [options]"
    example = "--layer-def layers-cifar10-26pct.cfg --data-path cifar-10-batches-py"
    parser = _Parser(prog, description, example, usage=usage, argument_default=argparse.SUPPRESS)
    groups = {"what most runs need": [BY_NAME[name] for name in USUAL]}
    groups |= {title: [one for one in OPTIONS if one.group == title and one.name not in USUAL] for title in GROUPS}
    for title, options in groups.items():
        group = parser.add_argument_group(title)
        for option in options:
            add_option(group, option)
    for flag in IGNORED:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    return parser


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options given on the command line and in ``--config``, by name; the command line wins."""
    options = {name: value for name, value in vars(args).items() if name in BY_NAME}
    return read_config(Path(options["config"])) | options if options.get("config") else options


def run(given: dict[str, Any]) -> int:
    """Train or test as the ``given`` options say; return the exit status. Raises ``ConvnetError``.

    Where this process is one of several ranks, all do the same, and rank 0 prints and writes.
    """
    with world() as communicator:
        return run_on(communicator, given)


def run_on(communicator: Communicator, given: dict[str, Any]) -> int:
    """Train or test on the ranks of a communicator, which all call this; see ``run``."""
    # What starts ranks may give the first of them a terminal of its own, wherever its output goes.
    is_screen = sys.stdout.isatty() and communicator.size == 1 and not given.get("verbose") and not given.get("check_grads")
    shown = Screen() if is_screen else Lines(is_file=communicator.size > 1)
    try:
        with before_errors(shown.end_line), undo_if_interrupted(shown.abandon):
            return _run(communicator, given, shown)
    finally:
        shown.end_line()  # so that a message does not stand behind the line of a batch


def _run(communicator: Communicator, given: dict[str, Any], shown: Lines | Screen) -> int:
    inputs = together(communicator, lambda: RunInputs(given, communicator=communicator))
    if inputs.options.check_grads:
        return check_grads(inputs, shown)
    session = together(communicator, lambda: Session(inputs))
    with session.folder:
        if communicator.rank:
            _work(session, [], None)
            return 0
        return _run_shown(session, shown)


def _run_shown(session: Session, shown: Lines | Screen) -> int:
    """Do what the options of an open session say, with what shows and keeps it."""
    trains = session.options.trains
    with _page_of(session) as page, Log(session) if trains else nullcontext() as log:
        _work(session, [*([log] if log else []), *([page.live] if page else []), shown], page)
    for line in what_stands_out(log.file.path) if log and isinstance(shown, Screen) else ():
        shown.line(line)
    return 0


def _page_of(session: Session) -> AbstractContextManager[LivePage | None]:
    """Return what serves a page of the run, where --live asks for one; raises ``OptionError``."""
    if session.options.live is None or not session.options.trains:
        return nullcontext()
    from convnet.cli.page import live_page  # which most runs do without

    return live_page(session, session.options.live)


def _work(session: Session, callbacks: Sequence[Callback], page: LivePage | None) -> None:
    """Do what the options of an open session say, and tell of it."""
    warnings = session.graph.warnings
    try:
        work = together(session.communicator, lambda: _begin(session, callbacks))
        if page:
            page.take(work)
    finally:
        print_problems(warnings)  # last, where they are seen
    try:
        _do(work)
    except BaseException:
        work.net.close(failed=True)
        raise
    work.net.close()


def _do(work: Run) -> None:
    """Train, test, or write features."""
    session = work.session
    if session.options.write_features:
        source, folder = session.options.load_file or session.files.definition_path, Path(session.options.feature_path)
        work.write_features(session.options.write_features, folder, source)
    elif session.options.test_only:
        _test(work)
        _tell_of_predictions(work)
    else:
        _train(work)
    work.hear()


def _begin(session: Session, callbacks: Sequence[Callback]) -> Run:
    """Open what a session is to do, and tell of its beginning, once nothing can be wrong any more."""
    communicator = session.communicator
    session.check_costs()
    if session.state is None:
        allowed = bool(session.options.allow_init_code)
        allowed = allowed or (communicator.rank == 0 and may_run_code(session.graph, allowed))
        session.may_run_code = communicator.all_gather(allowed)[0]
    drawn = session.graph if session.checkpoint is None else None
    edits = session.apply_edits()
    backends, remarks = session.backends()
    device = ", ".join(be.describe() for be in dict.fromkeys(backends))
    if communicator.size > 1:
        hosts = list(dict.fromkeys(communicator.hosts))
        where = f"{hosts[0]}; each" if not hosts[1:] else f"{len(hosts)} machines; rank 0 on {hosts[0]}"
        device = f"{communicator.size} ranks on {where}: {device}"
    check_backends(communicator, backends[0])
    work = Run(session, session.net(backends), callbacks)
    if session.options.average and session.options.mode == TEST:
        work.tester, more = averaging(session, work.net, work.must_stop)
        remarks = [*remarks, *more]
    remarks = [*remarks, *remarks_on_arithmetic(work.net)]
    # Now that nothing else can be wrong.
    moved = session.move_files() if session.has_work else []
    remarks = [*session.remarks, *moved, *remarks]
    work.tell(RunBegin(session, work.net, device, drawn, edits, remarks))
    return work


def _test(work: Run) -> None:
    """Test once; tell, and write, what was mistaken for what, if asked to."""
    file, report = work.session.options.report, work.tester.report
    communicator = work.session.communicator
    if report and file != "-":
        together(communicator, lambda: check_folder(Path(file)) if communicator.rank == 0 else None)
    work.test_once()
    for line in ["", *work.tester.lines()] if isinstance(work.tester, Averaging) else ():
        work.tell(Message(line))
    if report:
        for line in ["", *report.lines(terminal_width())]:
            work.tell(Message(line))
    if report and file != "-":
        together(communicator, lambda: write_text(file, report.csv()) if communicator.rank == 0 else None)
        work.tell(Message(f"Wrote {file}"))


def _train(work: Run) -> None:
    """Train, and say what to do next."""
    saved = work.run()
    _tell_of_predictions(work)
    if saved and work.session.communicator.rank == 0:
        for line in next_steps(saved, work):
            work.tell(Message(line))
    work.tell(RunEnd(saved))


def _tell_of_predictions(work: Run) -> None:
    """Tell what --test-out has written."""
    folder, written = work.session.options.test_out, work.tester.written
    if folder and written:
        work.tell(Message(f"Wrote {', '.join(path.name for path in written)} to {folder}"))
    elif folder and not work.stop:
        work.tell(Message(f"Nothing was written to {folder}: no test was due (--test-freq {work.plan.test_freq})."))
