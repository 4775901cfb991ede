"""What asks a run to stop or to save, on whichever rank: all ranks take it up at the same place.

A signal, or a person at the live page, reaches one rank. It is told to the others when all gather what was asked, between
two minibatches, and holds from there on.
"""

from convnet.interrupts import SaveRequest, StopRequest
from convnet.ranks.communicator import Communicator


class SharedStop(StopRequest):
    """A ``StopRequest`` that holds once the ranks have told each other of it."""

    def __init__(self, ranks: Communicator) -> None:
        super().__init__()
        self._asked, self._is_shared = "", ranks.size > 1

    def ask(self, reason: str) -> None:
        self._asked = self._asked or reason
        if not self._is_shared:
            super().ask(reason)

    @property
    def asked(self) -> str:
        """What asked first on this rank."""
        return self._asked

    def hold(self, reason: str) -> None:
        """Take up what some rank was asked."""
        super().ask(reason)


class SharedSave(SaveRequest):
    """A ``SaveRequest`` that holds once the ranks have told each other of it."""

    def __init__(self, ranks: Communicator) -> None:
        super().__init__()
        self._is_asked_here, self._is_shared = False, ranks.size > 1

    def ask(self) -> None:
        if self._is_shared:
            self._is_asked_here = True
        else:
            super().ask()

    def take_asked(self) -> bool:
        """Return whether anybody has asked on this rank since the last call."""
        asked, self._is_asked_here = self._is_asked_here, False
        return asked

    def hold(self) -> None:
        """Take up what some rank was asked."""
        super().ask()


def share_requests(ranks: Communicator, stop: SharedStop, save: SharedSave) -> None:
    """Tell all ranks what was asked on any; they call it together."""
    if ranks.size == 1:
        return
    told = ranks.all_gather((stop.asked, save.take_asked()))
    if reason := next((reason for reason, _ in told if reason), ""):
        stop.hold(reason)
    if any(asked for _, asked in told):
        save.hold()
