// Definitions for every kernel file. source.py expands includes before compiling, so that the compiler needs no files, and
// puts the constants of the layer at hand before the text, `constexpr int C = 96;` and so on. See docs/cuda.md.
//
// Letters: C channels, H, W height and width, N cases, F filters, M side of the output, G groups, K rows of a product.
// Activations are [c][y][x][n], cases fastest; weights [c][ky][kx][f].

#ifndef EMULATED
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

// An index into an array. It has 32 bits where every array of a launch has fewer than 2^31 elements (WIDE 0): dividing it is
// much faster.
#if WIDE
typedef unsigned long long Index;
#else
typedef unsigned Index;
#endif

// A loop over `count` elements by the whole grid.
#define FOR_EACH(i, count)                                                                 \
    for (Index i = (Index)blockIdx.x * blockDim.x + threadIdx.x; i < (Index)(count);       \
         i += (Index)gridDim.x * blockDim.x)

// The contract of every op that accumulates: with scale_targets 0 the old contents are not read (they may be NaN).
__device__ __forceinline__ float blend(const float* old, float result, float scale_targets, float scale_output) {
    return scale_targets == 0.0f ? scale_output * result : scale_targets * *old + scale_output * result;
}

__device__ __forceinline__ int ceil_div(int a, int b) { return (a + b - 1) / b; }

// The maximum; propagates NaN, unlike fmaxf, so that an error shows where it arises.
__device__ __forceinline__ float nan_max(float a, float b) { return b > a || b != b ? b : a; }

// The sum over the COUNT threads of a block, in a fixed order; or with APART, over the threads whose number is the same modulo
// APART. Every thread receives its sum. COUNT and APART are powers of two; `parts` is shared memory for COUNT values.
template <int COUNT, int APART = 1, typename T>
__device__ T block_sum(T value, T* parts) {
    parts[threadIdx.x] = value;
    __syncthreads();
#pragma unroll
    for (int half = COUNT / 2; half >= APART; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    T total = parts[threadIdx.x % APART];
    __syncthreads();
    return total;
}

// Philox4x32-10, the twin of convnet/backends/philox.py: four words for block `block` of a key. Of the kernels' arguments, the
// value of row r and case n takes number r * pitch + first + n, word number % 4 of block number / 4.
struct Key {
    unsigned k0, k1, c1, c2;
};

// The key of a launch. A captured launch is replayed at every step: it reads the step's two words from the device (`now`).
// Otherwise `now` is null, and c1 and c2 include them.
__device__ __forceinline__ Key key_of(unsigned k0, unsigned k1, unsigned c1, unsigned c2, const unsigned* now) {
    return now ? Key{k0, k1, c1 + now[0], c2 + now[1]} : Key{k0, k1, c1, c2};
}

__device__ __forceinline__ void philox(unsigned block, Key key, unsigned words[4]) {
    unsigned x0 = block, x1 = key.c1, x2 = key.c2, x3 = 0, k0 = key.k0, k1 = key.k1;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned long long p0 = 0xD2511F53ull * x0, p1 = 0xCD9E8D57ull * x2;
        x0 = (unsigned)(p1 >> 32) ^ x1 ^ k0;
        x1 = (unsigned)p1;
        x2 = (unsigned)(p0 >> 32) ^ x3 ^ k1;
        x3 = (unsigned)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = x0, words[1] = x1, words[2] = x2, words[3] = x3;
}

// Convert a word to a number in (0, 1], exact in float.
__device__ __forceinline__ float uniform(unsigned word) { return (float)((word >> 8) + 1) * 0x1p-24f; }
