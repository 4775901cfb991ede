// Convolution, with weights shared by all windows (conv) or of each window its own (LOCAL), in groups, with any sizes.
//
//   forward      out[f, my, mx, n]    = sum over c, ky, kx of filters[c, ky, kx, f] images[ch(c), y, x, n]
//   input grad   into[ch, y, x, n]    = sum over the windows (my, mx) that hold (y, x) and f of filters * grad[f, my, mx, n]
//   weight grad  into[c, ky, kx, f]   = sum over my, mx, n of images[ch(c), y, x, n] grad[f, my, mx, n]
//   with y = my * STRIDE - PADDING + ky, x likewise; taps outside the image count as zero.
//   Group g reads channels g CF .. (g + 1) CF, or CONNS[g CF + c] with random connections, and makes filters g FG .. (g + 1) FG.
//
// Layout: images[ch][y][x][n], filters[c][ky][kx][f] (LOCAL: one such per window before it), out[f][my][mx][n].
// Each is a matrix product by tiles (product.cuh) for one place of the image:
//   forward      one window: filters x cases, k runs over (c, ky, kx)       block x: window, then group and filter tile
//   input grad   one pixel: channels x cases, k over (window, f)             block x: pixel, then group and channel tile
//   weight grad  (c, ky, kx) x filters, k over (window, n)                   block x: tiles; z: a share of the windows, whose
//                                                                            sums go to parts and are added in order
// 2012: filterActs_YxX_{color,sparse,sparse_random}, conv_img_acts_manycolor and kin, conv_weight_acts_{c,mc_mf}, add.

#include "common.cuh"
#include "product.cuh"

__device__ __forceinline__ int channel_of(const int* conns, int group, int c) {
    return HAS_CONNS ? conns[group * CF + c] : group * CF + c;
}

// Four neighbours of a row from `column` on; those from `limit` on are zero. VECTOR: rows begin at 16-byte boundaries.
template <typename Row>
__device__ __forceinline__ float4 four(Row row, int column, int limit, bool vector) {
    if (vector && column + 3 < limit) return *reinterpret_cast<const float4*>(row + column);
    float4 v = {0, 0, 0, 0};
    if (column < limit) v.x = row[column];
    if (column + 1 < limit) v.y = row[column + 1];
    if (column + 2 < limit) v.z = row[column + 2];
    if (column + 3 < limit) v.w = row[column + 3];
    return v;
}

__device__ __forceinline__ void blend_four(float* row, int column, int limit, float4 v, bool vector, float scale_targets,
                                           float scale_output) {
    if (vector && column + 3 < limit) {
        float4* to = reinterpret_cast<float4*>(row + column);
        float4 old = {0, 0, 0, 0};
        if (scale_targets != 0.0f) old = *to;
        *to = make_float4(blend(&old.x, v.x, scale_targets, scale_output), blend(&old.y, v.y, scale_targets, scale_output),
                          blend(&old.z, v.z, scale_targets, scale_output), blend(&old.w, v.w, scale_targets, scale_output));
        return;
    }
    if (column < limit) row[column] = blend(row + column, v.x, scale_targets, scale_output);
    if (column + 1 < limit) row[column + 1] = blend(row + column + 1, v.y, scale_targets, scale_output);
    if (column + 2 < limit) row[column + 2] = blend(row + column + 2, v.z, scale_targets, scale_output);
    if (column + 3 < limit) row[column + 3] = blend(row + column + 3, v.w, scale_targets, scale_output);
}

#if PASS == FORWARD
// 2012: filterActs_YxX_color, filterActs_YxX_sparse; with random connections filterActs_YxX_sparse_random.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_forward(const float* images, const float* filters, float* out, const int* conns, float scale_targets,
                 float scale_output) {
    const int tiles = ceil_div(FG, BM) * G;
    const int window = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int group = tile / ceil_div(FG, BM), f0 = tile % ceil_div(FG, BM) * BM, n0 = blockIdx.y * BN;
    const int top = window / MX * STRIDE - PADDING, left = window % MX * STRIDE - PADDING;
    const float* weights = filters + (LOCAL ? (long long)window * CF * SIZE * SIZE * F : 0) + group * FG + f0;

    product(
        CF * SIZE * SIZE,
        [&](int k, int m) -> float4 {
            if (k >= CF * SIZE * SIZE) return {0, 0, 0, 0};
            return four(weights + (long long)k * F, m, FG - f0, VECTOR_F);
        },
        [&](int k, int n) -> float4 {
            const int c = k / (SIZE * SIZE), y = top + k / SIZE % SIZE, x = left + k % SIZE;
            if (c >= CF || y < 0 || y >= H || x < 0 || x >= W) return {0, 0, 0, 0};
            const float* row = images + (((long long)channel_of(conns, group, c) * H + y) * W + x) * N + n0;
            return four(row, n, N - n0, VECTOR_N);
        },
        [&](int m, int n, float4 sums) {
            if (f0 + m >= FG) return;
            float* row = out + ((long long)(group * FG + f0 + m) * MY * MX + window) * N + n0;
            blend_four(row, n, N - n0, sums, VECTOR_N, scale_targets, scale_output);
        });
}
#endif

#if PASS == INPUT_GRAD
// Windows along one axis that hold a pixel: the first, and how many.
__device__ __forceinline__ int first_window(int pixel) {
    const int reach = pixel + PADDING - SIZE + 1;
    return reach <= 0 ? 0 : ceil_div(reach, STRIDE);
}

__device__ __forceinline__ int windows_over(int pixel, int windows) {
    if (pixel + PADDING < 0) return 0;
    return most(0, least(windows - 1, (pixel + PADDING) / STRIDE) - first_window(pixel) + 1);
}

// 2012: img_acts_color, img_acts_mediumcolor, conv_img_acts_manycolor.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_input_grad(const float* grad, const float* filters, float* into, float scale_targets, float scale_output) {
    const int tiles = ceil_div(CF, BM) * G;
    const int pixel = blockIdx.x / tiles, tile = blockIdx.x % tiles, y = pixel / W, x = pixel % W;
    const int group = tile / ceil_div(CF, BM), c0 = tile % ceil_div(CF, BM) * BM, n0 = blockIdx.y * BN;
    const int my0 = first_window(y), mx0 = first_window(x), across = windows_over(x, MX);
    const int K = windows_over(y, MY) * across * FG;

    product(
        K,
        [&](int k, int m) -> float4 {
            const int at = k / FG, f = k % FG;
            if (k >= K || c0 + m >= CF) return {0, 0, 0, 0};
            const auto weight = [&](int at, int f) {
                const int my = my0 + at / across, mx = mx0 + at % across;
                const int ky = y + PADDING - my * STRIDE, kx = x + PADDING - mx * STRIDE;
                const long long row = (LOCAL ? (long long)(my * MX + mx) * CF : 0) + c0 + m;
                return filters + ((row * SIZE + ky) * SIZE + kx) * F + group * FG + f;
            };
            if (f + 3 < FG) return four(weight(at, f), 0, 4, VECTOR_F);
            float v[4] = {0, 0, 0, 0};  // the four cross the end of a window's filters
            for (int i = 0; i < 4 && k + i < K; i++) v[i] = *weight((k + i) / FG, (k + i) % FG);
            return {v[0], v[1], v[2], v[3]};
        },
        [&](int k, int n) -> float4 {
            if (k >= K) return {0, 0, 0, 0};
            const int at = k / FG, f = group * FG + k % FG, my = my0 + at / across, mx = mx0 + at % across;
            return four(grad + (((long long)f * MY + my) * MX + mx) * N + n0, n, N - n0, VECTOR_N);
        },
        [&](int m, int n, float4 sums) {
            if (c0 + m >= CF) return;
            float* row = into + ((long long)(group * CF + c0 + m) * H * W + pixel) * N + n0;
            blend_four(row, n, N - n0, sums, VECTOR_N, scale_targets, scale_output);
        });
}
#endif

#if PASS == WEIGHT_GRAD
// 2012: conv_weight_acts_c, conv_weight_acts_mc_mf; with random connections conv_weight_acts_mc_mf_rand.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_weight_grad(const float* images, const float* grad, float* into, const int* conns, int windows_per_part,
                     float scale_targets, float scale_output) {
    const int rows = CF * SIZE * SIZE, tiles_f = ceil_div(FG, BN);
    const int tile = blockIdx.x % (ceil_div(rows, BM) * tiles_f), group = blockIdx.x / (ceil_div(rows, BM) * tiles_f);
    const int r0 = tile / tiles_f * BM, f0 = tile % tiles_f * BN, part = blockIdx.z;
    const int first = part * windows_per_part, windows = least(windows_per_part, MY * MX - first);
    float* target = into + (long long)part * rows * F;

    product(
        windows * NK,
        [&](int k, int m) -> float4 {
            const int window = first + k / NK, n = k % NK, r = r0 + m, c = r / (SIZE * SIZE);
            const int y = window / MX * STRIDE - PADDING + r / SIZE % SIZE, x = window % MX * STRIDE - PADDING + r % SIZE;
            if (c >= CF || k >= windows * NK || y < 0 || y >= H || x < 0 || x >= W) return {0, 0, 0, 0};
            return four(images + (((long long)channel_of(conns, group, c) * H + y) * W + x) * N, n, N, VECTOR_N);
        },
        [&](int k, int m) -> float4 {
            const int window = first + k / NK, n = k % NK;
            if (f0 + m >= FG || k >= windows * NK) return {0, 0, 0, 0};
            return four(grad + ((long long)(group * FG + f0 + m) * MY * MX + window) * N, n, N, VECTOR_N);
        },
        [&](int m, int f, float4 sums) {
            if (r0 + m >= rows) return;
            float* row = target + (long long)(r0 + m) * F + group * FG + f0;
            blend_four(row, f, FG - f0, sums, VECTOR_F, scale_targets, scale_output);
        });
}
#endif

#if PASS == SPARSE_INPUT_GRAD
// With random connections a channel may be read by several groups, and more than once: `starts` and `places` list, for
// each channel, the indices g CF + c under which it is read. One thread per value of the image gradient.
// 2012: img_acts_mediumcolor_sparse_rand, img_acts_manycolor_sparse_rand.
extern "C" __global__ void conv_sparse_input_grad(const float* grad, const float* filters, float* into, const int* starts,
                                                  const int* places, long long count, float scale_targets,
                                                  float scale_output) {
    FOR_EACH(i, count) {
        const int n = i % N, x = i / N % W, y = i / N / W % H, ch = i / N / W / H;
        float sum = 0;
        for (int place = starts[ch]; place < starts[ch + 1]; place++) {
            const int group = places[place] / CF, c = places[place] % CF;
            for (int ky = 0; ky < SIZE; ky++) {
                const int my = (y + PADDING - ky) / STRIDE;
                if (y + PADDING < ky || my * STRIDE + ky != y + PADDING || my >= MY) continue;
                for (int kx = 0; kx < SIZE; kx++) {
                    const int mx = (x + PADDING - kx) / STRIDE;
                    if (x + PADDING < kx || mx * STRIDE + kx != x + PADDING || mx >= MX) continue;
                    const long long row = (LOCAL ? (long long)(my * MX + mx) * CF : 0) + c;
                    const float* w = filters + ((row * SIZE + ky) * SIZE + kx) * F;
                    for (int f = group * FG; f < (group + 1) * FG; f++)
                        sum += w[f] * grad[(((long long)f * MY + my) * MX + mx) * N + n];
                }
            }
        }
        into[i] = blend(into + i, sum, scale_targets, scale_output);
    }
}
#endif

#if PASS == ADD_PARTS
// into = blend of the sum of `parts` matrices of `count` values, in order.
// 2012: kDumbAggCols, which added what partialSum had kept apart.
extern "C" __global__ void conv_add_parts(const float* parts_of, float* into, int parts, long long count, float scale_targets,
                                          float scale_output) {
    FOR_EACH(i, count) {
        float sum = 0;
        for (int part = 0; part < parts; part++) sum += parts_of[part * count + i];
        into[i] = blend(into + i, sum, scale_targets, scale_output);
    }
}
#endif
