/* Normalisation across maps (cmrnorm) and within them (rnorm, cnorm); numerics section 9.
 *
 *   d = min_div + scale * sum of squares in the window,  out = x * d^-power
 *   input_grad = g * d^-power + x * sum over the windows that hold this place of u,  u = -2 * power * scale * g * out / d
 *
 * Nothing is saved between forward and backward: d is made again from x. Across maps a thread takes CHUNK neighbouring
 * values of every channel's plane; within maps, some cases of one map. Either way it goes through channels or rows once, and
 * keeps of them what windows still want in its cache. Replaces 2012's kFCNorm, kFRNormUndo, kCNorm2, kRNormUndo2 and
 * kRNormUndoPrelims.
 */
#define CHUNK 256

/* A window along an axis of ``side`` places: those that place i sums; with ``back``, those whose windows sum place i. */
static inline Range around(const NormShape *s, int i, int side, int back) {
    int first = s->blocked ? i / s->size * s->size : i - (back ? s->size - 1 - s->size / 2 : s->size / 2);
    return (Range){MAX(first, 0), MIN(first + s->size, side)};
}

/* Turn sums of squares into d, and give d^-power and 1 / d. */
static INLINE void powers(const NormShape *s, const int vectors, vec *d, vec *factor, vec *reciprocal) {
    const int quarters = s->power == 0.75f, halves = s->power == 0.5f;
    for (int v = 0; v < vectors; v++) d[v] = s->min_div + s->scale * d[v];
    if ((quarters || halves) && s->scale >= 0 && s->min_div >= 1e-30f) {
        for (int v = 0; v < vectors; v++) {
            const vec root = inverse_root(d[v], quarters);
            factor[v] = quarters ? root * root * root : 1.0f * root;
            reciprocal[v] = quarters ? (root * root) * (root * root) : root * root;
        }
    } else {
        float values[GROUP * VW], results[GROUP * VW];
        memcpy(values, d, vectors * sizeof(vec));
        inverse_power(values, s->power, vectors * VW, results);
        memcpy(factor, results, vectors * sizeof(vec));
        for (int v = 0; v < vectors; v++) reciprocal[v] = 1.0f / d[v];
    }
}

/* input_grad = row times the slope, from ``at`` on, for ``vectors`` of ``width`` values. */
static INLINE void store_vectors(const NormShape *s, const Slope *slope, size_t at, const vec *row, const int vectors,
                                 const int width, float *input_grad) {
    float values[GROUP * VW], *to = slope || s->st != 0.0f ? values : input_grad + at;
    for (int v = 0; v < vectors; v++) store(to + v * width, row[v], width);
    /* Said to be rare, so that its registers are not taken from the loops around. */
    if (__builtin_expect(to == values, 0)) store_grad(slope, at, s->st, vectors * width, values, input_grad);
}

/* -- across maps ----------------------------------------------------------------------------------------------------- */

/* d^-power and 1 / d of channel c at some places; x[channel] lies ``plane`` apart. */
static INLINE void channel_powers(const NormShape *s, const float *x, size_t plane, int c, const int vectors, const int width,
                                  vec *factor, vec *reciprocal) {
    const Range w = around(s, c, s->C, 0);
    vec d[GROUP] = {0};
    for (int j = w.first; j < w.last; j++)
        for (int v = 0; v < vectors; v++) {
            const vec value = load(x + j * plane + v * width, width);
            d[v] += value * value;
        }
    powers(s, vectors, d, factor, reciprocal);
}

static void chunk_forward(const NormShape *s, const float *x, size_t plane, int count, float *out) {
    for (int c = 0; c < s->C; c++) {
        if (c + s->size < s->C) prefetch_row(x + (c + s->size) * plane, count);
        EACH_CASE(count, n, vectors, width, {
            vec factor[GROUP], reciprocal[GROUP];
            channel_powers(s, x + n, plane, c, vectors, width, factor, reciprocal);
            for (int v = 0; v < vectors; v++) {
                const size_t at = c * plane + n + v * width;
                store(out + at, load(x + at, width) * factor[v], width);
            }
        });
    }
}

/* u of channel c, and its direct term, g * d^-power. */
static void chunk_terms(const NormShape *s, const float *x, const float *grad, size_t plane, int c, int count, float *u,
                        float *direct) {
    const float twice = -2.0f * s->power * s->scale;
    EACH_CASE(count, n, vectors, width, {
        vec factor[GROUP], reciprocal[GROUP];
        channel_powers(s, x + n, plane, c, vectors, width, factor, reciprocal);
        for (int v = 0; v < vectors; v++) {
            const size_t i = n + v * width, at = c * plane + i;
            const vec term = load(grad + at, width) * factor[v];
            store(direct + i, term, width);
            store(u + i, twice * term * load(x + at, width) * reciprocal[v], width);
        }
    });
}

/* The gradient of channel c, whose plane begins at ``at``, from u of the channels whose windows hold it. */
static void chunk_sum(const NormShape *s, const float *images, size_t at, int c, int count, const float *u, const float *direct,
                      const Slope *slope, float *input_grad) {
    const Range w = around(s, c, s->C, 1);
    EACH_CASE(count, n, vectors, width, {
        vec sum[GROUP] = {0};
        for (int j = w.first; j < w.last; j++)
            for (int v = 0; v < vectors; v++) sum[v] += load(u + (size_t)j * CHUNK + n + v * width, width);
        for (int v = 0; v < vectors; v++) {
            const size_t i = n + v * width;
            sum[v] = load(direct + (size_t)c * CHUNK + i, width) + load(images + at + i, width) * sum[v];
        }
        store_vectors(s, slope, at + n, sum, vectors, width, input_grad);
    });
}

/* ``buffer`` holds u and the direct term of every channel: 2 * C * CHUNK floats. */
static void chunk_grad(const NormShape *s, const float *images, const float *grad, size_t plane, size_t at, int count,
                       float *buffer, const Slope *slope, float *input_grad) {
    float *u = buffer, *direct = buffer + (size_t)s->C * CHUNK;
    for (int c = 0, done = 0; c < s->C; c++) {
        const size_t ahead = at + (c + s->size) * plane;
        if (c + s->size < s->C) prefetch_row(images + ahead, count), prefetch_row(grad + ahead - (s->size - 1) * plane, count);
        chunk_terms(s, images + at, grad + at, plane, c, count, u + (size_t)c * CHUNK, direct + (size_t)c * CHUNK);
        for (; done < s->C && around(s, done, s->C, 1).last <= c + 1; done++)
            chunk_sum(s, images, at + done * plane, done, count, u, direct, slope, input_grad);
    }
}

static int across_forward(const NormShape *s, const float *images, float *out) {
    const int64_t plane = (int64_t)s->H * s->W * s->N;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < plane; at += CHUNK) chunk_forward(s, images + at, plane, MIN(CHUNK, plane - at), out + at);
    return 1;
}

static int across_input_grad(const NormShape *s, const float *images, const float *grad, const Slope *slope, float *input_grad) {
    const int64_t plane = (int64_t)s->H * s->W * s->N;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *buffer = scratch((size_t)s->C * CHUNK * 2);
        failed = !buffer;
#pragma omp for schedule(static) nowait
        for (int64_t at = 0; at < plane; at += CHUNK)
            if (buffer) chunk_grad(s, images, grad, plane, at, MIN(CHUNK, plane - at), buffer, slope, input_grad);
        give_back(buffer);
    }
    return !failed;
}

/* -- within a map: for ``vectors`` of ``width`` cases at a time ------------------------------------------------------ */

/* Working memory of a thread. A ring has the last ``size`` rows of a map, or all, row y at y % size; a place, GROUP vectors. */
typedef struct {
    vec *line, *half, *back, *direct; /* a row; rings: sums along rows of what d sums, and of u; direct terms */
    float *centred;                   /* cnorm: x minus the mean of its window, [y, x, GROUP * VW] */
} MapRows;

/* A map of some cases: its first value, and how far neighbouring pixels lie from each other. */
typedef struct {
    const float *at;
    size_t pixel;
} Map;

/* Row y of a ring = sums of the line over windows along it. */
static INLINE void sum_line(const NormShape *s, const vec *line, int y, int back, const int vectors, vec *ring) {
    vec *row = ring + (size_t)(y % s->size) * s->W * GROUP;
    for (int i = 0; i < s->W; i++) {
        const Range w = around(s, i, s->W, back);
        vec sum[GROUP] = {0};
        for (int j = w.first; j < w.last; j++)
            for (int v = 0; v < vectors; v++) sum[v] += line[j * GROUP + v];
        for (int v = 0; v < vectors; v++) row[i * GROUP + v] = sum[v];
    }
}

/* The sum of place i over the rows ``ys`` of a ring. */
static INLINE void sum_rows_at(const NormShape *s, const vec *ring, Range ys, int i, const int vectors, vec *sum) {
    for (int v = 0; v < vectors; v++) sum[v] = (vec){0};
    for (int y = ys.first; y < ys.last; y++)
        for (int v = 0; v < vectors; v++) sum[v] += ring[((size_t)(y % s->size) * s->W + i) * GROUP + v];
}

/* Bring ``half`` up to the last row that the windows of row y sum: of a map's values, or of their squares. */
static INLINE void advance(const NormShape *s, MapRows *r, Map map, int squared, int y, int *next, const int vectors,
                           const int width) {
    for (const int last = around(s, y, s->H, 0).last; *next < last; ++*next) {
        for (int i = 0; i < s->W; i++)
            for (int v = 0; v < vectors; v++) {
                const vec x = load(map.at + ((size_t)*next * s->W + i) * map.pixel + v * width, width);
                r->line[i * GROUP + v] = squared ? x * x : 1.0f * x;
            }
        sum_line(s, r->line, *next, 0, vectors, r->half);
    }
}

/* cnorm: x minus the mean of its own window, for every place. */
static INLINE Map subtract_means(const NormShape *s, MapRows *r, Map x, const int vectors, const int width) {
    for (int y = 0, next = 0; y < s->H; y++) {
        const Range ys = around(s, y, s->H, 0);
        advance(s, r, x, 0, y, &next, vectors, width);
        for (int i = 0; i < s->W; i++) {
            const Range xs = around(s, i, s->W, 0);
            const float places = (ys.last - ys.first) * (xs.last - xs.first);
            const size_t place = (size_t)y * s->W + i;
            vec sum[GROUP];
            sum_rows_at(s, r->half, ys, i, vectors, sum);
            for (int v = 0; v < vectors; v++) {
                const vec value = load(x.at + place * x.pixel + v * width, width) - sum[v] / places;
                store(r->centred + place * GROUP * VW + v * width, value, width);
            }
        }
    }
    return (Map){r->centred, GROUP * VW};
}

static INLINE void map_forward(const NormShape *s, MapRows *r, Map x, const int vectors, const int width, float *out) {
    const Map m = s->kind == CNORM ? subtract_means(s, r, x, vectors, width) : x;
    for (int y = 0, next = 0; y < s->H; y++) {
        advance(s, r, m, 1, y, &next, vectors, width);
        for (int i = 0; i < s->W; i++) {
            const size_t at = ((size_t)y * s->W + i) * s->N;
            vec d[GROUP], factor[GROUP], reciprocal[GROUP];
            sum_rows_at(s, r->half, around(s, y, s->H, 0), i, vectors, d);
            powers(s, vectors, d, factor, reciprocal);
            for (int v = 0; v < vectors; v++)
                store(out + at + v * width, load(x.at + at + v * width, width) * factor[v], width);
        }
    }
}

/* Row y of u and of the direct term, g * d^-power. */
static INLINE void map_terms(const NormShape *s, MapRows *r, const float *x, const float *grad, int y, const int vectors,
                             const int width) {
    const float twice = -2.0f * s->power * s->scale;
    vec *direct = r->direct + (size_t)(y % s->size) * s->W * GROUP;
    for (int i = 0; i < s->W; i++) {
        const size_t at = ((size_t)y * s->W + i) * s->N;
        vec d[GROUP], factor[GROUP], reciprocal[GROUP];
        sum_rows_at(s, r->half, around(s, y, s->H, 0), i, vectors, d);
        powers(s, vectors, d, factor, reciprocal);
        for (int v = 0; v < vectors; v++) {
            const vec term = load(grad + at + v * width, width) * factor[v];
            direct[i * GROUP + v] = term;
            r->line[i * GROUP + v] = twice * term * load(x + at + v * width, width) * reciprocal[v];
        }
    }
    sum_line(s, r->line, y, 1, vectors, r->back);
}

/* ``first`` is where the map begins in the gradient of all images. */
static INLINE void map_grad(const NormShape *s, MapRows *r, Map x, const float *grad, const int vectors, const int width,
                            const Slope *slope, size_t first, float *input_grad) {
    const Map m = s->kind == CNORM ? subtract_means(s, r, x, vectors, width) : x;
    for (int y = 0, next = 0, done = 0; y < s->H; y++) {
        advance(s, r, m, 1, y, &next, vectors, width);
        map_terms(s, r, x.at, grad, y, vectors, width);
        for (; done < s->H && around(s, done, s->H, 1).last <= y + 1; done++) {
            const vec *direct = r->direct + (size_t)(done % s->size) * s->W * GROUP;
            for (int i = 0; i < s->W; i++) {
                const size_t place = (size_t)done * s->W + i;
                vec sum[GROUP];
                sum_rows_at(s, r->back, around(s, done, s->H, 1), i, vectors, sum);
                for (int v = 0; v < vectors; v++)
                    sum[v] = direct[i * GROUP + v] + load(m.at + place * m.pixel + v * width, width) * sum[v];
                store_vectors(s, slope, first + place * s->N, sum, vectors, width, input_grad);
            }
        }
    }
}

/* Forward without ``grad``, else backward. */
static int within(const NormShape *s, const float *images, const float *grad, const Slope *slope, float *out) {
    const size_t map = (size_t)s->H * s->W, row = (size_t)s->W * GROUP * VW, ring = MIN(s->size, s->H) * row;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *memory = scratch(row + 3 * ring + (s->kind == CNORM ? map * GROUP * VW : 0));
        failed = !memory;
        MapRows r = {(vec *)memory, (vec *)(memory + row), (vec *)(memory + row + ring), (vec *)(memory + row + 2 * ring),
                  memory + row + 3 * ring};
#pragma omp for schedule(static) nowait
        for (int c = 0; c < s->C; c++) {
            if (!memory) continue;
            EACH_CASE(s->N, n, vectors, width, {
                const size_t at = c * map * s->N + n; /* [c, 0, 0, n] */
                const Map x = {images + at, s->N};
                if (grad)
                    map_grad(s, &r, x, grad + at, vectors, width, slope, at, out);
                else
                    map_forward(s, &r, x, vectors, width, out + at);
            });
        }
        give_back(memory);
    }
    return !failed;
}
