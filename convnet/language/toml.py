"""Reads the same networks from TOML: ``[layer.NAME]`` tables in file order, ``[default]`` for what all share.

One file may hold definition and parameters together, or two files one each. Syntax and values are ``tomllib``'s; a scan
of the lines adds the places that ``tomllib`` does not keep.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from convnet.language.ini import Document, Entry, Section
from convnet.language.source import Place, Problems, nearest

_TABLE = re.compile(r"\s*\[\s*(.+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*=\s*""")
_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")
_TABLES = ("layer", "default")


def read_toml(text: str, path: str, problems: Problems) -> Document:
    """Sections of a TOML layer file; a syntax error is one problem at its place."""
    document = Document(path, text, native=True)
    lines = text.split("\n")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.error(_error_place(path, lines, str(error)), f"not valid TOML: {_POSITION.sub('', str(error)).strip()}")
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
        if isinstance(value, dict):
            problems.error(key_place, f"'{key}' of layer '{name}' must be a value, not a table")
        else:
            section.entries[key.lower()] = Entry(key, value, value_place, key_place)
    return section


def _scan(path: str, lines: list[str]) -> dict[tuple[str, str, str], Place]:
    """Places of ``[kind.name]`` headers and of their keys (``key``) and values (``key=``)."""
    places: dict[tuple[str, str, str], Place] = {}
    kind = name = ""
    for number, line in enumerate(lines, 1):
        table, key = _TABLE.match(line), _KEY.match(line)
        if table:
            kind, _, name = (part.strip().strip("\"'") for part in table[1].partition("."))
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
