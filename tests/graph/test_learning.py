"""A net that would not learn is refused for training, and the files that may hold its parameters are named."""

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import SMALL_NET, SMALL_PARAMS, write_cifar, write_net

import convnet
from convnet.cli import main as cli
from convnet.cli.run import main
from convnet.errors import OptionError
from convnet.graph.learning import likely_params
from convnet.graph.loading import LayerFiles, parse
from convnet.language.files import shipped_folder
from convnet.layers.weighted import WeightLayer

SHIPPED = shipped_folder("layers-cfg")
NOTHING = "every learning rate is 0 and training would change nothing; name the parameter file: --layer-params FILE"


@pytest.fixture
def lone(tmp_path):
    """A definition whose parameters have other names, among files that are none."""
    write_net(tmp_path)
    (tmp_path / "layers-small.cfg").rename(tmp_path / "mynet.cfg")
    (tmp_path / "layer-params-small.cfg").rename(tmp_path / "rates-of-monday.txt")
    (tmp_path / "notes.txt").write_text("epsW=0.1 was too much\n")
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "batch.pickle").write_bytes(b"\x80\x02]q\x01.")
    shutil.copy(SHIPPED / "layer-params-digits.cfg", tmp_path / "other-params.cfg")
    shutil.copy(SHIPPED / "layers-digits.cfg", tmp_path / "other.cfg")
    return tmp_path


def test_a_run_without_parameters(lone, capsys):
    data = write_cifar(lone / "data")
    options = ["--layer-def", lone / "mynet.cfg", "--data-path", data, "--max-batches", 1, "--save-path", lone / "saved"]
    assert main([*map(str, options)]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("convnet: "))
    assert f"mynet.cfg has weights but no parameters, so that {NOTHING}" in line
    assert "likely " in line and str(lone / "rates-of-monday.txt") in line and "notes.txt" not in line
    assert not list((lone / "saved").rglob("1.1"))
    # What trains nothing goes on.
    assert main([*map(str, options), "--test-only"]) == 0
    few = "[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\noutputs=2\n[cost]\ntype=cost.sum2\ninputs=fc\n"
    (lone / "few.cfg").write_text(few)
    assert main(["--layer-def", str(lone / "few.cfg"), "--check-grads", "--data-provider", "dummy-cn-4"]) == 0
    assert cli(["explain", str(lone / "mynet.cfg")]) == 0
    assert main([*map(str, options), "--layer-params", str(lone / "rates-of-monday.txt")]) == 0


def test_a_measurement_without_parameters(lone, monkeypatch, capsys):
    """Its steps have no gradients of weights."""
    monkeypatch.setattr("convnet.cli.bench.measure", lambda *_: {})
    assert cli(["bench", "--layer-def", str(lone / "mynet.cfg"), "--backend", "reference", "--json", "--math", "tf32"]) == 0
    error = capsys.readouterr().err
    assert f"convnet: warning: {lone / 'mynet.cfg'} has weights but no parameters" in error
    assert "convnet: no effect on the reference backend: --math\n" in error


def test_a_program_without_parameters(lone):
    pictures, labels = np.zeros((4, 32, 32, 3), np.uint8), np.arange(4)
    for net in (convnet.build(lone / "mynet.cfg", side=32), convnet.build(SMALL_NET, side=32)):
        with pytest.raises(OptionError, match="has weights but no parameters") as raised:
            net.train(pictures, labels)
        assert ("rates-of-monday" in str(raised.value)) == (net.files.definition_path != "definition")
        assert net.predict(pictures).shape == (4, 10) and net.position.batches_done == 0
    assert len(convnet.build(SMALL_NET, SMALL_PARAMS, side=32).train(pictures, labels)) == 1


@pytest.mark.parametrize(
    "params, words",
    [
        (
            SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0").replace("epsB=0.002", "epsB=0"),
            "rate is 0 in",
        ),
        (SMALL_PARAMS.replace("coeff=1", "coeff=0"), "every cost has coeff=0 in"),
    ],
)
def test_parameters_with_which_nothing_learns(tmp_path, capsys, params, words):
    net = write_net(tmp_path, params=params)
    options = ["--layer-def", net, "--data-provider", "dummy", "--save-path", tmp_path / "saved", "--max-batches", 1]
    assert main([*map(str, options)]) == 2
    error = capsys.readouterr().err
    assert words in error and "layer-params-small.cfg" in error and "--test-only" in error
    assert main([*map(str, options), "--test-only"]) == 0
    with pytest.raises(OptionError, match=words):
        convnet.build(net, side=32).train(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4))


def test_a_net_without_weights(tmp_path, capsys):
    net = write_net(tmp_path, "[data]\ntype=data\ndataIdx=0\n[cost]\ntype=cost.sum2\ninputs=data\n", "[cost]\ncoeff=1\n")
    assert main(["--layer-def", str(net), "--data-provider", "dummy-cn-12"]) == 2
    assert "has no layer with weights, so there is nothing to train" in capsys.readouterr().err


def test_one_layer_that_learns_is_enough(tmp_path):
    params = SMALL_PARAMS.replace("dexp[base=0.0004;tgtFactor=10;numSteps=3]", "0").replace("epsB=0.002", "epsB=0")
    net = convnet.build(write_net(tmp_path, params=params + "[fc]\nepsB=0.01\n"), side=32)
    net.train(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4))


@pytest.mark.parametrize("name", ["cifar10-26pct", "cifar10-11pct", "imagenet"])
def test_files_are_told_by_the_layers_they_name(tmp_path, name):
    """Among the parameters of all shipped nets, in a folder beside that of the definition, under names that say nothing."""
    (tmp_path / "params").mkdir()
    (tmp_path / "nets").mkdir()
    for path in SHIPPED.glob("layer-params-*"):
        shutil.copy(path, tmp_path / "params" / f"{zlib.crc32(path.name.encode())}.txt")
    definition = Path(shutil.copy(SHIPPED / f"layers-{name}.cfg", tmp_path / "nets" / "it.cfg"))
    layers = [layer.name for layer in parse(LayerFiles.open(definition)).graph.declared if isinstance(layer, WeightLayer)]
    expected = f"{zlib.crc32(f'layer-params-{name}.cfg'.encode())}.txt"
    assert expected in [path.name for path in likely_params(definition, layers)]


def test_weights_that_are_shared_change_by_their_owner_s_rates(tmp_path):
    """A borrower's own rate only says whether it sends a gradient (numerics 13.4)."""
    layer = "type=fc\ninputs=data\noutputs=4\n"
    text = f"[data]\ntype=data\ndataIdx=0\n[a]\n{layer}[b]\n{layer}weightSource=a\n"
    text += "[sum]\ntype=eltsum\ninputs=a,b\n[cost]\ntype=cost.sum2\ninputs=sum\n"
    params = "[DEFAULT]\nmomW=0.9\nmomB=0.9\nepsB=0\ncoeff=1\n[a]\nepsW={}\n[b]\nepsW={}\n[cost]\n"
    for rates in ((0.01, 0), (0, 0.01)):
        net = convnet.build(text, params.format(*rates), side=2)
        matrix = np.ones((net.graph.data_dims[0], 5), np.float32)
        if rates[0]:
            net.train(matrix, np.zeros((1, 5)))
        else:
            with pytest.raises(OptionError, match="every learning rate is 0"):
                net.train(matrix, np.zeros((1, 5)))


def test_keys_of_all_layers_that_no_layer_has(tmp_path):
    """A rate that is missing was always reported; what has a default was lost without a word."""
    params = "[DEFAULT]\nwcc=0.1\nkeeps=0.3\nlr=0.001\nrest=2\n" + SMALL_PARAMS.replace("[DEFAULT]\n", "").replace(
        "epsB=0.002", "epsB=%(lr)s"
    )
    warnings = convnet.build(write_net(tmp_path, params=params), side=32).graph.warnings
    assert [(problem.place.line, problem.nearest) for problem in warnings] == [(2, "wc"), (3, "keep"), (5, "")]
