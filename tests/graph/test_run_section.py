"""``[run]``: how long a run is and on what, said in the parameter file; who reads it, who does not, and what holds."""

import pytest
from support import SMALL_NET, SMALL_PARAMS, write_cifar, write_net

from convnet.cli import main as convnet
from convnet.cli.run import given_options
from convnet.cli.run import parser as run_parser
from convnet.errors import LayerFileError
from convnet.graph.diff import difference, report
from convnet.graph.loading import LayerFiles, build_graph, parse
from convnet.graph.writer import write_files
from convnet.language.files import shipped_folder
from convnet.training.session import RunInputs, Session

DIMS = {0: 3072, 1: 1}


def files(run, net=SMALL_NET):
    return LayerFiles(net, "net.cfg", f"{run}{SMALL_PARAMS}", "params.cfg")


def graph_of(run, net=SMALL_NET):
    return build_graph(files(run, net), DIMS, 10)


def test_values_are_read_by_the_kinds_of_the_options():
    run = graph_of("[run]\nEpochs=60 ; of the paper\ntest_freq: 5\ncolor-noise=.1\nmini = 16\n").run
    assert run == {"epochs": 60, "test_freq": 5, "color_noise": 0.1, "mini": 16}
    assert graph_of("").run == {} and graph_of("[run]\n").run == {}


def test_defaults_do_not_flow_into_it():
    params = SMALL_PARAMS.replace("[DEFAULT]", "[DEFAULT]\nepochs=7\nmini=4") + "[run]\ntest-freq=3\n"
    builder = parse(LayerFiles(SMALL_NET, "net.cfg", params, "params.cfg"))
    assert builder.graph.run == {"test_freq": 3}


def test_a_layer_called_run_keeps_its_section():
    net = SMALL_NET.replace("[fc]", "[run]").replace("=fc\n", "=run\n").replace("type=run", "type=fc")
    graph = graph_of("[run]\nepsW=0.5\nmomW=0.1\n", net)
    assert graph.run == {} and graph.layers["run"].epsW[0].base == 0.5


@pytest.mark.parametrize(
    "run, place, words",
    [
        ("[run]\nepoch=60\n", (2, 1), "no option 'epoch'"),
        ("[run]\nepochs=sixty\n", (2, 8), "epochs: 'sixty' is not a whole number from 1"),
        ("[run]\nepochs=\n", (2, 8), "'' is not a whole number from 1"),
        ("[run]\nmini=0\n", (2, 6), "'0' is not"),
        ("[run]\nload-file=x\n", (2, 1), "'load-file' is for the command line or --config"),
        ("[run]\nallow-init-code=1\n", (2, 1), "'allow-init-code' is for the command line"),
        ("[run]\ntest-freq=5\ntest_freq=6\n", (3, 1), "gives --test-freq a second time"),
        ("[run]\nepochs=x\n[run]\nmini=4\n", (2, 8), "epochs: 'x' is not"),
        ("[run]\nmini=8\n  epochs=4\n", (3, 3), "this line is indented"),
        ("[run]\ncrop-border=4\ninner-size=24\n", (1, 1), "two ways"),
    ],
)
def test_mistakes_have_places(run, place, words):
    with pytest.raises(LayerFileError) as caught:
        graph_of(run)
    (problem,) = (p for p in caught.value.problems if p.severity == "error")
    assert (problem.place.file, problem.place.line, problem.place.column) == ("params.cfg", *place)
    assert words in problem.message


def test_mistakes_come_with_all_others():
    with pytest.raises(LayerFileError) as caught:
        graph_of("[run]\nepoch=60\ntest-frq=x\n", SMALL_NET.replace("filters=8", "filters=x"))
    assert [(p.place.file, p.place.line, p.nearest) for p in caught.value.problems if p.place.file == "params.cfg"] == [
        ("params.cfg", 2, "epochs"),
        ("params.cfg", 3, "test-freq"),
    ]
    assert any(p.place.file == "net.cfg" for p in caught.value.problems)


def test_a_name_like_it_is_taken_for_it():
    (problem,) = graph_of("[runs]\nepochs=60\n").warnings
    assert problem.nearest == "run" and "parameters for 'runs', which is not a layer" in problem.message


def test_in_the_definition_it_is_a_mistake():
    for net, path in ((SMALL_NET, "net.cfg"), (write_files(parse(files("")), "toml").definition, "net.toml")):
        with pytest.raises(LayerFileError) as caught:
            build_graph(LayerFiles(f"[run]\nepochs=5\n{net}", path, SMALL_PARAMS, "params.cfg"), DIMS, 10)
        (problem,) = caught.value.problems
        assert problem.place.line == 1 and "no part of the definition" in problem.message


@pytest.mark.parametrize("target", ["toml", "2011", "2012", "2014"])
@pytest.mark.parametrize("single", [False, True])
def test_other_dialects_keep_it(target, single):
    written = write_files(parse(files("# long\n[run]\nepochs=60\nkeep-best=a%b\n")), target, single and target == "toml")
    suffix = "toml" if target == "toml" else "cfg"
    assert (written.definition if written.params is None else written.params).startswith("# long\n[run]\nepochs")
    again = LayerFiles(written.definition, f"a.{suffix}", written.params, f"b.{suffix}")
    assert build_graph(again, DIMS, 10).run == {"epochs": 60, "keep_best": "a%b"}


def test_a_table_of_toml_and_its_mistakes():
    toml = write_files(parse(files("")), "toml", single=True).definition
    with pytest.raises(LayerFileError) as caught:
        build_graph(LayerFiles(f'[run]\nepochs = true\nkeep-best = "a\\n"\nx = {{}}\n{toml}', "n.toml"), DIMS, 10)
    found = {(p.place.line, p.place.column, p.message) for p in caught.value.problems}
    assert found == {
        (2, 10, "[run]: epochs: True is not a whole number from 1"),
        (3, 13, "[run]: keep-best: 'a\\n' is not a name of one line"),
        (4, 1, "'x' of [run] must be a value, not a table"),
    }


def test_where_a_layer_has_the_name_toml_is_lost_in_ini():
    toml = write_files(parse(files("")), "toml", single=True).definition.replace("layer.fc]", "layer.run]")
    builder = parse(LayerFiles(toml.replace('["fc"]', '["run"]') + "\n[run]\nepochs = 3\n", "n.toml"))
    assert builder.graph.run == {"epochs": 3} and "run" in builder.graph.layers
    written = write_files(builder, "2014")
    assert written.notes[-1] == "the options of [run]: a layer has that name" and "epochs" not in (written.params or "")


def test_differences():
    old, new = graph_of("[run]\nepochs=60\nmini=8\n"), graph_of("[run]\nepochs=90\nmini=8\ntest-freq=2\n")
    found = difference(old, new)
    assert not found.same and found.run == {"epochs": ("60", "90"), "test-freq": ("", "2")}
    assert "~ [run]\n    epochs: 60 -> 90\n    test-freq: none -> 2\n" in report(found, old, new)
    assert difference(old, old).same


@pytest.mark.parametrize("path", sorted(shipped_folder("layers-cfg").glob("layers-*.cfg")), ids=lambda path: path.stem)
def test_shipped_files_say_how_long(path, capsys):
    epochs = parse(LayerFiles.open(path)).graph.run["epochs"]
    assert convnet(["explain", str(path), "--wide"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f", for {epochs} epochs.")


def test_memory_is_told_for_the_minibatches_that_a_run_takes(tmp_path, capsys):
    net = str(write_net(tmp_path, params=f"[run]\nmini=16\n{SMALL_PARAMS}"))
    for words, cases in (([], 16), (["--mini", "8"], 8)):
        assert convnet(["explain", net, *words]) == 0
        assert f"to train on {cases} cases" in " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run-section")
    write_cifar(folder / "data", cases=20)
    write_net(folder, params=f"[run]\nepochs=3\nmini=8\ninner-size=24\n{SMALL_PARAMS}")
    return folder


def options_of(place, *words):
    return RunInputs(given_options(run_parser("convnet run").read([*map(str, words)]))).options


def test_what_holds(place, tmp_path):
    """Command line, --config, [run] of files named now, the checkpoint's, defaults: the first that says something."""
    base = ["--layer-def", place / "layers-small.cfg", "--data-path", place / "data", "--save-file", tmp_path / "save"]
    config = tmp_path / "run.toml"
    config.write_text("epochs = 4\ncrop-border = 2\n")
    both = options_of(place, *base, "--config", config, "--mini", "5")
    assert (both.epochs, both.mini, both.crop_border, both.inner_size, both.test_freq) == (4, 5, 2, 0, None)
    plain = options_of(place, *base)
    assert (plain.epochs, plain.mini, plain.inner_size, plain.given & {"epochs", "mini"}) == (3, 8, 24, set())
    words = [*map(str, base), "--mini", "4", "--epochs", "2", "--max-batches", "1", "--inner-size", "0"]
    assert convnet(["run", *words]) == 0
    params = place / "layer-params-small.cfg"
    resumed = ["--load-file", tmp_path / "save"]
    assert (options_of(place, *resumed).epochs, options_of(place, *resumed).mini) == (2, 4)
    named = options_of(place, *resumed, "--layer-params", params)
    assert (named.epochs, named.mini) == (3, 8)
    text = params.read_text()
    params.write_text(text.replace("epochs=3", "epochs=6"))  # what has changed holds, the rest does not
    changed = options_of(place, *resumed)
    params.write_text(text)
    assert (changed.epochs, changed.mini, changed.inner_size) == (6, 4, 0)


@pytest.mark.parametrize("words, batches", [([], 12), (["--epochs", "2"], 0), (["--max-batches", "0"], 0)])
def test_the_demonstration_stops_early_whatever_the_files_say(tmp_path, words, batches):
    given = ["--layer-def", "layers-cifar10-26pct.cfg", "--save-path", str(tmp_path), *words]
    session = Session(RunInputs(given_options(run_parser("convnet run").read(given))))
    with session.folder:
        assert session.plan.max_batches == batches
