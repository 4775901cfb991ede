// Response and contrast normalisation.
//
//   d(p)  = MIN_DIV + SCALE * sum of m(q)^2 over the window of p,      out = x * d^-POWER
//   grad  = g * d^-POWER + m(p) * sum of u(q) over the windows q that contain p,   u = -2 POWER SCALE g x d^(-POWER - 1)
//
//   ACROSS 1: the window is [c - SIZE / 2, + SIZE) in the channels of one pixel, or (BLOCKED) c's block of SIZE; m = x
//   ACROSS 0: a square of SIZE in the same map, clipped; m = x (rnorm), or x minus the mean of its own window (cnorm, whose
//             gradient is the originals' approximation)
//
// Layout: [c][y][x][n]. Threads, for windows that fit into registers:
//   across (slide_*)  one per pixel and case, cases fastest; it walks through RUN channels (block y: which ones) and keeps the
//                     values of the window in registers, so that memory is read once
//   within (strip_*)  a block has COLUMNS columns of LANES cases of one map, lanes fastest, and walks down RUN rows (block y:
//                     which ones); a thread shares its value of a row with its neighbours, and keeps the row sums of the SIZE
//                     rows in its window, so that memory is read once. Wide maps are split into tiles of columns, which
//                     overlap: HALO columns at either side are read only for their neighbours
//   others (norm_*)   one per value, striding over the grid; the gradient takes two kernels, u first, with g * d^-POWER in
//                     `into` between them
// 2012: kFCNorm, kFRNormUndo (across); kCNorm2, kRNormUndoPrelims, kRNormUndo, kRNormUndo2 (within).

#include "common.cuh"
#include "neuron.cuh"

#define BEFORE (SIZE / 2)  // values of a window before its centre, and after
#define AFTER (SIZE - 1 - SIZE / 2)
#define PIXELS ((Index)(H * W))

// x, which is y of the neuron below.
__device__ __forceinline__ float slope(float x) { return neuron_slope(SLOPE, 0.0f, x); }

struct Place {
    int c, y, x;
    Index base;  // of value (0, 0, 0) for this case
};

__device__ __forceinline__ Place place_of(Index i) {
    return {(int)(i / N / PIXELS), (int)(i / N / W % H), (int)(i / N % W), i % N};
}

// Compute root = d^-POWER and inverse = d^-1.
__device__ __forceinline__ void powers(float d, float& root, float& inverse) {
    if (POWER == 0.75f) {
        const float half = rsqrtf(d);
        inverse = half * half, root = half * rsqrtf(rsqrtf(inverse));
    } else {
        root = powf(d, -POWER), inverse = 1.0f / d;
    }
}

// Call visit(v) for the values in [p - before, p - before + SIZE), clipped, or in the block of p.
template <typename Visit>
__device__ __forceinline__ void each_value(const float* v, const Place& p, int before, Visit visit) {
    if (ACROSS) {
        const int first = BLOCKED ? p.c / SIZE * SIZE : p.c - before;
        for (int c = max(first, 0); c < min(first + SIZE, C); c++) visit(v[p.base + (c * PIXELS + p.y * W + p.x) * N]);
        return;
    }
#pragma unroll (SIZE <= 5 ? SIZE : 1)
    for (int ky = 0; ky < SIZE; ky++)
#pragma unroll (SIZE <= 5 ? SIZE : 1)
        for (int kx = 0; kx < SIZE; kx++) {
            const int y = p.y - before + ky, x = p.x - before + kx;
            if ((unsigned)y < H && (unsigned)x < W) visit(v[p.base + (p.c * PIXELS + y * W + x) * N]);
        }
}

__device__ __forceinline__ float denominator(const float* m, const Place& p) {
    float sum = 0;
    each_value(m, p, BEFORE, [&](float v) { sum += v * v; });
    return MIN_DIV + SCALE * sum;
}

// 2012: kFCNorm (across maps), kCNorm2, kCNorm_fewfilter, kCNorm_manyfilter (within).
extern "C" __global__ void norm_forward(const float* x, const float* m, float* out, long long count) {
    FOR_EACH(i, count) {
        float root, inverse;
        powers(denominator(m, place_of(i)), root, inverse);
        out[i] = x[i] * root;
    }
}

// 2012: the first half of kFRNormUndo (across maps), kRNormUndoPrelims (within).
extern "C" __global__ void norm_shares(const float* x, const float* m, const float* grad, float* u, float* into,
                                       long long count, float scale_targets) {
    FOR_EACH(i, count) {
        float root, inverse;
        powers(denominator(m, place_of(i)), root, inverse);
        const float g = grad[i];
        u[i] = -2.0f * POWER * SCALE * g * x[i] * root * inverse;
        into[i] = blend(into + i, g * root * slope(x[i]), scale_targets, 1.0f);
    }
}

// 2012: the second half of kFRNormUndo (across maps), kRNormUndo, kRNormUndo2 (within).
extern "C" __global__ void norm_gather(const float* x, const float* m, const float* u, float* into, long long count) {
    FOR_EACH(i, count) {
        float sum = 0;
        each_value(u, place_of(i), AFTER, [&](float v) { sum += v; });
        into[i] += m[i] * sum * (SLOPE != IDENT ? slope(x[i]) : 1.0f);
    }
}

// m = x minus the mean of its own clipped window.
// 2012: kLocalPool with AvgPooler, then kEltwiseBinaryOp.
extern "C" __global__ void norm_deviation(const float* x, float* m, long long count) {
    FOR_EACH(i, count) {
        float sum = 0;
        int pixels = 0;
        each_value(x, place_of(i), BEFORE, [&](float v) { sum += v, pixels++; });
        m[i] = x[i] - sum / pixels;
    }
}

// Append a value; the first one drops out.
template <int LENGTH>
__device__ __forceinline__ void push(float (&values)[LENGTH], float value) {
#pragma unroll
    for (int k = 0; k + 1 < LENGTH; k++) values[k] = values[k + 1];
    values[LENGTH - 1] = value;
}

#if SLIDES
// `__restrict__`: outputs do not overlap inputs, so that the loads of several channels can be pending at once.

__device__ __forceinline__ float channel(const float* x, int c, Index at) {
    return c < 0 || c >= C ? 0.0f : x[c * PIXELS * N + at];
}

// d of the channel in the middle of the window.
__device__ __forceinline__ float denominator(const float (&window)[SIZE]) {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < SIZE; k++) sum += window[k] * window[k];
    return MIN_DIV + SCALE * sum;
}

// 2012: kFCNorm.
extern "C" __global__ void slide_forward(const float* __restrict__ x, float* __restrict__ out) {
    const int c0 = blockIdx.y * RUN, c1 = min(c0 + RUN, C);
    FOR_EACH(at, PIXELS * N) {
        float window[SIZE], root, inverse;
#pragma unroll
        for (int k = 1; k < SIZE; k++) window[k] = channel(x, c0 - BEFORE - 1 + k, at);
#pragma unroll SIZE
        for (int c = c0; c < c1; c++) {
            push(window, channel(x, c + AFTER, at));
            powers(denominator(window), root, inverse);
            out[c * PIXELS * N + at] = window[BEFORE] * root;
        }
    }
}

// Step q computes u of channel q, the last one that the gradient of channel q - BEFORE needs.
// 2012: kFRNormUndo.
extern "C" __global__ void slide_input_grad(const float* __restrict__ x, const float* __restrict__ grad,
                                            float* __restrict__ into, float scale_targets) {
    const int c0 = blockIdx.y * RUN, c1 = min(c0 + RUN, C);
    FOR_EACH(at, PIXELS * N) {
        float window[SIZE], u[SIZE], scaled[BEFORE + 1];  // of the last channels: x, u, and g * d^-POWER
#pragma unroll
        for (int k = 0; k < SIZE; k++) window[k] = channel(x, c0 - AFTER - BEFORE - 1 + k, at), u[k] = 0;
#pragma unroll SIZE
        for (int q = c0 - AFTER; q < c1 + BEFORE; q++) {
            float root, inverse;
            const float g = channel(grad, q, at);
            push(window, channel(x, q + AFTER, at));
            powers(denominator(window), root, inverse);
            push(u, q < 0 || q >= C ? 0.0f : -2.0f * POWER * SCALE * g * window[BEFORE] * root * inverse);
            push(scaled, g * root);
            const int c = q - BEFORE;
            if (c < c0) continue;
            float sum = 0;
#pragma unroll
            for (int k = 0; k < SIZE; k++) sum += u[k];
            const Index i = c * PIXELS * N + at;
            into[i] = blend(into + i, (scaled[0] + window[0] * sum) * slope(window[0]), scale_targets, 1.0f);
        }
    }
}
#endif

#if COLUMNS
#define SPAN ((COLUMNS + SIZE - 1) * LANES)  // values of a row, with zeros on both sides
#define AHEAD 2                              // rows that are loaded before they are needed

// The part of a map that a thread computes.
struct Strip {
    Index at;            // of value (c, 0, x, n)
    int x, y0, y1;       // its column; its rows
    bool inside, owned;  // the column and case exist; this thread writes them
};

__device__ __forceinline__ Strip strip_of_thread() {
    const int groups = ceil_div(N, LANES), lane = threadIdx.x % LANES, column = threadIdx.x / LANES;
    const int n = blockIdx.x % groups * LANES + lane, tile = blockIdx.x / groups % TILES, c = blockIdx.x / groups / TILES;
    const int x = tile * (COLUMNS - 2 * HALO) - HALO + column, y0 = RUN < H ? blockIdx.y * RUN : 0;
    const bool inside = n < N && (unsigned)x < W, owned = inside && column >= HALO && column < COLUMNS - HALO;
    return {(c * PIXELS + x) * N + n, x, y0, min(y0 + RUN, H), inside, owned};
}

__device__ __forceinline__ float value(const float* v, const Strip& own, int y) {
    return own.inside && (unsigned)y < H ? v[own.at + (Index)(y * W) * N] : 0.0f;
}

// Zero what is outside of the columns of a row.
__device__ __forceinline__ void clear_sides(float* row, int before) {
#pragma unroll 1
    for (int i = threadIdx.x; i < (SIZE - 1) * LANES; i += COLUMNS * LANES)
        row[i < before * LANES ? i : i + COLUMNS * LANES] = 0;
}

// The sum over the columns [x - before, + SIZE) of the threads' values. One barrier suffices where calls alternate between two
// rows of shared memory.
__device__ __forceinline__ float row_sum(float* row, float value, int before) {
    row[threadIdx.x + before * LANES] = value;
    __syncthreads();
    float sum = row[threadIdx.x];
#pragma unroll
    for (int k = 1; k < SIZE; k++) sum += row[threadIdx.x + k * LANES];
    return sum;
}

__device__ __forceinline__ float sum_of(const float (&rows)[SIZE]) {
    float sum = rows[0];
#pragma unroll
    for (int k = 1; k < SIZE; k++) sum += rows[k];
    return sum;
}

// 2012: kCNorm2, kCNorm_fewfilter, kCNorm_manyfilter.
extern "C" __global__ void __launch_bounds__(COLUMNS * LANES) strip_forward(const float* x, const float* m, float* out) {
    __shared__ float squares[2][SPAN];
    const Strip own = strip_of_thread();
    const int first = max(own.y0 - BEFORE, 0);
    float rows[SIZE] = {}, window[AFTER + 1 + AHEAD] = {}, root, inverse;
    for (int k = 0; k < AHEAD; k++) push(window, value(m, own, first + k));
    clear_sides(squares[0], BEFORE), clear_sides(squares[1], BEFORE);
#pragma unroll SIZE
    for (int last = first; last < own.y1 + AFTER; last++) {  // the window's last row
        push(window, value(m, own, last + AHEAD));
        push(rows, last < H ? row_sum(squares[last & 1], window[AFTER] * window[AFTER], BEFORE) : 0.0f);
        const int y = last - AFTER;
        if (y < own.y0 || !own.owned) continue;
        powers(MIN_DIV + SCALE * sum_of(rows), root, inverse);
        const Index i = own.at + (Index)(y * W) * N;
        out[i] = (DEVIATES ? x[i] : window[0]) * root;
    }
}

// Step q computes u of row q, the last one that the gradient of row q - BEFORE needs.
// 2012: kRNormUndoPrelims, kRNormUndo, kRNormUndo2.
extern "C" __global__ void __launch_bounds__(COLUMNS * LANES)
    strip_input_grad(const float* x, const float* m, const float* grad, float* into, float scale_targets) {
    __shared__ float squares[2][SPAN], shares[2][SPAN];
    const Strip own = strip_of_thread();
    const int first = max(own.y0 - SIZE + 1, 0);
    float window[SIZE + AHEAD] = {}, rows[SIZE] = {}, u[SIZE] = {};  // m, and the row sums of m * m and of u
    float g[1 + AHEAD] = {}, scaled[BEFORE + 1] = {}, root, inverse;   // gradient, and g * d^-POWER
    for (int k = 0; k < AHEAD; k++) push(window, value(m, own, first + k)), push(g, value(grad, own, own.y0 - AFTER + k));
    clear_sides(squares[0], BEFORE), clear_sides(squares[1], BEFORE);
    clear_sides(shares[0], AFTER), clear_sides(shares[1], AFTER);
#pragma unroll SIZE
    for (int last = first; last < own.y1 + SIZE - 1; last++) {  // the last row of the window of q
        const int q = last - AFTER, y = q - BEFORE;
        push(window, value(m, own, last + AHEAD));
        push(rows, last < H ? row_sum(squares[last & 1], window[SIZE - 1] * window[SIZE - 1], BEFORE) : 0.0f);
        if (last < own.y0) continue;
        push(g, value(grad, own, q + AHEAD));
        const float v = DEVIATES ? value(x, own, q) : window[BEFORE];
        powers(MIN_DIV + SCALE * sum_of(rows), root, inverse);
        const float share = own.inside ? -2.0f * POWER * SCALE * g[0] * v * root * inverse : 0.0f;
        push(u, (unsigned)q < H ? row_sum(shares[last & 1], share, AFTER) : 0.0f);
        push(scaled, g[0] * root);
        if (y < own.y0 || !own.owned) continue;
        const Index i = own.at + (Index)(y * W) * N;
        const float total = scaled[0] + window[0] * sum_of(u);
        into[i] = blend(into + i, total * slope(DEVIATES && SLOPE != IDENT ? x[i] : window[0]), scale_targets, 1.0f);
    }
}

// m = x minus the mean of its own clipped window.
// 2012: kLocalPool with AvgPooler, then kEltwiseBinaryOp.
extern "C" __global__ void __launch_bounds__(COLUMNS * LANES) strip_deviation(const float* x, float* m) {
    __shared__ float parts[2][SPAN];
    const Strip own = strip_of_thread();
    const int first = max(own.y0 - BEFORE, 0), columns = min(own.x + AFTER + 1, W) - max(own.x - BEFORE, 0);
    float rows[SIZE] = {}, window[AFTER + 1 + AHEAD] = {};
    for (int k = 0; k < AHEAD; k++) push(window, value(x, own, first + k));
    clear_sides(parts[0], BEFORE), clear_sides(parts[1], BEFORE);
#pragma unroll SIZE
    for (int last = first; last < own.y1 + AFTER; last++) {
        push(window, value(x, own, last + AHEAD));
        push(rows, last < H ? row_sum(parts[last & 1], window[AFTER], BEFORE) : 0.0f);
        const int y = last - AFTER, pixels = columns * (min(last + 1, H) - max(y - BEFORE, 0));
        if (y >= own.y0 && own.owned) m[own.at + (Index)(y * W) * N] = window[0] - sum_of(rows) / pixels;
    }
}
#endif
