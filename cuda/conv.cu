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
// Forward and input grad first list the memory rows of each k, only for taps inside the image, so that the loop over k
// contains little but products. The input grad reads transposed filters: filters_t[f][ky][kx][c]. For tensor cores filters
// are rounded once, by a kernel of their own or as they are transposed; images, and filters that few blocks read (LOCAL), by
// who reads them.
// 2012: filterActs_YxX_{color,sparse,sparse_random}, conv_img_acts_manycolor and kin, conv_weight_acts_{c,mc_mf}, add.

#include "common.cuh"
#include "neuron.cuh"
#include "tensor.cuh"

#if PASS == FORWARD || PASS == INPUT_GRAD || PASS == WEIGHT_GRAD
#define ROUND_A (PASS == FORWARD && LOCAL)  // of filters: those of conv and of the input grad are rounded beforehand
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
struct __align__(16) Lists {
    int a[LIST], b[LIST];
};

// The sums over k < `count` of a[k, m] b[k, n]. find(k, row_a, row_b) gives the row of each operand: those of a are `wide_a`
// floats long, those of b N; values from `limit_a` (`limit_b`) on count as zero. Up to LIST rows are listed at a time.
// `whole`: the count is a multiple of BK.
template <typename Find>
__device__ __forceinline__ Sums listed_product(Lists& lists, int count, bool whole, Find find, const float* a, int wide_a,
                                               int limit_a, const float* b, int limit_b) {
    const Places<BM> places_a = places_of<BM>();
    const Places<BN> places_b = places_of<BN>();
    a = keep(a + places_a.column), b = keep(b + places_b.column);
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
        const int *list_a = lists.a, *list_b = lists.b;
        accumulate(
            slices, places_a, places_b,
            [&](float* to_a, float* to_b) {
                int rows_a[vec4s_per_thread(BM)] = {}, rows_b[vec4s_per_thread(BN)] = {};
                look_up(places_a, list_a, rows_a), look_up(places_b, list_b, rows_b);
                for_each_vec4(places_a, [&](int p, int k, int m) {
                    const float* from = a + (long long)rows_a[p] * wide_a + (m - places_a.column);
                    copy4(to_a + k * PITCH_A + m, from, limit_a - m, whole || rows_a[p] >= 0, VECTOR_A);
                });
                for_each_vec4(places_b, [&](int p, int k, int n) {
                    const float* from = b + (long long)rows_b[p] * N + (n - places_b.column);
                    copy4(to_b + k * PITCH_B + n, from, N % BN == 0 ? BN : limit_b - n, whole || rows_b[p] >= 0, VECTOR_N);
                });
                list_a += BK, list_b += BK;
            },
            sums);
    }
    return sums;
}
#endif

#if PASS == FORWARD
// 2012: filterActs_YxX_color, filterActs_YxX_sparse; with random connections filterActs_YxX_sparse_random; then kColVectorOp.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
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
        CF * down * across, CF % BK == 0,
        [&](int k, int& row_a, int& row_b) {
            const int c = k / (down * across), ky = ky0 + k / across % down, kx = kx0 + k % across;
            row_a = (c * SIZE + ky) * SIZE + kx;
            row_b = (channel_of(conns, group, c) * H + top + ky) * W + left + kx;
        },
        weights, F, FG % BM == 0 ? BM : FG - f0, images + n0, N - n0);
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
// filters_t[f, t, c] = filters[c, t, f] for every tap t; for each window if LOCAL; rounded if TF32. A block transposes 32 x
// 32 values (block x: window and tap, then channel tile, then filter tile). 2012's kernels transposed their tiles in shared
// memory.
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
            filters_t[window + ((long long)(f0 + i) * SIZE * SIZE + tap) * CF + c0 + threadIdx.x] =
                TF32 ? to_tf32(tile[threadIdx.x][i]) : tile[threadIdx.x][i];
}
#endif

#if PASS == ROUND
// rounded = filters, rounded to TF32.
// 2012: none.
extern "C" __global__ void conv_round_filters(const float* filters, float* rounded, long long count) {
    FOR_EACH(i, count) rounded[i] = to_tf32(filters[i]);
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
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv_input_grad(const float* grad, const float* filters_t, float* into, const float* ys, float scale_targets) {
    const int tiles = ceil_div(CF, BM) * G;
    const int pixel = blockIdx.x / tiles, tile = blockIdx.x % tiles, y = pixel / W, x = pixel % W;
    const int group = tile / ceil_div(CF, BM), c0 = tile % ceil_div(CF, BM) * BM, n0 = blockIdx.y * BN;
    const int my0 = first_window(y), mx0 = first_window(x), down = windows_over(y, MY), across = windows_over(x, MX);

    __shared__ Lists lists;
    const Sums sums = listed_product(
        lists,
        FG * down * across, FG % BK == 0,
        [&](int k, int& row_a, int& row_b) {
            const int f = group * FG + k / (down * across), my = my0 + k / across % down, mx = mx0 + k % across;
            const int ky = y + PADDING - my * STRIDE, kx = x + PADDING - mx * STRIDE, window = my * MX + mx;
            row_a = (((LOCAL ? window * F : 0) + f) * SIZE + ky) * SIZE + kx;
            row_b = f * MY * MX + window;
        },
        filters_t + c0, CF, CF % BM == 0 ? BM : CF - c0, grad + n0, N - n0);
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
// Per weight of a tile from r0 on, in window (0, 0): its row of the images, and its tap, relative to the window's corner.
// The tap of weights past the last lies outside of the image in every window.
__device__ __forceinline__ void list_taps(uint4* taps, const int* conns, int group, int r0) {
    for (int m = threadIdx.x; m < BM; m += THREADS) {
        const int r = r0 + m, c = min(r / (SIZE * SIZE), CF - 1), ky = r / SIZE % SIZE, kx = r % SIZE;
        const int row = (channel_of(conns, group, c) * H + ky - PADDING) * W + kx - PADDING;
        const int y = r < CF * SIZE * SIZE ? ky - PADDING : -H - MY * STRIDE, x = kx - PADDING;
        taps[m] = {(unsigned)row, (unsigned)y, (unsigned)x, 0};
    }
    __syncthreads();
}

// 2012: conv_weight_acts_c, conv_weight_acts_mc_mf; with random connections conv_weight_acts_mc_mf_rand.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv_weight_grad(const float* images, const float* grad, float* into, const int* conns, int windows_per_part,
                     float scale_targets, float scale_output) {
    const int rows = CF * SIZE * SIZE, tiles_f = ceil_div(FG, BN), per_window = ceil_div(N, BK);
    const int tiles = ceil_div(rows, BM) * tiles_f, tile = blockIdx.x % tiles, group = blockIdx.x / tiles % G;
    const int r0 = tile / tiles_f * BM, f0 = tile % tiles_f * BN, part = blockIdx.x / (tiles * G);
    const int first = part * windows_per_part, windows = min(windows_per_part, MY * MX - first);
    float* target = into + (long long)part * rows * F + group * FG + f0;

    __shared__ uint4 taps[BM];
    list_taps(taps, conns, group, r0);
    // Where each copy of this thread begins, relative to the case and, for b, window at hand; OUTSIDE: there is nothing.
    constexpr Index OUTSIDE = ~(Index)0;
    Index from_a[vec4s_per_thread(BM)], from_b[vec4s_per_thread(BN)];
    const Places<BM> places_a = places_of<BM>();
    const Places<BN> places_b = places_of<BN>();
    for_each_vec4(places_b, [&](int p, int k, int f) {
        const bool inside = FG % BN == 0 || f0 + f < FG;
        from_b[p] = inside ? (Index)(group * FG + f0 + f) * (MY * MX * N) + k : OUTSIDE;
    });
    grad += (Index)first * N;
    // Multiply; k runs over the cases of a window, BK at a time, and then over the windows of this part.
    Sums sums = {};
    int window = first, n0 = 0;  // of the next slice
    accumulate(
        windows * per_window, places_a, places_b,
        [&](float* to_a, float* to_b) {
            if (n0 == 0) {  // a new window: find where its values are
                const int top = window / MX * STRIDE, left = window % MX * STRIDE;
                for_each_vec4(places_a, [&](int p, int k, int m) {
                    const uint4 tap = taps[m];
                    const bool inside = (tap.y + top < H) & (tap.z + left < W);
                    from_a[p] = inside ? (Index)((int)tap.x + top * W + left) * N + k : OUTSIDE;
                });
            }
            const auto left_from = [&](int k) { return N % BK == 0 ? 4 : N - n0 - k; };  // cases
            for_each_vec4(places_a, [&](int p, int k, int m) {
                copy4(to_a + m * PITCH_A + k, images + from_a[p], left_from(k), from_a[p] != OUTSIDE, VECTOR_N);
            });
            for_each_vec4(places_b, [&](int p, int k, int f) {
                const bool inside = FG % BN == 0 || from_b[p] != OUTSIDE;
                copy4(to_b + f * PITCH_B + k, grad + from_b[p], left_from(k), inside, VECTOR_N);
            });
            const int step = N % BK == 0 ? BK : min(BK, N - n0);
            n0 += step, images = keep(images + step), grad = keep(grad + step);
            if (n0 == N) n0 = 0, window++, images -= N;
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
