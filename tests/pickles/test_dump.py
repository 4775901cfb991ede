"""What the writer makes, read by ours and by Python's own reader; what was read is written as it was."""

import io
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnet import pickles
from convnet.errors import ConvnetError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=25,
)


def dumped(value, as_read=False):
    file = io.BytesIO()
    pickles.dump(value, file, as_read=as_read)
    return file.getvalue()


def decoded(value):
    """A value as it was before it was written: the reader has a byte in each character."""
    if isinstance(value, dict):
        return {decoded(key): decoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(decoded(item) for item in value)
    return value.encode("latin1").decode("utf-8", "surrogateescape") if isinstance(value, str) else value


@given(PLAIN)
def test_values_and_bytes_stay(value):
    data = dumped(value)
    found = pickles.loads(data)
    assert decoded(found) == value and dumped(found, as_read=True) == data
    assert decoded(pickle.loads(data, encoding="latin1")) == value


@pytest.mark.parametrize("text", ["Größe", "naïve \udcff path", "日本", "\x80", "é" * 200])
def test_texts_of_all_letters_and_paths_of_all_bytes(text):
    for value in (text, {text: [text, text]}):
        data = dumped(value)
        for _ in range(3):
            found = pickles.loads(data)
            assert dumped(found, as_read=True) == data
    assert pickles.path_of(pickles.loads(dumped(text))) == text


def test_what_is_shared_stays_so_and_circles_close():
    array, shared = np.arange(6, dtype=np.float32).reshape(2, 3, order="F"), [1]
    ring: dict = {"arrays": [array, array], "lists": (shared, shared)}
    ring["self"] = ring
    inside: list = []
    pair = (inside, 1)
    inside += [pair, (pair, 2, 3, 4)]
    ring["pair"] = pair
    for found in (pickles.loads(dumped(ring)), pickle.loads(dumped(ring), encoding="latin1")):
        assert found["self"] is found and found["arrays"][0] is found["arrays"][1]
        assert found["lists"][0] is found["lists"][1] and found["arrays"][0].flags.f_contiguous
        assert found["pair"][0][0] is found["pair"] and found["pair"][0][1][0] is found["pair"]
        np.testing.assert_array_equal(found["arrays"][0], array)


def test_depth_takes_no_stack():
    value: list = []
    for _ in range(100_000):
        value = [value]
    assert dumped(value).endswith(b"a" * 100_000 + b".")


@pytest.mark.parametrize(
    "value, names",
    [
        (0, ["BININT1"]), (255, ["BININT1"]), (256, ["BININT2"]), (65535, ["BININT2"]), (65536, ["BININT"]),
        (-1, ["BININT"]), (2**31, ["INT"]), (-(2**63), ["INT"]), (2**63, ["LONG1"]), (True, ["NEWTRUE"]),
        ("", ["SHORT_BINSTRING"]), ("a", ["SHORT_BINSTRING"]), ("ab", ["SHORT_BINSTRING", "BINPUT"]),
        ("a" * 256, ["BINSTRING"]), ((), ["EMPTY_TUPLE"]), ((1,), ["BININT1", "TUPLE1", "BINPUT"]),
        ([], ["EMPTY_LIST", "BINPUT"]), ([1], ["EMPTY_LIST", "BINPUT", "BININT1", "APPEND"]),
        ([1, 2], ["EMPTY_LIST", "BINPUT", "MARK", "BININT1", "BININT1", "APPENDS"]),
        ({1: 2}, ["EMPTY_DICT", "BINPUT", "BININT1", "BININT1", "SETITEM"]),
        ((1, 2, 3, 4), ["MARK", *["BININT1"] * 4, "TUPLE", "BINPUT"]),
    ],
)  # fmt: skip
def test_opcodes(value, names):
    assert [opcode.name for opcode, _, _ in pickletools.genops(dumped(value))] == ["PROTO", *names, "STOP"]


def test_many_items_go_by_thousands():
    data = dumped(list(range(2001)))
    names = [opcode.name for opcode, _, _ in pickletools.genops(data)]
    assert names.count("APPENDS") == 2 and names.count("APPEND") == 1 and pickles.loads(data) == list(range(2001))


@pytest.mark.parametrize("value", [{1}, object(), np.array(["a"]), int, 1j])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(ConvnetError, match="cannot be saved"):
        dumped(value)
