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
// TF32: a warp owns WM x WN sums, computed by tensor cores in fragments of 16 x 8. Filters come rounded, but for ROUND_A.
// Other values are rounded in shared memory, by the thread that has copied them and once for all warps, while the slice
// before is multiplied; what a thread multiplies is put side by side there, because the instruction takes neighbouring
// registers and a vector read fills such: else a move for every value follows.
// What is the same for all slices stays in registers (`keep`), so that a slice costs little but its products; how little is
// held by tests/backends/test_sass.py, and shown by `convnet kernels --sass`.
// 2012: the bodies of filterActs_YxX_sparse, conv_img_acts_manycolor and conv_weight_acts_mc_mf.

// Warps of a multiprocessor that its registers must suffice for, by the sums of a thread: there are 80 for each thread of 24
// warps, 128 of 16, 168 of 12. Without such a bound the compiler takes some more, and a block less is resident.
constexpr int SUMS = BM * BN / THREADS;
constexpr int WARPS = K_MAJOR ? (SUMS <= 16 ? 24 : SUMS <= 32 ? 16 : SUMS <= 64 ? 12 : 8)
                              : (SUMS <= 16 ? 36 : SUMS <= 32 ? 24 : SUMS <= 64 ? 16 : SUMS <= 96 ? 12 : 8);
constexpr int MIN_BLOCKS = WARPS * 32 < THREADS ? 1 : WARPS * 32 / THREADS;
constexpr int PAD = TF32 == K_MAJOR ? 0 : 4;  // spreads simultaneous reads of a warp over the banks
constexpr int PITCH_A = (K_MAJOR ? BK : BM) + PAD, ROWS_A = K_MAJOR ? BM : BK;  // of a slice in shared memory
constexpr int PITCH_B = (K_MAJOR ? BK : BN) + PAD, ROWS_B = K_MAJOR ? BN : BK;
constexpr int SLICE = ROWS_A * PITCH_A + ROWS_B * PITCH_B;  // floats

// How many groups of four values a thread copies, at most, of a slice that is `width` values of m (or n) wide.
__device__ constexpr int vec4s_per_thread(int width) { return (BK * width / 4 + THREADS - 1) / THREADS; }

// The groups of a thread: where the first is, and how the others follow: K_MAJOR 0 as neighbours along k where possible; 1
// and elsewhere STEP rows of the slice apart.
template <int WIDTH>
struct Places {
    static constexpr int ALL = BK * WIDTH / 4, PER_ROW = K_MAJOR ? BK / 4 : WIDTH / 4, COUNT = vec4s_per_thread(WIDTH);
    static constexpr bool FULL = COUNT * THREADS == ALL, IN_COLUMN = THREADS % PER_ROW == 0;
    static constexpr bool NEIGHBOURS = !K_MAJOR && FULL && IN_COLUMN;
    static constexpr int STEP = NEIGHBOURS ? 1 : THREADS / PER_ROW;
    int row, column;
};

template <int WIDTH>
__device__ __forceinline__ Places<WIDTH> places_of() {
    using Own = Places<WIDTH>;
    const int row = threadIdx.x / Own::PER_ROW * (Own::NEIGHBOURS ? Own::COUNT : 1);
    return {keep(row), keep((int)threadIdx.x % Own::PER_ROW * 4)};
}

// Call visit(p, k, m) for each of them, p counting from 0.
template <int WIDTH, typename Visit>
__device__ __forceinline__ void for_each_vec4(const Places<WIDTH>& own, Visit visit) {
    using Own = Places<WIDTH>;
#pragma unroll
    for (int p = 0; p < Own::COUNT; p++) {
        const int i = p * THREADS + threadIdx.x;
        if ((p + 1) * THREADS > Own::ALL && i >= Own::ALL) continue;
        const int row = Own::IN_COLUMN ? own.row + p * Own::STEP : i / Own::PER_ROW;
        const int column = Own::IN_COLUMN ? own.column : i % Own::PER_ROW * 4;
        if (K_MAJOR) visit(p, column, row);
        else visit(p, row, column);
    }
}

// Read what a list in shared memory has for the k of each of them. All at once: the compiler places three idle instructions
// between a read of shared memory and an asynchronous copy.
template <int WIDTH>
__device__ __forceinline__ void look_up(const Places<WIDTH>& own, const int* list, int* found) {
    constexpr int COUNT = Places<WIDTH>::COUNT;
    constexpr int VECTOR = !Places<WIDTH>::NEIGHBOURS ? 1 : COUNT % 4 == 0 ? 4 : COUNT % 2 == 0 ? 2 : 1;
    if (VECTOR == 1) for_each_vec4(own, [&](int p, int k, int) { found[p] = list[k]; });
#pragma unroll
    for (int p = 0; p < COUNT && VECTOR > 1; p += VECTOR) {
        const int* at = list + own.row + p;
        if (VECTOR == 4) {  // p + VECTOR - 2 and not p + 2: in bounds where there are two, too
            const uint4 v = *reinterpret_cast<const uint4*>(at);
            found[p] = v.x, found[p + 1] = v.y, found[p + VECTOR - 2] = v.z, found[p + VECTOR - 1] = v.w;
        } else {
            const uint2 v = *reinterpret_cast<const uint2*>(at);
            found[p] = v.x, found[p + 1] = v.y;
        }
    }
#pragma unroll
    for (int p = 0; p < COUNT; p++) found[p] = keep(found[p]);
}

// Where in a slice the values that a thread multiplies begin.
struct Begin {
    int a, b;
};

__device__ __forceinline__ float4 load4(const float* at) { return *reinterpret_cast<const float4*>(at); }

#if TF32
constexpr int WARPS_N = BN / WN, FRAGMENTS_M = WM / 16, FRAGMENTS_N = WN / 8;

struct Sums {
    float d[FRAGMENTS_M][FRAGMENTS_N][4];
};

// The first row and column of the sums of this warp.
__device__ __forceinline__ void warp_origin(int& m, int& n) {
    m = threadIdx.x / 32 / WARPS_N * WM, n = threadIdx.x / 32 % WARPS_N * WN;
}

__device__ __forceinline__ float4 round4(const float* at) {
    const float4 v = load4(at);
    return make_float4(to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w));
}

__device__ __forceinline__ void store4(float* at, float x, float y, float z, float w) {
    *reinterpret_cast<float4*>(at) = make_float4(x, y, z, w);
}

#if K_MAJOR
// Fragment i of all that a tile has consists of 8 rows and of the 8 rows STEP_A further: the rows of two copies of a thread.
constexpr int STEP_A = Places<BM>::STEP, HALVES = STEP_A / 8;
static_assert(Places<BM>::FULL && Places<BM>::COUNT % 2 == 0 && STEP_A % 8 == 0, "rows are rounded in pairs");
__device__ __forceinline__ int first_row(int i) { return i / HALVES * 2 * STEP_A + i % HALVES * 8; }

// Round the values of a slice that this thread has copied; those of a become parts of fragments. With r the row of one copy
// and R that of the next: r[k], R[k], r[k + 1], R[k + 1] take the place of r[k .. k + 3], those of k + 2 and k + 3 of R[k ..
// k + 3].
__device__ __forceinline__ void round_slice(const Places<BM>& places_a, float* a, const Places<BN>& places_b, float* b) {
    float4 first;
    for_each_vec4(places_a, [&](int p, int k, int m) {
        float* at = a + m * PITCH_A + k;
        const float4 v = round4(at);
        if (p % 2) {
            store4(at - STEP_A * PITCH_A, first.x, v.x, first.y, v.y);
            store4(at, first.z, v.z, first.w, v.w);
        }
        first = v;
    });
    for_each_vec4(places_b, [&](int, int k, int n) {
        float* at = b + n * PITCH_B + k;
        *reinterpret_cast<float4*>(at) = round4(at);
    });
}

__device__ __forceinline__ Begin begin() {
    int m0, n0;
    warp_origin(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
    return {(first_row(m0 / 16) + group) * PITCH_A + member * 4, (n0 + group) * PITCH_B + member * 4};
}

// Add the products of a slice, 16 values of k at a time. Step s of two takes k = 4 member + 2 s and the one after it: the order
// of k within a sum is free as long as a and b agree.
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
        float4 right[FRAGMENTS_N];
#pragma unroll
        for (int j = 0; j < FRAGMENTS_N; j++) right[j] = load4(b + j * 8 * PITCH_B + k);
#pragma unroll
        for (int s = 0; s < 2; s++)
#pragma unroll
            for (int i = 0; i < FRAGMENTS_M; i++) {
                const float4 v = load4(a + (first_row(i) + s * STEP_A) * PITCH_A + k);
                const float left[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
                for (int j = 0; j < FRAGMENTS_N; j++) {
                    const float pair[2] = {s ? right[j].z : right[j].x, s ? right[j].w : right[j].y};
                    mma_tf32(sums.d[i][j], left, pair);
                }
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
                store(first_row(m0 / 16 + i) + e / 2 * STEP_A + group, n0 + j * 8 + member * 2 + e % 2, sums.d[i][j][e]);
}
#else
static_assert(Places<BN>::NEIGHBOURS && Places<BN>::COUNT % 2 == 0, "columns are rounded in pairs");

// Round the values of a slice that this thread has copied (of a only with ROUND_A), and pair those of b: those of k and k +
// 1 in the first two of four columns take the place of row k, those in the last two of row k + 1.
__device__ __forceinline__ void round_slice(const Places<BM>& places_a, float* a, const Places<BN>& places_b, float* b) {
    float4 first;
    for_each_vec4(places_a, [&](int, int k, int m) {
        float* at = a + k * PITCH_A + m;
        if (ROUND_A) *reinterpret_cast<float4*>(at) = round4(at);
    });
    for_each_vec4(places_b, [&](int p, int k, int n) {
        float* at = b + k * PITCH_B + n;
        const float4 v = round4(at);
        if (p % 2) {
            store4(at - PITCH_B, first.x, v.x, first.y, v.y);
            store4(at, first.z, v.z, first.w, v.w);
        }
        first = v;
    });
}

__device__ __forceinline__ Begin begin() {
    int m0, n0;
    warp_origin(m0, n0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
    return {member * 2 * PITCH_A + m0 + group * 2, member * 2 * PITCH_B + n0 + group * 4};
}

// Add the products of a slice, 8 values of k at a time, of which this thread has k = 2 member and the one after it. Its two
// rows of a fragment are neighbours, as are its columns of four fragments, so that they are read together.
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
        float4 right[FRAGMENTS_N / 2];  // of two fragments each
#pragma unroll
        for (int j = 0; j < FRAGMENTS_N / 2; j++) right[j] = load4(b + (k + j % 2) * PITCH_B + j / 2 * 32);
#pragma unroll
        for (int i = 0; i < FRAGMENTS_M; i++) {
            const float2 low = *reinterpret_cast<const float2*>(a + k * PITCH_A + i * 16);
            const float2 high = *reinterpret_cast<const float2*>(a + (k + 1) * PITCH_A + i * 16);
            const float left[4] = {low.x, low.y, high.x, high.y};
#pragma unroll
            for (int j = 0; j < FRAGMENTS_N; j++) {
                const float4 v = right[j / 4 * 2 + j % 4 / 2];
                const float pair[2] = {j % 2 ? v.z : v.x, j % 2 ? v.w : v.y};
                mma_tf32(sums.d[i][j], left, pair);
            }
        }
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
                store(m0 + i * 16 + group * 2 + e / 2, n0 + j * 8 + (member * 2 + e % 2) * 4,
                      make_float4(sums.d[i][j][e], sums.d[i][j + 1][e], sums.d[i][j + 2][e], sums.d[i][j + 3][e]));
}
#endif
#else
struct Sums {
    float d[TM][TN];
};

__device__ __forceinline__ void round_slice(const Places<BM>&, float*, const Places<BN>&, float*) {}

__device__ __forceinline__ int column_of_thread() { return threadIdx.x % (BN / TN); }
__device__ __forceinline__ int row_of_thread() { return threadIdx.x / (BN / TN); }

#if K_MAJOR
__device__ __forceinline__ Begin begin() { return {row_of_thread() * PITCH_A, column_of_thread() * PITCH_B}; }

__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k += 4) {
        float4 left[TM];
#pragma unroll
        for (int i = 0; i < TM; i++) left[i] = load4(a + i * (BM / TM) * PITCH_A + k);
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const float4 right = load4(b + j * (BN / TN) * PITCH_B + k);
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
__device__ __forceinline__ Begin begin() { return {row_of_thread() * 4, column_of_thread() * 4}; }

__device__ __forceinline__ void multiply(const float* a, const float* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BK; k++) {
        float left[TM], right[TN];
#pragma unroll
        for (int i = 0; i < TM; i += 4)
            *reinterpret_cast<float4*>(&left[i]) = load4(a + k * PITCH_A + i / 4 * (BM * 4 / TM));
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            *reinterpret_cast<float4*>(&right[j]) = load4(b + k * PITCH_B + j / 4 * (BN * 4 / TN));
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

// Add the products of `slices` slices to the sums. copy_slice(a, b) starts the copies of the next slice, from the first on, to
// shared memory. Called by all threads of the block, who may reuse the shared memory afterwards.
template <typename CopySlice>
__device__ __forceinline__ void accumulate(int slices, const Places<BM>& places_a, const Places<BN>& places_b,
                                           CopySlice copy_slice, Sums& sums) {
    constexpr int PART_B = ROWS_A * PITCH_A, WRAP = (STAGES - 1) * SLICE;
    constexpr bool EARLY = TF32 && STAGES > 2;  // a slice is rounded while the one before it is multiplied
    DYNAMIC_SHARED(float, stages);
    // Start the copies of all stages but one.
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < slices) copy_slice(stages + s * SLICE, stages + s * SLICE + PART_B);
        copy_commit();
    }
    if (EARLY) {
        copy_wait<STAGES - 2>();
        round_slice(places_a, stages, places_b, stages + PART_B);
    }
    const Begin first = begin();
    const int begin_a = keep(first.a), begin_b = keep(first.b) + PART_B;
    // Multiply a slice while the copies of the following ones are pending; the next to come takes the stage multiplied before.
    float *now = stages, *before = stages + WRAP;
    int stage = 0;
#pragma unroll 1
    for (int left = slices; left > 0; left--) {
        copy_wait<EARLY ? STAGES - 3 : STAGES - 2>();
        if (TF32 && !EARLY) round_slice(places_a, now, places_b, now + PART_B);
        __syncthreads();  // the slice is complete, and no thread still reads the stage that is filled next
        if (left >= STAGES) copy_slice(before, before + PART_B);
        copy_commit();
        multiply(now + begin_a, now + begin_b, sums);
        before = now;
        stage = stage == STAGES - 1 ? 0 : stage + 1;
        now += stage ? SLICE : -WRAP;
        if (EARLY) round_slice(places_a, now, places_b, now + PART_B);
    }
    __syncthreads();
}
