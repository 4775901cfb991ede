"""``convnet doctor``: what this machine can run, which backend would be used and why, and how to mend what is wrong."""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import os
import platform
import sys
from collections.abc import Callable, Sequence

from convnet.errors import BackendError


def main(arguments: Sequence[str] | None = None, prog: str = "convnet doctor") -> int:
    """Print the findings; returns 0 if some backend runs."""
    argparse.ArgumentParser(prog=prog, description=__doc__).parse_args(arguments)
    chosen, lines = examine()
    print("\n".join(f"{name + ':':<10} {text}" for name, text in lines))
    return 0 if chosen else 1


def examine() -> tuple[str, list[tuple[str, str]]]:
    """(the backend that ``auto`` takes, or '', findings as (what, text))."""
    lines = [("convnet", f"{_version('convnet')} with Python {platform.python_version()} on {platform.platform()}")]
    lines += [("numpy", _version("numpy")), ("processor", _processor())]
    cpu, cpu_text = _cpu()
    cuda, cuda_lines = _cuda()
    chosen = "cuda" if cuda else "cpu" if cpu else ""
    reason = "a GPU runs here" if cuda else f"not cuda: {cuda_lines[-1][1]}"
    lines += [("cpu", cpu_text), *cuda_lines, ("backend", f"{chosen or 'none'} ({reason})")]
    return chosen, lines


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} core{'s' * (cores != 1)}, {platform.machine()}"


def _cpu() -> tuple[bool, str]:
    try:
        from convnet.backends.cpu import Cpu

        return True, f"runs: {Cpu().describe()}"
    except ImportError as error:
        return False, f"not built ({error}); run 'pip install .' in the project's folder"


def _cuda() -> tuple[bool, list[tuple[str, str]]]:
    """Whether cuda runs on the first GPU, and findings; the last one is the reason where it does not."""
    lines = [("compiler", _said(_compiler)), ("pycuda", _version("pycuda"))]
    try:
        from convnet.backends.cuda.machine import cuda_version, load_driver, told

        drv = load_driver()
        with told("the NVIDIA driver does not answer"):
            count = drv.Device.count()
            lines.append(("driver", f"CUDA {cuda_version(drv.get_driver_version())}, {count} GPU{'s' * (count != 1)}"))
    except BackendError as error:
        return False, [*lines, ("cuda", str(error))]
    found = [_gpu(index) for index in range(count)] or [(False, "no GPU on this machine")]
    lines += [("gpu", text) for _, text in found]
    return found[0][0], lines if found[0][0] else [*lines, ("cuda", found[0][1])]


def _compiler() -> str:
    from convnet.backends.cuda.compile import find_compiler

    compiler = find_compiler()
    known = sorted(compiler.architectures)
    return f"{compiler.version}, for {f'sm_{known[0]} to sm_{known[-1]}' if known else 'devices that it does not list'}"


def _gpu(index: int) -> tuple[bool, str]:
    """Whether a small kernel runs on a GPU, and what it is or why not."""
    from convnet.backends import make_backend, try_out
    from convnet.backends.cuda.machine import told

    try:
        with told(f"GPU {index} cannot be used"):
            be = make_backend("cuda", gpu=index)
            try_out(be)
            (free, total), device = be.memory(), be.device
            device.close()
    except BackendError as error:
        return False, str(error)
    return True, f"{device.name}, sm_{device.capability}, {free >> 20} of {total >> 20} MiB free"


def _said(find: Callable[[], str]) -> str:
    """What ``find`` finds, or why it does not."""
    try:
        return find()
    except BackendError as error:
        return str(error)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
