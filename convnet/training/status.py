"""A line of a terminal that is renewed in place, and lines above it that stay."""

import contextlib
import os
import textwrap
from typing import TextIO

from convnet.texts import columns_of, fitted, printable_lines

_TYPED = 4  # columns that are left for ^C, which a terminal shows where the cursor is
_WIDTH = 80  # where nobody says how wide a terminal is


class Status:
    """The last line on ``out``, a terminal. On a dumb one, which can take nothing back, there is none."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.is_dumb = os.environ.get("TERM", "dumb") == "dumb"
        self._is_shown = False

    @property
    def width(self) -> int:
        """How many columns a line may have now, so that the cursor behind it is in the same row."""
        columns = 0
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(self.out.fileno()).columns
        return max((columns or _WIDTH) - 1, 10)

    def show(self, parts: list[str]) -> None:
        """Renew the line: ``parts`` that fit beside each other, the last being the first to be left out."""
        if self.is_dumb:
            return
        text, width = parts[0], max(self.width - _TYPED, 5)
        for part in parts[1:]:
            if columns_of(f"{text}  {part}") > width:
                break
            text += f"  {part}"
        self._write(f"\r{fitted(text, width)}\033[K")
        self._is_shown = True

    def print(self, text: str, indent: str = "") -> None:
        """Print lines that stay, broken between words where the terminal ends; further rows begin with ``indent``."""
        for line in printable_lines(text).split("\n"):
            wrapper = textwrap.TextWrapper(
                self.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
            self.print_whole(wrapper.fill(line))

    def print_whole(self, text: str) -> None:
        """Print lines that stay and are not broken, such as commands to copy."""
        self.clear()
        self.out.write(f"{text}\n")
        self.out.flush()

    def clear(self) -> None:
        """Take the renewed line away."""
        if self._is_shown:
            self._is_shown = False
            self._write("\r\033[K")

    def abandon(self) -> None:
        """Take the line away from within a signal's handler, where streams cannot be written to."""
        if self._is_shown:
            os.write(self.out.fileno(), b"\r\033[K")

    def _write(self, text: str) -> None:
        """Write codes too, past what cleans the names that are printed."""
        getattr(self.out, "control", self.out.write)(text)
        self.out.flush()
