// The tile of a matrix product that a block computes: the heart of conv.cu.
//
//   c[m, n] = sum_k a[k, m] b[k, n]    for BM values of m and BN of n
//
// Where a and b lie is known to the caller: `copy_a(k, m, to)` begins to copy four values to shared memory, a[k, m .. m+3], or
// a[k .. k+3, m] with ALONG_K 1, zeros where there are none; copy_b likewise. `store(m, n, sums)` takes four neighbouring
// n; with ALONG_K 1 `store(m, n, sum)` takes one.
//
// Threads: THREADS in a row. Shared memory holds STAGES slices of BK values of k: while one is multiplied the others are
// under way. ALONG_K 0: a slice is [k][m] and [k][n]; 1: [m][k] and [n][k], so that no copy turns anything around.
//
// Float32: a thread owns TM x TN sums. ALONG_K 0: in four-wide pieces, 4 BM / TM (4 BN / TN) apart; 1: every (BM / TM)th row and
// (BN / TN)th column. Either way it reads four values at once, free of bank conflicts.
// TF32: a warp owns WM x WN sums, made by tensor cores in pieces of 16 x 8. Rows of a piece lie as far apart as there are
// pieces, so that a thread finds its rows of all pieces side by side (ALONG_K 1: its values of two steps along k).
// 2012: the bodies of filterActs_YxX_sparse, conv_img_acts_manycolor and conv_weight_acts_mc_mf.

#include "tensor.cuh"

constexpr int PAD = TF32 ? (ALONG_K ? 0 : 8) : (ALONG_K ? 4 : 0);  // keeps what a warp reads at once on different banks
constexpr int WIDE_A = (ALONG_K ? BK : BM) + PAD, ROWS_A = ALONG_K ? BM : BK;  // of a slice in shared memory
constexpr int WIDE_B = (ALONG_K ? BK : BN) + PAD, ROWS_B = ALONG_K ? BN : BK;
constexpr int SLICE = ROWS_A * WIDE_A + ROWS_B * WIDE_B;  // floats

// Four-wide pieces that a thread copies of a slice of `width` values of m (or n), at most.
__device__ constexpr int pieces_of(int width) { return (BK * width / 4 + THREADS - 1) / THREADS; }

// For each of them: visit(p, k, m) with its number.
template <int WIDTH, typename Visit>
__device__ __forceinline__ void each_piece(Visit visit) {
    constexpr int ALL = BK * WIDTH / 4, ACROSS = ALONG_K ? BK / 4 : WIDTH / 4;
#pragma unroll
    for (int p = 0; p < pieces_of(WIDTH); p++) {
        const int i = p * THREADS + threadIdx.x;
        if ((p + 1) * THREADS > ALL && i >= ALL) continue;
        if (ALONG_K) visit(p, i % ACROSS * 4, i / ACROSS);
        else visit(p, i / ACROSS, i % ACROSS * 4);
    }
}

__device__ __forceinline__ float4 four_at(const float* at) { return *reinterpret_cast<const float4*>(at); }

#if TF32
constexpr int WARPS_N = BN / WN, TILES_M = WM / 16, TILES_N = WN / 8, SIDE = TILES_M % 4 ? 2 : 4;

struct Sums {
    float d[TILES_M][TILES_N][4];
};

__device__ __forceinline__ void first_of_warp(int& m, int& n) {
    m = threadIdx.x / 32 / WARPS_N * WM, n = threadIdx.x / 32 % WARPS_N * WN;
}

__device__ __forceinline__ void multiply_pieces(Sums& sums, const float a[TILES_M][4], const float b[TILES_N][2]) {
#pragma unroll
    for (int i = 0; i < TILES_M; i++)
#pragma unroll
        for (int j = 0; j < TILES_N; j++) mma_tf32(sums.d[i][j], a[i], b[j]);
}

#if ALONG_K
// Step s of two takes k = 4 member + 2 s and the one after it: the order of a sum is free, if a and b agree.
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
    int m0, n0;
    first_of_warp(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
        float4 left[TILES_M][2], right[TILES_N];
#pragma unroll
        for (int i = 0; i < TILES_M * 2; i++) left[i / 2][i % 2] = four_at(a + (m0 + i * 8 + group) * WIDE_A + k + member * 4);
#pragma unroll
        for (int j = 0; j < TILES_N; j++) right[j] = four_at(b + (n0 + j * 8 + group) * WIDE_B + k + member * 4);
#pragma unroll
        for (int s = 0; s < 2; s++) {
            float one[TILES_M][4], other[TILES_N][2];
#pragma unroll
            for (int i = 0; i < TILES_M * 2; i++) {
                const float4 v = left[i / 2][i % 2];
                one[i / 2][i % 2] = to_tf32(s ? v.z : v.x), one[i / 2][i % 2 + 2] = to_tf32(s ? v.w : v.y);
            }
#pragma unroll
            for (int j = 0; j < TILES_N; j++) {
                other[j][0] = to_tf32(s ? right[j].z : right[j].x), other[j][1] = to_tf32(s ? right[j].w : right[j].y);
            }
            multiply_pieces(sums, one, other);
        }
    }
}

template <typename Store>
__device__ __forceinline__ void give(const Sums& sums, Store store) {
    int m0, n0;
    first_of_warp(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < TILES_M; i++)
#pragma unroll
        for (int j = 0; j < TILES_N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                store(m0 + i * 16 + group + e / 2 * 8, n0 + j * 8 + member * 2 + e % 2, sums.d[i][j][e]);
}
#else
// Row `group` of the upper (lower) half of piece i is row SIDE group + i of the upper (lower) half of SIDE pieces.
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
    int m0, n0;
    first_of_warp(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
        float one[TILES_M][4], other[TILES_N][2];
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int i = 0; i < TILES_M; i += SIDE) {
                const float* at = a + (k + member + e / 2 * 4) * WIDE_A + m0 + i * 16 + e % 2 * 8 * SIDE + group * SIDE;
                if (SIDE == 4) {
                    const float4 v = four_at(at);
                    one[i][e] = to_tf32(v.x), one[i + 1][e] = to_tf32(v.y);
                    one[i + SIDE - 2][e] = to_tf32(v.z), one[i + SIDE - 1][e] = to_tf32(v.w);
                } else {
                    const float2 v = *reinterpret_cast<const float2*>(at);
                    one[i][e] = to_tf32(v.x), one[i + 1][e] = to_tf32(v.y);
                }
            }
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int j = 0; j < TILES_N; j += 4) {
                const float4 v = four_at(b + (k + member + e * 4) * WIDE_B + n0 + j * 8 + group * 4);
                other[j][e] = to_tf32(v.x), other[j + 1][e] = to_tf32(v.y);
                other[j + 2][e] = to_tf32(v.z), other[j + 3][e] = to_tf32(v.w);
            }
        multiply_pieces(sums, one, other);
    }
}

template <typename Store>
__device__ __forceinline__ void give(const Sums& sums, Store store) {
    int m0, n0;
    first_of_warp(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < TILES_M; i++)
#pragma unroll
        for (int j = 0; j < TILES_N; j += 4)
#pragma unroll
            for (int e = 0; e < 4; e++)
                store(m0 + i / SIDE * SIDE * 16 + e / 2 * 8 * SIDE + group * SIDE + i % SIDE, n0 + j * 8 + (member * 2 + e % 2) * 4,
                      make_float4(sums.d[i][j][e], sums.d[i][j + 1][e], sums.d[i][j + 2][e], sums.d[i][j + 3][e]));
}
#endif
#else
struct Sums {
    float d[TM][TN];
};

__device__ __forceinline__ int column_of_thread() { return threadIdx.x % (BN / TN); }
__device__ __forceinline__ int row_of_thread() { return threadIdx.x / (BN / TN); }

#if ALONG_K
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k += 4) {
        float4 left[TM];
#pragma unroll
        for (int i = 0; i < TM; i++) left[i] = four_at(a + (row_of_thread() + i * (BM / TM)) * WIDE_A + k);
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const float4 right = four_at(b + (column_of_thread() + j * (BN / TN)) * WIDE_B + k);
#pragma unroll
            for (int i = 0; i < TM; i++) sums.d[i][j] += left[i].x * right.x;
#pragma unroll
            for (int i = 0; i < TM; i++) sums.d[i][j] += left[i].y * right.y;
#pragma unroll
            for (int i = 0; i < TM; i++) sums.d[i][j] += left[i].z * right.z;
#pragma unroll
            for (int i = 0; i < TM; i++) sums.d[i][j] += left[i].w * right.w;
        }
    }
}

template <typename Store>
__device__ __forceinline__ void give(const Sums& sums, Store store) {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++)
            store(row_of_thread() + i * (BM / TM), column_of_thread() + j * (BN / TN), sums.d[i][j]);
}
#else
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k++) {
        float left[TM], right[TN];
#pragma unroll
        for (int i = 0; i < TM; i += 4)
            *reinterpret_cast<float4*>(&left[i]) = four_at(a + k * WIDE_A + row_of_thread() * 4 + i / 4 * (BM * 4 / TM));
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            *reinterpret_cast<float4*>(&right[j]) = four_at(b + k * WIDE_B + column_of_thread() * 4 + j / 4 * (BN * 4 / TN));
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sums.d[i][j] += left[i] * right[j];
    }
}

template <typename Store>
__device__ __forceinline__ void give(const Sums& sums, Store store) {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            store(row_of_thread() * 4 + i / 4 * (BM * 4 / TM) + i % 4, column_of_thread() * 4 + j / 4 * (BN * 4 / TN),
                  make_float4(sums.d[i][j], sums.d[i][j + 1], sums.d[i][j + 2], sums.d[i][j + 3]));
}
#endif
#endif

// Add the products of `slices` slices to the sums. copy_slice(s, a, b) begins to copy slice s to shared memory; it is called
// for s = 0, 1, ... in order. All threads of the block; shared memory is free again afterwards.
template <typename CopySlice>
__device__ __forceinline__ void accumulate(int slices, CopySlice copy_slice, Sums& sums) {
    DYNAMIC_SHARED(float, stages);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < slices) copy_slice(s, stages + s * SLICE, stages + s * SLICE + ROWS_A * WIDE_A);
        copy_commit();
    }
    int now = 0, next = STAGES - 1;
    for (int s = 0; s < slices; s++) {
        copy_wait<STAGES - 2>();
        __syncthreads();  // slice s is there for all, and none is left in the stage that is filled now
        float* to = stages + next * SLICE;
        if (s + STAGES - 1 < slices) copy_slice(s + STAGES - 1, to, to + ROWS_A * WIDE_A);
        copy_commit();
        multiply(stages + now * SLICE, stages + now * SLICE + ROWS_A * WIDE_A, sums);
        now = now + 1 < STAGES ? now + 1 : 0, next = next + 1 < STAGES ? next + 1 : 0;
    }
    __syncthreads();
}
