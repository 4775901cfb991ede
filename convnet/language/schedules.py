"""Learning rates: a base and how it changes while training goes on, in every published spelling.

    2012   schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]   with the base in epsW
           schedW=dexp[250,0,4]  dexp[1000,4]  linear[1,1]      the same, earlier and positional
    2014   epsW=dexp[base=0.01;tgtFactor=250;numSteps=4]

Formulas: numerics 14.2. ``progress`` P runs from 0 at the first data batch to 1 at the end of the last epoch.
"""

import math
import re
from dataclasses import dataclass

from convnet.language.values import FLOAT, INT, LARGEST, SMALLEST, BadValue, Kind
from convnet.texts import nearest, one_of

# Parameters of each schedule in the order of the published files, and the positional orders seen in 2012.
PARAMS: dict[str, tuple[str, ...]] = {
    "const": (),
    "linear": ("tgtFactor",),
    "exp": ("tgtFactor",),
    "dexp": ("tgtFactor", "numSteps"),
    "jdexp": ("tgtFactor", "numSteps"),
}
_FOLDED = {name.lower(): name for name in ("base", "tgtFactor", "noiseStdev", "numSteps")}


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a rate changes; noise is added where random numbers are drawn (numerics 14.3)."""

    type: str = "const"
    tgtFactor: float = 1.0
    numSteps: int = 1
    noiseStdev: float = 0.0

    def rate(self, base: float, progress: float) -> float:
        """Return the learning rate at ``progress`` in [0, 1], without noise (numerics 14.2)."""
        if self.type == "const":
            return base
        if self.type == "linear":
            return base * (1 - progress) + base / self.tgtFactor * progress
        if self.type == "exp":
            return self._exp(base, progress)
        i = self._interval(progress)
        if self.type == "jdexp" and i > 0 and 0.2 < progress < 0.9 and progress > (i + 0.5) / self.numSteps:
            return math.sqrt(self._step(base, i) * self._step(base, i - 1))
        return self._step(base, i)

    def _exp(self, base: float, progress: float) -> float:
        # base^(1 + P*q) with q = log(base/T)/log(base) - 1, written so that base = 1 and base = 0 are regular.
        return base * self.tgtFactor**-progress

    def _interval(self, progress: float) -> int:
        # Interval i is (i/n, (i+1)/n]: the first i with P <= (i+1)/n. Without steps only the last rate is left.
        near = max(0, int(progress * self.numSteps) - 1)
        return next((i for i in range(near, self.numSteps) if progress <= (i + 1) / self.numSteps), self.numSteps - 1)

    def _step(self, base: float, i: int) -> float:
        if i >= self.numSteps - 1:
            return base / self.tgtFactor
        return self._exp(base, i / (self.numSteps - 1))

    def parameters(self, noise: bool) -> dict[str, float]:
        """Return the parameters in file order; ``noise`` includes ``noiseStdev``, as 2012 wrote it."""
        names = list(PARAMS[self.type])
        if noise and names:
            names.insert(1, "noiseStdev")
        return {name: getattr(self, name) for name in names}


CONSTANT = Schedule()


@dataclass(frozen=True, slots=True)
class Rate:
    """A typed ``epsW`` or ``epsB`` value: its base and, in 2014's spelling, its own schedule."""

    base: float
    schedule: Schedule | None = None


class ScheduleKind(Kind[Schedule]):
    """Reads ``schedW``/``schedB``: a schedule without a base. ``default`` is 2012's word for ``const``."""

    word = "a schedule such as dexp[tgtFactor=250,noiseStdev=0,numSteps=4]"

    def parse(self, text: str) -> Schedule:
        name, params = _split(text)
        if "base" in params:
            raise BadValue(f"{name} without a base, which epsW or epsB gives")
        return _build(name, params)

    def write(self, value: Schedule) -> str:
        if value.type == "const":
            return "default"
        return f"{value.type}[{','.join(f'{k}={FLOAT.write(v)}' for k, v in value.parameters(noise=True).items())}]"


class RateKind(Kind[Rate]):
    """Reads ``epsW``/``epsB``: a plain number, or 2014's schedule with its base inside."""

    word = "a learning rate: a number, or a schedule such as dexp[base=0.01;tgtFactor=250;numSteps=4]"

    def parse(self, text: str) -> Rate:
        try:
            return Rate(FLOAT.parse(text))
        except BadValue:
            if not re.match(r"\s*[A-Za-z]", text):
                raise BadValue(self.word) from None
        name, params = _split(text)
        if "base" not in params:
            raise BadValue(f"{name}[base=...;...]: the base rate is missing")
        return Rate(params.pop("base"), _build(name, params))

    def check(self, value: Rate) -> None:
        # The originals took a rate below 0 for none.
        if not 0 <= value.base <= LARGEST:
            raise BadValue("a finite learning rate, at least 0")
        if 0 < value.base < SMALLEST:
            raise BadValue("a learning rate that float32 does not round to 0, or 0 for layers that do not learn")

    def native(self, value: object) -> Rate:
        return self.parse(value) if isinstance(value, str) else Rate(FLOAT.native(value))

    def write(self, value: Rate) -> str:
        if value.schedule is None:
            return FLOAT.write(value.base)
        params = {"base": value.base, **value.schedule.parameters(noise=value.schedule.noiseStdev != 0)}
        return f"{value.schedule.type}[{';'.join(f'{k}={FLOAT.write(v)}' for k, v in params.items())}]"

    def to_toml(self, value: Rate) -> object:
        return value.base if value.schedule is None else self.write(value)


def _split(text: str) -> tuple[str, dict[str, float]]:
    """Return the schedule's name and its parameters, named in any order or positional."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\[(.*)\])?\s*", text, re.DOTALL)
    name = (match[1].lower() if match else "").replace("default", "const")
    if not match or name not in PARAMS:
        raise BadValue(f"a number, {one_of(PARAMS)}", nearest=nearest(match[1] if match else text.strip(), PARAMS))
    pieces = [piece.strip() for piece in re.split("[,;]", match[2] or "")]
    if pieces == [""]:
        return name, {}
    if all("=" in piece for piece in pieces):
        return name, dict(_named(piece) for piece in pieces)
    # dexp[250,0,4] is target, noise, steps; dexp[1000,4] target, steps; linear[1,1] target, noise.
    for order in (PARAMS[name], ("tgtFactor", "noiseStdev", *PARAMS[name][1:])):
        if PARAMS[name] and len(order) == len(pieces):
            return name, {key: _number(key, piece) for key, piece in zip(order, pieces, strict=True)}
    raise BadValue(_spelling(name))


def _spelling(name: str) -> str:
    return f"{name}[{','.join(f'{key}=...' for key in PARAMS[name])}]"


def _named(piece: str) -> tuple[str, float]:
    key, _, value = (part.strip() for part in piece.partition("="))
    if key.lower() not in _FOLDED:
        raise BadValue(one_of(_FOLDED.values()), nearest=nearest(key, _FOLDED.values()))
    return _FOLDED[key.lower()], _number(_FOLDED[key.lower()], value)


def _number(key: str, text: str) -> float:
    try:
        return INT.parse(text) if key == "numSteps" else FLOAT.parse(text)
    except BadValue as bad:
        raise BadValue(f"{bad.expected} for {key}") from None


def _build(name: str, params: dict[str, float]) -> Schedule:
    """Return the schedule; raise ``BadValue`` for parameters that are missing, foreign or out of range."""
    missing = [key for key in PARAMS[name] if key not in params]
    if missing:
        raise BadValue(f"{_spelling(name)}: {one_of(missing)} is missing")
    extra = [key for key in params if key not in (*PARAMS[name], "noiseStdev")]
    if extra or (name == "const" and params):
        raise BadValue(f"{name} without {one_of(extra or list(params))}")
    factor = params.get("tgtFactor", 1.0)
    if not math.isfinite(factor) or factor == 0 or not math.isfinite(1 / factor):
        raise BadValue("a finite tgtFactor other than 0")
    if factor < 0 and name != "linear":
        raise BadValue(f"a tgtFactor above 0, which {name} takes the powers of")
    if not math.isfinite(params.get("noiseStdev", 0.0)):
        raise BadValue("a finite noiseStdev")
    return Schedule(name, factor, int(params.get("numSteps", 1)), params.get("noiseStdev", 0.0))


SCHEDULE, RATE = ScheduleKind(), RateKind()
