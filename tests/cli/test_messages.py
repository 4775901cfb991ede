"""Mistakes on a terminal are coloured; in a pipe, on a dumb terminal or with NO_COLOR they are plain text."""

import contextlib
import os
import subprocess
import sys

import pytest
from support import SMALL_NET, SMALL_PARAMS

from convnet.cli import main
from convnet.language.diagnostics import Place, Problem

pty = pytest.importorskip("pty")


@pytest.fixture
def wrong(tmp_path):
    """A definition with one mistake and one warning."""
    (tmp_path / "layers-x.cfg").write_text(SMALL_NET.replace("filters=8", "filters=eight\ncolour=red"))
    (tmp_path / "layer-params-x.cfg").write_text(SMALL_PARAMS)
    return str(tmp_path / "layers-x.cfg")


def on_terminal(arguments, **environment):
    """What a command writes to a terminal as its standard error."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    code = "import sys; from convnet.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(
        command, stderr=theirs, stdout=subprocess.DEVNULL, env=kept | {"TERM": "xterm"} | environment, check=False
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(ours, 4096):
            written += piece
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "verb", [["explain"], ["convert", "--to", "toml"], ["run", "--layer-def"]], ids=lambda verb: verb[0]
)
def test_colour_on_a_terminal_only(verb, wrong, capsys):
    colored = on_terminal([*verb, wrong])
    assert "\033[31merror:\033[0m" in colored and "\033[31m^^^^^\033[0m" in colored
    assert main([*verb, wrong]) == 1
    plain = capsys.readouterr().err
    assert "\033" not in plain and "error: layer 'conv1': filters=eight" in plain
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        assert on_terminal([*verb, wrong], **{name: value}).strip() == plain.strip()


def test_long_lines_are_cut_around_the_place():
    text = "a" * 500 + "WRONG" + "b" * 500
    shown, caret = Problem(Place("x", 1, 501, 5, text), "long").render().splitlines()[1:]
    at = caret.index("^")
    assert shown[at : at + 5] == "WRONG" and caret.count("^") == 5
    assert len(shown) < 220 and shown.strip()[0] == shown[-1] == "…"


def test_convert_repeats_the_warnings(wrong, tmp_path, capsys):
    text = SMALL_NET.replace("filters=8", "filters=8\ncolour=red")
    (tmp_path / "layers-x.cfg").write_text(text)
    assert main(["convert", wrong, "--to", "toml"]) == 0
    assert "warning: layer 'conv1': no key 'colour'" in capsys.readouterr().err
    assert main(["convert", wrong, "--to", "toml", "--strict"]) == 1
    assert "error: layer 'conv1': no key 'colour'" in capsys.readouterr().err
