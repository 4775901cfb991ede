"""The specification: whatever code, tests and pages cite of it stands in ``docs/spec``, in its place and only there."""

import re
from pathlib import Path

import pytest
from support import ROOT

SPEC = ROOT / "docs" / "spec"
PAGES = sorted(SPEC.glob("*.md"))
CITED = ("numerics", "io", "language")  # pages that are cited by name
SUFFIXES = {".py", ".pyx", ".c", ".cpp", ".h", ".cu", ".cuh", ".md", ".cfg"}
PLACES = [ROOT / "README.md", *(ROOT / name for name in ("convnet", "cuda", "docs", "layers-cfg", "tests"))]

ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
NUMBER = r"\d+(?:\.\d+)*"
# numerics 13.6; io section 2; numerics 12.5, 12.11 and 16.3; io 4.4 to 4.8; language spec, quirks 1 to 6
CITATION = re.compile(
    rf"""\b({"|".join(CITED)})(?:\s+spec)?,?\s+(?:sections?\s+|quirks?\s+|"Quirks[\w ]+",\s+)?"""
    rf"({NUMBER}(?:(?:,?\s+and\s+|,\s+|\s+to\s+){NUMBER})*)",
    re.IGNORECASE,
)
BY_TITLE = re.compile(r"\blanguage\s+spec,\s+(?!quirk)([a-z][a-z ]+)")
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")


def anchors(page):
    return ANCHOR.findall(page.read_text(encoding="utf-8"))


KNOWN = {name: set(anchors(SPEC / f"{name}.md")) for name in CITED}


def citations(text):
    """(line, citation, page, numbers) of every citation, also of those that go on in the next line of a comment."""
    text = re.sub(r"\n[ \t]*(?:#|//|\*)?[ \t]*", "\n", text)
    for found in CITATION.finditer(text):
        numbers = []
        for joint, number in re.findall(rf"(\bto\s+)?({NUMBER})", found[2]):
            numbers += between(numbers[-1], number) if joint else [number]
        yield line_of(found), " ".join(found[0].split()), found[1].lower(), numbers


def line_of(found):
    return found.string.count("\n", 0, found.start()) + 1


def between(first, last):
    """The numbers behind ``first`` up to ``last``: 4.5 to 4.8 for 4.4 and 4.8."""
    section, _, start = first.rpartition(".")
    same, _, stop = last.rpartition(".")
    dot = "." if section else ""
    return [f"{section}{dot}{n}" for n in range(int(start) + 1, int(stop) + 1)] if same == section else [last]


def wrong(text):
    """``line: citation`` for every citation of something that is not there."""
    titles = (SPEC / "language.md").read_text(encoding="utf-8").lower()
    for line, citation, page, numbers in citations(text):
        missing = [number for number in numbers if number not in KNOWN[page]]
        if missing:
            yield f"{line}: '{citation}': docs/spec/{page}.md has no {', '.join(missing)}"
    for found in BY_TITLE.finditer(text):
        if not re.search(rf"^#+ .*{found[1].strip()}$", titles, re.MULTILINE):
            yield f"{line_of(found)}: '{found[0]}': docs/spec/language.md has no such heading"


def texts():
    """(name, text) of every file that may cite."""
    for place in PLACES:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_what_is_cited_is_there():
    found = dict(texts())
    assert sum(len(list(citations(text))) for text in found.values()) > 200
    faults = [f"{name}:{fault}" for name, text in found.items() for fault in wrong(text)]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(
    "text, count",
    [
        ("{numerics} 13.6 and {io} section 2", 0),
        ("{numerics} sections 5, 6, 7 and 10; {io} 4.4 to 4.8; {language} spec quirk 7", 0),
        ("# as {numerics}\n# 13.6, 13.7 say", 0),
        ('{language} spec, "Quirks worth preserving", 1 to 6; {language} spec, lexical rules', 0),
        ("{Numerics} 13.99", 1),
        ("as {numerics} section\n// 99 says", 1),
        ("({io} 2.6, {numerics} 12.5, 12.99 and 16.3)", 1),
        ("{io} 4.8 to 4.12; {language} spec, quirks 17 to 19", 2),
        ("{language} 99; {language} spec, no such rules", 2),
    ],
)
def test_wrong_citations_are_found(text, count):
    """Written so that the planted ones are no citations of this file."""
    names = {name: name for name in (*CITED, "Numerics")}
    assert len(list(wrong(text.format(**names)))) == count


def test_a_fault_names_line_and_number():
    planted = "{} 12.5 to 12.13".format("numerics")
    assert list(wrong(f"\n\n{planted}")) == [f"3: '{planted}': docs/spec/numerics.md has no 12.12, 12.13"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_number_has_one_anchor(page):
    """Anchors stand before the number that they name, once, and in order."""
    text, found = page.read_text(encoding="utf-8"), anchors(page)
    order = [tuple(map(int, anchor.split("."))) for anchor in found]
    assert order == sorted(set(order))
    places = re.findall(rf"^(?:#+ |- )?<a id=\"({NUMBER})\"></a>(?:\*\*)?({NUMBER})\b", text, re.MULTILINE)
    assert [anchor for anchor, _ in places] == found and all(anchor == number for anchor, number in places)
    assert not re.findall(rf"^#+ {NUMBER}|^- \*\*{NUMBER}\*\*", text, re.MULTILINE), "a number without an anchor"


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_links_to_numbers_lead_there(page):
    """Of links within the specification, the text is the number that they lead to."""
    text = page.read_text(encoding="utf-8")
    for file, anchor in LINK.findall(text):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        if anchor and target.parent == SPEC:
            assert anchor in anchors(target), (file, anchor)
    for label, file, anchor in re.findall(r"\[((?:\w+ )?[\d.]+)\]\(([^)#]*)#([\d.]+)\)", text):
        assert label == (f"{Path(file).stem} {anchor}" if file else anchor)


def test_every_fault_of_the_originals_has_a_row():
    """What is marked in the specification is told in ``docs/fidelity.md``, by its number or its section's."""
    page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    rows = {(name, number) for _, _, name, numbers in citations(page) for number in numbers}
    missing = []
    for name in CITED:
        for place in re.split(r'(?=<a id=")', (SPEC / f"{name}.md").read_text(encoding="utf-8")):
            if "**BUG**" in place and (at := ANCHOR.match(place)):
                missing += [f"{name} {at[1]}"] if not {(name, at[1]), (name, at[1].split(".")[0])} & rows else []
    assert not missing
