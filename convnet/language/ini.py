"""Reads the INI text of layer files, line by line, keeping every place.

The lexical rules are those of Python 2.7's ``SafeConfigParser``, which all three originals used
(language spec, "Quirks worth preserving", 1 to 6): ``#``, ``;`` and ``rem`` comments in column 0 only, ``;`` as an
inline comment only where it follows white space, indented lines continue a value, keys are case-insensitive,
sections of one name merge, ``[DEFAULT]`` feeds every section, ``%(key)s`` interpolates.
Where it gave up at the first bad line, this reader reports the line and goes on.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from convnet.language.diagnostics import Place, Problems

_HEADER = re.compile(r"\[([^]]+)\]")
_BAD_HEADER = re.compile(r"[^=:]*?(\[([^][=:]+)\])")
_OPTION = re.compile(r"([^:=\s][^:=]*)([:=])[^\S\n]*(.*)$", re.DOTALL)
_UNCLOSED = re.compile(r"\[([^]=:\[]+)$")
_NO_EQUALS = re.compile(r"([A-Za-z]\w*)(\s+)(\S.*)$")
_REFERENCE = re.compile(r"%(?:%|\(([^)]+)\)s)?")
_REM = re.compile(r"rem(?=\s|$)", re.IGNORECASE)
_MAX_DEPTH = 10
_MAX_LENGTH = 100_000  # characters that references may stand for


@dataclass(slots=True)
class Entry:
    """``key = value`` as written: ``raw`` joins continuation lines with newlines; ``place`` is the value's.

    TOML values are native objects, so ``raw`` is text only for INI files; ``None`` is a value that could not be read.
    """

    key: str
    raw: object
    place: Place
    key_place: Place
    certain: bool = True  # or what a line was probably meant to say
    continued: list[Place] = field(default_factory=list)  # the indented lines that go on with the value


@dataclass(slots=True)
class Section:
    """One ``[name]`` with its entries by lower-cased key; sections of one name have been merged."""

    name: str
    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """A file as sections in order. ``defaults`` holds ``[DEFAULT]``; ``native`` marks TOML.

    ``run`` is the table ``[run]`` of TOML, which layers cannot be mistaken for: options of a run, for who knows these.
    ``broken``: its syntax hides what it says, so nothing follows from what seems to be missing.
    """

    path: str
    text: str
    sections: dict[str, Section] = field(default_factory=dict)
    defaults: Section | None = None
    run: Section | None = None
    native: bool = False
    broken: bool = False
    repeated: dict[str, Place] = field(default_factory=dict)  # headers that name a section which stands above already

    def entry(self, section: str, key: str) -> Entry | None:
        """Return the entry that holds for ``key`` in ``section``, else that of ``[DEFAULT]``."""
        for candidate in (self.sections.get(section), self.defaults):
            if candidate and key.lower() in candidate.entries:
                return candidate.entries[key.lower()]
        return None

    def top(self) -> Place:
        """Return the place to blame when the file as a whole is at fault."""
        return Place(self.path)


def read_ini(text: str, path: str, problems: Problems) -> Document:
    """Split ``text`` into sections and entries; report every line that is neither.

    Source: language spec, lexical rules; Python 2.7 ``ConfigParser.RawConfigParser._read``.
    """
    document = Document(path, text)
    section: Section | None = None
    entry: Entry | None = None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if "\r" in line:
            place = Place(path, number, line.index("\r") + 1, 1, line)
            problems.error(place, "a carriage return inside the line", expected="lines that end in a newline")
            break
        if not line.strip() or line[0] in "#;" or _REM.match(line):
            continue
        # An indented line continues the value above it.
        if line[0].isspace() and entry is not None:
            entry.raw = f"{entry.raw}\n{line.strip()}"
            indent = len(line) - len(line.lstrip())
            entry.continued.append(Place(path, number, indent + 1, len(line.strip()), line))
            continue
        place = Place(path, number, 1, len(line.rstrip()), line)
        header, option = _HEADER.match(line), _OPTION.match(line)
        if header:
            _note_repeated(document, header[1], place, problems)
            section, entry = _open_section(document, header[1], place), None
        elif section is not None and option:
            entry = _entry(option, place)
            _warn_repeated(section, entry, problems)
            section.entries[entry.key.lower()] = entry
        else:
            intended, guess = _report_line(line, place, section, problems)
            if section is not None and guess:  # so that no key seems to be missing
                section.entries.setdefault(guess.key.lower(), guess)
            elif intended or section is None:
                section, entry = _open_section(document, intended, place), None
    document.sections.pop("", None)
    return document


def interpolate(document: Document, section: str, entry: Entry, problems: Problems) -> Any:
    """Return the value of an entry, in INI with ``%(key)s`` replaced; ``None`` if it is bad, which has been reported."""
    if document.native:
        return entry.raw
    try:
        return _expand(document, section, str(entry.raw), 1, {})
    except ValueError as bad:
        problems.error(entry.place, str(bad), expected="%(key)s with a key of this section, or %% for a percent sign")
        return None


def _open_section(document: Document, name: str, place: Place) -> Section:
    if name == "DEFAULT":
        document.defaults = document.defaults or Section(name, place)
        return document.defaults
    return document.sections.setdefault(name, Section(name, place))


def _note_repeated(document: Document, name: str, place: Place, problems: Problems) -> None:
    """Warn of a second section of one name, which the originals merged without a word."""
    first = document.defaults if name == "DEFAULT" else document.sections.get(name)
    if first is not None:
        document.repeated[name] = place
        text = f"[{name}] stands in line {first.place.line} already; both are read as one section, as the originals did"
        problems.warn(place, text)


def _warn_repeated(section: Section, entry: Entry, problems: Problems) -> None:
    """Warn of a key that has a value already, unless the second says the same."""
    first = section.entries.get(entry.key.lower())
    if first is not None and first.raw != entry.raw:
        text = (
            f"[{section.name}] has '{entry.key}' in line {first.place.line} already; this value holds, as in the originals"
        )
        problems.warn(entry.key_place, text)


def _report_line(line: str, place: Place, section: Section | None, problems: Problems) -> tuple[str, Entry | None]:
    """Report a line that is neither header nor entry; return the section or the entry that it was meant to be."""
    header, unclosed = _BAD_HEADER.match(line), _UNCLOSED.match(line)
    hint, name = (header[1], header[2]) if header else (f"[{unclosed[1]}]", unclosed[1]) if unclosed else ("", "")
    if section is None:
        problems.error(place, "text before the first [section]", expected="a [layer name] line first", nearest=hint)
        return name, None
    text, option = "neither a [section] nor a key=value line", None
    if line[0].isspace():
        text, option = "an indented line with no value above it to go on with", _OPTION.match(line.strip())
    elif not name:
        option = _NO_EQUALS.match(line)
    entry = _entry(option, place, certain=False) if option else None
    expected = f"{entry.key}={entry.raw}" if entry else "key=value"
    problems.error(place, text, expected=expected, nearest=hint)
    return name, entry


def _entry(option: re.Match[str], line: Place, certain: bool = True) -> Entry:
    """Return the entry of a line that ``_OPTION`` matched."""
    key, value = option[1].rstrip(), option[3]
    semicolon = value.find(";")
    if semicolon != -1 and value[semicolon - 1].isspace():
        value = value[:semicolon]
    value = value.strip()
    place = Place(line.file, line.line, option.start(3) + 1, max(len(value), 1), line.text)
    key_place = Place(line.file, line.line, 1, len(key), line.text)
    return Entry(key, "" if value == '""' else value, place, key_place, certain)


def _expand(document: Document, section: str, text: str, depth: int, known: dict[tuple[str, int], str]) -> str:
    """Replace every reference in ``text``, which stands ``depth`` references deep; raise ``ValueError`` for a bad one.

    ``known`` are the values of keys at each depth, so that references to references are followed once.
    """
    if depth > _MAX_DEPTH:
        raise ValueError("%(...)s references go round in a circle")

    def replacement(match: re.Match[str]) -> str:
        key = match[1]
        if match[0] == "%%":
            return "%"
        if key is None:
            raise ValueError("a lone % or a broken %(...)s reference")
        if key.lower() == "__name__":
            return section
        entry = document.entry(section, key)
        if entry is None:
            raise ValueError(f"%({key.lower()})s refers to a key that this section does not have")
        at = key.lower(), depth
        if at not in known:
            known[at] = _expand(document, section, str(entry.raw), depth + 1, known)
        return known[at]

    length = 0
    for match in _REFERENCE.finditer(text):
        length += len(replacement(match))
        if length > _MAX_LENGTH:
            raise ValueError(f"%(...)s references make more than {_MAX_LENGTH:,} characters")
    return _REFERENCE.sub(replacement, text)
