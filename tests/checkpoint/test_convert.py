"""Checkpoints in the format of another generation: nothing lost that it holds, and programs of that year open them."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from nets import DATA, cost_of
from original_programs import checkpoint_of, needs_originals, run_original
from support import SHARED
from trees import same_tree

import convnet
from convnet import pickles
from convnet.checkpoint import Checkpoint, convert, load, npz, write_as, write_checkpoint
from convnet.checkpoint.definition import written_files
from convnet.checkpoint.recorded import outputs_for
from convnet.cli import main
from convnet.errors import CheckpointError, ConvnetError
from convnet.generation import G2011, G2012, G2014, GENERATIONS
from convnet.graph.writer import write_graph
from convnet.pickles import LegacyObject

FIXTURES = [SHARED / "fixtures" / f"ckpt-{year}.pickle" for year in GENERATIONS]
ENGINES = sorted((SHARED / "engines").glob("20*/*/before-*.pickle.gz"))
needs_fixtures = pytest.mark.skipif(
    not FIXTURES[0].is_file(), reason="the originals' checkpoints beside the project are missing"
)
TEXT = f"""{DATA}[conv]
type=conv
inputs=data
channels=3
filters=16
filterSize=3
initW=0.1
neuron=relu
[hs]
type=hs
inputs=conv
keep=0.5
[fcA]
type=fc
inputs=hs
outputs=10
[fcB]
type=fc
inputs=hs
outputs=10
weightSource=fcA
[fc]
type=eltsum
inputs=fcA,fcB
{cost_of("fc")}"""
PARAMS = "[DEFAULT]\nepsW=0.01\nepsB=0.02\nmomW=0.9\nmomB=0.9\nwc=0.1\ncoeff=1\nenable=1\n" + "".join(
    f"[{name}]\n" for name in ("conv", "hs", "fcA", "fcB", "logprob")
)


def written(path: Path, checkpoint: Checkpoint, form: str) -> Path:
    converted = convert(checkpoint, form)
    with path.open("wb") as file:
        write_as(form, converted.value, file, False, converted.as_read)
    return path


def tree_of(path: Path) -> dict:
    return npz.read(path).value if npz.is_npz(path) else pickles.load(path)


def saved(tmp_path: Path, text: str = TEXT, params: str = PARAMS) -> Path:
    net = convnet.build(text, params, side=8, classes=10, backend="reference")
    net.position.train_outputs += [({"logprob": [6.0, 4.0, 4.0]}, 8)]
    return net.save(tmp_path / "1.1")


def numbers_of(checkpoint: Checkpoint) -> dict[tuple[str, str, int], bytes]:
    return {
        (name, key, i): array.tobytes()
        for name, layer in checkpoint.layers.items()
        for key in ("weights", "weightsInc", "biases", "biasesInc")
        for i, array in enumerate(layer[key] if isinstance(layer.get(key), list) else [layer[key]] if key in layer else [])
    }


@needs_fixtures
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_its_own_generation_and_npz_keep_everything(path, tmp_path):
    value = pickles.load(path)
    value["model_state"] |= {"of a fork": [1, (2,)], "layers": value["model_state"]["layers"]}
    layers = value["model_state"]["layers"]
    first = layers[0] if isinstance(layers, list) else layers["data"]
    first |= {"type": "data", "unknown": {"a": np.arange(3)}, "again": first}
    vars(value["op"])["options"]["fork"] = vars(value["op"])["options"]["test_one"]
    source = tmp_path / "source"
    with source.open("wb") as file:
        pickles.dump(value, file, as_read=True)
    year = path.stem[-4:]
    for form in (year, "npz"):
        same_tree(value, tree_of(written(tmp_path / form, load(source), form)))
    same_tree(value, tree_of(written(tmp_path / "back", load(tmp_path / "npz"), year)))


@needs_fixtures
@pytest.mark.parametrize("form", [*GENERATIONS, "npz"])
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_every_pair_of_formats(path, form, tmp_path):
    before = load(path)
    after = load(written(tmp_path / "x", before, form))
    assert after.is_original and numbers_of(after) == numbers_of(before)
    assert form == "npz" or after.written_as == form
    for one, other in zip(before.position().train_outputs, after.position().train_outputs, strict=True):
        assert one[1] == other[1]
        assert other[0]["logprob"][:2] == pytest.approx(one[0]["logprob"][:2], rel=1e-12)
    kept = ("train_range", "test_range", "epochs", "mini", "data_path")
    assert [after.option(name) for name in kept] == [before.option(name) for name in kept]


@needs_fixtures
@pytest.mark.parametrize("year", GENERATIONS)
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_back_again_the_layers_are_what_they_were(path, year, tmp_path):
    there = load(written(tmp_path / "there", load(path), year))
    back = tree_of(written(tmp_path / "back", there, path.stem[-4:]))
    before = pickles.load(path)
    for tree in (before, back):
        for layer in Checkpoint(tree).layers.values():
            layer.pop("partialSum", None)  # which 2014 lacks, and which changes no result
            layer["gpu"] = repr(layer.get("gpu"))  # 2012 does not say which layers took that of another
    same_tree(before["model_state"]["layers"], back["model_state"]["layers"], order=False)


@pytest.mark.slow
@pytest.mark.skipif(not ENGINES, reason="the genuine runs beside the project are missing")
@pytest.mark.parametrize("before", ENGINES[::4], ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_run_that_went_on_here_is_stored_as_the_original_stored_it(before, tmp_path):
    year, folder, run = before.parts[-3], before.parent, tmp_path / "run"
    run.mkdir()
    (run / before.name[7:-10]).write_bytes(gzip.decompress(before.read_bytes()))
    (after,) = folder.glob("after-*.gz")
    options = ["--test-freq=1", f"--data-path={folder.parent / 'data'}", "--compat", year, "--epochs=2", "--backend=cpu"]
    assert main(["run", "-f", str(run), *options]) == 0
    mine = tree_of(written(tmp_path / "mine", load(run / after.name[6:-10]), year))
    theirs = pickles.loads(gzip.decompress(after.read_bytes()))
    del mine["model_state"]["convnet"]
    if year == "2014":  # as which the run saved it: files that 2014's programs look for, and that are not here, are made
        for name in ("layer_def", "layer_params"):
            made, missing = (vars(vars(tree["op"])["options"][name]) for tree in (mine, theirs))
            assert Path(made["value"]).is_file() and not Path(missing["value"]).exists()
            made["value"] = missing["value"]
    for tree in (mine, theirs):
        for name in ("data_path", "load_file"):
            del vars(tree["op"])["options"][name]
        blank(tree)
    same_tree(theirs, mine, order=False)


def blank(tree: dict) -> None:
    """Leave of what was learned, and recorded, only the shapes."""
    for layer in Checkpoint(tree).layers.values():
        for key in ("weights", "weightsInc", "biases", "biasesInc"):
            for array in layer[key] if isinstance(layer.get(key), list) else [layer[key]] if key in layer else []:
                array[:] = 0
    for name in ("train_outputs", "test_outputs"):
        for costs, _ in tree["model_state"][name]:
            costs.update({cost: [0.0] * len(values) for cost, values in costs.items()})


@pytest.mark.parametrize("form", [*GENERATIONS, "npz"])
def test_our_own(form, tmp_path):
    before = load(saved(tmp_path))
    path = written(tmp_path / "x", before, form)
    after = load(path)
    assert not after.is_original and numbers_of(after) == numbers_of(before)
    assert after.files() == before.files() and after.options == before.options
    recorded = [({"logprob": [6.0, 4.0, 4.0][: 2 if form == "2011" else 3]}, 8)]
    assert vars(after.position()) == vars(before.position()) | {"train_outputs": recorded}
    layers = after.layers
    assert layers["fcA"]["weights"][0] is layers["fcB"]["weights"][0]
    assert layers["hs"]["type"] == {"2011": "neuron", "2012": "hs"}.get(form, "dropout2")
    stored = after["model_state"]["train_outputs"][0][0]["logprob"]
    assert stored == {"2011": [0.75, 0.5], "2012": [0.75, 0.5, 0.5]}.get(form, [6.0, 4.0, 4.0])
    assert convnet.load(path).graph.layers["hs"].type == "hs"
    if form != "2011":
        through = load(written(tmp_path / "npz", after, "npz"))  # which keeps the words of another generation
        again = load(written(tmp_path / "y", through, "2014"))
        same_tree(tree_of(written(tmp_path / "z", before, "2014")), dict(again), order=False)


def test_keys_of_another_word_do_not_stay_behind(tmp_path):
    text = TEXT.replace("type=hs\ninputs=conv\nkeep=0.5", "type=pass\ninputs=conv")
    before = load(written(tmp_path / "x", load(saved(tmp_path, text, PARAMS.replace("enable=1\n", ""))), "2014"))
    through = load(written(tmp_path / "y", before, "2012"))
    assert through.layers["hs"]["type"] == "concat" and "copyOffsets" in through.layers["hs"]
    assert load(written(tmp_path / "z", through, "2014")).layers["hs"].keys() == before.layers["hs"].keys()


@pytest.mark.parametrize("form", GENERATIONS)
def test_ours_through_npz_has_the_same_bytes(form, tmp_path):
    path = written(tmp_path / "x", load(saved(tmp_path)), form)
    back = written(tmp_path / "y", load(written(tmp_path / "npz", load(path), "npz")), form)
    assert back.read_bytes() == path.read_bytes()


@needs_fixtures
@pytest.mark.parametrize(
    "key, change, said",
    [
        ("weights", lambda one: [*one[:-1], one[-1][:-1]], r"weights\[0\] has shape \(.*; the net needs shape"),
        ("weightsInc", lambda one: [], r"weightsInc\[0\] is missing"),
        ("biases", lambda one: one.T[1:], r"biases has shape"),
        ("filterConns", lambda one: [[0, 1]], r"filterConns\[0\] has 2 numbers"),
        ("filterConns", lambda one: [*one, [], []], ""),
    ],
    ids=["weights", "momenta", "biases", "connections", "more connections"],
)
def test_arrays_that_do_not_fit_are_named_and_not_written(key, change, said, tmp_path):
    found = load(FIXTURES[0])
    layer = next(layer for layer in found.layers.values() if layer["type"] == "conv")
    layer[key] = change(layer[key])
    if said:
        with pytest.raises(CheckpointError, match=f"{found.path}: layer '{layer['name']}': {said}"):
            convert(found, "2012")
    else:
        assert load(written(tmp_path / "x", found, "2012")).written_as == "2012"


def test_layers_that_hold_each_other_have_no_files(tmp_path):
    value = pickles.load(saved(tmp_path))
    state = value["model_state"]
    state["convnet"]["at"] = [0, 9]  # trained on since
    assert Checkpoint(value).has_files
    first, second = list(state["layers"].values())[:2]
    first["below"], second["above"] = second, first
    assert not Checkpoint(value).has_files
    bomb = []
    for _ in range(60):
        bomb = [bomb, bomb]
    del second["above"]
    first["below"] = bomb
    assert not Checkpoint(value).has_files


@pytest.mark.parametrize("form", [*GENERATIONS, "npz"])
@pytest.mark.parametrize("given", ["auto", "2012"])
def test_a_run_that_goes_on_saves_in_the_format_it_was_converted_to(given, form, tmp_path):
    value = pickles.load(written(tmp_path / "x", load(saved(tmp_path)), "2012"))
    value["model_state"]["convnet"]["options"]["checkpoint_format"] = given
    found = Checkpoint(value)
    again = load(written(tmp_path / "y", found, form))
    assert again.option("checkpoint_format") == ("auto" if given == "auto" else form)


def test_an_early_checkpoint_of_ours_becomes_one_that_the_originals_open(tmp_path):
    early = load(saved(tmp_path))
    own = {key: value for key, value in early.own.items() if key not in ("format", "at", "layers", "op", "options")}
    layers = {name: layer | {"inputLayers": list(layer.get("inputs", ()))} for name, layer in early.layers.items()}
    state = early["model_state"] | {"convnet": own | {"version": 2}, "layers": layers}
    write_checkpoint(tmp_path / "early", {"model_state": state, "op": early.options})
    found = load(written(tmp_path / "x", load(tmp_path / "early"), "2014"))
    assert isinstance(found["op"], LegacyObject) and found.options == early.options
    assert found.layers["fcA"]["inputLayers"][0] is found.layers["hs"]


def test_unknown_keys_and_options_go_along(tmp_path):
    value = pickles.load(saved(tmp_path))
    del value["model_state"]["convnet"]
    value["model_state"]["of a fork"] = {"a": [1]}
    value["model_state"]["layers"]["conv"]["spread"] = np.ones((2, 2), np.float32)
    options = vars(value["op"])["options"]
    options["init_only"] = type(options["mini" if "mini" in options else "minibatch_size"])()
    vars(options["init_only"]).update(vars(options["minibatch_size"]), name="init_only", value=3, value_given=True)
    write_checkpoint(tmp_path / "fork", value)
    found = load(written(tmp_path / "x", load(tmp_path / "fork"), "2011"))
    assert found["model_state"]["of a fork"] == {"a": [1]}
    assert np.array_equal(found.layers["conv"]["spread"], np.ones((2, 2)))
    option = vars(found["op"])["options"]["init_only"]
    assert option.value == 3 and option.legacy_class == "options.Option"
    assert option.parser.legacy_class == "options.IntegerOptionParser"


def test_what_no_format_but_npz_holds(tmp_path):
    text = TEXT.replace("neuron=relu", "neuron=log[1]").replace("keep=0.5", "keep=0.5\nneuron=nrelu")
    path = saved(tmp_path, text)
    with pytest.raises(
        CheckpointError, match=r"1\.1: a checkpoint of 2011 cannot hold this net: layer 'conv': 2011 has no neuron"
    ):
        convert(load(path), "2011")
    assert load(written(tmp_path / "x", load(path), "npz")).files() == load(path).files()


def test_what_is_lost_is_told(tmp_path):
    path = saved(tmp_path, params=PARAMS + "topk=3\n")
    notes = convert(load(path), "2011").notes
    assert notes == ["layer 'logprob': 2011 has no key 'topk', which was 3"]


@pytest.mark.parametrize(
    ("generation", "values", "expected"),
    [
        (G2011, [6.0, 4.0, 4.0], [0.75, 0.5]),
        (G2012, [6.0, 4.0], [0.75, 0.5, 0.5]),
        (G2014, [6.0, 4.0], [6.0, 4.0, 4.0]),
        (G2014, [6.0], [6.0, math.nan, math.nan]),
    ],
)
def test_recorded_costs(generation, values, expected, tmp_path):
    graph = convnet.load(saved(tmp_path)).graph
    ((costs, cases),) = outputs_for([({"logprob": values}, 8)], graph, generation)
    assert cases == 8 and costs["logprob"] == pytest.approx(expected, nan_ok=True)


@needs_originals
@pytest.mark.slow
@needs_fixtures
@pytest.mark.parametrize("year", GENERATIONS)
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_the_programs_of_that_year_open_it(path, year, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    checkpoint = load(path)
    epoch, batch = checkpoint.position().epoch, checkpoint.position().batch
    written(folder / f"{epoch}.{batch}", checkpoint, year)
    flag = "--load-file" if year == "2014" else "-f"
    words = [f"{flag}={folder}" if year == "2014" else f"-f{folder}", "--show-cost=logprob", "--show-filters=conv1"]
    done = run_original(year, "shownet.py", *words, folder=tmp_path)
    assert done.status == 0 and "Traceback" not in done.output, done.output
    assert (tmp_path / "figure-1.png").is_file(), done.output


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize("year", GENERATIONS)
def test_a_net_in_other_words_is_trained_on_by_that_year(year, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    before = load(saved(tmp_path))
    written(folder / "1.1", before, year)
    files = write_graph(convnet.load(before.path).graph, year)  # the originals read the parameters again
    (tmp_path / "definition").write_text(files.definition)
    (tmp_path / "parameters").write_text(files.params)
    data = ["--data-provider=matrices", "--data-path=192,1", "--train-range=1-2", "--test-range=3", "--test-freq=1"]
    flag = [f"--load-file={folder}"] if year == "2014" else [f"-f{folder}"]
    done = run_original(year, "convnet.py", *flag, *data, "--epochs=1", "--mini=4", folder=tmp_path)
    assert done.status == 0 and "Traceback" not in done.output, done.output
    theirs = load(checkpoint_of(tmp_path))
    assert theirs.is_original and theirs.has_files and theirs.position().epoch > before.position().epoch
    assert theirs.layers["fcA"]["weights"][0] is theirs.layers["fcB"]["weights"][0]
    back = load(written(tmp_path / "back", theirs, "npz"))
    assert convnet.load(back.path).graph.layers["hs"].type == "hs"
    again = load(written(tmp_path / "again", theirs, "2012"))
    assert again.carried["at"] == before.own["at"] and numbers_of(again) == numbers_of(theirs)


@needs_fixtures
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_net_that_was_loaded_and_saved_here_goes_back_whole(path, tmp_path):
    value = pickles.load(path)
    value["model_state"]["of a fork"] = 1
    Checkpoint(value).layers["conv1"]["spread"] = np.ones((2, 2), np.float32)
    vars(value["op"])["options"]["fork"] = vars(value["op"])["options"]["test_one"]
    with (tmp_path / "fork").open("wb") as file:
        pickles.dump(value, file, as_read=True)
    here = convnet.load(tmp_path / "fork", minibatch=load(path).option("mini"), backend="reference").save(tmp_path / "1.1")
    assert load(here).written_as == G2014 and load(here).own["format"] == "2014"
    back = tree_of(written(tmp_path / "back", load(here), path.stem[-4:]))
    del back["model_state"]["convnet"]
    for tree in (value, back):
        for name in ("train_outputs", "test_outputs"):  # in which the fixtures of 2012 and 2014 lack a number
            tree["model_state"][name] = [
                ({cost: [round(one, 9) for one in values[:2]] for cost, values in costs.items()}, cases)
                for costs, cases in tree["model_state"][name]
            ]
    same_tree(value, back, order=False)


@needs_fixtures
@pytest.mark.parametrize("kind", ["eltsum", "softmax", "data"])
def test_keys_of_another_type_are_not_in_the_way(kind):
    value = pickles.load(FIXTURES[2])
    value["model_state"]["layers"]["fcB"]["type"] = kind
    with pytest.raises(ConvnetError, match=r"fcB|fcA|sum"):
        convert(Checkpoint(value), "2012")


@needs_fixtures
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_an_empty_tuple_says_as_little_as_an_empty_list(path):
    layers = load(path).layers

    def written_with(key, value):
        changed = {name: layer | {key: value} if layer["type"] == "conv" else layer for name, layer in layers.items()}
        try:
            return written_files(changed).params
        except ConvnetError as error:
            return str(error).replace("()", "[]")

    keys = {key for layer in layers.values() if layer["type"] == "conv" for key in layer}
    for key in ("epsW", "momW", "wc", "initW"):
        assert key in keys and written_with(key, ()) == written_with(key, [])
