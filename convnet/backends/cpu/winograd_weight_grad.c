/* conv by Winograd's methods: the gradient of the weights, for filters that move by one pixel.
 *
 * Images become values at points as in winograd.c, and gradients of outputs do by A. At each point the products of a
 * channel's and a filter's values are summed over all places, which are the cases of all squares; then the sums become taps:
 *
 *   weight_grad[c, ky, kx, f] = GT (sum over squares, n of (A grad[f, square, n]) * (B images[c, square, n]))
 *
 * The sum over places is the tile of conv_weight_grad.c: values of some rows, as scalars, times a strip of vectors of filters,
 * for which the gradients' pixels are transposed before they become values. All threads work on one chunk of columns at a
 * time, a column being NR cases of one square: first they share its transforms, then points and strips of sums. So each sum
 * is made by one thread, chunk after chunk, whatever the threads are. Replaces nothing of 2012.
 */

#define CHUNK_PLACES 128 /* of a chunk: the best of 128 to 384 on Zen 5; a strip's values stay in the first-level cache */
#define CHUNK_COLUMNS (CHUNK_PLACES / NR)
#define GRADS_AHEAD 2    /* cases after the one that is stored at all points, whose lines are fetched */

/* A gradient of the weights of one group at a time. */
typedef struct {
    Cut c; /* of the forward pass */
    const float *grad;
    float *weight_grad;
    int q, vectors, strips, columns; /* of a group's filters; of a chunk, at most */
    float *images;                   /* images[column, row, NR] */
    float *grads;                    /* grads[point, strip, column, n, filter of the strip], and VW floats for each point */
    float *sums;                     /* sums[row, filter] of a point, strip after strip */
} PointSums;

static inline int strip_start(const PointSums *p, int strip) { return piece(p->vectors, p->strips, strip); }

/* Floats of the gradients from one point to the next, not a power of two. */
static inline size_t grads_step(const PointSums *p) { return (size_t)p->vectors * VW * p->columns * NR + VW; }

/* Gradients of VW cases at all points; ``row``: floats from one case to the next, ``point``: from one point to the next. */
static INLINE void grad_values(const Winograd *w, const vec (*pixels)[VW], size_t row, size_t point, float *values) {
    for (int n = 0; n < VW; n++, values += row) {
        vec d[GRID] ALIGNED, t[GRID] ALIGNED;
        UNROLL for (int y = 0; y < w->m; y++)
            UNROLL for (int x = 0; x < w->m; x++) d[y * MAX_POINTS + x] = pixels[y * w->m + x][n];
        expand_square(w->A, w->n, w->m, d, t);
        UNROLL for (int i = 0; i < w->n; i++)
            UNROLL for (int j = 0; j < w->n; j++) {
                float *at = values + (i * w->n + j) * point;
                *(vec *)at = t[i * MAX_POINTS + j];
                __builtin_prefetch(at + GRADS_AHEAD * row, 1);
            }
    }
}

#define DEFINE_GRAD(id)                                                                                          \
    static void grad_values_##id(const vec (*pixels)[VW], size_t row, size_t point, float *values) {             \
        grad_values(&WINOGRAD[id], pixels, row, point, values);                                                  \
    }                                                                                                            \
    static void weight_taps_##id(const vec *sums, vec *taps) {                                                   \
        contract_square(WINOGRAD[id].G, WINOGRAD[id].n, WINOGRAD[id].r, sums, taps);                             \
    }
METHODS(DEFINE_GRAD)
#define GRAD_MEMBERS(id) [id] = {grad_values_##id, weight_taps_##id},
static const struct {
    void (*grad_values)(const vec (*pixels)[VW], size_t row, size_t point, float *values);
    void (*weight_taps)(const vec *sums, vec *taps);
} GRAD_TRANSFORM[] = {METHODS(GRAD_MEMBERS)};

/* pixels[pixel][n], whose lanes are filters, from VW cases of a square; zeros past the last filter, case, row and column. */
static void transpose_pixels(const PointSums *p, int vector, int square, int n0, vec (*pixels)[VW]) {
    const Gather *g = &p->c.g;
    const int m = p->c.w->m, y0 = square / p->c.across * m, x0 = square % p->c.across * m, N = g->s->N;
    const int filters = MIN(VW, g->target_channels - vector * VW), valid = MAX(0, MIN(VW, N - n0));
    const size_t plane = (size_t)g->rows * g->cols * N;
    const float *first = p->grad + ((size_t)p->q * g->target_channels + vector * VW) * plane + n0;
    for (int y = 0; y < m; y++)
        for (int x = 0; x < m; x++) {
            vec *a = pixels[y * m + x];
            memset(a, 0, VW * sizeof *a);
            if (y0 + y >= g->rows || x0 + x >= g->cols) continue;
            const float *from = first + ((size_t)(y0 + y) * g->cols + x0 + x) * N;
            for (int j = 0; j < filters; j++, from += plane) {
                __builtin_prefetch(from + NR);
                if (valid == VW)
                    a[j] = *(const vec *)from;
                else
                    memcpy(&a[j], from, valid * sizeof(float));
            }
            transpose_square(a);
        }
}

/* Values of the gradients of one vector of filters for a chunk of columns. */
static void transform_grads(const PointSums *p, int vector, int first, int count) {
    int strip = 0;
    while (strip_start(p, strip + 1) <= vector) strip++;
    const int start = strip_start(p, strip), row = (strip_start(p, strip + 1) - start) * VW;
    float *to = p->grads + (size_t)start * VW * p->columns * NR + (vector - start) * VW;
    for (int i = 0; i < count; i++)
        for (int n = 0; n < NR; n += VW, to += VW * row) {
            vec pixels[GRID / 4][VW] ALIGNED;
            transpose_pixels(p, vector, (first + i) / p->c.blocks, (first + i) % p->c.blocks * NR + n, pixels);
            GRAD_TRANSFORM[p->c.method].grad_values(pixels, row, grads_step(p), to);
        }
}

/* Values of the images for one column. Cases past the last are 0. */
static void transform_images(const PointSums *p, int index, float *values) {
    const Cut *c = &p->c;
    const int valid = (c->g.s->N - index % c->blocks * NR + VW - 1) / VW * VW, rows = c->first[c->w->n * c->w->n];
    chunk_values(c, p->q, index, 1, values);
    for (int row = 0; row < rows && valid < NR; row++) memset(values + row * NR + valid, 0, (NR - valid) * sizeof(float));
}

/* Where the sums of a strip at a point are. */
static inline float *strip_sums(const PointSums *p, int point, int strip) {
    const int rows = p->c.first[point + 1] - p->c.first[point];
    return p->sums + ((size_t)p->c.first[point] * p->vectors + (size_t)strip_start(p, strip) * rows) * VW;
}

/* Add the products of a chunk at one point to the sums of one strip, which start with the first chunk. What the next tile
 * needs is fetched ahead. */
static void sum_strip(const PointSums *p, int point, int strip, int starts, int count) {
    const Cut *c = &p->c;
    const int rows = c->first[point + 1] - 1 - c->first[point], tiles = (rows + MR - 1) / MR;
    const int points = c->w->n * c->w->n;
    const int start = strip_start(p, strip), width = strip_start(p, strip + 1) - start;
    const WeightGrad w = {.s = c->g.s, .vectors = width};
    const Task t = {.cases = NR, .windows = count, .first = starts};
    const float *column[CHUNK_COLUMNS], *grads = p->grads + point * grads_step(p) + (size_t)start * VW * p->columns * NR;
    for (int i = 0; i < count; i++) column[i] = p->images + ((size_t)i * c->first[points] + c->first[point]) * NR;
    float *sums = strip_sums(p, point, strip);
    for (int i = 0; i < tiles; i++) {
        const int row = piece(rows, tiles, i), height = piece(rows, tiles, i + 1) - row, next = row + height;
        for (int j = 0; j < height * width * VW; j += LINE) __builtin_prefetch(sums + (size_t)next * width * VW + j);
        for (int j = 0; j < count; j++)
            for (int at = 0; at < height * NR; at += LINE) __builtin_prefetch(column[j] + (size_t)next * NR + at);
        any_tile(height, width, &w, &t, column, (size_t)row * NR, grads, sums + (size_t)row * width * VW);
    }
}

/* The taps of piece (a, b) for one channel and vector of filters from their sums at all points. */
static void store_taps(const PointSums *p, int a, int b, int channel, int strip, int vector) {
    const Cut *c = &p->c;
    const ConvShape *s = c->g.s;
    const int n = c->w->n, r = c->w->r, start = strip_start(p, strip), width = strip_start(p, strip + 1) - start;
    vec sums[GRID] ALIGNED, taps[GRID] ALIGNED;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            vec *sum = &sums[i * MAX_POINTS + j];
            *sum = (vec){0};
            if (a >= pieces_at(c, i) || b >= pieces_at(c, j)) continue;
            const size_t row = value_row(c, i, j, a, b) + channel - c->first[i * n + j];
            *sum = ((const vec *)strip_sums(p, i * n + j, strip))[row * width + vector - start];
        }
    GRAD_TRANSFORM[c->method].weight_taps(sums, taps);
    for (int y = 0; y < r - (a >= c->full); y++)
        for (int x = 0; x < r - (b >= c->full); x++) {
            const size_t tap = ((size_t)channel * s->k + piece_start(c, a) + y) * s->k + piece_start(c, b) + x;
            float *to = p->weight_grad + tap * s->F + p->q * c->g.target_channels + vector * VW, lanes[VW];
            memcpy(lanes, &taps[y * MAX_POINTS + x], sizeof lanes);
            for (int i = 0; i < MIN(VW, c->g.target_channels - vector * VW); i++)
                to[i] = s->st == 0.0f ? s->so * lanes[i] : s->st * to[i] + s->so * lanes[i];
        }
}

static void store_row_of_taps(const PointSums *p, int channel) {
    for (int strip = 0; strip < p->strips; strip++)
        for (int vector = strip_start(p, strip); vector < strip_start(p, strip + 1); vector++)
            for (int a = 0; a < p->c.pieces; a++)
                for (int b = 0; b < p->c.pieces; b++) store_taps(p, a, b, channel, strip, vector);
}

/* All of one group, by the threads that call it. */
static void group_weight_grad(const PointSums *p) {
    const Cut *c = &p->c;
    const int all = c->squares * c->blocks, chunks = (all + p->columns - 1) / p->columns, points = c->w->n * c->w->n;
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int first = piece(all, chunks, chunk), count = piece(all, chunks, chunk + 1) - first;
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < count + p->vectors; i++) {
            if (i < count)
                transform_images(p, first + i, p->images + (size_t)i * c->first[points] * NR);
            else
                transform_grads(p, i - count, first, count);
        }
#pragma omp for collapse(2) schedule(dynamic, 1)
        for (int point = 0; point < points; point++)
            for (int strip = 0; strip < p->strips; strip++) sum_strip(p, point, strip, chunk == 0, count);
    }
#pragma omp for schedule(static)
    for (int channel = 0; channel < c->g.source_channels; channel++) store_row_of_taps(p, channel);
}

static int winograd_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad, int method) {
    PointSums p = {.c.g = forward_gather(s, images, NULL, NULL, NULL), .grad = grad, .weight_grad = weight_grad};
    cut_for(&p.c, method);
    const int points = p.c.w->n * p.c.w->n;
    p.vectors = (p.c.g.target_channels + VW - 1) / VW;
    p.strips = (p.vectors + WIDEST - 1) / WIDEST;
    p.columns = MIN(CHUNK_COLUMNS, p.c.squares * p.c.blocks);
    p.images = scratch((size_t)p.columns * p.c.first[points] * NR);
    p.grads = scratch(points * grads_step(&p));
    p.sums = scratch((size_t)p.c.first[points] * p.vectors * VW);
    const int ready = p.images && p.grads && p.sums;
    if (ready)
#pragma omp parallel firstprivate(p)
        for (p.q = 0; p.q < s->groups; p.q++) group_weight_grad(&p);
    give_back(p.images), give_back(p.grads), give_back(p.sums);
    return ready;
}
