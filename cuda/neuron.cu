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

// 2012: kUnaryRandomize after kEltwiseUnaryOp.
extern "C" __global__ void nrelu_forward(const float* x, float* out, long long count, unsigned k0, unsigned k1,
                                         unsigned c1, unsigned c2, const unsigned* now) {
    const Key key = key_of(k0, k1, c1, c2, now);
    FOR_EACH(block, (count + 3) / 4) {
        unsigned words[4];
        philox((unsigned)block, key, words);
        for (int lane = 0; lane < 4 && 4 * block + lane < count; lane++) {
            const float radius = sqrtf(-2.0f * logf(uniform(words[lane & 2])));
            const float angle = 2.0f * uniform(words[lane | 1]);
            const float noise = radius * (lane & 1 ? sinpif(angle) : cospif(angle));
            const float y = nan_max(0.0f, x[4 * block + lane]);
            out[4 * block + lane] = nan_max(0.0f, y + y * noise);
        }
    }
}

// 2012: kUnaryRandomize, then kEltwiseBinaryOp with the mask it had drawn.
extern "C" __global__ void dropout(const float* x, float* out, long long count, float keep, float gain,
                                   float scale_targets, unsigned k0, unsigned k1, unsigned c1, unsigned c2,
                                   const unsigned* now) {
    const Key key = key_of(k0, k1, c1, c2, now);
    FOR_EACH(block, (count + 3) / 4) {
        unsigned words[4];
        philox((unsigned)block, key, words);
        for (int lane = 0; lane < 4 && 4 * block + lane < count; lane++) {
            const long long i = 4 * block + lane;
            out[i] = blend(out + i, uniform(words[lane]) < keep ? gain * x[i] : 0.0f, scale_targets, 1.0f);
        }
    }
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
