/* Normalisation across maps (cmrnorm) and within them (rnorm, cnorm); numerics section 9.
 *
 *   d = min_div + scale * sum of squares in the window,  out = x * d^-power
 *   input_grad = g * d^-power + x * sum over the windows that hold this place of u,  u = -2 * power * scale * g * out / d
 *
 * Nothing is saved between forward and backward: d is made again from x. Across maps a thread takes CHUNK neighbouring
 * values of every channel's plane; within maps, one map of LANES cases; both stay in its cache. Replaces 2012's
 * kFCNorm, kFRNormUndo, kCNorm2, kRNormUndo2 and kRNormUndoPrelims.
 */
#define CHUNK 128
#define LANES 32

/* Channels that the denominator of channel c sums; with ``back``, channels whose denominators sum channel c. */
static inline Range channels_at(const NormShape *s, int c, int back) {
    int first = s->blocked ? c / s->size * s->size : c - (back ? s->size - 1 - s->size / 2 : s->size / 2);
    return (Range){MAX(first, 0), MIN(first + s->size, s->C)};
}

static inline void prefetch_row(const float *row, int count) {
    for (int i = 0; i < count; i += 16) __builtin_prefetch(row + i);
}

/* d of channel c at ``count`` neighbouring places; x[channel] lies ``plane`` apart. */
static inline void chunk_denominator(const NormShape *s, const float *x, size_t plane, int c, int count, float *RESTRICT d) {
    Range w = channels_at(s, c, 0);
    for (int n = 0; n < count; n++) d[n] = 0.0f;
    for (int j = w.first; j < w.last; j++) {
        const float *row = x + j * plane;
        SIMD for (int n = 0; n < count; n++) d[n] += row[n] * row[n];
    }
    SIMD for (int n = 0; n < count; n++) d[n] = s->min_div + s->scale * d[n];
}

static void chunk_forward(const NormShape *s, const float *x, size_t plane, int count, float *out) {
    float d[CHUNK], factor[CHUNK];
    for (int c = 0; c < s->C; c++) {
        const int ahead = c + s->size;
        if (ahead < s->C) prefetch_row(x + ahead * plane, count);
        chunk_denominator(s, x, plane, c, count, d);
        inverse_power(d, s->power, count, factor);
        const float *row = x + c * plane;
        float *to = out + c * plane;
        SIMD for (int n = 0; n < count; n++) to[n] = row[n] * factor[n];
    }
}

/* ``buffer`` holds u and the direct term of every channel: 2 * C * CHUNK floats. */
static void chunk_grad(const NormShape *s, const float *x, const float *grad, size_t plane, int count, float *buffer,
                           float *input_grad) {
    float d[CHUNK], factor[CHUNK];
    float *u = buffer, *direct = buffer + (size_t)s->C * CHUNK;
    const float twice = -2.0f * s->power * s->scale;

    /* d of every channel gives its direct term, g * d^-power, and its u. */
    for (int c = 0; c < s->C; c++) {
        const int ahead = c + s->size;
        if (ahead < s->C) prefetch_row(x + ahead * plane, count), prefetch_row(grad + ahead * plane, count);
        chunk_denominator(s, x, plane, c, count, d);
        inverse_power(d, s->power, count, factor);
        const float *row = x + c * plane, *g = grad + c * plane;
        float *RESTRICT to_u = u + (size_t)c * CHUNK, *RESTRICT to_direct = direct + (size_t)c * CHUNK;
        SIMD for (int n = 0; n < count; n++) {
            to_direct[n] = g[n] * factor[n];
            to_u[n] = twice * to_direct[n] * row[n] / d[n];
        }
    }

    /* Sum u over the channels whose windows hold c. */
    for (int c = 0; c < s->C; c++) {
        Range w = channels_at(s, c, 1);
        for (int n = 0; n < count; n++) d[n] = 0.0f;
        for (int j = w.first; j < w.last; j++)
            SIMD for (int n = 0; n < count; n++) d[n] += u[(size_t)j * CHUNK + n];
        const float *row = x + c * plane, *RESTRICT term = direct + (size_t)c * CHUNK;
        float *to = input_grad + c * plane;
        if (s->st == 0.0f)
            SIMD for (int n = 0; n < count; n++) to[n] = term[n] + row[n] * d[n];
        else
            SIMD for (int n = 0; n < count; n++) to[n] = s->st * to[n] + term[n] + row[n] * d[n];
    }
}

static int across_forward(const NormShape *s, const float *images, float *out) {
    const int64_t plane = (int64_t)s->H * s->W * s->N;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < plane; at += CHUNK) chunk_forward(s, images + at, plane, MIN(CHUNK, plane - at), out + at);
    return 1;
}

static int across_input_grad(const NormShape *s, const float *images, const float *grad, float *input_grad) {
    const int64_t plane = (int64_t)s->H * s->W * s->N;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *buffer = scratch((size_t)s->C * CHUNK * 2);
        failed = !buffer;
#pragma omp for schedule(static) nowait
        for (int64_t at = 0; at < plane; at += CHUNK)
            if (buffer)
                chunk_grad(s, images + at, grad + at, plane, MIN(CHUNK, plane - at), buffer, input_grad + at);
        give_back(buffer);
    }
    return !failed;
}

/* -- within a map: everything below works on one map of LANES cases, [y][x][LANES] --------------------------------- */

static inline void load_lanes(float *RESTRICT to, const float *from, int cases) {
    for (int n = 0; n < LANES; n++) to[n] = n < cases ? from[n] : 0.0f;
}

/* out(p) = sum of x over the square [p - before, p - before + size), clipped; ``half`` holds the sums along rows. */
static void box_sum(const NormShape *s, const float *x, int before, float *RESTRICT half, float *RESTRICT out) {
    const int H = s->H, W = s->W;
    for (int y = 0; y < H; y++)
        for (int i = 0; i < W; i++) {
            float sum[LANES] = {0};
            for (int j = MAX(i - before, 0); j < MIN(i - before + s->size, W); j++)
                SIMD for (int n = 0; n < LANES; n++) sum[n] += x[((size_t)y * W + j) * LANES + n];
            memcpy(half + ((size_t)y * W + i) * LANES, sum, sizeof sum);
        }
    for (int y = 0; y < H; y++)
        for (int i = 0; i < W; i++) {
            float sum[LANES] = {0};
            for (int j = MAX(y - before, 0); j < MIN(y - before + s->size, H); j++)
                SIMD for (int n = 0; n < LANES; n++) sum[n] += half[((size_t)j * W + i) * LANES + n];
            memcpy(out + ((size_t)y * W + i) * LANES, sum, sizeof sum);
        }
}

/* x minus the mean of its own window, in place of ``m``; ``half`` and ``sum`` are working memory. */
static void subtract_mean(const NormShape *s, const float *x, float *RESTRICT half, float *RESTRICT sum, float *RESTRICT m) {
    const int before = s->size / 2;
    box_sum(s, x, before, half, sum);
    for (int y = 0; y < s->H; y++)
        for (int i = 0; i < s->W; i++) {
            int h = MIN(y - before + s->size, s->H) - MAX(y - before, 0), w = MIN(i - before + s->size, s->W) - MAX(i - before, 0);
            size_t at = ((size_t)y * s->W + i) * LANES;
            SIMD for (int n = 0; n < LANES; n++) m[at + n] = x[at + n] - sum[at + n] / (float)(h * w);
        }
}

/* Buffers of one thread: the map x, what is squared (m), denominators d, and three for work. */
typedef struct {
    float *x, *m, *d, *a, *b, *half;
} Maps;

static void map_denominators(const NormShape *s, const float *images, int cases, Maps *w) {
    const size_t pixels = (size_t)s->H * s->W, values = pixels * LANES;
    for (size_t p = 0; p < pixels; p++) load_lanes(w->x + p * LANES, images + p * s->N, cases);
    if (s->kind == CNORM) subtract_mean(s, w->x, w->half, w->a, w->m);
    const float *m = s->kind == CNORM ? w->m : w->x;
    SIMD for (size_t i = 0; i < values; i++) w->a[i] = m[i] * m[i];
    box_sum(s, w->a, s->size / 2, w->half, w->d);
    SIMD for (size_t i = 0; i < values; i++) w->d[i] = s->min_div + s->scale * w->d[i];
}

static void map_forward(const NormShape *s, int cases, Maps *w, float *out) {
    for (size_t p = 0; p < (size_t)s->H * s->W; p++) {
        float row[LANES];
        inverse_power(w->d + p * LANES, s->power, LANES, row);
        SIMD for (int n = 0; n < LANES; n++) row[n] *= w->x[p * LANES + n];
        memcpy(out + p * s->N, row, cases * sizeof(float));
    }
}

static void map_grad(const NormShape *s, const float *grad, int cases, Maps *w, float *input_grad) {
    const size_t pixels = (size_t)s->H * s->W;
    const float twice = -2.0f * s->power * s->scale, *m = s->kind == CNORM ? w->m : w->x;

    /* The direct term, g * d^-power, into a; u into b. */
    for (size_t p = 0; p < pixels; p++) {
        float g[LANES], factor[LANES];
        const size_t at = p * LANES;
        load_lanes(g, grad + p * s->N, cases);
        inverse_power(w->d + at, s->power, LANES, factor);
        SIMD for (int n = 0; n < LANES; n++) {
            w->a[at + n] = g[n] * factor[n];
            w->b[at + n] = twice * w->a[at + n] * w->x[at + n] / w->d[at + n];
        }
    }

    /* Sum u over the windows that hold each pixel; d is not read any more. */
    box_sum(s, w->b, s->size - 1 - s->size / 2, w->half, w->d);
    for (size_t p = 0; p < pixels; p++)
        for (int n = 0; n < cases; n++) {
            size_t at = p * LANES + n;
            float result = w->a[at] + m[at] * w->d[at], *to = input_grad + p * s->N + n;
            *to = s->st == 0.0f ? result : s->st * *to + result;
        }
}

/* Forward without ``grad``, else backward. */
static int within(const NormShape *s, const float *images, const float *grad, float *out) {
    const size_t plane = (size_t)s->H * s->W * s->N, values = (size_t)s->H * s->W * LANES;
    const int blocks = (s->N + LANES - 1) / LANES;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *memory = scratch(6 * values);
        failed = !memory;
        Maps w = {memory, memory + values, memory + 2 * values, memory + 3 * values, memory + 4 * values, memory + 5 * values};
#pragma omp for collapse(2) schedule(static) nowait
        for (int c = 0; c < s->C; c++)
            for (int b = 0; b < blocks; b++) {
                if (!memory) continue;
                const size_t at = c * plane + (size_t)b * LANES; /* [c, 0, 0, b*LANES] */
                const int cases = MIN(LANES, s->N - b * LANES);
                map_denominators(s, images + at, cases, &w);
                if (grad)
                    map_grad(s, grad + at, cases, &w, out + at);
                else
                    map_forward(s, cases, &w, out + at);
            }
        give_back(memory);
    }
    return !failed;
}

static int norm_forward(const NormShape *s, const float *images, float *out) {
    return s->kind == CMRNORM ? across_forward(s, images, out) : within(s, images, NULL, out);
}

static int norm_input_grad(const NormShape *s, const float *images, const float *grad, float *input_grad) {
    return s->kind == CMRNORM ? across_input_grad(s, images, grad, input_grad) : within(s, images, grad, input_grad);
}
