"""What the pages say can be done: commands parse, files exist, excerpts are those of the shipped files."""

import importlib
import re
import shlex

import pytest
from support import ROOT

from convnet.cli import VERBS
from convnet.cli.run import parse

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^ {4}(convnet \w.*?)(?: {3,}#.*)?$", re.MULTILINE)


def commands():
    for page in PAGES:
        for line in COMMAND.findall(page.read_text()):
            yield pytest.param(line, id=f"{page.stem}: {line[:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_are_ones(line):
    _, verb, *arguments = shlex.split(line)
    assert verb in VERBS
    assert hasattr(importlib.import_module(f"convnet.cli.{verb}"), "main")
    if verb == "run":
        given = parse(arguments)
        shipped = given.get("layer_def", "layers-imagenet.cfg")
        assert shipped == "layers-mine.cfg" or (ROOT / "layers-cfg" / shipped).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_excerpts_stand_in_the_shipped_files():
    readme = (ROOT / "README.md").read_text()
    for section, name in (("conv1", "layers"), ("DEFAULT", "layer-params")):
        excerpt = re.search(rf"(?: {{4}}\[{section}\]\n)(?: {{4}}\w+=.*\n)+", readme)
        assert excerpt, section
        text = "\n".join(line.strip() for line in excerpt.group().splitlines())
        assert text in (ROOT / f"layers-cfg/{name}-cifar10-26pct.cfg").read_text()


def test_the_architecture_page_names_what_is_there():
    for path in re.findall(r"`((?:convnet|tests|cuda)/[\w./]+)`", (ROOT / "docs/architecture.md").read_text()):
        if "FAMILY" not in path:
            assert (ROOT / path).exists(), path


def test_files_stay_readable():
    long = {p.name: n for p in (ROOT / "convnet").rglob("*.py") if (n := len(p.read_text().splitlines())) > 600}
    assert not long


def test_the_page_on_cuda_lists_every_file():
    from convnet.backends.cuda.source import files, forerunners

    text = (ROOT / "docs" / "cuda.md").read_text()
    for file in files():
        assert f"| `cuda/{file}` | {forerunners(file)} |" in text
    for path in re.findall(r"(?:convnet|tests|cuda)/[\w/]+\.(?:py|cuh?)", text):
        assert "NAME" in path or (ROOT / path).exists(), path
