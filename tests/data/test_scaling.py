"""--picture-size: pictures are scaled, and their mean alike, wherever a net sees them; small sets are decoded once."""

import io

import numpy as np
import pytest
from nets import DATA, cost_of
from picture_files import encoded
from PIL import Image
from support import default_params, write_cifar

import convnet
from convnet.cli import main
from convnet.data import pictures as pictures_module
from convnet.data.batches import read_batch
from convnet.data.decoding import read_square
from convnet.data.making.make import pack_folder
from convnet.data.provider import Request
from convnet.data.providers import open_provider
from convnet.data.scaling import scale_pictures, shrink_in_decoder
from convnet.errors import DataError

NET = f"{DATA}[fc]\ntype=fc\ninputs=data\noutputs=num_classes\ninitW=0.001\n{cost_of('fc')}"


def slope(width, height):
    """A picture whose red grows from left to right, whose green from top to bottom, from 40 to 200."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray(np.rint(np.stack([40 + 160 * x, 40 + 160 * y, 90 + 0 * x], axis=2)).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        ((256, 256), 72, (128, 128)),
        ((256, 256), 64, (64, 64)),
        ((256, 256), 33, (64, 64)),
        ((256, 256), 32, (32, 32)),
        ((256, 256), 129, (256, 256)),
        ((256, 256), 300, (256, 256)),
        ((300, 201), 64, (150, 101)),
    ],
)
def test_what_the_decoder_leaves_out(size, side, decoded):
    with Image.open(io.BytesIO(encoded(slope(*size), "JPEG", quality=95))) as picture:
        shrink_in_decoder(picture, side)
        assert picture.size == decoded


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("stored", [32, 71, 72, 144, 255, 256, 600])
@pytest.mark.parametrize("side", [24, 72, 100])
def test_a_picture_looks_the_same(kind, stored, side):
    data = encoded(slope(stored, stored), kind, **({"quality": 95} if kind == "JPEG" else {}))
    found = read_square(io.BytesIO(data), side, smooth=True).astype(float)
    inner = slice(2, -2) if stored < side else slice(None)  # beyond the middles of the outer pixels nothing is known
    assert np.abs(found - np.asarray(slope(side, side)))[inner, inner].max() <= 6


def test_noise_is_averaged_not_sampled():
    """Every pixel left out counts, so that the deviation of noise falls with the square root of their number."""
    noise = np.random.RandomState(0).randint(0, 256, (256, 256, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", quality=100, subsampling=0)
    assert 256 / 12**0.5 / 4 * 0.7 < read_square(io.BytesIO(data), 64, smooth=True).std() < 256 / 12**0.5 / 4 * 1.4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """JPEG batches of 44 random squares of three classes, of side 40, and the pictures of which they were made."""
    place = tmp_path_factory.mktemp("scaling")
    random = np.random.RandomState(0)
    for label in range(3):
        (place / "photos" / f"class {label}").mkdir(parents=True)
        for i in range(20):
            pixels = random.randint(60 * label, 60 * label + 100, (10, 10, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((40, 40)).save(place / "photos" / f"class {label}" / f"{i}.png")
    pack_folder(place / "photos", place / "batches", 40, 25, 0.2, 0, lambda _: None)
    (place / "layers-any.cfg").write_text(NET)
    (place / "layer-params-any.cfg").write_text(default_params(NET).replace("epsW=0.01", "epsW=0.00001"))
    return place


def stored(folder, number):
    """A batch of the folder, its pictures as bytes."""
    part = read_batch(folder / f"data_batch_{number}")
    return part | {"data": [data.encode("latin1") if isinstance(data, str) else data for data in part["data"]]}


def provider(folder, **wanted):
    return open_provider("", Request(str(folder), **wanted))


def filled(batch, cases=20):
    """What a net would see, and the labels."""
    from convnet.backends.reference import Reference

    be = Reference()
    picture, *others = batch.minibatch(0, cases)
    out = be.empty((picture.crops.mean.size, cases))
    picture.fill(be, out)
    return np.concatenate([be.download(out), *others])


def test_the_mean_is_scaled_alike(folder):
    data = provider(folder / "batches", picture_size=24, threads=2)
    sums = sum(data.batch(1, n).pixels.sum(axis=0, dtype=float) for n in data.default_ranges()[0])
    mean = sums / sum(data.batch(1, n).cases for n in data.default_ranges()[0])
    assert data.cropper.mean.shape == (3, 24, 24) and data.dims[0] == 3 * 24**2
    assert np.abs(data.cropper.mean.transpose(1, 2, 0) - mean).max() < 3


@pytest.mark.parametrize("rows", [False, True])
def test_matrices_are_scaled_alike(tmp_path, rows):
    folder = write_cifar(tmp_path / "cifar", cases=20, rows=rows)
    stored, scaled = provider(folder), provider(folder, picture_size=20, inner_size=16)
    before, after = stored.batch(1, 1).pixels, scaled.batch(1, 1).pixels
    assert np.array_equal(after, scale_pictures(np.asarray(before), 20)) and after.shape == (20, 20, 20, 3)
    assert abs(after.mean() - before.mean()) < 1 and scaled.dims[0] == 3 * 16**2
    assert abs(float(scaled.cropper.mean.mean()) - float(stored.cropper.mean.mean())) < 2


def test_what_cannot_be_scaled(tmp_path, folder):
    from support import dump

    for name, meta in (
        ("data_batch_1", {"data": np.ones((5, 4), np.float32) / 3, "labels": [0, 1, 0, 1]}),
        ("batches.meta", {}),
    ):
        dump(tmp_path / name, meta)
    with pytest.raises(DataError, match=r"--picture-size: only square pictures can be scaled; .* holds 5 values"):
        provider(tmp_path, picture_size=8)
    dump(tmp_path / "data_batch_1", {"data": np.ones((48, 4), np.float32) / 3, "labels": [0, 1, 0, 1]})
    with pytest.raises(DataError, match="--picture-size: only pictures in bytes can be scaled"):
        provider(tmp_path, picture_size=8)
    with pytest.raises(DataError, match="--inner-size 30 does not fit pictures of side 24"):
        provider(folder / "batches", picture_size=24, inner_size=30)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("square", [True, False])
def test_pictures_are_decoded_once_where_that_changes_nothing(folder, tmp_path, monkeypatch, training, square):
    place = folder / "batches"
    if not square:
        from support import dump

        parts = [stored(place, n) for n in (1, 2, 3)]
        parts[0]["data"][3] = encoded(slope(80, 40), "JPEG")
        for number, part in enumerate(parts, 1):
            dump(tmp_path / f"data_batch_{number}", part)
        place = tmp_path
        (place / "batches.meta").write_bytes((folder / "batches" / "batches.meta").read_bytes())
    wanted = {"picture_size": 30, "inner_size": 24, "training": training, "color_noise": 0.1 * training, "seed": 3}
    calls = []

    def counting(*args, **more):
        calls.append(args)
        return read_square(*args, **more)

    monkeypatch.setattr(pictures_module, "read_square", counting)
    kept = provider(place, **wanted)
    seen = [[filled(kept.batch(epoch, n)) for n in (1, 2)] for epoch in (1, 2)]
    assert len(calls) == (48 if square or not training else 48 + 25)
    monkeypatch.setattr(pictures_module, "_KEPT", 0)
    anew = provider(place, **wanted, threads=3)
    for epoch in (1, 2):
        for n in (1, 2):
            assert np.array_equal(seen[epoch - 1][n - 1], filled(anew.batch(epoch, n)))
    assert np.array_equal(seen[0][1], seen[1][1]) != training  # crops are of their epoch


def test_a_folder_that_was_made_anew_is_noticed_though_its_pictures_are_kept(folder, tmp_path):
    pack_folder(folder / "photos", tmp_path / "batches", 40, 25, 0.2, 0, lambda _: None)
    data = provider(tmp_path / "batches", picture_size=24)
    data.batch(1, 1)
    pack_folder(folder / "photos", tmp_path / "batches", 32, 25, 0.2, 0, lambda _: None)
    with pytest.raises(DataError, match="were made anew"):
        data.batch(2, 1)


def test_a_net_is_shown_pictures_as_it_was_trained(folder, tmp_path, capsys):
    """From a run to Python: one view and ten, of files and of the batches; a run that goes on keeps the size."""
    common = ["run", "--threads", "1", "--data-path", str(folder / "batches"), "--mini", "7"]
    options = ["--layer-def", str(folder / "layers-any.cfg"), "--picture-size", "28", "--inner-size", "24", "--epochs", "4"]
    assert main([*common, *options, "--save-file", str(tmp_path / "run")]) == 0
    net = convnet.load(tmp_path / "run", threads=1)
    assert net.graph.data_dims[0] == 3 * 24**2 and net.preprocessor.picture_size == net.preprocessor.side == 28
    part = stored(folder / "batches", 3)
    files = [tmp_path / f"{i}.jpg" for i in range(len(part["data"]))]
    for path, data in zip(files, part["data"], strict=True):
        path.write_bytes(data)
    for views in (False, True):
        out = ["--test-only", "--load-file", str(tmp_path / "run"), "--test-out", str(tmp_path / "preds")]
        assert main([*common, *out, *(["--multiview-test"] if views else [])]) == 0
        expected = read_batch(tmp_path / "preds" / "test_preds_3")["data"]
        np.testing.assert_allclose(net.predict(files, ten_views=views), expected, atol=1e-5)
        assert len(expected) == 12 and expected.std() > 0.1
    capsys.readouterr()
    assert net.test(folder / "batches")["logprob"][1] < 0.2


def test_the_demonstration_set_is_drawn_as_large_as_it_is_wanted(tmp_path, monkeypatch):
    from convnet.data import demo

    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(demo, "BATCH_CASES", 4)
    monkeypatch.setattr(demo, "_MEAN_CASES", 4)
    sides = [demo.Demo(Request(classes=10, **wanted)).side for wanted in ({}, {"picture_size": 72}, {"inner_size": 64})]
    assert sides == [32, 256, 256]
    assert demo.Demo(Request(classes=10, picture_size=72, inner_size=64)).batch(1, 1).pixels.shape == (4, 72, 72, 3)
