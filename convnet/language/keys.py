"""How a layer declares the keys it reads, once, for the parser, the messages, the writers and the reference page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convnet.generation import GENERATIONS, Generation
from convnet.language.values import TEXT, Kind


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a layer type.

    ``home`` is the file that holds it, ``def`` or ``params``. ``each`` keys take one value per input, separated
    by commas; a single value serves all inputs. ``default`` is a value, ``REQUIRED``, or a function of the values
    read so far (for ``each`` keys: of those and the input's index). ``least`` and ``most`` bound numbers, inclusively.
    ``read_by`` lists the generations whose parser reads the key, ``demanded_by`` those that refuse a file without it,
    ``aliases`` earlier spellings.
    """

    name: str
    kind: Kind
    help: str
    default: Any = REQUIRED
    home: str = "def"
    each: bool = False
    least: float | None = None
    most: float | None = None
    read_by: tuple[Generation, ...] = GENERATIONS
    demanded_by: tuple[Generation, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    def default_for(self, values: dict[str, Any], inputs: int) -> Any:
        """The default value, given the values of the keys declared before this one."""
        if isinstance(self.default, Callable):  # type: ignore[arg-type]
            return [self.default(values, i) for i in range(inputs)] if self.each else self.default(values)
        return [self.default] * inputs if self.each else self.default

    def range_text(self) -> str:
        """``at least 1``, ``0 to 1``, or an empty text."""
        if self.least is None and self.most is None:
            return ""
        if self.most is None:
            return f"at least {self.least}"
        return f"{self.least} to {self.most}" if self.least is not None else f"at most {self.most}"


class NameList(Kind):
    """``inputs``: names of earlier layers, separated by commas, in order."""

    word = "names of layers, separated by commas"

    def parse(self, text: str) -> list[str]:
        return [piece.strip() for piece in text.split(",")]

    def native(self, value: object) -> list[str]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        return super().native(value)  # type: ignore[return-value]

    def write(self, value: object) -> str:
        return ",".join(value)  # type: ignore[arg-type]

    def to_toml(self, value: object) -> object:
        return value


NAMES = NameList()
TYPE = Key("type", TEXT, "the layer's type")
