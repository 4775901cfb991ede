// Image operations (numerics 11), and the conversion of bytes to a minibatch.
//
//   blur      correlation with TAPS along x, then along y, zeros outside
//   nailbed   out[c, oy, ox] = images[c, start + oy stride, start + ox stride]; its gradient scatters
//   resize    bilinear, source = o * scale + (0.5 H - 0.5 OY scale), clamped to [0, H - 1.01]
//   crop, mirror, rgb2yuv, rgb2lab
//   pack      out[c, y, x, n] = (bytes[n, top + y, left + x or mirrored, c] - mean[c, y, x] + shift[c, n]) * gain
//
// Layout: images[c][y][x][n]; bytes [n][y][x][c]. Threads: one per output value, cases fastest, striding over the grid.
// pack: a block converts SPAN values (x, c) of one row of CASES pictures. It reads along the row of a picture and writes along
// the cases, so that both are coalesced; shared memory holds the bytes in between.
// 2012: kGaussianBlur, kBedOfNails, kResizeBilinear, kCrop, kRGBToYUV, kRGBToLAB. 2014: kReflectH. Packing was the host's.

#include "common.cuh"

constexpr int CASES = 32, SPAN = 96;

// A position in an image, and its case.
struct Place {
    int c, y, x;
    Index n;
};

__device__ __forceinline__ Place place_of(Index i, int height, int width) {
    return {(int)(i / N / width / height), (int)(i / N / width % height), (int)(i / N % width), i % N};
}

__device__ __forceinline__ Index at(int c, int y, int x, Index n, int height, int width) {
    return (((Index)c * height + y) * width + x) * N + n;
}

// 2012: kGaussianBlur.
extern "C" __global__ void blur(const float* images, const float* taps, float* out, long long count, int radius, int along_x,
                                float scale_targets) {
    FOR_EACH(i, count) {
        const Place p = place_of(i, H, W);
        float sum = 0;
        for (int t = -radius; t <= radius; t++) {
            const int y = p.y + (along_x ? 0 : t), x = p.x + (along_x ? t : 0);
            if (y >= 0 && y < H && x >= 0 && x < W) sum += taps[t + radius] * images[at(p.c, y, x, p.n, H, W)];
        }
        out[i] = blend(out + i, sum, scale_targets, 1.0f);
    }
}

// 2012: kBedOfNails.
extern "C" __global__ void nailbed_forward(const float* images, float* out, long long count, int start, int stride) {
    FOR_EACH(i, count) {
        const Place p = place_of(i, OY, OX);
        out[i] = images[at(p.c, start + p.y * stride, start + p.x * stride, p.n, H, W)];
    }
}

// 2012: kBedOfNails.
extern "C" __global__ void nailbed_input_grad(const float* grad, float* into, long long count, int start, int stride,
                                              float scale_targets) {
    FOR_EACH(i, count) {
        const Place p = place_of(i, H, W);
        const int y = p.y - start, x = p.x - start;
        const bool picked = y >= 0 && x >= 0 && y % stride == 0 && x % stride == 0 && y / stride < OY && x / stride < OX;
        const float g = picked ? grad[at(p.c, y / stride, x / stride, p.n, OY, OX)] : 0.0f;
        into[i] = blend(into + i, g, scale_targets, 1.0f);
    }
}

// The two pixels between which output pixel o lies along an axis, and the share of the second.
__device__ __forceinline__ void source_of(int o, int side, int target, double scale, int& low, int& high, float& share) {
    const double place = fmin(fmax(o * scale + (0.5 * side - 0.5 * target * scale), 0.0), fmax(side - 1.01, 0.0));
    low = (int)floor(place);
    high = min(low + 1, side - 1);
    share = (float)(place - low);
}

// 2012: kResizeBilinear.
extern "C" __global__ void resize(const float* images, float* out, long long count, double scale) {
    FOR_EACH(i, count) {
        const Place p = place_of(i, OY, OX);
        int y0, y1, x0, x1;
        float fy, fx;
        source_of(p.y, H, OY, scale, y0, y1, fy);
        source_of(p.x, W, OX, scale, x0, x1, fx);
        const float top = images[at(p.c, y0, x0, p.n, H, W)] * (1 - fx) + images[at(p.c, y0, x1, p.n, H, W)] * fx;
        const float bottom = images[at(p.c, y1, x0, p.n, H, W)] * (1 - fx) + images[at(p.c, y1, x1, p.n, H, W)] * fx;
        out[i] = top * (1 - fy) + bottom * fy;
    }
}

// 2012: kCrop.
extern "C" __global__ void crop(const float* images, float* out, long long count, int top, int left) {
    FOR_EACH(i, count) {
        const Place p = place_of(i, OY, OX);
        out[i] = images[at(p.c, top + p.y, left + p.x, p.n, H, W)];
    }
}

// 2012: none; 2014: kReflectH.
extern "C" __global__ void mirror(const float* images, float* out, long long count, float scale_targets) {
    FOR_EACH(i, count) {
        const Place p = place_of(i, H, W);
        out[i] = blend(out + i, images[at(p.c, p.y, W - 1 - p.x, p.n, H, W)], scale_targets, 1.0f);
    }
}

// Three maps of `count` values each.
// 2012: kRGBToYUV.
extern "C" __global__ void rgb2yuv(const float* images, float* out, long long count) {
    FOR_EACH(i, count) {
        const float r = images[i], g = images[count + i], b = images[2 * count + i];
        out[i] = 0.2126f * r + 0.7152f * g + 0.0722f * b;
        out[count + i] = -0.09991f * r - 0.33609f * g + 0.436f * b;
        out[2 * count + i] = 0.615f * r - 0.55861f * g - 0.05639f * b;
    }
}

__device__ __forceinline__ float lab_curve(float t) {
    return t > 0.0088564517f ? powf(t, 0.3333f) : 7.787037f * t + 0.13793103f;
}

// 2012: kRGBToLAB.
extern "C" __global__ void rgb2lab(const float* images, float* out, long long count, float center) {
    FOR_EACH(i, count) {
        const float r = images[i], g = images[count + i], b = images[2 * count + i];
        const float x = lab_curve(0.49f * r + 0.31f * g + 0.2f * b);
        const float y = lab_curve(0.17697f * r + 0.8124f * g + 0.01063f * b);
        const float z = lab_curve(0.01f * g + 0.99f * b);
        out[i] = 116.0f * y - 16.0f - center;
        out[count + i] = 500.0f * (x - y);
        out[2 * count + i] = 200.0f * (y - z);
    }
}

// Bytes of H x W pictures; the crop has OY x OX pixels. places: per case top, left, mirrored.
// 2012: none; the host cropped, mirrored and packed.
extern "C" __global__ void pack(const unsigned char* bytes, const int* places, const float* mean, const float* shifts,
                                float* out, float gain) {
    constexpr int WARPS = THREADS / CASES, READS = CASES / WARPS, PIECES = SPAN / CASES;
    __shared__ unsigned char tile[SPAN][CASES + 4];  // padded, so that neighbours in a column lie in different banks
    const int groups = ceil_div(N, CASES), spans = ceil_div(OX * C, SPAN);
    const int lane = threadIdx.x % CASES, warp = threadIdx.x / CASES;
    const int n0 = blockIdx.x % groups * CASES, v0 = blockIdx.x / groups % spans * SPAN, y = blockIdx.x / groups / spans;
    // Load everything first, so that all loads are pending at once; then store it in shared memory.
    unsigned char loaded[READS][PIECES];
#pragma unroll
    for (int k = 0; k < READS; k++) {
        const int n = min(n0 + k * WARPS + warp, N - 1), *place = places + 3 * n, left = place[1], mirrored = place[2];
        const unsigned char* row = bytes + (((Index)n * H + place[0] + y) * W + left) * C;
#pragma unroll
        for (int j = 0; j < PIECES; j++) {
            const unsigned v = min(v0 + j * CASES + lane, OX * C - 1);
            loaded[k][j] = row[mirrored ? (OX - 1 - v / C) * C + v % C : v];
        }
    }
#pragma unroll
    for (int k = 0; k < READS; k++)
#pragma unroll
        for (int j = 0; j < PIECES; j++) tile[j * CASES + lane][k * WARPS + warp] = loaded[k][j];
    __syncthreads();
    // Write along the cases.
    const int n = n0 + lane;
    if (n >= N) return;
#pragma unroll 4
    for (int v = v0 + warp; v < min(v0 + SPAN, OX * C); v += WARPS) {
        const unsigned x = (unsigned)v / C, c = (unsigned)v % C;
        const Index pixel = ((Index)c * OY + y) * OX + x;
        out[pixel * N + n] = (tile[v - v0][lane] - mean[pixel] + shifts[c * N + n]) * gain;
    }
}
