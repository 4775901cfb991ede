"""Every single plausible mistake in shipped files: one error, at the line that was changed.

Where a mistake cannot be told from another one elsewhere, ``ELSEWHERE`` says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from convnet.errors import LayerFileError
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.language.diagnostics import Problem

HEADER = re.compile(r"\[([^]]+)\]")
ENTRY = re.compile(r"(\w+)\s*=\s*(.*?)\s*(?:\s;.*)?$")

# Kinds of mistakes whose error may stand in another line, and why.
ELSEWHERE = {
    "key removed": "the line is gone: the error stands at the header above it, or where its default does not fit",
    "section removed": "the line is gone: the error stands at the first line that names the layer",
    "input added": "a list may as well have a value too few",
    "input removed": "a list may as well have a value too many",
    "doubled": "sizes are checked where two of them meet, as those of two towers do",
    "header misspelt": "a name that is read once, by a line that may be the wrong one; it names the header's line",
    "key misspelt": "with other sides of pictures, which nobody named, the net may do without the key",
}


TWICE = {"doubled", "key removed"}  # of sizes that two towers read, each of which then says the same


class Mistake(NamedTuple):
    kind: str
    file: str  # "d" or "p"
    line: int
    texts: dict[str, str]


def mistakes(files: LayerFiles) -> Iterator[Mistake]:
    texts = {"d": files.definition, "p": files.params or ""}
    for file, text in texts.items():
        lines = text.split("\n")
        headers = [i for i, line in enumerate(lines) if HEADER.match(line)]
        for i, line in enumerate(lines):
            following = next((other for other in headers if other > i), len(lines))

            def made(kind: str, *new: str, at: int = i, until: int = i + 1) -> Mistake:
                return Mistake(kind, file, at + 1, texts | {file: "\n".join([*lines[:at], *new, *lines[until:]])})  # noqa: B023

            header, entry = HEADER.match(line), ENTRY.match(line)
            if header and header[1] != "DEFAULT":
                yield made("header misspelt", f"[{header[1]}x]")
                yield made("header unclosed", line[:-1])
                yield made("section removed", until=following)
                if following < len(lines):
                    yield made("header repeated", line, at=following, until=following + 1)
            elif entry:
                yield from of_entry(made, entry[1], entry[2])


def of_entry(made, key: str, value: str) -> Iterator[Mistake]:
    yield made("key misspelt", f"{key[:-1] if len(key) > 3 else key + 'x'}={value}")
    yield made("key removed")
    yield made("indented", f"  {key}={value}")
    yield made("no equals", f"{key} {value}")
    if re.fullmatch(r"\d+", value):
        yield made("doubled", f"{key}={int(value) * 2}")
        yield made("negative", f"{key}=-{value}")
        yield made("not a number", f"{key}={value}x")
    if re.fullmatch(r"\d*\.\d+", value):
        yield made("comma", f"{key}={value.replace('.', ',')}")
    if re.fullmatch(r"[a-z.]+\d?", value) and key != "inputs":
        yield made("word cut", f"{key}={value[:-1]}")
        yield made("word longer", f"{key}={value}x")
    if key == "inputs":
        inputs = value.split(",")
        yield made("input misspelt", f"inputs={value}x")
        yield made("input added", f"inputs={value},{inputs[0]}")
        if len(inputs) > 1:
            yield made("inputs swapped", f"inputs={','.join(reversed(inputs))}")
            yield made("input removed", f"inputs={inputs[0]}")


def errors_of(texts: dict[str, str]) -> list[Problem]:
    builder = parse(LayerFiles(texts["d"], "d.cfg", texts["p"], "p.cfg"))
    try:
        builder.problems.check()
        infer_data(builder)
    except LayerFileError as error:
        return [problem for problem in error.problems if problem.severity == "error"]
    return []


def check(name: str, least: int) -> None:
    seen: Counter[str] = Counter()
    for kind, file, line, texts in mistakes(LayerFiles.open(name)):
        found = errors_of(texts)
        if not found:
            continue
        seen[kind] += 1
        texts_found = {re.sub("'.*?'", "", problem.message) for problem in found}
        assert len(found) == 1 or (kind in TWICE and len(texts_found) == 1), (
            kind,
            file,
            line,
            [str(problem) for problem in found],
        )
        place = found[0].place
        at_the_line = (place.file, place.line) == (f"{file}.cfg", line) or f"line {line} " in found[0].message
        assert at_the_line or kind in ELSEWHERE, (kind, file, line, str(found[0]))
    assert len(seen) >= 14 and seen.total() >= least, seen


LARGER = ("26pct", "11pct", "13pct")


def test_one_error_at_the_line():
    check("layers-digits.cfg", 150)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layers-imagenet.cfg", *(f"layers-cifar10-{net}.cfg" for net in LARGER)])
def test_one_error_at_the_line_of_larger_files(name):
    check(name, 100)


def test_what_needs_no_word():
    """A mark of byte order, line ends of another system, tabs and blanks around, at the end, in place of others."""
    files = LayerFiles.open("layers-digits.cfg")
    definition, params = files.definition, files.params or ""
    changes = [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: re.sub("=", " =\t", text),
        lambda text: re.sub("\n", " \t\n", text),
    ]
    for change in changes:
        assert not errors_of({"d": change(definition), "p": change(params)})
