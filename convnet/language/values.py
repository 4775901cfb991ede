"""Kinds of values: how the text of a key becomes a Python value, and back.

Each kind reads the spelling of all three generations (numbers as Python 2's ``int`` and ``float`` read them,
language spec quirk 7) or a native TOML value, and raises ``BadValue`` with what it expected.
"""

import math
import re
from contextlib import suppress
from typing import Generic, TypeVar

from convnet.texts import nearest, one_of, really_near

T = TypeVar("T")
N = TypeVar("N", int, float)

LARGEST = 3.4028234663852886e38  # number of float32, in which everything is computed
SMALLEST = 2.0**-149  # above 0
_MAX_DIGITS = 19  # of a whole number: no size is larger, and products of sizes stay within what a float holds


class BadValue(Exception):
    """A text that is not of the kind: what was expected, the wrong part and where it starts, and the nearest valid word."""

    def __init__(self, expected: str, part: str = "", nearest: str = "", offset: int = 0) -> None:
        super().__init__(expected)
        self.expected, self.part, self.nearest, self.offset = expected, part, nearest, offset


class Kind(Generic[T]):
    """Reads and writes one kind of value. ``word`` names it in messages and in the reference page."""

    word = ""

    def parse(self, text: str) -> T:
        """Return the value of ``text``; raise ``BadValue``."""
        raise NotImplementedError

    def native(self, value: object) -> T:
        """Return the value of a TOML object; raise ``BadValue``."""
        if isinstance(value, str):
            return self.parse(value)
        raise BadValue(self.word)

    def check(self, value: T) -> None:
        """Raise ``BadValue`` if ``value`` is out of range."""

    def range_text(self) -> str:
        """Return ``at least 1``, ``0 to 1``, or an empty text."""
        return ""

    def write(self, value: T) -> str:
        """Return the INI spelling of ``value``, which ``parse`` reads back."""
        return str(value)

    def to_toml(self, value: T) -> object:
        """Return the native TOML value of ``value``, which ``native`` reads back."""
        return value if isinstance(value, bool | int | float | list) else self.write(value)


class Number(Kind[N]):
    """A number from ``min`` to ``max``, both included; ``None`` leaves a side open."""

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        self.min, self.max = min, max

    def check(self, value: N) -> None:
        # Written so that NaN is out of every range.
        if (self.min is not None and not value >= self.min) or (self.max is not None and not value <= self.max):
            raise BadValue(self.range_text(), str(value))

    def range_text(self) -> str:
        if self.min is None:
            return "" if self.max is None else f"at most {self.max}"
        return f"at least {self.min}" if self.max is None else f"{self.min} to {self.max}"


class Int(Number[int]):
    """Decimal digits with a sign; no hexadecimal, no underscores, no fraction."""

    word = "a whole number"

    def parse(self, text: str) -> int:
        if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text, re.ASCII) and len(text.strip()) <= _MAX_DIGITS:
            return int(text)
        raise BadValue(self.word)

    def native(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_MAX_DIGITS:
            return value
        raise BadValue(self.word)


class NumClasses(int):
    """``num_classes`` in the place of a size: the number of classes of the data, 0 as long as it is not known."""

    word = "num_classes"


class Size(Int):
    """A whole number, or the word ``num_classes``."""

    word = f"a whole number, or {NumClasses.word}"

    def parse(self, text: str) -> int:
        if text.strip() == NumClasses.word:
            return NumClasses()
        try:
            return super().parse(text)
        except BadValue as bad:
            raise BadValue(bad.expected, nearest=really_near(text.strip(), [NumClasses.word])) from None

    def native(self, value: object) -> int:
        return self.parse(value) if isinstance(value, str) else super().native(value)

    def check(self, value: int) -> None:
        if not isinstance(value, NumClasses):
            super().check(value)

    def write(self, value: int) -> str:
        return NumClasses.word if isinstance(value, NumClasses) else str(value)

    def to_toml(self, value: int) -> object:
        return self.write(value) if isinstance(value, NumClasses) else value


class Float(Number[float]):
    """Whatever Python 2's ``float`` reads; ``finite`` refuses what float32 does not hold, such as NaN."""

    word = "a number"

    def __init__(self, min: float | None = None, max: float | None = None, finite: bool = True) -> None:
        super().__init__(min, max)
        self.finite = finite

    def parse(self, text: str) -> float:
        if "_" not in text and text.isascii():
            with suppress(ValueError):
                return float(text)
        raise BadValue(self.word)

    def native(self, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):
                return float(value)
        raise BadValue(self.word)

    def check(self, value: float) -> None:
        if self.finite and not abs(value) <= LARGEST:
            kind = "a number that float32 holds, up to 3.4e38" if math.isfinite(value) else "a finite number"
            raise BadValue(f"{kind}{', ' * bool(self.range_text())}{self.range_text()}")
        super().check(value)

    def write(self, value: float) -> str:
        return repr(value).removesuffix(".0")


class Bool(Kind[bool]):
    """The words that Python 2's ``ConfigParser`` takes for true and false."""

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

    def write(self, value: bool) -> str:
        return "1" if value else "0"


class Choice(Kind[str]):
    """One of a few words; case matters, as in the originals, unless ``fold``."""

    def __init__(self, *words: str, fold: bool = False) -> None:
        self.words, self.fold = words, fold
        self.word = one_of(words)

    def parse(self, text: str) -> str:
        text = text.strip().lower() if self.fold else text.strip()
        if text in self.words:
            return text
        raise BadValue(self.word, nearest=nearest(text, self.words))


class Names(Kind[list[str]]):
    """``inputs``: names of earlier layers, in order."""

    word = "names of layers, separated by commas"

    def parse(self, text: str) -> list[str]:
        return [piece.strip() for piece in text.split(",")]

    def native(self, value: object) -> list[str]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        return super().native(value)

    def write(self, value: list[str]) -> str:
        return ",".join(value)


class Devices(Kind[list[int]]):
    """``gpu``: logical devices, one number (2012) or several (2014's replicas)."""

    word = "a device number, or several separated by commas"
    item = Int()
    item.word = word  # for messages

    def parse(self, text: str) -> list[int]:
        return [self.item.parse(piece) for piece in text.split(",")]

    def native(self, value: object) -> list[int]:
        return [self.item.native(item) for item in (value if isinstance(value, list) else [value])]

    def write(self, value: list[int]) -> str:
        return ",".join(map(str, value))


class WeightSource(Kind[tuple[str, int] | None]):
    """``layer`` or ``layer[input]``: whose weight matrix to use; empty for the layer's own (numerics 13.4)."""

    word = "a layer name or layer[input]"

    def parse(self, text: str) -> tuple[str, int] | None:
        text = text.strip()
        if not text:
            return None
        match = re.fullmatch(r"([^\[\]]*[^\[\]\s])(?:\[([0-9]{1,9})\])?", text)
        if not match:
            raise BadValue(self.word)
        return _Source(text, match[1], int(match[2] or 0))

    def write(self, value: tuple[str, int] | None) -> str:
        if value is None:
            return ""
        layer, index = value
        return getattr(value, "text", "") or (f"{layer}[{index}]" if index else layer)


class _Source(tuple[str, int]):
    """(layer, input), and the text that says so: checkpoints keep whether it has the input 0."""

    text: str

    def __new__(cls, text: str, layer: str, index: int) -> "_Source":
        self = super().__new__(cls, (layer, index))
        self.text = text
        return self


class InitFunc(Kind[str]):
    """``module.function`` or ``module.function(a,b)``: a Python function that makes initial values (numerics 15.2)."""

    word = "module.function or module.function(argument,...)"

    def parse(self, text: str) -> str:
        text = text.strip()
        if text and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(\([^()]*\))?", text):
            raise BadValue(self.word)
        return text


# What weights begin with may be anything to whoever only reads a file; it is refused where weights are drawn.
INITIAL = Float(finite=False)
INT, FLOAT, BOOL, NAMES, DEVICES = Int(), Float(), Bool(), Names(), Devices()
WEIGHT_SOURCE, INIT_FUNC = WeightSource(), InitFunc()
