// Elementwise ops and sums over rows.
//
//   fill         out[i] = value
//   add          out[i] = scale_targets out[i] + scale_output x[i]
//   add_bias     out[r, j] += biases[r]
//   sum_rows     out[r] = scale_targets out[r] + scale_output sum_j x[r, j]
//   eltmax       out[i] = max(out[i], x[i]);  gradient: grad[i] where x[i] == y[i]
//   checks       the number of values that are not finite; the sum of magnitudes
//
// Layout: any contiguous array; x[r, j] rows slowest. Threads: one per element, striding over the grid; EACH elements of a
// row, THREADS apart (add_bias); for sums a block per row, or per `share` columns of a row, whose sums are added in a second
// launch (sum_rows), or a fixed number of blocks whose parts the host adds (checks).
// 2012: kEltwiseBinaryOp, kColVectorOp, kAggRows_wholerow, kTotalAgg, kEltwiseMaxGrad (nvmatrix, layer_kernels.cu).

#include "common.cuh"

constexpr int EACH = 4;

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
    float* row = out + (Index)blockIdx.x * columns;
    for (int j0 = blockIdx.y * EACH * THREADS + threadIdx.x; j0 < columns; j0 += gridDim.y * EACH * THREADS) {
        float values[EACH];
#pragma unroll
        for (int k = 0; k < EACH; k++) values[k] = j0 + k * THREADS < columns ? row[j0 + k * THREADS] : 0.0f;
#pragma unroll
        for (int k = 0; k < EACH; k++)
            if (j0 + k * THREADS < columns) row[j0 + k * THREADS] = values[k] + bias;
    }
}

// 2012: kAggRows, kAggRows_wholerow, kAggShortRows.
extern "C" __global__ void sum_rows(const float* x, float* out, int columns, int share, float scale_targets,
                                    float scale_output) {
    __shared__ float shares[THREADS];
    const float* row = x + (Index)blockIdx.x * columns;
    const int first = blockIdx.y * share, last = min(first + share, columns);
    float sum = 0;
    for (int j = first + threadIdx.x; j < last; j += THREADS) sum += row[j];
    sum = block_sum<THREADS>(sum, shares);
    const Index i = (Index)blockIdx.x * gridDim.y + blockIdx.y;
    if (threadIdx.x == 0) out[i] = blend(out + i, sum, scale_targets, scale_output);
}

// 2012: kEltwiseBinaryOp.
extern "C" __global__ void eltmax_forward(const float* x, float* out, long long count) {
    FOR_EACH(i, count) out[i] = nan_max(out[i], x[i]);
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
    unsigned bad = 0;
    FOR_EACH(i, count) bad += !isfinite(x[i]);
    const double all = block_sum<THREADS>((double)bad, shares);
    if (threadIdx.x == 0) parts[blockIdx.x] = all;
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
