# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The C kernels under the names of the op table. Checks types and shapes, releases the GIL, and calls."""

import numpy as np

cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint32_t

cnp.import_array()

cdef extern from "kernels.h" nogil:
    ctypedef struct ConvShape:
        int C, H, W, N, F, My, Mx, k, padding, stride, groups, Cf, local
        const int32_t *conns
        float st, so
    ctypedef struct PoolShape:
        int C, H, W, N, Oy, Ox, size, start, stride, mode
        float st
    ctypedef struct NormShape:
        int C, H, W, N, size, blocked
        float scale, power, min_div, st
    ctypedef struct Kernels:
        const char *name
        int vector_floats
        int (*conv_forward)(const ConvShape *, const float *, const float *, float *) noexcept nogil
        int (*conv_input_grad)(const ConvShape *, const float *, const float *, float *) noexcept nogil
        int (*conv_weight_grad)(const ConvShape *, const float *, const float *, float *) noexcept nogil
        void (*pool_forward)(const PoolShape *, const float *, float *) noexcept nogil
        void (*pool_max_input_grad)(const PoolShape *, const float *, const float *, const float *, float *) noexcept nogil
        void (*pool_avg_input_grad)(const PoolShape *, const float *, float *) noexcept nogil
        int (*cmrnorm_forward)(const NormShape *, const float *, float *) noexcept nogil
        int (*cmrnorm_input_grad)(const NormShape *, const float *, const float *, float *) noexcept nogil
        int (*rnorm_forward)(const NormShape *, int, const float *, float *) noexcept nogil
        int (*rnorm_input_grad)(const NormShape *, int, const float *, const float *, float *) noexcept nogil
        void (*neuron_forward)(int, float, float, int64_t, const float *, float *) noexcept nogil
        void (*neuron_input_grad)(int, float, float, int64_t, const float *, const float *, const float *, float *, float) noexcept nogil
        int (*softmax_forward)(int, int, const float *, float *) noexcept nogil
        int (*softmax_input_grad)(int, int, const float *, const float *, float *, float) noexcept nogil
        void (*dropout)(int64_t, const float *, float *, float, float, const uint32_t *, float) noexcept nogil
        void (*add)(int64_t, const float *, float *, float, float) noexcept nogil
        void (*add_bias)(int64_t, int64_t, float *, const float *) noexcept nogil
        void (*sum_rows)(int64_t, int64_t, const float *, float *, float, float) noexcept nogil
        void (*eltmax_forward)(int64_t, const float *, float *) noexcept nogil
        void (*eltmax_input_grad)(int64_t, const float *, const float *, const float *, float *, float) noexcept nogil
        void (*update)(int64_t, float *, float *, const float *, float, float, float) noexcept nogil
        int (*limit_norm)(int64_t, int64_t, int64_t, float *, float, int) noexcept nogil
        double (*sum_magnitude)(int64_t, const float *) noexcept nogil
        int (*all_finite)(int64_t, const float *) noexcept nogil
        int (*blur)(int, int, int, int, const float *, float *, const float *, int, float) noexcept nogil
        void (*resize)(int, int, int, int, int, int, const float *, float *, double) noexcept nogil
    const Kernels *convnet_select(const char *wanted)

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static void convnet_threads(int count) { omp_set_num_threads(count); }
    #else
    static void convnet_threads(int count) { (void)count; }
    #endif
    """
    void convnet_threads(int count) nogil

NEURONS = ("ident", "logistic", "relu", "brelu", "abs", "tanh", "drelu", "softrelu", "square", "sqrt", "linear", "log")


ctypedef float *Floats


cdef Floats data(object array) except NULL:
    """The floats of a C-ordered float32 array."""
    if not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32:
        raise TypeError(f"expected a float32 array, not {getattr(array, 'dtype', type(array).__name__)}")
    if not cnp.PyArray_IS_C_CONTIGUOUS(array):
        raise ValueError(f"expected a C-ordered array, got shape {array.shape} with strides {array.strides}")
    return <Floats>cnp.PyArray_DATA(array)


cdef same(object arrays):
    """Raise unless all arrays have one shape."""
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"arrays must have one shape, not {sorted(shapes)}")


cdef done(int ok):
    if not ok:
        raise MemoryError("out of memory in a cpu kernel")


cdef class KernelSet:
    """The kernels of one instruction set: ``avx512``, ``avx2`` or ``baseline``; ``None`` takes the best one."""

    cdef const Kernels *k

    def __init__(self, str wanted=None):
        encoded = wanted.encode() if wanted else None
        self.k = convnet_select(<const char *>encoded if encoded else NULL)
        if self.k == NULL:
            raise ValueError(f"this processor does not run the '{wanted}' kernels")

    @property
    def name(self):
        return self.k.name.decode()

    def set_threads(self, int count):
        """Threads of the calling thread's kernels from now on."""
        convnet_threads(count)

    # -- conv and local

    cdef ConvShape conv_shape(self, images, filters, out, float st, float so, int padding, int stride, int groups, conns,
                              bint local) except *:
        cdef ConvShape s
        s.C, s.H, s.W, s.N = images.shape
        s.F, s.My, s.Mx = out.shape[:3]
        s.Cf, s.k = filters.shape[1:3] if local else filters.shape[:2]
        s.padding, s.stride, s.groups, s.local, s.st, s.so = padding, stride, groups, local, st, so
        expected = ((s.My * s.Mx,) if local else ()) + (s.Cf, s.k, s.k, s.F)
        if filters.shape != expected or out.shape[3] != s.N or s.F % groups:
            raise ValueError(f"filters {filters.shape}, images {images.shape} and output {out.shape} do not fit")
        s.conns = NULL
        if conns is not None:
            if conns.dtype != np.int32 or conns.size != groups * s.Cf or conns.min() < 0 or conns.max() >= s.C:
                raise ValueError("connections must name an image channel for every slot of every group")
            s.conns = <const int32_t *>cnp.PyArray_DATA(conns)
        elif groups * s.Cf > s.C:
            raise ValueError(f"{groups} groups of {s.Cf} channels do not fit {s.C} channels")
        return s

    def conv_forward(self, images, filters, out, float st, float so, int padding, int stride, int groups, conns, bint local):
        cdef ConvShape s = self.conv_shape(images, filters, out, st, so, padding, stride, groups, conns, local)
        cdef Floats a = data(images), b = data(filters), c = data(out)
        cdef int ok
        with nogil:
            ok = self.k.conv_forward(&s, a, b, c)
        done(ok)

    def conv_input_grad(self, grad, filters, into, float st, float so, int padding, int stride, int groups, conns, bint local):
        cdef ConvShape s = self.conv_shape(into, filters, grad, st, so, padding, stride, groups, conns, local)
        cdef Floats a = data(grad), b = data(filters), c = data(into)
        cdef int ok
        with nogil:
            ok = self.k.conv_input_grad(&s, a, b, c)
        done(ok)

    def conv_weight_grad(self, images, grad, into, float st, float so, int padding, int stride, int groups, conns, bint local):
        cdef ConvShape s = self.conv_shape(images, into, grad, st, so, padding, stride, groups, conns, local)
        cdef Floats a = data(images), b = data(grad), c = data(into)
        cdef int ok
        with nogil:
            ok = self.k.conv_weight_grad(&s, a, b, c)
        done(ok)

    # -- pool

    cdef PoolShape pool_shape(self, images, out, int mode, int size, int start, int stride, float st) except *:
        cdef PoolShape s
        s.C, s.H, s.W, s.N = images.shape
        s.Oy, s.Ox = out.shape[1:3]
        s.size, s.start, s.stride, s.mode, s.st = size, start, stride, mode, st
        if out.shape[0] != s.C or out.shape[3] != s.N:
            raise ValueError(f"images {images.shape} and output {out.shape} do not fit")
        return s

    def pool_forward(self, images, out, int mode, int size, int start, int stride):
        cdef PoolShape s = self.pool_shape(images, out, mode, size, start, stride, 0)
        cdef Floats a = data(images), b = data(out)
        with nogil:
            self.k.pool_forward(&s, a, b)

    def pool_max_input_grad(self, images, out, grad, into, float st, int size, int start, int stride):
        same((images, into)), same((out, grad))
        cdef PoolShape s = self.pool_shape(images, out, 0, size, start, stride, st)
        cdef Floats a = data(images), b = data(out), c = data(grad), d = data(into)
        with nogil:
            self.k.pool_max_input_grad(&s, a, b, c, d)

    def pool_avg_input_grad(self, grad, into, int mode, float st, int size, int start, int stride):
        cdef PoolShape s = self.pool_shape(into, grad, mode, size, start, stride, st)
        cdef Floats a = data(grad), b = data(into)
        with nogil:
            self.k.pool_avg_input_grad(&s, a, b)

    # -- norm: kind 0 across maps, 1 within a map, 2 within a map around the mean

    cdef NormShape norm_shape(self, images, int size, float scale, float power, float min_div, bint blocked, float st) except *:
        cdef NormShape s
        s.C, s.H, s.W, s.N = images.shape
        s.size, s.scale, s.power, s.min_div, s.blocked, s.st = size, scale, power, min_div, blocked, st
        return s

    def norm_forward(self, int kind, images, out, int size, float scale, float power, float min_div, bint blocked):
        same((images, out))
        cdef NormShape s = self.norm_shape(images, size, scale, power, min_div, blocked, 0)
        cdef Floats a = data(images), b = data(out)
        cdef int ok
        with nogil:
            ok = self.k.cmrnorm_forward(&s, a, b) if kind == 0 else self.k.rnorm_forward(&s, kind == 2, a, b)
        done(ok)

    def norm_input_grad(self, int kind, images, grad, into, float st, int size, float scale, float power, float min_div,
                        bint blocked):
        same((images, grad, into))
        cdef NormShape s = self.norm_shape(images, size, scale, power, min_div, blocked, st)
        cdef Floats a = data(images), b = data(grad), c = data(into)
        cdef int ok
        with nogil:
            ok = self.k.cmrnorm_input_grad(&s, a, b, c) if kind == 0 else self.k.rnorm_input_grad(&s, kind == 2, a, b, c)
        done(ok)

    # -- neuron, softmax, dropout, eltwise

    def neuron_forward(self, str kind, float a, float b, x, out):
        same((x, out))
        cdef int number = NEURONS.index(kind)
        cdef int64_t count = x.size
        cdef Floats from_ = data(x), to = data(out)
        with nogil:
            self.k.neuron_forward(number, a, b, count, from_, to)

    def neuron_input_grad(self, str kind, float a, float b, x, y, grad, into, float st):
        same((x, y, grad, into))
        cdef int number = NEURONS.index(kind)
        cdef int64_t count = grad.size
        cdef Floats px = data(x), py = data(y), g = data(grad), to = data(into)
        with nogil:
            self.k.neuron_input_grad(number, a, b, count, px, py, g, to, st)

    def softmax_forward(self, x, out):
        same((x, out))
        cdef int rows = x.shape[0], N = x.shape[1]
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.softmax_forward(rows, N, a, b)

    def softmax_input_grad(self, y, grad, into, float st):
        same((y, grad, into))
        cdef int rows = y.shape[0], N = y.shape[1]
        cdef Floats a = data(y), b = data(grad), c = data(into)
        with nogil:
            self.k.softmax_input_grad(rows, N, a, b, c, st)

    def dropout(self, x, out, float keep, float gain, tuple key, float st):
        same((x, out))
        cdef uint32_t words[4]
        words[0], words[1], words[2], words[3] = key
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.dropout(count, a, b, keep, gain, words, st)

    def add(self, x, out, float st, float so):
        same((x, out))
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.add(count, a, b, st, so)

    def add_bias(self, out, biases):
        cdef int64_t rows = out.shape[0], columns = out.shape[1]
        if biases.size != rows:
            raise ValueError(f"{biases.size} biases for {rows} rows")
        cdef Floats a = data(out), b = data(biases)
        with nogil:
            self.k.add_bias(rows, columns, a, b)

    def sum_rows(self, x, out, float st, float so):
        cdef int64_t rows = x.shape[0], columns = x.shape[1]
        if out.size != rows:
            raise ValueError(f"{out.size} sums for {rows} rows")
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.sum_rows(rows, columns, a, b, st, so)

    def eltmax_forward(self, x, out):
        same((x, out))
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.eltmax_forward(count, a, b)

    def eltmax_input_grad(self, x, y, grad, into, float st):
        same((x, y, grad, into))
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(y), c = data(grad), d = data(into)
        with nogil:
            self.k.eltmax_input_grad(count, a, b, c, d, st)

    # -- weights and whole arrays

    def update(self, weights, increments, grad, float momentum, float rate, float decay):
        same((weights, increments) if grad is None else (weights, increments, grad))
        cdef int64_t count = weights.size
        cdef Floats w = data(weights), v = data(increments), g = NULL
        if grad is not None:
            g = data(grad)
        with nogil:
            self.k.update(count, w, v, g, momentum, rate, decay)

    def limit_norm(self, weights, float limit, bint hard):
        cdef int64_t outer = weights.shape[0], K = weights.shape[1], inner = weights.shape[2]
        cdef Floats w = data(weights)
        with nogil:
            self.k.limit_norm(outer, K, inner, w, limit, hard)

    def mean_magnitude(self, x):
        cdef int64_t count = x.size
        cdef Floats a = data(x)
        cdef double total
        with nogil:
            total = self.k.sum_magnitude(count, a)
        return total / count if count else 0.0

    def all_finite(self, x):
        cdef int64_t count = x.size
        cdef Floats a = data(x)
        cdef int finite
        with nogil:
            finite = self.k.all_finite(count, a)
        return bool(finite)

    # -- image

    def blur(self, images, out, taps, float st):
        same((images, out))
        cdef int C = images.shape[0], H = images.shape[1], W = images.shape[2], N = images.shape[3]
        filter_ = np.asarray(taps, np.float32)
        cdef int size = filter_.size, ok
        cdef Floats a = data(images), b = data(out), t = data(filter_)
        with nogil:
            ok = self.k.blur(C, H, W, N, a, b, t, size, st)
        done(ok)

    def resize(self, images, out, double scale):
        cdef int C = images.shape[0], H = images.shape[1], W = images.shape[2], N = images.shape[3]
        cdef int Ty = out.shape[1], Tx = out.shape[2]
        if out.shape[0] != C or out.shape[3] != N:
            raise ValueError(f"images {images.shape} and output {out.shape} do not fit")
        cdef Floats a = data(images), b = data(out)
        with nogil:
            self.k.resize(C, H, W, Ty, Tx, N, a, b, scale)
