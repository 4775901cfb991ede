"""Kinds of values on the command line: how a text is read, which values are allowed, and what is said of others."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from convnet.texts import did_you_mean, one_of

MOST = 2**31 - 1  # whole numbers are at most that, where nothing smaller is said
_MOST_BATCHES = 1_000_000  # in one range


@dataclass(frozen=True)
class Kind:
    """A kind of values: how one is read, what it is called in "'x' is not ..." and in a help, and which are allowed.

    ``most`` is the largest number allowed, which is named only to those who exceed it; ``words`` are all that there are.
    ``alone`` is what the option means without a value, where it needs none.
    """

    read: Callable[[str], Any]
    name: str
    metavar: str
    allows: Callable[[Any], bool] = lambda _: True
    most: float | None = None
    words: tuple[str, ...] = ()
    alone: Any = None

    def __call__(self, text: str) -> Any:
        """Read a value; raises ``ArgumentTypeError``."""
        end = "" if text.isdigit() else did_you_mean(text, self.words, likeness=0.7)
        with suppress(ValueError, OverflowError):
            value = self.read(text)
            if self.most is not None and value > self.most:
                end = f" to {self.most:g}" if isinstance(value, float) else f" to {self.most}"
            elif self.allows(value):
                return value
        shown = text if len(text) <= 80 else f"{text[:60]}..."
        raise argparse.ArgumentTypeError(f"{shown!r} is not {self.name}{end}")


def words_of(text: str) -> list[str]:
    """Return the words between commas."""
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def _batches(text: str) -> list[int]:
    """Read batch numbers; raises ``ValueError``."""
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        batches = range(int(first), int(last if dash else first) + 1)
        if not batches or batches[0] < 0 or batches[-1] > MOST or len(numbers) + len(batches) > _MOST_BATCHES:
            raise ValueError
        numbers += batches
    return numbers


def text(metavar: str, alone: str | None = None) -> Kind:
    """Return the kind of any text that can be the name of something; an empty one, as of an unset variable, is none."""
    name = "a name; leave the option out for its default"
    return Kind(str, name, metavar, lambda text: bool(text) and "\0" not in text, alone=alone)


def choice(*words: str) -> Kind:
    """Return the kind of one of some words; an empty one is not named."""
    named = [word for word in words if word]
    return Kind(str, one_of(named), "{" + ",".join(named) + "}", words.__contains__, words=tuple(named))


def whole(least: int, most: int = MOST) -> Kind:
    """Return the kind of whole numbers from ``least`` to ``most``."""
    return Kind(int, f"a whole number from {least}", "N", lambda number: number >= least, most)


def real(least: float, most: float) -> Kind:
    """Return the kind of numbers from ``least`` to ``most``; not a number is none of them."""
    return Kind(float, f"a number from {least:g}", "X", lambda number: number >= least, most)


ZERO_ONE = Kind(int, "0 or 1", "0/1", (0, 1).__contains__, alone=1)
NATURAL, FROM_ZERO = whole(1), whole(0)
SEED = whole(0, 2**32 - 1)
PORT = Kind(int, "a port, a whole number from 0", "PORT", lambda number: number >= 0, most=65535, alone=0)
SHARE = Kind(float, "a number from 0 that is less than 1", "X", lambda share: 0 <= share < 1)
MEAN = Kind(float, "a number from 0, or -1 for the mean picture", "X", lambda mean: mean == -1 or 0 <= mean <= 1e6)
COST = Kind(str, "a name of one line", "COST", lambda text: text.splitlines() == [text] == [text.strip()])
LAYERS, PATHS = (
    Kind(words_of, f"a list of {what}s", f"{what.upper()},...", lambda words: bool(words) and "\0" not in "".join(words))
    for what in ("layer", "path")
)
BATCHES = Kind(_batches, f"a range of batches; expected 1-5, 6, or 1-3,7, at most {_MOST_BATCHES:,} numbers from 0", "A-B")


def _numbers(text: str) -> list[float]:
    return [float(word) for word in words_of(text)]


WEIGHTS = Kind(
    _numbers,
    "a list of numbers from 0, not all 0, such as 0.5,0.3,0.2",
    "X,...",
    lambda numbers: any(numbers) and all(0 <= number <= 1e6 for number in numbers),
)


def whole_numbers(least: int, example: str) -> Kind:
    """Return the kind of lists of whole numbers from ``least``."""

    def allows(numbers: list[int]) -> bool:
        return bool(numbers) and min(numbers) >= least and max(numbers) <= MOST

    name = f"a list of whole numbers from {least}, such as {example}"
    return Kind(lambda text: [int(word) for word in words_of(text)], name, "N,...", allows)
