"""The embedded default: C kernels over (C, H, W, N) arrays, threads by OpenMP.

``KernelOps`` are the ops with a kernel. What has none (costs, trees, rarely used pools) runs on the reference's NumPy, in
float32: ``Cpu`` is a ``Reference`` whose other ops it replaces.
"""

import os
from collections.abc import Sequence

import numpy as np

from convnet.backends.arguments import Criterion
from convnet.backends.cpu.compiled import KernelOps
from convnet.backends.host import cores
from convnet.backends.reference import Reference
from convnet.backends.reference.common import Array
from convnet.errors import BackendError
from convnet.texts import counted, did_you_mean, one_of

KERNELS = ("avx512", "avx2", "baseline")


class Cpu(KernelOps, Reference):
    """C kernels for the best instruction set of this processor.

    ``threads`` 0 means one per available core. ``kernels`` names an instruction set (``avx512``, ``avx2``,
    ``baseline``); the environment variable CONVNET_CPU does the same. ``math`` is ``float32``, ``exact`` or ``fast``.
    """

    name = "cpu"
    includes_neurons = True

    def __init__(self, threads: int = 0, kernels: str | None = None, math: str = "float32") -> None:
        KernelOps.__init__(self, threads or cores(), kernels or _named_kernels() or None, math)

    def describe(self) -> str:
        return f"CPU ({counted(self.threads, 'thread')}, {self.instruction_set} kernels)"

    def arithmetic(self) -> str:
        return f"the cpu backend ({self.instruction_set} kernels, {self.math})"

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
