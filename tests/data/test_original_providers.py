"""The originals' own data providers, unmodified, read the same folders: their matrices are ours to the bit (io 6.4)."""

import io
import os
import subprocess

import numpy as np
import pytest
from original_programs import folder_of, needs_originals, python2
from PIL import Image
from support import BACKENDS, dump, values, write_cifar

from convnet import pickles
from convnet.data.provider import Request
from convnet.data.providers import open_provider

_READ = r"""
import cPickle, imp, os, sys
import numpy as n
folder, out, module, name, border = sys.argv[1:6]
sys.path[:0] = os.environ['ORIGINAL_PATH'].split(os.pathsep)

class Picture(object):
    # What Pillow decodes, which does not run here: looked up.
    def __init__(self, pixels):
        self.pixels = pixels
    def convert(self, mode):
        return self
    def __array__(self, *rest):
        return self.pixels

class Image(object):
    table = {}
    @staticmethod
    def open(file):
        if file.getvalue() not in Image.table:
            raise IOError('damaged')
        return Picture(Image.table[file.getvalue()])

sys.modules['PIL'] = imp.new_module('PIL')
sys.modules['PIL'].Image = Image
if os.path.exists(folder + '/decoded'):
    decoded = cPickle.load(open(folder + '/decoded', 'rb'))
    Image.table = dict(zip(decoded['files'], decoded['pixels']))
provider = getattr(__import__(module, fromlist=['x']), name)
names = [f for f in os.listdir(folder) if f.startswith('data_batch_')]
numbers = sorted(set(int(f.split('_')[-1].split('.')[0]) for f in names))
params = {'crop_border': int(border), 'multiview_test': 0, 'color_noise': 0., 'pca_noise': 0, 'minibatch_size': 4}
os.chdir(folder)
provider = provider('.', numbers, 1, None, dict(params, scalar_mean=0, convnet=None), True)
if 'convdata' in module:
    found = [[n.array(matrix) for matrix in provider.get_next_batch()[2]] for number in numbers]
else:
    found = [provider.get_batch(number) for number in numbers]
cPickle.dump(found, open(out, 'wb'), 2)
"""


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def original(folder, year, module, name, border=0):
    """What a provider of a year gives of all batches."""
    script, out = folder.parent / "read.py", folder.parent / "found"
    script.write_text(_READ)
    path = os.pathsep.join(map(str, (folder_of(year), *([folder_of("2011")] if year == "2012" else []))))
    variables = {"ORIGINAL_PATH": path, "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = os.environ | variables
    environment.pop("PYTHONPATH", None)
    call = [*python2(), str(script), str(folder), str(out), module, name, str(border)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return pickles.load(out)


def ours(provider, number):
    batch, be = provider.batch(1, number), BACKENDS["reference32"]
    data, *rest = batch.minibatch(0, batch.cases)
    if not isinstance(data, np.ndarray):
        data.fill(be, out := be.empty((provider.dims[0], batch.cases)))
        data = be.download(out)
    return [data, *rest]


def assert_same(folder, found, name=""):
    provider = open_provider(name, Request(str(folder)))
    assert len(found) == len(provider.numbers)
    for number, matrices in zip(provider.numbers, found, strict=True):
        for expected, matrix in zip(matrices, ours(provider, number), strict=False):  # ours may have one-hot labels, too
            np.testing.assert_array_equal(matrix, expected)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def write_pictures(folder, sizes, **meta):
    """A description, and what the stand-in for Pillow needs; returns files of pictures."""
    random = np.random.RandomState(0)
    pixels = [random.randint(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    files = [png(picture) for picture in pixels]
    dump(folder / "decoded", {"files": files, "pixels": pixels})
    described = {"label_names": ["a", "b", "c"], "num_vis": 3 * 256**2, "batch_size": len(files) + 1}
    mean = np.float32(random.rand(3 * 256**2, 1) * 200)
    dump(folder / "batches.meta", described | {"data_mean": mean, "color_pca": (np.ones(3), np.eye(3))} | meta)
    return files


@needs_originals
@pytest.mark.parametrize(
    "sizes, meta",
    [
        ([(256, 256)] * 3, {}),
        ([(256, 256)] * 3, {"label_offset": -1}),
        ([(256, 200), (99, 256), (31, 44)], {"no_crop": True}),
    ],
    ids=["cropped", "offset", "not cropped"],
)
def test_pictures_of_2012(folder, sizes, meta):
    """Pairs (word, class), one of them not known, and a picture that is damaged."""
    files = write_pictures(folder, sizes, **meta)
    first = -meta.get("label_offset", 0)
    labels = [("n1", first + 2), ("n2", first), ("n9", first + 1), ("n3", None)]
    dump(folder / "data_batch_1", ([files[0], files[1], b"damaged", files[2]], [(1, 1)] * 4, labels))
    found = original(folder, "2012", "convdata_jpeg", "JPEGCroppedImageNetLogRegDP", border=16)
    assert found[0][1].tolist() == [[2, 0, 0]]
    assert_same(folder, found)


@needs_originals
def test_tags_of_2012(folder):
    files = write_pictures(folder, [(256, 256)] * 3, freq_to_id={"sea": 0, "newyork": 1, "z\u00fcrich": 2})
    tags = [["New York ", "SEA"], [], ["Z\u00fcrich".encode(), "unknown"]]
    dump(folder / "data_batch_1", (files, [(1, 1)] * 3, tags))
    found = original(folder, "2012", "convdata_flickr", "JPEGCroppedFlickrCEDP", border=16)
    assert found[0][1].T.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert_same(folder, found)


@needs_originals
def test_numbers_of_2012(folder):
    mean = np.float32(values(5, 1))
    dump(folder / "batches.meta", {"num_vis": 5, "label_names": ["a", "b", "c"], "data_mean": mean})
    dump(folder / "data_batch_1", {"data": np.float32(values(5, 4)), "labels": [2, 0, 1, 1]})
    assert_same(folder, original(folder, "2012", "convdata", "FlatMemoryDataProvider"), "flatmem")


@needs_originals
def test_cifar_of_2011(folder):
    assert_same(write_cifar(folder), original(folder, "2011", "convdata", "CIFARDataProvider"))


@needs_originals
@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_sub_batches_of_2011(folder, axis):
    """Joined along the first axis, whatever it is; labels are those of the first."""
    data, labels = np.random.RandomState(0).randint(0, 256, (48, 6)).astype(np.uint8), [0, 1, 2, 2, 1, 0]
    stored = data.T if axis == 0 else data
    dump(folder / "batches.meta", {"num_vis": 48, "label_names": ["a", "b", "c"], "data_mean": np.zeros(48, np.float32)})
    dump(folder / "data_batch_1.1", {"data": np.ascontiguousarray(stored[:4]), "labels": labels})
    dump(folder / "data_batch_1.2", {"data": np.ascontiguousarray(stored[4:])})
    (found,) = original(folder, "2011", "data", "DataProvider")
    np.testing.assert_array_equal(found["data"], stored)
    pixels, one, _ = ours(open_provider("", Request(str(folder))), 1)
    np.testing.assert_array_equal(pixels, data)
    assert one.tolist() == [found["labels"]] == [labels]


@needs_originals
def test_order_of_parts_of_2014(folder):
    """Names have numbers of any length; case is minded."""
    names = ["part-10", "part-9", "x", "B", "part-9.5", "part-007", "2", "10"]
    (folder / "data_batch_1").mkdir()
    dump(folder / "batches.meta", {"num_vis": 48, "label_names": list("abcdefgh"), "data_mean": np.zeros(48, np.float32)})
    for label, name in enumerate(names):
        dump(folder / "data_batch_1" / name, {"data": [png(np.zeros((4, 4, 3), np.uint8))], "labels": [[label]]})
    (parts,) = original(folder, "2014", "python_util.data", "DataProvider")
    found = open_provider("", Request(str(folder))).batch(1, 1).minibatch(0, len(names))[1][0].tolist()
    assert found == [part["labels"][0][0] for part in parts]
