// Weight updates and constraints (numerics 13), and sums along a label tree (numerics 4.5).
//
//   update          v = momentum v + rate g - decay w;  w += v
//   super_update    the same with g divided by the root of its running variance (13.8)
//   limit_norm      columns over K longer than `limit` are scaled to it
//   limit_contrast  columns whose sqrt(sum (w - mean)^2) / K leaves [least, most] are scaled into it
//   tree            effective[v] = sum of offsets from the root to v; its transpose; an update with a rate per node
//
// Layout: weights [outer][k][inner], tree weights [node][k]. Threads: one per element, or per column of the tree, striding
// over the grid. limit_*: a block has LANES neighbouring columns, lanes fastest, and its threads divide the rows. LANES is 1
// where columns are contiguous (inner 1, the weights of fc), so that accesses are coalesced in both layouts.
// 2012: WeightConstraintOperator, kNormalizeLCWeights, superMomUpdate, kSoftmaxTree{Fwd,Bwd,UpdateWeights}.

#include "common.cuh"

#ifndef LANES
#define LANES 1
#endif

// 2012: kEltwiseBinaryOp, once for each term.
extern "C" __global__ void update(float* weights, float* increments, const float* grad, long long count, int has_grad,
                                  float momentum, float rate, float decay) {
    FOR_EACH(i, count) {
        const float w = weights[i];
        float v = increments[i];
        if (has_grad) v = momentum * v + rate * grad[i];
        if (decay > 0) v -= decay * w;
        increments[i] = v;
        weights[i] = w + v;
    }
}

// 2012: superMomUpdate.
extern "C" __global__ void super_update(float* weights, float* increments, const float* grad, float* mean, float* square,
                                        long long count, float momentum, float rate, float decay, float epsilon) {
    FOR_EACH(i, count) {
        const float w = weights[i], old = increments[i];
        const float g = grad[i], m = momentum * mean[i] + (1 - momentum) * g;
        const float s = momentum * square[i] + (1 - momentum) * g * g;
        mean[i] = m;
        square[i] = s;
        // 0.9 and the mean that is not squared are the original's.
        const float v = 0.9f * old + rate * g / sqrtf(s - m + epsilon) - decay * w;
        increments[i] = v;
        weights[i] = w + v;
    }
}

// The part of a column that a thread computes: rows k, k + STRIDE, ... below `rows`, which is 0 outside.
#define STRIDE (THREADS / LANES)
struct Part {
    float* first;
    int k, rows;
    Index pitch;  // from row to row
};

__device__ __forceinline__ Part part_of_thread(float* weights, int rows, int inner) {
    const int groups = ceil_div(inner, LANES), column = blockIdx.x % groups * LANES + threadIdx.x % LANES;
    float* first = weights + (Index)(blockIdx.x / groups) * rows * inner + column;
    return {first, (int)threadIdx.x / LANES, column < inner ? rows : 0, (Index)(LANES == 1 ? 1 : inner)};
}

__device__ __forceinline__ void scale(const Part& own, float gain) {
    for (int k = own.k; k < own.rows; k += STRIDE) own.first[k * own.pitch] *= gain;
}

// 2012: sums by kDumbAggCols, then WeightConstraintOperator.
extern "C" __global__ void __launch_bounds__(THREADS) limit_norm(float* weights, int rows, int inner, float limit, int hard) {
    __shared__ float parts[THREADS];
    const Part own = part_of_thread(weights, rows, inner);
    float square = 0;
    for (int k = own.k; k < own.rows; k += STRIDE) square += own.first[k * own.pitch] * own.first[k * own.pitch];
    const float norm = sqrtf(block_sum<THREADS, LANES>(square, parts));
    if (hard ? norm > 0 : norm > limit) scale(own, limit / norm);
}

// 2012: kNormalizeLCWeights, WeightContrastNormOperator.
extern "C" __global__ void __launch_bounds__(THREADS) limit_contrast(float* weights, int rows, int inner, float low, float high) {
    __shared__ float parts[THREADS];
    const Part own = part_of_thread(weights, rows, inner);
    float sum = 0, square = 0;
    for (int k = own.k; k < own.rows; k += STRIDE) sum += own.first[k * own.pitch];
    const float mean = block_sum<THREADS, LANES>(sum, parts) / rows;
    for (int k = own.k; k < own.rows; k += STRIDE) {
        const float deviation = own.first[k * own.pitch] - mean;
        square += deviation * deviation;
    }
    const float contrast = sqrtf(block_sum<THREADS, LANES>(square, parts)) / rows;
    if (contrast <= 0) return;
    scale(own, fminf(fmaxf(contrast, low), high) / contrast);
}

// order[] lists nodes from the root down; the root is its own parent.
// 2012: kSoftmaxTreeFwd.
extern "C" __global__ void tree_forward(const float* offsets, float* effective, const int* parents, const int* order,
                                        int nodes, int columns) {
    FOR_EACH(k, columns) {
        for (int i = 0; i < nodes; i++) {
            const long long v = order[i], parent = parents[v];
            effective[v * columns + k] = offsets[v * columns + k] + (parent == v ? 0.0f : effective[parent * columns + k]);
        }
    }
}

// 2012: kSoftmaxTreeBwd.
extern "C" __global__ void tree_backward(float* grad, const int* parents, const int* order, int nodes, int leaves,
                                         int columns) {
    FOR_EACH(k, columns) {
        for (long long v = leaves; v < nodes; v++) grad[v * columns + k] = 0;
        for (int i = nodes - 1; i > 0; i--) {
            const long long v = order[i];
            grad[(long long)parents[v] * columns + k] += grad[v * columns + k];
        }
    }
}

// 2012: kSoftmaxTreeUpdateWeights.
extern "C" __global__ void tree_update(float* weights, float* increments, const float* grad, const int* leaves_below,
                                       int columns, long long count, float momentum, float rate, float decay) {
    FOR_EACH(i, count) {
        const float size = (float)leaves_below[i / columns];
        const float w = weights[i], v = momentum * increments[i] + rate / size * (grad[i] - decay / size * w);
        increments[i] = v;
        weights[i] = w + v;
    }
}
