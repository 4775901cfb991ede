"""Nothing from a file reaches a terminal, a page or a picture as anything but text."""

import html.parser
import io
import re
import shlex
import string
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT, SMALL_NET, SMALL_PARAMS, make_graph, write_cifar, write_net

from convnet.cli import main
from convnet.cli.output import CleanStream, clean_output
from convnet.drawing.dot import dot
from convnet.drawing.page import page
from convnet.drawing.picture import picture_of
from convnet.drawing.svg import svg
from convnet.errors import ConvnetError, DataError, LayerFileError
from convnet.language.diagnostics import Place, Problem
from convnet.texts import message_lines, printable, printable_lines, shell_quoted
from convnet.training.lines import option_text

HOSTILE = [
    "co\x1b[31m",
    "\x9b2J",
    "a\rb",
    "a\x08\x08b",
    "\u202egpj.exe",
    "a\u2028b",
    "\x1b]0;title\x07",
    "\ud800",
    "x\udcffy",
    "a\0b",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>",
    "a\\",
    'b"c',
    "x;rm -rf ~",
    "$(reboot)",
    "`reboot`",
    "$x^{2$",
    "-->",
    "&lt;",
    "'",
]
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=()), max_size=12))


def is_clean(text):
    """Whether a terminal shows all of it, and obeys nothing, but for ends of lines."""
    return all(printable(line) == line for line in text.split("\n"))


@given(TEXTS)
def test_printable(text):
    shown = printable(text)
    assert "\n" not in shown and is_clean(shown) and is_clean(printable_lines(text))
    assert printable(shown) == shown
    assert printable_lines(text).count("\n") == text.count("\n")
    shown.encode("utf-8")


def test_what_stays_and_what_is_written_out():
    for text in ("conv1", "Grüße, 世界", "a b\u00a0c\u3000d", "naïve “quoted”"):
        assert printable(text) == text
    assert printable("\x1b[31m\n\x9b\u202e\udcff\x7f\0") == r"\x1b[31m\n\x9b\u202e\udcff\x7f\x00"


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS.filter(lambda text: "\0" not in text), max_size=3))
def test_a_shell_reads_quoted_words_back(words):
    quoted = " ".join(map(shell_quoted, words))
    assert is_clean(quoted) and "\n" not in quoted
    try:
        wanted = [word.encode("utf-8", "surrogateescape") for word in words]
    except UnicodeEncodeError:  # surrogates that stand for no byte: no file has such a name
        return
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {quoted}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.split(b"\0")[: len(words)] == wanted


def test_quoting_leaves_plain_words():
    assert shell_quoted("checkpoints/ConvNet__2026-11-23_17.08.50") == "checkpoints/ConvNet__2026-11-23_17.08.50"
    assert shell_quoted("x;rm -rf ~") == "'x;rm -rf ~'" and shell_quoted("a\x1b'") == r"$'a\x1b\x27'"


@given(TEXTS, st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_streams_are_clean(text, encoding):
    data = io.BytesIO()
    stream = CleanStream(io.TextIOWrapper(data, encoding))
    print(text, file=stream, flush=True)
    assert is_clean(data.getvalue().decode(encoding))


def test_streams_are_replaced_for_a_while(capsys):
    before = sys.stdout
    with clean_output():
        inner = sys.stdout
        with clean_output():
            assert sys.stdout is inner
            print("a\x1bb", file=sys.stderr)
            sys.stdout.control("\x1b[1m")
    assert sys.stdout is before
    assert capsys.readouterr() == ("\x1b[1m", "a\\x1bb\n")


@given(TEXTS)
def test_errors_and_problems_are_clean(text):
    assert is_clean(str(DataError(f"{text}: wrong")))
    problem = Problem(Place(text, 3, 1, 2, text), text, text, text)
    assert is_clean(problem.render()) and is_clean(str(LayerFileError([problem])))
    assert is_clean(re.sub(r"\x1b\[(1|31|0)m", "", problem.render(color=True)))
    assert problem.render().count("\n") <= 4


def test_a_name_does_not_forge_a_line(capsys, tmp_path):
    assert main(["explain", str(tmp_path / "no\nconvnet: all is well.cfg")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and r"no\nconvnet: all is well.cfg" in said


def test_lines_of_a_message():
    assert message_lines("two lines:\n    the second\nforged: line") == "two lines:\n    the second\\nforged: line"


@pytest.mark.parametrize("name", [r"a\nb", r"a\rb", r"a\u2028b", r"\nSaved checkpoint", r"a\n"])
def test_a_layer_does_not_forge_a_line(name, tmp_path, capsys):
    path = tmp_path / "net.toml"
    path.write_text(f'[layer."{name}"]\ntype = "data"\ndataIdx = 0\n')
    assert main(["explain", str(path)]) == 1
    said = capsys.readouterr().err
    assert f"the name of layer '{name}' has several lines" in said and "\nSaved" not in said


def test_inherited_options_are_one_line_each():
    assert option_text("data\nRunning on a card\x1b") == r"data\nRunning on a card\x1b"


def net_called(name):
    return SMALL_NET.replace("[fc]", f"[{name}]").replace("inputs=fc", f"inputs={name}")


@pytest.mark.parametrize("name", [name for name in HOSTILE if not set("\r\n]\u2028\ud800") & set(name)])
def test_layer_names(name, tmp_path, capsys):
    """Every verb that prints them, with a word on what is wrong or without."""
    import convnet

    net, params = tmp_path / "net.cfg", tmp_path / "params.cfg"
    net.write_bytes(net_called(name).encode("utf-8", "surrogateescape"))
    params.write_bytes(SMALL_PARAMS.replace("[fc]", f"[{name}]").encode("utf-8", "surrogateescape"))
    wrong = tmp_path / "wrong.cfg"
    wrong.write_bytes(net.read_bytes().replace(b"outputs=10", b"outputs=x" + name.encode("utf-8", "surrogateescape")))
    pair, out = [str(net), str(params)], tmp_path / "out.svg"
    for words in (
        ["explain", *pair],
        ["explain", *pair, "--json"],
        ["explain", str(wrong), str(params)],
        ["draw", *pair, "--out", str(out)],
        ["convert", *pair, "--to", "toml"],
        ["convert", *pair, "--to", "2011"],
        ["diff", str(net), str(write_net(tmp_path / "other")), "--params-a", str(params)],
        ["run", "--layer-def", str(net), "--layer-params", str(params), "--check-grads", "--mini", "1"],
        ["kernels", *pair, name + "x"],
    ):
        main(words)
        found = capsys.readouterr()
        assert found.out + found.err and is_clean(found.out + found.err)
    if "\0" in name:  # which is in no text
        return
    assert is_clean(out.read_text())
    built = convnet.build(net, params)
    assert is_clean(str(built)) and is_clean(repr(built))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=(), exclude_characters="\r"), max_size=300), where=st.integers(0, 3))
def test_any_file_is_explained_cleanly(text, where, tmp_path, capsys):
    """Text anywhere in a layer file, as INI and as TOML."""
    places = [text, SMALL_NET + text, SMALL_NET.replace("outputs=10", f"outputs={text}"), f"[layer.{text}]\ntype = {text}\n"]
    path = tmp_path / ("net.toml" if where == 3 else "net.cfg")
    path.write_bytes(places[where].encode("utf-8", "surrogatepass"))
    (tmp_path / "params.cfg").write_text(SMALL_PARAMS)
    for words in (["explain", path, tmp_path / "params.cfg"], ["convert", path, tmp_path / "params.cfg", "--to", "2014"]):
        main([str(word) for word in words])
        found = capsys.readouterr()
        assert is_clean(found.out + found.err)


class Tags(html.parser.HTMLParser):
    """The tags of a page, and the attributes that could run something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "src"]
        assert all(value.removeprefix("#layer-").isdigit() for name, value in attrs if name == "href")

    def handle_data(self, data):
        self.texts.append(data)


PLAIN = make_graph(SMALL_NET, {0: 3072, 1: 1}, 10, SMALL_PARAMS)


def renamed(name):
    """The small net's picture, its layers and its title called ``name``: also names that no layer file can hold."""
    picture = picture_of(PLAIN, name, 128)
    names = {old: f"{name}{i}" for i, old in enumerate(picture.boxes)}
    boxes = {
        names[old]: type(box)(names[old], name + box.label, box.device, box.weight, box.volume, [(name, name), *box.details])
        for old, box in picture.boxes.items()
    }
    edges = [type(edge)(names[edge.source], names[edge.target], name, 8) for edge in picture.edges]
    return type(picture)(name, name, boxes, edges, 128)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_pictures_of_any_names(name):
    usual, picture = picture_of(PLAIN, "net", 128), renamed(name)
    for drawing in (svg(picture), page(picture), dot(picture)):
        assert is_clean(drawing)
    assert Tags(page(picture)).tags == Tags(page(renamed("n"))).tags
    found = ElementTree.fromstring(svg(picture))
    assert {element.tag for element in found.iter()} == {
        element.tag for element in ElementTree.fromstring(svg(renamed("n"))).iter()
    }
    assert len(usual.boxes) == len(picture.boxes)
    quoted = re.compile(r'"(?:[^"\\]|\\.)*"')
    rest = quoted.sub("", dot(picture))
    assert rest == quoted.sub("", dot(renamed("n")))


@pytest.mark.parametrize("title", HOSTILE)
def test_titles(title, tmp_path, capsys):
    net = write_net(tmp_path)
    for form in ("svg", "html", "dot"):
        out = tmp_path / f"net.{form}"
        status = main(["draw", str(net), f"--title={title}", "--out", str(out)])
        if "\0" in title:  # which no program can be given
            assert status == 2 and is_clean(capsys.readouterr().err)
            continue
        assert status == 0 and is_clean(out.read_text()) and is_clean(capsys.readouterr().out)
        if form == "html":
            assert Tags(out.read_text()).tags.count("script") == 1


def test_commands_to_copy_are_quoted(tmp_path, capsys, monkeypatch):
    """A convolution called ``x;rm -rf ~``, and a folder whose name is a command and a colour."""
    monkeypatch.chdir(tmp_path)
    name = "x;rm -rf ~"
    text = SMALL_NET.replace("[conv1]", f"[{name}]").replace("inputs=conv1", f"inputs={name}")
    net = write_net(tmp_path / "net", text, SMALL_PARAMS.replace("[conv1]", f"[{name}]"))
    folder = tmp_path / "a b\x1b[31m$(touch ran)"
    words = ["--layer-def", net, "--data-path", write_cifar(tmp_path / "data"), "--save-path", folder, "--max-batches", "1"]
    assert main(["run", *map(str, words)]) == 0
    found = capsys.readouterr()
    assert is_clean(found.out + found.err)
    [saved] = folder.iterdir()
    lines = found.out.splitlines()
    go_on, filters = (
        next(line for line in lines if line.startswith(start)) for start in ("Go on with:", "See its filters:")
    )
    for line, wanted in ((go_on, f"{folder.name}/{saved.name}"), (filters, name)):
        command = line.partition(":")[2].strip().replace("python tools/shownet.py", "convnet shownet")
        done = subprocess.run(
            ["bash", "-c", command.replace("convnet ", "printf '%s\\n' ", 1)], capture_output=True, text=True
        )
        assert wanted in done.stdout.splitlines()
    assert not (tmp_path / "ran").exists()
    assert main(["shownet", "--load-file", str(saved), "--show-filters", name]) == 0
    assert is_clean(capsys.readouterr().out)


def test_class_names_on_pictures():
    """No warnings of signs that fonts lack, and no sign that Pillow reads as a new line."""
    from convnet.drawing.prediction_scene import prediction_scene
    from convnet.drawing.samples import Prediction
    from convnet.drawing.scene_image import image_of

    cases = [Prediction(np.zeros((4, 4, 3)), name, [(name, 0.5, True), (name, 0.5, False)]) for name in HOSTILE]
    for start in range(0, len(cases), 8):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert image_of(prediction_scene(cases[start : start + 8])).width > 1000


def test_names_of_files_and_classes(tmp_path, capsys):
    from PIL import Image

    source = tmp_path / "a\x1b[31mb"
    for label in ("c\x1b[32m", "d\u202e"):
        (source / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8)).save(source / label / f"{i}\x07.png")
        (source / label / "bad\x9b.png").write_bytes(b"")
    out = tmp_path / "out\x1b[0m"
    assert main(["makebatches", str(source), "--out", str(out), "--size", "8"]) == 0
    found = capsys.readouterr()
    assert is_clean(found.out + found.err) and is_clean((out / "skipped.txt").read_text())
    quoted = re.search(r"--data-path (.*)", found.out)[1]
    assert shlex.split(quoted[1:])[0] and set(quoted) <= set(string.printable) - set("\x0b\x0c\r")


ENTRANCES = {
    "convnet": ["-m", "convnet", "explain", "NAME"],
    "run": ["-m", "convnet.run", "--layer-def", "NAME"],
    "convert.py": ["tools/convert.py", "NAME", "--to", "toml"],
    "makebatches.py": ["tools/makebatches.py", "NAME", "--out", "out"],
    "shownet.py": ["tools/shownet.py", "--load-file", "NAME", "--show-filters", "x"],
    "verb": ["-m", "convnet", "NAME"],
    "option": ["-m", "convnet", "run", "--NAME"],
}


@pytest.mark.parametrize(
    "entrance", [pytest.param(name, marks=[pytest.mark.slow] * (name != "convnet")) for name in ENTRANCES]
)
def test_every_entrance_is_clean(entrance):
    """Each way to start a verb, with a name that it repeats in an error."""
    words = [word.replace("NAME", "no\x1b[31m.cfg") for word in ENTRANCES[entrance]]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode and is_clean(done.stdout + done.stderr) and r"no\x1b[31m" in done.stderr


def test_api_errors_are_clean():
    import convnet

    with pytest.raises(ConvnetError) as caught:
        convnet.load("no\x1b[31m")
    assert is_clean(str(caught.value)) and r"\x1b" in str(caught.value)
