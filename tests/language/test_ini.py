"""The lexical rules of Python 2.7's SafeConfigParser, with places (language spec, quirks 1 to 6)."""

import pytest

from convnet.language.diagnostics import Problems
from convnet.language.ini import interpolate, read_ini


def read(text):
    problems = Problems()
    return read_ini(text, "x.cfg", problems), problems


def value(text, key="k", section="s"):
    document, problems = read(f"[{section}]\n{text}")
    entry = document.entry(section, key)
    assert not problems.errors
    return interpolate(document, section, entry, problems) if entry else None


@pytest.mark.parametrize(
    "text, expected",
    [
        ("k=16", "16"),
        ("k = 16 ; x", "16"),
        ("k=16;x", "16;x"),
        ("k=16;a ; b", "16;a ; b"),
        ("k=a[b=1; c=2]", "a[b=1; c=2]"),
        ("k=16 # x", "16 # x"),
        ("k: 16", "16"),
        ("k=a=b", "a=b"),
        ('k=""', ""),
        ("k=", ""),
        ("K=16", "16"),
        ("k=1\nk=2", "2"),
        ("k=1,\n  2 ; x", "1,\n2 ; x"),
        ("k=1\n# c\n;c\nrem c\n\n 2", "1\n2"),
        ("k=1\r\nj=2\r", "1"),
        ("j=a\nk=%(j)s%%", "a%"),
        ("k=%(__name__)s", "s"),
    ],
)
def test_values(text, expected):
    assert value(text) == expected


def test_places():
    document, _ = read("# c\n[s]\n  \nkey = value ; c\n")
    entry = document.entry("s", "KEY")
    assert (entry.place.line, entry.place.column, entry.place.length) == (4, 7, 5)
    assert document.sections["s"].place.line == 2


def test_sections_merge_and_default_feeds_all():
    document, _ = read("[DEFAULT]\nd=1\n[a]\nx=1\n[b]\n[a]\ny=2\n[ c ] junk\n[[d]\n")
    assert list(document.sections) == ["a", "b", " c ", "[d"]
    assert [document.entry("a", key).raw for key in ("x", "y", "d")] == ["1", "2", "1"]
    assert document.entry("b", "x") is None


@pytest.mark.parametrize(
    "text, line, word",
    [
        ("k=1\n[s]", 1, "first [section]"),
        ("[s]\njunk", 2, "neither"),
        ("[s]\n  k=1", 2, "indented line"),
        ("[]\n", 1, "first [section]"),
        ("[s]\n=relu", 2, "neither"),
        ("[a]\rk=1", 1, "carriage return"),
    ],
)
def test_bad_lines(text, line, word):
    _, problems = read(text)
    assert [(p.place.line, word in p.message) for p in problems.errors] == [(line, True)]


def test_all_bad_lines_are_reported_and_the_rest_is_read():
    document, problems = read("[s]\njunk one\na=1\njunk two\nano[t]\nb=2\n")
    assert [p.place.line for p in problems.errors] == [2, 4, 5]
    assert problems.errors[-1].nearest == "[t]"
    assert document.entry("s", "a").raw == "1" and document.entry("t", "b").raw == "2"


@pytest.mark.parametrize("text", ["k=%", "k=%(x)s", "k=%(k)s", "k=%(k"])
def test_bad_references(text):
    document, problems = read(f"[s]\n{text}")
    assert interpolate(document, "s", document.entry("s", "k"), problems) is None
    assert problems.errors[0].place.line == 2
