"""Kinds of values: how the text of a key becomes a Python value, and back.

Each kind reads the spelling of all three generations (numbers as Python 2's ``int`` and ``float`` read them,
language spec quirk 7) or a native TOML value, and raises ``BadValue`` with what it expected.
"""

from __future__ import annotations

import re
from contextlib import suppress

from convnet.errors import nearest, one_of

_DIGITS = 19  # of a whole number: no size is larger, and products of sizes stay within what a float holds


class BadValue(Exception):
    """A text that is not of the kind: what was expected, where in the text, and the nearest valid word."""

    def __init__(self, expected: str, found: str = "", nearest: str = "", offset: int = 0) -> None:
        super().__init__(expected)
        self.expected, self.found, self.nearest, self.offset = expected, found, nearest, offset


class Kind:
    """Reads and writes one kind of value. ``word`` names it in messages and in the reference page."""

    word = "text"

    def parse(self, text: str) -> object:
        """The value of ``text``; raises ``BadValue``."""
        return text.strip()

    def native(self, value: object) -> object:
        """The value of a TOML object; raises ``BadValue``."""
        if isinstance(value, str):
            return self.parse(value)
        raise BadValue(self.word)

    def write(self, value: object) -> str:
        """The INI spelling of ``value``, which ``parse`` reads back."""
        return str(value)

    def to_toml(self, value: object) -> object:
        """The native TOML value of ``value``, which ``native`` reads back."""
        return self.write(value)


class Int(Kind):
    word = "a whole number"

    def parse(self, text: str) -> int:
        if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text, re.ASCII) and len(text.strip()) <= _DIGITS:
            return int(text)
        raise BadValue(self.word)

    def native(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_DIGITS:
            return value
        raise BadValue(self.word)

    def to_toml(self, value: object) -> object:
        return value


class Float(Kind):
    word = "a number"

    def parse(self, text: str) -> float:
        if "_" not in text and text.isascii():
            try:
                return float(text)
            except ValueError:
                pass
        raise BadValue(self.word)

    def native(self, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):
                return float(value)
        raise BadValue(self.word)

    def write(self, value: object) -> str:
        text = repr(value)
        return text.removesuffix(".0")

    def to_toml(self, value: object) -> object:
        return value


class Bool(Kind):
    word = "true or false (1/0, yes/no, on/off)"
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

    def parse(self, text: str) -> bool:
        if text.strip().lower() in self.words:
            return self.words[text.strip().lower()]
        raise BadValue(self.word)

    def native(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise BadValue("true or false")

    def write(self, value: object) -> str:
        return "1" if value else "0"

    def to_toml(self, value: object) -> object:
        return value


class Choice(Kind):
    """One of a few words; case matters, as in the originals, unless ``fold``."""

    def __init__(self, *words: str, fold: bool = False) -> None:
        self.words, self.fold = words, fold
        self.word = one_of(words)

    def parse(self, text: str) -> str:
        text = text.strip().lower() if self.fold else text.strip()
        if text in self.words:
            return text
        raise BadValue(self.word, nearest=nearest(text, self.words))


class WeightSource(Kind):
    """``layer`` or ``layer[input]``: whose weight matrix to use; empty for one's own (numerics 13.4)."""

    word = "a layer name or layer[input]"

    def parse(self, text: str) -> tuple[str, int] | None:
        text = text.strip()
        if not text:
            return None
        match = re.fullmatch(r"([^\[\]]*[^\[\]\s])(?:\[([0-9]{1,9})\])?", text)
        if not match:
            raise BadValue(self.word)
        return match[1], int(match[2] or 0)

    def write(self, value: object) -> str:
        if value is None:
            return ""
        layer, index = value  # type: ignore[misc]
        return f"{layer}[{index}]" if index else layer


class InitFunc(Kind):
    """``module.function`` or ``module.function(a,b)``: a Python function that makes initial values (numerics 15.2)."""

    word = "module.function or module.function(argument,...)"

    def parse(self, text: str) -> str:
        text = text.strip()
        if text and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(\([^()]*\))?", text):
            raise BadValue(self.word)
        return text


TEXT, INT, FLOAT, BOOL, WEIGHT_SOURCE, INIT_FUNC = Kind(), Int(), Float(), Bool(), WeightSource(), InitFunc()
