"""``convnet doctor``: what this machine can run, which backend would be used and why, and how to mend what is wrong."""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import os
import platform
import sys
from collections.abc import Sequence

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
    """Whether cuda runs, and findings; the last one is the reason where it does not."""
    lines, fine = [], True
    try:
        from convnet.backends.cuda.compile import find_compiler

        compiler = find_compiler()
        known = compiler.architectures
        lines.append(("compiler", f"{compiler.version}, for sm_{min(known)} to sm_{max(known)}"))
    except BackendError as error:
        lines, fine = [("compiler", str(error))], False
    lines.append(("pycuda", _version("pycuda")))
    try:
        from convnet.backends.cuda.driver import Driver, load_driver

        drv = load_driver()
        version = drv.get_driver_version()
        lines.append(("driver", f"CUDA {version // 1000}.{version % 1000 // 10}"))
        for index in range(drv.Device.count()):
            device = Driver(index)
            free, total = device.memory()
            lines.append(("gpu", f"{device.name}, sm_{device.capability}, {free >> 20} of {total >> 20} MiB free"))
    except BackendError as error:
        return False, [*lines, ("cuda", str(error))]
    return fine, lines


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
