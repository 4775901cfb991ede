"""Damaged checkpoints: every flipped bit and every cut is seen, and every wrong value named with its file and key."""

import copy
import gzip
import io
import pickle
import random
import tracemalloc

import numpy as np
import pytest
from fuzz.checkpoints import saved
from support import SHARED, needs_museum

import convnet
from convnet import checkpoint, pickles
from convnet.checkpoint import find_latest
from convnet.checkpoint.schema import VERSION, faults_of
from convnet.errors import CheckpointError
from convnet.pickles import rules


def written(value, path, checksum=True):
    with path.open("wb") as file:
        pickles.dump(value, file, checksum=checksum)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint."""
    return written(saved(), tmp_path_factory.mktemp("whole") / "1.2").read_bytes()


# -- the checksum


@pytest.mark.parametrize("part", ["beginning", "arrays", "end", pytest.param("all", marks=pytest.mark.slow)])
def test_every_flipped_bit_is_seen(whole, part, tmp_path):
    places = {"beginning": range(25), "end": range(len(whole) - 76, len(whole)), "all": range(len(whole))}
    arrays = [random.Random(1).randrange(len(whole)) for _ in range(40)]
    for at in places.get(part, arrays):
        for bit in (0, 4, 7) if part != "all" else [at % 8]:
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            (tmp_path / "1.2").write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"1\.2"):
                checkpoint.load(tmp_path / "1.2")


def test_every_cut_is_seen(whole, tmp_path):
    cuts = [*range(len(whole) - 120, len(whole)), *range(0, len(whole), 97)]
    for length in cuts:
        (tmp_path / "1.2").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"1\.2"):
            checkpoint.load(tmp_path / "1.2")


def test_what_is_said_of_damage(whole, tmp_path):
    file = tmp_path / "1.2"
    file.write_bytes(whole.replace(b"dexp", b"dexq"))
    with pytest.raises(CheckpointError, match="damaged: its checksum does not match"):
        checkpoint.load(file)
    file.write_bytes(whole[:-73])
    with pytest.raises(CheckpointError, match="damaged; the checksum behind its end is missing"):
        checkpoint.load(file)
    file.write_bytes(whole + b"x")
    with pytest.raises(CheckpointError, match="damaged; 74 bytes too many stand behind its end"):
        checkpoint.load(file)


def test_the_one_before_is_taken(whole, tmp_path):
    (tmp_path / "1.1").write_bytes(whole)
    for newest in (
        whole.replace(b"dexp", b"dexq"),
        whole[:-1],
        whole[:3000],
        b"",
        gzip.compress(whole)[:-20],
        b"PK\x03\x04" + whole,
    ):
        (tmp_path / "1.2").write_bytes(newest)
        path, _, [remark] = find_latest(tmp_path, checkpoint.load)
        assert path.name == "1.1" and "1.2" in remark and "falling back" in remark


def test_other_readers_stop_before_the_checksum(whole, tmp_path):
    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            return type(name, (), {}) if module == "python_util.options" else super().find_class(module, name)

    value = Reader(io.BytesIO(whole), encoding="latin1").load()
    assert value["model_state"]["convnet"]["version"] == VERSION
    assert value["op"].options["minibatch_size"].value == value["model_state"]["convnet"]["options"]["mini"]
    assert whole[-74:-64] == b".\nsha256 "[-10:] or whole[-73:].startswith(b"\nsha256 ")


def test_packed_by_hand_and_mangled_by_windows(whole, tmp_path):
    (tmp_path / "1.2").write_bytes(gzip.compress(whole))
    assert checkpoint.load(tmp_path / "1.2").position().epoch == 1
    if b"\r\n" not in whole:
        (tmp_path / "1.2").write_bytes(whole.replace(b"\n", b"\r\n"))
        assert checkpoint.load(tmp_path / "1.2").position().epoch == 1


def of_version(value, version):
    """A checkpoint as earlier versions of this project saved it: options in ``op``, names in ``inputLayers``."""
    value, own = changed(value, (*OWN, "version"), version), dict(value["model_state"]["convnet"])
    op = {name: own["options"][name] for name in own["options"] if name not in ("checkpoint_format", "zip_save")}
    value["model_state"]["convnet"] = {
        name: item
        for name, item in (own | {"version": version}).items()
        if name not in ("options", "op", "at", "layers", "format")
    }
    for layer in value["model_state"]["layers"].values():
        layer["inputLayers"] = layer.get("inputs", [])
    return value | {"op": op}


def test_files_of_earlier_versions(tmp_path):
    value = of_version(saved(), 1)
    for version, checksum in ((1, False), (2, True)):
        value["model_state"]["convnet"]["version"] = version
        found = checkpoint.load(written(value, tmp_path / "1.2", checksum=checksum))
        assert found.position().batch == 2 and found.options["mini"] == 4
        assert not found.is_original and found.has_files and not found.remarks and not found.options_left
    with pytest.raises(CheckpointError, match="the checksum behind its end is missing"):
        checkpoint.load(written(value, tmp_path / "1.2", checksum=False))
    value["model_state"]["convnet"]["version"] = VERSION + 1
    text = f"saved by a newer convnet: its version is {VERSION + 1}, known are 1 to {VERSION}"
    with pytest.raises(CheckpointError, match=text):
        checkpoint.load(written(value, tmp_path / "1.2"))


def test_networks_save_one(tmp_path):
    net = convnet.build("layers-digits.cfg", side=8, backend="cpu")
    file = net.save(tmp_path / "1.1")
    assert pickles.read(file).has_checksum
    file.write_bytes(file.read_bytes().replace(b"dexp", b"dexq"))
    with pytest.raises(CheckpointError, match="checksum"):
        convnet.load(file)


def test_writing_copies_no_array():
    """Arrays go to the file as they lie in memory, through the checksum."""
    pieces = []

    class File(io.BytesIO):
        def write(self, data):
            pieces.append(type(data))
            return len(data)

    pickles.dump(np.zeros(10**6, np.float32), File(), checksum=True)
    assert memoryview in pieces


# -- wrong values

OWN = ("model_state", "convnet")
WRONG = [
    ((*OWN, "layer_params_text"), 3, "layer_params_text'] is 3; expected None, or a text"),
    ((*OWN, "layer_def_text"), None, "layer_def_text'] is None; expected the text of a layer file"),
    ((*OWN, "layer_def_text"), " ", "layer_def_text'] is ' '; expected the text of a layer file"),
    ((*OWN, "dialect"), "2013", "dialect'] is '2013'; expected 2011, 2012 or 2014"),
    ((*OWN, "seed"), "x", "seed'] is 'x'; expected a whole number"),
    ((*OWN, "step"), -1, "step'] is -1; expected a whole number from 0"),
    ((*OWN, "version"), None, "version'] is None"),
    ((*OWN, "made_local"), [3], r"made_local'][0] is 3; expected a text"),
    ((*OWN, "unshared"), [["fc"]], r"unshared'][0] is a list of 1"),
    ((*OWN, "data_dims"), {"x": 1}, "data_dims']"),
    ((*OWN, "data_dims"), {"0": 0}, "data_dims']['0'] is 0; expected a whole number from 1"),
    ((*OWN, "num_classes"), -3, "num_classes'] is -3"),
    ((*OWN, "tree"), [1, 0], "tree']"),
    ((*OWN, "noise_state"), {"bit_generator": "MT19937"}, "noise_state']"),
    ((*OWN, "noise_state", "buffer_pos"), 9, "noise_state']['buffer_pos'] is 9; expected a whole number from 0 to 4"),
    ((*OWN, "moments"), [3], "moments'][0] is 3"),
    ((*OWN, "moments"), [], ""),
    ((*OWN, "pending"), [[1, 1, "x"]], "pending'][0][2] is 'x'"),
    ((*OWN, "position"), 3, "position'] is 3"),
    ((*OWN, "position", "batches_done"), "x", "position']['batches_done'] is 'x'"),
    ((*OWN, "position", "costs"), {"logprob": ["x"]}, "position']['costs']['logprob'][0] is 'x'"),
    ((*OWN, "position", "tests_at"), [None], "position']['tests_at'][0] is None"),
    ((*OWN, "data"), [], "data'] is a list of 0"),
    ((*OWN, "data", "mean"), "x", "data']['mean'] is 'x'"),
    ((*OWN, "data", "label_names"), [3], "data']['label_names'][0] is 3"),
    (("model_state", "epoch"), "x", "model_state['epoch'] is 'x'; expected a whole number from 0"),
    (("model_state", "batchnum"), None, "model_state['batchnum'] is None"),
    (("model_state", "train_outputs"), 3, "model_state['train_outputs'] is 3"),
    (("model_state", "train_outputs"), [3], "model_state['train_outputs'][0] is 3"),
    (
        ("model_state", "train_outputs"),
        [({"a": [1.0]}, 0)],
        "model_state['train_outputs'][0][1] is 0; expected a whole number from 1",
    ),
    (("model_state", "test_outputs"), [({"a": ["x"]}, 4)], "model_state['test_outputs'][0][0]['a'][0] is 'x'"),
    (("model_state", "layers"), None, "model_state['layers'] is None"),
    (("model_state", "layers"), {}, "model_state['layers'] is a dict of 0; expected a dictionary or a list of layers"),
    (("model_state", "layers", "fc"), 3, "model_state['layers']['fc'] is 3; expected a layer"),
    (("model_state", "layers", "fc", "name"), 3, "['layers']['fc']['name'] is 3; expected a name"),
    (("model_state", "layers", "fc", "weights"), [3], "['fc']['weights'][0] is 3"),
    (("model_state", "layers", "fc", "biases"), np.zeros(3), "['fc']['biases'] is an array of shape (3,)"),
    (
        ("model_state", "layers", "fc", "inputs"),
        ["conv2"],
        "names 'conv2', which is not in the checkpoint; did you mean 'conv1'?",
    ),
    ((*OWN, "options"), None, "options'] is None; expected a dictionary"),
    ((*OWN, "options", "mini"), "128", "options']['mini'] is '128'; expected a whole number"),
    ((*OWN, "options", "mini"), 0, "options']['mini'] is 0; expected a whole number from 1"),
    ((*OWN, "options", "train_range"), ["x"], "options']['train_range'][0] is 'x'"),
    ((*OWN, "options", "dialect"), "2013", "options']['dialect'] is '2013'; expected auto, 2011, 2012 or 2014"),
    ((*OWN, "at"), "1.2", "at'] is '1.2'; expected a list of 2"),
    ((*OWN, "at"), [1, "x"], "at'][1] is 'x'; expected a whole number"),
    ((*OWN, "format"), "2013", "format'] is '2013'; expected 2014, 2012, 2011 or npz"),
    ((*OWN, "op"), {"gpu": [[]]}, "op']['gpu'][0] is a list of 0"),
]


def changed(value, keys, new):
    value = copy.copy(value)
    value[keys[0]] = new if len(keys) == 1 else changed(value[keys[0]], keys[1:], new)
    return value


@pytest.mark.parametrize("keys, new, said", [w for w in WRONG if w[2]], ids=[w[2] for w in WRONG if w[2]])
def test_wrong_values_are_named(keys, new, said, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(written(changed(saved(), keys, new), tmp_path / "1.2"))
    text = str(caught.value)
    assert said in text and text.startswith(f"{tmp_path / '1.2'}: ") and "\n" not in text


@pytest.mark.parametrize(
    "keys, new, said",
    [
        (
            ("layers", "fc", "weights"),
            [np.zeros((2, 3), np.float32)],
            r"layer 'fc': weights\[0\] has shape \(2, 3\); the net needs",
        ),
        (("layers", "fc", "biases"), np.full((1, 3), np.nan, np.float32), r"layer 'fc': biases holds nan at \(0, 0\)"),
        (("layers", "fc", "weights"), [], r"layer 'fc': weights\[0\] is missing"),
        (
            ("convnet", "pending"),
            [[1, 1, np.zeros((2, 2), np.float32)]] * 4,
            r"pending\[0\] has shape \(2, 2\); the net needs",
        ),
        (("convnet", "moments"), [None], "'moments' has 1 entries; the net has 4 matrices and biases"),
    ],
)
def test_what_does_not_fit_the_net_is_named(keys, new, said, tmp_path):
    file = written(changed(saved(), ("model_state", *keys), new), tmp_path / "1.2")
    with pytest.raises(CheckpointError, match=said) as caught:
        convnet.load(file, backend="cpu")
    assert str(file) in str(caught.value)


def test_all_faults_at_once_but_not_hundreds(tmp_path):
    value = changed(changed(saved(), (*OWN, "options", "mini"), "x"), ("model_state", "epoch"), -1)
    with pytest.raises(CheckpointError, match=r"epoch.*\['options'\]\['mini'\]"):
        checkpoint.load(written(value, tmp_path / "1.2"))
    value = changed(saved(), ("model_state", "train_outputs"), [3] * 10**5)
    with pytest.raises(CheckpointError, match="and more") as caught:
        checkpoint.load(written(value, tmp_path / "1.2"))
    assert len(str(caught.value)) < 1000


def test_a_missing_key_is_named(tmp_path):
    value = saved()
    del value["model_state"]["convnet"]["data_dims"]
    with pytest.raises(CheckpointError, match="damaged; 'convnet' lacks"):
        checkpoint.load(written(value, tmp_path / "1.2"))
    value = saved()
    del value["model_state"]["layers"]
    with pytest.raises(CheckpointError, match=r"model_state\['layers'\] is missing"):
        checkpoint.load(written(value, tmp_path / "1.2"))


def test_names_in_any_language(tmp_path):
    """What is UTF-8 in the file is a name like others."""
    value = saved()
    value["model_state"]["layers"] = {"à": value["model_state"]["layers"]["data"] | {"name": "à"}}
    assert list(checkpoint.load(written(value, tmp_path / "1.2")).layers) == ["à"]


ORIGINAL = [
    ("conv1", "filters", "x", "'filters'] is 'x'; expected a whole number from 1"),
    ("conv1", "groups", [], "'groups'] is a list of 0; expected a number for each of 1 input"),
    ("conv1", "padding", None, "'padding'] is None; expected a list"),
    ("conv1", "channels", [None], ""),
    ("conv1", "neuron", {"type": "relu"}, "'neuron']['params'] is missing"),
    ("conv1", "neuron", "relu\n[evil]", "'neuron'] is 'relu\\n[evil]'; expected"),
    ("conv1", "initW", [float("nan")], "'initW'][0] is nan; expected"),
    ("conv1", "epsW", {"type": "const", "params": {}}, "'epsW']['params']['base'] is missing; expected a finite number"),
    ("data", "dataIdx", -1, "'dataIdx'] is -1; expected a whole number from 0"),
    ("data", "outputs", "x", "'outputs'] is 'x'"),
]


@needs_museum
@pytest.mark.parametrize("year", ["2011", "2012", "2014"])
@pytest.mark.parametrize("name, key, new, said", [w for w in ORIGINAL if w[3]], ids=[w[3] for w in ORIGINAL if w[3]])
def test_wrong_values_of_the_originals(year, name, key, new, said, monkeypatch, tmp_path):
    value = pickles.load(SHARED / "fixtures" / f"ckpt-{year}.pickle")
    layers = value["model_state"]["layers"]
    layer = layers[name] if isinstance(layers, dict) else next(layer for layer in layers if layer["name"] == name)
    layer[key] = new
    monkeypatch.setattr(pickles, "read", lambda path: pickles.Content(value, False, 0))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "1.2")
    assert said in str(caught.value) and str(tmp_path) in str(caught.value)


def test_other_spellings_of_right_values(tmp_path):
    """Texts as bytes of Python 3 and lists as tuples are what they stand for."""
    value = changed(saved(), (*OWN, "options", "data_provider"), b"dummy-cn-3")
    for name in ("test_batches", "tests_at", "train_runs"):
        own = ("model_state", "convnet", "position", name)
        value = changed(value, own, tuple(value["model_state"]["convnet"]["position"].get(name, ())))
    found = checkpoint.load(written(value, tmp_path / "1.2"))
    assert found.options["data_provider"] == "dummy-cn-3"
    assert all(isinstance(items, list) for items in vars(found.position()).values() if isinstance(items, list | tuple))


def test_a_million_faults_are_not_written_out(tmp_path):
    """Of a list that is wrong throughout a few places are named, and no text is made of the others."""
    value = changed(saved(), ("model_state", "layers", "conv1"), saved()["model_state"]["layers"]["conv1"])
    value["model_state"]["layers"]["conv1"]["filterConns"] = [[None] * 300_000]
    written(value, tmp_path / "1.2")
    loaded = pickles.load(tmp_path / "1.2")
    tracemalloc.start()
    try:
        said = rules.message(faults_of(loaded))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "filterConns'][0][0] is None" in said and said.endswith("and more") and peak < 1 << 20
