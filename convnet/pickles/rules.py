"""What values out of a file must be, declared: a ``Rule`` says what is expected, and finds everything that is not so.

    RULE = record({"epoch": whole(0), "names": items(text())}, {"mean": maybe(array("f"))})
    list(RULE.faults(value, "state"))  # ["state['epoch'] is 'x'; expected a whole number from 0"]

Rules see plain data only, as ``convnet.pickles`` gives them, and never recurse deeper than they are declared.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np

from convnet.arrays import not_finite
from convnet.pickles.reader import text_of
from convnet.texts import did_you_mean, one_of

_SHOWN = 60  # characters of a wrong value in a message
_FAULTS = 4  # in one message
_DICTIONARY = "a dictionary"
Faults = Iterator[str]


@dataclass(frozen=True)
class Rule:
    """``find`` yields what is wrong with a value that is called ``key`` in its file; ``expected`` is what it should be."""

    expected: str
    find: Callable[[Any, str], Faults]

    def faults(self, value: Any, key: str = "") -> Faults:
        """Yield a line for everything that is wrong with ``value`` and what it holds."""
        return self.find(value, key)

    def allows(self, value: Any) -> bool:
        """Return whether nothing is wrong with ``value``."""
        return next(self.find(value, ""), None) is None


def message(faults: Faults) -> str:
    """Return the first faults as one line, or ``''`` if there are none."""
    found = list(islice(faults, _FAULTS + 1))
    return "; ".join(found[:_FAULTS]) + ("; and more" if len(found) > _FAULTS else "")


def shown(value: object) -> str:
    """Describe a value in a few words, however large it is."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    if isinstance(value, list | tuple | dict | set):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        return f"{value[: _SHOWN - 20]!r}... of {len(value):,} characters"
    if isinstance(value, int) and not -(10**_SHOWN) < value < 10**_SHOWN:
        return f"a whole number of {value.bit_length()} bits"
    return repr(value) if isinstance(value, str | bytes | int | float | NoneType) else f"a {type(value).__name__}"


def wrong(key: str, value: object, expected: str) -> str:
    """Return the line for a wrong value."""
    return f"{key} is {shown(value)}; expected {expected}"


def that(expected: str, is_right: Callable[[Any], bool]) -> Rule:
    """Return the rule for values of which ``is_right`` is true."""

    def find(value: Any, key: str) -> Faults:
        if not is_right(value):
            yield wrong(key, value, expected)

    return Rule(expected, find)


def whole(low: int | None = None, high: int | None = None) -> Rule:
    """Return the rule for whole numbers from ``low`` to ``high``."""
    start = "" if low is None else f" from {low}"
    expected = f"a whole number{start}" + ("" if high is None else f" to {high}")
    return that(expected, lambda v: isinstance(v, int) and (low is None or v >= low) and (high is None or v <= high))


def real(finite: bool = True) -> Rule:
    """Return the rule for numbers; unless ``finite``, infinite ones and NaN too."""
    # Larger whole numbers are no float.
    bound = 2.0**1000
    return that(
        "a finite number" if finite else "a number",
        lambda v: isinstance(v, int | float) and (abs(v) < bound or (isinstance(v, float) and not finite)),
    )


def text(expected: str = "a text", is_right: Callable[[str], bool] = lambda _: True) -> Rule:
    """Return the rule for texts, of Python 2 or 3."""
    return that(expected, lambda v: isinstance(v, str | bytes) and is_right(text_of(v)))


def line() -> Rule:
    """Return the rule for texts of one line."""
    return text(
        "a text of one line", lambda v: v.isprintable() or not any(ord(c) < 32 or c in "\x85\u2028\u2029" for c in v)
    )


def exactly(*words: str) -> Rule:
    """Return the rule for one of some texts."""
    return text(one_of(map(str, words)), words.__contains__)


def maybe(rule: Rule) -> Rule:
    """Return the rule for ``None``, or what another rule allows."""
    return either(that("None", lambda v: v is None), rule)


def either(*rules: Rule) -> Rule:
    """Return the rule for what one of several allows. Of a container the faults are those of its own kind."""
    expected = ", or ".join(rule.expected for rule in rules)

    def find(value: Any, key: str) -> Faults:
        if any(rule.allows(value) for rule in rules):
            return
        found = (fault for rule in rules for fault in rule.faults(value, key))
        deeper = list(islice((fault for fault in found if not fault.startswith(f"{key} is ")), _FAULTS + 1))
        yield from deeper or [wrong(key, value, expected)]

    return Rule(expected, find)


def items(rule: Rule, count: int | None = None) -> Rule:
    """Return the rule for lists whose items follow ``rule``, ``count`` of them."""
    expected = f"a list{'' if count is None else f' of {count}'}, of {rule.expected} each"

    def find(value: Any, key: str) -> Faults:
        if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
            yield wrong(key, value, expected)
            return
        for i, item in enumerate(value):
            yield from rule.find(item, f"{key}[{i}]")

    return Rule(expected, find)


def group(*rules: Rule) -> Rule:
    """Return the rule for a list or tuple of so many values, each with a rule of its own."""
    expected = f"({', '.join(rule.expected for rule in rules)})"

    def find(value: Any, key: str) -> Faults:
        if not isinstance(value, list | tuple) or len(value) != len(rules):
            yield wrong(key, value, expected)
            return
        for i, (rule, item) in enumerate(zip(rules, value, strict=True)):
            yield from rule.find(item, f"{key}[{i}]")

    return Rule(expected, find)


def record(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None, expected: str = _DICTIONARY) -> Rule:
    """Return the rule for dictionaries with known keys; others are not looked at."""
    rules = {**(optional or {}), **required}

    def find(value: Any, key: str) -> Faults:
        if not isinstance(value, dict):
            yield wrong(key, value, expected)
            return
        for name in required.keys() - value.keys():
            hint = did_you_mean(name, [other for other in value.keys() - rules.keys() if isinstance(other, str)])
            yield f"{key}[{name!r}] is missing; expected {required[name].expected}{hint}"
        for name, rule in rules.items():
            if name in value:
                yield from rule.find(value[name], f"{key}[{name!r}]")

    return Rule(expected, find)


def mapping(names: Rule, values: Rule) -> Rule:
    """Return the rule for dictionaries whose keys and values follow a rule each."""

    def find(value: Any, key: str) -> Faults:
        if not isinstance(value, dict):
            yield wrong(key, value, _DICTIONARY)
            return
        for name, item in value.items():
            for fault in names.find(name, "the key"):
                yield f"{key}: {fault}"
            yield from values.find(item, f"{key}[{shown(name)}]")

    return Rule(_DICTIONARY, find)


def array(kinds: str = "biuf", dims: int | None = None) -> Rule:
    """Return the rule for arrays of numbers, with ``dims`` dimensions; finite where ``kinds`` does not end in ``*``."""
    finite = not kinds.endswith("*")
    numbers = "floats" if kinds.startswith("f") else "numbers"
    expected = f"an array of {'finite ' * finite}{numbers}" + ("" if dims is None else f" of {dims} dimensions")

    def find(value: Any, key: str) -> Faults:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or (dims is not None and value.ndim != dims):
            yield wrong(key, value, expected)
        elif finite and (place := not_finite(value)) is not None:
            yield f"{key} holds {value[place]} at {place}; expected finite numbers"

    return Rule(expected, find)


def of_hint(hint: Any) -> Rule:
    """Return the rule for a type as annotations give it: ``int``, ``list[int] | None``, ``dict[str, list[float]]``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return either(*map(of_hint, inner))
    if origin is list:
        return items(of_hint(inner[0]))
    if origin is tuple:
        return items(of_hint(inner[0])) if inner[1:] == (...,) else group(*map(of_hint, inner))
    if origin is dict:
        return mapping(of_hint(inner[0]), of_hint(inner[1]))
    simple = {
        int: whole(),
        float: real(finite=False),
        str: text(),
        bool: whole(0, 1),
        NoneType: that("None", lambda v: v is None),
    }
    return simple.get(hint, that("anything", lambda _: True))
