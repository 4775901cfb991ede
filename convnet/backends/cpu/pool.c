/* Pooling (numerics section 8): windows [start + o*stride, start + o*stride + size) clipped to the image.
 *
 * images[c, y, x, n], out[c, oy, ox, n]. Threads share channels and blocks of cases, so that every thread owns the pixels
 * it adds to. Stands for 2012's kLocalPool, kLocalMaxUndo and kLocalAvgUndo.
 */

typedef struct {
    int first, last;
} Span;

static inline Span window_at(const PoolShape *s, int o, int side) {
    int first = s->start + o * s->stride, last = first + s->size;
    first = MIN(MAX(first, 0), side), last = MIN(MAX(last, 0), side);
    return (Span){first, MAX(first, last)};
}

/* One window of one channel for up to BLOCK cases. */
static void pool_window(const PoolShape *s, Span ys, Span xs, const float *map, int cases, float *RESTRICT out) {
    const float initial = s->mode == 0 ? -2e38f : 0.0f;
    float best[BLOCK];
    for (int n = 0; n < cases; n++) best[n] = initial;
    for (int y = ys.first; y < ys.last; y++)
        for (int x = xs.first; x < xs.last; x++) {
            const float *pixel = map + ((size_t)y * s->W + x) * s->N;
            if (s->mode == 0) /* NaN stays, so that it is seen */
                SIMD for (int n = 0; n < cases; n++) best[n] = pixel[n] > best[n] || pixel[n] != pixel[n] ? pixel[n] : best[n];
            else if (s->mode == 1) /* the later of equal magnitudes wins */
                SIMD for (int n = 0; n < cases; n++) best[n] = fabsf(best[n]) > fabsf(pixel[n]) ? best[n] : pixel[n];
            else
                SIMD for (int n = 0; n < cases; n++) best[n] += pixel[n];
        }
    const int pixels = (ys.last - ys.first) * (xs.last - xs.first);
    const float scale = s->mode == 2 ? 1.0f / MAX(pixels, 1) : 1.0f;
    for (int n = 0; n < cases; n++) out[n] = scale * best[n];
}

static void pool_forward(const PoolShape *s, const float *images, float *out) {
    const int blocks = case_blocks(s->N);
#pragma omp parallel for collapse(3) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int oy = 0; oy < s->Oy; oy++)
            for (int b = 0; b < blocks; b++) {
                const int n0 = b * BLOCK;
                const float *map = images + (size_t)c * s->H * s->W * s->N + n0;
                for (int ox = 0; ox < s->Ox; ox++)
                    pool_window(s, window_at(s, oy, s->H), window_at(s, ox, s->W), map, cases_at(s->N, n0),
                                out + (((size_t)c * s->Oy + oy) * s->Ox + ox) * s->N + n0);
            }
}

/* into = st * into for one channel and block of cases, without reading it when st is 0. */
static void scale_map(const PoolShape *s, float *map, int cases) {
    if (s->st == 1.0f) return;
    for (int p = 0; p < s->H * s->W; p++)
        for (int n = 0; n < cases; n++) map[(size_t)p * s->N + n] = s->st == 0.0f ? 0.0f : s->st * map[(size_t)p * s->N + n];
}

static void pool_max_input_grad(const PoolShape *s, const float *images, const float *out, const float *grad, float *into) {
    const int blocks = case_blocks(s->N);
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int b = 0; b < blocks; b++) {
            const int n0 = b * BLOCK, cases = cases_at(s->N, n0);
            const size_t map = (size_t)c * s->H * s->W * s->N + n0, outs = (size_t)c * s->Oy * s->Ox * s->N + n0;
            scale_map(s, into + map, cases);
            for (int oy = 0; oy < s->Oy; oy++)
                for (int ox = 0; ox < s->Ox; ox++) {
                    const float *best = out + outs + ((size_t)oy * s->Ox + ox) * s->N;
                    const float *g = grad + outs + ((size_t)oy * s->Ox + ox) * s->N;
                    Span ys = window_at(s, oy, s->H), xs = window_at(s, ox, s->W);
                    for (int y = ys.first; y < ys.last; y++)
                        for (int x = xs.first; x < xs.last; x++) {
                            const size_t at = map + ((size_t)y * s->W + x) * s->N;
                            float *RESTRICT to = into + at;
                            SIMD for (int n = 0; n < cases; n++) to[n] += images[at + n] == best[n] ? g[n] : 0.0f;
                        }
                }
        }
}

static void pool_avg_input_grad(const PoolShape *s, const float *grad, float *into) {
    const int blocks = case_blocks(s->N);
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int b = 0; b < blocks; b++) {
            const int n0 = b * BLOCK, cases = cases_at(s->N, n0);
            float *map = into + (size_t)c * s->H * s->W * s->N + n0;
            scale_map(s, map, cases);
            for (int oy = 0; oy < s->Oy; oy++)
                for (int ox = 0; ox < s->Ox; ox++) {
                    const float *g = grad + (((size_t)c * s->Oy + oy) * s->Ox + ox) * s->N + n0;
                    Span ys = window_at(s, oy, s->H), xs = window_at(s, ox, s->W);
                    const int pixels = (ys.last - ys.first) * (xs.last - xs.first);
                    const float share = s->mode == 2 ? 1.0f / MAX(pixels, 1) : 1.0f;
                    for (int y = ys.first; y < ys.last; y++)
                        for (int x = xs.first; x < xs.last; x++) {
                            float *RESTRICT to = map + ((size_t)y * s->W + x) * s->N;
                            SIMD for (int n = 0; n < cases; n++) to[n] += share * g[n];
                        }
                }
        }
}
