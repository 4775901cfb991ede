"""What programs print, compared line by line: text to the last blank, numbers within a tolerance."""

import re
from difflib import unified_diff

import numpy as np

_MASKS = (  # what differs from run to run and from machine to machine
    (re.compile(r"\(\d+\.\d{3} sec\)"), "(TIME)"),
    (re.compile(r"(?m)^Current time: \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$"), "Current time: TIME"),
    (re.compile(r"(?m)^((?:Data|Save|Feature) path *: )\S+ *$"), r"\1PATH"),
    (re.compile(r"(?m)^((?:Layer (?:definition|parameter) file|Load file) *: )\S+ *$"), r"\1PATH"),
    (re.compile(r"(?m)^(Saving checkpoints|Saved checkpoint) to \S+$"), r"\1 to PATH"),
    (re.compile(r"(?m)^Wrote feature file \S+$"), "Wrote feature file PATH"),
)
_NUMBER = re.compile(r"\b\d+\.\d+(?:e[+-]\d\d)?\b")


def masked(text: str) -> list[str]:
    """The lines, with words for times and paths."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return text.splitlines()


def assert_same_lines(ours: str, theirs: str, tolerance: float | None = None) -> None:
    """The same lines; numbers with a point in them have the same form, and differ by ``tolerance`` at most."""
    forms = [[_NUMBER.sub(_form, line) for line in masked(text)] for text in (ours, theirs)]
    difference = list(unified_diff(*forms, "ours", "theirs", n=0, lineterm=""))
    assert not difference, "\n".join(difference)
    if tolerance is None:
        return
    numbers = [[float(number) for line in masked(text) for number in _NUMBER.findall(line)] for text in (ours, theirs)]
    np.testing.assert_allclose(*numbers, rtol=tolerance, atol=2e-6)


def _form(match: re.Match) -> str:
    """``N.6`` or ``N.6e``: how many digits stand behind the point."""
    mantissa, _, exponent = match[0].partition("e")
    return f"N.{len(mantissa.partition('.')[2])}{'e' * bool(exponent)}"
