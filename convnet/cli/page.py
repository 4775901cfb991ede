"""The page of a run that trains here (``convnet run --live``): served for as long as it does, told of once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from convnet.cli.common import say
from convnet.pages.live.board import POLL, Board
from convnet.pages.live.follow import Followed
from convnet.pages.live.server import PageServer
from convnet.pages.live.sources import LiveRun
from convnet.training.log import NAME
from convnet.training.run import Run
from convnet.training.session import Session

_LINGER = 1.5 * POLL  # seconds in which a page that is open hears how the run has ended


class LivePage:
    """The page of a run of this process, which begins to be of use when it ``take``s one."""

    def __init__(self, server: PageServer, live: LiveRun) -> None:
        self.address, self.live = server.address, live

    def take(self, work: Run) -> None:
        """Let the page save and stop a run that is about to begin, and say where it is, on standard error.

        Whoever has the address may do both: it stands in no log.
        """
        self.live.take(work)
        say(f"convnet: live page: {self.address}")


@contextmanager
def live_page(session: Session, port: int) -> Iterator[LivePage]:
    """Serve a page inside, on ``port``, of what the session is going to train; raises ``OptionError`` where it is taken."""
    live = LiveRun()
    board = Board(Followed(session.folder.path / NAME), live)
    with PageServer(port, board.gets, board.posts) as server:
        try:
            yield LivePage(server, live)
        except BaseException as error:
            live.end(error)
            raise
        else:
            live.end(None)
        finally:
            if live.is_open:
                time.sleep(_LINGER)
