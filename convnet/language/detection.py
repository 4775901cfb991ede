"""Which of the three generations a pair of files was written for.

Derived from the declarations: a generation loses a point for every layer type or key that its parser did not
read, and for every key that it demanded and does not find; the later two also for a definition that names no device
at all. Ties go to the later generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convnet.generation import G2011, G2014, GENERATIONS, Generation
from convnet.language.ini import Document
from convnet.language.keys import Key


def detect(definition: Document, params: Document | None, types: Mapping[str, Any]) -> Generation:
    """``2011``, ``2012`` or ``2014``: the generation whose parser comes closest to reading these files whole."""
    return min(reversed(GENERATIONS), key=lambda generation: _misfits(generation, definition, params, types))


def _misfits(generation: Generation, definition: Document, params: Document | None, types: Mapping[str, Any]) -> int:
    placed = any("gpu" in section.entries for section in definition.sections.values())
    total = 5 * (generation != G2011 and not placed)
    for name, section in definition.sections.items():
        entry = section.entries.get("type")
        layer = types.get(str(entry.raw).strip()) if entry else None
        if layer is None:
            continue
        total += 5 * (generation not in layer.read_by)
        given = set(section.entries)
        if params and name in params.sections:
            given |= set(params.sections[name].entries)
            total += _spelled_for_2014(params, name) * (generation != G2014)
        total += _unread(generation, layer.all_keys(), given)
    return total


def _unread(generation: Generation, keys: Iterable[Key], given: set[str]) -> int:
    unread = 0
    for key in keys:
        present = any(spelling.lower() in given for spelling in key.spellings)
        unread += present and generation not in key.read_by
        unread += not present and generation in key.demanded_by
    return unread


def _spelled_for_2014(params: Document, name: str) -> bool:
    entries = params.sections[name].entries
    return any("base" in str(entries[key].raw) for key in ("epsw", "epsb") if key in entries)
