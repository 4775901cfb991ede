"""What the pages say can be done: commands parse, files exist, excerpts are those of the shipped files."""

import importlib
import re
import shlex

import pytest
from support import ROOT

from convnet.cli import VERBS
from convnet.cli.run import given_options, parser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^ {4}(?:\$ )?(?:(?:mpiexec|srun) .*?)?(convnet \w.*?)(?: {3,}#.*)?$", re.MULTILINE)


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
        given = given_options(parser("convnet run").read(arguments))
        shipped = given.get("layer_def", "layers-imagenet.cfg")
        assert shipped == "layers-mine.cfg" or (ROOT / "layers-cfg" / shipped).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_excerpts_stand_in_the_shipped_files():
    guide = (ROOT / "docs/guide.md").read_text()
    for section, name in (("conv1", "layers"), ("DEFAULT", "layer-params")):
        excerpt = re.search(rf"(?: {{4}}\[{section}\]\n)(?: {{4}}\w+=.*\n)+", guide)
        assert excerpt, section
        text = "\n".join(line.strip() for line in excerpt.group().splitlines())
        assert text in (ROOT / f"layers-cfg/{name}-cifar10-26pct.cfg").read_text()


def test_the_architecture_page_names_what_is_there():
    """Paths, files without their folder, and what is said to stand in a file."""
    text = (ROOT / "docs/architecture.md").read_text()
    for path in re.findall(r"`((?:convnet|tests|cuda|layers-cfg|tools)/[\w./-]*)`", text):
        assert re.search("FAMILY|VERB", path) or (ROOT / path).exists(), path
    for name in re.findall(r"`([\w*]+\.(?:py|pyx|c|cu))`", text):
        assert any((ROOT / "convnet").rglob(name)), name
    for name, path in re.findall(r"`([A-Za-z_.]+)` in `(convnet/[\w./]+\.\w+)`", text):
        for word in name.split("."):
            line = rf"^\s*(?:cdef |static int )?(?:def |class )?{word}\b"
            assert re.search(line, (ROOT / path).read_text(), re.MULTILINE), (name, path)


def environment_variables(path):
    """Names in the lines of a file that read the environment, of constants too."""
    text = path.read_text(encoding="utf-8")
    constants = dict(re.findall(r'^(\w+) = "(\w+)"$', text, re.MULTILINE))
    lines = "\n".join(line for line in text.splitlines() if re.search(r"os\.environ|\bgetenv\(|\bis_off\(", line))
    words = re.findall(r'"([A-Z][A-Z0-9_]+)"', lines) + [
        constants.get(word, "") for word in re.findall(r"\b_?[A-Z]+\b", lines)
    ]
    return set(filter(None, words)) - {"PYTHONPATH", "LD_LIBRARY_PATH"}  # which tests pass on


def test_the_page_on_the_environment_lists_every_variable():
    files = [
        path
        for folder in ("convnet", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".cpp", ".c", ".h")
    ]
    read = set().union(*map(environment_variables, files))
    rows = re.findall(r"^\| (`[A-Z].*?) \|", (ROOT / "docs/environment.md").read_text(), re.MULTILINE)
    assert read == set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_the_page_on_cuda_lists_every_file():
    from convnet.backends.cuda.source import files, originals_of_file

    text = (ROOT / "docs" / "cuda.md").read_text()
    for file in files():
        assert f"| `cuda/{file}` | {originals_of_file(file)} |" in text
    for path in re.findall(r"(?:convnet|tests|cuda)/[\w/]+\.(?:py|cuh?)", text):
        assert "NAME" in path or (ROOT / path).exists(), path
