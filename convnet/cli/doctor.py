"""What this machine can run, which backend would be used and why, and how to mend what is wrong."""

import argparse
import platform
import shutil
from collections.abc import Callable, Sequence
from functools import partial

from convnet.backends import make_backend, try_out
from convnet.backends.cuda import Cuda, machine
from convnet.backends.cuda.compile import find_compiler
from convnet.backends.cuda.driver import CudaDevice
from convnet.backends.cuda.graphs import load_graphs
from convnet.backends.host import cores
from convnet.backends.switches import is_off
from convnet.cli.common import Parser, run_verb, version_of
from convnet.data.jpegs import is_used
from convnet.errors import BackendError
from convnet.ranks.launch import INSTALL
from convnet.ranks.nccl import load_nccl, version_of_library
from convnet.texts import counted

Findings = list[tuple[str, str]]  # (what was looked at, what was found)


def parser(prog: str) -> Parser:
    """Return the parser of the verb."""
    return Parser(prog, "Say what this machine can run, and how to mend what is wrong.")


def main(arguments: Sequence[str] | None = None, prog: str = "convnet doctor") -> int:
    """Print the findings; return 0 if some backend runs."""
    return run_verb(_report, parser(prog), arguments)


def _report(_: argparse.Namespace) -> int:
    backend, findings = examine()
    print("\n".join(f"{what + ':':<10} {text}" for what, text in findings))
    return 0 if backend else 1


def examine() -> tuple[str, Findings]:
    """Return the backend that ``auto`` takes, or ``''``, and the findings."""
    has_cpu, cpu = _attempt(lambda: f"runs: {make_backend('cpu').describe()}")
    has_cuda, cuda_findings = _examine_cuda()
    backend = "cuda" if has_cuda else "cpu" if has_cpu else ""
    reason = "a GPU runs here" if has_cuda else f"not cuda: {cuda_findings[-1][1]}"
    return backend, [
        ("convnet", f"{version_of('convnet')} with Python {platform.python_version()} on {platform.platform()}"),
        ("numpy", version_of("numpy")),
        ("processor", f"{counted(cores(), 'core')}, {platform.machine()}"),
        ("cpu", cpu),
        ("jpeg", "simplejpeg" if is_used() else "Pillow; decoded sooner, to the same pixels: pip install simplejpeg"),
        ("compiler", _attempt(_compiler)[1]),
        ("mpi", _mpi()),
        ("pycuda", version_of("pycuda")),
        *cuda_findings,
        ("backend", f"{backend or 'none'} ({reason})"),
    ]


def _examine_cuda() -> tuple[bool, Findings]:
    """Return whether the first GPU runs, and findings; the last one says why it does not."""
    try:
        drv = machine.load_driver()
        with machine.as_backend_error("the NVIDIA driver does not answer"):
            count, version = drv.Device.count(), machine.cuda_version(drv.get_driver_version())
    except BackendError as error:
        return False, [("cuda", str(error))]
    gpus = [_attempt(partial(_gpu, index)) for index in range(count)] or [(False, "no GPU on this machine")]
    runs, reason = gpus[0]
    findings = [("driver", f"CUDA {version}, {counted(count, 'GPU')}"), *(("gpu", text) for _, text in gpus)]
    findings += [("graphs", _graphs()), ("nccl", _attempt(_nccl)[1])]
    return runs, findings if runs else [*findings, ("cuda", reason)]


def _gpu(index: int) -> str:
    """Run a small kernel on a GPU; return what the GPU is."""
    with machine.as_backend_error(f"GPU {index} cannot be used"):
        device = CudaDevice(index)
        try_out(Cuda(device))
        free, total = device.memory()
        device.close()
        return f"{device.name}, sm_{device.capability}, {free >> 20} of {total >> 20} MiB free"


def _graphs() -> str:
    """Say whether steps are captured, or why not."""
    api, why_not = load_graphs()
    if api is not None:
        return f"cuda-bindings {version_of('cuda-bindings')}: steps are captured"
    return f"steps are issued op by op, which may take longer: {why_not or 'CONVNET_GRAPHS is 0'}"


def _mpi() -> str:
    """Say which MPI starts ranks, without beginning it."""
    if (version := version_of("mpi4py")) == "not installed":
        return f"no mpi4py; for runs on several ranks: {INSTALL}"
    return f"mpi4py {version}, {shutil.which('mpiexec') or 'no mpiexec on the PATH'}"


def _nccl() -> str:
    version = f"{version_of_library(load_nccl())} by nccl4py {version_of('nccl4py')}"
    is_unused = is_off("CONVNET_NCCL")
    return f"{version}: {'not used, CONVNET_NCCL is 0' if is_unused else 'ranks exchange gradients from card to card'}"


def _compiler() -> str:
    compiler = find_compiler()
    known = sorted(compiler.architectures)
    return f"{compiler.version}, for {f'sm_{known[0]} to sm_{known[-1]}' if known else 'devices that it does not list'}"


def _attempt(look: Callable[[], str]) -> tuple[bool, str]:
    """Return whether ``look`` succeeds, and what it finds or why it does not."""
    try:
        return True, look()
    except BackendError as error:
        return False, str(error)
