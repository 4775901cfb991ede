/* Pooling (numerics section 8): windows [start + o*stride, start + o*stride + size) clipped to the image.
 *
 * images[c, y, x, n], out[c, oy, ox, n]. Threads share channels and blocks of cases, so that every thread owns the pixels
 * it adds to. Replaces 2012's kLocalPool, kLocalMaxUndo and kLocalAvgUndo.
 */

static inline Range window_at(const PoolShape *s, int o, int side) {
    int first = s->start + o * s->stride, last = first + s->size;
    first = MIN(MAX(first, 0), side), last = MIN(MAX(last, 0), side);
    return (Range){first, MAX(first, last)};
}

/* What a pixel counts in its window: 1 / pixels for the mean, else 1. */
static inline float share_of(const PoolShape *s, Range ys, Range xs) {
    const int pixels = (ys.last - ys.first) * (xs.last - xs.first);
    return s->kind == POOL_AVG ? 1.0f / MAX(pixels, 1) : 1.0f;
}

/* One window of one channel for up to BLOCK cases. */
static void pool_window(const PoolShape *s, Range ys, Range xs, const float *map, int cases, float *RESTRICT out) {
    const float initial = s->kind == POOL_MAX ? -2e38f : 0.0f;
    float best[BLOCK];
    for (int n = 0; n < cases; n++) best[n] = initial;
    for (int y = ys.first; y < ys.last; y++)
        for (int x = xs.first; x < xs.last; x++) {
            const float *pixel = map + ((size_t)y * s->W + x) * s->N;
            if (s->kind == POOL_MAX) /* NaN stays, so that it is seen */
                SIMD for (int n = 0; n < cases; n++) best[n] = pixel[n] > best[n] || pixel[n] != pixel[n] ? pixel[n] : best[n];
            else if (s->kind == POOL_MAXABS) /* the later of equal magnitudes wins; NaN stays */
                SIMD for (int n = 0; n < cases; n++)
                    best[n] = fabsf(best[n]) > fabsf(pixel[n]) || best[n] != best[n] ? best[n] : pixel[n];
            else
                SIMD for (int n = 0; n < cases; n++) best[n] += pixel[n];
        }
    const float scale = share_of(s, ys, xs);
    for (int n = 0; n < cases; n++) out[n] = scale * best[n];
}

static void pool_forward(const PoolShape *s, const float *images, float *out) {
    const int blocks = case_blocks(s->N);
#pragma omp parallel for collapse(3) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int oy = 0; oy < s->Oy; oy++)
            for (int b = 0; b < blocks; b++) {
                const int n0 = b * BLOCK;
                const float *map = images + (size_t)c * s->H * s->W * s->N + n0; /* images[c, 0, 0, n0] */
                for (int ox = 0; ox < s->Ox; ox++)
                    pool_window(s, window_at(s, oy, s->H), window_at(s, ox, s->W), map, cases_at(s->N, n0),
                                out + (((size_t)c * s->Oy + oy) * s->Ox + ox) * s->N + n0);
            }
}

/* map = st * map for one channel and block of cases, without reading it when st is 0. */
static void scale_map(const PoolShape *s, float *map, int cases) {
    if (s->st == 1.0f) return;
    for (int p = 0; p < s->H * s->W; p++)
        for (int n = 0; n < cases; n++) map[(size_t)p * s->N + n] = s->st == 0.0f ? 0.0f : s->st * map[(size_t)p * s->N + n];
}

/* Add one window's gradient to its pixels: to those that equal its output, which all get it, or to each its share. */
static void scatter_window(const PoolShape *s, Range ys, Range xs, const float *map, const float *out, const float *grad,
                           int cases, float *input_map) {
    const float share = share_of(s, ys, xs);
    for (int y = ys.first; y < ys.last; y++)
        for (int x = xs.first; x < xs.last; x++) {
            const size_t at = ((size_t)y * s->W + x) * s->N;
            float *RESTRICT to = input_map + at;
            if (s->kind == POOL_MAX)
                SIMD for (int n = 0; n < cases; n++) to[n] += map[at + n] == out[n] ? grad[n] : 0.0f;
            else
                SIMD for (int n = 0; n < cases; n++) to[n] += share * grad[n];
        }
}

/* POOL_MAX stands for all kinds whose gradient goes by equality; the others do not read images and out, which are NULL. */
static void pool_input_grad(const PoolShape *s, const float *images, const float *out, const float *grad, float *input_grad) {
    const int blocks = case_blocks(s->N), by_value = s->kind == POOL_MAX;
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int b = 0; b < blocks; b++) {
            const int n0 = b * BLOCK, cases = cases_at(s->N, n0);
            const size_t map = (size_t)c * s->H * s->W * s->N + n0; /* [c, 0, 0, n0] of the images */
            scale_map(s, input_grad + map, cases);
            for (int oy = 0; oy < s->Oy; oy++)
                for (int ox = 0; ox < s->Ox; ox++) {
                    const size_t at = (((size_t)c * s->Oy + oy) * s->Ox + ox) * s->N + n0; /* [c, oy, ox, n0] */
                    scatter_window(s, window_at(s, oy, s->H), window_at(s, ox, s->W), by_value ? images + map : NULL,
                                   by_value ? out + at : NULL, grad + at, cases, input_grad + map);
                }
        }
}
