/* fc and sfc: forward, and the gradients of inputs and weights (numerics 4). Each part has inputs and outputs of its own.
 *
 *   forward      out[f, n]         = sum over k of weights[f, k] * x[k, n]
 *   input grad   input_grad[k, n]  = sum over f of weights[f, k] * grad[f, n]
 *   weight grad  weight_grad[f, k] = sum over n of grad[f, n] * x[k, n]
 *
 * The weights are far larger than a cache and pass through once. Forward multiplies scalars of FC_ROWS rows of them, in
 * place, with panels of NR cases. The input gradient copies small blocks of them for tile.h, because a column of tiles in
 * place would share its cache sets with those beside it. The weight gradient multiplies scalars of the gradients with panels
 * of NR inputs, transposed. Blocks of a sum follow each other in an order that sizes alone decide; threads share the outputs.
 * Replaces 2012's products by cuBLAS.
 */

#define FC_ROWS MIN(TH, 8)    /* of a tile whose scalars are read in place: one pointer each, as many as there are registers */
#define FC_DEPTH 512          /* terms of a sum at a time: their panels stay in the second-level cache */
#define FC_CASES 256          /* cases at a time, for the same reason; wider rows are too far apart to be read in place */
#define FC_CHUNK 64           /* outputs of a thread's task */
#define GRAD_DEPTH 32         /* terms of an input gradient's sum at a time: weights and panels stay in the first-level cache */
#define GRAD_CHUNK 256        /* inputs of a thread's task, whose sums stay in the second-level cache */
#define STAGE 64              /* inputs whose weights are copied at a time */
#define AHEAD 4               /* rows of weights that are on their way while one is copied */
#define TURN 16               /* cases transposed at a time: a cache line */
#define WEIGHT_CHUNK 512      /* outputs of a weight gradient's task: their gradients stay in the second-level cache */
#define WEIGHT_PANELS 8       /* and its panels of inputs */

static inline int pieces(int total, int size) { return (total + size - 1) / size; }

/* The size of pieces that are about equal, and at most ``most``. */
static inline int even_piece(int total, int most) { return pieces(total, pieces(total, most)); }

/* A matrix m[row, N] as panels of NR columns: the first ones in place, the others packed, zeros past the last column. */
typedef struct {
    const float *m;
    float *packed; /* packed[panel, row, NR] */
    int rows, N, panels, in_place;
} Columns;

typedef struct {
    const float *at; /* a row of the panel */
    size_t step;     /* to the next */
    int vectors;     /* 1 if all columns lie in the first vector, else NV */
} Panel;

static Panel panel_at(const Columns *c, int p, int row) {
    const int vectors = c->N - p * NR > VW ? NV : 1;
    if (p < c->in_place) return (Panel){c->m + (size_t)row * c->N + p * NR, c->N, vectors};
    return (Panel){c->packed + ((size_t)(p - c->in_place) * c->rows + row) * NR, NR, vectors};
}

static int columns_open(Columns *c, const float *m, int rows, int N) {
    *c = (Columns){m, NULL, rows, N, pieces(N, NR), N > FC_CASES ? 0 : N / NR};
    if (c->in_place == c->panels) return 1;
    c->packed = scratch((size_t)(c->panels - c->in_place) * rows * NR);
    if (!c->packed) return 0;
#pragma omp parallel for schedule(static)
    for (int row = 0; row < rows; row++)
        for (int p = c->in_place; p < c->panels; p++) {
            float *to = c->packed + ((size_t)(p - c->in_place) * rows + row) * NR;
            const int valid = MIN(NR, N - p * NR);
            memcpy(to, m + (size_t)row * N + p * NR, valid * sizeof(float));
            memset(to + valid, 0, (NR - valid) * sizeof(float));
        }
    return 1;
}

/* One row, number f, of finished sums: times the slope, added to st * out, then the ending; stored at out[at]. */
static void store_sums(const FcShape *s, const Ending *ending, const Slope *slope, int f, size_t at, int count, float *sums,
                       float *out) {
    out += at;
    if (slope) slope_row(&slope->f, count, slope->y + at, sums);
    if (s->st != 0.0f)
        for (int j = 0; j < count; j++) sums[j] += s->st * out[j];
    if (ending) finish_row(ending, f, 0, 1, count, sums);
    memcpy(out, sums, count * sizeof(float));
}

/* acc[i][v] += sum over j < depth of row i, a[i, j], times the panel: ``vectors`` is known where this is inlined. */
static inline __attribute__((always_inline)) void rows_product(const float *const a[FC_ROWS], Panel b, int depth, int vectors,
                                                               vec acc[FC_ROWS][NV]) {
    const float *x = b.at;
    for (int j = 0; j < depth; j++, x += b.step) {
        vec columns[NV];
        for (int v = 0; v < vectors; v++) columns[v] = *(const vec *)(x + v * VW);
#pragma GCC unroll 16
        for (int i = 0; i < FC_ROWS; i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) acc[i][v] += a[i][j] * columns[v];
    }
}

/* FC_ROWS rows that lie ``stride`` apart; past the last of ``valid`` rows, that one again. */
static inline void find_rows_of(const float *first, size_t stride, int valid, const float *rows[FC_ROWS]) {
    for (int i = 0; i < FC_ROWS; i++) rows[i] = first + MIN(i, valid - 1) * stride;
}

/* sums[i, 0..vectors * VW) = the product, or with ``add`` what they hold and the product. */
static inline __attribute__((always_inline)) void sum_rows_product(const float *const a[FC_ROWS], Panel b, int depth, int vectors,
                                                                   float *sums, int width, int add) {
    vec acc[FC_ROWS][NV];
    for (int i = 0; i < FC_ROWS; i++)
        for (int v = 0; v < vectors; v++) acc[i][v] = add ? *(const vec *)(sums + i * width + v * VW) : (vec){0};
    rows_product(a, b, depth, vectors, acc);
    for (int i = 0; i < FC_ROWS; i++)
        for (int v = 0; v < vectors; v++) *(vec *)(sums + i * width + v * VW) = acc[i][v];
}

/* Outputs f0 to f0 + count of a part, for ``panels`` panels of cases from p0 on; sums[FC_CHUNK, width]. */
static void forward_task(const FcShape *s, const Columns *x, const float *weights, const Ending *ending, int part, int f0,
                         int count, int p0, int panels, float *sums, float *out) {
    const size_t stride = (size_t)s->K * s->parts;
    const int depth = even_piece(s->K, FC_DEPTH), width = panels * NR, cases = MIN(width, s->N - p0 * NR);
    for (int k = 0; k < s->K; k += depth)
        for (int f = 0; f < count; f += FC_ROWS) {
            const float *rows[FC_ROWS];
            find_rows_of(weights + (f0 + f) * stride + (size_t)part * s->K + k, stride, count - f, rows);
            for (int p = 0; p < panels; p++) {
                const Panel b = panel_at(x, p0 + p, part * s->K + k);
                float *to = sums + (size_t)f * width + p * NR;
                if (b.vectors == 1)
                    sum_rows_product(rows, b, MIN(depth, s->K - k), 1, to, width, k > 0);
                else
                    sum_rows_product(rows, b, MIN(depth, s->K - k), NV, to, width, k > 0);
            }
        }
    for (int i = 0; i < count; i++) {
        const int f = part * s->F + f0 + i;
        store_sums(s, ending, NULL, f, (size_t)f * s->N + p0 * NR, cases, sums + (size_t)i * width, out);
    }
}

static int fc_forward(const FcShape *s, const float *x, const float *weights, const Ending *ending, float *out) {
    Columns c;
    if (!columns_open(&c, x, s->K * s->parts, s->N)) return 0;
    const int chunks = pieces(s->F, FC_CHUNK);
    const int panels = chunks * s->parts < 8 ? 1 : MAX(1, FC_CASES / NR); /* few outputs: threads share the cases */
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *sums = scratch((size_t)(FC_CHUNK + FC_ROWS) * panels * NR);
        failed = !sums;
#pragma omp for collapse(3) schedule(dynamic, 1) nowait
        for (int part = 0; part < s->parts; part++)
            for (int chunk = 0; chunk < chunks; chunk++)
                for (int p = 0; p < c.panels; p += panels) {
                    if (failed) continue;
                    const int f = chunk * FC_CHUNK;
                    forward_task(s, &c, weights, ending, part, f, MIN(FC_CHUNK, s->F - f), p, MIN(panels, c.panels - p), sums, out);
                }
        give_back(sums);
    }
    give_back(c.packed);
    return !failed;
}

/* Weights of some outputs and STAGE inputs, which are copied while tiles of the copy before it are computed. */
typedef struct {
    const float *from; /* from[row, stride] */
    float *to;         /* to[row, STAGE] */
    size_t stride;
    int rows, columns;
    int done; /* rows copied */
} Stage;

static void copy_rows(Stage *b, int count) {
    for (const int end = MIN(b->rows, b->done + count); b->done < end; b->done++) {
        const float *from = b->from + b->done * b->stride;
        float *to = b->to + b->done * STAGE;
        if (b->columns == STAGE) {
            for (int j = 0; j < STAGE; j += 16) __builtin_prefetch(from + AHEAD * b->stride + j);
            memcpy(to, from, STAGE * sizeof(float));
        } else {
            memcpy(to, from, b->columns * sizeof(float));
        }
    }
}

/* One thread's share of an input gradient: ``count`` inputs of a part from k0 on, and its working memory. */
typedef struct {
    const FcShape *s;
    const float *weights;
    int part, k0, count;
    float *sums;   /* sums[input, width] */
    float *stages; /* two copies of weights, in turn */
} GradTask;

/* Copy number i, of all outputs and inputs of the task; one without rows past the last. */
static Stage stage_at(const GradTask *t, int i) {
    const FcShape *s = t->s;
    const int depth = even_piece(s->F, GRAD_DEPTH), across = pieces(t->count, STAGE);
    const int f = i / across * depth, k = i % across * STAGE;
    const size_t stride = (size_t)s->K * s->parts;
    return (Stage){.from = t->weights + f * stride + (size_t)t->part * s->K + t->k0 + k,
                   .to = t->stages + i % 2 * GRAD_DEPTH * STAGE, .stride = stride,
                   .rows = f < s->F ? MIN(depth, s->F - f) : 0, .columns = MIN(STAGE, t->count - k)};
}

static void add_stages(const GradTask *t, const Columns *grad) {
    const FcShape *s = t->s;
    const int depth = even_piece(s->F, GRAD_DEPTH), across = pieces(t->count, STAGE), count = across * pieces(s->F, depth);
    const size_t width = (size_t)grad->panels * NR;
    Stage next = stage_at(t, 0);
    for (int i = 0; i < count; i++) {
        copy_rows(&next, next.rows);
        const Stage now = next;
        next = stage_at(t, i + 1);
        const int f = i / across * depth, k = i % across * STAGE, tiles = tile_count(now.columns);
        for (int j = 0; j < tiles; j++) {
            const int first = tile_first(now.columns, j);
            copy_rows(&next, pieces(next.rows, tiles));
            for (int p = 0; p < grad->panels; p++) {
                const Panel b = panel_at(grad, p, t->part * s->F + f);
                const Tile tile = {tile_height(now.columns, j), b.vectors, now.to + first, 0, STAGE, 0, b.step};
                tile_product(&tile, &(Run){0, now.rows, b.at}, 1, t->sums + (k + first) * width + p * NR, width, f > 0);
            }
        }
    }
}

static int fc_input_grad(const FcShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    Columns c;
    if (!columns_open(&c, grad, s->F * s->parts, s->N)) return 0;
    const size_t width = (size_t)c.panels * NR;
    const int chunk = MAX(STAGE, MIN(GRAD_CHUNK, (int)((size_t)GRAD_CHUNK * FC_CASES / width) / STAGE * STAGE));
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *memory = scratch(chunk * width + 2 * GRAD_DEPTH * STAGE);
        failed = !memory;
#pragma omp for collapse(2) schedule(dynamic, 1) nowait
        for (int part = 0; part < s->parts; part++)
            for (int k = 0; k < s->K; k += chunk) {
                if (failed) continue;
                const GradTask t = {s, weights, part, k, MIN(chunk, s->K - k), memory + 2 * GRAD_DEPTH * STAGE, memory};
                add_stages(&t, &c);
                for (int i = 0; i < t.count; i++)
                    store_sums(s, NULL, slope, 0, (size_t)(part * s->K + k + i) * s->N, s->N, t.sums + i * width, input_grad);
            }
        give_back(memory);
    }
    give_back(c.packed);
    return !failed;
}

/* to[n, j] = from[j, n] for NR inputs, zeros past the last of ``valid``. */
static void turn_panel(const float *from, int valid, int N, float *RESTRICT to) {
    if (valid < NR) memset(to, 0, (size_t)N * NR * sizeof(float));
    for (int n0 = 0; n0 < N; n0 += TURN)
        for (int j = 0; j < valid; j++)
            for (int n = n0; n < MIN(n0 + TURN, N); n++) to[(size_t)n * NR + j] = from[(size_t)j * N + n];
}

/* out = st * out + so * acc for a row of a tile. */
static inline void blend_row(float *RESTRICT out, const vec *acc, int valid, float st, float so) {
    if (valid < NR) {
        store_row(out, acc, valid, st, so);
        return;
    }
    for (int v = 0; v < NV; v++) {
        vec *to = (vec *)(out + v * VW);
        *to = st == 0.0f ? so * acc[v] : st * *to + so * acc[v];
    }
}

/* Outputs f0 to f0 + count of a part, and its panel number p, transposed[panel, n, NR]. */
static void weight_task(const FcShape *s, const float *grad, const float *transposed, int part, int f0, int count, int p,
                        float *weight_grad) {
    const size_t stride = (size_t)s->K * s->parts;
    const int depth = even_piece(s->N, FC_CASES);
    for (int n = 0; n < s->N; n += depth)
        for (int f = f0; f < f0 + count; f += FC_ROWS) {
            const Panel b = {transposed + ((size_t)p * s->N + n) * NR, NR, NV};
            const float *rows[FC_ROWS];
            vec acc[FC_ROWS][NV];
            find_rows_of(grad + ((size_t)part * s->F + f) * s->N + n, s->N, f0 + count - f, rows);
            for (int i = 0; i < FC_ROWS; i++)
                for (int v = 0; v < NV; v++) acc[i][v] = (vec){0};
            rows_product(rows, b, MIN(depth, s->N - n), NV, acc);
            for (int i = 0; i < MIN(FC_ROWS, f0 + count - f); i++)
                blend_row(weight_grad + (f + i) * stride + (size_t)part * s->K + p * NR, acc[i], MIN(NR, s->K - p * NR),
                          n ? 1.0f : s->st, s->so);
        }
}

static int fc_weight_grad(const FcShape *s, const float *x, const float *grad, float *weight_grad) {
    const int panels = pieces(s->K, NR);
    const size_t panel = (size_t)s->N * NR;
    float *transposed = scratch(s->parts * panels * panel);
    if (!transposed) return 0;
#pragma omp parallel
    {
#pragma omp for collapse(2) schedule(static)
        for (int part = 0; part < s->parts; part++)
            for (int p = 0; p < panels; p++)
                turn_panel(x + ((size_t)part * s->K + p * NR) * s->N, MIN(NR, s->K - p * NR), s->N,
                           transposed + ((size_t)part * panels + p) * panel);

#pragma omp for collapse(3) schedule(dynamic, 1)
        for (int part = 0; part < s->parts; part++)
            for (int f = 0; f < s->F; f += WEIGHT_CHUNK)
                for (int p0 = 0; p0 < panels; p0 += WEIGHT_PANELS)
                    for (int p = p0; p < MIN(panels, p0 + WEIGHT_PANELS); p++)
                        weight_task(s, grad, transposed + part * panels * panel, part, f, MIN(WEIGHT_CHUNK, s->F - f), p, weight_grad);
    }
    give_back(transposed);
    return 1;
}
