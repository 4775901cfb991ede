"""How a run lies over the ranks that were started: what must be alike on all of them, and what each computes with."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import convnet
from convnet.backends import choose_backends
from convnet.backends.base import Backend
from convnet.backends.host import core_numbers, cores
from convnet.checkpoint import Checkpoint
from convnet.errors import OptionError
from convnet.graph import replicas
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles
from convnet.net.layout import Layout
from convnet.options import BY_NAME, CHECK, Options
from convnet.ranks.agreement import agree
from convnet.ranks.communicator import Communicator
from convnet.ranks.launch import gpu_of, threads_of
from convnet.texts import counted

_OF_ONE_RANK = {"threads", "gpu", "config", "live", "verbose", "save_path"}  # options that need not be alike
_FILES = 100_000  # of a data folder that are compared


def check_alike(ranks: Communicator, options: Options, files: LayerFiles, checkpoint: Checkpoint | None) -> None:
    """Raise ``OptionError`` on all ranks where they differ in versions, layer files, options, data, or the checkpoint."""
    if ranks.size == 1:
        return
    if options.mode == CHECK:
        raise OptionError("--check-grads compares the gradients of one process: start it without mpiexec")
    values: dict[str, Any] = {"convnet": convnet.__version__, "numpy": np.__version__}
    values["the layer definition"] = _digest(files.definition.encode("utf-8", "surrogateescape"))
    values["the layer parameters"] = _digest((files.params or "").encode("utf-8", "surrogateescape"))
    values |= {
        BY_NAME[name].flag: value
        for name, value in options.as_dict().items()
        if name not in _OF_ONE_RANK and not BY_NAME[name].flag.endswith("-path")
    }
    values["the data"] = _of_folder(Path(options.data_path)) if options.data_path else "none"
    values["the checkpoint"] = _digest(checkpoint.path.read_bytes()) if checkpoint and checkpoint.path.is_file() else "none"
    agree(ranks, values)


def check_same_arithmetic(ranks: Communicator, be: Backend) -> None:
    """Raise ``OptionError`` on all ranks where they do not compute in one way."""
    agree(ranks, {"what computes": be.arithmetic()})


def backend_of(ranks: Communicator, options: Options) -> tuple[Backend, str]:
    """Return what this rank computes with, of several, and why it is no GPU; raises ``ConvnetError``."""
    threads = threads_for(ranks, options)
    gpus = options.gpu or _all_gpus(options.backend)
    gpu = gpu_of(ranks, gpus) if gpus else 0
    backends, reason = choose_backends(options.backend, threads, [gpu], options.math)
    return backends[0], reason


def threads_for(ranks: Communicator, options: Options) -> int:
    """Return the threads of this rank; all ranks call it."""
    if ranks.size == 1:
        return options.threads or cores()
    part = threads_of(ranks, core_numbers())
    return options.threads or part


def remarks(ranks: Communicator, graph: Graph, layout: Layout, mini: int) -> list[str]:
    """Say how minibatches and layers lie over the ranks."""
    lines, passes = [], layout.passes
    if ranks.size > 1:
        machines = len(set(ranks.hosts))
        where = f" on {counted(machines, 'machine')}" if machines > 1 else ""
        text = f"{ranks.size} ranks{where}: "
        if layout.width > 1:
            devices = ", ".join(map(str, replicas.devices(graph)))
            who = f"each {layout.width} hold" if layout.groups > 1 else "they hold"
            text += f"{who} the net together, of which the layer file names devices {devices}; "
        lines.append(f"{text}{_parts_text(layout, mini)}.")
    elif layout.shards > 1:
        lines.append(f"Minibatches are computed in {_parts_text(layout, mini)}.")
    if passes > 1:
        wide = set(replicas.wide(graph))
        narrow = [layer.name for layer in graph.declared if layer.sources and layer.name not in wide]
        few = f"'{narrow[0]}'" + (f" and {len(narrow) - 1} more" if narrow[1:] else "")
        lines.append(
            f"A minibatch takes {passes} passes, by the replicas of gpu=: {few} see {-(-mini // passes)} of {mini} cases at "
            "a time, and learn after each pass unless updatePeriod says otherwise."
        )
    return lines


def _parts_text(layout: Layout, mini: int) -> str:
    count = layout.shards * layout.passes
    return f"{counted(count, 'part')} of {layout.part_size(mini)} cases" if count > 1 else f"minibatches of {mini} cases"


def _all_gpus(backend: str) -> list[int]:
    """Return the GPUs of this machine, where a backend may use one."""
    if backend not in ("auto", "cuda"):
        return []
    from convnet.backends.cuda.machine import load_driver

    try:
        return list(range(load_driver().Device.count()))
    except Exception:  # there is none, of which ``choose_backends`` says more
        return []


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _of_folder(folder: Path) -> str:
    """Return a digest of the names and sizes of files in a folder, and of its description."""
    found: Mapping[str, int] = {}
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())[:_FILES]
        found = {str(path.relative_to(folder)): path.stat().st_size for path in files}
        meta = b"".join(path.read_bytes() for name in ("batches.meta", "meta") if (path := folder / name).is_file())
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if not found:
        return "no files"
    return f"{len(found)} files, {_digest(repr(sorted(found.items())).encode() + meta)}"
