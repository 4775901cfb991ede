"""Where a text came from, and what is wrong with it.

A ``Place`` is a stretch of one line of one file. ``Problems`` collects everything found by all phases,
so that a person sees every mistake at once, sorted by file and line, each with the line and a caret.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convnet.errors import LayerFileError

_SHOWN = 200  # characters of a line


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line: ``line`` and ``column`` count from 1; ``text`` is the whole line."""

    file: str
    line: int = 0
    column: int = 1
    length: int = 1
    text: str = ""

    def within(self, offset: int, length: int) -> Place:
        """The part of this place that starts ``offset`` characters in."""
        return Place(self.file, self.line, self.column + offset, max(length, 1), self.text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where, what was found, what was expected, and the nearest valid spelling if any."""

    place: Place
    message: str
    expected: str = ""
    nearest: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        return self.render()

    def render(self, color: bool = False) -> str:
        """The lines that a person reads; ``color`` adds escape codes for a terminal."""
        bold, red, off = ("\033[1m", "\033[31m", "\033[0m") if color else ("", "", "")
        place = self.place
        where = f"{place.file}:{place.line}:{place.column}" if place.line else place.file
        lines = [f"{bold}{where}:{off} {red}{self.severity}:{off} {self.message}"]
        if place.line and place.text.strip():
            shown, before = self._shown()
            lines += [f"    {shown}", "    " + " " * before + red + "^" * self._width(shown, before) + off]
        if self.expected:
            lines.append(f"    expected {self.expected}")
        if self.nearest:
            lines.append(f"    did you mean '{self.nearest}'?")
        return "\n".join(lines)

    def _shown(self) -> tuple[str, int]:
        """The line, or what stands around the place in a very long one, and how many characters stand before the place."""
        text = "".join(char if char.isprintable() else " " for char in self.place.text.rstrip())
        before = self.place.column - 1
        cut = max(0, before - _SHOWN // 2) if len(text) > _SHOWN else 0
        start, end = "…" * (cut > 0), "…" * (len(text) > cut + _SHOWN)
        return start + text[cut : cut + _SHOWN] + end, before - cut + len(start)

    def _width(self, shown: str, before: int) -> int:
        return max(1, min(self.place.length, len(shown) - before))


@dataclass
class Problems:
    """Collects errors and warnings of every phase; ``check`` raises once, with all of them."""

    strict: bool = False
    found: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # the order in which to show files; others follow

    def error(self, place: Place, message: str, *, expected: str = "", nearest: str = "") -> None:
        self.found.append(Problem(place, message, expected, nearest))

    def warn(self, place: Place, message: str, *, expected: str = "", nearest: str = "") -> None:
        """Something an original accepted silently and wrongly: an error only when ``strict``."""
        severity = "error" if self.strict else "warning"
        self.found.append(Problem(place, message, expected, nearest, severity))

    @property
    def errors(self) -> list[Problem]:
        return self._sorted("error")

    @property
    def warnings(self) -> list[Problem]:
        return self._sorted("warning")

    def check(self) -> None:
        """Raise ``LayerFileError`` if any error was found: warnings go along, a misspelt key explains a missing one."""
        if self.errors:
            raise LayerFileError(self._sorted("error", "warning"))

    def _sorted(self, *severities: str) -> list[Problem]:
        files = list(dict.fromkeys([*self.files, *(problem.place.file for problem in self.found)]))
        chosen = dict.fromkeys(problem for problem in self.found if problem.severity in severities)
        return sorted(chosen, key=lambda p: (files.index(p.place.file), p.place.line, p.place.column))
