"""Initial weights: functions beside the layer file, the helpers of initw, connections, and every mistake in one line."""

import numpy as np
import pytest
from support import SMALL_NET, SMALL_PARAMS, make_graph, write_cifar, write_net

from convnet import checkpoint
from convnet.checkpoint import initw
from convnet.cli.run import main
from convnet.errors import ConvnetError, LayerFileError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.net.initial import draw_functions, initial_state

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


def state_of(folder, text, module=OWN, dims=None, may_run_code=True):
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(module)
    files = LayerFiles(text, str(folder / "net.cfg"), SMALL_PARAMS + "[local]\n", str(folder / "params.cfg"))
    return initial_state(build_graph(files, dims or {0: 3072, 1: 1}, 10), seed=1, may_run_code=may_run_code)


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
        ("fc", "initBFunc=run.main", r"no module run.py beside the layer file"),
        ("fc", "initBFunc=checkpoint.load", r"no module checkpoint.py beside the layer file"),
        ("fc", "initBFunc=initw.load(x)", r"initw has no function 'load'"),
        ("fc", "initBFunc=initw._layers(x)", r"initw has no function '_layers'"),
        ("fc", "initBFunc=initw.os.system(true)", r"no module initw.os.py beside"),
        ("fc", "initBFunc=initw.make(x)", r"initw has no function 'make'; did you mean 'make"),
        ("fc", "initBFunc=..mine.biases", r"is not valid"),
        ("fc", "initBFunc=.mine.biases", r"is not valid"),
        ("fc", "initBFunc=mine..biases", r"is not valid"),
        ("fc", "initBFunc=initw.makeb_vec(1,2)", r"2 values for 10 biases"),
        ("fc", "initWFunc=initw.makew", r"makew takes at least 1 argument"),
        ("fc", "initWFunc=initw.makew(nowhere)", r"no checkpoint nowhere"),
    ],
)
def test_mistakes(tmp_path, layer, keys, message):
    with pytest.raises(ConvnetError, match=message) as caught:
        state_of(tmp_path, with_keys(layer, keys))
    assert f"layer '{layer}'" in str(caught.value)


@pytest.mark.parametrize("word", ["inf", "nan", "1e39", "-3.4e38"])
@pytest.mark.parametrize("key", ["initW", "initB"])
def test_first_values_that_float32_does_not_hold(key, word):
    """Of initW also those whose draws would be beyond it; files with them are read, since only drawing needs them."""
    graph = make_graph(
        with_keys("fc", f"initB={word}") if key == "initB" else SMALL_NET.replace("0.01", word), {0: 3072, 1: 1}, 10
    )
    if (key, word) == ("initB", "-3.4e38"):
        assert initial_state(graph, 1)["fc"]["biases"].min() == np.float32(-3.4e38)
        return
    with pytest.raises(LayerFileError, match=f"layer '(fc|conv1)': '{key}' is .*; no result would be a number"):
        initial_state(graph, 1)


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
    with pytest.raises(ConvnetError, match=r"1 matrix, counted from 0; none is number 2"):
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


WITNESS = "from pathlib import Path\nPath(__file__).with_name('ran').write_text('')\n" + OWN


@pytest.fixture
def strange(tmp_path):
    """A net whose file names functions beside it, which leave a file when they are only imported."""
    text = with_keys("fc", "initWFunc=mine.weights(0.25)\ninitBFunc=deep.er.biases")
    (tmp_path / "net" / "deep").mkdir(parents=True)
    for name in ("mine.py", "deep/er.py"):
        (tmp_path / "net" / name).write_text(WITNESS)
    return write_net(tmp_path / "net", text)


def ran(net):
    return sorted(path.parent.name for path in net.parent.rglob("ran"))


REFUSED = (
    r"names functions that lie beside it: layer 'fc' initWFunc=mine.weights\(0.25\) in .*mine.py; layer 'fc' initBFunc="
)


def test_code_beside_a_layer_file_needs_permission(strange, tmp_path):
    import convnet

    for call in (convnet.build, lambda path: state_of(path.parent, path.read_text(), WITNESS, may_run_code=False)):
        with pytest.raises(ConvnetError, match=REFUSED):
            call(strange)
    assert not ran(strange)
    net = convnet.build(strange, allow_init_code=True)
    assert (net.weights["fc"][0] == 0.25).all() and ran(strange) == ["deep", "net"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--layer-def", "{net}", "--max-batches", "1", "--data-path", "{data}", "--save-path", "{out}"),
        ("run", "--layer-def", "{net}", "--max-batches", "1", "--data-path", "{data}", "--unshare-weights", "fc"),
        ("run", "--layer-def", "{net}", "--check-grads", "--compat", "2012"),
    ],
)
def test_run_asks_or_refuses(strange, tmp_path, capsys, words, monkeypatch):
    from convnet.cli import main as convnet_main

    monkeypatch.chdir(tmp_path)
    places = {"net": strange, "data": write_cifar(tmp_path / "data"), "out": tmp_path / "out"}
    words = [word.format(**places) for word in words]
    assert convnet_main(words) == 1
    said = capsys.readouterr().err
    assert "No code was run. If you trust it: convnet run --allow-init-code" in said and said.count("\n") == 1
    assert not ran(strange)
    assert convnet_main([*words, "--allow-init-code"]) in (0, 1)  # gradients of this net need not pass
    assert ran(strange) == ["deep", "net"]


@pytest.mark.parametrize(
    "verb", ["explain", "draw", pytest.param("bench", marks=pytest.mark.slow), "convert", "diff", "kernels", "check"]
)
def test_other_verbs_run_no_code(strange, tmp_path, capsys, verb, monkeypatch):
    """And bench measures without it, since times do not depend on weights."""
    from convnet.cli import main as convnet_main

    monkeypatch.chdir(tmp_path)
    words = {
        "bench": ["bench", "--layer-def", strange, "--mini", "4", "--steps", "1", "--warmup", "1", "--threads", "1"],
        "convert": ["convert", strange, "--to", "toml"],
        "diff": ["diff", strange, strange],
        "kernels": ["kernels", strange, "conv1"],
        "check": ["run", "--layer-def", strange, "--check-grads", "--max-batches", "1"],
    }.get(verb, [verb, strange])
    assert convnet_main([str(word) for word in words]) == 0
    assert not ran(strange)


@pytest.mark.parametrize(
    "answer, allowed", [("y", True), ("yes", True), ("", False), ("n", False), ("Y ", True), ("ja", False)]
)
def test_the_question_at_a_terminal(strange, capsys, monkeypatch, answer, allowed):
    import io
    import sys

    from convnet.cli.permission import may_run_code

    graph = build_graph(LayerFiles.open(strange), {0: 3072, 1: 1}, 10)
    typed = io.StringIO(answer + "\n")
    monkeypatch.setattr(sys, "stdin", typed)
    for stream in (typed, sys.stderr):  # it is asked where both are terminals
        with pytest.raises(ConvnetError, match=REFUSED):
            may_run_code(graph, False)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    if allowed:
        assert may_run_code(graph, False)
    else:
        with pytest.raises(ConvnetError, match=REFUSED):
            may_run_code(graph, False)
    said = capsys.readouterr().err
    assert ".cfg asks to run code" in said and "mine.weights(0.25) in " in said and said.endswith("[y/N] ")
    assert may_run_code(graph, True)
    plain = build_graph(LayerFiles(SMALL_NET, "net.cfg", SMALL_PARAMS, "params.cfg"), {0: 3072, 1: 1}, 10)
    assert not may_run_code(plain, False) and capsys.readouterr().err == ""


def test_permission_is_for_one_run(strange, tmp_path, capsys, monkeypatch):
    """No checkpoint and no --config passes it on; a run that goes on needs none, for its weights are in the checkpoint."""
    import convnet
    from convnet.options import BY_NAME, Options

    assert not BY_NAME["allow_init_code"].sticky
    assert Options.of({}, {"allow_init_code": 1}).allow_init_code == 0
    config = tmp_path / "run.toml"
    config.write_text("allow-init-code = true\n")
    assert main(["--layer-def", str(strange), "--config", str(config)]) == 2
    assert "allow-init-code is read from the command line only" in capsys.readouterr().err
    data, out = write_cifar(tmp_path / "data"), tmp_path / "out"
    words = ["--layer-def", strange, "--data-path", data, "--save-path", out, "--max-batches", "1", "--allow-init-code"]
    assert main([*map(str, words)]) == 0
    [saved] = out.iterdir()
    for path in strange.parent.rglob("ran"):
        path.unlink()
    for more in (
        [],
        ["--conv-to-local", "conv1"],
        ["--unshare-weights", "fc"],
        ["--test-only"],
        ["--check-grads", "--compat", "2012"],
    ):
        assert main(["--load-file", str(saved), "--max-batches", "1", *more]) in (0, 1), capsys.readouterr().err
        assert "No code was run" not in capsys.readouterr().err
    convnet.load(saved)
    assert not ran(strange)


TWO = """[data]
type=data
dataIdx=0
[a]
type=fc
inputs=data
outputs=4
initW=%s
%s
[b]
type=fc
inputs=a,a
outputs=4
initW=%s
initB=1
initWFunc=mine.weights(0.5)
initBFunc=initw.makeb(a)
[cost]
type=cost.sum2
inputs=b
"""


@pytest.mark.parametrize(
    "of_a, function, of_b, deviations, told",
    [
        ("0.2", "", "0.3,0.4", [0.3, 0.4], "0.3 (initW), 0.4 (initW)"),
        ("0.2", "", "0,0.4", [0.4, 0.4], "0.4 (initW)"),
        ("0.2", "", "0.3,0", [0.3, 0.3], "0.3 (initW)"),
        ("0.2", "", "0,0", [0.2, 0.2], "0.2 (initW of 'a')"),
        ("0", "", "0,0", [0.01, 0.01], "0.01 (by default)"),
        ("0.2", "initWFunc=initw.makew(a)", "0,nan", [0.2, 0.2], "0.2 (initW of 'a')"),
    ],
)
def test_weights_drawn_in_place_of_functions(of_a, function, of_b, deviations, told):
    graph = make_graph(TWO % (of_a, function, of_b), {0: 3000})
    lines = draw_functions(graph)
    expected = f"Layer 'b': weights of deviation {told}, biases of 1 in place of mine.weights(0.5), initw.makeb(a)."
    assert lines == [*["Layer 'a': weights of deviation 0.2 (initW) in place of initw.makew(a)."] * bool(function), expected]
    state = initial_state(graph, 1)
    assert (state["b"]["biases"] == 1).all()
    drawn = np.random.RandomState(1)
    drawn.randn(3000, 4)
    for matrix, deviation in zip(state["b"]["weights"], deviations, strict=True):
        np.testing.assert_array_equal(matrix, (deviation * drawn.randn(4, 4)).astype(np.float32))


def test_run_draws_weights_in_place_of_functions_that_nobody_has(strange, tmp_path, capsys, caplog):
    """Files of 2012 name a checkpoint that was never published: the message says what to do, and that does it."""
    import convnet

    words = ["--data-path", str(write_cifar(tmp_path / "data")), "--max-batches", "1", "--save-path", str(tmp_path / "out")]
    lost = write_net(tmp_path / "lost", with_keys("fc", "initWFunc=initw.makew(fc2048a)"))
    for path, line in ((lost, "initw.makew(fc2048a)"), (strange, "mine.weights(0.25), deep.er.biases")):
        words_of = ["--layer-def", str(path), *words]
        assert main(words_of) == 1
        assert "--init-funcs draw" in capsys.readouterr().err
        assert main([*words_of, "--init-funcs", "draw"]) == 0
        assert f"in place of {line}." in capsys.readouterr().out.replace("\n", " ")
        assert convnet.build(path, init_funcs="draw").weights["fc"][0].std() == pytest.approx(0.01, rel=0.1)
        assert f"in place of {line}." in caplog.text
    assert not ran(strange)
    assert main(["--load-file", str(tmp_path / "out"), "--max-batches", "1", "--init-funcs", "draw"]) == 0
    assert "No effect on the weights of a checkpoint: --init-funcs." in capsys.readouterr().out.replace("\n", " ")
    plain = write_net(tmp_path / "plain", SMALL_NET)
    assert main(["--layer-def", str(plain), *words, "--init-funcs", "draw"]) == 0
    assert "No effect where no layer names a function: --init-funcs." in capsys.readouterr().out


def test_an_initw_beside_the_layer_file_is_its_own(tmp_path):
    text = with_keys("fc", "initBFunc=initw.makeb_vec(1,2,3,4,5,6,7,8,9,10)")
    assert state_of(tmp_path / "without", text, may_run_code=False)["fc"]["biases"][0, 9] == 10
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "initw.py").write_text("def makeb_vec(name, shape, params=()):\n    raise ValueError('mine')\n")
    with pytest.raises(ConvnetError, match=r"initBFunc=initw.makeb_vec\(1.* in .*beside/initw.py"):
        state_of(tmp_path / "beside", text, may_run_code=False)
    with pytest.raises(ConvnetError, match=r"failed at .*initw.py:2: ValueError: mine"):
        state_of(tmp_path / "beside", text)


def test_the_public_functions_of_initw():
    from convnet.net.functions import _PUBLIC

    assert set(_PUBLIC) == {name for name in vars(initw) if name.startswith("make")}
