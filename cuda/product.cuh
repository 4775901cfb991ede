// The tile of a matrix product that a block computes: the heart of conv.cu.
//
//   c[m, n] = sum_k a[k, m] b[k, n]    for BM values of m and BN of n
//
// What a, b and c are is said by the loaders and the storer of the caller: `load_a(k, m)` gives a[k, m .. m+3] where
// A_ALONG_K is 0, else a[k .. k+3, m]; load_b likewise; out of range they give zeros. `store(m, n, sums)` takes four
// neighbouring n.
//
// Threads: THREADS in a row. While one slice of BK values of k is multiplied out of shared memory, the next waits in
// registers. Float32: each thread owns TM x TN sums, as four-wide pieces BM / 2 (BN / 2) apart, so that reads of shared
// memory are whole and free of conflicts. TF32: a warp owns WM x WN sums, made by tensor cores in pieces of 16 x 8.
// 2012: the bodies of filterActs_YxX_sparse, conv_img_acts_manycolor and conv_weight_acts_mc_mf.

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
__device__ __forceinline__ float to_tf32(float value) {
#if __CUDA_ARCH__ >= 800
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
#else
    return value;
#endif
}

// d[16x8] += a[16x8] b[8x8] over a warp.
__device__ __forceinline__ void mma_tf32(float d[4], const float a[4], const float b[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
          "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#endif
}
#endif

constexpr int PAD_A = A_ALONG_K || TF32 ? 4 + 4 * TF32 : 0;  // keeps writes along k, and fragments, off one bank
constexpr int PAD_B = B_ALONG_K || TF32 ? 4 + 4 * TF32 : 0;
constexpr int PIECES_A = BK * BM / 4 / THREADS + (BK * BM / 4 % THREADS != 0);  // four-wide pieces per thread and slice
constexpr int PIECES_B = BK * BN / 4 / THREADS + (BK * BN / 4 % THREADS != 0);

struct Slice {
    float a[2][BK][BM + PAD_A];
    float b[2][BK][BN + PAD_B];
};

// Piece `i` of a slice: its k and its m (or n), of which one is a multiple of four.
template <int ALONG_K, int WIDTH>
__device__ __forceinline__ void place(int i, int& k, int& m) {
    if (ALONG_K) {
        k = i % (BK / 4) * 4;
        m = i / (BK / 4);
    } else {
        k = i / (WIDTH / 4);
        m = i % (WIDTH / 4) * 4;
    }
}

template <int ALONG_K, int WIDTH, int STRIDE>
__device__ __forceinline__ void put(float (*tile)[STRIDE], int i, float4 v) {
    int k, m;
    place<ALONG_K, WIDTH>(i, k, m);
    if (TF32) v = make_float4(to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w));
    if (ALONG_K) {
        tile[k][m] = v.x, tile[k + 1][m] = v.y, tile[k + 2][m] = v.z, tile[k + 3][m] = v.w;
    } else {
        *reinterpret_cast<float4*>(&tile[k][m]) = v;
    }
}

#if TF32
constexpr int WARPS_N = BN / WN, TILES_M = WM / 16, TILES_N = WN / 8;

struct Sums {
    float d[TILES_M][TILES_N][4];
};

__device__ __forceinline__ void multiply(const Slice& s, int now, Sums& sums) {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
    const int m0 = warp / WARPS_N * WM, n0 = warp % WARPS_N * WN;
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
        float a[TILES_M][4], b[TILES_N][2];
#pragma unroll
        for (int i = 0; i < TILES_M; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) a[i][j] = s.a[now][k + member + j / 2 * 4][m0 + i * 16 + group + j % 2 * 8];
#pragma unroll
        for (int i = 0; i < TILES_N; i++)
#pragma unroll
            for (int j = 0; j < 2; j++) b[i][j] = s.b[now][k + member + j * 4][n0 + i * 8 + group];
#pragma unroll
        for (int i = 0; i < TILES_M; i++)
#pragma unroll
            for (int j = 0; j < TILES_N; j++) mma_tf32(sums.d[i][j], a[i], b[j]);
    }
}

// Two neighbouring lanes hold four neighbouring n between them, two rows apart: they swap halves, so that each has four.
template <typename Store>
__device__ __forceinline__ void give(const Sums& sums, Store store) {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
    const bool odd = member % 2;
#pragma unroll
    for (int i = 0; i < TILES_M; i++)
#pragma unroll
        for (int j = 0; j < TILES_N; j++) {
            const float* d = sums.d[i][j];
            const float x = __shfl_xor_sync(0xFFFFFFFFu, odd ? d[0] : d[2], 1);
            const float y = __shfl_xor_sync(0xFFFFFFFFu, odd ? d[1] : d[3], 1);
            const float4 four = odd ? make_float4(x, y, d[2], d[3]) : make_float4(d[0], d[1], x, y);
            store(warp / WARPS_N * WM + i * 16 + group + odd * 8, warp % WARPS_N * WN + j * 8 + member / 2 * 4, four);
        }
}
#else
struct Sums {
    float d[TM][TN];
};

__device__ __forceinline__ void multiply(const Slice& s, int now, Sums& sums) {
    const int column = threadIdx.x % (BN / TN), row = threadIdx.x / (BN / TN);
#pragma unroll
    for (int k = 0; k < BK; k++) {
        float a[TM], b[TN];
#pragma unroll
        for (int i = 0; i < TM; i += 4)
            *reinterpret_cast<float4*>(&a[i]) = *reinterpret_cast<const float4*>(&s.a[now][k][row * 4 + i / 4 * (BM * 4 / TM)]);
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            *reinterpret_cast<float4*>(&b[j]) = *reinterpret_cast<const float4*>(&s.b[now][k][column * 4 + j / 4 * (BN * 4 / TN)]);
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sums.d[i][j] += a[i] * b[j];
    }
}

template <typename Store>
__device__ __forceinline__ void give(const Sums& sums, Store store) {
    const int column = threadIdx.x % (BN / TN), row = threadIdx.x / (BN / TN);
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            store(row * 4 + i / 4 * (BM * 4 / TM) + i % 4, column * 4 + j / 4 * (BN * 4 / TN),
                  make_float4(sums.d[i][j], sums.d[i][j + 1], sums.d[i][j + 2], sums.d[i][j + 3]));
}
#endif

template <typename LoadA, typename LoadB, typename Store>
__device__ __forceinline__ void product(int K, LoadA load_a, LoadB load_b, Store store) {
    __shared__ __align__(16) Slice slice;
    Sums sums = {};
    float4 a[PIECES_A], b[PIECES_B];
    int k, m;

    auto fetch = [&](int from) {
#pragma unroll
        for (int p = 0; p < PIECES_A; p++) {
            place<A_ALONG_K, BM>(threadIdx.x + p * THREADS, k, m);
            if (PIECES_A * THREADS == BK * BM / 4 || k < BK && m < BM) a[p] = load_a(from + k, m);
        }
#pragma unroll
        for (int p = 0; p < PIECES_B; p++) {
            place<B_ALONG_K, BN>(threadIdx.x + p * THREADS, k, m);
            if (PIECES_B * THREADS == BK * BN / 4 || k < BK && m < BN) b[p] = load_b(from + k, m);
        }
    };
    auto keep = [&](int now) {
#pragma unroll
        for (int p = 0; p < PIECES_A; p++)
            if (threadIdx.x + p * THREADS < BK * BM / 4) put<A_ALONG_K, BM>(slice.a[now], threadIdx.x + p * THREADS, a[p]);
#pragma unroll
        for (int p = 0; p < PIECES_B; p++)
            if (threadIdx.x + p * THREADS < BK * BN / 4) put<B_ALONG_K, BN>(slice.b[now], threadIdx.x + p * THREADS, b[p]);
    };

    fetch(0);
    keep(0);
    __syncthreads();
    int now = 0;
    for (int from = 0; from < K; from += BK) {
        const bool more = from + BK < K;
        if (more) fetch(from + BK);
        multiply(slice, now, sums);
        if (more) keep(1 - now);
        __syncthreads();
        now = 1 - now;
    }
    give(sums, store);
}
