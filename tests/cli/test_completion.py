"""Shells complete verbs, options, words, shipped layer files and names of files by the scripts that are generated."""

import shutil
import subprocess
import sys
from importlib import import_module

import pytest
from support import ROOT

from convnet.cli import VERBS, main
from convnet.cli.common import Parser

SHELLS = ("bash", "zsh", "fish")
# Calls what bash would, and prints what it would offer.
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p convnet | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function convnet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
NAMES = ("", "-1gpu", "-2gpu-data", "-2gpu-model", "-4gpu-data", "-4gpu-data-model")
IMAGENET = {f"layers-imagenet{name}.cfg" for name in NAMES}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A script for every shell, as the command line prints it."""
    pytest.importorskip("shtab")
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        with (folder / shell).open("w") as out:
            subprocess.run([sys.executable, "-m", "convnet", "completion", shell], stdout=out, cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize(
    "words, offered",
    [
        (["ex"], {"explain"}),
        ([""], set(VERBS)),
        (["explain", "--gl"], {"--glossary"}),
        (["explain", "layers-im"], IMAGENET),
        (["diff", "layers-digits.cfg", "layers-im"], IMAGENET),
        (["run", "--layer-def", "layers-im"], IMAGENET),
        (["run", "--backend", ""], {"auto", "reference", "cpu", "cuda"}),
        (["run", "--data-path", "sub"], {"subfolder"}),
        (["run", "--load-file", "s"], {"some.file", "subfolder"}),
        (["convert", "som"], {"some.file"}),
        (["completion", ""], set(SHELLS)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash(words, offered, scripts, tmp_path):
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    (tmp_path / "subfolder").mkdir()
    (tmp_path / "some.file").touch()
    command = ["bash", "-c", ASK, "ask", str(scripts / "bash"), "convnet", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_have_all_verbs_and_are_read_by_their_shells(shell, scripts):
    text = (scripts / shell).read_text()
    for word in [*VERBS, *IMAGENET, "layer-def", "glossary"]:
        assert word in text
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", str(scripts / shell)], check=False).returncode == 0


def test_without_shtab(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert capsys.readouterr().err == "convnet: completion needs shtab: pip install shtab\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_gives_its_parser(verb):
    parser = import_module(f"convnet.cli.{verb}").parser(f"convnet {verb}")
    assert isinstance(parser, Parser) and parser.prog == f"convnet {verb}"
