"""The embedded default: C kernels over (C, H, W, N) arrays, threads by OpenMP, matrix products by NumPy's BLAS.

``KernelOps`` are the ops with a kernel. What has none (costs, trees, rarely used pools) runs on the reference's NumPy, in
float32: ``Cpu`` is a ``Reference`` whose other ops it replaces.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from convnet.backends.arguments import Criterion
from convnet.backends.cpu.compiled import KernelOps
from convnet.backends.host import blas_text
from convnet.backends.reference import Reference
from convnet.backends.reference.common import Array, blas_of_one_thread, store
from convnet.errors import BackendError
from convnet.texts import counted, did_you_mean, one_of

# Values of a product that one BLAS call makes: its result then stays in cache until it is added to where it belongs.
_TILE_FLOATS = 1 << 19
# A product is cut into so many blocks at most, of no fewer operations than these, and of multiples of ROWS; into more than
# two, of no fewer than LARGE.
_MAX_BLOCKS, _MIN_OPERATIONS, _ROWS, _LARGE = 32, 16_000_000, 16, 512


KERNELS = ("avx512", "avx2", "baseline")


class Cpu(KernelOps, Reference):
    """C kernels for the best instruction set of this processor.

    ``threads`` 0 means one per available core. ``kernels`` names an instruction set (``avx512``, ``avx2``,
    ``baseline``); the environment variable CONVNET_CPU does the same. ``math`` is ``float32``, ``exact`` or ``fast``.
    """

    name = "cpu"
    includes_neurons = True

    def __init__(self, threads: int = 0, kernels: str | None = None, math: str = "float32") -> None:
        KernelOps.__init__(self, threads or _cores(), kernels or _named_kernels() or None, math)
        self._workers = ThreadPoolExecutor(self.threads, thread_name_prefix="convnet-fc")

    def describe(self) -> str:
        return f"CPU ({counted(self.threads, 'thread')}, {self.instruction_set} kernels)"

    def arithmetic(self) -> str:
        return f"the cpu backend ({self.instruction_set} kernels, {self.math}, {blas_text()})"

    def empty(self, shape: Sequence[int]) -> Array:
        # 64-byte alignment: rows of 16 cases then lie on cache lines.
        count = int(np.prod(shape, dtype=np.int64))
        raw = np.empty(count + 16, np.float32)
        offset = -raw.ctypes.data % 64 // 4
        return raw[offset : offset + count].reshape(tuple(shape))

    def cost_forward(self, targets: Array | None, predictions: Array, costs: Array, *, criterion: Criterion) -> None:
        if criterion.kind == "logreg":
            self.logreg(targets, predictions, costs, criterion.topk)
        else:
            super().cost_forward(targets, predictions, costs, criterion=criterion)

    def cost_input_grad(
        self, targets: Array, predictions: Array, input_grad: Array, scale_targets: float = 0, *, criterion: Criterion
    ) -> None:
        if criterion.kind in ("logreg", "logreg_fused"):
            fused = criterion.kind == "logreg_fused"
            self.logreg_grad(targets, predictions, input_grad, scale_targets, criterion.coeff, fused)
        else:
            super().cost_input_grad(targets, predictions, input_grad, scale_targets, criterion=criterion)

    def _product(self, a: Array, b: Array, out: Array, scale_targets: float, scale_output: float = 1) -> None:
        # fc. Blocks of rows are shared among Python threads that each call a single-threaded BLAS: threads of its own
        # would fight with OpenMP's for the cores, cut the sums their own way, and cannot accumulate.
        step = _block_rows(len(out), a.shape[1], out.shape[1])
        starts = iter(range(0, len(out), step))  # whose ``next`` only one thread at a time can be in

        def work(_: int) -> None:
            self.set_threads(1)
            with np.errstate(all="ignore"):  # the net looks for values that are not finite, and names the layer
                for start in starts:
                    part = slice(start, start + step)
                    product = a[part] @ b
                    if out.flags.c_contiguous:
                        self.add(product, out[part], scale_targets, scale_output)
                    else:  # a block of sfc
                        store(out[part], product, scale_targets, scale_output)

        with blas_of_one_thread():
            list(self._workers.map(work, range(min(self.threads, -(-len(out) // step)))))


def _block_rows(rows: int, depth: int, columns: int) -> int:
    """Return how many rows of a product (rows, columns), of sums over ``depth``, one BLAS call makes.

    BLAS adds in an order that depends on the size of what it makes, so blocks are cut by sizes alone: results are the same
    bits on any number of threads. Smaller blocks would spend their time on packing the second factor again.
    """
    most = min(_MAX_BLOCKS, max(rows // _LARGE, 2), 2 * rows * depth * columns // _MIN_OPERATIONS)
    blocks = 1 << max(most.bit_length() - 1, 0)  # a power of two, for which threads finish together
    even = -(-rows // blocks // _ROWS) * _ROWS
    return min(max(even, _ROWS), max(_TILE_FLOATS // max(columns, 1) // _ROWS, 1) * _ROWS)


def _named_kernels() -> str:
    """Return what CONVNET_CPU names; raises ``BackendError`` for what is none, or does not run here."""
    name = os.environ.get("CONVNET_CPU", "")
    if not name:
        return ""
    if name not in KERNELS:
        raise BackendError(f"CONVNET_CPU={name} is not {one_of(KERNELS)}" + did_you_mean(name, KERNELS))
    try:
        KernelOps(1, name)
    except ValueError as error:
        raise BackendError(f"CONVNET_CPU={name}: {error}") from None
    return name


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
