"""The embedded default: C kernels over (C, H, W, N) arrays, threads by OpenMP, matrix products by NumPy's BLAS.

What has no kernel of its own here (costs, trees, rarely used pools) runs on the reference's NumPy, in float32.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import ThreadpoolController

from convnet.backends.cpu.compiled import KernelSet, pack
from convnet.backends.reference import HostMemory
from convnet.backends.reference.cost import CostOps
from convnet.backends.reference.fc import FcOps
from convnet.backends.reference.image import ImageOps
from convnet.backends.reference.neuron import NeuronOps
from convnet.backends.reference.pool import PoolOps
from convnet.backends.reference.weights import WeightOps

# Rows of a product that one BLAS call makes: its result then stays in cache until it is added to where it belongs.
_TILE_FLOATS = 1 << 19


class _Fc(FcOps):
    """fc as blocks of rows, shared among Python threads that each call a single-threaded BLAS.

    BLAS threads of its own would fight with OpenMP's for the cores, and NumPy's products cannot accumulate.
    """

    kernels: KernelSet
    threads: int
    _workers: ThreadPoolExecutor
    _blas: ThreadpoolController

    def fc_forward(self, x, weights, out, scale_targets=0.0, scale_output=1.0, *, parts=1):
        if parts > 1:
            return super().fc_forward(x, weights, out, scale_targets, scale_output, parts=parts)
        return self._product(weights, x, out, scale_targets, scale_output)

    def fc_input_grad(self, grad, weights, into, scale_targets=0.0, scale_output=1.0, *, parts=1):
        if parts > 1:
            return super().fc_input_grad(grad, weights, into, scale_targets, scale_output, parts=parts)
        return self._product(weights.T, grad, into, scale_targets, scale_output)

    def fc_weight_grad(self, x, grad, into, scale_targets=0.0, scale_output=1.0, *, parts=1):
        if parts > 1:
            return super().fc_weight_grad(x, grad, into, scale_targets, scale_output, parts=parts)
        return self._product(grad, x.T, into, scale_targets, scale_output)

    def _product(self, a, b, out, scale_targets, scale_output):
        """out = scale_targets * out + scale_output * a @ b."""
        rows = len(out)
        share = -(-rows // self.threads)

        def work(first: int) -> None:
            self.kernels.set_threads(1)
            last = min(first + share, rows)
            step = max(16, _TILE_FLOATS // out.shape[1])
            with np.errstate(all="ignore"):  # the net looks for numbers that are none, and names the layer
                for start in range(first, last, step):
                    part = slice(start, min(start + step, last))
                    self.kernels.add(a[part] @ b, out[part], scale_targets, scale_output)

        with self._blas.limit(limits=1, user_api="blas"):
            list(self._workers.map(work, range(0, rows, share)))


class Cpu(_Fc, PoolOps, NeuronOps, CostOps, ImageOps, WeightOps, HostMemory):
    """C kernels for the best instruction set of this processor.

    ``threads`` 0 means one per available core. ``kernels`` names an instruction set (``avx512``, ``avx2``,
    ``baseline``); the environment variable CONVNET_CPU does the same.
    """

    name = "cpu"

    def __init__(self, threads: int = 0, kernels: str | None = None) -> None:
        self.threads = (
            threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or os.cpu_count() or 1
        )
        self.kernels = KernelSet(kernels or os.environ.get("CONVNET_CPU") or None)
        self.kernels.set_threads(self.threads)
        self._workers = ThreadPoolExecutor(self.threads, thread_name_prefix="convnet-fc")
        self._blas = ThreadpoolController()

    def describe(self) -> str:
        return f"CPU ({self.threads} thread{'s' * (self.threads != 1)}, {self.kernels.name} kernels)"

    def empty(self, shape):
        # 64-byte alignment: rows of 16 cases then lie on cache lines.
        count = int(np.prod(shape, dtype=np.int64))
        raw = np.empty(count + 16, np.float32)
        offset = -raw.ctypes.data % 64 // 4
        return raw[offset : offset + count].reshape(tuple(shape))

    def fill(self, out, value):
        out.fill(value)

    # -- conv and local

    def conv_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0,
        *, padding, stride, groups=1, conns=None, biases=None,
    ):  # fmt: skip
        self.kernels.conv_forward(images, filters, out, scale_targets, scale_output, padding, stride, groups, conns, False)
        self.add_biases(out, biases)

    def conv_input_grad(
        self, grad, filters, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        self.kernels.conv_input_grad(grad, filters, into, scale_targets, scale_output, padding, stride, groups, conns, False)

    def conv_weight_grad(
        self, images, grad, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        self.kernels.conv_weight_grad(images, grad, into, scale_targets, scale_output, padding, stride, groups, conns, False)

    def local_forward(
        self, images, filters, out, scale_targets=0.0, scale_output=1.0,
        *, padding, stride, groups=1, conns=None, biases=None,
    ):  # fmt: skip
        self.kernels.conv_forward(images, filters, out, scale_targets, scale_output, padding, stride, groups, conns, True)
        self.add_biases(out, biases)

    def local_input_grad(
        self, grad, filters, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        self.kernels.conv_input_grad(grad, filters, into, scale_targets, scale_output, padding, stride, groups, conns, True)

    def local_weight_grad(
        self, images, grad, into, scale_targets=0.0, scale_output=1.0, *, padding, stride, groups=1, conns=None
    ):
        self.kernels.conv_weight_grad(images, grad, into, scale_targets, scale_output, padding, stride, groups, conns, True)

    # -- pool

    def pool_max_forward(self, images, out, by_magnitude, *, size, start, stride):
        self.kernels.pool_forward(images, out, 1 if by_magnitude else 0, size, start, stride)

    def pool_avg_forward(self, images, out, undivided, *, size, start, stride):
        self.kernels.pool_forward(images, out, 3 if undivided else 2, size, start, stride)

    def pool_max_input_grad(self, images, out, grad, into, scale_targets=0.0, *, size, start, stride):
        self.kernels.pool_max_input_grad(images, out, grad, into, scale_targets, size, start, stride)

    def pool_avg_input_grad(self, grad, into, undivided, scale_targets=0.0, *, size, start, stride):
        self.kernels.pool_avg_input_grad(grad, into, 3 if undivided else 2, scale_targets, size, start, stride)

    # -- norm

    def cmrnorm_forward(self, images, out, *, size, scale, power, min_div, blocked):
        self.kernels.norm_forward(0, images, out, size, scale, power, min_div, blocked)

    def cmrnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div, blocked):
        self.kernels.norm_input_grad(0, images, grad, into, scale_targets, size, scale, power, min_div, blocked)

    def rnorm_forward(self, images, out, *, size, scale, power, min_div):
        self.kernels.norm_forward(1, images, out, size, scale, power, min_div, False)

    def rnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        self.kernels.norm_input_grad(1, images, grad, into, scale_targets, size, scale, power, min_div, False)

    def cnorm_forward(self, images, out, *, size, scale, power, min_div):
        self.kernels.norm_forward(2, images, out, size, scale, power, min_div, False)

    def cnorm_input_grad(self, images, grad, into, scale_targets=0.0, *, size, scale, power, min_div):
        self.kernels.norm_input_grad(2, images, grad, into, scale_targets, size, scale, power, min_div, False)

    # -- neuron, softmax, dropout, eltwise

    def neuron_forward(self, kind, a, b, x, out):
        self.kernels.neuron_forward(kind, a, b, x, out)

    def neuron_input_grad(self, kind, a, b, x, y, grad, into, scale_targets=0.0):
        self.kernels.neuron_input_grad(kind, a, b, x, y, grad, into, scale_targets)

    def softmax_forward(self, x, out):
        self.kernels.softmax_forward(x, out)

    def softmax_input_grad(self, y, grad, into, scale_targets=0.0):
        self.kernels.softmax_input_grad(y, grad, into, scale_targets)

    def dropout(self, x, out, keep, gain, key, scale_targets=0.0):
        self.kernels.dropout(x, out, keep, gain, key, scale_targets)

    def add(self, x, out, scale_targets=0.0, scale_output=1.0):
        self.kernels.add(x, out, scale_targets, scale_output)

    def add_bias(self, out, biases):
        self.kernels.add_bias(out, biases)

    def sum_rows(self, x, out, scale_targets=0.0, scale_output=1.0):
        self.kernels.sum_rows(x, out, scale_targets, scale_output)

    def eltmax_forward(self, x, out):
        self.kernels.eltmax_forward(x, out)

    def eltmax_input_grad(self, x, y, grad, into, scale_targets=0.0):
        self.kernels.eltmax_input_grad(x, y, grad, into, scale_targets)

    # -- weights, image

    def update(self, weights, increments, grad, momentum, rate, decay):
        self.kernels.update(weights, increments, grad, momentum, rate, decay)

    def limit_norm(self, weights, limit, hard):
        self.kernels.limit_norm(weights, limit, hard)

    def mean_magnitude(self, x):
        return self.kernels.mean_magnitude(x)

    def all_finite(self, x):
        return self.kernels.all_finite(x)

    def pack_images(self, pixels, crop, out):
        pack(
            pixels,
            np.ascontiguousarray(crop.tops, np.int64),
            np.ascontiguousarray(crop.lefts, np.int64),
            np.ascontiguousarray(crop.flips, np.uint8),
            np.ascontiguousarray(crop.mean, np.float32),
            np.ascontiguousarray(crop.shifts, np.float32),
            crop.gain,
            out,
            self.threads,
        )

    def blur(self, images, out, taps, scale_targets=0.0):
        self.kernels.blur(images, out, taps, scale_targets)

    def resize(self, images, out, scale):
        self.kernels.resize(images, out, scale)
