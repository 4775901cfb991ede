"""What all verbs share: help, usage errors, the frame around errors, colours on a terminal."""

import contextlib
import os
import platform
import re
import subprocess
import sys

import numpy
import pytest
from support import ROOT, SMALL_NET, SMALL_PARAMS

import convnet
from convnet.cli import VERBS, main
from convnet.cli.common import Parser, run_verb, version_text
from convnet.cli.run import parser as run_parser
from convnet.cli.views import VIEWS
from convnet.errors import ConvnetError
from convnet.language.diagnostics import Place, Problem
from convnet.options import GROUPS, OPTIONS

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


READERS = [
    ["explain"], ["diff", "layers-digits.cfg"], ["draw"], ["convert", "--to", "toml"], ["run", "--layer-def"],
    ["bench", "--layer-def"], ["kernels", "--params", "layer-params-digits.cfg"],
]  # fmt: skip


@pytest.mark.parametrize("verb", READERS, ids=lambda verb: verb[0])
def test_one_mistake_prints_one_way(verb, wrong, capsys):
    """Of whichever verb reads the file: the place, the line, the caret."""
    assert main([*verb, wrong, *["conv1"] * (verb[0] == "kernels")]) == (2 if verb[0] == "diff" else 1)
    assert capsys.readouterr().err.splitlines()[:4] == [
        f"{wrong}:12:9: error: layer 'conv1': filters=eight is not valid",
        "    filters=eight",
        "            ^^^^^",
        "    expected a whole number, or num_classes",
    ]


@pytest.mark.parametrize("verb", READERS[:5:2], ids=lambda verb: verb[0])
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


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--versoin"], "unknown option '--versoin'; did you mean '--version'?"),
        (["--quux"], "unknown option '--quux'; see --help"),
        (["-f=x"], "-f=x: write '-f x' or '--load-file=x'"),
    ],
)
def test_wrong_usage_is_one_line(verb, arguments, words, capsys):
    assert main([verb, *arguments]) == 2
    assert capsys.readouterr().err == f"convnet: {words}\n"


MISSING = "missing; see --help"
FLAGS = ", ".join(view.flag for view in VIEWS if view.flag.startswith("--show"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["explain", "layers-digits.cfg", "--mini", "0"], "--mini: '0' is not a whole number from 1"),
        (["run", "--mini", "0"], "--mini: '0' is not a whole number from 1"),
        (["bench", "--layer-def", "x", "--backend", "gpu"], "--backend: 'gpu' is not auto, reference, cpu or cuda"),
        (["convert", "x", "--to", "2013"], "--to: '2013' is not toml, 2011, 2012, 2014 or npz"),
        (["makebatches", "x", "--out", "y", "--size", "big"], "--size: 'big' is not a whole number from 1"),
        (["run", "--scalar-mean", "x"], "--scalar-mean: 'x' is not a number from 0, or -1 for the mean picture"),
        (["diff"], f"A, B are {MISSING} (example: convnet diff layers-cifar10-19pct.cfg layers-cifar10-18pct.cfg)"),
        (["run", "my net.cfg"], "unexpected argument 'my net.cfg'; write --layer-def 'my net.cfg'"),
        (["run", "--layer-def", "a.cfg", "b.cfg"], "unexpected argument 'b.cfg'"),
        (["kernels", "layers-digits.cfg"], f"LAYER is {MISSING} (example: convnet kernels layers-imagenet.cfg conv2a)"),
        (["completion", "csh"], "SHELL: 'csh' is not bash, zsh or fish"),
        (["doctor", "x"], "unexpected argument 'x'"),
        (["diff", "a", "b", "c"], "unexpected argument 'c'"),
        (["diff", "a", "b", "-q"], "unknown option '-q'"),
        (["diff", "--", "a", "--b", "c"], "unexpected argument 'c'"),
        (["shownet", "--show", "x"], "ambiguous option: --show could match " + FLAGS),
        (["convert", "x", "--too", "toml"], "unknown option '--too'; did you mean '--to'?"),
    ],
)  # fmt: skip
def test_wrong_values(arguments, words, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"convnet: {words}\n"


@pytest.fixture(autouse=True)
def _usual_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def help_of(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "-h"])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help_and_version(verb, capsys):
    text = help_of(verb, capsys)
    assert re.search(rf"^example: convnet {verb}\b", text, re.MULTILINE)
    assert not re.search(r"``|\[\[\]|\{,|None", text)
    assert len(re.findall("^example: ", text, re.MULTILINE)) == 1
    too_long = [line for line in text.splitlines() if len(line) > 80 and not line.startswith("example: ")]
    assert not too_long  # where an example is cut it cannot be copied
    with pytest.raises(SystemExit) as left:
        main([verb, "--version"])
    assert left.value.code == 0
    numbers = f"Python {platform.python_version()}, NumPy {numpy.__version__}"
    assert capsys.readouterr().out == f"convnet {convnet.__version__} ({numbers})\n"


def test_the_first_page(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    listed = re.findall(r"^  (\w+) {2,}(.*)$", text, re.MULTILINE)
    assert len(listed) == len(VERBS) and dict(listed) == VERBS
    assert max(map(len, text.splitlines())) <= 80
    first = re.search(r"^  convnet (run .*)$", text, re.MULTILINE)[1].split()
    assert run_parser("convnet run").read(first[1:]).layer_def in {path.name for path in (ROOT / "layers-cfg").iterdir()}
    for words in (["--help"], ["help"], ["-h"]):
        assert main(words) == 0
        assert capsys.readouterr().out == text
    for words in (["--version"], ["version"], ["-V"]):
        assert main(words) == 0
        assert capsys.readouterr().out == version_text() + "\n"
    expected = help_of("diff", capsys)
    with pytest.raises(SystemExit):
        main(["help", "diff"])
    assert capsys.readouterr().out == expected


def test_help_of_a_run_is_in_groups(capsys):
    text = help_of("run", capsys)
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == ["options", *GROUPS]
    for option in OPTIONS:
        assert option.group in GROUPS and option.flag in text and option.help != option.description


@pytest.mark.parametrize(
    "error, status, words",
    [
        (ConvnetError("no"), 1, "convnet: no\n"),
        (MemoryError(), 1, "convnet: out of memory; lower --mini\n"),
        (KeyboardInterrupt(), 130, "convnet: interrupted; what was saved before is untouched\n"),
    ],
)
def test_whatever_ends_a_verb_is_one_line(error, status, words, capsys):
    def act(args):
        raise error

    assert run_verb(act, Parser("convnet x", "x", "x"), []) == status
    assert capsys.readouterr().err == words


@pytest.mark.parametrize("arguments", [["explain", "layers-imagenet.cfg", "--json"], ["run", "--help"]])
def test_a_reader_that_leaves_is_not_an_error(arguments):
    command = f"{sys.executable} -m convnet {' '.join(arguments)} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout and not done.stderr and done.returncode in (0, 1)
