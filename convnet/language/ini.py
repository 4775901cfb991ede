"""Reads the INI text of layer files, line by line, keeping every place.

The lexical rules are those of Python 2.7's ``SafeConfigParser``, which all three originals used
(language spec, "Quirks worth preserving", 1 to 6): ``#``, ``;`` and ``rem`` comments in column 0 only, ``;`` as an
inline comment only where it follows white space, indented lines continue a value, keys are case-insensitive,
sections of one name merge, ``[DEFAULT]`` feeds every section, ``%(key)s`` interpolates.
Where it gave up at the first bad line, this reader reports the line and goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from convnet.language.diagnostics import Place, Problems

_HEADER = re.compile(r"\[([^]]+)\]")
_BAD_HEADER = re.compile(r"[^=:]*?(\[([^]=:]+)\])")
_OPTION = re.compile(r"([^:=\s][^:=]*)([:=])[^\S\n]*(.*)$", re.DOTALL)
_VARIABLE = re.compile(r"%\(([^)]+)\)s")
_MAX_DEPTH = 10


@dataclass(slots=True)
class Entry:
    """``key = value`` as written: ``raw`` joins continuation lines with newlines; ``place`` is the value's.

    TOML values are native objects, so ``raw`` is text only for INI files; ``None`` is a value that could not be read.
    """

    key: str
    raw: object
    place: Place
    key_place: Place


@dataclass(slots=True)
class Section:
    """One ``[name]`` with its entries by lower-cased key; sections of one name have been merged."""

    name: str
    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """A file as sections in order. ``defaults`` holds ``[DEFAULT]``; ``native`` marks TOML.

    ``broken``: its syntax hides what it says, so that nothing is to be concluded from what seems to be missing.
    """

    path: str
    text: str
    sections: dict[str, Section] = field(default_factory=dict)
    defaults: Section | None = None
    native: bool = False
    broken: bool = False

    def entry(self, section: str, key: str) -> Entry | None:
        """The entry that holds for ``key`` in ``section``, falling back on ``[DEFAULT]``."""
        key = key.lower()
        found = self.sections[section].entries.get(key) if section in self.sections else None
        if found is None and self.defaults is not None:
            found = self.defaults.entries.get(key)
        return found

    def top(self) -> Place:
        """The place to blame when the file as a whole is at fault."""
        return Place(self.path)


def read_ini(text: str, path: str, problems: Problems) -> Document:
    """Split ``text`` into sections and entries; report every line that is neither.

    Source: language spec, lexical rules; Python 2.7 ``ConfigParser.RawConfigParser._read``.
    """
    document = Document(path, text)
    section: Section | None = None
    entry: Entry | None = None
    for number, line in enumerate(_lines(text), 1):
        if "\r" in line:
            place = Place(path, number, line.index("\r") + 1, 1, line)
            problems.error(place, "a carriage return inside the line", expected="lines that end in a newline")
            break
        if not line.strip() or line[0] in "#;" or _is_rem(line):
            continue
        if line[0].isspace() and section is not None and entry is not None:
            entry.raw = f"{entry.raw}\n{line.strip()}"
            continue
        whole = Place(path, number, 1, len(line.rstrip()), line)
        header = _HEADER.match(line)
        if header:
            section, entry = _open_section(document, header[1], whole), None
        elif section is None or not _OPTION.match(line):
            intended = _report_line(line, whole, section, problems)
            if intended or section is None:
                section, entry = _open_section(document, intended, whole), None
        else:
            entry = _read_entry(line, whole)
            section.entries[entry.key.lower()] = entry
    document.sections.pop("", None)
    return document


def interpolate(document: Document, section: str, entry: Entry, problems: Problems) -> str | None:
    """The text of an entry with ``%(key)s`` replaced; ``None`` after reporting a bad reference."""
    assert isinstance(entry.raw, str)
    if "%" not in entry.raw:
        return entry.raw
    try:
        return _expand(document, section, entry.raw, 1)
    except _BadReference as bad:
        problems.error(entry.place, str(bad), expected="%(key)s with a key of this section, or %% for a percent sign")
        return None


class _BadReference(Exception):
    pass


def _lines(text: str) -> list[str]:
    text = text.removeprefix("\ufeff")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _is_rem(line: str) -> bool:
    return line[0] in "rR" and line.split(None, 1)[0].lower() == "rem"


def _open_section(document: Document, name: str, place: Place) -> Section:
    if name == "DEFAULT":
        if document.defaults is None:
            document.defaults = Section(name, place)
        return document.defaults
    return document.sections.setdefault(name, Section(name, place))


def _report_line(line: str, whole: Place, section: Section | None, problems: Problems) -> str:
    """Report a line that is nothing, and return the section that it was meant to open, or ``''``."""
    header = _BAD_HEADER.match(line)
    hint, name = (header[1], header[2]) if header else ("", "")
    if section is None:
        problems.error(whole, "text before the first [section]", expected="a [layer name] line first", nearest=hint)
    else:
        problems.error(whole, "neither a [section] nor a key=value line", expected="key=value", nearest=hint)
    return name


def _read_entry(line: str, whole: Place) -> Entry:
    match = _OPTION.match(line)
    assert match
    key, value = match[1].rstrip(), match[3]
    semicolon = value.find(";")
    if semicolon != -1 and value[semicolon - 1].isspace():
        value = value[:semicolon]
    value = value.strip()
    column = match.start(3) + 1
    shown = max(len(value), 1)
    if value == '""':
        value = ""
    place = Place(whole.file, whole.line, column, shown, whole.text)
    key_place = Place(whole.file, whole.line, 1, len(key), whole.text)
    return Entry(key, value, place, key_place)


def _expand(document: Document, section: str, text: str, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise _BadReference("%(...)s references go round in a circle")
    parts: list[str] = []
    while "%" in text:
        before, _, text = text.partition("%")
        parts.append(before)
        match = _VARIABLE.match("%" + text)
        if text.startswith("%"):
            parts.append("%")
            text = text[1:]
        elif match:
            parts.append(_lookup(document, section, match[1].lower(), depth))
            text = text[match.end() - 1 :]
        else:
            raise _BadReference("a lone % or a broken %(...)s reference")
    return "".join(parts) + text


def _lookup(document: Document, section: str, key: str, depth: int) -> str:
    if key == "__name__":
        return section
    entry = document.entry(section, key)
    if entry is None:
        raise _BadReference(f"%({key})s refers to a key that this section does not have")
    return _expand(document, section, str(entry.raw), depth + 1)
