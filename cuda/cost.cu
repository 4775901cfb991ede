// Costs and their gradients (numerics 12).
//
//   cost kernels write, for every number that a cost reports, the contribution of each case (or block of a grid) in double:
//   parts[slot * count + i]; `total` adds each slot in a fixed order, so that results are deterministic.
//   grad kernels: KIND selects the formula; gradients are of minus the cost.
//
// Layout: probabilities, targets p[j][n], t[j][n], cases fastest; labels[n], gates[n]. Threads: a block of 32 cases by ROWS
// threads that divide the classes of a case among them; gradients and sums over whole arrays: one thread per value.
// 2012: kLogregCost, kMultiSoftmaxCost, kCrossEntCost and their Grad and SoftmaxGrad twins, CrossEntOperator,
// RobustFlickr*Operator, kTICA_manyfilter, kTICAGrad_manyfilter, kMSMBackward.

#include "common.cuh"

// The sum over the ROWS threads of a case, in a fixed order; each receives it. `values` is shared memory.
template <typename T>
__device__ T case_sum(T value, T values[ROWS][32]) {
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    T total = 0;
    for (int row = 0; row < ROWS; row++) total += values[row][threadIdx.x];
    __syncthreads();
    return total;
}

__device__ __forceinline__ float case_max(float value) {
    __shared__ float values[ROWS][32];
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    float largest = values[0][threadIdx.x];
    for (int row = 1; row < ROWS; row++) largest = fmaxf(largest, values[row][threadIdx.x]);
    __syncthreads();
    return largest;
}

__device__ __forceinline__ double safe_log(float p) { return p > 0 ? log((double)p) : -50.0; }

__device__ __forceinline__ double guess_credit(int guesses, int above, int level) {
    return fmin(fmax((double)(guesses - above) / max(level, 1), 0.0), 1.0);
}

// 2012: kTotalAgg.
extern "C" __global__ void total(const double* parts, double* costs, int count) {
    __shared__ double shares[THREADS];
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) sum += parts[(long long)blockIdx.x * count + i];
    sum = block_sum<THREADS>(sum, shares);
    if (threadIdx.x == 0) costs[blockIdx.x] = sum;
}

// parts: [-log p_label, 1 - credit of one guess, 1 - credit of topk]. p_label is in `of_label`, or where that is null in
// `scores`, which rank the classes. A label that is none of the classes has probability 0.
// 2012: kLogregCost, kMultiSoftmaxCost.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
    label_cost(const float* labels, const float* scores, const double* of_label, double* parts, int classes, int cases,
               int topk) {
    __shared__ int values[ROWS][32];
    const int n = blockIdx.x * 32 + threadIdx.x;
    const bool inside = n < cases;
    const bool known = inside && labels[n] >= 0 && labels[n] < classes;
    const int label = known ? (int)labels[n] : 0;
    const float own = known ? scores[(long long)label * cases + n] : 0.0f;
    int above = 0, level = 0;
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) {
        const float score = scores[(long long)j * cases + n];
        above += score > own;
        level += score == own;
    }
    above = case_sum(above, values);
    level = case_sum(level, values);
    if (!inside || threadIdx.y) return;
    parts[n] = -log(of_label && known ? of_label[(long long)label * cases + n] : (double)own);
    parts[cases + n] = 1.0 - guess_credit(1, above, level);
    parts[2 * cases + n] = 1.0 - guess_credit(topk, above, level);
}

// parts: crossent [-sum t log p, 1 - credit]; binomial [-sum w t log p + (1 - t) log(1 - p), wrong / K, 1 - credit].
// 2012: kCrossEntCost; CrossEntOperator.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
    target_cost(const float* targets, const float* probs, double* parts, int classes, int cases, float pos_weight,
                int binomial) {
    __shared__ double values[ROWS][32];
    const int n = blockIdx.x * 32 + threadIdx.x;
    const bool inside = n < cases;
    double value = 0, wrong = 0, hit = 0, best_count = 0;
    float best = -INFINITY;
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) {
        const float t = targets[(long long)j * cases + n], p = probs[(long long)j * cases + n];
        if (binomial) {
            value -= pos_weight * t * safe_log(p) + (1.0f - t) * safe_log(1.0f - p);
            wrong += (p > 0.5f ? 1.0f : 0.0f) != t;
        } else {
            value -= t * safe_log(p);
        }
        best = fmaxf(best, p);
    }
    best = case_max(best);
    for (int j = threadIdx.y; inside && j < classes; j += ROWS) {
        const float t = targets[(long long)j * cases + n];
        if (probs[(long long)j * cases + n] != best) continue;
        best_count += 1;
        hit += binomial ? t : (t > 0 ? 1.0f : 0.0f);
    }
    value = case_sum(value, values), wrong = case_sum(wrong, values);
    hit = case_sum(hit, values), best_count = case_sum(best_count, values);
    if (!inside || threadIdx.y) return;
    const double credit = (binomial ? hit : (hit > 0 ? 1.0 : 0.0)) / best_count;
    parts[n] = value;
    if (binomial) parts[cases + n] = wrong / classes;
    parts[(binomial ? 2 : 1) * cases + n] = 1.0 - credit;
}

// One block per class: the numbers of cases where it was predicted (p > 0.5), positive, and both.
// 2012: none; 2014: kAggRows after kEltwiseBinaryOp.
extern "C" __global__ void class_counts(const float* targets, const float* probs, double* costs, int cases) {
    __shared__ double shares[THREADS];
    double declared = 0, positive = 0, both = 0;
    for (int n = threadIdx.x; n < cases; n += THREADS) {
        const bool says = probs[(long long)blockIdx.x * cases + n] > 0.5f, is = targets[(long long)blockIdx.x * cases + n] > 0;
        declared += says, positive += is, both += says && is;
    }
    declared = block_sum<THREADS>(declared, shares), positive = block_sum<THREADS>(positive, shares);
    both = block_sum<THREADS>(both, shares);
    if (threadIdx.x) return;
    costs[2 + 3 * blockIdx.x] = declared;
    costs[3 + 3 * blockIdx.x] = positive;
    costs[4 + 3 * blockIdx.x] = both;
}

// parts[block] of a sum over everything: x^2, gate_n x^2, log(1 + (x - t)^2), or x itself.
// 2012: kTotalAgg after kEltwiseUnaryOp; RobustFlickrCostOperator.
extern "C" __global__ void sum_cost(const float* x, const float* other, double* parts, long long count, int cases) {
    __shared__ double shares[THREADS];
    double sum = 0;
    FOR_EACH(i, count) {
        const double v = x[i];
        if (KIND == SUM2) sum += v * v;
        if (KIND == GSUM2) sum += other[i % cases] * v * v;
        if (KIND == RFLICKR) sum += log1p((v - other[i]) * (v - other[i]));
        if (KIND == PLAIN) sum += v;
    }
    sum = block_sum<THREADS>(sum, shares);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// sums[n] = sum over j of x[j, n] (of its square).
// 2012: kDumbAggCols.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
    case_sums(const float* x, float* sums, int classes, int cases, int squared, float gain, float scale_targets) {
    __shared__ float values[ROWS][32];
    const int n = blockIdx.x * 32 + threadIdx.x;
    float sum = 0;
    for (int j = threadIdx.y; n < cases && j < classes; j += ROWS) {
        const float v = x[(long long)j * cases + n];
        sum += squared ? v * v : v;
    }
    sum = case_sum(sum, values);
    if (n < cases && threadIdx.y == 0) sums[n] = blend(sums + n, gain * sum, scale_targets, 1.0f);
}

// t: labels or gates [n], or targets [j][n]; sums: [n], of targets.
// 2012: kLogregCostGrad, kLogregSoftmaxGrad, kCrossEntGrad, kCrossEntSoftmaxGrad; the gradient operators of the other costs.
extern "C" __global__ void cost_grad(const float* t, const float* p, const float* sums, float* into, long long count, int cases,
                                     float coeff, float pos_weight, float scale_targets) {
    FOR_EACH(i, count) {
        const int n = i % cases;
        const float q = p[i], target = PER_CASE ? t[n] : t[i];
        const bool hot = PER_CASE && (long long)target == i / cases;
        const float error = q - target;
        float g = 0;
        if (KIND == LOGREG) g = hot ? 1.0f / q : 0.0f;
        if (KIND == LOGREG_FUSED) g = (hot ? 1.0f : 0.0f) - q;
        if (KIND == CROSSENT) g = target / q;
        if (KIND == CROSSENT_FUSED) g = target - q * sums[n];
        if (KIND == BCE) g = pos_weight * target / q + (target - 1.0f) / (1.0f - q);
        if (KIND == BCE_FUSED) g = pos_weight * target * (1.0f - q) + (target - 1.0f) * q;
        if (KIND == GSUM2) g = -2.0f * target * q;
        if (KIND == RFLICKR) g = -2.0f * error / (1.0f + error * error);
        into[i] = blend(into + i, coeff * g, scale_targets, 1.0f);
    }
}

// tica over windows of `size` x `size` in each map of side `side`: forward writes reciprocals 1 / (0.001 + root of the window's
// sum of squares); the gradient is -coeff * x * sum of the reciprocals whose windows contain the pixel.
// 2012: kTICA_manyfilter, kTICAGrad_manyfilter.
extern "C" __global__ void tica(const float* x, const float* reciprocals, float* out, long long count, int side, int cases,
                                int size, int backward, float coeff, float scale_targets) {
    FOR_EACH(i, count) {
        const int n = i % cases, px = i / cases % side, py = i / cases / side % side;
        const float* values = (backward ? reciprocals : x) + i / cases / side / side * side * side * cases + n;
        const int before = backward ? size - 1 - size / 2 : size / 2;
        float sum = 0;
        for (int y = max(py - before, 0); y < min(py - before + size, side); y++)
            for (int xx = max(px - before, 0); xx < min(px - before + size, side); xx++) {
                const float v = values[(long long)(y * side + xx) * cases];
                sum += backward ? v : v * v;
            }
        if (backward)
            out[i] = blend(out + i, -coeff * x[i] * sum, scale_targets, 1.0f);
        else
            out[i] = 1.0f / (0.001f + sqrtf(sum));
    }
}

__device__ __forceinline__ double add_logs(double a, double b) {
    const double high = fmax(a, b), low = fmin(a, b);
    return high == -INFINITY ? -INFINITY : high + log1p(exp(low - high));
}

// marginals[i][n] = P(i in the set) over sets of `size` classes, drawn with probability proportional to the product of their
// exp(energy); with `labels`, over sets of size - 1 of the classes other than the label, whose own entry becomes 1.
// One thread per case; before[i][j][n] and after[i][j][n] are log sums over the ways to draw j of the first (last) i classes.
// 2012: multisoftmax.cpp on the host; kMSMBackward was there for debugging.
extern "C" __global__ void set_marginals(const float* energies, const float* labels, double* marginals, double* before,
                                         double* after, int classes, int cases, int size) {
    FOR_EACH(n, cases) {
        const int label = labels ? (int)labels[n] : -1, taken = size - (labels != nullptr), width = size + 1;
        float largest = -INFINITY;  // subtracted from all energies, which changes no probability
        for (int i = 0; i < classes; i++) largest = fmaxf(largest, energies[(long long)i * cases + n]);
        // Fill both tables, class by class.
        for (int way = 0; way < 2; way++) {
            double* table = way ? after : before;
            for (int j = 0; j <= taken; j++) table[(long long)j * cases + n] = j ? -INFINITY : 0.0;
            for (int i = 0; i < classes; i++) {
                const int at = way ? classes - 1 - i : i;
                const double energy = at == label ? -INFINITY : (double)(energies[(long long)at * cases + n] - largest);
                const double* old = table + (long long)i * width * cases + n;
                double* now = table + (long long)(i + 1) * width * cases + n;
                for (int j = 0; j <= taken; j++)
                    now[(long long)j * cases] = j ? add_logs(old[(long long)j * cases], old[(long long)(j - 1) * cases] + energy)
                                                  : old[(long long)j * cases];
            }
        }
        // Combine them: sets that contain class i, over all sets.
        const double all = before[((long long)classes * width + taken) * cases + n];
        for (int i = 0; i < classes; i++) {
            const double energy = (double)(energies[(long long)i * cases + n] - largest);
            double ways = -INFINITY;
            for (int j = 0; j < taken; j++)
                ways = add_logs(ways, before[((long long)i * width + j) * cases + n] + energy +
                                          after[((long long)(classes - 1 - i) * width + taken - 1 - j) * cases + n]);
            marginals[(long long)i * cases + n] = i == label ? 1.0 : exp(ways - all);
        }
    }
}

// 2012: multisoftmax.cpp on the host; kMSMBackward was there for debugging.
extern "C" __global__ void msm_grad(const double* label_marginals, const double* marginals, float* into, long long count,
                                    float coeff, float scale_targets) {
    FOR_EACH(i, count) into[i] = blend(into + i, coeff * (float)(label_marginals[i] - marginals[i]), scale_targets, 1.0f);
}
