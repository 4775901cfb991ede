// Pooling within maps and across them.
//
//   max, maxabs  out = the maximum of a window; maxabs: the value of largest magnitude, the last one on a tie
//   avg, sum     out = the window's sum, avg: divided by its number of pixels inside the image
//   rand         out = a member of the window, with probability proportional to its positive part (uniform, if none is positive)
//   gradients    gathered per pixel: max adds grad of every window whose output equals the pixel (so do all ties)
//   cm           max over CHANNELS start + j * stride .. + size instead of a window of the map
//
// Layout: images[c][y][x][n], out[c][oy][ox][n]. Window (oy, ox) covers [START + o * STRIDE, + SIZE) clipped to the image.
// Threads: one per output (per pixel in gradients), cases fastest, striding over the grid.
// 2012: kLocalPool, kLocalPool2 with MaxPooler, MaxAbsPooler, AvgPooler; kLocalMaxUndo, kLocalAvgUndo. 2014: kPoolCrossMap.

#include "common.cuh"
#include "neuron.cuh"

__device__ __forceinline__ int begin_of(int o) { return min(max(START + o * STRIDE, 0), H); }
__device__ __forceinline__ int end_of(int o, int side) { return max(0, min(START + o * STRIDE + SIZE, side)); }

// The first of `outputs` windows that contains a pixel, and the first that begins after it.
__device__ __forceinline__ int first_over(int pixel) {
    const int before = pixel - START - SIZE + 1;
    return before <= 0 ? 0 : ceil_div(before, STRIDE);
}
__device__ __forceinline__ int last_over(int pixel, int outputs) {
    return pixel < START ? 0 : min(outputs, (pixel - START) / STRIDE + 1);
}

// Call visit(v) for every pixel of window (oy, ox) inside the image, row by row; `map` is at (0, 0).
template <typename Visit>
__device__ __forceinline__ void each_pixel(const float* map, int oy, int ox, Visit visit) {
    const int top = START + oy * STRIDE, left = START + ox * STRIDE;
#pragma unroll (SIZE <= 4 ? SIZE : 1)
    for (int ky = 0; ky < SIZE; ky++)
#pragma unroll (SIZE <= 4 ? SIZE : 1)
        for (int kx = 0; kx < SIZE; kx++) {
            const int y = top + ky, x = left + kx;
            if ((unsigned)y < H && (unsigned)x < W) visit(map[(Index)(y * W + x) * N]);
        }
}

// 2012: kLocalPool, kLocalPool2 with MaxPooler, MaxAbsPooler, AvgPooler.
extern "C" __global__ void pool_forward(const float* images, float* out, long long count, unsigned k0, unsigned k1,
                                        unsigned c1, unsigned c2, long long pitch, long long first, const unsigned* now) {
    FOR_EACH(i, count) {
        const int n = i % N, ox = i / N % OX, oy = i / N / OX % OY;
        const float* map = images + i / N / OX / OY * H * W * N + n;
        float best = KIND == MAX ? -2e38f : 0.0f, total = 0;
        each_pixel(map, oy, ox, [&](float v) {
            if (KIND == MAX) best = nan_max(best, v);
            if (KIND == MAXABS && best == best && !(fabsf(v) < fabsf(best))) best = v;  // NaN stays
            total += KIND == RAND ? nan_max(0.0f, v) : v;
        });
        const int pixels = max(0, end_of(oy, H) - begin_of(oy)) * max(0, end_of(ox, W) - begin_of(ox));
        if (KIND == AVG) best = total / max(pixels, 1);
        if (KIND == SUM) best = total;
        if (KIND == RAND) {
            unsigned words[4];
            const long long number = i / N * pitch + first + n;
            philox((unsigned)(number / 4), key_of(k0, k1, c1, c2, now), words);
            const bool any = !(total > 0);
            const float target = uniform(words[number % 4]) * (any ? (float)pixels : total);
            float mass = 0;
            bool found = false;
            each_pixel(map, oy, ox, [&](float v) {
                if (found) return;
                mass += any ? 1.0f : fmaxf(v, 0.0f);
                best = v;
                found = mass >= target;
            });
        }
        out[i] = neuron(NEURON, best);
    }
}

// 2012: kLocalMaxUndo, kLocalAvgUndo.
extern "C" __global__ void pool_input_grad(const float* images, const float* out, const float* grad, float* into,
                                           long long count, float scale_targets) {
    // The most windows along an axis that contain a pixel; no macros, which nvcc does not expand in pragmas.
    const int reach = (SIZE + STRIDE - 1) / STRIDE, reach_y = reach < OY ? reach : OY, reach_x = reach < OX ? reach : OX;
    FOR_EACH(i, count) {
        const int n = i % N, x = i / N % W, y = i / N / W % H, oy0 = first_over(y), ox0 = first_over(x);
        const Index map = i / N / W / H * OY * OX;
        const float value = KIND == MAX || SLOPE != IDENT ? images[i] : 0.0f;
        float sum = 0;
#pragma unroll (reach_y <= 4 ? reach_y : 1)
        for (int ky = 0; ky < reach_y; ky++)
#pragma unroll (reach_x <= 4 ? reach_x : 1)
            for (int kx = 0; kx < reach_x; kx++) {
                const int oy = oy0 + ky, ox = ox0 + kx;
                const bool valid = oy < last_over(y, OY) && ox < last_over(x, OX);
                const Index o = valid ? (map + oy * OX + ox) * N + n : n;  // no branch, so that all loads are pending at once
                float share = grad[o];
                if (KIND == MAX) share = value == out[o] ? share : 0.0f;
                if (KIND == AVG) share /= max(1, (end_of(oy, H) - begin_of(oy)) * (end_of(ox, W) - begin_of(ox)));
                sum += valid ? share : 0.0f;
            }
        into[i] = blend(into + i, sum * neuron_slope(SLOPE, 0.0f, value), scale_targets, 1.0f);
    }
}

// Across maps: H is the number of channels, OY that of outputs, and N the values of a map over all cases.
// 2012: none; 2014: kPoolCrossMap.
extern "C" __global__ void cmpool_forward(const float* images, float* out, long long count) {
    FOR_EACH(i, count) {
        const int j = i / N;
        const Index p = i % N;
        float best = -INFINITY;
        for (int c = begin_of(j); c < end_of(j, H); c++) best = nan_max(best, images[(Index)c * N + p]);
        out[i] = best;
    }
}

// 2012: none; 2014: kCrossMapMaxPoolUndo.
extern "C" __global__ void cmpool_input_grad(const float* images, const float* out, const float* grad, float* into,
                                             long long count, float scale_targets) {
    FOR_EACH(i, count) {
        const int c = i / N;
        const Index p = i % N;
        float sum = 0;
        for (int j = first_over(c); j < last_over(c, OY); j++)
            if (images[i] == out[(Index)j * N + p]) sum += grad[(Index)j * N + p];
        into[i] = blend(into + i, sum, scale_targets, 1.0f);
    }
}
