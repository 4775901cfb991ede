# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The ops that have a C kernel, as the op table declares them: each checks types, releases the GIL, and calls.

Shapes and sizes fit each other when an op gets here: ``Cpu`` has the checks of ``convnet/backends/checks.py`` before them.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from convnet.backends.arguments import NEURONS
from convnet.errors import ArrayError

cnp.import_array()

cdef extern from "kernels.h" nogil:
    ctypedef struct ConvShape:
        int C, H, W, N, F, My, Mx, k, padding, stride, groups, Cf, local
        const int32_t *conns
        int math
        const char *method
        float st, so
    ctypedef struct FcShape:
        int K, F, N, parts
        float st, so
    ctypedef struct PoolShape:
        int C, H, W, N, Oy, Ox, size, start, stride, kind
        float st
    ctypedef struct NormShape:
        int C, H, W, N, kind, size, blocked
        float scale, power, min_div, st
    ctypedef struct Activation:
        int kind
        float a, b
    ctypedef struct Ending:
        const float *biases
        int per_place
        Activation f
    ctypedef struct Slope:
        const float *y
        Activation f
    ctypedef struct ImageShape:
        int C, H, W, N, Oy, Ox
    ctypedef struct Crops:
        int C, S, N
        int64_t step_n, step_y, step_x, step_c
        const int64_t *tops
        const int64_t *lefts
        const uint8_t *flips
        const float *mean
        const float *shifts
        float gain
    # What a kernel takes is declared in kernels.h, and checked by the C compiler.
    ctypedef int (*Kernel)(...) noexcept
    ctypedef void (*Unfailing)(...) noexcept
    ctypedef const char *(*Naming)(...) noexcept
    ctypedef double (*Counted)(...) noexcept
    ctypedef struct Kernels:
        const char *name
        Kernel conv_forward, conv_input_grad, conv_weight_grad, fc_forward, fc_input_grad, fc_weight_grad
        Kernel norm_forward, norm_input_grad, sum_magnitude, all_finite, blur
        Unfailing pool_forward, pool_input_grad, neuron_forward, neuron_input_grad, softmax_forward, softmax_input_grad
        Unfailing dropout, add, add_bias, sum_rows, eltmax_forward, eltmax_input_grad, update, limit_norm, resize
        Unfailing logreg, logreg_grad, pack_images
        Naming conv_method
        Counted multiply_add
    const Kernels *convnet_select(const char *wanted)
    int64_t convnet_scratch_bytes()
    void convnet_trim()

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

CONV_PASSES = ("conv_forward", "conv_input_grad", "conv_weight_grad")
POOLS = ("max", "maxabs", "avg", "sum")
MATH = ("exact", "float32", "fast")
NORMS = ("cmrnorm", "rnorm", "cnorm")

ctypedef float *Floats


cdef Floats data(object array) except NULL:
    """Return the floats of a C-ordered float32 array; raises ``ArrayError``."""
    if not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32:
        raise ArrayError(f"expected a float32 array, not {getattr(array, 'dtype', type(array).__name__)}")
    if not cnp.PyArray_ISBEHAVED_RO(array):
        raise ArrayError("expected a float32 array of this machine's byte order, at addresses of whole numbers of floats")
    if not cnp.PyArray_IS_C_CONTIGUOUS(array):
        raise ArrayError(f"expected a C-ordered array, got shape {array.shape} with strides {array.strides}")
    return <Floats>cnp.PyArray_DATA(array)


cdef const int32_t *integers(object array) except NULL:
    """Return the numbers of a C-ordered int32 array."""
    if array.dtype != np.int32 or not array.flags.c_contiguous:
        raise ArrayError(f"expected C-ordered int32 numbers, not {array.dtype}")
    return <const int32_t *>cnp.PyArray_DATA(array)


cdef int done(int ok) except 0 nogil:
    """Raise ``MemoryError`` where a kernel returned 0."""
    if not ok:
        with gil:
            raise MemoryError("out of memory in a cpu kernel")
    return 1


cdef Ending ending_of(out, biases, activation) except *:
    """What a forward op does to its blended result; one bias per map or row of ``out``, or one per output."""
    cdef Ending ending
    ending.biases = NULL if biases is None else data(biases)
    ending.per_place = biases is not None and biases.size != out.shape[0]
    ending.f = activation_of(activation or ("ident", 0, 0))
    return ending


cdef Slope slope_of(slope) except *:
    cdef Slope result
    result.y = data(slope.y)
    result.f = activation_of(slope.activation)
    return result


cdef const Slope *slope_at(slope, Slope *memory) except? NULL:
    """Put a slope where a kernel finds it; NULL if there is none."""
    if slope is None:
        return NULL
    memory[0] = slope_of(slope)
    return memory


cdef FcShape fc_shape(x, out, int parts, float st, float so) except *:
    cdef FcShape s
    s.parts, s.N, s.st, s.so = parts, x.shape[1], st, so
    s.K, s.F = x.shape[0] // parts, out.shape[0] // parts
    return s


cdef PoolShape pool_shape(str kind, images, out, window, float st) except *:
    cdef PoolShape s
    s.C, s.H, s.W, s.N = images.shape
    s.Oy, s.Ox = out.shape[1:3]
    s.size, s.start, s.stride = window
    s.kind, s.st = POOLS.index(kind), st
    return s


cdef NormShape norm_shape(str kind, images, response, float st) except *:
    cdef NormShape s
    s.C, s.H, s.W, s.N = images.shape
    s.size, s.scale, s.power, s.min_div, s.blocked = response
    s.kind, s.st = NORMS.index(kind), st
    return s


cdef Activation activation_of(activation) except *:
    cdef Activation f
    kind, f.a, f.b = activation
    f.kind = NEURONS.index(kind)
    return f


cdef class KernelOps:
    """Ops by the kernels of one instruction set: ``avx512``, ``avx2`` or ``baseline``; ``None`` takes the best one."""

    cdef const Kernels *k
    cdef readonly int threads
    cdef int _math
    cdef public bytes method  # the one for convolutions, named as by ``conv_method``; None: the cheapest

    def __init__(self, int threads, str wanted=None, str math="float32"):
        encoded = wanted.encode() if wanted else None
        self.k = convnet_select(<const char *>encoded if encoded else NULL)
        if self.k == NULL:
            raise ValueError(f"this processor does not run the '{wanted}' kernels")
        self.threads, self._math = threads, MATH.index(math)
        self.set_threads(threads)

    @property
    def instruction_set(self):
        return self.k.name.decode()

    @property
    def math(self):
        """How products are computed: ``exact``, ``float32`` or ``fast``."""
        return MATH[self._math]

    @property
    def scratch_bytes(self):
        """Bytes of working memory that kernels of this process hold for each other."""
        return convnet_scratch_bytes()

    def trim(self):
        convnet_trim()

    def set_threads(self, int count):
        """Set the threads of the calling thread's kernels from now on."""
        convnet_threads(count)

    def multiply_add(self, int64_t rounds):
        cdef double operations
        with nogil:
            operations = self.k.multiply_add(rounds)
        return operations

    # -- conv and local

    cdef ConvShape conv_shape(self, images, weights, out, geometry, float st, float so) except *:
        cdef ConvShape s
        padding, stride, groups, conns = geometry
        s.C, s.H, s.W, s.N = images.shape
        s.F, s.My, s.Mx = out.shape[:3]
        s.local = weights.ndim == 5
        s.Cf, s.k = weights.shape[1:3] if s.local else weights.shape[:2]
        s.padding, s.stride, s.groups, s.st, s.so = padding, stride, groups, st, so
        s.math, s.conns, s.method = self._math, NULL, NULL
        if self.method is not None:
            s.method = self.method
        if conns is not None:
            s.conns = integers(conns)
        return s

    def conv_forward(self, images, weights, out, float scale_targets=0, *, geometry, biases=None, activation=None):
        cdef ConvShape s = self.conv_shape(images, weights, out, geometry, scale_targets, 1)
        cdef Ending ending = ending_of(out, biases, activation)
        cdef Floats x = data(images), w = data(weights), y = data(out)
        with nogil:
            done(self.k.conv_forward(&s, x, w, &ending, y))

    def conv_input_grad(self, grad, weights, input_grad, float scale_targets=0, *, geometry, slope=None):
        if slope is not None and geometry.conns is not None:  # several groups may add to a channel before its slope
            with self.multiplied(input_grad, scale_targets, slope) as (target, scale):
                self.conv_input_grad(grad, weights, target, scale, geometry=geometry)
            return
        cdef ConvShape s = self.conv_shape(input_grad, weights, grad, geometry, scale_targets, 1)
        cdef Slope multiplier
        cdef const Slope *by = slope_at(slope, &multiplier)
        cdef Floats g = data(grad), w = data(weights), y = data(input_grad)
        with nogil:
            done(self.k.conv_input_grad(&s, g, w, by, y))

    def conv_weight_grad(self, images, grad, weight_grad, float scale_targets=0, float scale_output=1, *, geometry):
        cdef ConvShape s = self.conv_shape(images, weight_grad, grad, geometry, scale_targets, scale_output)
        cdef Floats x = data(images), g = data(grad), y = data(weight_grad)
        with nogil:
            done(self.k.conv_weight_grad(&s, x, g, y))

    def conv_method(self, str op, images, weights, out, *, geometry):
        """Return the name of the method by which ``op``, ``conv_forward`` or a gradient, computes arrays of these shapes."""
        cdef ConvShape s = self.conv_shape(images, weights, out, geometry, 0, 1)
        cdef int which = CONV_PASSES.index(op)
        return self.k.conv_method(&s, which).decode()

    # -- fc

    def fc_forward(self, x, weights, out, float scale_targets=0, *, int parts=1, biases=None, activation=None):
        cdef FcShape s = fc_shape(x, out, parts, scale_targets, 1)
        cdef Ending ending = ending_of(out, biases, activation)
        cdef Floats a = data(x), w = data(weights), y = data(out)
        with nogil:
            done(self.k.fc_forward(&s, a, w, &ending, y))

    def fc_input_grad(self, grad, weights, input_grad, float scale_targets=0, *, int parts=1, slope=None):
        cdef FcShape s = fc_shape(input_grad, grad, parts, scale_targets, 1)
        cdef Slope multiplier
        cdef const Slope *by = slope_at(slope, &multiplier)
        cdef Floats g = data(grad), w = data(weights), y = data(input_grad)
        with nogil:
            done(self.k.fc_input_grad(&s, g, w, by, y))

    def fc_weight_grad(self, x, grad, weight_grad, float scale_targets=0, float scale_output=1, *, int parts=1):
        cdef FcShape s = fc_shape(x, grad, parts, scale_targets, scale_output)
        cdef Floats a = data(x), g = data(grad), y = data(weight_grad)
        with nogil:
            done(self.k.fc_weight_grad(&s, a, g, y))

    # -- pool

    def pool_forward(self, str kind, images, out, *, window, activation=None):
        cdef PoolShape s = pool_shape(kind, images, out, window, 0)
        cdef Activation f = activation_of(activation or ("ident", 0, 0))
        cdef Floats x = data(images), y = data(out)
        with nogil:
            self.k.pool_forward(&s, x, &f, y)

    def pool_max_input_grad(self, images, out, grad, input_grad, float scale_targets=0, *, window, slope=None):
        cdef PoolShape s = pool_shape("max", images, out, window, scale_targets)
        cdef Slope multiplier
        cdef const Slope *by = slope_at(slope, &multiplier)
        cdef Floats x = data(images), best = data(out), g = data(grad), y = data(input_grad)
        with nogil:
            self.k.pool_input_grad(&s, x, best, g, by, y)

    def pool_avg_input_grad(self, str kind, grad, input_grad, float scale_targets=0, *, window, slope=None):
        cdef PoolShape s = pool_shape(kind, input_grad, grad, window, scale_targets)
        cdef Slope multiplier
        cdef const Slope *by = slope_at(slope, &multiplier)
        cdef Floats nothing = NULL, g = data(grad), y = data(input_grad)
        with nogil:
            self.k.pool_input_grad(&s, nothing, nothing, g, by, y)

    # -- norm

    def norm_forward(self, str kind, images, out, *, response):
        cdef NormShape s = norm_shape(kind, images, response, 0)
        cdef Floats x = data(images), y = data(out)
        with nogil:
            done(self.k.norm_forward(&s, x, y))

    def norm_input_grad(self, str kind, images, grad, input_grad, float scale_targets=0, *, response, slope=None):
        cdef NormShape s = norm_shape(kind, images, response, scale_targets)
        cdef Slope multiplier
        cdef const Slope *by = slope_at(slope, &multiplier)
        cdef Floats x = data(images), g = data(grad), y = data(input_grad)
        with nogil:
            done(self.k.norm_input_grad(&s, x, g, by, y))

    # -- neuron, softmax, dropout, eltwise

    def neuron_forward(self, x, out, *, activation):
        cdef int64_t count = x.size
        cdef Activation f = activation_of(activation)
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.neuron_forward(&f, count, a, b)

    def neuron_input_grad(self, x, y, grad, input_grad, float scale_targets=0, *, activation):
        cdef int64_t count = x.size
        cdef Activation f = activation_of(activation)
        cdef Floats a = data(x), b = data(y), c = data(grad), d = data(input_grad)
        with nogil:
            self.k.neuron_input_grad(&f, count, a, b, c, d, scale_targets)

    def softmax_forward(self, x, out):
        cdef int rows = x.shape[0], N = x.shape[1]
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.softmax_forward(rows, N, a, b)

    def softmax_input_grad(self, y, grad, input_grad, float scale_targets=0):
        cdef int rows = y.shape[0], N = y.shape[1]
        cdef Floats a = data(y), b = data(grad), c = data(input_grad)
        with nogil:
            self.k.softmax_input_grad(rows, N, a, b, c, scale_targets)

    def logreg(self, labels, y, costs, int k):
        """As ``cost_forward``."""
        cdef int rows = y.shape[0], N = y.shape[1]
        cdef double[3] sums
        cdef Floats a = data(labels), b = data(y)
        with nogil:
            self.k.logreg(rows, N, a, b, k, sums)
        costs[:] = [sums[0], sums[1], sums[2]][: len(costs)]

    def logreg_grad(self, labels, y, input_grad, float scale_targets, float coeff, bint fused):
        """As ``cost_input_grad``; ``fused`` through the softmax."""
        cdef int rows = y.shape[0], N = y.shape[1]
        cdef Floats a = data(labels), b = data(y), c = data(input_grad)
        with nogil:
            self.k.logreg_grad(rows, N, a, b, coeff, fused, c, scale_targets)

    def dropout(self, x, out, float scale_targets=0, *, float keep, float gain, key):
        cdef int64_t[3] runs = key.runs(x.shape)
        cdef int64_t[6] stream = key
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.dropout(runs, a, b, keep, gain, stream, scale_targets)

    def add(self, x, out, float scale_targets=0, float scale_output=1):
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.add(count, a, b, scale_targets, scale_output)

    def add_bias(self, out, biases):
        cdef int64_t rows = out.shape[0], columns = out.shape[1]
        cdef Floats a = data(out), b = data(biases)
        with nogil:
            self.k.add_bias(rows, columns, a, b)

    def sum_rows(self, x, out, float scale_targets=0, float scale_output=1):
        cdef int64_t rows = x.shape[0], columns = x.shape[1]
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.sum_rows(rows, columns, a, b, scale_targets, scale_output)

    def eltmax_forward(self, x, out):
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(out)
        with nogil:
            self.k.eltmax_forward(count, a, b)

    def eltmax_input_grad(self, x, y, grad, input_grad, float scale_targets=0):
        cdef int64_t count = x.size
        cdef Floats a = data(x), b = data(y), c = data(grad), d = data(input_grad)
        with nogil:
            self.k.eltmax_input_grad(count, a, b, c, d, scale_targets)

    # -- weights and whole arrays

    def update(self, weights, increments, grad, *, rates):
        cdef float momentum, rate, decay
        momentum, rate, decay = rates
        cdef int64_t count = weights.size
        cdef Floats w = data(weights), v = data(increments), g = NULL if grad is None else data(grad)
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
            done(self.k.sum_magnitude(count, a, &total))
        return total / count if count else 0.0

    def all_finite(self, x):
        cdef int64_t count = x.size
        cdef Floats a = data(x)
        cdef int finite
        with nogil:
            finite = self.k.all_finite(count, a)
        return bool(finite)

    # -- image

    def blur(self, images, out, float scale_targets=0, *, taps):
        cdef ImageShape s
        s.C, s.H, s.W, s.N = images.shape
        line = np.asarray(taps, np.float32)
        cdef int size = line.size
        cdef Floats a = data(images), b = data(out), t = data(line)
        with nogil:
            done(self.k.blur(&s, a, b, t, size, scale_targets))

    def resize(self, images, out, double scale):
        cdef ImageShape s
        s.C, s.H, s.W, s.N = images.shape
        s.Oy, s.Ox = out.shape[1:3]
        cdef Floats a = data(images), b = data(out)
        with nogil:
            self.k.resize(&s, a, b, scale)

    def pack_images(self, const uint8_t[:, :, :, :] pixels, crops, out):
        cdef Crops s
        s.C, s.S, s.N, s.gain = out.shape[0], out.shape[1], out.shape[3], crops.gain
        s.step_n, s.step_y, s.step_x, s.step_c = [pixels.strides[i] for i in range(4)]
        cdef const int64_t[::1] tops = np.ascontiguousarray(crops.tops, np.int64)
        cdef const int64_t[::1] lefts = np.ascontiguousarray(crops.lefts, np.int64)
        cdef const uint8_t[::1] flips = np.ascontiguousarray(crops.flips, np.uint8)
        cdef const float[:, :, ::1] mean = np.ascontiguousarray(crops.mean, np.float32)
        cdef const float[:, ::1] shifts = np.ascontiguousarray(crops.shifts.T, np.float32)
        cdef Floats b = data(out)
        s.tops, s.lefts, s.flips, s.mean, s.shifts = &tops[0], &lefts[0], &flips[0], &mean[0, 0, 0], &shifts[0, 0]
        with nogil:
            self.k.pack_images(&s, &pixels[0, 0, 0, 0], b)
