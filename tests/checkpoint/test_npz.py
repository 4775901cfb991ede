"""NumPy's own format: opened by NumPy alone, nothing lost on the way there and back, damage and hostile files refused."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SHARED
from trees import same_tree

from convnet import load, pickles
from convnet.checkpoint import npz
from convnet.checkpoint.json_tree import from_json, to_json
from convnet.errors import CheckpointError, ConvnetError
from convnet.pickles import LegacyObject, UnsafePickle
from convnet.pickles.standins import KNOWN

FIXTURES = sorted((SHARED / "fixtures").glob("ckpt-*"))
PARSER = KNOWN["python_util.options", "OptionsParser"]


def written(value) -> bytes:
    file = io.BytesIO()
    npz.write(file, value, as_read=True)
    return file.getvalue()


def through(tmp_path, value):
    path = tmp_path / "1.5"
    path.write_bytes(written(value))
    return npz.read(path).value


def tree():
    """A net of two layers that share a matrix, one read by the other, which knows it again."""
    matrix = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    a = {"name": "fc", "type": "fc", "weights": [matrix], "biases": np.ones((1, 3), np.float32)}
    b = {"name": "\u00c3\u00bc/../x", "type": "fc", "weights": [matrix], "inputLayers": [a]}
    a["above"] = b
    op = PARSER()
    op.options = {"gpu": KNOWN["python_util.options", "RangeOptionParser"], "self": op}
    odd = [
        float("nan"),
        -0.0,
        2**70,
        -(2**64),
        True,
        None,
        b"\xff\x00",
        "\udcff",
        (),
        ((1,), 1.0),
        {3: "x", "$a": {}},
        [],
        {},
    ]
    others = [np.array([], ">i4"), np.array(3.5), np.array([True]), np.zeros((0, 2), np.uint8), np.array([b"ab"])]
    return {"model_state": {"layers": {"fc": a, "two": b}, "odd": odd, "others": others}, "op": op}


def test_nothing_is_lost(tmp_path):
    value = tree()
    found = through(tmp_path, value)
    same_tree(value, found)
    assert written(found) == written(value)
    assert found["model_state"]["layers"]["two"]["inputLayers"][0] is found["model_state"]["layers"]["fc"]


def test_numpy_opens_it():
    arrays = np.load(io.BytesIO(written(tree())))
    names = {name for name in arrays if name.startswith("layers")}
    assert names == {"layers/fc/weights/0", "layers/fc/biases"}
    assert np.array_equal(arrays["layers/fc/weights/0"], [[0, 1, 2], [3, 4, 5]])
    text = json.loads(arrays["checkpoint"].tobytes())
    assert text["shared"]["layers/fc"]["weights"] == [{"$array": "layers/fc/weights/0"}]


@pytest.mark.skipif(not FIXTURES, reason="the checkpoints of the originals beside the project are not here")
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_genuine_checkpoints(path, tmp_path):
    value = pickles.load(path)
    same_tree(value, through(tmp_path, value))
    assert load(tmp_path / "1.5").weights.keys() == load(path).weights.keys()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(PLAIN, PLAIN)
def test_any_tree(first, second):
    value = {"a": first, "b": [first, second, first], "c": (second,)}
    for as_read in (True, False):
        text, arrays = to_json(value, as_read)
        same_tree(value, from_json(text, arrays.__getitem__, as_read))


@pytest.mark.parametrize("text", ["l\u00fc", "l\udcfc", "\u20ac", "\ud800"], ids=ascii)
def test_texts_are_what_they_say(tmp_path, text):
    path = tmp_path / "x"
    with path.open("wb") as file:
        npz.write(file, {"path": text, text: 1})
    found = npz.read(path).value
    assert pickles.path_of(found["path"]) == text and list(found)[1] == found["path"]
    assert from_json(*_json_of(found), as_read=False)["path"] == text


def _json_of(value):
    text, arrays = to_json(value, as_read=True)
    return text, arrays.__getitem__


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1), max_size=6, unique=True))
def test_names_of_arrays_are_harmless_and_their_own(names):
    layers = {name: {"name": name, "type": "fc", "weights": [np.full(1, i)]} for i, name in enumerate(names)}
    data = written({"model_state": {"layers": layers}})
    members = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert len({member.lower() for member in members}) == len(names) + 1
    assert not any(
        part in ("..", ".", "") or "\\" in part or ":" in part for member in members for part in member.split("/")
    )


def test_a_chain_of_thousands_of_layers(tmp_path):
    layers: dict = {}
    for i in range(3000):
        layers[f"l{i}"] = {"name": f"l{i}", "type": "pass", "inputLayers": [layers[f"l{i - 1}"]] if i else []}
    found = through(tmp_path, {"model_state": {"layers": dict(reversed(layers.items()))}})["model_state"]["layers"]
    assert found["l2999"]["inputLayers"][0] is found["l2998"]


def test_every_flipped_bit_is_found_or_means_nothing(tmp_path):
    value = {"model_state": {"layers": {"fc": {"name": "fc", "type": "fc", "weights": [np.arange(3.0)]}}}}
    data, path = bytearray(written(value)), tmp_path / "x"
    for bit in range(0, 8 * len(data), 29):
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with contextlib.suppress(UnsafePickle):
            same_tree(value, npz.read(path).value)
        data[bit // 8] ^= 1 << bit % 8


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def array(value, **header) -> bytes:
    """An array as NumPy writes it, with another header."""
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    contents = file.getvalue()[128:]
    file = io.BytesIO()
    known = np.lib.format.header_data_from_array_1_0(value)
    np.lib.format.write_array_header_1_0(file, known | header)
    return file.getvalue() + contents


def text(value) -> bytes:
    return raw(json.dumps({"shared": {}, "checkpoint": value}).encode())


def raw(data: bytes) -> bytes:
    return array(np.frombuffer(data, np.uint8))


CIRCLE = b'{"shared": {"t": {"$tuple": [{"$shared": "t"}]}}, "checkpoint": {"$shared": "t"}}'
DEEP = b'{"shared": {}, "checkpoint": %b}' % (b"[" * 9000 + b"]" * 9000)
HOSTILE = {
    "objects": (archive(checkpoint=text({"$array": "a"}), a=array(np.array([{}]))), "not plain numbers"),
    "huge": (archive(checkpoint=text({"$array": "a"}), a=array(np.ones(2), shape=(2**40,))), "has 16 bytes"),
    "negative": (archive(checkpoint=text({"$array": "a"}), a=array(np.ones(2), shape=(-1, -2))), "has 16 bytes"),
    "fields": (archive(checkpoint=text({"$array": "a"}), a=array(np.ones(1), descr=[("x", "<f8")])), "not plain numbers"),
    "missing": (archive(checkpoint=text({"$array": "a"})), "damaged"),
    "elsewhere": (archive(checkpoint=text({"$array": "../../etc/passwd"})), "damaged"),
    "no tree": (archive(checkpoint=raw(b"{")), "not that of a checkpoint"),
    "no text": (archive(checkpoint=array(np.ones(3))), "not the bytes of a text"),
    "NaN": (archive(checkpoint=text(float("nan"))), "not that of a checkpoint"),
    "unknown kind": (archive(checkpoint=text({"$call": "os.system"})), "no kind of value"),
    "unknown class": (archive(checkpoint=text({"$object": "os.system", "attributes": {}})), "not that of a checkpoint"),
    "circle of tuples": (archive(checkpoint=raw(CIRCLE)), "not that of a checkpoint"),
    "deep": (archive(checkpoint=raw(DEEP)), "not that of a checkpoint|nested too deeply"),
    "bomb": (archive(checkpoint=text({"$array": "a"}), a=array(np.zeros(160 << 20, np.uint8))), "holds more than"),
    "pickle": (archive(checkpoint=pickle.dumps({"a": 1})), "damaged"),
    "cut": (written(tree())[:-40], "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, tmp_path):
    data, expected = HOSTILE[name]
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    assert npz.is_npz(path)
    with pytest.raises(UnsafePickle, match=expected):
        npz.read(path)
    with pytest.raises(CheckpointError, match=str(path)):
        load(path)


@pytest.mark.parametrize(
    "value", [object(), np.array([{}]), np.array(["a"]), {1, 2}, 1j], ids=lambda value: type(value).__name__
)
def test_what_it_does_not_hold(value):
    with pytest.raises(ConvnetError, match="cannot be saved"):
        written({"model_state": value})


def test_legacy_objects_are_of_known_classes_alone():
    assert isinstance(from_json(*[to_json(PARSER())[0], {}.__getitem__]), LegacyObject)
