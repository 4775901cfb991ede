"""How batches lie on disks and what descriptions leave out: parts, sub-batches, means, names, one channel (io 5)."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image
from support import BACKENDS, SMALL_NET, SMALL_PARAMS, write_cifar, write_net

import convnet
from convnet.cli import main
from convnet.data import survey
from convnet.data.batches import find_batches
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.errors import DataError

DATA = np.random.RandomState(0).randint(0, 256, (48, 6)).astype(np.uint8)
LABELS = [0, 1, 2, 2, 1, 0]
META = {"label_names": ["a", "b", "c"], "num_vis": 48, "data_mean": np.full(48, 100.0)}


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


STRINGS = [jpeg(np.full((4, 4, 3), 40 * n)) for n in range(6)]


def write(folder, meta=META, **parts):
    """Write batches, as users do; parts in folders have a slash in their names."""
    for name, value in {"batches.meta": {k: v for k, v in meta.items() if v is not None}, **parts}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(value))
    return folder


def opened(folder, **request):
    return open_provider("", Request(str(folder), **request))


def contents(provider, number=1):
    """The pixels of a batch (features, cases) as the net gets them, and its labels."""
    batch, be = provider.batch(1, number), BACKENDS["reference32"]
    data, *rest = batch.minibatch(0, batch.cases)
    if not isinstance(data, np.ndarray):
        out = be.empty((provider.dims[0], batch.cases))
        data.fill(be, out)
        data = be.download(out)
    return data, rest[0][0].tolist()


def test_parts_with_any_names(tmp_path):
    """In natural order, one level deep; what is hidden or a note is named."""
    parts = {
        f"data_batch_1/part-{n}": {"data": STRINGS[i : i + 2], "labels": LABELS[i : i + 2]}
        for i, n in zip((0, 2, 4), (2, 9, 10), strict=True)
    }
    write(tmp_path, **parts)
    assert contents(opened(tmp_path))[1] == LABELS and opened(tmp_path).problems == []
    for name in (".DS_Store", "README.txt", "part-2~"):
        (tmp_path / "data_batch_1" / name).write_bytes(b"none")
    provider = opened(tmp_path)
    left_out = f"{tmp_path}/data_batch_1: left out, as no parts of the batch: .DS_Store, README.txt, part-2~."
    assert contents(provider)[1] == LABELS and provider.problems == [left_out]
    (tmp_path / "data_batch_1" / "other").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"data_batch_1/other: .*damaged or not a batch"):
        opened(tmp_path).batch(1, 1)
    (tmp_path / "data_batch_1" / "other").unlink()
    (tmp_path / "data_batch_1" / "more").mkdir()
    with pytest.raises(DataError, match="data_batch_1: more is a folder; the parts of a batch are files in data_batch_1"):
        opened(tmp_path)


def test_many_parts_are_in_natural_order(tmp_path):
    for n in range(12):
        write(tmp_path, **{f"data_batch_1.{n + 1}": {}, f"data_batch_2/{n + 1}": {}, f"data_batch_3/b{n + 1}.x": {}})
    found = find_batches(tmp_path)
    assert [path.name for path in found[1]] == [f"data_batch_1.{n + 1}" for n in range(12)]
    assert [path.name for path in found[2]] == [f"{n + 1}" for n in range(12)]
    assert [path.name for path in found[3]] == [f"b{n + 1}.x" for n in range(12)]


ROWS = np.ascontiguousarray(DATA.T)


@pytest.mark.parametrize("known", [{}, {"num_vis": None}, {"num_vis": None, "data_mean": None}], ids=["", "mean", "labels"])
@pytest.mark.parametrize(
    "one, two",
    [
        ({"data": ROWS[:4], "labels": LABELS}, {"data": ROWS[4:]}),
        ({"data": ROWS[:4], "labels": LABELS}, {"data": ROWS[4:], "labels": [2, 2]}),
        ({"data": ROWS[:4], "labels": LABELS[:4]}, {"data": ROWS[4:], "labels": LABELS[4:]}),
        ({"data": ROWS[:4], "labels": np.eye(3)[LABELS[:4]]}, {"data": ROWS[4:], "labels": np.eye(3)[LABELS[4:]]}),
        ({"data": ROWS[:4], "labels": np.array([LABELS])}, {"data": ROWS[4:]}),
    ],
    ids=["of the first", "again", "each", "one-hot", "a row"],
)
def test_sub_batches_in_rows(tmp_path, known, one, two):
    """2011 joined the data along their first axis and had all else from the first sub-batch (io 5.2)."""
    write(tmp_path, META | known, **{"data_batch_1.1": one, "data_batch_1.2": two})
    provider = opened(tmp_path, scalar_mean=0)
    pixels, labels = contents(provider)
    np.testing.assert_array_equal(pixels, DATA)
    assert labels == LABELS


def test_sub_batches_that_share_the_values_of_each_case(tmp_path):
    """What the first axis of matrices with a case in each column is."""
    write(tmp_path, **{"data_batch_1.1": {"data": DATA[:20], "labels": LABELS}, "data_batch_1.2": {"data": DATA[20:]}})
    pixels, labels = contents(opened(tmp_path, scalar_mean=0))
    np.testing.assert_array_equal(pixels, DATA)
    assert labels == LABELS


def test_sub_batches_in_columns_and_of_pictures(tmp_path):
    write(tmp_path, **{"data_batch_1.1": {"data": DATA[:, :4], "labels": LABELS}, "data_batch_1.2": {"data": DATA[:, 4:]}})
    assert contents(opened(tmp_path))[1] == LABELS
    write(tmp_path, **{"data_batch_1.1": {"data": STRINGS[:4], "labels": LABELS}, "data_batch_1.2": {"data": STRINGS[4:]}})
    assert contents(opened(tmp_path))[1] == LABELS
    write(tmp_path, **{"data_batch_1.1": {"data": DATA[:, :4], "labels": LABELS[:3]}})
    write(tmp_path, **{"data_batch_1.2": {"data": DATA[:, 4:]}})
    with pytest.raises(DataError, match=r"data_batch_1\.2: no labels in it"):
        contents(opened(tmp_path))


def test_a_batch_that_is_there_twice(tmp_path):
    """2011 looked for sub-batches first."""
    write(tmp_path, data_batch_1={"data": DATA, "labels": [2] * 6}, **{"data_batch_1.1": {"data": DATA, "labels": LABELS}})
    provider = opened(tmp_path)
    assert provider.problems == [f"{tmp_path}/data_batch_1 is not used: the batch lies in data_batch_1.1."]
    assert contents(provider)[1] == LABELS


@pytest.mark.parametrize(
    "numbers, more, train, test",
    [
        ([0, 1, 2, 1000, 1001], {}, [0, 1, 2], [1000, 1001]),
        ([7, 8, 2000], {}, [7, 8], [2000]),
        ([998, 999, 1000], {}, [998, 999], [1000]),
        ([1, 2, 999, 1001], {}, [1, 2, 999], [1001]),
        ([1000, 1001], {}, [1000], [1001]),
        ([0, 1, 1000], {"test_batches": [0]}, [1, 1000], [0]),
    ],
)
def test_batches_for_validation_of_2014(tmp_path, numbers, more, train, test):
    """Behind a gap, from a multiple of 1000 on (io 5.3)."""
    write(tmp_path, META | more, **{f"data_batch_{n}": {"data": STRINGS, "labels": LABELS} for n in numbers})
    assert opened(tmp_path).default_ranges() == (train, test)


def test_batches_that_are_missing_or_there_under_two_names(tmp_path):
    batch = {"data": DATA, "labels": LABELS}
    write(tmp_path, META | {"test_batches": [3, 4, 5]}, data_batch_1=batch, data_batch_2=batch, data_batch_3=batch)
    provider = opened(tmp_path)
    assert provider.problems == [f"{tmp_path} has no batches 4-5, which batches.meta sets aside for testing."]
    assert provider.default_ranges() == ([1, 2], [3])
    write(tmp_path, data_batch_01=batch)
    with pytest.raises(DataError, match="data_batch_01, data_batch_1 are one batch by their number; expected one"):
        opened(tmp_path)


MEAN = np.arange(48.0)


@pytest.mark.parametrize(
    "stored, expected",
    [
        (MEAN, MEAN),
        (MEAN[:, None], MEAN),
        (MEAN[None], MEAN),
        (MEAN.tolist(), MEAN),
        (MEAN.reshape(3, 4, 4), MEAN),
        (MEAN.reshape(3, 4, 4).transpose(1, 2, 0), MEAN),
        (MEAN.astype(int), MEAN),
        (90, np.full(48, 90)),
        (90.5, np.full(48, 90.5)),
        (np.float32(90), np.full(48, 90)),
        (np.array([90.0]), np.full(48, 90)),
        (np.array([1.0, 2, 3]), np.repeat([1, 2, 3], 16)),
    ],
    ids=lambda mean: f"{type(mean).__name__} {np.shape(mean)}",
)
@pytest.mark.parametrize("data", [DATA, STRINGS], ids=["matrix", "pictures"])
def test_means_in_all_forms(tmp_path, data, stored, expected):
    write(tmp_path, META | {"data_mean": stored}, data_batch_1={"data": data, "labels": LABELS})
    np.testing.assert_allclose(opened(tmp_path).cropper.mean.reshape(-1), expected)


def test_size_of_pictures_by_their_mean(tmp_path):
    write(tmp_path, META | {"num_vis": None}, data_batch_1={"data": STRINGS, "labels": LABELS})
    assert opened(tmp_path).dims[0] == 48
    for colors, expected in ((1, 224**2), (3, 3 * 224**2)):  # of 256 pixels, as the paper's
        write(tmp_path, META | {"num_vis": None, "data_mean": None, "num_colors": colors})
        assert opened(tmp_path).dims[0] == expected


def test_a_missing_mean_is_that_of_the_training_pictures(tmp_path, caplog):
    """Of those that can be decoded; said once, and not computed where another is subtracted."""
    parts = {
        "data_batch_1": {"data": [*STRINGS, b"broken"], "labels": [*LABELS, 0]},
        "data_batch_2": {"data": STRINGS[:1], "labels": [0]},
    }
    write(tmp_path, META | {"data_mean": None}, **parts)
    train, test = opened(tmp_path, training=True, batches=[1]), opened(tmp_path)
    assert train.problems == test.problems == caplog.messages == []
    np.testing.assert_allclose(contents(train)[0].mean(axis=1), 0, atol=1e-4)
    np.testing.assert_array_equal(train.cropper.mean, test.cropper.mean)
    assert set(train.cropper.mean.reshape(-1)) == {100}
    lines = [text for text in caplog.messages if "data_mean" in text]
    assert lines == [f"{tmp_path} has no data_mean: that of batches 1 is subtracted."] * 2
    assert not opened(tmp_path).has_mean and opened(tmp_path, scalar_mean=3).has_mean
    assert opened(tmp_path, training=True, batches=[2]).cropper.mean.max() == 0


def test_what_takes_long_is_kept(tmp_path, monkeypatch, caplog):
    """Until a file is another: mean and number of classes."""
    monkeypatch.setattr(survey, "LARGE", 1)
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path / "cache"))
    batch = {"data": STRINGS, "labels": LABELS}
    data = write(tmp_path / "data", META | {"data_mean": None, "label_names": None}, data_batch_1=batch, data_batch_2=batch)
    first = opened(data)
    assert (first.classes, first.cropper.mean.max()) == (3, 100)
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 2 and all(any(str(path) in text for text in caplog.messages) for path in kept)
    assert [text.partition(" (once, which reads ")[0] for text in caplog.messages] == [
        f"{data} has no label_names: classes are counted",
        f"{data} has no data_mean: that of batches 1 is subtracted",
    ]
    caplog.clear()
    again = opened(data)
    assert (again.classes, again.cropper.mean.max()) == (3, 100) and caplog.messages == again.problems == []
    assert opened(data, picture_size=2).cropper.mean.shape == (3, 2, 2) and len(caplog.messages) == 1
    kept[0].write_bytes(b"damaged")
    kept[1].write_bytes(kept[1].read_bytes()[:-9])
    assert (opened(data).classes, opened(data).cropper.mean.max()) == (3, 100)
    write(data, META | {"data_mean": None, "label_names": None}, data_batch_1={"data": STRINGS[:1], "labels": [5]})
    assert (opened(data).classes, opened(data).cropper.mean.max()) == (6, 0)


@pytest.mark.parametrize("data", [DATA, STRINGS], ids=["matrix", "pictures"])
def test_classes_without_names_are_counted(tmp_path, data):
    """Over all batches, and the net may know of more."""
    parts = {f"data_batch_{n}": {"data": data, "labels": [*LABELS[1:], n]} for n in (1, 7, 3)}
    write(tmp_path, META | {"label_names": None}, **parts)
    provider = opened(tmp_path)
    assert (provider.classes, provider.dims[2], provider.label_names) == (8, 8, [])
    assert provider.problems == [f"{tmp_path} has no label_names: labels are of 8 classes."]
    assert opened(tmp_path, classes=10).dims[2] == 10 and opened(tmp_path, classes=3).dims[2] == 8


def test_pictures_that_were_not_cropped(tmp_path):
    """They lie in the middle of a canvas of the mean, one number, which is subtracted as well (io 5.4)."""
    sizes = [(2, 4), (4, 3), (1, 1), (4, 4), (6, 5), (5, 2)]
    pictures = [np.arange(h * w * 3).reshape(h, w, 3) for h, w in sizes]
    meta = META | {"no_crop": True, "data_mean": MEAN + 100.7}
    write(tmp_path, meta, data_batch_1={"data": [jpeg(picture) for picture in pictures], "labels": LABELS})
    pixels, _ = contents(opened(tmp_path))
    mean = MEAN.mean() + 100.7
    for found, picture in zip(pixels.T.reshape(6, 3, 4, 4), pictures, strict=True):
        height, width = picture.shape[:2]
        canvas = np.full((12, 12, 3), int(mean))
        top, left = 4 + (4 - height) // 2, 4 + (4 - width) // 2
        canvas[top : top + height, left : left + width] = picture
        np.testing.assert_allclose(found, canvas[4:8, 4:8].transpose(2, 0, 1) - mean, atol=1e-4)
    assert opened(tmp_path, picture_size=2, scalar_mean=0).batch(1, 1).pixels.shape == (6, 2, 2, 3)
    random = opened(tmp_path, training=True, batches=[1], inner_size=2)
    assert random.batch(1, 1).pixels.shape == (6, 4, 4, 3)
    write(tmp_path, meta | {"data_mean": None})
    with pytest.raises(DataError, match="no_crop needs data_mean"):
        opened(tmp_path)


# -- one channel


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Grey pictures of rows, columns, dark and bright ones, without a mean."""
    folder, random = tmp_path_factory.mktemp("grey"), np.random.RandomState(0)
    rows = np.repeat([40, 40, 200, 200] * 4, 16).reshape(16, 16)
    patterns = [rows, rows.T, np.full((16, 16), 40), np.full((16, 16), 200)]
    for number in (1, 2, 3):
        labels = [int(label) for label in random.randint(0, 4, 40)]
        data = [jpeg(patterns[label] + random.randint(-20, 20, (16, 16))) for label in labels]
        write(
            folder / "data",
            {"num_vis": 256, "label_names": list("abcd")},
            **{f"data_batch_{number}": {"data": data, "labels": labels}},
        )
    for label, pattern in enumerate(patterns):
        picture = Image.fromarray(pattern.astype(np.uint8))
        (picture if label % 2 else picture.convert("RGB")).save(folder / f"{label}.png")
    return folder


def test_a_grey_net_from_data_to_predictions(grey, tmp_path, capsys):
    """Training on crops, ten views, predictions of grey files and coloured ones, sheets, features."""
    net = SMALL_NET.replace("channels=3", "channels=1", 1).replace("outputs=10", "outputs=4")
    layers = write_net(tmp_path, net, SMALL_PARAMS.replace("base=0.0004", "base=0.0001"))
    run, data = str(tmp_path / "run"), str(grey / "data")
    files = [str(grey / f"{label}.png") for label in range(4)]
    options = ["--layer-def", str(layers), "--data-path", data, "--save-file", run, "--inner-size", "14", "--mini", "20"]
    assert main(["run", *options, "--epochs", "10"]) == 0
    trained = convnet.load(run)
    assert trained.mean.shape == (1, 14, 14) and trained.test(data)["logprob"][1] == 0
    assert trained.predict(files).argmax(axis=1).tolist() == [0, 1, 2, 3]
    capsys.readouterr()
    for call in (
        ["run", "--load-file", run, "--test-only", "--multiview-test", "1"],
        ["predict", run, *files, "--views", "10", "--json"],
        ["shownet", "--load-file", run, "--show-preds", "probs", "--out", str(tmp_path / "preds.png")],
        ["shownet", "--load-file", run, "--show-maps", "conv1", "--out", str(tmp_path / "maps.png")],
        ["shownet", "--load-file", run, "--show-filters", "conv1", "--out", str(tmp_path / "filters.png")],
        ["run", "--load-file", run, "--test-only", "--write-features", "fc", "--feature-path", str(tmp_path / "features")],
    ):
        assert main(call) == 0, call
    assert main(["run", "--load-file", run, "--epochs", "11", "--color-noise", "0.1"]) == 1
    assert (
        f"--color-noise needs pictures in colour, and those of {data} are grey; --color-noise 0 goes"
        in capsys.readouterr().err
    )


def test_grey_pictures_and_coloured_ones(grey, tmp_path):
    """The description says how many channels there are; files of the other kind are converted."""
    assert opened(grey / "data").cropper.channels == 1
    colour = [jpeg(np.full((4, 4, 3), (250, 20, 60)))] * 6
    for channels, num_vis, expected in ((1, 16, {93}), (3, 48, {250, 20, 60})):
        write(
            tmp_path,
            META | {"num_vis": num_vis, "data_mean": 0, "num_colors": channels},
            data_batch_1={"data": colour, "labels": LABELS},
        )
        provider = opened(tmp_path)
        assert set(contents(provider)[0].reshape(-1)) == expected and provider.cropper.channels == channels
    for channels in (2, 4):
        write(tmp_path, META | {"num_vis": 16 * channels, "num_colors": channels})
        with pytest.raises(DataError, match="is not a square picture of 3 channels or 1"):
            opened(tmp_path)


def test_one_run_says_once_what_is_missing(tmp_path, capsys):
    data = write_cifar(tmp_path / "data", rows=True)
    write(data, {"num_vis": 3072})
    options = ["--layer-def", write_net(tmp_path), "--data-path", data, "--save-file", tmp_path / "run", "--epochs", 1]
    assert main(["run", *map(str, options)]) == 0
    said = "".join(capsys.readouterr())
    assert said.count("has no data_mean: that of batches 1-2 is subtracted") == 1
    assert said.count("has no label_names: labels are of 10 classes.") == 1
    assert main(["run", "--load-file", str(tmp_path / "run"), "--epochs", "2"]) == 0
    assert "data_mean" not in "".join(capsys.readouterr())
