"""What this machine can run, which backend would be used and why, and how to mend what is wrong."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Sequence
from importlib import metadata

from convnet.cli.common import Parser, run_verb
from convnet.errors import BackendError

Findings = list[tuple[str, str]]  # (what was looked at, what was found)


def main(arguments: Sequence[str] | None = None, prog: str = "convnet doctor") -> int:
    """Print the findings; return 0 if some backend runs."""
    parser = Parser(prog, "Say what this machine can run, and how to mend what is wrong.", "")
    return run_verb(_report, parser, arguments)


def _report(_: argparse.Namespace) -> int:
    backend, findings = examine()
    print("\n".join(f"{what + ':':<10} {text}" for what, text in findings))
    return 0 if backend else 1


def examine() -> tuple[str, Findings]:
    """Return the backend that ``auto`` takes, or ``''``, and the findings."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    has_cpu, cpu_text = _examine_cpu()
    has_cuda, cuda_findings = _examine_cuda()
    backend = "cuda" if has_cuda else "cpu" if has_cpu else ""
    reason = "a GPU runs here" if has_cuda else f"not cuda: {cuda_findings[-1][1]}"
    return backend, [
        ("convnet", f"{_version('convnet')} with Python {platform.python_version()} on {platform.platform()}"),
        ("numpy", _version("numpy")),
        ("processor", f"{cores} core{'s' * (cores != 1)}, {platform.machine()}"),
        ("cpu", cpu_text),
        *cuda_findings,
        ("backend", f"{backend or 'none'} ({reason})"),
    ]


def _examine_cpu() -> tuple[bool, str]:
    try:
        from convnet.backends.cpu import Cpu

        return True, f"runs: {Cpu().describe()}"
    except ImportError as error:
        return False, f"not built ({error}); run 'pip install .' in the project's folder"


def _examine_cuda() -> tuple[bool, Findings]:
    """Return whether the first GPU runs, and findings; the last one says why it does not."""
    findings = [("compiler", _text_or_error(_compiler)), ("pycuda", _version("pycuda"))]
    try:
        from convnet.backends.cuda.machine import cuda_version, load_driver, told

        drv = load_driver()
        with told("the NVIDIA driver does not answer"):
            count = drv.Device.count()
            text = f"CUDA {cuda_version(drv.get_driver_version())}, {count} GPU{'s' * (count != 1)}"
            findings.append(("driver", text))
    except BackendError as error:
        return False, [*findings, ("cuda", str(error))]
    gpus = [_examine_gpu(index) for index in range(count)] or [(False, "no GPU on this machine")]
    findings += [("gpu", text) for _, text in gpus]
    runs, reason = gpus[0]
    return runs, findings if runs else [*findings, ("cuda", reason)]


def _compiler() -> str:
    from convnet.backends.cuda.compile import find_compiler

    compiler = find_compiler()
    known = sorted(compiler.architectures)
    return f"{compiler.version}, for {f'sm_{known[0]} to sm_{known[-1]}' if known else 'devices that it does not list'}"


def _examine_gpu(index: int) -> tuple[bool, str]:
    """Return whether a small kernel runs on a GPU, and what it is or why not."""
    from convnet.backends import make_backend, try_out
    from convnet.backends.cuda import Cuda
    from convnet.backends.cuda.machine import told

    try:
        with told(f"GPU {index} cannot be used"):
            be = make_backend("cuda", gpu=index)
            try_out(be)
            assert isinstance(be, Cuda)
            free, total = be.memory() or (0, 0)
            be.device.close()
    except BackendError as error:
        return False, str(error)
    return True, f"{be.device.name}, sm_{be.device.capability}, {free >> 20} of {total >> 20} MiB free"


def _text_or_error(find: Callable[[], str]) -> str:
    """Return what ``find`` finds, or why it does not."""
    try:
        return find()
    except BackendError as error:
        return str(error)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
