"""Initial weights: functions beside the layer file, the helpers of initw, connections, and every mistake in one line."""

import numpy as np
import pytest
from support import SMALL_NET, SMALL_PARAMS, write_cifar, write_net

from convnet import checkpoint
from convnet.checkpoint import initw
from convnet.cli.run import main
from convnet.errors import ConvnetError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.initial import initial_state

OWN = """
import numpy as np
def weights(name, index, shape, params=()):
    return np.full(shape, float(params[0]) if params else index, np.float32)
def biases(name, shape, params=()):
    return np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
def double(name, index, shape, params=()):
    return np.zeros(shape)
def broken(name, shape, params=()):
    return 1 / 0
def turned(name, index, shape, params=()):
    groups, channels, seen = shape
    return list(range(channels))[::-1] * (groups * seen // channels)
"""


def state_of(folder, text, module=OWN, dims=None):
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(module)
    files = LayerFiles(text, str(folder / "net.cfg"), SMALL_PARAMS + "[local]\n", str(folder / "params.cfg"))
    return initial_state(build_graph(files, dims or {0: 3072, 1: 1}, 10), seed=1)


def with_keys(layer, keys):
    return SMALL_NET.replace(f"[{layer}]\n", f"[{layer}]\n{keys}\n")


def test_functions_beside_the_layer_file(tmp_path):
    text = with_keys("fc", "initWFunc=mine.weights(0.5)\ninitBFunc=mine.biases")
    fc = state_of(tmp_path, text)["fc"]
    assert (fc["weights"][0] == 0.5).all() and fc["weights"][0].flags.f_contiguous
    np.testing.assert_array_equal(fc["biases"], np.arange(10)[None])


def test_function_goes_before_shared_weights(tmp_path):
    """Numerics 15.3: the layer then owns a fresh matrix."""
    twice = with_keys("fc", "weightSource=,fc[0]\ninitWFunc=mine.weights").replace("inputs=drop", "inputs=drop,drop")
    weights = state_of(tmp_path, twice)["fc"]["weights"]
    assert (weights[0] == 0).all() and (weights[1] == 1).all()


def test_connections_by_function(tmp_path):
    local = "[local]\ntype=local\ninputs=pool1\nchannels=8\nfilters=2\nfilterSize=3\ninitW=0.1\ngroups=4\nrandSparse=1\n"
    text = SMALL_NET.replace("[drop]", local + "filterChannels=4\ninitCFunc=mine.turned\n[drop]")
    text = text.replace("type=dropout\ninputs=pool1", "type=dropout\ninputs=local")
    assert state_of(tmp_path, text)["local"]["filterConns"] == [[7, 6, 5, 4, 3, 2, 1, 0] * 2]
    drawn = state_of(tmp_path, text.replace("initCFunc=mine.turned\n", ""))["local"]["filterConns"][0]
    assert sorted(drawn[:8]) == sorted(drawn[8:]) == list(range(8))  # numerics 1.10


@pytest.mark.parametrize(
    "layer, keys, message",
    [
        ("fc", "initWFunc=mine.double", r"mine.double returned float64 \(512, 10\); it must return a float32 array"),
        ("fc", "initBFunc=mine.broken", r"mine.broken failed at .*mine.py:10: ZeroDivisionError"),
        ("fc", "initWFunc=mine.missing", r"mine.py has no function 'missing'"),
        ("fc", "initWFunc=elsewhere.f", r"no module elsewhere.py beside the layer file"),
        ("fc", "initWFunc=os.path.join(a,b)", r"no module os.path.py"),
        ("fc", "initBFunc=initw.makeb_vec(1,2)", r"2 values for 10 biases"),
        ("fc", "initWFunc=initw.makew", r"makew takes at least 1 argument"),
        ("fc", "initWFunc=initw.makew(nowhere)", r"no checkpoint nowhere"),
    ],
)
def test_mistakes(tmp_path, layer, keys, message):
    with pytest.raises(ConvnetError, match=message) as caught:
        state_of(tmp_path, with_keys(layer, keys))
    assert f"layer '{layer}'" in str(caught.value)


def test_module_that_does_not_import(tmp_path):
    with pytest.raises(ConvnetError, match=r"mine.py cannot be imported at .*:1: NameError"):
        state_of(tmp_path, with_keys("fc", "initWFunc=mine.f"), "undefined")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a short run."""
    folder = tmp_path_factory.mktemp("saved")
    options = ["--layer-def", write_net(folder), "--data-path", write_cifar(folder / "data"), "--save-path", folder]
    assert main([*map(str, options), "--max-batches", "1", "--test-freq", "1"]) == 0
    return checkpoint.find_latest(folder, checkpoint.load)


def test_weights_from_a_checkpoint(saved, tmp_path):
    """initw.makew and makeb through a layer file, by the layer's own name and by another's (numerics 15.3)."""
    path, value, _ = saved
    old = value.layers
    text = with_keys("conv1", f"initWFunc=initw.makew({path})\ninitBFunc=initw.makeb({path})")
    text = text.replace("[fc]", "[fc10]").replace("inputs=fc", "inputs=fc10")
    text = text.replace(
        "[fc10]\n", f"[fc10]\ninitWFunc=initw.makew({path.parent},fc)\ninitBFunc=initw.makeb_vec({'7,' * 9}7)\n"
    )
    new = state_of(tmp_path, text)
    np.testing.assert_array_equal(new["conv1"]["weights"][0], old["conv1"]["weights"][0])
    np.testing.assert_array_equal(new["conv1"]["biases"], old["conv1"]["biases"])
    np.testing.assert_array_equal(new["fc10"]["weights"][0], old["fc"]["weights"][0])
    assert (new["fc10"]["biases"] == 7).all()


def test_joined_matrices(saved):
    path, value, _ = saved
    conv = value.layers["conv1"]
    twice = [str(path), "conv1", "conv1"]
    np.testing.assert_array_equal(initw.makewcat("x", 0, (75, 16), twice), np.hstack([conv["weights"][0]] * 2))
    np.testing.assert_array_equal(initw.makewcat("x", 0, (150, 8), twice), np.vstack([conv["weights"][0]] * 2))
    np.testing.assert_array_equal(initw.makebcat("x", (16, 1), twice), np.vstack([conv["biases"]] * 2))
    with pytest.raises(ConvnetError, match=r"do not join to \(3, 3\)"):
        initw.makewcat("x", 0, (3, 3), twice)
    with pytest.raises(ConvnetError, match="did you mean 'conv1'"):
        initw.makew("conv11", 0, (75, 8), [str(path)])
    with pytest.raises(ConvnetError, match=r"1 matrices, counted from 0; none is number 2"):
        initw.makew("conv1", 2, (75, 8), [str(path)])


def test_files_of_2012_name_only_the_layer(saved, tmp_path, monkeypatch):
    path, value, _ = saved
    text = with_keys("conv1", "initWFunc=initw.makew(conv1)")
    monkeypatch.setenv("CONVNET_INITW", str(path))
    old = value.layers["conv1"]["weights"][0]
    np.testing.assert_array_equal(state_of(tmp_path, text)["conv1"]["weights"][0], old)
    with pytest.raises(ConvnetError, match=r"layer 'conv1' in .* has no random connections"):
        initw.makec("conv1", 0, (1, 3, 3), ["conv1"])
    monkeypatch.delenv("CONVNET_INITW")
    with pytest.raises(ConvnetError, match="let CONVNET_INITW name the checkpoint"):
        state_of(tmp_path, text)
