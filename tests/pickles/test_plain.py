"""Batches, features and predictions open with a plain ``pickle.load``, of Python 3 and of Python 2."""

import io
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from original_programs import needs_originals, python2

from convnet import pickles

READERS = {"own": pickles.loads, "C": pickle.loads, "Python": pickle._loads}


def dumps(value, **options):
    file = io.BytesIO()
    pickles.dump_plain(value, file, **options)
    return file.getvalue()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=80)
@given(plain)
def test_values(value):
    """Texts stay texts and bytes bytes, without a word on their encoding."""
    for read in READERS.values():
        found = read(dumps(value))
        assert found == value and repr(found) == repr(value)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8", "bool", ">i4"])
@pytest.mark.parametrize("shape", [(2, 300), (0, 3), (5,), ()])
def test_arrays(read, dtype, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype=dtype, order="F")
    found = read(dumps({"a": array, "b": [array, array[..., :1] if shape else array]}))
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == array.dtype.newbyteorder("<") and found["a"] is found["b"][0]
    assert found["a"].flags.f_contiguous and found["a"].flags.writeable


def test_what_it_costs():
    """A third, where Python 3's own protocol 2 costs half; nothing where all is ASCII."""
    noise = np.random.default_rng(0).integers(0, 256, 60_000, np.uint8)
    assert len(dumps(noise)) == pytest.approx(80_000, rel=0.01)
    assert len(dumps(noise)) < 0.9 * len(pickle.dumps(noise, 2))
    assert len(dumps(noise % 128)) == pytest.approx(60_000, rel=0.01)


def test_a_checksum_stands_behind_it(tmp_path):
    path = tmp_path / "batches.meta"
    path.write_bytes(dumps({"label_names": ["é"]}, checksum=True))
    assert pickles.has_checksum(path) and pickle.loads(path.read_bytes()) == {"label_names": ["é"]}
    path.write_bytes(path.read_bytes().replace(b"\xc3\xa9", b"\xc3\xa8"))
    with pytest.raises(pickles.UnsafePickle, match="checksum does not match"):
        pickles.load(path)


@pytest.mark.parametrize("text", [b"\xff" * 3, b"a", b"a" * 301], ids=["not ASCII", "too short", "not whole"])
def test_damaged_base64(text):
    data = b"\x80\x02cbinascii\na2b_base64\nT" + len(text).to_bytes(4, "little") + text + b"\x85R."
    with pytest.raises(pickles.UnsafePickle, match="makes no sense"):
        pickles.loads(data)


_PYTHON_2 = """
import cPickle, pickle, sys
for load in cPickle.load, pickle.load:
    batch = load(open(sys.argv[1], 'rb'))
    assert sorted(batch) == ['data', 'files', 'labels', 'matrix'] and type(batch.keys()[0]) is str
    assert batch['data'] == ['\\xff\\xd8', 'ascii'] and type(batch['data'][0]) is type(batch['data'][1]) is str
    assert type(batch['files'][0]) is str and batch['files'][1] == u'caf\\xe9'
    assert batch['matrix'].dtype == 'f4' and batch['matrix'].tolist() == [[1.5, -2], [3, 0.25]]
print 'read'
"""


@needs_originals
def test_python_2(tmp_path):
    matrix = np.array([[1.5, -2], [3, 0.25]], np.float32)
    value = {"data": [b"\xff\xd8", b"ascii"], "labels": [[0], [1]], "files": ["a", "café"], "matrix": matrix}
    (tmp_path / "batch").write_bytes(dumps(value, checksum=True))
    found = subprocess.run([*python2(), "-c", _PYTHON_2, tmp_path / "batch"], capture_output=True, text=True)
    assert found.stdout == "read\n", found.stderr
