"""Where a text came from, and what is wrong with it.

A ``Place`` is a stretch of one line of one file. ``Problems`` collects what all phases report,
so that a user sees every mistake at once, sorted by file and line, each with the line and a caret.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convnet.errors import LayerFileError
from convnet.texts import printable

_MAX_WIDTH = 200  # characters of a line that are shown
_MAX_MESSAGE = 2000  # characters of a message, which may quote a value


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line: ``line`` and ``column`` count from 1; ``text`` is the whole line."""

    file: str
    line: int = 0
    column: int = 1
    length: int = 1
    text: str = ""

    def within(self, offset: int, length: int) -> Place:
        """Return the part of this place that starts ``offset`` characters in."""
        return Place(self.file, self.line, self.column + offset, max(length, 1), self.text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where, what is wrong, what was expected, and the nearest valid spelling if any."""

    place: Place
    message: str
    expected: str = ""
    nearest: str = ""
    severity: str = "error"
    about: str = field(default="", compare=False)  # the layer that it concerns

    def render(self, color: bool = False) -> str:
        """Return the lines to show, ``printable`` but for the escape codes that ``color`` adds for a terminal."""
        bold, red, off = ("\033[1m", "\033[31m", "\033[0m") if color else ("", "", "")
        place = self.place
        where = f"{place.file}:{place.line}:{place.column}" if place.line else place.file
        lines = [f"{bold}{printable(where)}:{off} {red}{self.severity}:{off} {printable(_cut(self.message))}"]
        if place.line and place.text.strip():
            text, before = self._excerpt()
            width = max(1, min(place.length, len(text) - before))
            lines += [f"    {text}", "    " + " " * before + red + "^" * width + off]
        if self.expected:
            lines.append(f"    expected {printable(self.expected)}")
        if self.nearest:
            lines.append(f"    did you mean '{printable(_cut(self.nearest))}'?")
        return "\n".join(lines)

    __str__ = render

    def _excerpt(self) -> tuple[str, int]:
        """Return the line, or the part of a very long one around the place, and how many characters precede the place."""
        text = "".join(char if char.isprintable() else " " for char in self.place.text.rstrip())
        before = self.place.column - 1
        cut = max(0, before - _MAX_WIDTH // 2) if len(text) > _MAX_WIDTH else 0
        start, end = "…" * (cut > 0), "…" * (len(text) > cut + _MAX_WIDTH)
        return start + text[cut : cut + _MAX_WIDTH] + end, before - cut + len(start)


def _cut(text: str) -> str:
    """Return a text, of a very long one its beginning and its end."""
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_WIDTH]}…{text[-_MAX_WIDTH:]}"


@dataclass
class Problems:
    """Errors and warnings of every phase; ``check`` raises once, with all of them."""

    strict: bool = False
    items: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # the order in which to show files; others follow

    def error(self, place: Place, message: str, *, expected: str = "", nearest: str = "", about: str = "") -> None:
        """Report a mistake."""
        self.items.append(Problem(place, message, expected, nearest, about=about))

    def warn(self, place: Place, message: str, *, expected: str = "", nearest: str = "", about: str = "") -> None:
        """Report what an original accepted silently and wrongly: an error only when ``strict``."""
        self.items.append(Problem(place, message, expected, nearest, "error" if self.strict else "warning", about))

    @property
    def errors(self) -> list[Problem]:
        return self._sorted("error")

    @property
    def warnings(self) -> list[Problem]:
        return self._sorted("warning")

    def check(self) -> None:
        """Raise ``LayerFileError`` if any error was found: with it warnings, since a misspelt key explains a missing one."""
        if self.errors:
            raise LayerFileError(self._sorted("error", "warning"))

    def _sorted(self, *severities: str) -> list[Problem]:
        files = list(dict.fromkeys([*self.files, *(problem.place.file for problem in self.items)]))
        chosen = dict.fromkeys(problem for problem in self.items if problem.severity in severities)
        return sorted(chosen, key=lambda p: (files.index(p.place.file), p.place.line, p.place.column))
