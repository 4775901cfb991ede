/* Every neuron (numerics 7), for whole arrays (neuron.c) and for the rows that other kernels are about to store. */

static inline float unit_tanh(float x, float a) { return 2.0f / (1.0f + fast_exp(-2.0f * x / a)) - 1.0f; }

static inline float squared(float x) { return x * x; }

/* A neuron's kind, f(x), and f' from the input x or the output y, whichever the type uses. The order is that of
 * NEURONS in convnet/backends/arguments.py. */
#define NEURONS(X)                                                                              \
    X(IDENT, x, 1.0f)                                                                           \
    X(LOGISTIC, 1.0f / (1.0f + fast_exp(-x)), y * (1.0f - y))                                   \
    X(RELU, x < 0.0f ? 0.0f : x, y > 0.0f ? 1.0f : 0.0f)                                        \
    X(BRELU, x < 0.0f ? 0.0f : (x > a ? a : x), y > 0.0f && y < a ? 1.0f : 0.0f)                \
    X(ABS, fabsf(x), x > 0.0f ? 1.0f : -1.0f)                                                   \
    X(TANH, a * (2.0f / (1.0f + fast_exp(-2.0f * b * x)) - 1.0f), b * (a - y * y / a))          \
    X(DRELU, x - a * unit_tanh(x, a), squared(unit_tanh(x, a)))                                 \
    X(SOFTRELU, x > 4.0f ? x : log1pf(expf(x)), x > 4.0f ? 1.0f : 1.0f / (1.0f + fast_exp(-x))) \
    X(SQUARE, x * x, 2.0f * x)                                                                  \
    X(SQRT, sqrtf(x), 0.5f / y)                                                                 \
    X(LINEAR, a * x + b, a)                                                                     \
    X(LOG, logf(a + x), 1.0f / (a + x))

#define NAME(kind, value, slope) kind,
enum Neuron { NEURONS(NAME) };

#define ACTIVATE(kind, value, slope)      \
    case kind:                            \
        for (int j = 0; j < count; j++) { \
            const float x = row[j];       \
            row[j] = value;               \
        }                                 \
        break;

/* row = f(row) */
static inline void activate_row(const Activation *f, int count, float *RESTRICT row) {
    const float a = f->a, b = f->b;
    (void)a, (void)b;
    switch (f->kind) { NEURONS(ACTIVATE) }
}

#define MULTIPLY(kind, value, slope)             \
    case kind:                                   \
        for (int j = 0; j < count; j++) {        \
            const float x = ys[j], y = ys[j];    \
            (void)x, (void)y; /* few read any */ \
            row[j] *= slope;                     \
        }                                        \
        break;

/* row *= f', which follows from the outputs ``ys`` */
static INLINE void slope_row(const Activation *f, int count, const float *RESTRICT ys, float *RESTRICT row) {
    const float a = f->a, b = f->b;
    (void)a, (void)b;
    switch (f->kind) { NEURONS(MULTIPLY) }
}

/* The bias of filter f at a place of ``places``. */
static inline float bias_at(const Ending *e, int f, size_t place, size_t places) {
    return e->biases ? e->biases[e->per_place ? f * places + place : (size_t)f] : 0.0f;
}

/* Cases of filter f at a place (my, mx) of ``places``, before they are stored: add the bias, then f. */
static inline void finish_row(const Ending *e, int f, size_t place, size_t places, int count, float *RESTRICT row) {
    if (e->biases) {
        const float bias = bias_at(e, f, place, places);
        for (int j = 0; j < count; j++) row[j] += bias;
    }
    if (e->f.kind != IDENT) activate_row(&e->f, count, row);
}

/* row = st * target + row * f', for ``count`` values from ``at`` on, before they are stored there; without a slope f' is 1. */
static INLINE void blend_row(const Slope *slope, size_t at, float st, int count, float *RESTRICT row, const float *target) {
    const float *RESTRICT before = target + at;
    if (slope) slope_row(&slope->f, count, slope->y + at, row);
    if (st != 0.0f)
        SIMD for (int j = 0; j < count; j++) row[j] += st * before[j];
}

static inline void store_grad(const Slope *slope, size_t at, float st, int count, float *RESTRICT row, float *input_grad) {
    blend_row(slope, at, st, count, row, input_grad);
    memcpy(input_grad + at, row, count * sizeof(float));
}
