"""Another folder than a net was trained on: its mean is not subtracted, its labels are taken by the names of the classes."""

import io
import logging

import numpy as np
import pytest
from PIL import Image
from support import dump, write_cifar, write_net

import convnet
from convnet import checkpoint, pickles
from convnet.cli import main as cli
from convnet.cli.run import main
from convnet.data.adopt import adopt
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError

NAMES = [f"class {c}" for c in range(10)]


def changed(source, target, order=None, names=None, mean=None, drop=()):
    """A copy of a folder of matrices with classes in another ``order``, other names, another mean, without some keys."""
    target.mkdir()
    meta = pickles.load(source / "batches.meta")
    order = list(range(10)) if order is None else order
    meta["label_names"] = names or [NAMES[c] for c in order]
    if mean is not None:
        meta["data_mean"] = np.full((3072, 1), mean, np.float32)
    for key in drop:
        del meta[key]
    dump(target / "batches.meta", meta)
    for path in source.glob("data_batch_*"):
        part = pickles.load(path)
        keep = [i for i, label in enumerate(part["labels"]) if label in order]
        labels = [order.index(part["labels"][i]) for i in keep]
        dump(target / path.name, {"data": np.ascontiguousarray(part["data"][:, keep]), "labels": labels})
    return target


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A net that has learned its classes, from pixels."""
    folder = tmp_path_factory.mktemp("adopt")
    data = write_cifar(folder / "data")
    options = ["--layer-def", write_net(folder), "--data-path", data, "--save-file", folder / "run", "--mini", 20]
    assert main([*map(str, options), "--epochs", "4"]) == 0
    return folder


def lines_of_test(place, capsys, *more):
    """The lines of a test, less its time, and what else was said."""
    capsys.readouterr()
    assert main(["--load-file", str(place / "run"), "--test-only", *map(str, more)]) == 0
    out = capsys.readouterr().out
    return [line.rpartition("(")[0] for line in out.splitlines() if line.startswith("batch ")], out


def test_another_mean(place, tmp_path, capsys):
    """31 % of errors became 89 %."""
    expected, _ = lines_of_test(place, capsys)
    other = changed(place / "data", tmp_path / "other", mean=20)
    found, out = lines_of_test(place, capsys, "--data-path", other)
    assert found == expected
    assert out.count(f"The mean of {other} is not the one that the net was trained with, which is subtracted.\n") == 1
    found, out = lines_of_test(place, capsys, "--data-path", changed(place / "data", tmp_path / "none", drop=["data_mean"]))
    assert found == expected
    # A number that is given now is what was asked for.
    found, out = lines_of_test(place, capsys, "--data-path", other, "--scalar-mean", 20)
    assert found != expected and "The mean of" not in out


def test_another_order_of_classes(place, tmp_path, capsys):
    expected, out = lines_of_test(place, capsys)
    assert "labels are taken" not in out
    order = [7, 2, 9, 0, 4, 1, 3, 8, 5, 6]
    other = changed(place / "data", tmp_path / "other", order=order)
    found, out = lines_of_test(place, capsys, "--data-path", other)
    assert found == expected
    assert f"{other} has all classes of the net in another order: labels are taken by their names.\n" in out
    assert (
        main(["--load-file", str(place / "run"), "--data-path", str(other), "--save-path", str(tmp_path), "--epochs", "5"])
        == 0
    )
    assert main(["--load-file", str(place / "run"), "--save-path", str(tmp_path / "same"), "--epochs", "5"]) == 0
    one, two = (checkpoint.find_latest(folder, checkpoint.load)[1] for folder in (tmp_path, tmp_path / "same"))
    for name in ("conv1", "fc"):
        np.testing.assert_array_equal(one.layers[name]["weights"][0], two.layers[name]["weights"][0])
    assert one.own["data"]["label_names"] == two.own["data"]["label_names"] == NAMES


def test_fewer_classes(place, tmp_path, capsys):
    other = changed(place / "data", tmp_path / "other", order=[8, 3])
    found, out = lines_of_test(place, capsys, "--data-path", other)
    assert f"{other} has 2 of 10 classes: labels are taken by their names." in out
    net = convnet.load(place / "run")
    part = pickles.load(other / "data_batch_3")
    scores = net.predict(part["data"])
    truth = np.array([8, 3])[part["labels"]]
    errors = (scores.argmax(axis=1) != truth).mean()
    assert f", {len(truth)})" in found[0] and net.test(other)["logprob"][1] == pytest.approx(errors)


@pytest.mark.parametrize(
    "names, message",
    [
        (["zebra", *NAMES[1:]], "has classes that the net was not trained on: zebra; it knows class 0, class 1,"),
        ([f"n{i}" for i in range(10)], "was not trained on: n0, n1, n2, n3, n4 and 5 more; it knows"),
        ([NAMES[1], NAMES[1], *NAMES[2:]], "names that are not unique"),
        ([str(i) for i in range(12)], "has 12 classes, the net was trained on 10"),
    ],
)
def test_other_classes(place, tmp_path, capsys, names, message):
    other = changed(place / "data", tmp_path / "other", names=names)
    for mode in (["--test-only"], ["--epochs", "9"]):
        assert main(["--load-file", str(place / "run"), "--data-path", str(other), *mode]) == 1
        assert message in capsys.readouterr().err
    for act in (convnet.load(place / "run").test, convnet.load(place / "run").train):
        with pytest.raises(DataError, match="net"):
            act(other)
    assert cli(["shownet", "--load-file", str(place / "run"), "--show-maps", "conv1", "--data-path", str(other)]) == 1


@pytest.mark.parametrize("names", [None, [str(i) for i in range(10)]])
def test_classes_without_names_are_taken_by_number(place, tmp_path, capsys, names):
    expected, _ = lines_of_test(place, capsys)
    other = changed(place / "data", tmp_path / "other", names=names, drop=[] if names else ["label_names"])
    found, out = lines_of_test(place, capsys, "--data-path", other)
    assert found == expected and "labels are taken" not in out


def test_programs(place, tmp_path, caplog):
    """``test`` and ``train`` of a net do as the command line does; the line is a warning."""
    expected = convnet.load(place / "run").test(place / "data")
    other = changed(place / "data", tmp_path / "other", order=[*range(5, 10), *range(5)], mean=7)
    with caplog.at_level(logging.WARNING, "convnet"):
        assert convnet.load(place / "run").test(other) == expected
    assert caplog.records[0].getMessage().startswith(f"The mean of {other} is not")
    one, two = convnet.load(place / "run"), convnet.load(place / "run")
    assert one.train(other) == two.train(place / "data")
    np.testing.assert_array_equal(one.weights["fc"][0], two.weights["fc"][0])


def test_pictures_of_shownet_say_it(place, tmp_path, capsys):
    other = changed(place / "data", tmp_path / "other", mean=20)
    call = ["shownet", "--load-file", str(place / "run"), "--show-maps", "conv1", "--data-path", str(other)]
    assert cli([*call, "--out", str(tmp_path / "maps.png")]) == 0
    assert f"The mean of {other} is not the one" in capsys.readouterr().err


def test_written_features_have_the_names_of_their_labels(place, tmp_path):
    other = changed(place / "data", tmp_path / "other", order=[*range(5, 10), *range(5)])
    for folder, name in ((place / "data", "one"), (other, "two")):
        call = ["--load-file", place / "run", "--test-only", "--data-path", folder, "--write-features", "fc"]
        assert main([*map(str, call), "--feature-path", str(tmp_path / name)]) == 0
    parts = [pickles.load(tmp_path / name / "data_batch_3") for name in ("one", "two")]
    for key in ("data", "labels"):
        np.testing.assert_array_equal(parts[0][key], parts[1][key])
    assert pickles.load(tmp_path / "two" / "batches.meta")["label_names"] == NAMES


def test_values_that_are_no_pictures(tmp_path, capsys):
    """Their mean is kept in checkpoints, too."""
    net = "[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n[fc]\ntype=fc\ninputs=data\noutputs=2\n"
    net += "[probs]\ntype=softmax\ninputs=fc\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
    shift = np.random.RandomState(0).randn(7, 1) * 3
    for folder, mean in (("one", shift), ("two", shift + 5)):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            labels = [0, 1] * 6
            data = np.random.RandomState(number).randn(7, 12) + shift
            dump(tmp_path / folder / f"data_batch_{number}", {"data": data.astype(np.float32), "labels": labels})
        meta = {"label_names": ["a", "b"], "num_vis": 7, "data_mean": mean}
        dump(tmp_path / folder / "batches.meta", meta)
    options = ["--layer-def", write_net(tmp_path, net), "--data-path", tmp_path / "one", "--save-file", tmp_path / "run"]
    assert main([*map(str, options), "--epochs", "3"]) == 0
    expected, _ = lines_of_test(tmp_path, capsys)
    found, out = lines_of_test(tmp_path, capsys, "--data-path", tmp_path / "two")
    assert found == expected and "is not the one that the net was trained with" in out
    trained = convnet.load(tmp_path / "run")
    assert trained.test(tmp_path / "two") == trained.test(tmp_path / "one")
    trained.save(tmp_path / "again" / "1.1")
    assert convnet.load(tmp_path / "again").test(tmp_path / "two") == trained.test(tmp_path / "one")


def test_a_mean_that_is_computed_is_that_of_the_training_batches_in_tests_too(tmp_path, capsys):
    """CIFAR's own edition has none; another range on going on does not move it."""
    data = write_cifar(tmp_path / "data", batches=5, rows=True)
    options = ["--layer-def", write_net(tmp_path), "--data-path", data, "--save-file", tmp_path / "run"]
    assert main([*map(str, options), "--train-range", "2", "--epochs", "1"]) == 0
    stored = checkpoint.find_latest(tmp_path / "run", checkpoint.load)[1].own["data"]["mean"]
    pixels = pickles.load(data / "data_batch_2")["data"]
    np.testing.assert_allclose(stored.reshape(-1), pixels.mean(axis=0), rtol=1e-5)
    expected, _ = lines_of_test(tmp_path, capsys, "--train-range", "1-4")
    assert expected == lines_of_test(tmp_path, capsys)[0]


def pictures(folder, order, labels, offset=0):
    """JPEG batches of nine pictures, whose classes have names in ``order``; some have several labels."""
    folder.mkdir()
    data = []
    for i in range(9):
        file = io.BytesIO()
        Image.fromarray(np.random.RandomState(i).randint(0, 256, (8, 8, 3)).astype(np.uint8)).save(file, "JPEG")
        data.append(file.getvalue())
    dump(folder / "data_batch_1", {"data": data, "labels": labels})
    meta = {"label_names": order, "num_vis": 192, "data_mean": np.zeros((192, 1), np.float32), "label_offset": offset}
    dump(folder / "batches.meta", meta)
    return open_provider("", Request(str(folder)))


def test_pictures_with_several_labels(tmp_path):
    """Of the same pictures, whatever the order of the classes and the number of the first."""
    labels = [[0], [1], [2], [0, 2], [1], [0], [2], [1, 2], [0]]
    one = pictures(tmp_path / "one", ["a", "b", "c"], labels)
    turned = [[(label + 1) % 3 for label in item] for item in labels]
    two = pictures(tmp_path / "two", ["c", "a", "b"], turned)
    three = pictures(tmp_path / "three", ["c", "a", "b"], [[label - 1 for label in item] for item in turned], offset=1)
    for provider in (two, three):
        assert adopt(provider, one.description()) == [
            f"{provider.where} has all classes of the net in another order: labels are taken by their names."
        ]
        for expected, found in zip(one.batch(1, 1).labels, provider.batch(1, 1).labels, strict=True):
            np.testing.assert_array_equal(expected, found)
        assert provider.label_names == ["a", "b", "c"]
    few = pictures(tmp_path / "few", ["c", "a", "b"], turned)
    adopt(few, {"label_names": ["b", "c", "a", "d"]})
    assert few.dims == {0: 192, 1: 1, 2: 4} and few.batch(1, 1).labels[1].argmax(axis=0).tolist()[:3] == [2, 0, 1]


def test_a_mean_of_zeros_is_said(tmp_path):
    assert pictures(tmp_path / "one", ["a", "b", "c"], [[0]] * 9).problems == []
    meta = pickles.load(tmp_path / "one" / "batches.meta")
    dump(tmp_path / "one" / "batches.meta", meta | {"img_size": 8})
    provider = open_provider("", Request(str(tmp_path / "one")))
    assert provider.problems == [f"data_mean of {tmp_path / 'one'} is 0 everywhere: nothing is subtracted."]


def test_every_label_of_a_picture_is_checked(tmp_path):
    provider = pictures(tmp_path / "one", ["a", "b"], [[0]] * 8 + [[1, 99]])
    with pytest.raises(DataError, match="case 8 has label 99; labels must be 0 to 1"):
        provider.batch(1, 1)
