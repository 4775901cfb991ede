// One tile of a matrix product, computed by a block: the core of conv.cu.
//
//   c[m, n] = sum_k a[k, m] b[k, n]    for BM values of m and BN of n
//
// The caller knows the layout of a and b in memory: its copy_slice starts copies to shared memory of four values each,
// a[k, m .. m+3], or a[k .. k+3, m] with K_MAJOR 1, with zeros outside of the matrix; likewise of b. Its `store(m, n, sums)`
// takes the sums of four neighbouring n; with K_MAJOR 1 `store(m, n, sum)` takes one.
//
// Layout of a slice in shared memory: K_MAJOR 0: [k][m] and [k][n]; 1: [m][k] and [n][k], so that no copy transposes.
// There are STAGES slices of BK values of k: while one is multiplied, the copies of the others are pending.
// Threads: THREADS in one dimension.
//
// Float32: a thread owns TM x TN sums. K_MAJOR 0: in groups of four, 4 BM / TM (4 BN / TN) apart; 1: every (BM / TM)th row and
// (BN / TN)th column. Either way it reads four values at a time without bank conflicts.
// TF32: a warp owns WM x WN sums, computed by tensor cores in fragments of 16 x 8. Neighbouring rows of the tile belong to
// different fragments, so that the rows of one thread, over all fragments, are contiguous (K_MAJOR 1: its values of two
// steps along k are).
// 2012: the bodies of filterActs_YxX_sparse, conv_img_acts_manycolor and conv_weight_acts_mc_mf.

#include "tensor.cuh"

constexpr int PAD = TF32 ? (K_MAJOR ? 0 : 8) : (K_MAJOR ? 4 : 0);  // spreads simultaneous reads of a warp over the banks
constexpr int PITCH_A = (K_MAJOR ? BK : BM) + PAD, ROWS_A = K_MAJOR ? BM : BK;  // of a slice in shared memory
constexpr int PITCH_B = (K_MAJOR ? BK : BN) + PAD, ROWS_B = K_MAJOR ? BN : BK;
constexpr int SLICE = ROWS_A * PITCH_A + ROWS_B * PITCH_B;  // floats

// How many groups of four values a thread copies, at most, of a slice that is `width` values of m (or n) wide.
__device__ constexpr int vec4s_per_thread(int width) { return (BK * width / 4 + THREADS - 1) / THREADS; }

// Call visit(p, k, m) for each of them, p counting from 0.
template <int WIDTH, typename Visit>
__device__ __forceinline__ void for_each_vec4(Visit visit) {
    constexpr int ALL = BK * WIDTH / 4, PER_ROW = K_MAJOR ? BK / 4 : WIDTH / 4;
#pragma unroll
    for (int p = 0; p < vec4s_per_thread(WIDTH); p++) {
        const int i = p * THREADS + threadIdx.x;
        if ((p + 1) * THREADS > ALL && i >= ALL) continue;
        if (K_MAJOR) visit(p, i % PER_ROW * 4, i / PER_ROW);
        else visit(p, i / PER_ROW, i % PER_ROW * 4);
    }
}

__device__ __forceinline__ float4 load4(const float* at) { return *reinterpret_cast<const float4*>(at); }

#if TF32
constexpr int WARPS_N = BN / WN, FRAGMENTS_M = WM / 16, FRAGMENTS_N = WN / 8, SIDE = FRAGMENTS_M % 4 ? 2 : 4;

struct Sums {
    float d[FRAGMENTS_M][FRAGMENTS_N][4];
};

// The first row and column of the sums of this warp.
__device__ __forceinline__ void warp_origin(int& m, int& n) {
    m = threadIdx.x / 32 / WARPS_N * WM, n = threadIdx.x / 32 % WARPS_N * WN;
}

__device__ __forceinline__ void mma_tiles(Sums& sums, const float a[FRAGMENTS_M][4], const float b[FRAGMENTS_N][2]) {
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
        for (int j = 0; j < FRAGMENTS_N; j++) mma_tf32(sums.d[i][j], a[i], b[j]);
}

#if K_MAJOR
// Add the products of a slice, 16 values of k at a time. Step s of two takes k = 4 member + 2 s and the one after it: the order
// of k within a sum is free as long as a and b agree.
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
    int m0, n0;
    warp_origin(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
        // Load the thread's values of both steps.
        float4 left[FRAGMENTS_M][2], right[FRAGMENTS_N];
#pragma unroll
        for (int i = 0; i < FRAGMENTS_M * 2; i++) left[i / 2][i % 2] = load4(a + (m0 + i * 8 + group) * PITCH_A + k + member * 4);
#pragma unroll
        for (int j = 0; j < FRAGMENTS_N; j++) right[j] = load4(b + (n0 + j * 8 + group) * PITCH_B + k + member * 4);
        // Round the values of a step to TF32, and multiply.
#pragma unroll
        for (int s = 0; s < 2; s++) {
            float a_frag[FRAGMENTS_M][4], b_frag[FRAGMENTS_N][2];
#pragma unroll
            for (int i = 0; i < FRAGMENTS_M * 2; i++) {
                const float4 v = left[i / 2][i % 2];
                a_frag[i / 2][i % 2] = to_tf32(s ? v.z : v.x), a_frag[i / 2][i % 2 + 2] = to_tf32(s ? v.w : v.y);
            }
#pragma unroll
            for (int j = 0; j < FRAGMENTS_N; j++) {
                b_frag[j][0] = to_tf32(s ? right[j].z : right[j].x), b_frag[j][1] = to_tf32(s ? right[j].w : right[j].y);
            }
            mma_tiles(sums, a_frag, b_frag);
        }
    }
}

// Pass every sum of this thread to `store`.
template <typename Store>
__device__ __forceinline__ void store_tile(const Sums& sums, Store store) {
    int m0, n0;
    warp_origin(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
        for (int j = 0; j < FRAGMENTS_N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                store(m0 + i * 16 + group + e / 2 * 8, n0 + j * 8 + member * 2 + e % 2, sums.d[i][j][e]);
}
#else
// Add the products of a slice, 8 values of k at a time. The rows of SIDE fragments are interleaved,
// so that one vector read serves all of them: row `group` of the upper (lower) half of fragment i is row SIDE group + i of the
// upper (lower) half of those SIDE fragments.
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
    int m0, n0;
    warp_origin(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
        // Load SIDE neighbouring rows of a at a time: one for each fragment.
        float a_frag[FRAGMENTS_M][4], b_frag[FRAGMENTS_N][2];
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int i = 0; i < FRAGMENTS_M; i += SIDE) {
                const float* at = a + (k + member + e / 2 * 4) * PITCH_A + m0 + i * 16 + e % 2 * 8 * SIDE + group * SIDE;
                if (SIDE == 4) {  // i + SIDE - 2 and not i + 2: in bounds where SIDE is 2, too
                    const float4 v = load4(at);
                    a_frag[i][e] = to_tf32(v.x), a_frag[i + 1][e] = to_tf32(v.y);
                    a_frag[i + SIDE - 2][e] = to_tf32(v.z), a_frag[i + SIDE - 1][e] = to_tf32(v.w);
                } else {
                    const float2 v = *reinterpret_cast<const float2*>(at);
                    a_frag[i][e] = to_tf32(v.x), a_frag[i + 1][e] = to_tf32(v.y);
                }
            }
        // Load four neighbouring columns of b at a time.
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int j = 0; j < FRAGMENTS_N; j += 4) {
                const float4 v = load4(b + (k + member + e * 4) * PITCH_B + n0 + j * 8 + group * 4);
                b_frag[j][e] = to_tf32(v.x), b_frag[j + 1][e] = to_tf32(v.y);
                b_frag[j + 2][e] = to_tf32(v.z), b_frag[j + 3][e] = to_tf32(v.w);
            }
        mma_tiles(sums, a_frag, b_frag);
    }
}

template <typename Store>
__device__ __forceinline__ void store_tile(const Sums& sums, Store store) {
    int m0, n0;
    warp_origin(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
        for (int j = 0; j < FRAGMENTS_N; j += 4)
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

#if K_MAJOR
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k += 4) {
        float4 left[TM];
#pragma unroll
        for (int i = 0; i < TM; i++) left[i] = load4(a + (row_of_thread() + i * (BM / TM)) * PITCH_A + k);
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const float4 right = load4(b + (column_of_thread() + j * (BN / TN)) * PITCH_B + k);
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
__device__ __forceinline__ void store_tile(const Sums& sums, Store store) {
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
            *reinterpret_cast<float4*>(&left[i]) = load4(a + k * PITCH_A + row_of_thread() * 4 + i / 4 * (BM * 4 / TM));
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            *reinterpret_cast<float4*>(&right[j]) = load4(b + k * PITCH_B + column_of_thread() * 4 + j / 4 * (BN * 4 / TN));
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sums.d[i][j] += left[i] * right[j];
    }
}

template <typename Store>
__device__ __forceinline__ void store_tile(const Sums& sums, Store store) {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            store(row_of_thread() * 4 + i / 4 * (BM * 4 / TM) + i % 4, column_of_thread() * 4 + j / 4 * (BN * 4 / TN),
                  make_float4(sums.d[i][j], sums.d[i][j + 1], sums.d[i][j + 2], sums.d[i][j + 3]));
}
#endif
#endif

// Add the products of `slices` slices to the sums. copy_slice(s, a, b) starts the copies of slice s to shared memory; it is
// called for s = 0, 1, ... in order. Called by all threads of the block, who may reuse the shared memory afterwards.
template <typename CopySlice>
__device__ __forceinline__ void accumulate(int slices, CopySlice copy_slice, Sums& sums) {
    DYNAMIC_SHARED(float, stages);
    // Start the copies of all stages but one.
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < slices) copy_slice(s, stages + s * SLICE, stages + s * SLICE + ROWS_A * PITCH_A);
        copy_commit();
    }
    // Multiply slice s while the copies of the following ones are pending.
    int now = 0, next = STAGES - 1;
    for (int s = 0; s < slices; s++) {
        copy_wait<STAGES - 2>();
        __syncthreads();  // slice s is complete, and no thread still reads the stage that is filled next
        float* to = stages + next * SLICE;
        if (s + STAGES - 1 < slices) copy_slice(s + STAGES - 1, to, to + ROWS_A * PITCH_A);
        copy_commit();
        multiply(stages + now * SLICE, stages + now * SLICE + ROWS_A * PITCH_A, sums);
        now = now + 1 < STAGES ? now + 1 : 0, next = next + 1 < STAGES ? next + 1 : 0;
    }
    __syncthreads();
}
