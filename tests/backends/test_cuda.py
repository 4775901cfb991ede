"""What is true of the cuda backend on any machine: sources, compiling, the cache, and that no kernel goes untested."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from emulator.device import check_extents
from support import BACKENDS, ROOT, SMALL_NET, make_graph

from convnet.backends import cuda
from convnet.backends.arguments import Activation, Criterion, Geometry, Rates, Response, Window
from convnet.backends.cuda import Cuda, compile, source
from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.cubin import resources_of
from convnet.backends.cuda.recorder import Recorder
from convnet.backends.cuda.source import Source
from convnet.errors import BackendError
from convnet.layers.modes import Mode
from convnet.net.dry_run import dry_run, empty_state
from convnet.net.net import Net
from convnet.storage import write_atomically

ARCHITECTURES = (75, 80, 90, 120)
# C, S, N, F, k, padding, stride, groups, local, random connections
CONVOLUTIONS = [
    (10, 7, 5, 9, 3, 0, 2, 1, True, True),
    (10, 7, 5, 9, 3, 0, 2, 1, True, False),
    (384, 13, 128, 384, 3, 1, 1, 2, False, False),
]


def launches(math: str, C, S, N, F, k, padding, stride, groups, local, random) -> list[tuple]:
    """What all passes of a convolution start, biases included."""
    recorder = Recorder(math)
    be, M, Cf = Cuda(recorder), (S + 2 * padding - k) // stride + 1, C // groups // (2 if random else 1)
    images, out = be.empty((C, S, S, N)), be.empty((F, M, M, N))
    weights = be.empty((*((M * M,) if local else ()), Cf, k, k, F))
    conns = be.connections([0] * Cf * groups) if random else None
    geometry = Geometry(padding, stride, groups, conns)
    be.conv_forward(images, weights, out, geometry=geometry, biases=be.empty((F,)))
    be.conv_input_grad(out, weights, images, geometry=geometry)
    be.conv_weight_grad(images, out, weights, geometry=geometry)
    rows = out.reshape(-1, N) if local else out.reshape(F, -1)
    be.add_bias(rows, be.empty((len(rows),)))
    be.sum_rows(rows, be.empty((len(rows),)))
    return recorder.seen


def specialisations() -> list[Source]:
    """Every file as some layer has it compiled."""
    found = [seen[0] for math in ("float32", "tf32") for sizes in CONVOLUTIONS for seen in launches(math, *sizes)]
    recorder = Recorder()
    be, x = Cuda(recorder), np.zeros((4, 6, 6, 8), np.float32)
    maps, flat = be.upload(x), be.upload(x.reshape(-1, 8))
    be.add(flat, flat)
    be.neuron_forward(flat, flat, activation=Activation("tanh", 1.0, 1.0))
    be.update(flat, flat, flat, rates=Rates(0.9, 0.1, 0.0))
    be.pool_forward("avg", maps, be.zeros((4, 3, 3, 8)), window=Window(3, 0, 2))
    be.norm_forward("rnorm", maps, maps, response=Response(3, 0.1, 0.75, 1.0))
    be.norm_forward("cmrnorm", maps, maps, response=Response(4, 0.1, 0.75, 1.0))
    be.cost_forward(flat[:1], flat, be.cost_vector(3), criterion=Criterion("logreg", topk=5))
    be.mirror(maps, maps)
    return list(dict.fromkeys([*found, *(seen[0] for seen in recorder.seen)]))


@pytest.mark.parametrize("math", ["float32", "tf32"])
@pytest.mark.parametrize("local", [True, False])
def test_large_layers_can_be_started(math, local):
    """Only the first extent of a grid may exceed 65,535."""
    for _, _, grid, block, shared in launches(math, 4, 300, 1000, 8, 3, 1, 1, 1, local, False):
        check_extents((*grid, 1, 1)[:3], (*block, 1, 1)[:3], shared, math)


@pytest.fixture(scope="module")
def compiler():
    try:
        return compile.Nvrtc()
    except Exception as error:
        pytest.skip(f"NVRTC cannot be installed here: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("capability", ARCHITECTURES)
def test_every_kernel_compiles(compiler, capability):
    """TF32 needs sm_80; on sm_75 nobody asks for it."""
    sources = [s for s in specialisations() if capability >= 80 or not dict(s.tiles).get("TF32")]
    assert {s.file for s in sources} == set(source.files())
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        codes = list(workers.map(lambda s: compile.build(s, capability, compiler), sources))
    assert all(code.startswith(b"\x7fELF") for code in codes)
    found = {name for s in sources for name, signature in source.signatures(s.file).items() if _is_in(s, signature)}
    assert found == all_kernels()


def all_kernels() -> set[str]:
    return {name for file in source.files() for name in source.signatures(file)}


def _is_in(s: Source, signature) -> bool:
    tiles = dict(s.tiles)
    if "==" in signature.guard:
        return dict(s.names)["PASS"][tiles["PASS"]] == signature.guard.split()[-1]
    return not signature.guard or bool(tiles.get(signature.guard))


def test_the_cache(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    eltwise = Source.of("eltwise.cu", {}, {"THREADS": 256})
    first = compile.build(eltwise, 90, compiler)
    monkeypatch.setattr(compiler, "compile", lambda *_: pytest.fail("compiled again"))
    assert compile.build(eltwise, 90, compiler) == first
    with pytest.raises(pytest.fail.Exception):
        compile.build(Source.of("eltwise.cu", {}, {"THREADS": 128}), 90, compiler)


def flipped(kept):
    return kept[:2000] + bytes([kept[2000] ^ 1]) + kept[2001:]


DAMAGE = {"empty": lambda _: b"", "zeros": lambda _: bytes(4096), "cut": lambda kept: kept[:-100], "flipped": flipped}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_is_mended(compiler, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    eltwise = Source.of("eltwise.cu", {}, {"THREADS": 256})
    for target in (90, 91):  # machine code and PTX
        made = compile.build(eltwise, target, compiler)
        (path,) = (tmp_path / "kernels").iterdir()
        kept = path.read_bytes()
        path.write_bytes(damage(kept))
        assert compile.build(eltwise, target, compiler) == made and path.read_bytes() == kept
        path.unlink()


def test_two_writers_do_not_meet(tmp_path):
    """Their temporary files differ, also between machines that share a folder."""
    names = []
    for _ in range(2):
        write_atomically(tmp_path / "kernel", lambda file: names.append(file.name))
    assert len(set(names)) == 2


def test_mistakes_name_file_line_and_constants(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    broken = Source.of("eltwise.cu", {"N": 3}, {})
    with pytest.raises(BackendError, match=r"(?s)eltwise.cu .* for sm_90 with N=3.*eltwise.cu\(\d+\).*THREADS"):
        compile.build(broken, 90, compiler)


def test_targets():
    class Fake(compile.Compiler):
        architectures, version = (75, 90), "fake"

        def compile(self, text, name, target):
            return b""

    assert [Fake().target(c) for c in (75, 80, 90, 100)] == ["sm_75", "compute_75", "sm_90", "compute_90"]
    with pytest.raises(BackendError, match="older CUDA toolkit"):
        Fake().target(61)
    Fake.architectures = ()
    with pytest.raises(BackendError, match="does not say for which"):
        Fake().target(90)


def test_ptx_does_not_say_how_many_registers_are_used():
    with pytest.raises(BackendError, match="PTX"):
        resources_of(b".version 8.0", "add")


def test_arrays_are_views():
    array = BACKENDS["cuda-emulated"].upload(np.arange(24.0).reshape(4, 6))
    assert isinstance(array, DeviceArray)
    part = array[1:3].reshape(2, 3, -1)
    np.testing.assert_array_equal(BACKENDS["cuda-emulated"].download(part), np.arange(6.0, 18).reshape(2, 3, 2))
    for bad in (lambda: array[::2], lambda: array.reshape(5, 5)):
        with pytest.raises(ValueError):
            bad()


def test_a_whole_net_compiles_few_kernels():
    """Layers of the same shape share theirs, as both towers of the 2012 network do."""
    text = "".join(
        f"[c{t}]\ntype=conv\ninputs=data\nchannels=3\nfilters=16\nfilterSize=3\npadding=1\nstride=1\ninitW=0.1\n"
        for t in "ab"
    )
    text = "[data]\ntype=data\ndataIdx=0\n" + text + "[sum]\ntype=eltsum\ninputs=ca,cb\n[cost]\ntype=cost.sum2\ninputs=sum\n"
    graph, recorder = make_graph(text, {0: 3 * 64}), Recorder()
    net = Net(graph, Cuda(recorder), minibatch=8, state=empty_state(graph))
    net.forward([np.zeros((192, 8), np.float32)], 8, Mode.TRAIN)
    net.backward()
    assert sum(seen[1] == "conv_forward" for seen in recorder.seen) == 2
    assert len({seen[0] for seen in recorder.seen if seen[1] == "conv_forward"}) == 1


@pytest.mark.slow
def test_a_net_is_compiled_before_it_runs(compiler, tmp_path, monkeypatch):
    """Several kernels at a time; afterwards neither the run nor the next start needs the compiler."""
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path))
    graph = make_graph(SMALL_NET, {0: 3 * 16 * 16, 1: 1}, 10)
    device = Recorder()
    device.capability = 90
    be, names = Cuda(device), set()
    be.prepare(lambda noting: dry_run(graph, noting, 8))
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kernels").iterdir()}
    monkeypatch.setattr(type(compiler), "compile", lambda *_: pytest.fail("compiled twice"))
    be.prepare(lambda noting: dry_run(graph, noting, 8))
    net = Net(graph, be, 8, state=empty_state(graph))
    net.train([np.zeros((768, 8), np.float32), np.zeros((1, 8), np.float32)], 8)
    for launched, *_ in device.seen:
        names.add(launched.file)
        compile.build(launched, 90)
    assert {"conv.cu", "pool.cu", "cost.cu", "weights.cu"} <= names
    assert made == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kernels").iterdir()}


def test_a_smaller_minibatch_is_compiled_at_once_too(monkeypatch):
    """Before the first pass of a size, and only what the pass needs."""
    graph, asked = make_graph(SMALL_NET, {0: 3 * 16 * 16, 1: 1}, 10), []
    device = Recorder()
    device.capability = 90
    monkeypatch.setattr(cuda, "compile_all", lambda sources, capability: asked.append({s.file for s in sources}))
    net = Net(graph, Cuda(device), 8, state=empty_state(graph))
    for cases, run in ((8, net.train), (8, net.train), (8, net.test), (5, net.test), (5, net.train), (5, net.test)):
        run([np.zeros((768, cases), np.float32), np.zeros((1, cases), np.float32)], cases)
    assert len(asked) == 3
    assert asked[1] < asked[0] == asked[2]


def test_without_a_driver_one_line_says_so():
    """Where there is a GPU this says nothing; elsewhere cuda is refused, and auto goes on with cpu."""
    from convnet.backends import make_backend, why_not_cuda

    if not why_not_cuda():
        pytest.skip("a GPU is here")
    with pytest.raises(BackendError) as raised:
        make_backend("cuda")
    assert "\n" not in str(raised.value) and "--backend cpu" in str(raised.value)
    assert make_backend("auto").name == "cpu"


def test_doctor():
    done = subprocess.run([sys.executable, "-m", "convnet", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0 and "backend:" in done.stdout and "Traceback" not in done.stderr


def test_every_kernel_says_what_it_stands_for():
    """Where 2012 had a kernel of its own for it, the name is one of the originals' (numerics 19)."""
    said = {name: source.originals_of_kernel(file, name) for file in source.files() for name in source.signatures(file)}
    assert not [name for name, text in said.items() if not text]
    assert said["softmax_input_grad"] == "kSoftmaxGrad" and said["pack"].startswith("none")
    text = (ROOT / "docs/spec/numerics.md").read_text(encoding="utf-8")
    names = {word for line in said.values() for word in re.findall(r"\bk[A-Z]\w+|\b(?:filterActs|conv_|img_acts)\w+", line)}
    assert len(names) > 50 and not {name for name in names if name not in text}
