"""What SIGINT, SIGTERM and SIGHUP do to a program: they end it at once, or ask it to stop where it can save. SIGUSR1 asks
it to save and go on.

A program ends without unwinding: whatever runs, be it an import or a thread that is waited for, cannot delay it or turn it
into a traceback. What has to be undone first, such as files half written, is told to ``undo_if_interrupted``. Only programs
do this (``end_program_on_signals``); where this package is a library, signals are its user's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from contextlib import contextmanager

TYPE_CHECKING = False  # see ``convnet``
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType
    from typing import NoReturn

SAVE_SIGNAL = getattr(signal, "SIGUSR1", None)  # Windows has none
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
INTERRUPTED = "interrupted; what was saved before is untouched"

_to_undo: list[Callable[[], object]] = []
_ends_program = False
_says = True
_late: list[int] | None = None  # signals that came inside ``whole_despite_signals``


@contextmanager
def undo_if_interrupted(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` if a signal ends the program inside; the last one that was told of is called first."""
    _to_undo.append(undo)
    try:
        yield
    finally:
        _to_undo.remove(undo)


@contextmanager
def whole_despite_signals() -> Iterator[None]:
    """Have a signal that comes inside end the program only after it.

    Signals blocked for this thread would not do: the threads of libraries take them, and Python hears of it here.
    """
    global _late
    late: list[int] = []
    _late = late
    try:
        yield
    finally:
        _late = None
        if late:
            end_program(late[0])


def end_program(number: int) -> NoReturn:
    """Undo what is unfinished, say so on standard error, and leave with the status that shells give signal ``number``."""
    for undo in reversed(_to_undo):
        with contextlib.suppress(OSError):
            undo()
    with contextlib.suppress(OSError):
        _says and os.write(2, f"convnet: {INTERRUPTED}\n".encode())
    os._exit(128 + number)


def end_program_on_signals(is_quiet: bool = False) -> None:
    """Have signals end this program, but for those that its parent has it ignore, as nohup does SIGHUP.

    Of several ranks all but one do so without a word, ``is_quiet``.

    SIGUSR1 does nothing while there is no run that could be saved; its default is to end the program.
    """
    global _ends_program, _says
    _ends_program, _says = True, not is_quiet
    if SAVE_SIGNAL is not None:
        signal.signal(SAVE_SIGNAL, signal.SIG_IGN)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end_or_wait)


def _end_or_wait(number: int, _frame: FrameType | None) -> None:
    if _late is None:
        end_program(number)
    _late.append(number)


class StopRequest:
    """Whether a signal or a person has asked to stop; a second signal ends the program at once."""

    latest = ""  # the last signal that any of them got

    def __init__(self) -> None:
        self.reason = ""  # what asked first: the name of a signal, or what ``ask`` was told
        self._has_signal = False

    def __bool__(self) -> bool:
        return bool(self.reason)

    def ask(self, reason: str) -> None:
        """Ask to stop as a signal does, from any thread; ``reason`` is who asks, in the words of "Stopped by ...".

        To ask again changes nothing, and a signal that follows is still the first.
        """
        self.reason = self.reason or reason

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._has_signal and _ends_program:
            end_program(number)
        if self._has_signal:
            raise KeyboardInterrupt
        self._has_signal = True
        StopRequest.latest = signal.Signals(number).name
        self.ask(StopRequest.latest)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take signals inside, even SIGINT where a shell has a background process ignore it; only the main thread may."""
        numbers = [n for n in SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]  # nohup is meant
        with _handled(numbers, self):
            yield


class SaveRequest:
    """Whether SIGUSR1 or a person has asked to save a run that goes on.

    No lock guards it, since a signal's handler may come anywhere: what is asked while it is taken up is saved then, or next.
    """

    def __init__(self) -> None:
        self._is_asked = False

    def ask(self) -> None:
        """Ask to save at the next place where that can be, from any thread."""
        self._is_asked = True

    def take(self) -> bool:
        """Return whether anybody has asked since the last call; whoever takes it up saves after this."""
        if not self._is_asked:
            return False
        self._is_asked = False
        return True

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take SIGUSR1 inside, where there is such a signal; only the main thread may."""
        with _handled([] if SAVE_SIGNAL is None else [SAVE_SIGNAL], self):
            yield


@contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have ``handler`` called for signals inside; in another thread than the main one, nothing."""
    before = {}
    with contextlib.suppress(ValueError):  # in another thread
        for number in numbers:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
