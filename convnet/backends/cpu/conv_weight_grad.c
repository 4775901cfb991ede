/* conv and local: the gradient of the weights (numerics 2.10).
 *
 *   weight_grad[c, ky, kx, f] = sum over my, mx, n of images[c, y, x, n] * grad[f, my, mx, n]
 *
 * with y = -padding + my*stride + ky, x alike; local keeps the windows apart and sums over n alone. The columns of the
 * images that a window sees are copied, so that rows (kx, ky, channel) are near each other: neighbouring windows share
 * columns, so they lie in a ring and only new ones are copied. The window's gradients are transposed, so that filters are
 * contiguous. Then tiles of some rows, as scalars, are multiplied by a strip of up to WIDEST vectors of filters, which
 * stays in the first-level cache while all rows pass. The windows are cut in parts and the channels in chunks, by sizes
 * alone: threads take these tasks as they come, each with sums of its own, which are added in a fixed order at the end.
 * Replaces 2012's conv_weight_acts_* kernels.
 */

#define TASKS 16              /* that a call is cut in, so that a few threads have equal shares */
#define PARTS_FLOATS (3 << 20) /* that the sums of all parts take */
#define CHUNK_ROWS 512        /* at least, in a chunk, as each transposes the gradients anew */
#define STRIP_CASES 192       /* of a strip, which stays in the first-level cache */
#define PART_CASES 512        /* at least, in a part: below it, adding the parts costs too much */
#define FETCHED 4             /* rows that are fetched ahead at each tile */

typedef struct {
    const ConvShape *s;
    const float *images, *grad;
    float *weight_grad;
    int vectors, strips;         /* of a group's filters */
    int chunks, parts;           /* of a group's channels, of the windows */
    int cases, windows, columns; /* that a thread has at hand, at most */
    size_t floats;               /* of a group's sums */
    float *sums;                 /* sums[part, group, chunk, strip, row, filter of the strip]; local: of one thread */
} WeightGrad;

/* One task, and what its thread has at hand. */
typedef struct {
    int q, channel, channels;    /* the chunk */
    int K;                       /* rows */
    int n0, cases, windows;      /* at hand now */
    int first;                   /* whether the sums start here */
    float *sums;
    float *grad;                 /* grad[window, strip, n, filter of the strip] */
    float *ring;                 /* ring[slot, ky, channel, n] */
    int *held;                   /* the column in each slot, or -1 */
    const float **ahead;         /* rows that the next windows will read, to be fetched while tiles are summed */
    int waiting;                 /* of them */
    const float **column;        /* where the columns from the first window's first on lie, or NULL outside the image */
} Task;

/* Copy a row of cases, and expect to read the one ``step`` floats further for the next windows. */
static inline void copy_row(Task *t, const float *from, size_t step, float *to) {
    memcpy(to, from, t->cases * sizeof(float));
    t->ahead[t->waiting++] = from + step;
}

/* to[n, j] = from[j, n] for the filters of one vector and ``cases``, zeros past the last filter. The rows of ``from`` are
 * far apart, often by a power of two, so that few lines of them stay in the cache: a square reads each line once. What
 * fills no squares is copied first. */
static void transpose_vector(const WeightGrad *w, Task *t, const float *from, int filters, float *to, int row) {
    const size_t plane = (size_t)w->s->My * w->s->Mx * w->s->N;
    const int copied = filters < VW || t->cases % VW;
    float near[VW][STRIP_CASES + VW];
    for (int j = 0; j < VW; j++) {
        if (j >= filters) memset(near[j], 0, t->cases * sizeof(float));
        else if (copied) copy_row(t, from + j * plane, w->s->N, near[j]);
        else t->ahead[t->waiting++] = from + j * plane + w->s->N;
    }
    const float *rows = copied ? near[0] : from;
    const size_t step = copied ? STRIP_CASES + VW : plane;
    for (int n = 0; n < t->cases; n += VW) {
        vec a[VW];
        for (int j = 0; j < VW; j++) a[j] = *(const vec *)(rows + j * step + n);
        transpose_square(a);
        for (int j = 0; j < VW; j++, to += row) *(vec *)to = a[j]; /* rows past the last case are written over later */
    }
}

/* Transpose the gradients of window ``module``, into place p. */
static void transpose_grad(const WeightGrad *w, Task *t, int module, int p) {
    const ConvShape *s = w->s;
    const int Fg = s->F / s->groups;
    const size_t plane = (size_t)s->My * s->Mx * s->N;
    const float *first = w->grad + t->q * Fg * plane + (size_t)module * s->N + t->n0;
    float *to = t->grad + (size_t)p * w->vectors * VW * t->cases;
    for (int b = 0, v = 0; b < w->strips; b++) {
        const int start = v, end = piece(w->vectors, w->strips, b + 1), row = (end - start) * VW;
        for (; v < end; v++)
            transpose_vector(w, t, first + v * VW * plane, MIN(VW, Fg - v * VW), to + (v - start) * VW, row);
        to += (size_t)row * t->cases;
    }
}

/* Copy the columns that the windows at hand see, as far as the ring does not hold them and the image does. */
static void pack_columns(const WeightGrad *w, Task *t, int my, int mx) {
    const ConvShape *s = w->s;
    const int x0 = -s->padding + mx * s->stride, y0 = -s->padding + my * s->stride;
    for (int i = 0; i < s->k + (t->windows - 1) * s->stride; i++) {
        t->column[i] = NULL;
        if (x0 + i < 0 || x0 + i >= s->W) continue;
        const int slot = (x0 + i) % w->columns;
        float *to = t->ring + (size_t)slot * s->k * t->channels * w->cases;
        t->column[i] = to;
        if (t->held[slot] == x0 + i) continue;
        t->held[slot] = x0 + i;
        for (int y = y0; y < y0 + s->k; y++)
            for (int j = 0; j < t->channels; j++, to += t->cases) {
                const size_t at = ((size_t)image_channel(s, t->q, t->channel + j) * s->H + y) * s->W + x0 + i;
                if (y >= 0 && y < s->H) copy_row(t, w->images + at * s->N + t->n0, (size_t)s->stride * s->N, to);
            }
    }
}

/* sums[row, filter] += the products of ``rows`` rows of a column, from ``at`` on, and a strip of ``vectors``; both are
 * constants where this is inlined. */
static INLINE void tile_sum(const int rows, const int vectors, const WeightGrad *w, const Task *t, const float *const *column,
                            size_t at, const float *grad, float *sums) {
    vec acc[MR][WIDEST];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) acc[i][v] = (vec){0};
    for (int p = 0; p < t->windows; p++, column += w->s->stride, grad += (size_t)w->vectors * VW * t->cases) {
        if (!*column) continue;
        const float *x = *column + at, *g = grad;
        for (int n = 0; n < t->cases; n++, g += vectors * VW) {
            vec filters[WIDEST];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) filters[v] = *(const vec *)(g + v * VW);
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) acc[i][v] += x[(size_t)i * t->cases + n] * filters[v];
        }
    }
    vec *sum = (vec *)sums;
    if (!t->first)
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) acc[i][v] += sum[i * vectors + v];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[i * vectors + v] = acc[i][v];
}

/* tile_sum of the height and width at hand. */
static void any_tile(int rows, int vectors, const WeightGrad *w, const Task *t, const float *const *column, size_t at,
                     const float *grad, float *sums) {
#define TILE(r, v) \
    case (v) * 8 + (r): \
        if (r <= MR && v <= WIDEST) tile_sum(MIN(r, MR), MIN(v, WIDEST), w, t, column, at, grad, sums); \
        break;
#define TILES(v) TILE(1, v) TILE(2, v) TILE(3, v) TILE(4, v) TILE(5, v) TILE(6, v) TILE(7, v) TILE(8, v)
    switch (vectors * 8 + rows) {
        TILES(1)
        TILES(2)
        TILES(3)
    }
#undef TILES
#undef TILE
}

/* Fetch some of the rows that wait into the second-level cache. */
static inline void fetch_ahead(Task *t) {
    for (int i = 0; i < FETCHED && t->waiting; i++) {
        const float *row = t->ahead[--t->waiting];
        for (int n = 0; n < t->cases; n += LINE) __builtin_prefetch(row + n, 0, 2);
    }
}

/* The products of the columns and gradients at hand, of windows in row my: of a column's rows those that the image has. */
static void add_products(const WeightGrad *w, Task *t, int my) {
    const ConvShape *s = w->s;
    const int y0 = -s->padding + my * s->stride, column = s->k * t->channels;
    const int low = MIN(s->k, MAX(0, -y0)) * t->channels, high = MAX(low, MIN(s->k, s->H - y0) * t->channels);
    const int tiles = (high - low + MR - 1) / MR;
    for (int b = 0; b < w->strips; b++) {
        const int first = piece(w->vectors, w->strips, b), width = piece(w->vectors, w->strips, b + 1) - first;
        const size_t row_floats = (size_t)width * VW;
        const float *grad = t->grad + (size_t)first * VW * t->cases;
        float *sums = t->sums + (size_t)first * t->K * VW;
        for (int kx = 0; kx < s->k; kx++, sums += column * row_floats) {
            if (t->first) {
                memset(sums, 0, low * row_floats * sizeof(float));
                memset(sums + high * row_floats, 0, (column - high) * row_floats * sizeof(float));
            }
            for (int i = 0; i < tiles; i++) {
                const int row = low + piece(high - low, tiles, i), rows = low + piece(high - low, tiles, i + 1) - row;
                fetch_ahead(t);
                any_tile(rows, width, w, t, t->column + kx, (size_t)row * t->cases, grad, sums + row * row_floats);
            }
        }
    }
}

/* out[c, ky, kx, f] = st * out[c, ky, kx, f] + so * the sum of the parts, for channel j of chunk t at one tap. */
static void store_filters(const WeightGrad *w, const Task *t, int j, int tap, int parts, float st, float *out) {
    const ConvShape *s = w->s;
    const int Fg = s->F / s->groups, taps = s->k * s->k;
    for (int b = 0; b < w->strips; b++) {
        const int v0 = piece(w->vectors, w->strips, b), width = (piece(w->vectors, w->strips, b + 1) - v0) * VW;
        const int row = (tap % s->k * s->k + tap / s->k) * t->channels + j, valid = MIN(width, Fg - v0 * VW);
        const float *from = t->sums + (size_t)v0 * t->K * VW + (size_t)row * width;
        float *to = out + ((size_t)(t->channel + j) * taps + tap) * s->F + t->q * Fg + v0 * VW;
        float total[WIDEST * VW];
        memcpy(total, from, width * sizeof(float));
        for (int p = 1; p < parts; p++)
            for (int i = 0; i < width; i++) total[i] += from[p * s->groups * w->floats + i];
        if (st == 0.0f)
            for (int i = 0; i < valid; i++) to[i] = s->so * total[i];
        else
            for (int i = 0; i < valid; i++) to[i] = st * to[i] + s->so * total[i];
    }
}

static void find_chunk(const WeightGrad *w, int part, int q, int chunk, Task *t) {
    const ConvShape *s = w->s;
    t->q = q;
    t->channel = piece(s->Cf, w->chunks, chunk);
    t->channels = piece(s->Cf, w->chunks, chunk + 1) - t->channel;
    t->K = s->k * s->k * t->channels;
    t->sums = w->sums + ((size_t)part * s->groups + q) * w->floats + (size_t)t->channel * s->k * s->k * w->vectors * VW;
}

/* Windows ``first`` to ``last`` - 1 of a task. */
static void sum_windows(const WeightGrad *w, Task *t, int first, int last) {
    const ConvShape *s = w->s;
    const int blocks = (s->N + w->cases - 1) / w->cases;
    t->first = 1;
    for (int b = 0; b < blocks; b++) {
        t->n0 = piece(s->N, blocks, b), t->cases = piece(s->N, blocks, b + 1) - t->n0;
        for (int module = first, row = -1; module < last; module += t->windows) {
            const int my = module / s->Mx, mx = module % s->Mx;
            t->windows = MIN(w->windows, MIN(last - module, s->Mx - mx));
            if (my != row)
                for (int i = 0; i < w->columns; i++) t->held[i] = -1;
            row = my;
            t->waiting = 0;
            pack_columns(w, t, my, mx);
            for (int p = 0; p < t->windows; p++) transpose_grad(w, t, module + p, p);
            add_products(w, t, my);
            t->first = s->local;
            if (!s->local) continue;
            float *out = w->weight_grad + (size_t)module * s->Cf * s->k * s->k * s->F;
            for (int j = 0; j < t->channels; j++)
                for (int tap = 0; tap < s->k * s->k; tap++) store_filters(w, t, j, tap, 1, b ? 1.0f : s->st, out);
        }
    }
}

/* Cut the work: the same whatever the threads are. */
static void cut_work(WeightGrad *w) {
    const ConvShape *s = w->s;
    const int modules = s->My * s->Mx, K = s->k * s->k * s->Cf;
    w->vectors = (s->F / s->groups + VW - 1) / VW;
    w->strips = (w->vectors + WIDEST - 1) / WIDEST;
    w->floats = (size_t)K * w->vectors * VW;
    w->cases = MIN(s->N, STRIP_CASES);
    w->windows = s->local ? 1 : MAX(1, MIN(s->Mx, STRIP_CASES / 2 / s->N));
    w->columns = s->k + (w->windows - 1) * s->stride;
    w->chunks = 1, w->parts = MIN(modules, TASKS);
    if (s->local) return;
    while (w->chunks < 8 && 2 * w->chunks * CHUNK_ROWS <= K && 2 * w->chunks <= s->Cf) w->chunks *= 2;
    w->parts = MIN(TASKS / (s->groups * w->chunks), (int)(PARTS_FLOATS / (s->groups * w->floats)));
    w->parts = MIN(w->parts, (int)((int64_t)modules * s->N / PART_CASES));
    w->parts = MAX(1, MIN(w->parts, modules));
}

static int task_open(const WeightGrad *w, Task *t) {
    const ConvShape *s = w->s;
    const size_t rows = (size_t)w->columns * s->k * ((s->Cf + w->chunks - 1) / w->chunks);
    const size_t filters = w->vectors * VW, pointers = rows + w->windows * filters;
    t->grad = scratch(w->windows * w->cases * filters + WIDEST * VW * VW);
    t->ring = scratch(rows * w->cases);
    t->ahead = (const float **)scratch(pointers * sizeof(float *) / sizeof(float));
    t->column = (const float **)scratch(w->columns * sizeof(float *) / sizeof(float));
    t->held = (int *)scratch(w->columns);
    return t->grad && t->ring && t->ahead && t->column && t->held;
}

static void task_close(Task *t) {
    give_back(t->grad), give_back(t->ring), give_back((float *)t->ahead), give_back((float *)t->column);
    give_back((float *)t->held);
}

static int direct_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    WeightGrad w = {.s = s, .images = images, .grad = grad, .weight_grad = weight_grad};
    cut_work(&w);
    int failed = 0;
    if (!s->local && !(w.sums = scratch(w.parts * s->groups * w.floats))) return 0;
#pragma omp parallel reduction(| : failed)
    {
        Task t;
        float *own = s->local ? scratch(w.floats) : NULL;
        failed |= !task_open(&w, &t) || (s->local && !own);
#pragma omp for collapse(3) schedule(dynamic, 1)
        for (int part = 0; part < w.parts; part++)
            for (int q = 0; q < s->groups; q++)
                for (int chunk = 0; chunk < w.chunks; chunk++) {
                    if (failed) continue;
                    find_chunk(&w, part, q, chunk, &t);
                    if (own) t.sums = own;
                    const int modules = s->My * s->Mx;
                    sum_windows(&w, &t, piece(modules, w.parts, part), piece(modules, w.parts, part + 1));
                }
        task_close(&t), give_back(own);
    }
    if (!s->local && !failed)
#pragma omp parallel for collapse(3) schedule(static)
        for (int q = 0; q < s->groups; q++)
            for (int chunk = 0; chunk < w.chunks; chunk++)
                for (int tap = 0; tap < s->k * s->k; tap++) { /* whose channels' sums follow each other */
                    Task t;
                    find_chunk(&w, 0, q, chunk, &t);
                    for (int j = 0; j < t.channels; j++) store_filters(&w, &t, j, tap, w.parts, s->st, weight_grad);
                }
    give_back(w.sums);
    return !failed;
}
