"""Hostile files: huge numbers, deep and wide nets, circles, odd names, the wrong file; neither traceback nor cost."""

from __future__ import annotations

import pickle
import re
import sys
import tracemalloc
from contextlib import suppress
from html import unescape

import pytest

from convnet.checkpoint.layer_dicts import stored_net
from convnet.cli import main
from convnet.errors import LayerFileError
from convnet.graph.infer import infer_data
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.table import layer_table
from convnet.graph.writer import write_files
from convnet.language.files import shipped_folder
from convnet.layers import LAYER_TYPES
from convnet.layers.examples import CHAIN, CLASSES, DIMS, EXAMPLES, PARAMS
from convnet.layers.label_tree import LabelTree

SHIPPED = shipped_folder("layers-cfg")
NUMBERS = ["0", "-1", "9" * 19, "1e308", "nan"]
WORDS = {
    "weightSource": ["x", "fc[99999999999]", "nobody"],
    "neuron": ["tanh[1e308,1e308]", "log[-1]", "relu[1]"],
    "schedW": ["jdexp[1e-300,9999999999999999999]", "exp[-3]", "exp[1e-320]"],
    "epsW": ["dexp[base=1e300;tgtFactor=1e-300;numSteps=2]", "linear[base=1e308;tgtFactor=-1e-300]"],
}
USED = "\n[ten]\ntype=data\ndataIdx=2\n[logistic]\ntype=neuron\nneuron=logistic\ninputs=fc\n"
USED += "[u1]\ntype=cost.sum2\ninputs=ten\n[u2]\ntype=cost.sum2\ninputs=logistic\n"
USED_PARAMS = "\n[u1]\ncoeff=0\n[u2]\ncoeff=0\n"


def without(text, key):
    """The lines of ``text`` that do not give ``key``."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.partition("=")[0].lower() != key.lower())


def with_value(type_, key, value):
    """The example of a layer type, used by a cost, with another value of one of its keys."""
    definition, params = (without(text, key.name) for text in EXAMPLES[type_])
    if key.home == "def":
        definition += f"{key.name}={value}\n"
    else:
        params = (params or "[x]\n") + f"{key.name}={value}\n"
    if not type_.startswith("cost"):
        definition, params = definition + "[s]\ntype=cost.sum2\ninputs=x\n", params + "[s]\ncoeff=1\n"
    return LayerFiles(CHAIN + USED + definition, "d.cfg", PARAMS + USED_PARAMS + params, "p.cfg")


FAST = ("fc",)


@pytest.mark.parametrize("type_", [pytest.param(t, marks=[] if t in FAST else [pytest.mark.slow]) for t in EXAMPLES])
def test_numbers_cost_nothing(type_):
    """Whatever a number, reading ends and takes no memory; a net that is accepted can be described."""
    tracemalloc.start()
    tries = [(key, value) for key in LAYER_TYPES[type_].keys for value in [*NUMBERS, *WORDS.get(key.name, [])]]
    for key, value in tries:
        files = with_value(type_, key, value)
        if value in ("nan", NUMBERS[2]):
            with suppress(LayerFileError):
                assert infer_data(parse(files)).dims
        try:
            graph = build_graph(files, DIMS, CLASSES, LabelTree.flat(CLASSES))
        except LayerFileError as error:
            assert error.problems
        else:
            assert layer_table(graph) and stored_net(graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_billion_classes():
    text = CHAIN.replace("outputs=10\n", f"outputs={10**12}\n")
    assumed = infer_data(parse(LayerFiles(text, "d.cfg", PARAMS, "p.cfg")))
    assert assumed.classes == 10**12 and layer_table(assumed.graph)


def chain(layers, kind="type=neuron\nneuron=relu\n"):
    """A net of so many layers, one upon the other."""
    deep = "".join(f"[n{i}]\n{kind}inputs={'fc' if i == 0 else f'n{i - 1}'}\n" for i in range(layers))
    return CHAIN.replace("[probs]\ntype=softmax\ninputs=fc\n", f"{deep}[probs]\ntype=softmax\ninputs=n{layers - 1}\n")


def calls_to_build(folder, layers):
    """How many Python functions are called while a chain of so many layers is built and described."""
    (folder / "layers-deep.cfg").write_text(chain(layers))
    (folder / "layer-params-deep.cfg").write_text(PARAMS)
    files, calls = LayerFiles.open(folder / "layers-deep.cfg"), []
    sys.setprofile(lambda frame, event, argument: calls.append(1) if event == "call" else None)
    try:
        graph = build_graph(files, DIMS, CLASSES)
        assert len(graph.layers) == layers + 5 and layer_table(graph)
    finally:
        sys.setprofile(None)
    return len(calls)


def test_thousands_of_layers(tmp_path):
    """The work grows with the number of layers, not with its square."""
    assert calls_to_build(tmp_path, 1000) < 12 * calls_to_build(tmp_path, 100)


@pytest.mark.parametrize(
    "inputs, told",
    [
        ("x", "cannot be its own input"),
        ("y", "stands later in the file"),
        ("X", "input layer 'X' is not defined"),
        ("", "input layer '' is not defined"),
        ("fc,,fc", "input layer '' is not defined"),
        ("logprob", "is a cost, which has no output"),
    ],
)
def test_circles_and_names(inputs, told):
    text = CHAIN + f"[x]\ntype=eltsum\ninputs={inputs}\n[y]\ntype=eltsum\ninputs=x\n"
    with pytest.raises(LayerFileError, match=re.escape(told)):
        build_graph(LayerFiles(text, "d.cfg", PARAMS, "p.cfg"), DIMS, CLASSES)


@pytest.mark.parametrize("name", ["FC", "é 日本 😀", "a", "a.b", "a=b", "%(x)s", "__name__", "fc_neuron", "-1", "'\""])
def test_odd_names(name, capsys, tmp_path):
    """Names are text: such a layer is itself, whatever stands beside it, and every verb can show it."""
    text = CHAIN + f"[{name}]\ntype=neuron\nneuron=relu\ninputs=fc\n[s]\ntype=cost.sum2\ninputs={name.replace('%', '%%')}\n"
    (tmp_path / "d.cfg").write_text(text, encoding="utf-8")
    (tmp_path / "p.cfg").write_text(PARAMS + "[s]\ncoeff=1\n")
    files, picture = [str(tmp_path / "d.cfg"), str(tmp_path / "p.cfg")], tmp_path / "x.svg"
    for options in (["explain"], ["explain", "--json"], ["convert", "--to", "toml"], ["draw", "--out", str(picture)]):
        assert main([options[0], *files, *options[1:]]) == 0
    assert name in unescape(picture.read_text(encoding="utf-8"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize("native", [False, True])
def test_a_file_in_the_place_of_another(native, tmp_path):
    definition, params = SHIPPED / "layers-cifar10-26pct.cfg", SHIPPED / "layer-params-cifar10-26pct.cfg"
    if native:
        written = write_files(parse(LayerFiles.open(definition, params)), "toml")
        definition, params = tmp_path / "d.toml", tmp_path / "p.toml"
        definition.write_text(written.definition)
        params.write_text(written.params)
    for first, second, told in (
        (definition, definition, "the definition stands where the parameters belong"),
        (params, definition, "and the other way round"),
        (params, params, "the definition is missing"),
    ):
        with pytest.raises(LayerFileError) as caught:
            infer_data(parse(LayerFiles.open(first, second)))
        assert len(caught.value.problems) == 1 and told in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\x00" * 99, b"\xff\xfe[\x00d\x00", b"\x7fELF\x02\x01\x00=["])
def test_files_that_define_nothing(content, tmp_path, capsys):
    for name in ("layers.cfg", "layers.toml"):
        (tmp_path / name).write_bytes(content)
        for verb in (["explain"], ["draw", "--out", str(tmp_path / "x.svg")]):
            assert main([verb[0], str(tmp_path / name), *verb[1:]]) == 1
    err = capsys.readouterr().err
    assert "error:" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "content, told",
    [
        (pickle.dumps({"model_state": {}}, 2), "a checkpoint or a batch, not a layer file"),
        (pickle.dumps({"data": []}), "a checkpoint or a batch, not a layer file"),
        (b"PK\x03\x04" + bytes(40), "convnet run' and 'convnet shownet' read it with --load-file"),
        (b"\x89PNG\r\n\x1a\n", "a picture, not a layer file"),
        ("[data]\ntype=data\n".encode("utf-16"), "a text in UTF-16, not a layer file"),
        (b"\x7fELF\x02\x01\x00=[", "not a text, so not a layer file"),
    ],
)
def test_files_that_are_something_else(content, told, tmp_path, capsys):
    """In one error, not one for each of their lines."""
    path = tmp_path / "layers-x.cfg"
    path.write_bytes(content)
    verbs = [["run", "--layer-def", path], ["bench", "--layer-def", path], ["explain", "layers-digits.cfg", path]]
    for words in verbs:
        assert main([*map(str, words)]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"{path}: error: ") and told in err and err.count("error") == 1 and err.isascii()


def test_a_net_of_no_layers_has_a_table():
    """The originals took an empty file for a net, as whoever gives the sizes of the data does here."""
    assert "0 layers on 0 logical devices" in layer_table(
        build_graph(LayerFiles("# nothing\n", "d.cfg", None, ""), DIMS, CLASSES)
    )


def test_a_folder_and_nothing(tmp_path, capsys):
    assert main(["run", "--layer-def", str(tmp_path)]) == 1
    assert "a folder, not a layer file" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "none.cfg")]) == 1
    assert "no such layer file" in capsys.readouterr().err


@pytest.mark.parametrize("text, ending", [("[" * 300_000, ".cfg"), ("a" + ".a" * 100_000 + " = 1", ".toml")])
def test_lines_that_took_quadratic_time(text, ending):
    with pytest.raises(LayerFileError):
        infer_data(parse(LayerFiles(text, "net" + ending, None, "params" + ending)))


@pytest.mark.parametrize(
    "text",
    [
        "[data]\ntype=data\ndataIdx=0\n" + "".join(f"key{i}=1\n" for i in range(40_000)),
        "".join(f"[layer{i}]\ntype=sofmax{'x' * (i % 9)}\n" for i in range(1000)),
        "[data]\ntype=" + "a" * 10**6 + "\n",
        "[data]\ntype=data\ndataIdx=" + "(" * 10**6 + "\n",
        "[data]\n" + "a" * 10**6 + "=1\ntype=data\ndataIdx=x\n",
    ],
    ids=["keys", "layers", "a type", "a value", "a key"],
)
def test_messages_stay_short(text, tmp_path, capsys):
    """However much is wrong, and however long it is, what is said of it can be read, and the rest is counted."""
    (tmp_path / "layers-x.cfg").write_text(text)
    assert main(["explain", str(tmp_path / "layers-x.cfg")]) == 1
    said = capsys.readouterr().err
    assert len(said) < 200_000 and max(map(len, said.splitlines())) < 3000
    assert said.count("layers-x.cfg") <= 210 and ("more like these" in said) == (text.count("\n") > 100)


def test_a_mark_of_the_encoding_in_toml(tmp_path):
    (tmp_path / "net.toml").write_text('\ufeff[layer.data]\ntype = "data"\ndataIdx = 0\n', "utf-8")
    assert parse(LayerFiles.open(tmp_path / "net.toml")).graph.declared[0].name == "data"
