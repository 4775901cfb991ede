// Convolution, with weights shared by all windows (conv) or separate for each window (LOCAL), in groups, of any size.
//
//   forward      out[f, my, mx, n]    = sum over c, ky, kx of filters[c, ky, kx, f] images[ch(c), y, x, n]
//                                       and then + biases[f] (BIASES 1), or biases[f, my, mx] (BIASES 2), and then f(.) of
//                                       the neuron behind it (NEURON)
//   input grad   into[ch, y, x, n]    = sum over f and the windows (my, mx) that contain (y, x) of filters * grad[f, my, mx, n],
//                                       times f' of the neuron before it (SLOPE), whose output is the image ys
//   weight grad  into[c, ky, kx, f]   = sum over my, mx, n of images[ch(c), y, x, n] grad[f, my, mx, n]
//   with y = my * STRIDE - PADDING + ky, x likewise; taps outside the image count as zero.
//   Group g reads channels g CF .. (g + 1) CF, or CONNS[g CF + c] with random connections, and computes filters g FG .. (g + 1) FG.
//
// Layout: images[ch][y][x][n], filters[c][ky][kx][f] (LOCAL: [window][c][ky][kx][f]), out[f][my][mx][n].
// Threads: each pass is a matrix product by tiles (product.cuh) for one position of the image:
//   forward      one window: filters x cases, k runs over (c, ky, kx)       block x: window, then group and filter tile
//   input grad   one pixel: channels x cases, k over (f, window)             block x: pixel, then group and channel tile
//   weight grad  (c, ky, kx) x filters, k over (window, n)                   block x: a part of the windows, then tiles; the sums
//                                                                            of parts are added in order afterwards
// Forward and input grad first list the memory rows of each k, only for taps inside the image, so that the loop over k contains
// little but products. The input grad reads transposed filters: filters_t[f][ky][kx][c].
// 2012: filterActs_YxX_{color,sparse,sparse_random}, conv_img_acts_manycolor and kin, conv_weight_acts_{c,mc_mf}, add.

#include "common.cuh"
#include "neuron.cuh"

#if PASS == FORWARD || PASS == INPUT_GRAD || PASS == WEIGHT_GRAD
#include "product.cuh"

__device__ __forceinline__ int channel_of(const int* conns, int group, int c) {
    return HAS_CONNS ? conns[group * CF + c] : group * CF + c;
}

// Start a copy of four values; zeros after the `remaining` ones of the row, and where the row is not `valid`. `aligned`: rows
// begin at 16-byte boundaries, and have multiples of four values.
__device__ __forceinline__ void copy4(float* to, const float* from, int remaining, bool valid, bool aligned) {
    if (aligned) {
        copy_async16(to, from, valid && remaining > 0);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) copy_async4(to + i, from + i, valid && i < remaining);
    }
}

// Store combine(sum, old, y) for four sums of a row from `column` on, up to `limit`. `old` points to the value that is replaced;
// y are the values of `ys`, a row like it, where `reads_y`.
template <typename Combine>
__device__ __forceinline__ void store4(float* row, const float* ys, bool reads_y, int column, int limit, float4 sums,
                                       float scale_targets, Combine combine) {
    if (VECTOR_N && column < limit) {
        float4* to = reinterpret_cast<float4*>(row + column);
        float4 old = {0, 0, 0, 0}, y = {0, 0, 0, 0};
        if (scale_targets != 0.0f) old = *to;
        if (reads_y) y = load4(ys + column);
        *to = make_float4(combine(sums.x, &old.x, y.x), combine(sums.y, &old.y, y.y), combine(sums.z, &old.z, y.z),
                          combine(sums.w, &old.w, y.w));
        return;
    }
    const float each[4] = {sums.x, sums.y, sums.z, sums.w};
#pragma unroll
    for (int i = column; i < column + 4; i++)
        if (i < limit) row[i] = combine(each[i - column], row + i, reads_y ? ys[i] : 0.0f);
}
#endif

#if PASS == FORWARD || PASS == INPUT_GRAD
struct Lists {
    int a[LIST], b[LIST];
};

// The sums over k < `count` of a[k, m] b[k, n]. find(k, row_a, row_b) gives the row of each operand: those of a are `wide_a`
// floats long, those of b N; values from `limit_a` (`limit_b`) on count as zero. Up to LIST rows are listed at a time.
template <typename Find>
__device__ __forceinline__ Sums listed_product(Lists& lists, int count, Find find, const float* a, int wide_a, int limit_a,
                                               const float* b, int limit_b) {
    Sums sums = {};
    for (int first = 0; first < count; first += LIST) {
        // List the rows; -1 after the last k of the last slice.
        const int length = min(LIST, count - first), slices = ceil_div(length, BK);
#pragma unroll 1
        for (int i = threadIdx.x; i < slices * BK; i += THREADS) {
            lists.a[i] = lists.b[i] = -1;
            if (i < length) find(first + i, lists.a[i], lists.b[i]);
        }
        __syncthreads();
        // Multiply, slice by slice.
        accumulate(
            slices,
            [&](int s, float* to_a, float* to_b) {
                for_each_vec4<BM>([&](int, int k, int m) {
                    const int row = lists.a[s * BK + k];
                    copy4(to_a + k * PITCH_A + m, a + (long long)row * wide_a + m, limit_a - m, row >= 0, VECTOR_A);
                });
                for_each_vec4<BN>([&](int, int k, int n) {
                    const int row = lists.b[s * BK + k];
                    copy4(to_b + k * PITCH_B + n, b + (long long)row * N + n, limit_b - n, row >= 0, VECTOR_N);
                });
            },
            sums);
    }
    return sums;
}
#endif

#if PASS == FORWARD
// 2012: filterActs_YxX_color, filterActs_YxX_sparse; with random connections filterActs_YxX_sparse_random; then kColVectorOp.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_forward(const float* images, const float* filters, float* out, const int* conns, const float* biases,
                 float scale_targets) {
    const int tiles = ceil_div(FG, BM) * G;
    const int window = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int group = tile / ceil_div(FG, BM), f0 = tile % ceil_div(FG, BM) * BM, n0 = blockIdx.y * BN;
    const int top = window / MX * STRIDE - PADDING, left = window % MX * STRIDE - PADDING;
    const int ky0 = max(0, -top), kx0 = max(0, -left);  // taps inside the image
    const int down = max(0, min(SIZE, H - top) - ky0), across = max(0, min(SIZE, W - left) - kx0);
    const float* weights = filters + (LOCAL ? (long long)window * CF * SIZE * SIZE * F : 0) + group * FG + f0;

    __shared__ Lists lists;
    const Sums sums = listed_product(
        lists,
        CF * down * across,
        [&](int k, int& row_a, int& row_b) {
            const int c = k / (down * across), ky = ky0 + k / across % down, kx = kx0 + k % across;
            row_a = (c * SIZE + ky) * SIZE + kx;
            row_b = (channel_of(conns, group, c) * H + top + ky) * W + left + kx;
        },
        weights, F, FG - f0, images + n0, N - n0);
    store_tile(sums, [&](int m, int n, float4 four) {
        if (f0 + m >= FG) return;
        const int f = group * FG + f0 + m;
        float* row = out + ((long long)f * MY * MX + window) * N + n0;
        const float bias = BIASES ? biases[BIASES == 1 ? f : f * MY * MX + window] : -0.0f;
        store4(row, nullptr, false, n, N - n0, four, scale_targets, [&](float sum, const float* old, float) {
            return neuron(NEURON, blend(old, sum, scale_targets, 1.0f) + bias);
        });
    });
}
#endif

#if PASS == TRANSPOSE
// filters_t[f, t, c] = filters[c, t, f] for every tap t; for each window if LOCAL. A block transposes 32 x 32 values
// (block x: window and tap, then channel tile, then filter tile). 2012's kernels transposed their tiles in shared memory instead.
// 2012: none.
extern "C" __global__ void conv_transpose_filters(const float* filters, float* filters_t) {
    __shared__ float tile[32][33];
    const int tiles_f = ceil_div(F, 32), tiles = tiles_f * ceil_div(CF, 32), tap = blockIdx.x / tiles % (SIZE * SIZE);
    const int c0 = blockIdx.x % tiles / tiles_f * 32, f0 = blockIdx.x % tiles_f * 32;
    const long long window = blockIdx.x / (tiles * SIZE * SIZE) * (long long)(CF * SIZE * SIZE) * F;
    for (int i = threadIdx.y; i < 32 && c0 + i < CF; i += blockDim.y)
        if (f0 + threadIdx.x < F)
            tile[i][threadIdx.x] = filters[window + ((long long)(c0 + i) * SIZE * SIZE + tap) * F + f0 + threadIdx.x];
    __syncthreads();
    for (int i = threadIdx.y; i < 32 && f0 + i < F; i += blockDim.y)
        if (c0 + threadIdx.x < CF)
            filters_t[window + ((long long)(f0 + i) * SIZE * SIZE + tap) * CF + c0 + threadIdx.x] = tile[threadIdx.x][i];
}
#endif

#if PASS == INPUT_GRAD
// The windows along one axis that contain a pixel: the first, and their number.
__device__ __forceinline__ int first_window(int pixel) {
    const int reach = pixel + PADDING - SIZE + 1;
    return reach <= 0 ? 0 : ceil_div(reach, STRIDE);
}

__device__ __forceinline__ int windows_over(int pixel, int windows) {
    if (pixel + PADDING < 0) return 0;
    return max(0, min(windows - 1, (pixel + PADDING) / STRIDE) - first_window(pixel) + 1);
}

// 2012: img_acts_color, img_acts_mediumcolor, conv_img_acts_manycolor.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_input_grad(const float* grad, const float* filters_t, float* into, const float* ys, float scale_targets) {
    const int tiles = ceil_div(CF, BM) * G;
    const int pixel = blockIdx.x / tiles, tile = blockIdx.x % tiles, y = pixel / W, x = pixel % W;
    const int group = tile / ceil_div(CF, BM), c0 = tile % ceil_div(CF, BM) * BM, n0 = blockIdx.y * BN;
    const int my0 = first_window(y), mx0 = first_window(x), down = windows_over(y, MY), across = windows_over(x, MX);

    __shared__ Lists lists;
    const Sums sums = listed_product(
        lists,
        FG * down * across,
        [&](int k, int& row_a, int& row_b) {
            const int f = group * FG + k / (down * across), my = my0 + k / across % down, mx = mx0 + k % across;
            const int ky = y + PADDING - my * STRIDE, kx = x + PADDING - mx * STRIDE, window = my * MX + mx;
            row_a = (((LOCAL ? window * F : 0) + f) * SIZE + ky) * SIZE + kx;
            row_b = f * MY * MX + window;
        },
        filters_t + c0, CF, CF - c0, grad + n0, N - n0);
    store_tile(sums, [&](int m, int n, float4 four) {
        if (c0 + m >= CF) return;
        const long long row = ((long long)(group * CF + c0 + m) * H * W + pixel) * N + n0;
        const auto combine = [&](float sum, const float* old, float y) {
            return blend(old, sum * neuron_slope(SLOPE, 0.0f, y), scale_targets, 1.0f);
        };
        store4(into + row, ys + row, SLOPE != IDENT, n, N - n0, four, scale_targets, combine);
    });
}
#endif

#if PASS == WEIGHT_GRAD
// 2012: conv_weight_acts_c, conv_weight_acts_mc_mf; with random connections conv_weight_acts_mc_mf_rand.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_weight_grad(const float* images, const float* grad, float* into, const int* conns, int windows_per_part,
                     float scale_targets, float scale_output) {
    const int rows = CF * SIZE * SIZE, tiles_f = ceil_div(FG, BN), per_window = ceil_div(N, BK);
    const int tiles = ceil_div(rows, BM) * tiles_f, tile = blockIdx.x % tiles, group = blockIdx.x / tiles % G;
    const int r0 = tile / tiles_f * BM, f0 = tile % tiles_f * BN, part = blockIdx.x / (tiles * G);
    const int first = part * windows_per_part, windows = min(windows_per_part, MY * MX - first);
    float* target = into + (long long)part * rows * F + group * FG + f0;

    // Per weight of the tile, in window (0, 0): its row of the images, and its tap, relative to the window's corner. Weights past
    // the last have a tap that lies outside of the image in every window.
    __shared__ int image_rows[BM], ys[BM], xs[BM];
    for (int m = threadIdx.x; m < BM; m += THREADS) {
        const int r = r0 + m, c = min(r / (SIZE * SIZE), CF - 1), ky = r / SIZE % SIZE, kx = r % SIZE;
        image_rows[m] = (channel_of(conns, group, c) * H + ky - PADDING) * W + kx - PADDING;
        ys[m] = r < rows ? ky - PADDING : -H - MY * STRIDE, xs[m] = kx - PADDING;
    }
    __syncthreads();

    // The source of each copy of this thread, at case 0 of the window, and the number of values from there on.
    const float *from_a[vec4s_per_thread(BM)], *from_b[vec4s_per_thread(BN)];
    int remaining_a[vec4s_per_thread(BM)], remaining_b[vec4s_per_thread(BN)];
    // Multiply; k runs over the cases of a window, BK at a time, and then over the windows of this part.
    Sums sums = {};
    int window = first, n0 = 0;  // of the next slice
    accumulate(
        windows * per_window,
        [&](int, float* to_a, float* to_b) {
            if (n0 == 0) {  // a new window: find where its values are
                const int top = window / MX * STRIDE, left = window % MX * STRIDE;
                for_each_vec4<BM>([&](int p, int k, int m) {
                    remaining_a[p] = (unsigned)(ys[m] + top) < H && (unsigned)(xs[m] + left) < W ? N - k : 0;
                    from_a[p] = images + (long long)(image_rows[m] + top * W + left) * N + k;
                });
                for_each_vec4<BN>([&](int p, int k, int f) {
                    from_b[p] = grad + ((long long)(group * FG + f0 + f) * MY * MX + window) * N + k;
                    remaining_b[p] = f0 + f < FG ? N - k : 0;
                });
            }
            for_each_vec4<BM>([&](int p, int k, int m) {
                copy4(to_a + m * PITCH_A + k, from_a[p] + n0, remaining_a[p] - n0, true, VECTOR_N);
            });
            for_each_vec4<BN>([&](int p, int k, int f) {
                copy4(to_b + f * PITCH_B + k, from_b[p] + n0, remaining_b[p] - n0, true, VECTOR_N);
            });
            n0 += BK;
            if (n0 >= N) n0 = 0, window++;
        },
        sums);
    store_tile(sums, [&](int m, int f, float sum) {
        if (r0 + m >= rows || f0 + f >= FG) return;
        float* to = target + (long long)(r0 + m) * F + f;
        *to = blend(to, sum, scale_targets, scale_output);
    });
}
#endif

#if PASS == SPARSE_INPUT_GRAD
// With random connections several groups may read a channel, also more than once: `starts` and `places` list for each channel
// the indices g CF + c under which it is read. One thread per value of the image gradient.
// 2012: img_acts_mediumcolor_sparse_rand, img_acts_manycolor_sparse_rand.
extern "C" __global__ void conv_sparse_input_grad(const float* grad, const float* filters, float* into, const float* ys,
                                                  const int* starts, const int* places, long long count,
                                                  float scale_targets) {
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
        const float slope = SLOPE != IDENT ? neuron_slope(SLOPE, 0.0f, ys[i]) : 1.0f;
        into[i] = blend(into + i, sum * slope, scale_targets, 1.0f);
    }
}
#endif

#if PASS == ADD_PARTS
// into = blend of the sum of `parts` matrices of `count` values, in order.
// 2012: kDumbAggCols, for the parts of partialSum.
extern "C" __global__ void conv_add_parts(const float* partial_sums, float* into, int parts, long long count, float scale_targets,
                                          float scale_output) {
    FOR_EACH(i, count) {
        float sum = 0;
        for (int part = 0; part < parts; part++) sum += partial_sums[part * count + i];
        into[i] = blend(into + i, sum, scale_targets, scale_output);
    }
}
#endif
