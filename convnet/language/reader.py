"""Types one layer: the entries of its sections against the keys its class declares.

Nothing here knows a layer; the declarations come as arguments. Every problem is reported, none stops the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from convnet.errors import nearest
from convnet.language.diagnostics import Place, Problems
from convnet.language.ini import Document, Entry, interpolate
from convnet.language.keys import REQUIRED, Key
from convnet.language.values import BadValue, Bool, Float

# A key that its generation's parser leaves to itself: it names the section's own layer type.
_OWN = frozenset({"type", "__name__"})


class Reader:
    """Reads the keys of one layer from its sections in the definition and the parameter file.

    A key is looked for in its home file first, then in the other one. ``places`` remembers where each value stood.
    """

    def __init__(self, name: str, definition: Document, params: Document | None, problems: Problems) -> None:
        self.name, self.definition, self.params, self.problems = name, definition, params, problems
        self.places: dict[str, Place] = {}
        self.failed: set[str] = set()
        self.excused: set[str] = set()  # missing because [DEFAULT] misspells them, which is reported once
        self._known: dict[str, Key] = {}  # by folded spelling

    @property
    def place(self) -> Place:
        """The layer's own section header, to blame where a key is absent."""
        section = self.definition.sections.get(self.name)
        return section.place if section else self.definition.top()

    def read_all(self, keys: Iterable[Key], demands: str = "") -> dict[str, Any]:
        """Typed values of ``keys`` in order; a value that cannot be read becomes ``None`` and is in ``failed``."""
        values: dict[str, Any] = {}
        keys = list(keys)
        self._known = {spelling.lower(): key for key in keys for spelling in key.spellings}
        for key in keys:
            values[key.name] = self.read(key, values)
            if demands in key.demanded_by and key.name not in self.places:
                self.problems.warn(self.place, f"layer '{self.name}': {demands} files must give '{key.name}'")
        return values

    def read(self, key: Key, values: dict[str, Any]) -> Any:
        """The typed value of ``key``: from the files, or its default; reports what is wrong with it."""
        inputs = len(values.get("inputs") or ())
        found = self._find(key)
        if found is None:
            if key.default is REQUIRED:
                return self._missing(key, inputs)
            return key.default_for(values, inputs) if self._ready(key, values) else None
        document, entry = found
        self.places[key.name] = entry.place
        if entry.raw is None:  # reported when the file was read
            self.failed.add(key.name)
            return None
        try:
            value = self._native(key, entry, inputs) if document.native else self._text(document, key, entry, inputs)
        except BadValue as bad:
            self._reject(key, entry, bad)
            return None
        return value

    def report_unknown(self, keys: Iterable[Key], document: Document) -> None:
        """Report every entry of this layer's section in ``document`` that no key reads.

        An original ignored it, so it is a warning; but an error where a key that must be given was meant.
        """
        self._known = {spelling.lower(): key for key in keys for spelling in key.spellings}
        for entry in self._unknown(document):
            meant = self._meant(entry)
            report = self.problems.error if self._is_slip(entry) else self.problems.warn
            report(entry.key_place, f"layer '{self.name}': no key '{entry.key}' in this layer type", nearest=meant)

    def _unknown(self, document: Document) -> list[Entry]:
        section = document.sections.get(self.name)
        entries = section.entries.items() if section else ()
        return [entry for folded, entry in entries if folded not in self._known and folded not in _OWN]

    def _meant(self, entry: Entry) -> str:
        return nearest(entry.key, [key.name for key in self._known.values()])

    def _is_slip(self, entry: Entry) -> bool:
        """Whether ``entry`` is a misspelt key that must be given, and was not."""
        key = self._known.get(self._meant(entry).lower())
        return key is not None and key.default is REQUIRED and key.name not in self.places

    def _find(self, key: Key) -> tuple[Document, Entry] | None:
        documents = [self.definition, self.params] if key.home == "def" else [self.params, self.definition]
        for spelling in key.spellings:
            for document in documents:
                entry = document.entry(self.name, spelling) if document else None
                if document and entry:
                    return document, entry
        return None

    def _missing(self, key: Key, inputs: int) -> Any:
        if key.home == "params" and self.params is None:
            blank = key.kind.parse("0")  # a definition without parameters: nothing learns, all shapes are known
            return [blank] * inputs if key.each else blank
        self.failed.add(key.name)
        document = self.params if key.home == "params" and self.params else self.definition
        section = document.sections.get(self.name)
        if self._slip_in_defaults(document, key):
            return None
        if section is None and key.home == "params":
            return None  # the whole section is missing: reported once, by whoever reads the pair of files
        if any(self._meant(entry) == key.name for entry in self._unknown(document)):
            return None  # misspelt, which ``report_unknown`` says
        place = section.place if section else self.place
        self.problems.error(
            place, f"layer '{self.name}': key '{key.name}' is missing", expected=f"{key.name}={key.kind.word}"
        )
        return None

    def _slip_in_defaults(self, document: Document, key: Key) -> bool:
        entries = document.defaults.entries.items() if document.defaults else ()
        for folded, entry in entries:
            if folded not in self._known and self._meant(entry) == key.name:
                self.excused.add(key.name)
                self.problems.error(entry.key_place, f"[DEFAULT]: no layer reads '{entry.key}'", nearest=key.name)
                return True
        return False

    def _ready(self, key: Key, values: dict[str, Any]) -> bool:
        """A computed default needs every earlier value; it is left out when one of them failed."""
        return not (callable(key.default) and (self.failed or any(v is None for v in (values.get("inputs"),))))

    def _text(self, document: Document, key: Key, entry: Entry, inputs: int) -> Any:
        text = interpolate(document, self.name, entry, self.problems)
        if text is None:
            self.failed.add(key.name)
            return None
        if not key.each:
            return self._bounded(key, key.kind.parse(text), entry.place)
        pieces = _split_list(text)
        values = [self._item(key, entry, piece, offset) for piece, offset in pieces]
        return self._broadcast(key, entry, values, inputs)

    def _item(self, key: Key, entry: Entry, piece: str, offset: int) -> Any:
        place = entry.place.within(offset, len(piece))
        if isinstance(key.kind, Bool) and piece.strip().lower() not in ("true", "1", "false", "0"):
            self.problems.warn(
                place, f"layer '{self.name}': '{piece.strip()}' in a list counts as false", expected="true, false, 1 or 0"
            )
            return False
        try:
            return self._bounded(key, key.kind.parse(piece), place)
        except BadValue as bad:
            bad.offset += offset
            bad.found = piece.strip()
            raise

    def _native(self, key: Key, entry: Entry, inputs: int) -> Any:
        if not key.each:
            return self._bounded(key, key.kind.native(entry.raw), entry.place)
        items = entry.raw if isinstance(entry.raw, list) else [entry.raw]
        values = [self._bounded(key, key.kind.native(item), entry.place) for item in items]
        return self._broadcast(key, entry, values, inputs)

    def _broadcast(self, key: Key, entry: Entry, values: list, inputs: int) -> list | None:
        if len(values) == inputs:
            return values
        if len(values) == 1 and inputs:
            return values * inputs
        if inputs:
            self.problems.error(
                entry.place,
                f"layer '{self.name}': {len(values)} values in '{key.name}' for {inputs} input{'s' * (inputs != 1)}",
                expected="one value per input, or one for all",
            )
        self.failed.add(key.name)
        return None

    def _bounded(self, key: Key, value: Any, place: Place) -> Any:
        number = getattr(value, "base", value)
        if not isinstance(number, int | float) or isinstance(number, bool):
            return value
        if isinstance(key.kind, Float) and not math.isfinite(number):
            self.problems.warn(place, f"layer '{self.name}': '{key.name}' is {number}", expected="a finite number")
        low = key.least is not None and not number >= key.least
        high = key.most is not None and not number <= key.most
        if low or high:
            raise BadValue(key.range_text(), found=str(number))
        return value

    def _reject(self, key: Key, entry: Entry, bad: BadValue) -> None:
        self.failed.add(key.name)
        found = bad.found or str(entry.raw).replace("\n", " ")
        place = entry.place.within(bad.offset, len(found)) if bad.found else entry.place
        # One message for all layers that a shared value reaches.
        shared = any(d and d.defaults and entry in d.defaults.entries.values() for d in (self.definition, self.params))
        owner = "[DEFAULT]" if shared else f"layer '{self.name}'"
        self.problems.error(
            place,
            f"{owner}: {key.name}={found} is not valid",
            expected=bad.expected,
            nearest=bad.nearest,
        )


def _split_list(text: str) -> list[tuple[str, int]]:
    """Pieces between commas that stand outside brackets, each with its offset past leading blanks."""
    pieces, depth, start = [], 0, 0
    for i, char in enumerate(text + ","):
        depth += (char in "[(") - (char in "])")
        if char == "," and (depth <= 0 or i == len(text)):
            piece = text[start:i]
            pieces.append((piece, start + len(piece) - len(piece.lstrip())))
            start = i + 1
    return pieces
