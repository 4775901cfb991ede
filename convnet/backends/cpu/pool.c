/* Pooling (numerics section 8): windows [start + o*stride, start + o*stride + size) clipped to the image.
 *
 * images[c, y, x, n], out[c, oy, ox, n]. Threads share rows of what is written, in which every value is written once: forward
 * the outputs, each from its window; backward the pixels, each from all windows that cover it. Replaces 2012's kLocalPool,
 * kLocalMaxUndo and kLocalAvgUndo.
 */

/* Pixels of window ``o`` along an axis with ``side`` of them. */
static inline Range window_at(const PoolShape *s, int o, int side) {
    int first = s->start + o * s->stride, last = first + s->size;
    first = MIN(MAX(first, 0), side), last = MIN(MAX(last, 0), side);
    return (Range){first, MAX(first, last)};
}

/* Windows of ``count`` along an axis that cover pixel i. */
static inline Range windows_over(const PoolShape *s, int i, int count) {
    const int behind = i - s->start; /* the first window's first pixel */
    const int first = (MAX(behind - s->size + 1, 0) + s->stride - 1) / s->stride;
    return (Range){first, behind < 0 ? 0 : MIN(behind / s->stride + 1, count)};
}

/* What a pixel counts in its window: 1 / pixels for the mean, else 1. */
static inline float share_of(const PoolShape *s, Range ys, Range xs) {
    const int pixels = (ys.last - ys.first) * (xs.last - xs.first);
    return s->kind == POOL_AVG ? 1.0f / MAX(pixels, 1) : 1.0f;
}

/* The greater one, or NaN, which stays, so that it is seen. */
static inline vec greater_vec(vec value, vec now) { return choose((value > now) | (value != value), value, now); }

/* row = what the kind takes of a window, for ``vectors`` of ``width`` cases of a map. */
static INLINE void pool_window(const PoolShape *s, Range ys, Range xs, const float *map, const int vectors, const int width,
                               float *RESTRICT row) {
    const int kind = s->kind;
    const size_t N = s->N, line = s->W * N;
    vec best[GROUP];
    for (int v = 0; v < vectors; v++) best[v] = (vec){0} + (kind == POOL_MAX ? -2e38f : 0.0f);
    for (int y = ys.first; y < ys.last; y++)
        for (int x = xs.first; x < xs.last; x++)
            for (int v = 0; v < vectors; v++) {
                const vec value = load(map + y * line + x * N + v * width, width), now = best[v];
                if (kind == POOL_MAX)
                    best[v] = greater_vec(value, now);
                else if (kind == POOL_MAXABS) /* the later of equal magnitudes wins; NaN stays */
                    best[v] = choose((magnitude(now) > magnitude(value)) | (now != now), now, value);
                else
                    best[v] += value;
            }
    const float scale = share_of(s, ys, xs);
    for (int v = 0; v < vectors; v++) store(row + v * width, scale * best[v], width);
}

static void full_pool_forward(const PoolShape *s, const float *images, const Activation *f, float *out) {
    const size_t plane = (size_t)s->H * s->W * s->N, line = (size_t)s->Ox * s->N;
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int oy = 0; oy < s->Oy; oy++) {
            const Range ys = window_at(s, oy, s->H);
            const float *map = images + c * plane;                 /* images[c, 0, 0, 0] */
            float *to = out + ((size_t)c * s->Oy + oy) * line; /* out[c, oy, ox, 0] */
            for (int ox = 0; ox < s->Ox; ox++, to += s->N) {
                const Range xs = window_at(s, ox, s->W);
                for (int y = ys.last; y < MIN(ys.last + s->stride, s->H); y++) /* rows that the next windows see first */
                    prefetch_row(map + ((size_t)y * s->W + xs.first) * s->N, MIN(s->stride, s->W - xs.first) * s->N);
                EACH_CASE(s->N, n, vectors, width, {
                    pool_window(s, ys, xs, map + n, vectors, width, to + n);
                    if (f->kind != IDENT) activate_row(f, vectors * width, to + n);
                });
            }
        }
}

/* Columns from the first window's first to the last one's last. */
static inline int reach_of(const PoolShape *s) { return (s->Ox - 1) * s->stride + s->size; }

/* Whether vectors of rows of a map are fuller than those of cases, and no window is far larger than the map. */
static inline int pools_rows(const PoolShape *s) {
    return s->kind == POOL_MAX && s->N <= VW / 2 && reach_of(s) <= 4 * s->W;
}

/* The greater one, or NaN, by bits: branches on pixels are often guessed wrong. */
static inline float greater_of(float value, float now) {
    union { float f; int32_t i; } a = {.f = value}, b = {.f = now};
    const int32_t takes = -((value > now) | (value != value));
    b.i = (a.i & takes) | (b.i & ~takes);
    return b.f;
}

/* best = the greatest values of the columns of row ``oy`` of windows, with a number below all where windows leave the map. */
static void greatest_columns(const PoolShape *s, const float *map, int oy, float *RESTRICT best) {
    const int N = s->N, reach = reach_of(s), first = MAX(s->start, 0), last = MIN(s->start + reach, s->W);
    const Range ys = window_at(s, oy, s->H);
    for (int i = 0; i < reach * N + VW; i++) best[i] = -2e38f;
    best += (first - s->start) * N;
    for (int y = ys.first; y < ys.last; y++) {
        const float *row = map + ((size_t)y * s->W + first) * N;
        SIMD for (int i = 0; i < (last - first) * N; i++) best[i] = greater_of(row[i], best[i]);
    }
}

/* to[ox, n] = the greatest values of columns of a row of windows; ``wide`` is memory for those of windows one pixel apart. */
static INLINE void greatest_of_windows(const PoolShape *s, const float *best, const int N, float *RESTRICT wide, float *RESTRICT to) {
    const int step = s->stride * N, count = ((s->Ox - 1) * s->stride + 1) * N;
    for (int i = 0; i < count; i += VW) {
        vec now = *(const vec *)(best + i);
        for (int x = 1; x < s->size; x++) {
            const vec value = *(const vec *)(best + i + x * N);
            now = greater_vec(value, now);
        }
        *(vec *)(wide + i) = now;
    }
    for (int ox = 0; ox < s->Ox; ox++)
        for (int n = 0; n < N; n++) to[ox * N + n] = wide[ox * step + n];
}

/* Maxima of few cases: down the columns first, then along the rows. Returns 0 if memory ran out. */
static int row_pool_forward(const PoolShape *s, const float *images, const Activation *f, float *out) {
    const int N = s->N, line = s->Ox * N;
    const size_t reach = (size_t)reach_of(s) * N + VW;
    float *memory = scratch(2 * s->C * reach);
    if (!memory) return 0;
#pragma omp parallel for schedule(static)
    for (int c = 0; c < s->C; c++) {
        float *best = memory + 2 * c * reach, *map = out + (size_t)c * s->Oy * line;
        for (int oy = 0; oy < s->Oy; oy++) {
            float *to = map + oy * line;
            greatest_columns(s, images + (size_t)c * s->H * s->W * N, oy, best);
            if (N == 1)
                greatest_of_windows(s, best, 1, best + reach, to);
            else
                greatest_of_windows(s, best, N, best + reach, to);
        }
        if (f->kind != IDENT) activate_row(f, s->Oy * line, map);
    }
    give_back(memory);
    return 1;
}

/* Arrays of the backward pass for one map, from some case on. The others than POOL_MAX do not have the first two. */
typedef struct {
    const float *pixel, *out, *grad; /* images[c, y, x, n], out and grad[c, 0, 0, n] */
} Pooled;

/* row = the gradients of the windows ``oys`` by ``oxs`` over a pixel, for ``vectors`` of ``width`` cases: of those whose output
 * it equals, which all get them; or its share of each. */
static INLINE void gather_grads(const PoolShape *s, const Pooled *p, Range oys, Range oxs, const int vectors, const int width,
                                float *RESTRICT row) {
    const size_t N = s->N, line = s->Ox * N;
    const int by_value = s->kind == POOL_MAX;
    vec sum[GROUP] = {0}, pixel[GROUP] = {0};
    for (int v = 0; by_value && v < vectors; v++) pixel[v] = load(p->pixel + v * width, width);
    for (int oy = oys.first; oy < oys.last; oy++)
        for (int ox = oxs.first; ox < oxs.last; ox++) {
            const size_t at = oy * line + ox * N;
            if (by_value) {
                for (int v = 0; v < vectors; v++) {
                    const mask equal = pixel[v] == load(p->out + at + v * width, width);
                    sum[v] += (vec)(equal & (mask)load(p->grad + at + v * width, width));
                }
            } else {
                const float share = share_of(s, window_at(s, oy, s->H), window_at(s, ox, s->W));
                for (int v = 0; v < vectors; v++) sum[v] += share * load(p->grad + at + v * width, width);
            }
        }
    for (int v = 0; v < vectors; v++) store(row + v * width, sum[v], width);
}

/* POOL_MAX stands for all kinds whose gradient goes by equality; the others do not read images and out, which are NULL. */
static void full_pool_input_grad(const PoolShape *s, const float *images, const float *out, const float *grad,
                                 const Slope *slope, float *input_grad) {
    const size_t line = (size_t)s->W * s->N, plane = (size_t)s->Oy * s->Ox * s->N;
    const int in_place = !slope && s->st == 0.0f;
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int y = 0; y < s->H; y++) {
            const Range oys = windows_over(s, y, s->Oy);
            size_t at = ((size_t)c * s->H + y) * line; /* [c, y, x, n] */
            for (int x = 0; x < s->W; x++) {
                const Range oxs = windows_over(s, x, s->Ox);
                EACH_CASE(s->N, n, vectors, width, {
                    Pooled p = {NULL, NULL, grad + c * plane + n};
                    float row[GROUP * VW];
                    if (s->kind == POOL_MAX) p.pixel = images + at, p.out = out + c * plane + n;
                    gather_grads(s, &p, oys, oxs, vectors, width, in_place ? input_grad + at : row);
                    if (!in_place) store_grad(slope, at, s->st, vectors * width, row, input_grad);
                    at += vectors * width;
                });
            }
        }
}
