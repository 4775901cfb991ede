"""A run that another process trains, or trained, on a page: it follows the log of the run.

convnet watch checkpoints                                          the newest run in a folder
convnet watch RUN --open                                           and open the page in a browser
convnet watch RUN --port 8080                                      at a port of one's own
"""

import argparse
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from convnet.checkpoint import CheckpointFolder
from convnet.cli.common import Parser, run_verb, say
from convnet.errors import ConvnetError
from convnet.interrupts import StopRequest
from convnet.options import PORT
from convnet.pages.live.board import Board
from convnet.pages.live.follow import Followed
from convnet.pages.live.server import PageServer
from convnet.pages.live.sources import WatchedRun
from convnet.training.log import NAME
from convnet.training.records import checkpoint_of, log_of

_LOOK = 0.1  # seconds between two looks at whether a signal has come


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    parser = Parser(prog, "Show a run that goes on, or has ended, on a page of this machine alone.", "checkpoints --open")
    parser.add_argument("run", metavar="RUN", help="folder of a run, or its log.jsonl")
    parser.add_value("--port", PORT, "where the page is [8012, or the next that is free]", 0)
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "convnet watch") -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    return run_verb(_watch, parser(prog), arguments)


def _watch(args: argparse.Namespace) -> int:
    log = _log_of(args.run)
    board = Board(log, WatchedRun(log.path.parent))
    stop = StopRequest()
    with stop.installed(), PageServer(args.port, board.gets, board.posts) as server:
        print(f"{log.history.title}: {server.address}", flush=True)
        print("Ctrl-C ends this page, not the run.", flush=True)
        if args.open and not webbrowser.open(server.address):
            say("convnet: no browser can be opened from here; open the address in one")
        while not stop:
            time.sleep(_LOOK)
    return 0


def _log_of(path: str) -> Followed:
    """Return the log of a run, its beginning read, also of one in whose folder there is nothing yet.

    Raises ``ConvnetError`` where there is none, or one that cannot be read.
    """
    given, file = Path(path), log_of(path)
    newest = max(given.glob("ConvNet__*"), default=given)
    if given.is_dir() and (file is None or given < file.parent < newest) and not CheckpointFolder(newest).names():
        return Followed(newest / NAME)
    file = file or checkpoint_of(path)[0].path.with_name(NAME)  # of a checkpoint the log that may be beside it
    if not file.is_file():
        raise ConvnetError(f"{path} has no {NAME}, which is what can be watched; convnet report shows checkpoints")
    log = Followed(file)
    log.read()
    if log.fault:
        raise ConvnetError(log.fault)
    return log
