"""The embedded default: C kernels over (C, H, W, N) arrays, threads by OpenMP, matrix products by NumPy's BLAS.

``KernelOps`` are the ops with a kernel. What has none (costs, trees, rarely used pools) runs on the reference's NumPy, in
float32: ``Cpu`` is a ``Reference`` whose other ops it replaces.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import ThreadpoolController

from convnet.backends.cpu.compiled import KernelOps
from convnet.backends.reference import Reference
from convnet.backends.reference.common import Array
from convnet.errors import BackendError, did_you_mean, one_of

# Values of a product that one BLAS call makes: its result then stays in cache until it is added to where it belongs.
_TILE_FLOATS = 1 << 19


KERNELS = ("avx512", "avx2", "baseline")


class Cpu(KernelOps, Reference):
    """C kernels for the best instruction set of this processor.

    ``threads`` 0 means one per available core. ``kernels`` names an instruction set (``avx512``, ``avx2``,
    ``baseline``); the environment variable CONVNET_CPU does the same.
    """

    name = "cpu"

    def __init__(self, threads: int = 0, kernels: str | None = None) -> None:
        KernelOps.__init__(self, threads or _cores(), kernels or _named_kernels() or None)
        self._workers = ThreadPoolExecutor(self.threads, thread_name_prefix="convnet-fc")
        self._blas = ThreadpoolController()

    def describe(self) -> str:
        return f"CPU ({self.threads} thread{'s' * (self.threads != 1)}, {self.instruction_set} kernels)"

    def empty(self, shape: Sequence[int]) -> Array:
        # 64-byte alignment: rows of 16 cases then lie on cache lines.
        count = int(np.prod(shape, dtype=np.int64))
        raw = np.empty(count + 16, np.float32)
        offset = -raw.ctypes.data % 64 // 4
        return raw[offset : offset + count].reshape(tuple(shape))

    def _product(self, a: Array, b: Array, out: Array, scale_targets: float, scale_output: float = 1) -> None:
        # fc. Rows are shared among Python threads that each call a single-threaded BLAS: threads of its own would fight
        # with OpenMP's for the cores, and NumPy's products cannot accumulate. Blocks of sfc are left to NumPy.
        if not (a.flags.forc and out.flags.forc):
            super()._product(a, b, out, scale_targets, scale_output)
            return
        rows = len(out)
        share = -(-rows // self.threads)

        def work(first: int) -> None:
            self.set_threads(1)
            last = min(first + share, rows)
            step = max(16, _TILE_FLOATS // out.shape[1])
            with np.errstate(all="ignore"):  # the net looks for values that are not finite, and names the layer
                for start in range(first, last, step):
                    part = slice(start, min(start + step, last))
                    self.add(a[part] @ b, out[part], scale_targets, scale_output)

        with self._blas.limit(limits=1, user_api="blas"):
            list(self._workers.map(work, range(0, rows, share)))


def _named_kernels() -> str:
    """Return what CONVNET_CPU names; raises ``BackendError`` for what is none, or does not run here."""
    name = os.environ.get("CONVNET_CPU", "")
    if name and name not in KERNELS:
        raise BackendError(f"CONVNET_CPU={name} is not {one_of(KERNELS)}" + did_you_mean(name, KERNELS))
    try:
        KernelOps(1, name or None)
    except ValueError as error:
        raise BackendError(f"CONVNET_CPU={name}: {error}") from None
    return name


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
