"""num_classes: a size that is the number of classes of the data; and mismatches, which name the lines to change."""

import numpy as np
import pytest
from nets import DATA, cost_of
from support import default_params, dump, problems_of, write_cifar

from convnet.checkpoint import find_latest, load
from convnet.checkpoint.layer_dicts import stored_net
from convnet.cli import main
from convnet.errors import LayerFileError
from convnet.generation import GENERATIONS
from convnet.graph.diff import difference
from convnet.graph.infer import expected_classes, infer_data
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.writer import write_files

ANY = "num_classes"


def fc(name, outputs, inputs="data", more=""):
    return f"[{name}]\ntype=fc\ninputs={inputs}\noutputs={outputs}\ninitW=0.001\n{more}"


def conv(filters):
    return f"[fc]\ntype=conv\ninputs=data\nchannels=3\nfilters={filters}\nfilterSize=8\nstride=8\ninitW=0.1\n"


PARTS = {
    "fc": (fc("fc", ANY), fc("fc", 12)),
    "conv": (conv(ANY), conv(12)),
    "eltsum": tuple(fc("a", n) + fc("b", n) + "[fc]\ntype=eltsum\ninputs=a,b\n" for n in (ANY, 12)),
    "neuron": (fc("fc", ANY, more="neuron=relu\n"), fc("fc", 12, more="neuron=relu\n")),
}


def begin(layers, **options):
    text = DATA + layers + cost_of("fc")
    return parse(LayerFiles(text, "net.cfg", default_params(text), "params.cfg"), **options)


@pytest.mark.parametrize("dialect", ["auto", *GENERATIONS])
@pytest.mark.parametrize("kind", PARTS)
def test_the_number_comes_from_the_data(kind, dialect):
    free, fixed = (begin(layers, dialect=dialect).shape({0: 192, 1: 1}, 12) for layers in PARTS[kind])
    assert free.layers["fc"].outputs == fixed.layers["fc"].outputs == 12
    assert stored_net(free) == stored_net(fixed) and type(stored_net(free)["layers"][2]["outputs"]) is int
    assert begin(PARTS[kind][0]).shape({0: 192, 1: 1}, 4).parameters() < free.parameters()


@pytest.mark.parametrize("kind", PARTS)
def test_without_data_a_few_are_assumed_and_said(kind):
    inferred = infer_data(begin(PARTS[kind][0]), [192, 1])
    assert inferred.classes == inferred.graph.layers["probs"].outputs == 10 == expected_classes(begin(PARTS[kind][0]))
    assert "Assumed 10 classes, as --num-classes 10 would say." in inferred.notes
    assert infer_data(begin(PARTS[kind][0]), [192, 1], 6).graph.layers["probs"].outputs == 6


def test_another_cost_says_how_many():
    second = "[other]\ntype=softmax\ninputs=b\n[second]\ntype=cost.logreg\ninputs=labels,other\n"
    inferred = infer_data(begin(fc("b", 7) + second + fc("fc", ANY)))
    assert inferred.classes == 7 == inferred.graph.layers["fc"].outputs


def test_nothing_says_how_many():
    (problem,) = problems_of(DATA + fc("fc", ANY) + cost_of("fc")).errors
    assert "outputs=num_classes, but nothing says how many classes there are" in problem.message and problem.place.line == 11


@pytest.mark.parametrize("word", ["num_class", "numclasses", "12x", "-num_classes", "Num_classes"])
def test_other_words(word):
    (problem,) = problems_of(DATA + fc("fc", word) + cost_of("fc"), classes=3).errors
    assert problem.place.line == 11 and problem.expected.startswith("a whole number, or num_classes")
    assert problem.nearest == ("" if word == "12x" else ANY)


def test_files_keep_the_word_where_they_can():
    toml = write_files(begin(PARTS["fc"][0]), "toml", single=True)
    assert 'outputs = "num_classes"' in toml.definition and not toml.notes
    again = parse(LayerFiles(toml.definition, "net.toml")).shape({0: 192, 1: 1}, 5)
    assert again.layers["fc"].outputs == 5
    for target in GENERATIONS:
        written = write_files(begin(PARTS["fc"][0]), target)
        assert "outputs=num_classes" in written.definition
        assert f"layer 'fc': {target} has no num_classes" in "".join(written.notes)
        assert "outputs=8\n" in write_files(begin(PARTS["fc"][0]), target, classes=8).definition


def test_it_is_another_meaning_than_the_number():
    free, fixed = (begin(layers).shape({0: 192, 1: 1}, 12) for layers in PARTS["fc"])
    assert difference(fixed, free).changed["fc"] == {"outputs": ("12", ANY)}
    assert difference(free, free).same


@pytest.mark.parametrize("classes", [3, 12, 50])
@pytest.mark.parametrize(
    ("layers", "lines"),
    [
        (fc("fc", 40), [11]),
        (conv(40), [12]),
        (fc("fc", 40, more="neuron=relu\n"), [11]),
        (fc("a", 40) + "[fc]\ntype=dropout\ninputs=a\n", [11]),
        (fc("a", 40) + fc("b", 40) + "[fc]\ntype=eltsum\ninputs=a,b\n", [11, 16]),
        (fc("a", 40) + fc("b", 40) + "[fc]\ntype=eltmax\ninputs=b,a\n", [11, 16]),
    ],
)
def test_a_mismatch_names_every_line_to_change(layers, lines, classes):
    key = "filters" if "filters" in layers else "outputs"
    with pytest.raises(LayerFileError) as caught:
        begin(layers).shape({0: 192, 1: 1}, classes, where="batches/")
    problems = sorted(caught.value.problems, key=lambda problem: problem.place.line)
    assert [problem.place.line for problem in problems] == lines
    for problem in problems:
        assert (
            f"these 40 outputs are what cost 'logprob' compares with labels, but batches/ has {classes}" in problem.message
        )
        assert problem.expected == f"{key}={classes} or {key}=num_classes" and problem.place.column == len(key) + 2


def test_a_mismatch_of_parts_names_the_largest():
    layers = fc("a", 2) + fc("b", 40) + "[fc]\ntype=concat\ninputs=a,b\n"
    (problem,) = problems_of(DATA + layers + cost_of("fc"), classes=12).errors
    assert (problem.place.line, problem.expected) == (16, "outputs=10") and "make 42 predictions" in problem.message
    (problem,) = problems_of(DATA + layers + cost_of("fc"), classes=2).errors
    assert (problem.place.line, problem.expected) == (16, "")


CMPOOL = conv(5).replace("[fc]", "[a]") + "[fc]\ntype=cmpool\ninputs=a\npool=max\nchannels=5\nsize=1\nstride=1\noutputs=5\n"
SUM = fc("a", 10) + "[fc]\ntype=sum\ninputs=a\nstride=2\n"


@pytest.mark.parametrize(
    ("layers", "line", "size"), [(CMPOOL, 23, "these 5 outputs are what"), (SUM, 11, "5 outputs made of these 10")]
)
def test_a_mismatch_of_layers_that_change_the_number(layers, line, size):
    (problem,) = problems_of(DATA + layers + cost_of("fc"), classes=1).errors
    assert problem.place.line == line and size in problem.message and problem.message[-25:] == "but the data have 1 class"
    assert problem.expected == ("outputs=1 or outputs=num_classes" if layers is CMPOOL else "")


def run(*words):
    return main(
        ["run", "--threads", "1", "--backend", "reference", "--max-batches", "1", "--test-freq", "9", *map(str, words)]
    )


def test_a_run_and_what_goes_on_from_it(tmp_path, capsys):
    """Data of other classes are refused, as is a net of another number, at its line."""
    ten, five = write_cifar(tmp_path / "ten", side=8, cases=20), write_cifar(tmp_path / "five", side=8, cases=20, classes=5)
    for name, count in (("any", ANY), ("ten", 10)):
        (tmp_path / f"layers-{name}.cfg").write_text(DATA + fc("fc", count) + cost_of("fc"))
        (tmp_path / f"layer-params-{name}.cfg").write_text(default_params(DATA + fc("fc", count) + cost_of("fc")))
    free, fixed = tmp_path / "layers-any.cfg", tmp_path / "layers-ten.cfg"
    for data, count in ((ten, 10), (five, 5)):
        assert run("--layer-def", free, "--data-path", data, "--save-file", tmp_path / f"run{count}") == 0
        _, saved, _ = find_latest(tmp_path / f"run{count}", load)
        assert saved.layers["fc"]["outputs"] == count == saved.classes and "outputs=num_classes" in saved.files().definition
    capsys.readouterr()
    for words, line in ((["--to", "2012"], "outputs=5"), (["--to", "toml"], 'outputs = "num_classes"')):
        assert main(["convert", str(tmp_path / "run5"), "--layers", *words]) == 0
        assert f"{line}\n" in (out := capsys.readouterr()).out and "num_classes" not in out.err
    assert run("--layer-def", fixed, "--data-path", five, "--save-path", tmp_path) == 1
    assert f"{fixed}:11:9: error: layer 'fc': these 10 outputs" in (err := capsys.readouterr().err)
    assert f"but {five} has 5 classes" in err and "expected outputs=5 or outputs=num_classes" in err
    assert run("--load-file", tmp_path / "run10", "--data-path", ten, "--max-batches", 2) == 0
    assert run("--load-file", tmp_path / "run5", "--data-path", ten) == 1
    assert "has classes that the net was not trained on" in capsys.readouterr().err


def test_num_classes_on_the_command_line(tmp_path, capsys):
    net = tmp_path / "layers-a.cfg"
    net.write_text(DATA + fc("fc", 40) + cost_of("fc"))
    assert main(["explain", str(net), "--num-classes", "7", "--data-dims", "192,1"]) == 1
    assert f"{net}:11:9: error" in (err := capsys.readouterr().err) and "outputs=7 or outputs=num_classes" in err


def test_classes_without_names_are_counted(tmp_path, capsys):
    """Where nothing but the count can tell, a net that was trained on another is not fed with these data."""
    for classes in (4, 6):
        labels = [i % classes for i in range(24)]
        for number in (1, 2):
            (tmp_path / str(classes)).mkdir(exist_ok=True)
            dump(tmp_path / str(classes) / f"data_batch_{number}", {"data": np.ones((192, 24), np.uint8), "labels": labels})
        dump(tmp_path / str(classes) / "batches.meta", {"num_vis": 192})
    (tmp_path / "layers-any.cfg").write_text(DATA + fc("fc", ANY) + cost_of("fc"))
    (tmp_path / "layer-params-any.cfg").write_text(default_params(DATA + fc("fc", ANY) + cost_of("fc")))
    net = ("--layer-def", tmp_path / "layers-any.cfg")
    assert run(*net, "--data-path", tmp_path / "4", "--save-file", tmp_path / "run") == 0
    assert run("--load-file", tmp_path / "run", "--data-path", tmp_path / "6") == 1
    assert "has 6 classes, the net was trained on 4; begin anew with --layer-def" in capsys.readouterr().err
