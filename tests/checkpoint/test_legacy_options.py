"""What a resumed run takes over of the options in a checkpoint of the originals, and what it tells (io 1.4)."""

import pytest
from support import SHARED, needs_museum

from convnet import checkpoint
from convnet.checkpoint.legacy_options import LegacyOptions
from convnet.pickles import LegacyObject


def of(generation, given=(), **values):
    """Options of a run of a generation's ``convnet.py``; those ``given`` to a fork."""
    op = LegacyObject()
    op.options = {}
    for name, value in values.items():
        op.options[name] = option = LegacyObject()
        option.value, option.value_given = value, name in given
    return LegacyOptions(op, generation)


@pytest.mark.parametrize(
    "generation, values, taken",
    [
        ("2011", {"minibatch_size": 64, "num_epochs": 9, "testing_freq": 5}, {"mini": 64, "epochs": 9, "test_freq": 5}),
        ("2011", {"dp_type": "cifar-cropped", "crop_border": 4}, {"data_provider": "cifar-cropped", "crop_border": 4}),
        ("2011", {"dp_type": "cifar", "crop_border": 4}, {"data_provider": "cifar"}),
        ("2012", {"wupdate_freq": 4, "color_noise": 0.1, "pca_noise": 0.5}, {"wupdate_freq": 4, "color_noise": 0.1}),
        ("2012", {"scalar_mean": False, "test_one": 0}, {"test_one": 0}),
        ("2012", {"scalar_mean": 0.0}, {}),
        ("2014", {"scalar_mean": 100.0, "dp_type": "image"}, {"scalar_mean": 100.0, "data_provider": "image"}),
        ("2014", {"scalar_mean": -1, "inner_size": 24, "dp_type": "cifar"}, {"scalar_mean": -1.0, "inner_size": 24}),
        ("2014", {"train_batch_range": [1, 2], "test_batch_range": [6]}, {"train_range": [1, 2], "test_range": [6]}),
        ("2014", {"force_save": 1, "gpu": [0], "logreg_name": "logprob", "save_path": "x", "data_path": ""}, {}),
    ],
)
def test_taken_over(generation, values, taken):
    found = of(generation, **values)
    assert {name: found.taken[name] for name in taken} == taken and found.left == []
    assert found.taken.keys() - taken.keys() <= {"data_provider"}


@pytest.mark.parametrize(
    "generation, values, told",
    [
        (
            "2012",
            {"scalar_mean": 1.0},
            "asked for 2012's --scalar-mean, the mean of the mean picture in place of that picture",
        ),
        ("2014", {"scalar_mean": 100.0, "dp_type": "cifar"}, "subtracted 100 beside the mean picture"),
        ("2014", {"scalar_mean": -2.0}, "--scalar-mean of the run that saved it is not taken over: '-2.0' is not a number"),
        ("2014", {"color_noise": 1e9}, "--color-noise of the run that saved it is not taken over: "),
        (
            "2012",
            {"multiview_test": 1, "test_only": 1},
            "had --multiview-test, --test-only: not taken over, give it",
        ),
        ("2011", {"fix_nan": 1}, "Options of the run that saved it which are not known here: fix_nan 1."),
    ],
)
def test_told(generation, values, told):
    found = of(generation, given=values, **values)
    [line] = found.left
    assert told in line and found.taken.keys() <= {"data_provider"}


@pytest.mark.parametrize("op", [None, {}, LegacyObject(), 3])
def test_none_at_all(op):
    assert LegacyOptions(op, "2014").taken == {} and LegacyOptions(op, "2014").left == []


@pytest.mark.parametrize("value", [None, [], [[1]], {"a": 1}, LegacyObject(), [None]])
def test_wrong_values_are_left(value):
    assert of("2014", minibatch_size=value, train_batch_range=value, fork=value).taken == {}


@needs_museum
@pytest.mark.parametrize("generation", ["2011", "2012", "2014"])
def test_the_genuine_ones_tell_nothing(generation):
    value = checkpoint.load(SHARED / "fixtures" / f"ckpt-{generation}.pickle")
    assert value.options_left == [] and value.options["epochs"] and value.options["train_range"]
