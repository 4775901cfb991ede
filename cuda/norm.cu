// Response and contrast normalisation.
//
//   d(p)  = MIN_DIV + SCALE * sum of m(q)^2 over the window of p,      out = x * d^-POWER
//   grad  = g * d^-POWER + m(p) * sum of u(q) over the windows q that hold p,   u = -2 POWER SCALE g x d^(-POWER - 1)
//
//   ACROSS 1: the window is [c - SIZE / 2, + SIZE) in the channels of one pixel, or (BLOCKED) c's block of SIZE; m = x
//   ACROSS 0: a square of SIZE in the same map, clipped; m = x (rnorm), or x minus the mean of its own window (cnorm, whose
//             gradient is the originals' approximation)
//
// Layout: [c][y][x][n]. Threads: one per value, cases fastest, striding over the grid. The gradient takes two kernels,
// u first; into holds g * d^-POWER between them.
// 2012: kFCNorm, kFRNormUndo (across); kCNorm2, kRNormUndoPrelims, kRNormUndo, kRNormUndo2 (within).

#include "common.cuh"

struct Place {
    int c, y, x;
    long long base;  // of value (0, 0, 0) for this case
};

__device__ __forceinline__ Place place_of(long long i) {
    const int pixels = W * H;
    return {(int)(i / N / pixels), (int)(i / N / W % H), (int)(i / N % W), i % N};
}

// The sum over [p - before, p - before + SIZE), clipped, of v (of v^2), or over the block of p.
template <bool SQUARED>
__device__ __forceinline__ float window_sum(const float* v, const Place& p, int before) {
    const int pixels = W * H;
    float sum = 0;
    if (ACROSS) {
        const int first = BLOCKED ? p.c / SIZE * SIZE : p.c - before;
        for (int c = most(first, 0); c < least(first + SIZE, C); c++) {
            const float value = v[p.base + ((long long)c * pixels + p.y * W + p.x) * N];
            sum += SQUARED ? value * value : value;
        }
        return sum;
    }
    for (int y = most(p.y - before, 0); y < least(p.y - before + SIZE, H); y++)
        for (int x = most(p.x - before, 0); x < least(p.x - before + SIZE, W); x++) {
            const float value = v[p.base + ((long long)p.c * pixels + y * W + x) * N];
            sum += SQUARED ? value * value : value;
        }
    return sum;
}

__device__ __forceinline__ float denominator(const float* m, const Place& p) {
    return MIN_DIV + SCALE * window_sum<true>(m, p, SIZE / 2);
}

// 2012: kFCNorm (across maps), kCNorm2, kCNorm_fewfilter, kCNorm_manyfilter (within).
extern "C" __global__ void norm_forward(const float* x, const float* m, float* out, long long count) {
    FOR_EACH(i, count) out[i] = x[i] * powf(denominator(m, place_of(i)), -POWER);
}

// 2012: the first half of kFRNormUndo (across maps), kRNormUndoPrelims (within).
extern "C" __global__ void norm_shares(const float* x, const float* m, const float* grad, float* u, float* into,
                                       long long count, float scale_targets) {
    FOR_EACH(i, count) {
        const float d = denominator(m, place_of(i)), g = grad[i], root = powf(d, -POWER);
        u[i] = -2.0f * POWER * SCALE * g * x[i] * root / d;
        into[i] = blend(into + i, g * root, scale_targets, 1.0f);
    }
}

// 2012: the second half of kFRNormUndo (across maps), kRNormUndo, kRNormUndo2 (within).
extern "C" __global__ void norm_gather(const float* m, const float* u, float* into, long long count) {
    FOR_EACH(i, count) into[i] += m[i] * window_sum<false>(u, place_of(i), SIZE - 1 - SIZE / 2);
}

// m = x minus the mean of its own clipped window.
// 2012: kLocalPool with AvgPooler, then kEltwiseBinaryOp.
extern "C" __global__ void norm_deviation(const float* x, float* m, long long count) {
    FOR_EACH(i, count) {
        const Place p = place_of(i);
        const int y0 = p.y - SIZE / 2, x0 = p.x - SIZE / 2;
        const int pixels = (least(y0 + SIZE, H) - most(y0, 0)) * (least(x0 + SIZE, W) - most(x0, 0));
        m[i] = x[i] - window_sum<false>(x, p, SIZE / 2) / pixels;
    }
}
