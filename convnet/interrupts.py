"""What SIGINT, SIGTERM and SIGHUP do to a program: they end it at once, or ask it to stop where it can save.

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
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
INTERRUPTED = "interrupted; what was saved before is untouched"

_to_undo: list[Callable[[], object]] = []
_ends_program = False
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
        os.write(2, f"convnet: {INTERRUPTED}\n".encode())
    os._exit(128 + number)


def end_program_on_signals() -> None:
    """Have signals end this program, but for those that its parent has it ignore, as nohup does SIGHUP."""
    global _ends_program
    _ends_program = True
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end_or_wait)


def _end_or_wait(number: int, _frame: FrameType | None) -> None:
    if _late is None:
        end_program(number)
    _late.append(number)


class StopRequest:
    """Whether a signal has asked to stop; a second one ends the program at once."""

    latest = ""  # the last signal that any of them got

    def __init__(self) -> None:
        self.signal = ""  # its name, once one has come

    def __bool__(self) -> bool:
        return bool(self.signal)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and _ends_program:
            end_program(number)
        if self.signal:
            raise KeyboardInterrupt
        self.signal = StopRequest.latest = signal.Signals(number).name

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take signals inside, even SIGINT where a shell has a background process ignore it; only the main thread may."""
        before = {}
        with contextlib.suppress(ValueError):  # in another thread
            for number in SIGNALS:
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup is meant
                    before[number] = signal.signal(number, self)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
