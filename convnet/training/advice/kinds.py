"""What advice is."""

from dataclasses import dataclass
from typing import Any

_LARGEST = 1e300  # number that is taken from a line
CASES = 100  # that a test must have, for what it tells to mean anything
LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Advice:
    """Something that stands out in a run: of which level, in which layers or cost, what it is, and what to do about it.

    ``where`` is empty where it is of the whole run.
    """

    level: str
    where: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{f'{self.where}: ' if self.where else ''}{self.text} {self.remedy}"


def number(value: Any) -> float:
    """Return a number of a line, 0 where it has none that is finite."""
    return float(value) if isinstance(value, int | float) and abs(value) < _LARGEST else 0.0
