/* fc and sfc: forward (numerics 4). Each part has inputs and outputs of its own.
 *
 *   out[f, n] = sum over k of weights[f, k] * x[k, n]
 *
 * The weights are far larger than a cache and pass through once, in place: tiles are FC_ROWS rows of them, scalar by scalar,
 * by a panel of NR columns of x. Threads share the outputs; the blocks of a sum follow each other in an order that sizes
 * alone decide. The gradients are in fc_input_grad.c and fc_weight_grad.c. Replaces 2012's products by cuBLAS. Constants
 * without a reason beside them were the fastest on a Zen 5.
 */

#define FC_ROWS MIN(TH, 8) /* one pointer each, as many as there are registers */

/* Forward. Panels of so many terms and cases stay in the second-level cache; wider matrices are packed. */
#define FC_DEPTH 512
#define FC_CASES 256
#define FC_CHUNK 64 /* outputs of a task */

/* Forward of few cases: vectors run along the inputs. */
#define FEW_CASES 4
#define FEW_ROWS 4

/* Input gradient. A copy of weights has up to GRAD_DEPTH outputs by STAGE inputs: whole tiles and whole lines. Rows are
 * prefetched STAGE_AHEAD rows before they are copied. */
#define GRAD_DEPTH 256
#define STAGE (LINE % FC_ROWS ? 3 * LINE : LINE)
#define STAGE_AHEAD 64

static inline int ceil_div(int total, int size) { return (total + size - 1) / size; }

/* The size of pieces that are about equal, and at most ``most``. */
static inline int even_piece(int total, int most) { return ceil_div(total, ceil_div(total, most)); }

/* A matrix m[row, N] as panels of NR columns: the first ones in place, the others packed, zeros past the last column. */
typedef struct {
    const float *m;
    float *packed; /* packed[panel, row, NR] */
    int rows, N, panels, in_place;
} Matrix;

typedef struct {
    const float *at; /* a row of the panel */
    size_t step;     /* to the next */
    int vectors;     /* 1 if all columns lie in the first vector, else NV */
} Panel;

static Panel panel_at(const Matrix *c, int p, int row) {
    const int vectors = c->N - p * NR > VW ? NV : 1;
    if (p < c->in_place) return (Panel){c->m + (size_t)row * c->N + p * NR, c->N, vectors};
    return (Panel){c->packed + ((size_t)(p - c->in_place) * c->rows + row) * NR, NR, vectors};
}

static int matrix_open(Matrix *c, const float *m, int rows, int N) {
    *c = (Matrix){m, NULL, rows, N, ceil_div(N, NR), N > FC_CASES ? 0 : N / NR};
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
    blend_row(slope, at, s->st, count, sums, out);
    if (ending) finish_row(ending, f, 0, 1, count, sums);
    memcpy(out + at, sums, count * sizeof(float));
}

/* FC_ROWS rows that lie ``stride`` apart, of which ``valid`` are there; in place of others the last one again. */
static inline void find_scalars(const float *first, size_t stride, int valid, const float *a[FC_ROWS]) {
    for (int i = 0; i < FC_ROWS; i++) a[i] = first + MIN(i, valid - 1) * stride;
}

/* Weights of some outputs and STAGE inputs, which are copied while tiles of the copy before are summed. */
typedef struct {
    const float *from, *after; /* from[row, stride], and of the copy that follows */
    float *to;                 /* to[row, STAGE] */
    size_t stride;
    int rows, columns;
    int whole; /* rows that have STAGE floats before the weights end */
    int done;  /* rows copied */
} Stage;

/* Copy the next row, if it has STAGE floats, and prefetch one STAGE_AHEAD rows on, which may be of the copy that follows. */
static INLINE void copy_row_ahead(Stage *b) {
    if (b->done >= b->whole) return;
    const int row = b->done++, ahead = row + STAGE_AHEAD;
    const float *fetched = ahead < b->rows ? b->from + ahead * b->stride : b->after + (ahead - b->rows) * b->stride;
    for (int j = 0; j < STAGE; j += LINE) __builtin_prefetch(fetched + j, 0, 2); /* the first level would hold too few of them */
    memcpy(b->to + row * STAGE, b->from + row * b->stride, STAGE * sizeof(float));
}

/* What is done, again and again after ``every`` terms of a tile, for the weights of tiles to come. A core has few requests to
 * memory under way, so that many of them at a time would make it wait. */
typedef struct {
    int every;
    Stage *stage;      /* a row is copied; or without this */
    const float *next; /* a line is fetched of each of ``rows`` rows, the first time from here */
    size_t stride;
    int rows;
} Ahead;

/* sums[i, 0..vectors * VW) = sum over j < depth of a[i][j * step] * panel[j, v], or with ``add`` what they hold and that; ``step``
 * and ``vectors`` are known where this is inlined. */
static INLINE void sum_tile(const float *const a[FC_ROWS], size_t step, const Panel *b, int depth, int vectors, const Ahead *ahead,
                            float *sums, size_t width, int add) {
    vec acc[FC_ROWS][NV];
    for (int i = 0; i < FC_ROWS; i++)
        for (int v = 0; v < vectors; v++) acc[i][v] = add ? *(const vec *)(sums + i * width + v * VW) : (vec){0};
    const float *x = b->at;
    for (size_t j = 0; j < depth * step;) {
        if (ahead->stage)
            copy_row_ahead(ahead->stage);
        else
            for (int i = 0; i < ahead->rows; i++) __builtin_prefetch(ahead->next + i * ahead->stride + j);
        for (const size_t end = MIN(j + ahead->every * step, depth * step); j < end; j += step, x += b->step) {
            vec columns[NV];
            for (int v = 0; v < vectors; v++) columns[v] = *(const vec *)(x + v * VW);
#pragma GCC unroll 16
            for (int i = 0; i < FC_ROWS; i++)
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) acc[i][v] += a[i][j] * columns[v];
        }
    }
    for (int i = 0; i < FC_ROWS; i++)
        for (int v = 0; v < vectors; v++) *(vec *)(sums + i * width + v * VW) = acc[i][v];
}

/* sum_tile for as many vectors as the panel has. */
static INLINE void sum_panel(const float *const a[FC_ROWS], size_t step, const Panel *b, int depth, const Ahead *ahead, float *sums,
                             size_t width, int add) {
    if (b->vectors == 1)
        sum_tile(a, step, b, depth, 1, ahead, sums, width, add);
    else
        sum_tile(a, step, b, depth, NV, ahead, sums, width, add);
}

/* Outputs f0 to f0 + count of a part, for ``panels`` panels of cases from p0 on; sums[FC_CHUNK, width]. */
static void forward_task(const FcShape *s, const Matrix *x, const float *weights, const Ending *ending, int part, int f0,
                         int count, int p0, int panels, float *sums, float *out) {
    const size_t stride = (size_t)s->K * s->parts;
    const int depth = even_piece(s->K, FC_DEPTH), width = panels * NR, cases = MIN(width, s->N - p0 * NR);
    for (int k = 0; k < s->K; k += depth)
        for (int f = 0; f < count; f += FC_ROWS) {
            const float *w[FC_ROWS];
            const float *first = weights + f0 * stride + (size_t)part * s->K + k;
            const float *next = f + FC_ROWS < count ? first + (f + FC_ROWS) * stride : first + depth;
            find_scalars(first + f * stride, stride, count - f, w);
            for (int p = 0; p < panels; p++) {
                const Panel b = panel_at(x, p0 + p, part * s->K + k);
                const int row = piece(FC_ROWS, panels, p);
                const Ahead ahead = {LINE, NULL, next + row * stride, stride, piece(FC_ROWS, panels, p + 1) - row};
                float *to = sums + (size_t)f * width + p * NR;
                sum_panel(w, 1, &b, MIN(depth, s->K - k), &ahead, to, width, k > 0);
            }
        }
    for (int i = 0; i < count; i++) {
        const int f = part * s->F + f0 + i;
        store_sums(s, ending, NULL, f, (size_t)f * s->N + p0 * NR, cases, sums + (size_t)i * width, out);
    }
}

/* FEW_ROWS outputs of ``cases`` cases, f0 on, from x[n, K]: vectors run along k, so that weights come at memory's speed. */
static INLINE void few_outputs(const FcShape *s, const float *x, const float *const w[FC_ROWS], int cases,
                               float sums[FEW_ROWS][FEW_CASES]) {
    const int whole = s->K / VW * VW;
    vec acc[FEW_ROWS][FEW_CASES];
    for (int i = 0; i < FEW_ROWS; i++)
        for (int n = 0; n < cases; n++) acc[i][n] = (vec){0};
    for (int k = 0; k < whole; k += VW)
#pragma GCC unroll 4
        for (int n = 0; n < cases; n++) {
            const vec column = *(const vec *)(x + (size_t)n * s->K + k);
#pragma GCC unroll 4
            for (int i = 0; i < FEW_ROWS; i++) acc[i][n] += *(const vec *)(w[i] + k) * column;
        }
    for (int i = 0; i < FEW_ROWS; i++)
        for (int n = 0; n < cases; n++) {
            float sum = 0.0f;
            for (int lane = 0; lane < VW; lane++) sum += acc[i][n][lane];
            for (int k = whole; k < s->K; k++) sum += w[i][k] * x[(size_t)n * s->K + k];
            sums[i][n] = sum;
        }
}

/* Forward for at most FEW_CASES cases. */
static int few_forward(const FcShape *s, const float *x, const float *weights, const Ending *ending, float *out) {
    const size_t stride = (size_t)s->K * s->parts, cases = s->N > 1 ? FEW_CASES : 1;
    float *turned = scratch(stride * cases); /* turned[part, n, k], zeros past the last case */
    if (!turned) return 0;
    for (int part = 0; part < s->parts; part++)
        for (size_t n = 0; n < cases; n++)
            for (int k = 0; k < s->K; k++) {
                const size_t row = (size_t)part * s->K + k;
                turned[(part * cases + n) * s->K + k] = n < (size_t)s->N ? x[row * s->N + n] : 0.0f;
            }
#pragma omp parallel for collapse(2) schedule(static)
    for (int part = 0; part < s->parts; part++)
        for (int f = 0; f < s->F; f += FEW_ROWS) {
            const float *w[FC_ROWS], *columns = turned + part * cases * s->K;
            const int count = MIN(FEW_ROWS, s->F - f), first = part * s->F + f;
            float sums[FEW_ROWS][FEW_CASES];
            find_scalars(weights + f * stride + (size_t)part * s->K, stride, count, w);
            if (cases == 1)
                few_outputs(s, columns, w, 1, sums);
            else
                few_outputs(s, columns, w, FEW_CASES, sums);
            for (int i = 0; i < count; i++) store_sums(s, ending, NULL, first + i, (size_t)(first + i) * s->N, s->N, sums[i], out);
        }
    give_back(turned);
    return 1;
}

static int fc_forward(const FcShape *s, const float *x, const float *weights, const Ending *ending, float *out) {
    if (s->N <= FEW_CASES) return few_forward(s, x, weights, ending, out);
    Matrix c;
    if (!matrix_open(&c, x, s->K * s->parts, s->N)) return 0;
    const int chunks = ceil_div(s->F, FC_CHUNK);
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
