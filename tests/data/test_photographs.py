"""The photographs for tests: twelve classes, no pixel of a test picture in one for training; and nets train on them."""

from importlib.util import find_spec

import numpy as np
import photographs
import pytest

import convnet
from convnet.cli import main
from convnet.data.batches import made_for_testing, read_batch, read_meta
from convnet.data.making.make import pack_folder

pytestmark = pytest.mark.skipif(find_spec("skimage") is None, reason="scikit-image carries most of the photographs")


def test_makebatches_sets_aside_what_was_cut_for_testing(tmp_path):
    written = photographs.make_photographs(tmp_path / "photos", each=6)
    pack_folder(tmp_path / "photos", tmp_path / "batches", 32, 50, 0.1, 0, lambda _: None)
    meta = read_meta(tmp_path / "batches")
    assert meta["label_names"] == list(photographs.PHOTOGRAPHS) and sum(written.values()) == 7
    for number in range(1, 4):
        for file in read_batch(tmp_path / "batches" / f"data_batch_{number}")["files"]:
            assert written[file] == (number in made_for_testing(meta))


@pytest.mark.parametrize("name", photographs.PHOTOGRAPHS)
def test_no_pixel_is_in_both(name):
    random, whole = np.random.RandomState(0), photographs.photograph(name)
    masks = []
    for testing in (False, True):
        mask = np.zeros(whole.size, bool)
        for _ in range(200):
            left, top, right, bottom = photographs.box(whole, testing, random)
            assert 0 <= left < right <= whole.width and 0 <= top < bottom <= whole.height
            assert right - left == bottom - top >= photographs.LEAST
            mask[left:right, top:bottom] = True
        masks.append(mask)
    assert not (masks[0] & masks[1]).any() and masks[0].mean() > 0.6 and masks[1].mean() > 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("side", "classes", "each"), [(32, 2, 20), (64, 2, 20), (64, 12, 20), (128, 2, 20)])
def test_nets_for_photographs_train_on_few_pictures(tmp_path, side, classes, each):
    """Sensibly: better than chance after a few epochs at the rates that the files say, and every number finite."""
    photographs.make_photographs(tmp_path / "all", each=each)
    (tmp_path / "photos").mkdir()
    for name in list(photographs.PHOTOGRAPHS)[:classes]:
        (tmp_path / "all" / name).rename(tmp_path / "photos" / name)
    pack_folder(tmp_path / "photos", tmp_path / "batches", 256, 1024, 0.2, 0, lambda _: None)
    run = ["run", "--layer-def", f"layers-photos-{side}.cfg", "--data-path", tmp_path / "batches", "--epochs", "12"]
    assert main([*map(str, run), "--threads", "1", "--save-file", str(tmp_path / "run")]) == 0
    cost, error, _ = convnet.load(tmp_path / "run", threads=1).test(tmp_path / "batches")["logprob"]
    assert cost < np.log(classes) and error < 0.8 * (1 - 1 / classes)
