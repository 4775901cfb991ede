/* What the kernels share: vectors of VW floats for the instruction set being compiled, and functions of one value or of a
 * few that compilers vectorise. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#define NR (NV * VW) /* columns of a tile */
#define BLOCK 64     /* cases that loops over N handle at a time */
#define LINE 16      /* floats of a line of a cache */

/* aligned(4): rows start anywhere; may_alias: they are floats to everyone else. */
typedef float vec __attribute__((vector_size(VW * 4), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(VW * 4), aligned(4), may_alias)); /* of comparisons: -1 or 0 */

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define RESTRICT __restrict__
#define SIMD _Pragma("omp simd")
#define INLINE inline __attribute__((always_inline)) /* where a constant argument makes the loops */

#define scratch convnet_scratch
#define give_back convnet_give_back

/* e^y to 1 ulp or two: y = n log 2 + r, a polynomial for e^r, and n into the exponent, in two factors: so that small
 * results are subnormal before they are 0, and large ones become infinite. */
static inline float fast_exp(float y) {
    float x = y < -104.0f ? -104.0f : (y > 89.0f ? 89.0f : y);
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* 1.5 * 2^23 rounds to the nearest integer */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t half = (int32_t)n >> 1, rest = (int32_t)n - half;
    union { int32_t i; float f; } first = {.i = (half + 127) << 23}, second = {.i = (rest + 127) << 23};
    return p * first.f * second.f;
}

/* log x for positive, normal x: mantissa in [sqrt(1/2), sqrt 2), a polynomial, and the exponent times log 2. */
static inline float fast_log(float x) {
    union { float f; uint32_t u; } bits = {.f = x}; /* unsigned, as for other x the differences leave 32 bits */
    int32_t e = (int32_t)(bits.u - 0x3f3504f3u) >> 23;
    bits.u -= (uint32_t)e << 23;
    float m = bits.f - 1.0f, z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float y = m * z * p + (float)e * -2.12194440e-4f - 0.5f * z;
    return m + y + (float)e * 0.693359375f;
}

/* out = d^-power for positive d; 0.75 and 0.5, the published exponents, need only square roots. */
static inline void inverse_power(const float *RESTRICT d, float power, int count, float *RESTRICT out) {
    if (power == 0.75f)
        SIMD for (int n = 0; n < count; n++) {
            float root = 1.0f / sqrtf(d[n]);
            out[n] = root * sqrtf(root);
        }
    else if (power == 0.5f)
        SIMD for (int n = 0; n < count; n++) out[n] = 1.0f / sqrtf(d[n]);
    else
        SIMD for (int n = 0; n < count; n++) out[n] = d[n] == d[n] ? fast_exp(-power * fast_log(d[n])) : d[n]; /* NaN is seen */
}

#define PHILOX_BLOCKS 16 /* of random numbers at a time, four in each */

/* Philox4x32-10; see convnet/backends/philox.py. words[i][b] becomes word i of the block of a key whose number is words[0][b]. */
static INLINE void philox_blocks(const int64_t key[6], uint32_t words[4][PHILOX_BLOCKS]) {
    uint32_t *x0 = words[0], *x1 = words[1], *x2 = words[2], *x3 = words[3], k0 = key[0], k1 = key[1];
    SIMD for (int b = 0; b < PHILOX_BLOCKS; b++) x1[b] = key[2], x2[b] = key[3], x3[b] = 0;
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        SIMD for (int b = 0; b < PHILOX_BLOCKS; b++) {
            /* The halves of a product apart: so compilers find the instructions for each. */
            const uint32_t low0 = 0xD2511F53u * x0[b], high0 = (uint64_t)0xD2511F53u * x0[b] >> 32;
            const uint32_t low1 = 0xCD9E8D57u * x2[b], high1 = (uint64_t)0xCD9E8D57u * x2[b] >> 32;
            x0[b] = high1 ^ x1[b] ^ k0, x1[b] = low1;
            x2[b] = high0 ^ x3[b] ^ k1, x3[b] = low0;
        }
}

/* A word as a number in (0, 1], exact in float32. */
static inline float philox_uniform(uint32_t word) { return (float)((word >> 8) + 1) * 0x1p-24f; }

/* The first ``width`` values, VW or 1, with zeros behind them. */
static INLINE vec load(const float *from, const int width) { return width == VW ? *(const vec *)from : (vec){*from}; }

static INLINE void store(float *to, vec x, const int width) {
    if (width == VW)
        *(vec *)to = x;
    else
        *to = x[0];
}

/* A streaming store of a vector to a multiple of its size: past the caches, which then need not read its line first. Other
 * threads see it after fence_streams. */
#if VW == 16 && defined(__AVX512F__)
#define stream(to, x) _mm512_stream_ps(to, (__m512)(x))
#define fence_streams() _mm_sfence()
#elif VW == 8 && defined(__AVX__)
#define stream(to, x) _mm256_stream_ps(to, (__m256)(x))
#define fence_streams() _mm_sfence()
#else
#define stream(to, x) (*(vec *)(to) = (x))
#define fence_streams() ((void)0)
#endif

/* m ? a : b */
static inline vec choose(mask m, vec a, vec b) { return (vec)((m & (mask)a) | (~m & (mask)b)); }

static inline vec magnitude(vec x) { return (vec)((mask)x & 0x7fffffff); }

/* What is wrong with a root that should be d^-1/4, with ``quarter``, or d^-1/2: 1 - d * root^4 or ^2. */
static INLINE vec root_error(vec d, vec root, const int quarter) {
    const vec square = root * root;
    return 1.0f - d * (quarter ? square * square : 1.0f * square);
}

/* d^-1/4 with ``quarter``, else d^-1/2, for positive, normal d; of infinity something small. A quarter of the bits of a float, or
 * half of them, gives its root to 3 %; then the series of (1 - r)^-1/4 or -1/2, where r is the error: four terms, then two. */
static INLINE vec inverse_root(vec d, const int quarter) {
    d = choose(d > 1e37f, (vec){0} + 1e37f, d); /* NaN stays */
    vec root = (vec)(quarter ? 0x4f581800 - ((mask)d >> 2) : 0x5f3759df - ((mask)d >> 1)), r = root_error(d, root, quarter);
    root += root * r * (quarter ? 0.25f + r * (0.15625f + r * 0.1171875f) : 0.5f + r * (0.375f + r * 0.3125f));
    return root + root * root_error(d, root, quarter) * (quarter ? 0.25f : 0.5f);
}

static const int32_t LANES[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Transpose the VW x VW floats of ``a``: pairs of rows at distance 1, 2, 4, ... swap the blocks off the diagonal. */
static inline void transpose_square(vec a[VW]) {
    const mask lane = *(const mask *)LANES;
#pragma GCC unroll 4
    for (int d = 1; d < VW; d *= 2)
#pragma GCC unroll 16
        for (int i = 0; i < VW; i++)
            if (!(i & d)) {
                const vec low = a[i], high = a[i + d];
#ifdef __clang__
                for (int l = 0; l < VW; l++) a[i][l] = l & d ? high[l - d] : low[l], a[i + d][l] = l & d ? high[l] : low[l + d];
#else
                const mask from = lane + (((lane & d) != 0) & (VW - d));
                a[i] = __builtin_shuffle(low, high, from), a[i + d] = __builtin_shuffle(low, high, from + d);
#endif
            }
}

/* to[i, j] = from[j, i] for ``rows`` of to and ``columns``, with zeros up to ``width`` columns, a multiple of VW. */
static void transpose(const float *from, size_t from_step, int rows, int columns, int width, float *RESTRICT to, size_t to_step) {
    for (int j0 = 0; j0 < width; j0 += VW) {
        int i = 0;
        for (; i + VW <= rows; i += VW) {
            vec a[VW];
            for (int j = 0; j < VW; j++) a[j] = j0 + j < columns ? *(const vec *)(from + (j0 + j) * from_step + i) : (vec){0};
            transpose_square(a);
            for (int k = 0; k < VW; k++) *(vec *)(to + (i + k) * to_step + j0) = a[k];
        }
        for (; i < rows; i++)
            for (int j = j0; j < j0 + VW; j++) to[i * to_step + j] = j < columns ? from[j * from_step + i] : 0.0f;
    }
}

/* Loops over cases take GROUP vectors at a time, then one, then single cases: what follows is done with ``vectors`` of
 * ``width`` cases from case n on, and is compiled for each. */
#define GROUP 4
#define EACH_CASE(N, n, vectors, width, ...)                    \
    for (int n = 0; n < (N);) {                                 \
        if ((N) - n >= GROUP * VW) {                            \
            enum { vectors = GROUP, width = VW };               \
            __VA_ARGS__;                                        \
            n += GROUP * VW;                                    \
        } else if ((N) - n >= VW) {                             \
            enum { vectors = 1, width = VW };                   \
            __VA_ARGS__;                                        \
            n += VW;                                            \
        } else {                                                \
            enum { vectors = 1, width = 1 };                    \
            __VA_ARGS__;                                        \
            n++;                                                \
        }                                                       \
    }

/* Inlined, as compilers leave out calls that do no more than prefetch. Addresses past an array's end do no harm. */
static INLINE void prefetch_row(const float *row, int count) {
    for (int i = 0; i < count; i += LINE) __builtin_prefetch(row + i);
}

/* Where piece i starts if ``total`` is cut in ``count`` pieces that differ by one at most. */
static inline int piece(int total, int count, int i) { return (int)((int64_t)total * i / count); }

static inline int cases_at(int N, int n0) { return MIN(BLOCK, N - n0); }
static inline int case_blocks(int N) { return (N + BLOCK - 1) / BLOCK; }

/* Indices ``first`` to ``last`` - 1 along one axis. */
typedef struct {
    int first, last;
} Range;
