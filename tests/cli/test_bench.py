import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from emulator import EmulatedDevice
from support import ROOT, SMALL_NET, SMALL_PARAMS

from convnet.backends import timing
from convnet.backends.cpu import KERNELS, Cpu
from convnet.backends.cuda import Cuda
from convnet.cli import kernels, main
from convnet.cli.bench import table
from convnet.data.random import synthesize
from convnet.graph.loading import LayerFiles, parse
from convnet.net import profile as bench
from convnet.net.net import Net


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    for name, size in (("_PRODUCT", 128), ("_PRODUCT_ON_CARDS", 64), ("_STREAM", 4096)):
        monkeypatch.setattr(timing, name, size)


def test_every_layer_and_pass_is_timed(capsys):
    assert main(["bench", "--layer-def", "layers-cifar10-26pct.cfg", "--mini", "8", "--steps", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert report["mini"] == 8 and report["step_ms"]["min"] <= report["step_ms"]["median"] <= report["step_ms"]["max"]
    assert {"forward", "backward", "update"} <= layers["conv1"].keys()
    assert "update" not in layers["pool1"] and "backward" not in layers["labels"]
    taps = 32 * 5 - 2 * (2 + 1)  # along a side, of filters of 5 at 32 places, those inside the image
    flops = 2 * 8 * 32 * 3 * taps**2
    seconds = layers["conv1"]["forward"]["ms"]["median"] / 1e3
    assert layers["conv1"]["forward"]["gflops"] == pytest.approx(flops / seconds / 1e9)


def test_on_a_card_what_is_short_is_repeated(monkeypatch):
    """Layers' passes are captured for that, but for those that vary; weights stay what they are."""
    be = Cuda(device := EmulatedDevice())
    fitted = synthesize(parse(LayerFiles(SMALL_NET, "net.cfg", SMALL_PARAMS, "params.cfg")))
    replayed, weights = [], []
    replay, begin = device.replay, Net.begin_step
    monkeypatch.setattr(device, "replay", lambda captured: (replayed.append(captured), replay(captured)))
    monkeypatch.setattr(
        Net, "begin_step", lambda net, *args: (weights.append(be.download(net.weights[0].value)), begin(net, *args))
    )
    monkeypatch.setattr(timing, "_LEAST", 1e9)
    monkeypatch.setattr(timing, "_MOST", 2)
    report = bench.measure(fitted.graph, fitted.matrices(2), [be], mini=2, steps=2)
    assert report["captured"] and report["device"] == "emulated device" and device.runs_branches
    assert report["in_order_ms"]["min"] > 0 and "ms without branches at the same time" in table(report, 2)
    kinds = {layer["name"]: layer.keys() - {"name", "type"} for layer in report["layers"]}
    assert kinds["conv1"] == {"forward", "backward", "update"} and kinds["data"] == {"forward"}
    idle = {(layer["name"], kind) for layer in report["layers"] for kind in kinds[layer["name"]] if not layer[kind]["gbs"]}
    assert idle == {("conv1_neuron", "forward"), ("conv1_neuron", "backward")}  # conv1 and what reads it include them
    assert "conv1_neuron" not in table(report, 2)
    counts = Counter(id(captured) for captured in replayed).values()  # of parts of whole steps, and of passes
    assert sorted(set(counts)) == [3, 7] and list(counts).count(7) == 2 * 3  # with branches and without
    np.testing.assert_array_equal(weights[-1], weights[-2])


@pytest.mark.parametrize("peak", [1.0, 1e30])
def test_no_share_is_above_what_can_be(monkeypatch, capsys, peak):
    """Whatever else the machine does while a peak is measured: what a layer did can be done."""
    monkeypatch.setattr(bench, "peak_flops", lambda be: peak)
    monkeypatch.setattr(bench, "peak_bytes", lambda be: peak)
    assert main(["bench", "--layer-def", "layers-cifar10-26pct.cfg", "--mini", "8", "--steps", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    passes = {
        f"{kind} of {layer['name']}": layer[kind] for layer in report["layers"] for kind in bench.PASSES if kind in layer
    }
    shares = [numbers["of_flops"] for numbers in passes.values()]
    assert max(shares) <= 1 and report["share_of_peak"] <= 1
    if peak == 1.0:
        assert report["peak"]["by"] in {*passes, "whole steps"} and report["peak"]["gflops"] >= max(
            numbers["gflops"] for numbers in passes.values()
        )
        rows = table(report, 2)
        assert "cached" in rows and not re.search(r"[1-9]\d\d%", rows.replace("100%", ""))
    else:
        assert report["peak"] == {"gflops": 1e21, "gbs": 1e21, "by": "multiply-adds in registers"}


def test_the_method_of_a_convolution_is_named(monkeypatch, capsys):
    """One with fewer multiplications may be faster than the peak, and says nothing about it."""
    named = {"conv_forward": "Winograd F(4x4,5x5)", "conv_weight_grad": "direct", "conv_input_grad": "direct"}
    monkeypatch.setattr(Cpu, "conv_method", lambda be, op, images, *arrays, geometry: named[op])
    monkeypatch.setattr(bench, "peak_flops", lambda be: 1.0)
    net = ["--layer-def", "layers-cifar10-26pct.cfg", "--mini", "4", "--steps", "1"]
    assert main(["bench", *net, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    conv2 = next(layer for layer in report["layers"] if layer["name"] == "conv2")
    assert conv2["forward"]["methods"] == ["Winograd F(4x4,5x5)"] and conv2["backward"]["methods"] == ["direct"]
    assert report["peak"]["by"] not in ("whole steps", "forward of conv1", "forward of conv2", "forward of conv3")
    assert main(["bench", *net]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].endswith("  method") and sum(row.endswith("  Winograd F(4x4,5x5)") for row in rows) == 3


@pytest.mark.parametrize("kernels", KERNELS)
def test_multiply_adds_are_counted(kernels):
    """Those of every thread, in vectors: twice the rounds are twice the operations."""
    be = Cpu(2, kernels)
    assert be.multiply_add(2000) == 2 * be.multiply_add(1000) > 2 * 1000
    assert timing.peak_flops(be, tries=1) > 0 and timing.peak_name(be) == "multiply-adds in registers"


def test_a_busy_moment_does_not_count(monkeypatch, capsys):
    """The larger of what is measured before and after the layers."""
    measured = iter([2e30, 1e30])
    monkeypatch.setattr(bench, "peak_flops", lambda be: next(measured))
    assert main(["bench", "--layer-def", "layers-cifar10-26pct.cfg", "--mini", "4", "--steps", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["peak"]["gflops"] == 2e21


def test_table(capsys):
    assert main(["bench", "--layer-def", "layers-cifar10-26pct.cfg", "--mini", "4", "--steps", "1"]) == 0
    text = capsys.readouterr().out
    assert (
        "conv2              backward" in text
        and "min to max" in text
        and "images/s" in text
        and "of the peak measured here" in text
        and re.search(r"B of memory at most, .* of convnet explain\n", text)
    )


def test_memory_of_a_step_is_what_is_expected():
    """On a net of 10 MB and more, beside which what the process itself takes is little; a new process has no free memory."""
    options = ["--layer-def", "layers-cifar10-18pct.cfg", "--mini", "128", "--steps", "1", "--json", "--backend", "cpu"]
    said = subprocess.run([sys.executable, "-m", "convnet", "bench", *options], capture_output=True, text=True, cwd=ROOT)
    memory = json.loads(said.stdout)["memory"]
    assert 0 < memory["peak"] <= 1.25 * memory["expected"]


EXAMPLE = "--layer-def layers-imagenet.cfg --steps 20"


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["--layer-def", "no.cfg"], 1, "no.cfg: error: no such layer file"),
        (["--layer-def", "layers-digits.cfg", "--steps", "0"], 2, "convnet: --steps: '0' is not a whole number from 1"),
        ([], 2, f"convnet: --layer-def is missing; see --help (example: convnet bench {EXAMPLE})"),
    ],
)
def test_mistakes(capsys, options, status, message):
    assert main(["bench", *options]) == status
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.slow
def test_kernels_of_a_layer(capsys):
    pytest.importorskip("cuda.bindings.nvrtc")
    assert main(["kernels", "layers-imagenet.cfg", "conv2a", "--arch", "80"]) == 0
    text = capsys.readouterr().out
    assert "conv_forward (cuda/conv.cu)" in text and "CF=48" in text and "registers" in text
    assert (
        "2012       filterActs_YxX_color, filterActs" in text
        and "kColVectorOp\n" in text
        and text.count("conv_weight_grad (") == 1
    )
    assert main(["kernels", "layers-imagenet.cfg", "conv2a", "--source"]) == 0
    assert '#line 1 "conv.cu"' in capsys.readouterr().out


def test_kernels_of_no_layer(capsys):
    assert main(["kernels", "layers-imagenet.cfg", "conv22"]) == 2
    assert "did you mean 'conv2" in capsys.readouterr().err


def test_kernels_of_a_device_without_tensor_cores(capsys):
    """They would be compiled to products that add nothing."""
    assert main(["kernels", "layers-imagenet.cfg", "conv2a", "--math", "tf32", "--arch", "75"]) == 2
    assert "sm_75 has no TF32" in capsys.readouterr().err


def test_listing_holds_every_pass():
    listed = {launch.kernel for launch in kernels.launches_of("layers-cifar10-26pct.cfg", None, "conv2", 4)}
    assert {"conv_forward", "conv_input_grad", "conv_weight_grad", "sum_rows", "update"} <= listed


@pytest.mark.parametrize("definition", ["layers-imagenet.cfg", "layers-cifar10-11pct.cfg"])
def test_every_layer_can_be_listed(definition):
    graph = synthesize(parse(LayerFiles.open(definition, None))).graph
    for name, layer in graph.layers.items():
        listed, may_be_included = kernels.launches_of(definition, None, name, 4), layer.activation is not None
        assert listed or may_be_included or layer.type in ("data", "concat"), name


def test_a_neuron_without_kernels_of_its_own(capsys):
    assert main(["kernels", "layers-imagenet.cfg", "conv3a_neuron"]) == 0
    assert "the layers beside it compute its neuron" in capsys.readouterr().out
    assert main(["kernels", "layers-imagenet.cfg", "conv3a"]) == 0
    assert "NEURON=RELU" in capsys.readouterr().out
