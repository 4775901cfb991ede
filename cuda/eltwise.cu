// Elementwise ops and sums over rows.
//
//   fill         out[i] = value
//   add          out[i] = scale_targets out[i] + scale_output x[i]
//   add_bias     out[r, j] += biases[r]
//   sum_rows     out[r] = scale_targets out[r] + scale_output sum_j x[r, j]
//   eltmax       out[i] = max(out[i], x[i]);  gradient: grad[i] where x[i] == y[i]
//   checks       how many values are not finite; the sum of magnitudes
//
// Layout: anything contiguous; x[r, j] rows slowest. Threads: one per element, striding over the grid (add_bias: over the
// blocks of a row); for sums one block per row (sum_rows), or a fixed number of blocks whose parts the host adds (checks).
// 2012: kEltwiseBinaryOp, kColVectorOp, kAggRows_wholerow, kTotalAgg, kEltwiseMaxGrad (nvmatrix, layer_kernels.cu).

#include "common.cuh"

// 2012: kEltwiseUnaryOp.
extern "C" __global__ void fill(float* out, long long count, float value) {
    FOR_EACH(i, count) out[i] = value;
}

// 2012: kEltwiseBinaryOp.
extern "C" __global__ void add(const float* x, float* out, long long count, float scale_targets, float scale_output) {
    FOR_EACH(i, count) out[i] = blend(out + i, x[i], scale_targets, scale_output);
}

// 2012: kColVectorOp.
extern "C" __global__ void add_bias(float* out, const float* biases, int columns) {
    const float bias = biases[blockIdx.x];
    float* row = out + (long long)blockIdx.x * columns;
    for (int j = blockIdx.y * THREADS + threadIdx.x; j < columns; j += gridDim.y * THREADS) row[j] += bias;
}

// 2012: kAggRows, kAggRows_wholerow, kAggShortRows.
extern "C" __global__ void sum_rows(const float* x, float* out, int columns, float scale_targets, float scale_output) {
    __shared__ float shares[THREADS];
    const float* row = x + (long long)blockIdx.x * columns;
    float sum = 0;
    for (int j = threadIdx.x; j < columns; j += THREADS) sum += row[j];
    sum = block_sum<THREADS>(sum, shares);
    if (threadIdx.x == 0) out[blockIdx.x] = blend(out + blockIdx.x, sum, scale_targets, scale_output);
}

// 2012: kEltwiseBinaryOp.
extern "C" __global__ void eltmax_forward(const float* x, float* out, long long count) {
    FOR_EACH(i, count) out[i] = larger(out[i], x[i]);
}

// 2012: kEltwiseMaxGrad.
extern "C" __global__ void eltmax_input_grad(const float* x, const float* y, const float* grad, float* into,
                                             long long count, float scale_targets) {
    FOR_EACH(i, count) into[i] = blend(into + i, x[i] == y[i] ? grad[i] : 0.0f, scale_targets, 1.0f);
}

// parts[block] = number of values that are NaN or infinite.
// 2012: none; a check of this project.
extern "C" __global__ void count_bad(const float* x, double* parts, long long count) {
    __shared__ double shares[THREADS];
    double bad = 0;
    FOR_EACH(i, count) bad += !isfinite(x[i]);
    bad = block_sum<THREADS>(bad, shares);
    if (threadIdx.x == 0) parts[blockIdx.x] = bad;
}

// parts[block] = sum of |x|.
// 2012: kEltwiseUnaryOp, then kTotalAgg.
extern "C" __global__ void sum_magnitudes(const float* x, double* parts, long long count) {
    __shared__ double shares[THREADS];
    double sum = 0;
    FOR_EACH(i, count) sum += fabsf(x[i]);
    sum = block_sum<THREADS>(sum, shares);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
