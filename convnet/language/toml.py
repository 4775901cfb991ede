"""Reads the same networks from TOML: ``[layer.NAME]`` tables in file order, ``[default]`` for what all share, ``[run]``
for options of a run.

One file may hold definition and parameters together, or two files one each. Syntax and values are ``tomllib``'s; a scan
of the lines adds the places that ``tomllib`` does not keep. ``tomllib`` stops at the first mistake: that line is reported
and repaired, and the text read again, until all mistakes are reported.
"""

import re
import tomllib
from typing import Any

from convnet.language.diagnostics import Place, Problems
from convnet.language.ini import Document, Entry, Section
from convnet.texts import nearest

_TABLE = re.compile(r"\s*\[\s*(.+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*=\s*""")
_BROKEN_TABLE = re.compile(r"""\s*\[\s*layer\s*\.\s*["']?([^"'\]=]+)""")
_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")
_TABLES = ("layer", "default", "run")
_UNREADABLE = {"?": 1}  # stands for a value that cannot be read
_MAX_PARTS = 1000  # of a dotted name
_MAX_REPAIRS = 20  # lines, beyond which the file is something else

Places = dict[tuple[str, str, str], Place]  # by kind of table, layer, and "", "key" or "key=" for the key's value


def read_toml(text: str, path: str, problems: Problems) -> Document:
    """Split a TOML layer file into sections; every line that is not valid is reported at its place."""
    document = Document(path, text, native=True)
    lines = text.split("\n")
    tables = _load(path, lines, problems)
    if tables is None:
        document.broken = True
        return document
    places, top = _scan(path, lines), Place(path, 1, 1, 1, lines[0])
    for kind, content in tables.items():
        if kind not in _TABLES or not isinstance(content, dict):
            place = places.get((kind, "", ""), top)
            problems.error(place, f"unknown table or key '{kind}'", expected="[layer.NAME]", nearest=nearest(kind, _TABLES))
            continue
        if kind == "default":
            document.defaults = _section(path, kind, "", content, places, problems)
            continue
        if kind == "run":
            document.run = _section(path, kind, "", content, places, problems)
            continue
        for name, entries in content.items():
            if isinstance(entries, dict):
                document.sections[name] = _section(path, kind, name, entries, places, problems)
            else:
                place = places.get((kind, "", name), top)
                problems.error(place, f"'layer.{name}' must be a table of keys", expected=f"[layer.{name}]")
    return document


def _load(path: str, lines: list[str], problems: Problems) -> dict[str, Any] | None:
    """Return ``tomllib``'s tables, with ``_UNREADABLE`` for values that it cannot read; ``None`` if repairs do not help."""
    dotted = next((i for i, line in enumerate(lines) if line.count(".") > _MAX_PARTS), None)
    if dotted is not None:  # which ``tomllib`` takes quadratic time for
        place = Place(path, dotted + 1, 1, 1, lines[dotted][:80])
        problems.error(place, f"not valid TOML: a name of more than {_MAX_PARTS} parts")
        return None
    repairs: dict[int, str] = {}
    while True:
        try:
            return tomllib.loads("\n".join(repairs.get(i, line) for i, line in enumerate(lines)))
        except RecursionError:
            problems.error(Place(path), "not valid TOML: lists within lists within lists")
            return None
        except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
            position = _POSITION.search(str(error))
            number, column = (int(position[1]), int(position[2])) if position else (len(lines), 1)
            i = number - 1
            repair = _repaired(lines[i])
            if i not in repairs:
                place = Place(path, number, column, 1, lines[i])
                problems.error(place, f"not valid TOML: {_POSITION.sub('', str(error)).strip()}")
            if repairs.get(i) == repair or len(repairs) == _MAX_REPAIRS:
                return None
            repairs[i] = repair


def _repaired(line: str) -> str:
    """Return a valid line of the same key or table, as far as its name can be told."""
    key, table = _KEY.match(line), _BROKEN_TABLE.match(line)
    if key:
        return f'{key[0]}{{"?" = 1}}'
    return f'[layer."{table[1].rstrip()}"]' if table else ""


def _section(path: str, kind: str, name: str, content: dict[str, Any], places: Places, problems: Problems) -> Section:
    section = Section(name or "DEFAULT", places.get((kind, name, ""), Place(path, 1)))
    for key, value in content.items():
        key_place = places.get((kind, name, key), section.place)
        value_place = places.get((kind, name, key + "="), key_place)
        if isinstance(value, dict) and value != _UNREADABLE:
            owner = f"layer '{name}'" if name else f"[{kind}]"
            problems.error(key_place, f"'{key}' of {owner} must be a value, not a table")
        else:
            section.entries[key.lower()] = Entry(key, None if value == _UNREADABLE else value, value_place, key_place)
    return section


def _scan(path: str, lines: list[str]) -> Places:
    """Return the places of ``[kind.name]`` headers, of their keys and of the keys' values."""
    places: Places = {}
    kind = name = ""
    for number, line in enumerate(lines, 1):
        key = _KEY.match(line)
        table = _TABLE.match(line) or (None if key else _BROKEN_TABLE.match(line))
        end = len(line.rstrip())
        if table:
            dotted = table[1] if table.re is _TABLE else f"layer.{table[1]}"
            kind, _, name = (part.strip().strip("\"'") for part in dotted.partition("."))
            places.setdefault((kind, name, ""), Place(path, number, 1, end, line))
            places.setdefault((kind, "", ""), Place(path, number, 1, end, line))
        elif key:
            word = next(part for part in key.groups() if part is not None)
            places.setdefault((kind, name, word), Place(path, number, line.find(word) + 1, len(word), line))
            places.setdefault((kind, name, word + "="), Place(path, number, key.end() + 1, end - key.end(), line))
    return places
