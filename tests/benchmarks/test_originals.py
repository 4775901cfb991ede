"""benchmarks/card/originals.py over the emulated device and a small library of this test, whose memory is the same."""

import subprocess
import sys

import pytest
from emulator import EmulatedDevice
from nets import DATA, cost_of
from support import ROOT, write_net

from convnet.backends import timing
from convnet.backends.cuda import Cuda
from convnet.backends.cuda.recorder import Recorder

sys.path.insert(0, str(ROOT / "benchmarks/card"))
import originals
from convolutions import Arrays, convolutions

NET = f"""{DATA}[conv1a]
type=conv
inputs=data
channels=3
filters=8
filterSize=5
padding=2
stride=4
initW=0.1
[conv1b]
type=conv
inputs=data
channels=3
filters=8
filterSize=5
padding=2
stride=4
initW=0.1
[conv2]
type=conv
inputs=conv1a,conv1b
channels=8,8
filters=4,4
filterSize=3,3
padding=1,1
stride=1,1
groups=2,2
initW=0.1,0.1
[fc]
type=fc
inputs=conv2
outputs=10
initW=0.1
{cost_of("fc")}"""
RATES = "[{}]\nepsW={}\nepsB=0.1\nmomW={}\nmomB=0\nwc={}\n"
ONE, TWO = ("0.1", "0", "0"), ("0.1,0.1", "0,0", "0,0")
PARAMS = "".join(RATES.format(name, *(TWO if name == "conv2" else ONE)) for name in ("conv1a", "conv1b", "conv2", "fc"))
PARAMS += "[logprob]\ncoeff=1\n"
# FOR visits every product of a convolution: o, i and w are the indices into output, images and weights.
TEXT = """
#define FOR for (int f = 0; f < F; f++) for (int my = 0; my < MY; my++) for (int mx = 0; mx < MX; mx++) \\
    for (int c = 0; c < CF; c++) for (int ky = 0; ky < k; ky++) for (int kx = 0; kx < k; kx++) \\
    for (int n = 0; n < N; n++) { \\
        int y = my * stride + ky - padding, x = mx * stride + kx - padding, group = f / (F / groups); \\
        if (y < 0 || y >= H || x < 0 || x >= W) continue; \\
        long o = ((f * MY + my) * MX + mx) * N + n, i = (((group * CF + c) * H + y) * W + x) * N + n; \\
        long w = ((c * k + ky) * k + kx) * F + f;
#define SIZES int N = s[0], C = s[1], H = s[2], W = s[3], F = s[4], MY = s[5], MX = s[6], k = s[7], \\
    padding = s[8] + SHIFT, stride = s[9], groups = s[10], CF = C / groups; REFUSE
int conv_forward(const float *images, const float *weights, float *out, const int *s) {
    SIZES
    for (long o = 0; o < (long)F * MY * MX * N; o++) out[o] = 0;
    FOR out[o] += images[i] * weights[w]; }
    return 0;
}
int conv_input_grad(const float *grad, const float *weights, float *input_grad, const int *s) {
    SIZES
    for (long i = 0; i < (long)C * H * W * N; i++) input_grad[i] = 0;
    FOR input_grad[i] += grad[o] * weights[w]; }
    return 0;
}
int conv_weight_grad(const float *images, const float *grad, float *weight_grad, const int *s) {
    SIZES
    for (long w = 0; w < (long)CF * k * k * F; w++) weight_grad[w] = 0;
    FOR weight_grad[w] += images[i] * grad[o]; }
    return 0;
}
"""
ALL = ("forward", "input grad", "weight grad")
SYNC = "int conv_sync(void) { return ERROR; }\n"


@pytest.fixture
def build(tmp_path):
    """Compiles the library, with a padding that is off by ``shift``, a line that refuses sizes, or an error of the card."""

    def built(shift=0, refuse="", error=0, text=TEXT + SYNC):
        source, library = tmp_path / "library.c", tmp_path / f"library-{shift}-{error}-{bool(refuse)}.so"
        source.write_text(text)
        options = [f"-DSHIFT={shift}", f"-DREFUSE={refuse}", f"-DERROR={error}"]
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", *options, "-o", library, source], check=True)
        return library

    return built


@pytest.fixture
def net(tmp_path):
    return str(write_net(tmp_path, NET, PARAMS))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(timing, "_LEAST", 0.0)
    monkeypatch.setattr(originals, "TRIES", 1)


def rows(library, net):
    be, loaded = Cuda(EmulatedDevice()), originals.Library(library)
    return [row for convolution in convolutions(net, 4) for row in originals.compare(be, loaded, convolution)]


def test_equal_sizes_are_one_convolution(net):
    first, second = convolutions(net, 4)
    assert first.layers == ("conv1a", "conv1b") and first.passes == ("forward", "weight grad")
    assert second.layers == ("conv2", "conv2") and second.name == "conv2" and second.passes == ALL
    assert second.sizes.images == second.sizes.out == (8, 9, 9, 4)
    assert second.sizes.weights == (4, 3, 3, 8)


def test_every_convolution_of_the_shipped_nets_is_listed():
    listed = {net: convolutions(net, 4) for net in originals.NETS}
    assert [sum(len(found.layers) for found in convs) for convs in listed.values()] == [12, 5, 3]
    be = Cuda(Recorder())
    for convolution in (one for convs in listed.values() for one in convs):
        arrays = Arrays(be, convolution.sizes)
        for kind in convolution.passes:
            arrays.ours(kind)()
    launched = [kernel for _, kernel, *_ in be.device.seen if kernel in originals.FUNCTIONS.values()]
    assert launched.count("conv_forward") == 13 and launched.count("conv_input_grad") == 10


def test_a_library_that_computes_the_same_is_timed_and_agrees(build, net):
    found = rows(build(), net)
    assert [row.kind for row in found] == ["forward", "weight grad", *ALL]
    assert all(row.apart < 1e-5 and not row.remark and row.theirs > 0 and row.ours > 0 for row in found)
    lines = originals.totals(found)
    assert len(lines) == 3 and lines[0].startswith("| **layers-small, all** | forward |")
    ours = sum(2 * row.ours for row in found if row.kind == "forward")
    assert f"| {ours:.3f} |" in lines[0]


def test_a_wrong_padding_is_seen(build, net):
    found = rows(build(shift=1), net)
    assert {row.remark for row in found} == {"results differ"} and originals.totals(found) == []


def test_what_a_library_refuses_does_not_stop_the_rest(build, net):
    found = rows(build(refuse="if (stride > 1) return 7;"), net)
    assert [row.remark for row in found] == ["returned 7", "returned 7", "", "", ""]
    assert originals.line(found[0]).endswith("| - | - | returned 7 |")
    assert originals.totals(found)[0].endswith("| without 1 of 2 |")
    failing = rows(build(error=700), net)
    assert {row.remark for row in failing} == {"the card's error 700"}


def test_the_page_has_a_line_for_each_pass(build, net, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(originals, "why_not_cuda", lambda: "")
    monkeypatch.setattr(originals, "make_backend", lambda name: Cuda(EmulatedDevice()))
    out = tmp_path / "page.md"
    command = ["--library", str(build()), "--out", str(out), "--mini", "4", "--nets", "missing.cfg", net]
    assert originals.main(command) == 0
    page = out.read_text()
    assert page == capsys.readouterr().out and "| missing.cfg | " in page
    assert page.count("| layers-small: conv") == 5 and page.count("**layers-small, all**") == 3
    assert originals.main([*command, "--limit", "-1"]) == 0
    assert "Not timed within -1 s: layers-small: conv1a, conv1b; layers-small: conv2." in out.read_text()


def test_what_is_missing_is_said_in_a_line(build, monkeypatch, capsys, tmp_path):
    def said(*arguments):
        assert originals.main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    assert said() == "not here: no library to compare with; --library names one (of go.py: --originals)\n"
    assert said("--library", tmp_path / "none.so").startswith("not here: no library to compare with at ")
    monkeypatch.setattr(originals, "why_not_cuda", lambda: "no GPU on this machine")
    assert said("--library", build()) == "not here: no GPU on this machine\n"
    monkeypatch.setattr(originals, "why_not_cuda", lambda: "")
    without = build(text=TEXT, error=1)
    assert "conv_sync" in said("--library", without)
    (tmp_path / "text.so").write_text("not a library")
    assert said("--library", tmp_path / "text.so").startswith("not here: ")
