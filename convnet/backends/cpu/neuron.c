/* Neurons, softmax, dropout and elementwise ops (numerics 5, 6, 7 and 10).
 *
 * One loop per function over all values, vectorised and shared among threads. Replaces 2012's kEltwise* kernels and
 * the functors of neuron.cuh.
 */

#define SHARE 4096 /* values that one thread takes at a time */

/* Threads part between shares: what vectors leave over may be rounded otherwise, and must be the same for any number of them. */
#define EACH                                                                                                       \
    _Pragma("omp parallel for schedule(static)") for (int64_t first = 0; first < count; first += SHARE)            \
        SIMD for (int64_t i = first; i < MIN(first + SHARE, count); i++)

#define FORWARD(kind, value, slope) \
    case kind:                      \
        EACH {                      \
            const float x = xs[i];  \
            out[i] = value;         \
        }                           \
        break;

#define BACKWARD(kind, value, slope)                                              \
    case kind:                                                                    \
        if (st == 0.0f)                                                           \
            EACH { READ input_grad[i] = grad[i] * (slope); }                      \
        else                                                                      \
            EACH { READ input_grad[i] = st * input_grad[i] + grad[i] * (slope); } \
        break;
#define READ                          \
    const float x = xs[i], y = ys[i]; \
    (void)x, (void)y; /* few read both */

static void neuron_forward(const Activation *f, int64_t count, const float *xs, float *out) {
    const float a = f->a, b = f->b;
    switch (f->kind) { NEURONS(FORWARD) }
}

static void neuron_input_grad(const Activation *f, int64_t count, const float *xs, const float *ys, const float *grad,
                              float *input_grad, float st) {
    const float a = f->a, b = f->b;
    switch (f->kind) { NEURONS(BACKWARD) }
}

static void softmax_forward(int rows, int N, const float *x, float *out) {
#pragma omp parallel for schedule(static)
    for (int b = 0; b < case_blocks(N); b++) {
        const int n0 = b * BLOCK, cases = cases_at(N, n0);
        float largest[BLOCK], sum[BLOCK] = {0};

        /* The largest value of each case keeps the exponentials finite. */
        for (int n = 0; n < cases; n++) largest[n] = x[n0 + n];
        for (int j = 1; j < rows; j++)
            for (int n = 0; n < cases; n++) largest[n] = MAX(largest[n], x[(size_t)j * N + n0 + n]);

        /* Exponentials and their sums, then the quotients. */
        for (int j = 0; j < rows; j++)
            SIMD for (int n = 0; n < cases; n++) {
                float e = fast_exp(x[(size_t)j * N + n0 + n] - largest[n]);
                out[(size_t)j * N + n0 + n] = e;
                sum[n] += e;
            }
        for (int j = 0; j < rows; j++)
            for (int n = 0; n < cases; n++) out[(size_t)j * N + n0 + n] /= sum[n];
    }
}

static void softmax_input_grad(int rows, int N, const float *y, const float *grad, float *input_grad, float st) {
#pragma omp parallel for schedule(static)
    for (int b = 0; b < case_blocks(N); b++) {
        const int n0 = b * BLOCK, cases = cases_at(N, n0);
        float sum[BLOCK] = {0}; /* of grad * y */
        for (int j = 0; j < rows; j++)
            for (int n = 0; n < cases; n++) sum[n] += grad[(size_t)j * N + n0 + n] * y[(size_t)j * N + n0 + n];
        for (int j = 0; j < rows; j++)
            for (int n = 0; n < cases; n++) {
                size_t at = (size_t)j * N + n0 + n;
                float result = y[at] * (grad[at] - sum[n]);
                input_grad[at] = st == 0.0f ? result : st * input_grad[at] + result;
            }
    }
}

static INLINE void drop(int count, const float *x, float *out, const int32_t *kept, float gain, float st) {
    SIMD for (int i = 0; i < count; i++) {
        union { float f; int32_t i; } result = {.f = gain * x[i]};
        result.i &= kept[i]; /* what is dropped may be NaN */
        out[i] = st == 0.0f ? result.f : st * out[i] + result.f;
    }
}

/* Threads take PHILOX_BLOCKS blocks at a time, of one run or of several (Key.runs of philox.py). */
static void dropout(const int64_t runs[3], const float *x, float *out, float keep, float gain, const int64_t key[6], float st) {
    enum { VALUES = 4 * PHILOX_BLOCKS };
    const int64_t length = runs[1], blocks = runs[2], all = runs[0] * blocks, pitch = key[4], first = key[5];
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < all; at += PHILOX_BLOCKS) {
        const int64_t begin = at < blocks ? 0 : at / blocks, end = MIN(at + PHILOX_BLOCKS, all);
        uint32_t words[4][PHILOX_BLOCKS];
        int32_t kept[VALUES]; /* -1 or 0 */
        for (int64_t run = begin; run * blocks < end; run++) { /* its numbers, up to the end, where the next run's replace them */
            const int from = MAX(0, run * blocks - at);
            const uint32_t number = (uint32_t)((run * pitch + first) / 4 + at - run * blocks);
            SIMD for (int b = 0; b < PHILOX_BLOCKS; b++) words[0][b] = b < from ? words[0][b] : number + b;
        }
        philox_blocks(key, words);
        for (int block = 0; block < PHILOX_BLOCKS; block++)
            for (int i = 0; i < 4; i++) kept[block * 4 + i] = -(philox_uniform(words[i][block]) < keep);
        for (int64_t run = begin; run * blocks < end; run++) {
            const int64_t start = 4 * (run * blocks - at) + (run * pitch + first) % 4; /* where the run's values begin */
            const int64_t skip = MAX(0, -start), i = run * length + skip;
            const int count = MIN(length, 4 * (end - at) - start) - skip;
            if (count == VALUES)
                drop(VALUES, x + i, out + i, kept, gain, st);
            else
                drop(count, x + i, out + i, kept + start + skip, gain, st);
        }
    }
}

static void add(int64_t count, const float *x, float *out, float st, float so) {
    if (st == 0.0f)
        EACH out[i] = so * x[i];
    else
        EACH out[i] = st * out[i] + so * x[i];
}

static void add_bias(int64_t rows, int64_t columns, float *out, const float *biases) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        SIMD for (int64_t j = 0; j < columns; j++) out[r * columns + j] += biases[r];
}

/* LANES_SUM partial sums per row keep the order of additions the same whatever the vector width. */
#define LANES_SUM 64

static void sum_rows(int64_t rows, int64_t columns, const float *x, float *out, float st, float so) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        double total = 0.0;
        for (int64_t from = 0; from < columns; from += 4096) {
            const int64_t to = MIN(from + 4096, columns);
            float sums[LANES_SUM] = {0};
            int64_t j = from;
            for (; j + LANES_SUM <= to; j += LANES_SUM)
                SIMD for (int lane = 0; lane < LANES_SUM; lane++) sums[lane] += x[r * columns + j + lane];
            for (; j < to; j++) sums[j % LANES_SUM] += x[r * columns + j];
            for (int lane = 0; lane < LANES_SUM; lane++) total += sums[lane];
        }
        out[r] = st == 0.0f ? so * (float)total : st * out[r] + so * (float)total;
    }
}

static void eltmax_forward(int64_t count, const float *x, float *out) { EACH out[i] = x[i] > out[i] || x[i] != x[i] ? x[i] : out[i]; }

static void eltmax_input_grad(int64_t count, const float *x, const float *y, const float *grad, float *input_grad, float st) {
    if (st == 0.0f)
        EACH input_grad[i] = x[i] == y[i] ? grad[i] : 0.0f;
    else
        EACH input_grad[i] = st * input_grad[i] + (x[i] == y[i] ? grad[i] : 0.0f);
}
