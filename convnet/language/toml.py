"""Reads the same networks from TOML: ``[layer.NAME]`` tables in file order, ``[default]`` for what all share.

One file may hold definition and parameters together, or two files one each. Syntax and values are ``tomllib``'s; a scan
of the lines adds the places that ``tomllib`` does not keep. It stops at the first mistake: the line is reported and mended,
and the text read again, so that the others are found as well.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from convnet.errors import nearest
from convnet.language.diagnostics import Place, Problems
from convnet.language.ini import Document, Entry, Section

_TABLE = re.compile(r"\s*\[\s*(.+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*=\s*""")
_BROKEN_TABLE = re.compile(r"""\s*\[\s*layer\s*\.\s*["']?([^"'\]=]+)""")
_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")
_TABLES = ("layer", "default")
_UNREADABLE = {"?": 1}
_MOST_MENDED = 20  # lines, after which the file is something else


def read_toml(text: str, path: str, problems: Problems) -> Document:
    """Sections of a TOML layer file; every line that is none is a problem at its place."""
    document = Document(path, text, native=True)
    lines = text.split("\n")
    tables = _load(path, lines, problems)
    if tables is None:
        document.broken = True
        return document
    places = _scan(path, lines)
    for kind, content in tables.items():
        if kind not in _TABLES or not isinstance(content, dict):
            place = places.get((kind, "", ""), Place(path, 1, 1, 1, lines[0]))
            problems.error(place, f"unknown table or key '{kind}'", expected="[layer.NAME]", nearest=nearest(kind, _TABLES))
            continue
        if kind == "default":
            document.defaults = _section(document, kind, "", content, places, problems)
            continue
        for name, entries in content.items():
            if isinstance(entries, dict):
                document.sections[name] = _section(document, kind, name, entries, places, problems)
            else:
                place = places.get((kind, "", name), Place(path, 1, 1, 1, lines[0]))
                problems.error(place, f"'layer.{name}' must be a table of keys", expected=f"[layer.{name}]")
    return document


def _load(path: str, lines: list[str], problems: Problems) -> dict[str, Any] | None:
    """``tomllib``'s tables, with ``_UNREADABLE`` for values that it cannot read; ``None`` where mending does not help."""
    mended: dict[int, str] = {}
    while True:
        try:
            return tomllib.loads("\n".join(mended.get(i, line) for i, line in enumerate(lines)))
        except RecursionError:
            problems.error(Place(path), "not valid TOML: lists within lists within lists")
            return None
        except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
            place = _error_place(path, lines, str(error))
            mending = _mend(lines[place.line - 1])
            if place.line - 1 not in mended:
                problems.error(place, f"not valid TOML: {_POSITION.sub('', str(error)).strip()}")
            if mended.get(place.line - 1) == mending or len(mended) == _MOST_MENDED:
                return None
            mended[place.line - 1] = mending


def _mend(line: str) -> str:
    """A line that is read in the place of one that cannot be: of a key or a table, as far as its name can be told."""
    key, table = _KEY.match(line), _BROKEN_TABLE.match(line)
    if key:
        return f'{key[0]}{{"?" = 1}}'
    return f'[layer."{table[1].rstrip()}"]' if table else ""


def _section(
    document: Document,
    kind: str,
    name: str,
    content: dict[str, Any],
    places: dict[tuple[str, str, str], Place],
    problems: Problems,
) -> Section:
    section = Section(name or "DEFAULT", places.get((kind, name, ""), Place(document.path, 1)))
    for key, value in content.items():
        key_place = places.get((kind, name, key), section.place)
        value_place = places.get((kind, name, key + "="), key_place)
        if value == _UNREADABLE:
            section.entries[key.lower()] = Entry(key, None, value_place, key_place)
        elif isinstance(value, dict):
            problems.error(key_place, f"'{key}' of layer '{name}' must be a value, not a table")
        else:
            section.entries[key.lower()] = Entry(key, value, value_place, key_place)
    return section


def _scan(path: str, lines: list[str]) -> dict[tuple[str, str, str], Place]:
    """Places of ``[kind.name]`` headers and of their keys (``key``) and values (``key=``)."""
    places: dict[tuple[str, str, str], Place] = {}
    kind = name = ""
    for number, line in enumerate(lines, 1):
        key = _KEY.match(line)
        table = _TABLE.match(line) or (None if key else _BROKEN_TABLE.match(line))
        if table:
            path_text = table[1] if table.re is _TABLE else f"layer.{table[1]}"
            kind, _, name = (part.strip().strip("\"'") for part in path_text.partition("."))
            places.setdefault((kind, name, ""), Place(path, number, 1, len(line.rstrip()), line))
            places.setdefault((kind, "", ""), Place(path, number, 1, len(line.rstrip()), line))
        elif key:
            word = next(part for part in key.groups() if part is not None)
            end = len(line.rstrip())
            places.setdefault((kind, name, word), Place(path, number, line.find(word) + 1, len(word), line))
            places.setdefault((kind, name, word + "="), Place(path, number, key.end() + 1, end - key.end(), line))
    return places


def _error_place(path: str, lines: list[str], message: str) -> Place:
    position = _POSITION.search(message)
    number, column = (int(position[1]), int(position[2])) if position else (len(lines), 1)
    return Place(path, number, column, 1, lines[number - 1] if number <= len(lines) else "")
