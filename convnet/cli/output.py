"""What verbs print: names and texts from files cannot move the cursor, colour, hide or forge what a terminal shows.

The streams themselves are cleaned, for as long as a verb runs: whatever prints, now or in a later version, passes here.
Codes of our own, such as colours, go through ``control``, by those who have cleaned what stands between them.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from convnet.texts import printable_lines


class CleanStream:
    """A text stream that writes out control characters, but for ends of lines, and what its encoding lacks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.before: Callable[[], None] = lambda: None  # done before each text

    def write(self, text: str) -> int:
        """Write ``text``, cleaned."""
        return self.control(printable_lines(text))

    def control(self, text: str) -> int:
        """Write ``text`` with codes for the terminal."""
        self.before()
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        text = text.replace("…", "…".encode(encoding, "ignore").decode(encoding) or "~")  # as wide, where tables were cut
        return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def clean_output() -> Iterator[None]:
    """Clean what is written to standard output and standard error inside."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, CleanStream) else CleanStream(stream) for stream in before
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def before_errors(act: Callable[[], None]) -> Iterator[None]:
    """Do ``act`` before each text on standard error inside, such as taking away a line that stands on the terminal."""
    stream = sys.stderr
    if not isinstance(stream, CleanStream):
        yield
        return
    stream.before = act
    try:
        yield
    finally:
        stream.before = lambda: None
