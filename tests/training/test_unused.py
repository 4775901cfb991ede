"""Options that have no effect are said or refused, and ranges that name a batch twice."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support import dump, write_cifar, write_net

from convnet.backends.reference import Reference
from convnet.cli import main as cli
from convnet.cli.run import main
from convnet.data.making.make import pack_folder
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import OptionError
from convnet.options import BY_NAME, CHECK, FEATURES, MODES, OPTIONS, TEST, TRAIN, Options
from convnet.pickles import load
from convnet.training.unused import unused, unused_by_backend, unused_by_data

VALUES = {int: 7, float: 0.5, str: "x", list: ["x"]}
MODE_OPTIONS = {
    TRAIN: {},
    TEST: {"test_only": 1},
    FEATURES: {"test_only": 1, "write_features": "x", "feature_path": "y"},
    CHECK: {"check_grads": 1},
}


def some_value(option):
    if option.name.endswith("_range"):
        return [1, 2]
    if option.name == "compat":
        return "2014"
    return VALUES[type(option.default)] if option.default is not None else 7


def idle(given):
    return "\n".join(line for line in unused(Options.of(given), False) if line.startswith("No effect"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_in_every_mode(option, mode):
    """An option has an effect in a mode, or it is named; what equals its default is not."""
    if option.name in {name for given in MODE_OPTIONS.values() for name in given}:
        return
    given = MODE_OPTIONS[mode] | {option.name: some_value(option)}
    text = idle(given)
    assert (option.flag in text) == (mode not in option.modes) or option.flag in SAID.get(mode, ())
    assert option.flag not in idle(MODE_OPTIONS[mode] | {option.name: option.default})


# For another reason than the mode alone.
SAID = {
    TRAIN: {"--logreg-name", "--conserve-mem"},
    TEST: {"--logreg-name", "--conserve-mem", "--save-path", "--keep"},
    FEATURES: {"--conserve-mem"},
    CHECK: {"--conserve-mem", "--backend", "--threads", "--init-funcs"},
}


@pytest.mark.parametrize(
    "given, checkpoint, line",
    [
        ({"epochs": 3, "keep": 4, "test_only": 1}, True, "No effect with --test-only: --epochs."),
        ({"test_one": 0, "test_only": 1, "compat": "2014"}, True, "No effect with --test-only: --test-one."),
        ({"keep": 4, "test_only": 1}, True, "No effect with --test-only without --force-save: --keep."),
        ({"save_file": "a", "save_path": "b"}, False, "No effect beside --save-file: --save-path."),
        ({"logreg_name": "a"}, False, "No effect without --test-out, --report or --average: --logreg-name."),
        ({"conserve_mem": 0}, False, "No effect here: memory is always conserved: --conserve-mem."),
        ({"layer_path": "a"}, True, "No effect on the files of a checkpoint: --layer-path."),
        (
            {"seed": 4},
            True,
            "Weights are those of the checkpoint: --seed 4 holds for crops, noise and dropout from here on.",
        ),
        ({"backend": "cpu", "check_grads": 1}, False, "float64 without --compat: --backend."),
        ({"force_save": 1}, False, "No effect in training: --force-save."),
    ],
)
def test_reasons(given, checkpoint, line):
    remarks = unused(Options.of(given), checkpoint)
    assert sum(remark.endswith(line) for remark in remarks) == 1, remarks


def test_what_has_an_effect_is_not_said():
    given = {"save_file": "a", "keep": 3, "test_out": "p", "logreg_name": "l", "layer_path": "d", "layer_params": "f"}
    assert unused(Options.of(given), True) == []
    assert unused(Options.of({"test_only": 1, "force_save": 1, "keep": 3}), True) == []
    assert unused(Options.of({"check_grads": 1, "compat": "2012", "backend": "cpu"}), False) == []


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Data folders by kind: matrices of pixels, of values, and JPEG pictures."""
    folder = tmp_path_factory.mktemp("data")
    write_cifar(folder / "pixels", batches=4, cases=9)
    (folder / "values").mkdir()
    for number in (1, 2):
        dump(folder / f"values/data_batch_{number}", {"data": np.random.RandomState(0).randn(12, 6), "labels": [0, 1] * 3})
    dump(folder / "values/batches.meta", {"label_names": ["a", "b"], "num_vis": 12})
    for name in ("a", "b"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(15):
            Image.fromarray(np.random.RandomState(i).randint(0, 256, (8, 8, 3)).astype(np.uint8)).save(
                folder / "photos" / name / f"{i}.png"
            )
    pack_folder(folder / "photos", folder / "pictures", 8, 7, 0.4, 0, say=lambda _: None)
    return folder


@pytest.mark.parametrize(
    "kind, noisy, idle",
    [
        ("pixels", False, set()),
        ("values", False, {"scalar_mean", "crop_border", "inner_size"}),
        ("pictures", True, set()),
        ("dummy-cn-12", False, {"scalar_mean", "crop_border", "inner_size", "data_path"}),
    ],
)
def test_options_of_data(folders, kind, noisy, idle):
    name, path = (kind, "") if "dummy" in kind else ("", str(folders / kind))
    provider = open_provider(name, Request(path))
    for option in ("scalar_mean", "crop_border", "inner_size", "data_path"):
        remarks = unused_by_data(Options.of({option: 4}), provider, provider)
        assert bool(remarks) == (option in idle), (option, remarks)
    noise = Options.of({"color_noise": 0.1})
    if noisy:
        assert unused_by_data(noise, provider, provider) == []
        return
    with pytest.raises(OptionError, match="--color-noise needs pictures in JPEG batches"):
        unused_by_data(noise, provider, provider)
    # Where it comes from a checkpoint, or is off, nobody asked for it now.
    assert unused_by_data(Options.of({}, {"color_noise": 0.1}), provider, provider) == []
    assert unused_by_data(Options.of({"color_noise": 0.0}), provider, provider) == []


def test_options_of_backends(folders):
    provider = open_provider("", Request(str(folders / "pixels")))
    options = Options.of({"gpu": [0], "math": "tf32", "threads": 2})
    assert unused_by_backend(options, Reference(), provider) == [
        "No effect on the reference backend: --gpu, --math, --threads."
    ]
    pictures = open_provider("", Request(str(folders / "pictures")))
    assert unused_by_backend(options, Reference(), pictures) == ["No effect on the reference backend: --gpu, --math."]


def start(folders, tmp_path, *more, data="pixels"):
    options = ["--layer-def", write_net(tmp_path), "--data-path", folders / data, "--save-path", tmp_path / "saved"]
    return main([*map(str, [*options, "--max-batches", 1, *more])])


def test_one_batch_of_test_only():
    assert unused(Options.of({"test_one": 0, "test_only": 1, "compat": "2011"}), True) == []


def test_predictions_that_no_test_writes(folders, tmp_path, capsys):
    preds = tmp_path / "preds"
    for more in ((), ("--compat", "2014", "--test-freq", 1)):  # a last test, and one that is due
        assert start(folders, tmp_path, "--test-out", preds, *more) == 0
        (path,) = preds.iterdir()
        assert f"Wrote {path.name} to {preds}\n" in "".join(capsys.readouterr())
        path.unlink()
    assert start(folders, tmp_path, "--test-out", preds, "--compat", "2014") == 0
    assert f"Nothing was written to {preds}: no test was due (--test-freq 57).\n" in capsys.readouterr().err


def test_weights_that_nobody_trained(folders, tmp_path, capsys):
    options = ["--layer-def", write_net(tmp_path), "--data-path", folders / "pixels", "--save-path", tmp_path, "--test-only"]
    text = "The weights are the initial ones, not trained: no checkpoint is named (--load-file).\n"
    assert main([*map(str, options)]) == 0
    assert text in capsys.readouterr().out
    assert main([*map(str, options[:-1]), "--max-batches", "1"]) == 0
    assert main(["--load-file", str(tmp_path), "--test-only"]) == 0
    assert text not in capsys.readouterr().out


def test_colour_noise_on_matrices_is_refused(folders, tmp_path, capsys):
    assert start(folders, tmp_path, "--color-noise", 0.1) == 2
    assert "is read by 'cifar', which adds no noise" in capsys.readouterr().err
    assert not (tmp_path / "saved").exists()


def test_tests_on_what_a_checkpoint_was_trained_on(folders, tmp_path, capsys, monkeypatch):
    assert start(folders, tmp_path, "--train-range", "1-3") == 0
    for words, shared in (([], ""), (["--test-range", "2-4"], "2-3"), (["--test-range", "1"], "1")):
        for more in ([], ["--data-path", "pixels"]):
            monkeypatch.chdir(folders)
            capsys.readouterr()
            assert main(["--load-file", str(tmp_path / "saved"), "--test-only", *words, *more]) == 0
            text = f"Tests on {shared} say nothing of new cases: the net was trained there, too.\n"
            assert (text in capsys.readouterr().out) == bool(shared)


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.default in ("", [], "checkpoints")])
def test_empty_texts_are_no_names(option, tmp_path, capsys):
    """Such as --load-file "$RUN" without such a variable, with which a run would begin anew."""
    if option.name == "compat":
        return
    assert main(["--layer-def", str(write_net(tmp_path)), option.flag, ""]) == 2
    assert f"{option.flag}: '' is not a " in capsys.readouterr().err
    (tmp_path / "run.toml").write_text(f'{option.flag[2:]} = ""\n')
    if option.name != "config":
        assert main(["--layer-def", str(write_net(tmp_path)), "--config", str(tmp_path / "run.toml")]) == 2
        assert f"{option.flag[2:]}: '' is not a " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["makebatches", "", "--out", "x"], ["makebatches", "digits", "--out", ""], ["shownet", "--load-file", ""]]
)
def test_empty_texts_of_other_verbs(words, capsys):
    """--out "" would be the current folder, and so would --load-file ""."""
    assert cli(words) == 2
    assert "'' is not a name" in capsys.readouterr().err


def test_data_of_another_size_are_blamed(folders, tmp_path, capsys):
    """Not the checkpoint, whose weights are as they were."""
    assert start(folders, tmp_path) == 0
    assert main(["--load-file", str(tmp_path / "saved"), "--test-only", "--inner-size", "20"]) == 1
    assert "gives 1,200 values per case, and the net was trained on 3072; scale and crop" in capsys.readouterr().err


def test_remarks_of_a_run(folders, tmp_path, capsys):
    assert start(folders, tmp_path, "--backend", "cpu", "--math", "tf32", "--force-save") == 0
    out = capsys.readouterr().out
    assert "No effect in training: --force-save.\n" in out and "No effect on the cpu backend: --math.\n" in out


@pytest.mark.parametrize("words", [["--color-noise", "nan"], ["--color-noise", "-1"], ["--scalar-mean", "inf"]])
def test_options_that_are_no_numbers(folders, tmp_path, capsys, words):
    assert start(folders, tmp_path, *words) == 2
    assert f"'{words[1]}' is not a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--train-range", "1,1"], "--train-range names 1 more than once"),
        (["--train-range", "1-3,2", "--epochs", "2"], "--train-range names 2 more than once"),
        (["--test-range", "3,4,3"], "--test-range names 3 more than once"),
        (["--inner-size", "20", "--crop-border", "2"], "--crop-border and --inner-size are two ways"),
    ],
)
def test_refused(folders, tmp_path, capsys, words, message):
    assert start(folders, tmp_path, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, train, test, shared",
    [
        ([], "1-3", "4-4", ""),
        (["--test-range", "2-4"], "1-1", "2-4", ""),
        (["--test-range", "1"], "2-4", "1-1", ""),
        (["--train-range", "4"], "4-4", "3-3", ""),
        (["--train-range", "1-2"], "1-2", "4-4", ""),
        (["--train-range", "1-4"], "1-4", "4-4", "4"),
        (["--train-range", "1-3", "--test-range", "2-4"], "1-3", "2-4", "2-3"),
    ],
)
def test_ranges_exclude_each_other(folders, tmp_path, capsys, words, train, test, shared):
    assert start(folders, tmp_path, *words) == 0
    out = capsys.readouterr().out
    assert re.search(f"range: training +: {train} ", out) and re.search(f"range: testing +: {test} ", out)
    assert ("say nothing of new cases" in out) == bool(shared)
    assert not shared or f"Tests on {shared} say nothing of new cases: the run trains there, too.\n" in out


@pytest.mark.parametrize(
    "words, train, told",
    [([], "1-2", ""), (["--train-range", "2-4"], "2-4", "3-4"), (["--train-range", "1-3", "--test-range", "3"], "1-3", "")],
)
def test_training_on_what_is_set_aside_is_said(folders, tmp_path, capsys, words, train, told):
    shutil.copytree(folders / "pixels", tmp_path / "pixels")
    dump(tmp_path / "pixels/batches.meta", load(folders / "pixels/batches.meta") | {"test_batches": [3, 4]})
    assert start(tmp_path, tmp_path, *words) == 0
    out = capsys.readouterr().out
    assert re.search(f"range: training +: {train} ", out)
    line = f"Trains on {told}, which batches.meta sets aside for testing (test_batches).\n"
    assert (line in out) == bool(told) and ("sets aside" in out) == bool(told)


def test_batches_that_were_made_for_testing(folders):
    """Thirty pictures in batches of seven, twelve of them for testing: 1 to 3 and 4 to 5."""
    provider = open_provider("", Request(str(folders / "pictures")))
    assert provider.ranges(None, None) == ([1, 2, 3], [4, 5])
    assert provider.ranges(None, [5]) == ([1, 2, 3], [5])
    assert provider.ranges([1, 2], None) == ([1, 2], [4, 5])
    assert provider.ranges([3, 4], None) == ([3, 4], [5])


def test_another_crop_replaces_that_of_the_checkpoint():
    assert (Options.of({"crop_border": 2}, {"inner_size": 24}).inner_size, BY_NAME["inner_size"].default) == (0, 0)
    assert Options.of({"inner_size": 20}, {"crop_border": 4}).crop_border == 0
    assert Options.of({}, {"crop_border": 4}).crop_border == 4
