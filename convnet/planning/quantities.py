"""Numbers with units, as people write them: ``67TF``, ``3.35 TB/s``, ``100Gb``, ``5us``.

``B`` is a byte, ``b`` a bit, ``Ki`` 1024. A number has a unit or a prefix: few who type ``25`` alone mean 25 bytes.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from convnet.errors import OptionError
from convnet.texts import did_you_mean

_NUMBER = re.compile(r"\s*((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_LARGE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_LARGE |= {f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGTP", 1)}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9}  # two letters are typed as micro


@dataclass(frozen=True)
class Quantity:
    """A kind of numbers: what it is called, an example, and by how much a number with each unit is multiplied."""

    name: str
    example: str
    units: dict[str, float]
    usual: tuple[str, ...]  # units that are proposed
    least: float = math.ulp(0.0)

    def read(self, flag: str, text: str) -> float:
        """Return the number that ``text`` means; ``flag`` names it in messages. Raises ``OptionError``."""
        match = _NUMBER.fullmatch(text)
        if not match:
            raise OptionError(f"{flag}: '{text}' is not {self.name}, such as {self.example}")
        if not match[2] and float(match[1]):
            raise OptionError(f"{flag}: {text} has no unit; expected {self.name}, such as {self.example}")
        if match[2] not in self.units:
            hint = did_you_mean(match[2], self.usual, likeness=0.5)
            raise OptionError(f"{flag} {text}: '{match[2]}' is no unit of {self.name}, such as {self.example}{hint}")
        value = float(match[1]) * self.units[match[2]]
        if not self.least <= value < math.inf:
            raise OptionError(f"{flag}: {text} is out of the range of {self.name}")
        return value


def _units(prefixes: dict[str, float], names: dict[str, float], ends: Sequence[str] = ("",)) -> dict[str, float]:
    return {p + name + end: p_size * size for p, p_size in prefixes.items() for name, size in names.items() for end in ends}


_ENDS = ("/s", "ps", "", "/sec")
_BYTES = {"B": 1.0, "byte": 1.0, "bytes": 1.0, "": 1.0, "b": 0.125, "bit": 0.125, "bits": 0.125}
_OPERATIONS = {"F": 1.0, "FLOP": 1.0, "FLOPS": 1.0, "": 1.0}
FLOPS = Quantity("operations a second", "67TF", _units(_LARGE, _OPERATIONS, _ENDS), ("GFLOP/s", "TFLOP/s", "GF", "TF"))
RATE = Quantity("bytes a second", "25GB/s", _units(_LARGE, _BYTES, _ENDS), ("MB/s", "GB/s", "TB/s", "GiB/s"))
TIME = Quantity("a time", "5us", _units(_SMALL, {"s": 1.0}) | {"": 1.0, "sec": 1.0}, ("ns", "us", "ms", "s"), least=0.0)
