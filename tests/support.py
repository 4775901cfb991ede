"""What the tests share: backends, comparison of an op with the reference, and small nets from text."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from emulator import EmulatedDevice
from nets import DATA, cost_of

from convnet.backends import make_backend, why_not_cuda
from convnet.backends.base import Backend
from convnet.backends.cuda import Cuda
from convnet.backends.reference import Reference
from convnet.errors import BackendError
from convnet.graph.loading import LayerFiles, build_graph
from convnet.language.diagnostics import Problems
from convnet.net.gradcheck import check_gradients
from convnet.net.net import Net

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
ORACLE = Reference(np.float64)

needs_museum = pytest.mark.skipif(not SHARED.is_dir(), reason="the historical files beside the project are not here")


def make_backends() -> dict[str, Backend]:
    """Every backend that runs here, by the name that test ids show."""
    from convnet.backends.cpu import Cpu

    backends: dict[str, Backend] = {"reference32": Reference(np.float32)}
    for kernels in ("avx512", "avx2", "baseline"):
        try:
            backends[f"cpu-{kernels}"] = Cpu(threads=2, kernels=kernels)
        except ValueError:
            continue
    backends["cuda-emulated"] = Cuda(EmulatedDevice())
    if not why_not_cuda():
        backends["cuda"] = make_backend("cuda")
    return backends


def make_tf32_backends() -> dict[str, Backend]:
    """Tensor cores: emulated, and those of a card that has them."""
    backends: dict[str, Backend] = {"cuda-emulated": Cuda(EmulatedDevice(math="tf32"))}
    if not why_not_cuda():
        with contextlib.suppress(BackendError):
            backends["cuda"] = make_backend("cuda", math="tf32")
    return backends


BACKENDS = make_backends()


def _each(backends: dict[str, Backend]) -> pytest.MarkDecorator:
    marks = {"cuda": [pytest.mark.gpu]}
    params = [pytest.param(be, id=name, marks=marks.get(name, [])) for name, be in backends.items()]
    return pytest.mark.parametrize("be", params)


each_backend, each_tf32_backend = _each(BACKENDS), _each(make_tf32_backends())


def values(*shape: int, seed: int = 0, low: float | None = None) -> np.ndarray:
    """Reproducible numbers that float32 holds exactly; above ``low`` if given."""
    random = np.random.RandomState(seed + sum(shape))
    drawn = random.randn(*shape) if low is None else low + random.rand(*shape)
    return drawn.astype(np.float32).astype(np.float64)


def integers(*shape: int, seed: int = 0, most: int = 3) -> np.ndarray:
    """Small whole numbers, so that ties abound."""
    return np.random.RandomState(seed).randint(-most, most + 1, shape).astype(np.float64)


def run_op(be: Backend, op: str, arrays: list, out: np.ndarray, *args, **kwargs) -> np.ndarray:
    """Run ``op`` on uploaded ``arrays`` with ``out`` as its target; returns the target."""
    uploaded = [be.upload(array) if isinstance(array, np.ndarray) else array for array in arrays]
    target = be.upload(out)
    if "geometry" in kwargs and kwargs["geometry"].conns is not None:
        kwargs["geometry"] = kwargs["geometry"]._replace(conns=be.connections(kwargs["geometry"].conns))
    if isinstance(kwargs.get("biases"), np.ndarray):
        kwargs["biases"] = be.upload(kwargs["biases"])
    if "slope" in kwargs:
        kwargs["slope"] = kwargs["slope"]._replace(y=be.upload(kwargs["slope"].y))
    getattr(be, op)(*uploaded, target, *args, **kwargs)
    return be.download(target)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal within ``tolerance`` relative to each value and to the largest one."""
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(scale, 1e-30))


def compare(be: Backend, op: str, arrays: list, out_shape: tuple[int, ...], *args, scales: bool = True, **kwargs) -> None:
    """``op`` on ``be`` equals the float64 reference, for scale_targets 0 (over NaN), 1 and 0.5."""
    for scale_targets in (0.0, 1.0, 0.5) if scales else (None,):
        before = values(*out_shape, seed=7) if scale_targets else np.full(out_shape, np.nan)
        given = {} if scale_targets is None else {"scale_targets": scale_targets}
        expected = run_op(ORACLE, op, arrays, before, *args, **given, **kwargs)
        assert np.isfinite(expected).all()
        assert_close(run_op(be, op, arrays, before, *args, **given, **kwargs), expected)


def make_graph(text: str, dims: dict[int, int], classes: int | None = None, params: str = "", **options):
    """A graph from texts; the learning keys of every layer that lacks a section are filled in."""
    return build_graph(LayerFiles(text, "net.cfg", params or default_params(text), "params.cfg"), dims, classes, **options)


def default_params(text: str) -> str:
    """[DEFAULT] learning keys and an empty section for every layer."""
    names = [line.strip()[1:-1] for line in text.splitlines() if line.startswith("[")]
    default = "[DEFAULT]\nepsW=0.01\nepsB=0.02\nmomW=0.9\nmomB=0.9\nwc=0\ncoeff=1\nenable=1\nscale=0.9\npow=0.75\n"
    return default + "".join(f"[{name}]\n" for name in names)


def assert_gradients(text: str, inputs: list[np.ndarray], classes: int | None = None, params: str = "", **options) -> None:
    """Central differences in float64 agree with every gradient of the net to 1e-6."""
    dims = {i: len(matrix) for i, matrix in enumerate(inputs)}
    graph = make_graph(text, dims, classes, params, **options)
    cases = inputs[0].shape[1]
    net = poisoned(Net(graph, Reference(np.float64), minibatch=cases, seed=3))
    checks = list(check_gradients(net, inputs, cases, samples=12))
    assert checks
    for check in checks:
        assert check.error < 1e-6, f"{check.name}: {check.error}\n{check.analytic}\n{check.numeric}"
        assert np.abs(check.analytic).max() > 0, f"{check.name}: no gradient arrives"


def poisoned(net: Net) -> Net:
    """``net`` with NaN in every buffer that is returned to a pool."""
    for pool in net.pools.values():
        pool.poison = True
    return net


def problems_of(
    text: str, params: str | None = None, dims: dict[int, int] | None = None, classes=None, **options
) -> Problems:
    """Everything that is reported about a pair of texts."""
    from convnet.errors import LayerFileError
    from convnet.graph.loading import parse

    builder = parse(LayerFiles(text, "net.cfg", params, "params.cfg"), **options)
    with contextlib.suppress(LayerFileError):
        builder.shape(dims or {0: 192, 1: 1}, classes)
    return builder.problems


def write_cifar(
    folder: Path, batches: int = 3, cases: int = 60, side: int = 32, classes: int = 10, rows: bool = False
) -> Path:
    """A small CIFAR-shaped set that a net can learn: each class has a colour pattern; ``rows`` is the standard edition."""
    random = np.random.RandomState(1)
    patterns = random.randint(0, 256, (classes, 3 * side * side))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, batches + 1):
        labels = random.randint(0, classes, cases)
        pixels = np.clip(patterns[labels].T * 0.6 + random.randint(0, 100, (3 * side * side, cases)), 0, 255).astype(
            np.uint8
        )
        part = {"data": pixels, "labels": [int(label) for label in labels]}
        if rows:
            part = {b"data": np.ascontiguousarray(pixels.T), b"labels": part["labels"], b"filenames": ["x"] * cases}
        name = f"data_batch_{number}" if not rows or number < batches else "test_batch"
        dump(folder / name, part)
    meta = {"label_names": [f"class {c}" for c in range(classes)], "num_vis": 3 * side * side}
    if not rows:
        meta["data_mean"] = np.full((3 * side * side, 1), 120, np.float32)
    dump(folder / "batches.meta", meta)
    return folder


def dump(path: Path, value) -> None:
    """Write a value as the originals would; keys may be bytes."""
    from convnet import pickles

    with path.open("wb") as file:
        pickles.dump(value, file)


SMALL_NET = f"""{DATA}[conv1]
type=conv
inputs=data
channels=3
filters=8
filterSize=5
padding=2
stride=2
initW=0.01
neuron=relu
[pool1]
type=pool
pool=max
inputs=conv1
channels=8
sizeX=3
stride=2
[drop]
type=dropout
inputs=pool1
[fc]
type=fc
inputs=drop
outputs=10
initW=0.01
{cost_of("fc")}"""
SMALL_PARAMS = """
[DEFAULT]
epsW=dexp[base=0.0004;tgtFactor=10;numSteps=3]
epsB=0.002
momW=0.9
momB=0.9
wc=0.01
keep=0.8
[logprob]
coeff=1
topk=2
"""


def write_net(folder: Path, text: str = SMALL_NET, params: str = SMALL_PARAMS) -> Path:
    """The small net as layers-small.cfg with its parameters beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "layers-small.cfg").write_text(text)
    (folder / "layer-params-small.cfg").write_text(params)
    return folder / "layers-small.cfg"


def is_alive(pid: str) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def are_gone(pids: Iterable[str]) -> bool:
    """Whether processes that were killed have ended; the kernel takes a moment."""
    for _ in range(500):
        if not any(map(is_alive, pids)):
            return True
        time.sleep(0.02)
    return False
