"""Several mistakes at once: a message each, in both files, sorted, with the nearest name; and how fast reading is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from corpus import layer_files

from convnet.errors import LayerFileError
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.writer import write_files
from convnet.language.diagnostics import Place, Problem
from convnet.language.files import shipped_folder

_FILES = LayerFiles.open("layers-cifar10-26pct.cfg")
_WRITTEN = write_files(parse(_FILES), "2011")  # without [DEFAULT]
DEFINITION, PARAMS = _WRITTEN.definition, _WRITTEN.params or ""
DIMS = {0: 3 * 32 * 32, 1: 1}

# mistake: (file, what stands there, what to write, the nearest name that the message must give)
MISTAKES = {
    "type": ("d", "type=softmax", "type=softmx", "softmax"),
    "key": ("d", "filterSize=", "filtrSize=", "filterSize"),
    "input": ("d", "inputs=fc10", "inputs=fc1O", "fc10"),
    "neuron": ("d", "neuron=relu", "neuron=reul", "relu"),
    "value": ("d", "stride=2", "stride=two", ""),
    "pool": ("d", "pool=max", "pool=mx", "max"),
    "number": ("p", "epsB=", "epsB=x", ""),
    "learning key": ("p", "momW=", "momeW=", "momW"),
}


def spoilt(names):
    """Both texts with the mistakes made, and the place that each must be reported at."""
    texts, places = {"d": DEFINITION, "p": PARAMS}, {}
    for name in names:
        file, old, new, _ = MISTAKES[name]
        assert old in texts[file], old
        at = texts[file].index(old)
        texts[file] = texts[file].replace(old, new, 1)
        places[name] = (f"{file}.cfg", texts[file].count("\n", 0, at) + 1)
    return texts, places


@pytest.mark.parametrize(
    "names",
    [
        ("type", "key", "input", "number", "learning key"),
        ("neuron", "value", "input", "number", "learning key"),
        ("type", "pool", "key", "neuron", "number"),
        ("key", "value", "neuron", "input", "learning key"),
    ],
    ids="+".join,
)
def test_five_mistakes_are_five_messages(names):
    texts, places = spoilt(names)
    with pytest.raises(LayerFileError) as caught:
        build_graph(LayerFiles(texts["d"], "d.cfg", texts["p"], "p.cfg"), DIMS, 10)
    found = [(problem.place.file, problem.place.line, problem.nearest) for problem in caught.value.problems]
    wanted = [(*places[name], MISTAKES[name][3]) for name in names]
    assert found == sorted(wanted)


@pytest.mark.parametrize("old, new, nearest", [("epsB=", "epsB=x", ""), ("momW=", "momeW=", "momW")])
def test_a_mistake_in_default_is_one_message(old, new, nearest):
    params = (_FILES.params or "").replace(old, new, 1)
    with pytest.raises(LayerFileError) as caught:
        build_graph(LayerFiles(_FILES.definition, "d.cfg", params, "p.cfg"), DIMS, 10)
    assert [(p.place.file, p.nearest) for p in caught.value.problems] == [("p.cfg", nearest)]


def test_strict_makes_errors_of_warnings():
    params = PARAMS + "\n[nothing]\nepsW=1\n"
    files = LayerFiles(DEFINITION, "d.cfg", params, "p.cfg")
    assert len(build_graph(files, DIMS, 10).warnings) == 1
    with pytest.raises(LayerFileError, match="parameters for 'nothing'"):
        build_graph(files, DIMS, 10, strict=True)


@pytest.mark.parametrize(
    "dims, classes, word", [({0: 3000, 1: 1}, 10, "square maps"), (DIMS, 7, "7 classes"), ({0: 3072}, 10, "matrix number 1")]
)
def test_data_that_do_not_fit(dims, classes, word):
    with pytest.raises(LayerFileError, match=word):
        build_graph(LayerFiles(DEFINITION, "d.cfg", PARAMS, "p.cfg"), dims, classes)


def test_color_only_when_asked():
    problem = Problem(Place("x", 1, 1, 1, "text"), "wrong")
    assert "\033" in problem.render(color=True) and "\033" not in str(problem)


_COUNTED = """
import sys
from convnet.graph.loading import LayerFiles, build_graph
files, calls = LayerFiles.open(*sys.argv[1:3]), []
sys.setprofile(lambda frame, event, argument: calls.append(1) if event == "call" else None)
graph = build_graph(files, {0: 3*224*224, 1: 1}, 10184 if "184" in sys.argv[1] else 1000)
sys.setprofile(None)
print(len(calls) / len(graph.layers))
assert "numpy" not in sys.modules
"""


def test_the_largest_definition_is_read_in_few_calls_without_numpy():
    """A few hundred calls for each layer, however many there are."""
    candidates = [path for path in layer_files() if path.name == "layers-184-4gpu.cfg"]
    definition = candidates[0] if candidates else shipped_folder("layers-cfg") / "layers-imagenet.cfg"
    params = definition.with_name("layer-params-184-4gpu.cfg" if candidates else "layer-params-imagenet.cfg")
    command = [sys.executable, "-c", _COUNTED, str(definition), str(params)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 800


def test_numbers_with_their_nouns():
    from convnet.texts import bytes_text, counted

    nouns = ("picture", "class", "batch", "minibatch", "epoch", "matrix", "box")
    assert [counted(1, noun) for noun in nouns] == [f"1 {noun}" for noun in nouns]
    several = ["2 pictures", "2 classes", "2 batches", "2 minibatches", "2 epochs", "2 matrices"]
    assert [counted(2, noun) for noun in nouns[:-1]] == several
    assert counted(0, "picture") == "0 pictures" and counted(2048, "case") == "2,048 cases"
    sizes = (1, 39_960, 4_800_000, 487_721_792, 1_234_000_000)
    assert [bytes_text(size) for size in sizes] == ["0.0 kB", "40.0 kB", "4.8 MB", "488 MB", "1.2 GB"]
