"""Pickles: genuine files of Python 2 load, crafted ones are refused, what is written reads back, and old readers agree."""

import contextlib
import copyreg
import gzip
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SHARED, needs_museum

from convnet import pickles
from convnet.pickles import UnsafePickle, loads, text_of


def dumps(value):
    file = io.BytesIO()
    pickles.dump(value, file)
    return file.getvalue()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def as_read(value):
    """What a text looks like that was read as Latin-1."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("latin1")
    if isinstance(value, list | tuple):
        return type(value)(as_read(item) for item in value)
    return {as_read(k): as_read(v) for k, v in value.items()} if isinstance(value, dict) else value


@settings(deadline=None, max_examples=80)
@given(plain)
def test_round_trip(value):
    assert loads(dumps(value)) == as_read(value)
    assert pickle.loads(dumps(value), encoding="latin1") == as_read(value)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4", "i8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (5,), ()])
def test_arrays(dtype, order, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype=dtype, order=order)
    for read in (loads, lambda data: pickle.loads(data, encoding="latin1")):
        found = read(dumps({"a": array, "b": [array]}))
        np.testing.assert_array_equal(found["a"], array)
        assert found["a"].dtype == array.dtype and found["a"] is found["b"][0]
        assert found["a"].flags.f_contiguous == array.flags.f_contiguous
    assert loads(dumps(array)).flags.writeable


def test_text():
    assert text_of(loads(dumps("Blåhaj"))) == "Blåhaj"
    assert text_of("caf\xe9") == "café"


class Attack:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


# dtype('O8') with its flags cleared, over raw bytes: an object array of chosen pointers, if NumPy were let do it.
POINTERS = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x01tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08AAAAAAAAtb."
)
ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(%btcnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08AAAAAAAAtb."
)
CRAFTED = {
    "system": pickle.dumps(Attack(os.system, ("true",)), 2),
    "eval": pickle.dumps(Attack(eval, ("1",)), 2),
    "protocol 4": pickle.dumps(Attack(os.system, ("true",)), 4),
    "INST": b"(S'true'\nios\nsystem\n.",
    "pointers": POINTERS,
    "too short": ARRAY % b"K\x09",
    "negative side": ARRAY % b"J\xfe\xff\xff\xff",
    "huge side": ARRAY % b"\x8a\x07\xff\xff\xff\xff\xff\xff\x00",
    "codec": pickle.dumps(Attack(__import__("_codecs").encode, ("x", "zip")), 2),
    "outside": b"Pfile\n.",
    "truncated": dumps({"a": np.zeros(9)})[:40],
    "empty": b"",
    "text": b"hello",
    "deep": b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".",
    "half a zip": b"PK\x03\x04 no zip",
    "half a gzip": b"\x1f\x8b no gzip",
    "a type": pickle.dumps(np.float32, 2),
    "extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("data", CRAFTED.values(), ids=CRAFTED.keys())
def test_refused(data):
    copyreg._extension_registry  # nothing is registered, so extension codes lead nowhere
    with pytest.raises(UnsafePickle):
        loads(data)


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=200)
    | st.builds(lambda head, tail: POINTERS[:head] + tail, st.integers(0, 130), st.binary(max_size=60))
)
def test_noise_raises_nothing_else(data):
    with contextlib.suppress(UnsafePickle):
        loads(data)


def test_archives(tmp_path):
    data = dumps([1, 2])
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("data", data)
    (tmp_path / "g").write_bytes(gzip.compress(data))
    assert pickles.load(tmp_path / "z") == pickles.load(tmp_path / "g") == [1, 2]
    with pytest.raises(UnsafePickle, match="nowhere"):
        pickles.load(tmp_path / "nowhere")


def test_text_mode_of_windows_is_mended():
    data = pickle.dumps({"a": [1, 2.5, "x"]}, 0)
    assert loads(data.replace(b"\n", b"\r\n")) == {"a": [1, 2.5, "x"]}


@needs_museum
def test_genuine_files():
    fixtures = SHARED / "fixtures"
    for name in ("ckpt-2011.pickle", "ckpt-2011-zip.bin", "ckpt-2012.pickle", "ckpt-2014.pickle"):
        value = pickles.load(fixtures / name)
        assert set(value) == {"model_state", "op"}
        assert type(value["op"]).__name__ == "OptionsParser"
    labels = pickles.load(fixtures / "labels-2014-numpy-scalars.pickle")["labels"]
    assert all(isinstance(label, int) for item in labels for label in (item if isinstance(item, list) else [item]))


@needs_museum
def test_samples_of_every_protocol():
    """The three protocols and both picklers of Python 2 give the same objects."""
    found = {}
    with tarfile.open(SHARED / "fixtures" / "py2-object-samples.tgz") as archive:
        for member in archive:
            if member.isfile():
                name = member.name.split("/")[-1].split(".")[0]
                data = archive.extractfile(member).read()
                try:
                    found.setdefault(name, []).append(repr(loads(data)) if name not in ("op", "cycle") else "object")
                except UnsafePickle:
                    found.setdefault(name, []).append("refused")
    assert all(len(set(values)) == 1 for values in found.values())
    refused = {name for name, values in found.items() if values[0] == "refused"}
    assert refused == {"cplx", "dd", "dtype", "fset", "ma", "matrix", "rec", "slice", "type", "xrange"}
