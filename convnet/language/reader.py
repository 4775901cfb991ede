"""Types one layer: the entries of its sections against the keys its class declares.

Nothing here knows a layer; the declarations come as arguments. Every problem is reported, none stops the others.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from convnet.language.diagnostics import Place, Problems
from convnet.language.ini import Document, Entry, Section, interpolate
from convnet.language.keys import REQUIRED, Key
from convnet.language.schedules import RateKind
from convnet.language.values import BOOL, BadValue, Float
from convnet.texts import counted, nearest

_KEY_LINE = re.compile(r"\s*(\w+)\s*=")
_RESERVED = frozenset({"type", "__name__"})  # what every section may hold besides the keys of its type
_GUESSED = 100  # unknown keys of a section for which a known one is looked for


class Reader:
    """Reads the keys of one layer from its sections in the definition and the parameter file.

    A key is looked for in its home file first, then in the other one. ``places`` remembers where each value stood,
    ``failed`` the keys that have none, because it is missing or wrong.
    """

    def __init__(
        self, name: str, keys: Sequence[Key], definition: Document, params: Document | None, problems: Problems
    ) -> None:
        self.name, self.definition, self.params, self.problems = name, definition, params, problems
        self.places: dict[str, Place] = {}
        self.failed: set[str] = set()
        self.suppressed: set[str] = set()  # missing for a reason that is reported by itself
        self.missing: list[Key] = []  # of the parameters, which is to be reported for all layers together
        self._miscounted: list[tuple[Key, Entry, int]] = []  # with how many values there are
        self._swallowing: set[Place] = set()  # keys whose values hold lines that were meant to be keys
        self._by_spelling = {spelling.lower(): key for key in keys for spelling in key.spellings}

    @property
    def place(self) -> Place:
        """The layer's own section header, to blame where a key is absent."""
        section = self.definition.sections.get(self.name)
        return section.place if section else self.definition.top()

    def read_all(self, keys: Iterable[Key], demands: str = "") -> dict[str, Any]:
        """Return the typed values of ``keys`` in order; a value that cannot be read is ``None`` and in ``failed``.

        A generation ``demands`` some keys that have a default here: without them a warning is due.
        """
        values: dict[str, Any] = {}
        self._report_indented()
        for key in keys:
            values[key.name] = self.read(key, values)
            if demands in key.demanded_by and key.name not in self.places:
                self.problems.warn(self.place, f"layer '{self.name}': {demands} files must give '{key.name}'")
        if self._miscounted:
            self._report_counts(len(values.get("inputs") or ()))
        return values

    def read(self, key: Key, values: dict[str, Any]) -> Any:
        """Return the typed value of ``key``: from the files, or its default; report what is wrong with it."""
        inputs = len(values.get("inputs") or ())
        document, entry = self._find(key)
        if document is None or entry is None:
            return self._default(key, values, inputs)
        self.places[key.name] = entry.place
        raw = interpolate(document, self.name, entry, self.problems)
        if raw is None or entry.key_place in self._swallowing:
            self.failed.add(key.name)
            return None
        parse = key.kind.native if document.native else key.kind.parse
        try:
            if not key.each:
                return self._checked(key, parse(raw), entry.place)
            if document.native:
                items = raw if isinstance(raw, list) else [raw]
                values_given = [self._checked(key, parse(item), entry.place) for item in items]
            else:
                values_given = [self._item(key, entry, piece, offset) for piece, offset in _split_list(raw)]
            return self._broadcast(key, entry, values_given, inputs)
        except BadValue as bad:
            self._reject(key, entry, bad)
            return None

    def _report_indented(self) -> None:
        """Report indented lines that look like keys of this layer: they go on with the value above."""
        for entry in self._entries():
            for place in entry.continued:
                word = _KEY_LINE.match(place.text.lower())
                before = str(entry.raw).partition(place.text.strip())[0]
                if word and before.count("[") <= before.count("]"):  # else a schedule goes on
                    if word[1] in self._by_spelling:
                        self.suppressed.add(self._by_spelling[word[1]].name)
                    self._swallowing.add(entry.key_place)
                    text = (
                        f"{self._owner(entry)}: this line is indented, so it goes on with the value of '{entry.key}' above"
                    )
                    self.problems.error(place, text, expected="a key at the beginning of its line")

    def _entries(self) -> list[Entry]:
        """Return all entries that this layer may read."""
        documents = [document for document in (self.definition, self.params) if document]
        sections = [part for document in documents for part in (document.sections.get(self.name), document.defaults)]
        return [entry for section in sections if section for entry in section.entries.values()]

    def report_unknown(self) -> None:
        """Report every entry of this layer's sections that no key reads.

        An original ignored it, so it is a warning; but an error where a key that must be given was meant.
        """
        for document in (self.definition, self.params if self.params is not self.definition else None):
            for i, entry in enumerate(self._unknown(document.sections.get(self.name) if document else None)):
                meant = self._meant(entry) if i < _GUESSED else ""
                key = self._by_spelling.get(meant.lower())
                typo = key is not None and key.default is REQUIRED and key.name not in self.places
                report = self.problems.error if typo else self.problems.warn
                text = f"layer '{self.name}': no key '{entry.key}' in this layer type"
                report(entry.key_place, text, nearest=meant, about=self.name)

    def _unknown(self, section: Section | None) -> list[Entry]:
        """Return the entries of a section that no key reads."""
        entries = section.entries if section else {}
        known = self._by_spelling.keys() | _RESERVED
        return [entry for folded, entry in entries.items() if folded not in known and entry.certain]

    def _meant(self, entry: Entry) -> str:
        """Return the key that an unknown one misspells, first of all one that is missing."""
        keys = list(self._by_spelling.values())
        missing = [key.name for key in keys if key.default is REQUIRED and not self._find(key)[1]]
        word = (entry.key.split() or [""])[0]  # of a line without an equals sign that has one further on
        return nearest(word, missing) or nearest(word, [key.name for key in keys])

    def _find(self, key: Key) -> tuple[Document | None, Entry | None]:
        documents = [self.definition, self.params] if key.home == "def" else [self.params, self.definition]
        for spelling in key.spellings:
            for document in documents:
                entry = document.entry(self.name, spelling) if document else None
                if entry:
                    return document, entry
        return None, None

    # -- without an entry ---------------------------------------------------------------------------------------

    def _default(self, key: Key, values: dict[str, Any], inputs: int) -> Any:
        if key.default is not REQUIRED:
            # A computed default needs every earlier value.
            ready = not callable(key.default) or not (self.failed or values.get("inputs") is None)
            return key.default_for(values, inputs) if ready else None
        if key.home == "params" and self.params is None:
            blank = key.kind.parse("0")  # a definition without parameters: nothing learns, all shapes are known
            return [blank] * inputs if key.each else blank
        self.failed.add(key.name)
        if key.name not in self.suppressed:
            self._report_missing(key)
        return None

    def _report_missing(self, key: Key) -> None:
        """Report that a key is missing, unless another message says why."""
        document = self.params if key.home == "params" and self.params else self.definition
        for entry in self._unknown(document.defaults):
            if self._meant(entry) == key.name:
                self.suppressed.add(key.name)
                self.problems.error(entry.key_place, f"[DEFAULT]: no layer reads '{entry.key}'", nearest=key.name)
                return
        section = document.sections.get(self.name)
        sections = [section, self.definition.sections.get(self.name)]
        if any(self._meant(entry) == key.name for part in sections for entry in self._unknown(part)):
            return  # misspelt, which ``report_unknown`` says
        if document is not self.definition:
            self.missing.append(key)
            return
        place = section.place if section else self.place
        message = f"layer '{self.name}': key '{key.name}' is missing"
        self.problems.error(place, message, expected=f"{key.name}={key.kind.word}", about=self.name)

    # -- from an entry ------------------------------------------------------------------------------------------

    def _item(self, key: Key, entry: Entry, piece: str, offset: int) -> Any:
        """Return the value of one piece of a list, which starts ``offset`` characters into the entry's value."""
        place = entry.place.within(offset, len(piece))
        if key.kind is BOOL and piece.strip().lower() not in ("true", "1", "false", "0"):
            message = f"{self._owner(entry)}: '{piece.strip()}' in a list counts as false"
            meant = nearest(piece.strip(), ["true", "false"])
            self.problems.warn(place, message, expected="true, false, 1 or 0", nearest=meant, about=self.name)
            return False
        if isinstance(key.kind, Float | RateKind) and re.fullmatch(r"0[0-9]+", piece.strip()):
            message = (
                f"{self._owner(entry)}: '{piece.strip()}' counts as a value, though it looks like the end of a fraction"
            )
            self.problems.warn(place, message, expected="a point as the decimal mark", about=self.name)
        try:
            return self._checked(key, key.kind.parse(piece), place)
        except BadValue as bad:
            bad.offset += offset
            bad.part = piece.strip()
            raise

    def _broadcast(self, key: Key, entry: Entry, values: list, inputs: int) -> list | None:
        """Return one value per input; a single one serves all."""
        if len(values) == inputs:
            return values
        if len(values) == 1 and inputs:
            return values * inputs
        if inputs:
            self._miscounted.append((key, entry, len(values)))
        self.failed.add(key.name)
        return None

    def _report_counts(self, inputs: int) -> None:
        """Report lists with a value too many or too few: one by one, or at ``inputs`` where several lists agree."""
        counts = {count for _, _, count in self._miscounted}
        place = self.places.get("inputs")
        if place and len(self._miscounted) > 1 and len(counts) == 1 and not self._fits_inputs(inputs):
            names = ", ".join(f"'{key.name}'" for key, _, _ in self._miscounted)
            text = f"layer '{self.name}': {counted(inputs, 'input')}, but {counts.pop()} values in {names}"
            self.problems.error(place, text, expected="one value per input, or one for all", about=self.name)
            return
        line = f" of line {place.line}" if place and place.line else ""
        for key, entry, count in self._miscounted:
            owner, text = self._owner(entry), f"{count} values in '{key.name}'"
            for_inputs = f" for {counted(inputs, 'input')}{line}"
            text += ", not one for every input" if owner == "[DEFAULT]" else for_inputs  # one message for all layers
            point = _with_point(str(entry.raw)) if isinstance(key.kind, Float | RateKind) else ""
            expected = "one value per input, or one for all" + (f"; the decimal mark is a point: {point}" if point else "")
            self.problems.error(entry.place, f"{owner}: {text}", expected=expected, about=self.name)

    def _fits_inputs(self, inputs: int) -> bool:
        """Return whether a list of several values has one for each input."""
        return inputs > 1 and any(len(_split_list(str(entry.raw))) == inputs for entry in self._each_entries())

    def _each_entries(self) -> list[Entry]:
        """Return the entries of keys that take a value for each input, but for those of wrong counts."""
        wrong = [entry for _, entry, _ in self._miscounted]
        keys = {key.name: key for key in self._by_spelling.values() if key.each}
        entries = [self._find(key)[1] for key in keys.values()]
        return [entry for entry in entries if entry is not None and entry not in wrong]

    def _checked(self, key: Key, value: Any, place: Place) -> Any:
        key.kind.check(value)
        if isinstance(value, float) and not math.isfinite(value):
            self.problems.warn(place, f"{self._owner_at(place)}: '{key.name}' is {value}", expected="a finite number")
        return value

    def _reject(self, key: Key, entry: Entry, bad: BadValue) -> None:
        self.failed.add(key.name)
        if not entry.certain:
            return  # of a line that is reported already
        text = bad.part or str(entry.raw).replace("\n", " ")
        place = entry.place.within(bad.offset, len(text)) if bad.part else entry.place
        message = f"{self._owner(entry)}: {key.name}={text} is not valid"
        point = _with_point(text) if isinstance(key.kind, Float | RateKind) else ""
        expected = f"{bad.expected}; the decimal mark is a point: {point}" if point else bad.expected
        self.problems.error(place, message, expected=expected, nearest=bad.nearest, about=self.name)

    def _owner(self, entry: Entry) -> str:
        """Return whose value it is, in messages: one for all layers that a shared value reaches."""
        return self._owner_at(entry.place)

    def _owner_at(self, place: Place) -> str:
        defaults = [document.defaults for document in (self.definition, self.params) if document and document.defaults]
        lines = {(e.place.file, e.place.line) for section in defaults for e in section.entries.values()}
        return "[DEFAULT]" if (place.file, place.line) in lines else f"layer '{self.name}'"


def _with_point(text: str) -> str:
    """Return ``0.001`` for ``0,001``, a number written with a comma, else ``''``."""
    match = re.fullmatch(r"\s*([+-]?[0-9]*),([0-9]+(?:[eE][+-]?[0-9]+)?)\s*", text, re.ASCII)
    return f"{match[1]}.{match[2]}" if match else ""


def _split_list(text: str) -> list[tuple[str, int]]:
    """Split at commas that stand outside brackets; return each piece with its offset past leading blanks."""
    pieces, depth, start = [], 0, 0
    for i, char in enumerate(text + ","):
        depth += (char in "[(") - (char in "])")
        if char == "," and (depth <= 0 or i == len(text)):
            piece = text[start:i]
            pieces.append((piece, start + len(piece) - len(piece.lstrip())))
            start = i + 1
    return pieces
