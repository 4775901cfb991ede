"""Providers: every layout of batches, crops and views, colour noise, JPEG pictures, making batches."""

import gzip
import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from support import BACKENDS, SHARED, dump, each_backend, needs_museum, values, write_cifar

from convnet.data.decoding import read_square
from convnet.data.images import Cropper, Crops
from convnet.data.making.digits import pack_digits
from convnet.data.making.make import pack_folder
from convnet.data.making.picture_folder import find_pictures
from convnet.data.provider import MatrixBatch, Request, class_names, minibatches, range_text
from convnet.data.providers import open_provider
from convnet.errors import DataError
from convnet.generation import COMPAT


def matrices(batch, view=0):
    """All matrices of a batch as arrays."""
    be, found = BACKENDS["reference32"], []
    for item in batch.minibatch(0, batch.cases, view):
        if not isinstance(item, np.ndarray):
            C, S = item.crops.mean.shape[:2]
            out = be.empty((C * S * S, batch.cases))
            item.fill(be, out)
            item = out
        found.append(item)
    return found


def test_both_editions_of_cifar_are_one(tmp_path):
    """Columns or rows, test_batch, a missing mean (io 5.1)."""
    columns = open_provider("", Request(str(write_cifar(tmp_path / "columns")), scalar_mean=0))
    rows = open_provider("", Request(str(write_cifar(tmp_path / "rows", rows=True)), scalar_mean=0))
    assert columns.name == rows.name == "cifar"
    assert columns.numbers == rows.numbers == [1, 2, 3]
    assert rows.default_ranges() == ([1, 2], [3])
    for number in columns.numbers:
        for a, b in zip(matrices(columns.batch(1, number)), matrices(rows.batch(1, number)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_classes_whose_names_show_nothing_have_numbers():
    assert class_names(["cat", "", " \t", "dog"], 5) == ["cat", "1", "2", "dog", "4"]
    assert class_names(["cat", "dog"], 1) == ["cat"]


def test_missing_mean_is_that_of_the_training_batches(tmp_path):
    folder = write_cifar(tmp_path, rows=True)
    provider = open_provider("cifar", Request(str(folder), training=True, batches=[1]))
    raw = matrices(open_provider("cifar", Request(str(folder), scalar_mean=0)).batch(1, 1))[0]
    np.testing.assert_allclose(matrices(provider.batch(1, 1))[0].mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(provider.mean, raw.mean(axis=1), rtol=1e-5)


def test_layouts(tmp_path):
    """Sub-batches side by side and in folders, compressed files, labels and means in any shape."""
    folder = write_cifar(tmp_path, batches=1)
    plain = matrices(open_provider("cifar", Request(str(folder))).batch(1, 1))
    data, labels = open_provider("cifar", Request(str(folder)))._read(1)
    labels = labels.held[1].values
    dump(folder / "data_batch_2.1", {"data": data[:, :20], "labels": labels[None, :20]})
    dump(folder / "data_batch_2.2", {"data": data[:, 20:], "labels": [[int(v)] for v in labels[20:]]})
    (folder / "data_batch_3").mkdir()
    dump(folder / "data_batch_3" / "data_batch_3.0", {"data": data[:, :50], "labels": labels[:50, None]})
    dump(folder / "data_batch_3" / "data_batch_3.1", {"data": data[:, 50:].astype(np.float32), "labels": labels[50:]})
    packed = (folder / "data_batch_1").read_bytes()
    (folder / "data_batch_4").write_bytes(gzip.compress(packed))
    meta = {"label_names": ["x"] * 10, "num_vis": 3072}
    for mean in (np.full(3072, 120.0), np.full((1, 3072), 120.0)):
        dump(folder / "batches.meta", meta | {"data_mean": mean})
        provider = open_provider("cifar", Request(str(folder)))
        assert provider.numbers == [1, 2, 3, 4]
        for number in provider.numbers:
            for a, b in zip(matrices(provider.batch(1, number)), plain, strict=True):
                np.testing.assert_array_equal(a, b)


def test_matrices_that_are_no_pictures(tmp_path):
    dump(tmp_path / "data_batch_1", {"data": values(7, 5), "labels": [0, 1, 2, 0, 1]})
    dump(tmp_path / "batches.meta", {"label_names": ["a", "b", "c"], "data_mean": np.ones(7)})
    data, labels, one_hot = matrices(open_provider("cifar", Request(str(tmp_path))).batch(1, 1))
    np.testing.assert_allclose(data, values(7, 5) - 1, rtol=1e-6)
    np.testing.assert_array_equal(one_hot.argmax(axis=0), labels[0])
    with pytest.raises(DataError, match="only pictures in bytes can be cropped"):
        open_provider("cifar", Request(str(tmp_path), inner_size=2))


def test_crops_are_what_they_say(tmp_path):
    """Training: a random place, maybe mirrored, minus the centre of the mean; the same for the same batch and seed."""
    folder = write_cifar(tmp_path)
    whole, _ = open_provider("cifar", Request(str(folder)))._read(1)
    pixels = whole.reshape(3, 32, 32, -1).astype(float) - 120
    provider = open_provider("cifar", Request(str(folder), training=True, inner_size=24, seed=4, batches=[1]))
    batch = provider.batch(1, 1)
    found = matrices(batch)[0].reshape(3, 24, 24, -1)
    crops = batch.crops[0]
    for n in range(batch.cases):
        part = pixels[:, crops.tops[n] :, crops.lefts[n] :, n][:, :24, :24]
        np.testing.assert_allclose(found[..., n], part[:, :, ::-1] if crops.flips[n] else part)
    assert set(crops.flips) == {0, 1} and set(crops.tops) == set(range(9))
    np.testing.assert_array_equal(matrices(provider.batch(1, 1))[0], matrices(batch)[0])
    assert (provider.batch(2, 1).crops[0].tops != crops.tops).any()


def places(name, folder, border):
    provider = open_provider(name, Request(str(folder), crop_border=border, multiview=True))
    crops = provider.batch(1, 1).crops
    return [(int(c.tops[0]), int(c.lefts[0]), int(c.flips[0])) for c in crops]


def test_views(tmp_path):
    """io 6.4: nine places without mirrors, or five and their mirrors."""
    folder = write_cifar(tmp_path)
    assert places("cifar", folder, 4) == [(y, x, 0) for y in (0, 4, 8) for x in (0, 4, 8)]
    five = [(0, 0), (0, 8), (4, 4), (8, 0), (8, 8)]
    assert places("cifar-cropped", folder, 4) == [(y, x, flip) for flip in (0, 1) for y, x in five]
    assert open_provider("cifar-cropped", Request(str(folder))).dims[0] == 3 * 24 * 24


def test_colour_noise():
    """io 6.6: offsets V (z * stdev), times c, then everything divided by 1 + c."""
    stdevs, vectors = np.array([1.0, 2, 30]), np.linalg.qr(values(3, 3))[0]
    request = Request(training=True, color_noise=0.1, inner_size=4)
    cropper = Cropper(request, 3, 4, np.zeros(48))
    crops = cropper.crops(20000, np.random.default_rng(0), (stdevs, vectors))[0]
    assert crops.gain == pytest.approx(1 / 1.1)
    spread = np.cov(crops.shifts, rowvar=False)
    np.testing.assert_allclose(spread, 0.01 * vectors @ np.diag(stdevs**2) @ vectors.T, atol=0.3)
    quiet = Cropper(Request(color_noise=0.1), 3, 4, np.zeros(48)).crops(5, np.random.default_rng(0), (stdevs, vectors))[0]
    assert quiet.gain == 1 and not quiet.shifts.any()


@pytest.mark.parametrize(
    "axes",
    [(np.ones(2), np.eye(2)), (np.ones(3), np.eye(2)), (np.ones(3),), 3, "xyz", (np.ones(3), np.full((3, 3), np.nan))],
)
def test_colour_axes_that_do_not_fit(tmp_path, axes):
    """Those of two channels would be read beyond their end."""
    strings = picture_batch(tmp_path, [0, 1, 2])
    meta = {"label_names": ["r", "g", "b"], "data_mean": np.zeros((192, 1)), "num_vis": 192, "color_pca": axes}
    dump(tmp_path / "batches.meta", meta)
    dump(tmp_path / "data_batch_1", {"data": strings, "labels": [[0], [1], [2]]})
    with pytest.raises(DataError, match=r"batches.meta: 'color_pca' is .*expected None, or \(standard deviations \(3,\)"):
        open_provider("image", Request(str(tmp_path), training=True, color_noise=0.1))


@pytest.mark.parametrize("year, same", [("2012", lambda n: n // 32), ("2014", lambda n: n % 18)])
def test_pictures_that_share_a_crop(year, same):
    """2012 decided once for 32 pictures, 2014's four threads all drew the same (io 6.4)."""
    cropper = Cropper(Request(training=True, inner_size=4), 1, 40, np.zeros(1600), compat=COMPAT[year])
    crops = cropper.crops(70, np.random.default_rng(0))[0]
    drawn = list(zip(crops.tops, crops.lefts, crops.flips, strict=True))
    assert all(drawn[n] == drawn[m] for n in range(70) for m in range(n) if same(n) == same(m))
    assert len(set(drawn)) == len({same(n) for n in range(70)})


PACKED = [(3, 9, 9, 7, 5), (1, 8, 8, 8, 33), (3, 12, 10, 10, 1), (3, 21, 20, 17, 150), (2, 9, 9, 8, 16), (5, 8, 9, 7, 128)]
PACKED += [
    (3, 290, 300, 280, 2),
    (1, 800, 801, 790, 1),
    (5, 200, 200, 199, 8),
    (5, 199, 199, 199, 9),
]  # rows of more than a piece


@each_backend
@pytest.mark.parametrize("layout", ["NHWC", "CHWN", "NCHW"])  # from slowest to fastest; CIFAR's batches are CHWN
@pytest.mark.parametrize("C, H, W, S, N", PACKED)
def test_packing(be, C, H, W, S, N, layout):
    random = np.random.RandomState(0)
    sides = {"C": C, "H": H, "W": W, "N": N}
    stored = random.randint(0, 256, [sides[letter] for letter in layout]).astype(np.uint8)
    pixels = stored.transpose([layout.index(letter) for letter in "NHWC"])
    tops, lefts = random.randint(0, H - S + 1, N), random.randint(0, W - S + 1, N)
    flips = random.randint(0, 2, N).astype(np.uint8)
    crops = Crops(tops, lefts, flips, np.float32(values(C, S, S)), np.float32(values(N, C)), 0.7)
    out = be.empty((C, S, S, N))
    be.pack_images(pixels, crops, out)
    for n in range(N):
        part = pixels[n, tops[n] : tops[n] + S, lefts[n] : lefts[n] + S].transpose(2, 0, 1).astype(np.float32)
        part = part[:, :, ::-1] if flips[n] else part
        expected = (part - crops.mean + crops.shifts[n][:, None, None]) * np.float32(0.7)
        tolerance = 0 if be.name == "cpu" else 1e-5  # the same bits on any instruction set
        np.testing.assert_allclose(be.download(out)[..., n], expected, rtol=tolerance, atol=10 * tolerance)


def jpeg(picture, kind="JPEG", **options):
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def decoded(data, side, offset=0.5):
    return read_square(io.BytesIO(data), side, offset)


def test_decoding():
    grey = Image.fromarray(np.full((20, 20), 77, np.uint8))
    np.testing.assert_array_equal(decoded(jpeg(grey), 20), np.full((20, 20, 3), 77))
    assert decoded(jpeg(grey.convert("CMYK")), 20).shape == (20, 20, 3)
    wide = Image.fromarray(np.tile(np.arange(40, dtype=np.uint8) * 6, (20, 1)))
    assert decoded(jpeg(wide), 20, 0.0).mean() < decoded(jpeg(wide), 20).mean() < decoded(jpeg(wide), 20, 1.0).mean()
    assert decoded(jpeg(wide), 10).shape == (10, 10, 3)
    for damaged in (b"no picture", jpeg(wide)[:100]):
        with pytest.raises(DataError):
            decoded(damaged, 20)


def picture_batch(tmp_path, labels, name_labels=3, offset=None):
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    strings = [jpeg(Image.new("RGB", (8, 8), colors[i % 3])) for i in range(len(labels))]
    meta = {"label_names": ["r", "g", "b"][:name_labels], "data_mean": np.zeros((192, 1)), "num_vis": 192}
    dump(tmp_path / "batches.meta", meta | ({"label_offset": offset} if offset is not None else {}))
    return strings


def test_pictures(tmp_path):
    """2014's dicts with several labels per case, 2012's tuples, label offsets, broken pictures."""
    strings = picture_batch(tmp_path, [0, 1, 2])
    dump(tmp_path / "data_batch_1", {"data": [*strings, b"broken"], "labels": [[0], [1, 2], [2], [0]]})
    dump(tmp_path / "data_batch_2", (strings, [(8, 8)] * 3, [("n1", 0), ("n2", 1), ("n3", None)]))
    provider = open_provider("", Request(str(tmp_path)))
    assert provider.name == "image" and provider.dims == {0: 192, 1: 1, 2: 3}
    data, labels, many = matrices(provider.batch(1, 1))
    assert data.shape == (192, 3) and labels[0, 0] == 0 and labels[0, 1] in (1, 2)
    np.testing.assert_array_equal(many.T, [[1, 0, 0], [0, 1, 1], [0, 0, 1]])
    assert "1 of 4 pictures cannot be decoded" in provider.problems[0]
    np.testing.assert_array_equal(matrices(provider.batch(1, 2))[1], [[0, 1, 0]])


def test_label_offset(tmp_path):
    strings = picture_batch(tmp_path, [1, 2, 3], offset=-1)
    dump(tmp_path / "data_batch_1", {"data": strings, "labels": [[1], [2], [3]]})
    assert matrices(open_provider("image", Request(str(tmp_path))).batch(1, 1))[1].tolist() == [[0, 1, 2]]


@pytest.fixture
def photographs(tmp_path):
    """Real photographs: pieces of the two that scikit-learn carries, one folder each, one of them broken."""
    from sklearn.datasets import load_sample_images

    random = np.random.RandomState(0)
    for name, picture in zip(("flower", "temple"), load_sample_images().images[::-1], strict=True):
        (tmp_path / name).mkdir()
        for i in range(60):
            y, x = random.randint(0, 427 - 100), random.randint(0, 640 - 140)
            Image.fromarray(picture[y : y + 100, x : x + 140]).save(tmp_path / name / f"{i}.jpg")
    (tmp_path / "flower" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def test_photographs_train(photographs, tmp_path, capsys):
    """A folder of JPEG photographs is packed, and a net learns to tell its classes apart."""
    from support import SMALL_NET, SMALL_PARAMS, write_net

    from convnet.cli.run import main

    out = tmp_path / "batches"
    said = []
    assert pack_folder(photographs, out, 32, 31, 0.25, 0, said.append) == 4
    assert (out / "skipped.txt").read_text().partition(": ")[0].endswith("broken.jpg")
    assert said[-1] == "Train with batches 1 to 3, test with batch 4, as runs do by themselves."
    provider = open_provider("", Request(str(out)))
    assert provider.label_names == ["flower", "temple"] and provider.color_pca is not None
    params = SMALL_PARAMS.replace("base=0.0004", "base=0.0001")
    net = write_net(tmp_path / "net", SMALL_NET.replace("outputs=10", "outputs=2"), params)
    options = ["--layer-def", net, "--data-path", out, "--save-path", tmp_path / "c", "--inner-size", "28", "--mini", "16"]
    options += ["--color-noise", "0.1", "--epochs", "30", "--test-freq", "90", "--train-range", "1-3", "--test-range", "4"]
    assert main([str(option) for option in options]) == 0
    text = capsys.readouterr().out
    error = float(text.split("Test output")[-1].split("logprob:  ")[1].split(", ")[1])
    assert error <= 0.3


def test_no_folder_of_classes(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        find_pictures(tmp_path / "nowhere")
    (tmp_path / "only").mkdir()
    with pytest.raises(DataError, match="no pictures in the sub-folders of"):
        find_pictures(tmp_path)


@pytest.mark.slow
def test_digits_reach_three_percent(tmp_path, capsys):
    """Real input: the handwritten digits, packed and learnt within a minute."""
    from convnet.cli.run import main

    assert pack_digits(tmp_path / "digits") == 6
    options = ["--layer-def", "layers-digits.cfg", "--data-path", str(tmp_path / "digits"), "--save-path", str(tmp_path)]
    assert main([*options, "--epochs", "60", "--test-freq", "300"]) == 0
    error = float(capsys.readouterr().out.split("Test output")[-1].split("logprob:  ")[1].split(", ")[1])
    assert error <= 0.03


@pytest.mark.parametrize(
    "name, dims",
    [("dummy-cn-192", {0: 192, 1: 1, 2: 7}), ("dummy-lr-12", {0: 12, 1: 1, 2: 1}), ("dummy-ce-12", {0: 12, 1: 7})],
)
def test_random_data(name, dims):
    provider = open_provider(name, Request(classes=7))
    assert provider.dims == dims
    assert [m.shape[0] for m in matrices(provider.batch(1, 1))] == list(dims.values())


@needs_museum
def test_labels_of_the_original_batch_maker():
    """NumPy numbers in one-element lists, as cuda-convnet2's script wrote them (io 5.3)."""
    from convnet import pickles
    from convnet.data.labels import labels_of

    part = pickles.load(SHARED / "fixtures" / "labels-2014-numpy-scalars.pickle")
    labels = labels_of(part, "x", len(part["labels"]))
    assert labels.values.tolist() == [item[0] for item in part["labels"]] and set(labels.counts) == {1}


@pytest.mark.parametrize("cases, sizes", [(7, [3, 3, 1]), (6, [3, 3]), (0, [])])
def test_minibatches(cases, sizes):
    """What follows a minibatch is the very object that comes next, by which a net knows what it has prefetched."""
    parts = list(minibatches(MatrixBatch([np.arange(2.0 * cases).reshape(2, cases)]), 3))
    assert [n for *_, n in parts] == sizes
    for (_, following, _), (inputs, *_) in pairwise(parts):
        assert following is inputs
    assert not parts or not parts[-1][1]
    joined = np.concatenate([inputs[0] for inputs, *_ in parts], axis=1) if parts else np.empty((2, 0))
    np.testing.assert_array_equal(joined, np.arange(2.0 * cases).reshape(2, cases))


def test_ranges():
    assert range_text([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
