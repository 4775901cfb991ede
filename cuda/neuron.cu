// Neurons, softmax and dropout.
//
//   neuron       out = f(x); gradient grad * f'(x or y), KIND selects f (numerics 7)
//   nrelu        out = max(0, y + y * g), y = max(0, x), g from N(0, 1)
//   softmax      out[j, n] = exp(x[j, n] - max_j) / sum_j;  gradient y_i (g_i - sum_j g_j y_j)
//   dropout      out = gain * x where the key's uniform number for this element is below keep, else 0
//
// Layout: x[j, n], cases fastest. Threads: one per element (four for random numbers, one Philox block); softmax:
// a block of 32 cases by ROWS threads, which divide the classes of a case among them.
// 2012: the functors of neuron.cuh in kEltwiseUnaryOp and kEltwiseBinaryOp; kSoftmaxGrad; kUnaryRandomize.

#include "common.cuh"
#include "neuron.cuh"

// 2012: kEltwiseUnaryOp with the functors of neuron.cuh.
extern "C" __global__ void neuron_forward(const float* x, float* out, long long count, float a, float b) {
    FOR_EACH(i, count) out[i] = neuron(KIND, x[i], a, b);
}

// Only the one of x and y that the slope needs is read; the other pointer may be null.
// 2012: kEltwiseBinaryOp with the functors of neuron.cuh.
extern "C" __global__ void neuron_input_grad(const float* x, const float* y, const float* grad, float* into,
                                             long long count, float a, float b, float scale_targets) {
    FOR_EACH(i, count) {
        const float slope = neuron_slope(KIND, NEEDS_X ? x[i] : 0.0f, NEEDS_Y ? y[i] : 0.0f, a, b);
        into[i] = blend(into + i, grad[i] * slope, scale_targets, 1.0f);
    }
}

// Call visit(i, words, lane) for each value i of an array, whose random number is words[lane] of its block. A thread takes a
// block of one of the `runs` of values whose numbers follow each other (Key.runs of philox.py); they begin anywhere in one.
template <typename Visit>
__device__ __forceinline__ void each_number(long long runs, long long length, long long blocks, Key key, long long pitch,
                                            long long first, Visit visit) {
    FOR_EACH(t, runs * blocks) {
        const Index run = t < (Index)blocks ? 0 : t / (Index)blocks, block = t - run * (Index)blocks;
        const long long start = run * pitch + first;
        unsigned words[4];
        philox((unsigned)(start / 4 + block), key, words);
#pragma unroll
        for (int lane = 0; lane < 4; lane++) {
            const Index j = 4 * block + lane - (unsigned)(start % 4);  // before the run it is large, too
            if (j < (Index)length) visit(run * (Index)length + j, words, lane);
        }
    }
}

// 2012: kUnaryRandomize after kEltwiseUnaryOp.
extern "C" __global__ void nrelu_forward(const float* x, float* out, long long runs, long long length, long long blocks,
                                         unsigned k0, unsigned k1, unsigned c1, unsigned c2, long long pitch,
                                         long long first, const unsigned* now) {
    const Key key = key_of(k0, k1, c1, c2, now);
    each_number(runs, length, blocks, key, pitch, first, [&](Index i, const unsigned* words, int lane) {
        const float radius = sqrtf(-2.0f * logf(uniform(words[lane & 2])));
        const float angle = 2.0f * uniform(words[lane | 1]);
        const float noise = radius * (lane & 1 ? sinpif(angle) : cospif(angle));
        const float y = nan_max(0.0f, x[i]);
        out[i] = nan_max(0.0f, y + y * noise);
    });
}

// 2012: kUnaryRandomize, then kEltwiseBinaryOp with the mask it had drawn.
extern "C" __global__ void dropout(const float* x, float* out, long long runs, long long length, long long blocks,
                                   float keep, float gain, float scale_targets, unsigned k0, unsigned k1, unsigned c1,
                                   unsigned c2, long long pitch, long long first, const unsigned* now) {
    const Key key = key_of(k0, k1, c1, c2, now);
    each_number(runs, length, blocks, key, pitch, first, [&](Index i, const unsigned* words, int lane) {
        out[i] = blend(out + i, uniform(words[lane]) < keep ? gain * x[i] : 0.0f, scale_targets, 1.0f);
    });
}

// The maximum or the sum over the ROWS threads of a case.
__device__ float reduce_case(float value, bool largest) {
    __shared__ float parts[ROWS][32];
    parts[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    float total = parts[0][threadIdx.x];
    for (int row = 1; row < ROWS; row++) {
        const float other = parts[row][threadIdx.x];
        total = largest ? fmaxf(total, other) : total + other;
    }
    __syncthreads();
    return total;
}

// 2012: kDumbAggCols, kRowVectorOp, kEltwiseUnaryOp in turn.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
    softmax_forward(const float* x, float* out, int classes, int cases) {
    const int n = blockIdx.x * 32 + threadIdx.x;
    const bool inside = n < cases;
    float largest = -INFINITY, sum = 0;
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) largest = fmaxf(largest, x[(long long)j * cases + n]);
    largest = reduce_case(largest, true);
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) sum += expf(x[(long long)j * cases + n] - largest);
    sum = reduce_case(sum, false);
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) {
        const long long i = (long long)j * cases + n;
        out[i] = expf(x[i] - largest) / sum;
    }
}

// 2012: kSoftmaxGrad.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
    softmax_input_grad(const float* y, const float* grad, float* into, int classes, int cases, float scale_targets) {
    const int n = blockIdx.x * 32 + threadIdx.x;
    const bool inside = n < cases;
    float sum = 0;
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) {
        const long long i = (long long)j * cases + n;
        sum += grad[i] * y[i];
    }
    sum = reduce_case(sum, false);
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) {
        const long long i = (long long)j * cases + n;
        into[i] = blend(into + i, y[i] * (grad[i] - sum), scale_targets, 1.0f);
    }
}
