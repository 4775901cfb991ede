"""Pickles of Python 3, of every protocol and both picklers, whatever lies in them of what batches hold."""

import collections
import io
import pickle

import numpy as np
import pytest

from convnet.pickles import UnsafePickle, loads

GRID = np.arange(24, dtype="f4").reshape(2, 3, 4)
OBJECTS = np.array([["a", 1], [None, b"\xff"], [2.5, "é"]], object)
VALUES = {
    "C": GRID,
    "F": np.asfortranarray(GRID),
    "another order": GRID.transpose(1, 0, 2),
    "pictures": np.arange(48, dtype="u1").reshape(2, 2, 3, 4).transpose(3, 1, 2, 0),
    "slices": [GRID[:, ::2], GRID[::-1], GRID[1:], GRID[..., 0]],
    "no dimensions": np.array(3.5),
    "long": np.arange(70_000, dtype="u1").reshape(70, 1000),
    "big-endian": [GRID.astype(">f4"), np.arange(3, dtype=">i2")],
    "types": [GRID.astype(code) for code in ("f2", "f8", "u1", "i8", "u8", "bool")],
    "texts": [np.array(["a", "bé"]), np.array([b"a", b"bc"])],
    "objects": [OBJECTS, np.asfortranarray(OBJECTS), OBJECTS.T],
    "read-only": np.frombuffer(b"abcd", np.uint8),
    "scalars": [np.float32(2.5), np.int64(-3), np.bool_(True), np.str_("é"), np.bytes_(b"\xff")],
    "strings": ["é", "é" * 500, "", "a" * 1000],
    "bytes": [b"\xff", b"\xff" * 500, b""],
    "byte arrays": [bytearray(b"\xff"), bytearray(b"\xff" * 500), bytearray()],
    "numbers": [0, -1, 2**31, -(2**70), 10**40, 1.5, float("inf"), True, None],
    "containers": [[1, [2]], (), (1,), (1, 2, 3, 4), {"a": 1, b"b": 2, 3: 4}, {1, 2}, collections.OrderedDict(a=1)],
}


def assert_same(found, value):
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype and found.flags.writeable
        np.testing.assert_array_equal(found, value)
    elif isinstance(value, list):
        assert len(found) == len(value)
        for one, other in zip(found, value, strict=True):
            assert_same(one, other)
    else:
        assert (bytes(found) if isinstance(value, bytearray) else found) == value


@pytest.mark.parametrize("pickler", [pickle.Pickler, pickle._Pickler], ids=["C", "Python"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_every_protocol(value, protocol, pickler):
    file = io.BytesIO()
    pickler(file, protocol).dump({"data": value, "again": value})
    found = loads(file.getvalue())
    assert_same(found["data"], value)
    if isinstance(value, np.ndarray | list):
        assert found["again"] is found["data"]


# As NumPy 2.3 and later write an array whose axes lie in another order, with protocol 5.
K_ORDER = (
    b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(\x96\x06\0\0\0\0\0\0\0abcdef\x8c\x05numpy\x8c\x05dtype\x93"
    b"\x8c\x02u1\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbK\x03K\x01K\x02\x87\x8c\x01K%btR."
)


def test_axes_in_another_order():
    found = loads(K_ORDER % b"K\x02K\x00K\x01\x87")
    np.testing.assert_array_equal(found, np.frombuffer(b"abcdef", np.uint8).reshape(3, 1, 2).transpose(2, 0, 1))


@pytest.mark.parametrize(
    "axes", [b"K\x00K\x01\x86", b"K\x00K\x00K\x01\x87", b"K\x01K\x02K\x03\x87", b"N", b"K\x00K\x01G" + b"\0" * 8 + b"\x87"]
)
def test_damaged_axes(axes):
    with pytest.raises(UnsafePickle, match="an array whose axes are damaged"):
        loads(K_ORDER % axes)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_memory_maps_are_arrays(protocol, tmp_path):
    """Their contents are written alike; before NumPy 1.16 their class was elsewhere."""
    mapped = np.memmap(tmp_path / "x", float, "w+", shape=(2, 3))
    mapped[:] = np.arange(6.0).reshape(2, 3)
    old = pickle.dumps(np.array(mapped), 2).replace(b"cnumpy\nndarray", b"cnumpy.core.memmap\nmemmap")
    for data in (pickle.dumps(mapped, protocol), old):
        found = loads(data)
        assert type(found) is np.ndarray
        assert_same(found, np.array(mapped))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_values(protocol):
    value = [np.zeros((0, 3)), np.zeros((3, 0), order="F")]  # which Python's own pickler cannot write twice
    assert_same(loads(pickle.dumps(value, protocol)), value)


def test_byte_arrays_of_python_2():
    data = b"\x80\x02c__builtin__\nbytearray\nX\x02\0\0\0\xc3\xbfU\x07latin-1\x86R."
    assert loads(data) == b"\xff"
    with pytest.raises(UnsafePickle, match="another encoding"):
        loads(data.replace(b"latin-1", b"utf-16s"))
