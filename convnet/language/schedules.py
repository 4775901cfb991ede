"""Learning rates: a base and how it changes while training goes on, in every published spelling.

    2012   schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]   with the base in epsW
           schedW=dexp[250,0,4]  dexp[1000,4]  linear[1,1]      the same, earlier and positional
    2014   epsW=dexp[base=0.01;tgtFactor=250;numSteps=4]

Formulas: numerics 14.2. ``progress`` P runs from 0 at the first data batch to 1 at the end of the last epoch.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from convnet.errors import nearest, one_of
from convnet.language.values import FLOAT, INT, BadValue, Kind

# Parameters of each schedule in the order of the published files, and the positional orders seen in 2012.
PARAMS = {
    "const": (),
    "linear": ("tgtFactor",),
    "exp": ("tgtFactor",),
    "dexp": ("tgtFactor", "numSteps"),
    "jdexp": ("tgtFactor", "numSteps"),
}
_FOLDED = {name.lower(): name for name in ("base", "tgtFactor", "noiseStdev", "numSteps")}


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a rate changes: ``rate(base, progress)``; noise is added by whoever has random numbers (numerics 14.3)."""

    type: str = "const"
    tgtFactor: float = 1.0
    numSteps: int = 1
    noiseStdev: float = 0.0

    def rate(self, base: float, progress: float) -> float:
        """The learning rate at ``progress`` in [0, 1], without noise."""
        return _FORMULAS[self.type](self, base, progress)


@dataclass(frozen=True, slots=True)
class Rate:
    """A typed ``epsW`` or ``epsB`` value: its base and, in 2014's spelling, its own schedule."""

    base: float
    schedule: Schedule | None = None


def _const(s: Schedule, base: float, progress: float) -> float:
    return base


def _linear(s: Schedule, base: float, progress: float) -> float:
    return base * (1 - progress) + base / s.tgtFactor * progress


def _exp(s: Schedule, base: float, progress: float) -> float:
    # base^(1 + P*q) with q = log(base/T)/log(base) - 1, written so that base = 1 and base = 0 are regular.
    return base * s.tgtFactor**-progress


def _step(s: Schedule, base: float, i: int) -> float:
    if i >= s.numSteps - 1:
        return base / s.tgtFactor
    return _exp(s, base, i / (s.numSteps - 1))


def _interval(s: Schedule, progress: float) -> int:
    # Interval i is (i/n, (i+1)/n]: the first i with P <= (i+1)/n. Without steps only the last rate is left.
    near = max(0, int(progress * s.numSteps) - 1)
    return next((i for i in range(near, s.numSteps) if progress <= (i + 1) / s.numSteps), s.numSteps - 1)


def _dexp(s: Schedule, base: float, progress: float) -> float:
    return _step(s, base, _interval(s, progress))


def _jdexp(s: Schedule, base: float, progress: float) -> float:
    i = _interval(s, progress)
    if i > 0 and 0.2 < progress < 0.9 and progress > (i + 0.5) / s.numSteps:
        return math.sqrt(_step(s, base, i) * _step(s, base, i - 1))
    return _step(s, base, i)


_FORMULAS = {"const": _const, "linear": _linear, "exp": _exp, "dexp": _dexp, "jdexp": _jdexp}
CONSTANT = Schedule()


class ScheduleKind(Kind):
    """Reads ``schedW``/``schedB``: a schedule without a base. ``default`` is 2012's word for ``const``."""

    word = "a schedule such as dexp[tgtFactor=250,noiseStdev=0,numSteps=4]"

    def parse(self, text: str) -> Schedule:
        name, given = _split(text)
        if "base" in given:
            raise BadValue(f"{name} without a base, which epsW or epsB gives")
        return _build(name, given)

    def write(self, value: object) -> str:
        assert isinstance(value, Schedule)
        if value.type == "const":
            return "default"
        return f"{value.type}[{','.join(f'{k}={FLOAT.write(v)}' for k, v in parameters(value, noise=True).items())}]"


class RateKind(Kind):
    """Reads ``epsW``/``epsB``: a plain number, or 2014's schedule with its base inside."""

    word = "a learning rate: a number, or a schedule such as dexp[base=0.01;tgtFactor=250;numSteps=4]"

    def parse(self, text: str) -> Rate:
        try:
            return Rate(FLOAT.parse(text))
        except BadValue:
            if not re.match(r"\s*[A-Za-z]", text):
                raise BadValue(self.word) from None
        name, given = _split(text)
        if "base" not in given:
            raise BadValue(f"{name}[base=...;...]: the base rate is missing")
        base = given.pop("base")
        return Rate(base, _build(name, given))

    def native(self, value: object) -> object:
        return self.parse(value) if isinstance(value, str) else Rate(FLOAT.native(value))

    def write(self, value: object) -> str:
        assert isinstance(value, Rate)
        if value.schedule is None:
            return FLOAT.write(value.base)
        given = {"base": value.base, **parameters(value.schedule, noise=value.schedule.noiseStdev != 0)}
        return f"{value.schedule.type}[{';'.join(f'{k}={FLOAT.write(v)}' for k, v in given.items())}]"

    def to_toml(self, value: object) -> object:
        assert isinstance(value, Rate)
        return value.base if value.schedule is None else self.write(value)


def parameters(schedule: Schedule, noise: bool) -> dict[str, float]:
    """The parameters that ``schedule`` has, in file order; ``noise`` includes ``noiseStdev``, as 2012 wrote it."""
    names = list(PARAMS[schedule.type])
    if noise and names:
        names.insert(1, "noiseStdev")
    return {name: getattr(schedule, name) for name in names}


def _split(text: str) -> tuple[str, dict[str, float]]:
    """The schedule's name and its parameters, named in any order or positional."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\[(.*)\])?\s*", text, re.DOTALL)
    name = (match[1].lower() if match else "").replace("default", "const")
    if not match or name not in PARAMS:
        word = match[1] if match else text.strip()
        raise BadValue(one_of(PARAMS), nearest=nearest(word, PARAMS))
    pieces = [piece.strip() for piece in re.split("[,;]", match[2] or "")]
    if pieces == [""]:
        return name, {}
    if all("=" in piece for piece in pieces):
        return name, dict(_named(piece) for piece in pieces)
    return name, dict(_positional(name, pieces))


def _named(piece: str) -> tuple[str, float]:
    key, _, value = (part.strip() for part in piece.partition("="))
    if key.lower() not in _FOLDED:
        raise BadValue(one_of(_FOLDED.values()), nearest=nearest(key, _FOLDED.values()))
    return _FOLDED[key.lower()], _number(_FOLDED[key.lower()], value)


def _positional(name: str, pieces: list[str]) -> list[tuple[str, float]]:
    # dexp[250,0,4] is target, noise, steps; dexp[1000,4] target, steps; linear[1,1] target, noise.
    orders = [PARAMS[name], *([("tgtFactor", "noiseStdev", *PARAMS[name][1:])] if PARAMS[name] else [])]
    for order in orders:
        if len(order) == len(pieces):
            return [(key, _number(key, piece)) for key, piece in zip(order, pieces, strict=True)]
    raise BadValue(f"{name}[{','.join(f'{key}=...' for key in PARAMS[name])}]")


def _number(key: str, text: str) -> float:
    try:
        return INT.parse(text) if key == "numSteps" else FLOAT.parse(text)
    except BadValue as bad:
        raise BadValue(f"{bad.expected} for {key}") from None


def _build(name: str, given: dict[str, float]) -> Schedule:
    missing = [key for key in PARAMS[name] if key not in given]
    if missing:
        raise BadValue(f"{name}[{','.join(f'{key}=...' for key in PARAMS[name])}]: {one_of(missing)} is missing")
    extra = [key for key in given if key not in (*PARAMS[name], "noiseStdev")]
    if extra or (name == "const" and given):
        raise BadValue(f"{name} without {one_of(extra or list(given))}")
    factor = given.get("tgtFactor", 1.0)
    if not math.isfinite(factor) or factor == 0 or not math.isfinite(1 / factor):
        raise BadValue("a finite tgtFactor other than 0")
    if factor < 0 and name != "linear":
        raise BadValue(f"a tgtFactor above 0, which {name} takes the powers of")
    return Schedule(name, **given)  # type: ignore[arg-type]


SCHEDULE, RATE = ScheduleKind(), RateKind()
