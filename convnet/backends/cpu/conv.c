/* conv and local: forward, gradient of the input, gradient of the weights (numerics 2.4, 2.9, 2.10).
 *
 *   forward     out[f, my, mx, n]    = sum over c, ky, kx of filters[c, ky, kx, f] * images[c, y, x, n]
 *   input grad  into[c, y, x, n]     = sum over f, ky, kx of filters[c, ky, kx, f] * grad[f, my, mx, n]
 *   weight grad into[c, ky, kx, f]   = sum over my, mx, n of images[c, y, x, n] * grad[f, my, mx, n]
 *
 * with y = -padding + my*stride + ky, x alike; taps outside the image are left out, not multiplied by zero.
 *
 * The first two are one routine, "gather": each target pixel is a matrix product of packed weights (tiles of MR rows) and
 * the columns of the source that it sees, packed as rows of NR cases. Neighbouring targets share columns, so a thread
 * that sweeps a row of targets keeps the last columns in a ring and packs only the new ones. Stands for 2012's filterActs_*
 * and img_acts_* kernels. The weight gradient (conv_weight_acts_*) transposes a few pixels of grad at a time, so that
 * filters are contiguous, and multiplies them with scalars of the images in place.
 */

/* One contiguous stretch of a tile's sum: rows of packed weights against rows of packed cases. */
typedef struct {
    int weight_row, rows;
    const float *data; /* rows x NR */
} Run;

/* Which source indices (and filter taps) a target index sees along one axis. */
typedef struct {
    int count;
    int *tap, *source;
} Taps;

/* What gather needs to know, in terms of target and source instead of images and outputs. */
typedef struct {
    const ConvShape *s;
    int input_grad;          /* 0: target is out, source images; 1: target is into, source grad */
    int rows, cols;          /* of the target */
    int source_h, source_w;
    int target_channels, source_channels; /* per group */
    int tiles;               /* tiles of MR target channels per group */
    int K;                   /* packed rows of a tile: k * k * source_channels, ordered (kx, ky, channel) */
    const float *filters;
    float *packed;           /* conv: [group][tile][K][MR]; local packs per pixel */
} Gather;

static void find_taps(const ConvShape *s, int input_grad, int target, int side, Taps *taps) {
    taps->count = 0;
    for (int tap = 0; tap < s->k; tap++) {
        int source;
        if (!input_grad) {
            source = -s->padding + target * s->stride + tap;
        } else {
            int offset = target + s->padding - tap;
            if (offset < 0 || offset % s->stride) continue;
            source = offset / s->stride;
        }
        if (source < 0 || source >= side) continue;
        taps->tap[taps->count] = tap;
        taps->source[taps->count++] = source;
    }
}

/* Channel of the images that slot j of group q reads. */
static inline int image_channel(const ConvShape *s, int q, int j) {
    int slot = q * s->Cf + j;
    return s->conns ? s->conns[slot] : slot;
}

/* Pack the weights of one tile and one tap: [channel][MR], zeros past the last target channel. */
static void pack_tap(const Gather *g, int q, int tile, int ky, int kx, int module, float *RESTRICT into) {
    const ConvShape *s = g->s;
    const size_t tap = (size_t)s->k * s->k, Fg = s->F / s->groups;
    const float *w = g->filters + (s->local ? (size_t)module * s->Cf * tap * s->F : 0) + ((size_t)ky * s->k + kx) * s->F + q * Fg;
    int first = tile * MR, valid = MIN(MR, g->target_channels - first);
    for (int j = 0; j < g->source_channels; j++)
        for (int i = 0; i < MR; i++) {
            int c = g->input_grad ? first + i : j, f = g->input_grad ? j : first + i;
            into[(size_t)j * MR + i] = i < valid ? w[(size_t)c * tap * s->F + f] : 0.0f;
        }
}

/* All of a convolution's weights, once per call. */
static void pack_all(const Gather *g) {
    const ConvShape *s = g->s;
#pragma omp parallel for collapse(2) schedule(static)
    for (int q = 0; q < s->groups; q++)
        for (int t = 0; t < g->tiles; t++)
            for (int kx = 0; kx < s->k; kx++)
                for (int ky = 0; ky < s->k; ky++) {
                    size_t row = (size_t)(kx * s->k + ky) * g->source_channels;
                    pack_tap(g, q, t, ky, kx, 0, g->packed + (((size_t)q * g->tiles + t) * g->K + row) * MR);
                }
}

/* Pack one source column for a row of targets: [ky][channel][NR] for each block of NR cases, zeros past the last case. */
static void pack_column(const Gather *g, const float *source, int q, int column, const Taps *ys, int n0, int blocks,
                        float *RESTRICT into) {
    const ConvShape *s = g->s;
    const size_t plane = (size_t)g->source_h * g->source_w * s->N;
    const int height = ys->count * g->source_channels;
    for (int t = 0; t < ys->count; t++) {
        const size_t at = ((size_t)ys->source[t] * g->source_w + column) * s->N + n0;
        for (int j = 0; j < g->source_channels; j++) {
            int channel = g->input_grad ? q * g->source_channels + j : image_channel(s, q, j);
            const float *row = source + channel * plane + at;
            for (int b = 0; b < blocks; b++) {
                float *RESTRICT to = into + ((size_t)b * height + (size_t)t * g->source_channels + j) * NR;
                int valid = MIN(NR, s->N - n0 - b * NR);
                if (valid == NR) {
                    memcpy(to, row + b * NR, NR * sizeof(float));
                } else {
                    memcpy(to, row + b * NR, valid * sizeof(float));
                    memset(to + valid, 0, (NR - valid) * sizeof(float));
                }
            }
        }
    }
}

/* acc[i][v] = sum over all rows of all runs of weights[i] * cases[v]: the inner loop of everything above.
 * ``offset`` leads from the first block of cases to the one wanted. */
static inline void tile_product(const Run *runs, int count, size_t offset, const float *weights, vec acc[MR][NV]) {
    for (int i = 0; i < MR; i++)
        for (int v = 0; v < NV; v++) acc[i][v] = (vec){0};
    for (int r = 0; r < count; r++) {
        const float *w = weights + (size_t)runs[r].weight_row * MR, *x = runs[r].data + offset;
        for (int row = 0; row < runs[r].rows; row++, w += MR, x += NR) {
            vec cases[NV];
            for (int v = 0; v < NV; v++) cases[v] = *(const vec *)(x + v * VW);
#pragma GCC unroll 16
            for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
                for (int v = 0; v < NV; v++) acc[i][v] += w[i] * cases[v];
        }
    }
}

static inline void store_row(float *RESTRICT out, const vec *acc, int valid, float st, float so) {
    float row[NR];
    memcpy(row, acc, sizeof row);
    if (st == 0.0f)
        for (int j = 0; j < valid; j++) out[j] = so * row[j];
    else
        for (int j = 0; j < valid; j++) out[j] = st * out[j] + so * row[j];
}

/* Working memory of one thread that sweeps rows of targets. */
typedef struct {
    Taps ys, xs;
    Run *runs;
    float *ring;    /* slots x blocks x (k * source_channels) x NR */
    int *held;      /* source column in each slot, or -1 */
    float *weights; /* local: packed weights of one pixel and tile */
} Sweep;

static int sweep_open(Sweep *w, const Gather *g, int blocks) {
    const ConvShape *s = g->s;
    int *ints = malloc(sizeof(int) * 6 * s->k);
    w->runs = malloc(sizeof(Run) * s->k * s->k);
    w->ring = scratch((size_t)s->k * blocks * s->k * g->source_channels * NR);
    w->weights = s->local ? scratch((size_t)g->K * MR) : NULL;
    w->ys.tap = ints;
    if (!ints || !w->runs || !w->ring || (s->local && !w->weights)) return 0;
    w->ys.source = ints + s->k, w->xs.tap = ints + 2 * s->k, w->xs.source = ints + 3 * s->k, w->held = ints + 4 * s->k;
    return 1;
}

static void sweep_close(Sweep *w) {
    free(w->ys.tap), free(w->runs), free(w->ring), free(w->weights);
}

/* The runs of the target pixel at hand, for the first block of cases. Neighbouring taps that follow each other in both
 * packings join into one run. */
static int make_runs(const Gather *g, Sweep *w, int blocks) {
    const int k = g->s->k, C = g->source_channels;
    int count = 0;
    for (int a = 0; a < w->xs.count; a++) {
        const float *column = w->ring + (size_t)(w->xs.source[a] % k) * blocks * k * C * NR;
        for (int t = 0; t < w->ys.count; t++) {
            int row = (w->xs.tap[a] * k + w->ys.tap[t]) * C;
            if (t > 0 && w->ys.tap[t] == w->ys.tap[t - 1] + 1)
                w->runs[count - 1].rows += C;
            else
                w->runs[count++] = (Run){row, C, column + (size_t)t * C * NR};
        }
    }
    return count;
}

/* local: the packed weights of one tile for the pixel at hand, at the rows that its runs name. */
static void pack_pixel(const Gather *g, Sweep *w, int q, int tile, int row, int col) {
    const ConvShape *s = g->s;
    for (int a = 0; a < w->xs.count; a++)
        for (int t = 0; t < w->ys.count; t++) {
            int module = g->input_grad ? w->ys.source[t] * s->Mx + w->xs.source[a] : row * s->Mx + col;
            size_t at = (size_t)(w->xs.tap[a] * s->k + w->ys.tap[t]) * g->source_channels * MR;
            pack_tap(g, q, tile, w->ys.tap[t], w->xs.tap[a], module, w->weights + at);
        }
}

static void gather_pixel(const Gather *g, Sweep *w, int q, int row, int col, int n0, int blocks, float *target, float st) {
    const ConvShape *s = g->s;
    const size_t pixels = (size_t)g->rows * g->cols, height = (size_t)w->ys.count * g->source_channels;
    const int runs = make_runs(g, w, blocks);
    for (int t = 0; t < g->tiles; t++) {
        const float *weights = w->weights;
        if (s->local)
            pack_pixel(g, w, q, t, row, col);
        else
            weights = g->packed + ((size_t)q * g->tiles + t) * g->K * MR;
        for (int b = 0; b < blocks; b++) {
            vec acc[MR][NV];
            tile_product(w->runs, runs, b * height * NR, weights, acc);
            int first = t * MR, valid = MIN(MR, g->target_channels - first), cases = MIN(NR, s->N - n0 - b * NR);
            for (int i = 0; i < valid; i++) {
                int channel = g->input_grad ? image_channel(s, q, first + i) : q * g->target_channels + first + i;
                size_t at = (channel * pixels + (size_t)row * g->cols + col) * s->N + n0 + (size_t)b * NR;
                store_row(target + at, acc[i], cases, st, s->so);
            }
        }
    }
}

static void gather_row(const Gather *g, Sweep *w, const float *source, int q, int row, int first, int last, int n0, int blocks,
                       float *target, float st) {
    const ConvShape *s = g->s;
    const size_t slot = (size_t)blocks * s->k * g->source_channels * NR;
    find_taps(s, g->input_grad, row, g->source_h, &w->ys);
    for (int i = 0; i < s->k; i++) w->held[i] = -1;
    for (int col = first; col < last; col++) {
        find_taps(s, g->input_grad, col, g->source_w, &w->xs);
        for (int a = 0; a < w->xs.count; a++) {
            int column = w->xs.source[a];
            if (w->held[column % s->k] == column) continue;
            pack_column(g, source, q, column, &w->ys, n0, blocks, w->ring + (column % s->k) * slot);
            w->held[column % s->k] = column;
        }
        gather_pixel(g, w, q, row, col, n0, blocks, target, st);
    }
}

/* Both directions: sweep every row of targets for every chunk of cases. 0 if memory ran out. */
static int gather(Gather *g, const float *source, float *target) {
    const ConvShape *s = g->s;
    const int blocks = s->local ? (MIN(s->N, 128) + NR - 1) / NR : MAX(1, MIN((s->N + NR - 1) / NR, 64 / NR));
    const int chunks = (s->N + blocks * NR - 1) / (blocks * NR);
    const int width = s->local ? 1 : g->cols, strips = (g->cols + width - 1) / width;
    /* Random connections can reach a channel from several groups: scale once, then add. */
    const int scattered = g->input_grad && s->conns;
    const size_t count = (size_t)s->C * s->H * s->W * s->N;
    int failed = 0;
    if (scattered && s->st == 0.0f) memset(target, 0, count * sizeof(float));
    if (scattered && s->st != 0.0f && s->st != 1.0f)
        for (size_t i = 0; i < count; i++) target[i] *= s->st;
    if (!s->local) {
        g->packed = scratch((size_t)s->groups * g->tiles * g->K * MR);
        if (!g->packed) return 0;
        pack_all(g);
    }
#pragma omp parallel
    {
        Sweep w = {0};
        if (!sweep_open(&w, g, blocks)) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
        if (!failed)
#pragma omp for collapse(3) schedule(dynamic, 1) nowait
            for (int row = 0; row < g->rows; row++)
                for (int chunk = 0; chunk < chunks; chunk++)
                    for (int strip = 0; strip < strips; strip++) {
                        int n0 = chunk * blocks * NR, first = strip * width;
                        int here = MIN(blocks, (s->N - n0 + NR - 1) / NR);
                        for (int q = 0; q < s->groups; q++)
                            gather_row(g, &w, source, q, row, first, MIN(first + width, g->cols), n0, here, target,
                                       scattered ? 1.0f : s->st);
                    }
        sweep_close(&w);
    }
    free(g->packed);
    return !failed;
}

static int conv_forward(const ConvShape *s, const float *images, const float *filters, float *out) {
    int Fg = s->F / s->groups;
    Gather g = {s, 0, s->My, s->Mx, s->H, s->W, Fg, s->Cf, (Fg + MR - 1) / MR, s->k * s->k * s->Cf, filters, NULL};
    return gather(&g, images, out);
}

static int conv_input_grad(const ConvShape *s, const float *grad, const float *filters, float *into) {
    int Fg = s->F / s->groups;
    Gather g = {s, 1, s->H, s->W, s->My, s->Mx, s->Cf, Fg, (s->Cf + MR - 1) / MR, s->k * s->k * Fg, filters, NULL};
    return gather(&g, grad, into);
}

/* -- gradient of the weights ------------------------------------------------------------------------------------- */

#define MAX_PIXELS 16 /* windows whose gradients are transposed at a time */

/* Rows of one tile: MR of a group's (ky, kx, channel) rows. */
typedef struct {
    int q, valid;
    int ky[MR], kx[MR], channel[MR];
    float *into[MR]; /* into[c, ky, kx, first filter of the group] */
} Rows;

static void find_rows(const ConvShape *s, int tile, int tiles, float *into, Rows *r) {
    const int K = s->k * s->k * s->Cf, first = tile % tiles * MR;
    r->q = tile / tiles;
    r->valid = MIN(MR, K - first);
    for (int i = 0; i < r->valid; i++) {
        int row = first + i, j = row % s->Cf, tap = row / s->Cf;
        r->ky[i] = tap / s->k, r->kx[i] = tap % s->k;
        r->channel[i] = image_channel(s, r->q, j);
        r->into[i] = into + ((size_t)j * s->k * s->k + tap) * s->F + (size_t)r->q * (s->F / s->groups);
    }
}

/* Where each row's cases lie for one window; rows whose tap is outside read zeros. 0 if all are outside. */
static int find_cases(const ConvShape *s, const Rows *r, int module, const float *images, const float *zeros,
                      const float *x[MR]) {
    int any = 0, my = module / s->Mx, mx = module % s->Mx;
    for (int i = 0; i < MR; i++) {
        x[i] = zeros;
        if (i >= r->valid) continue;
        int y = -s->padding + my * s->stride + r->ky[i], xx = -s->padding + mx * s->stride + r->kx[i];
        if (y < 0 || y >= s->H || xx < 0 || xx >= s->W) continue;
        x[i] = images + (((size_t)r->channel[i] * s->H + y) * s->W + xx) * s->N;
        any = 1;
    }
    return any;
}

/* to[n][j] = grad[first + j, module, n] for NR filters, zeros past the group's last. */
static void transpose_grad(const ConvShape *s, const float *grad, int q, int first, int module, float *RESTRICT to) {
    const int Fg = s->F / s->groups, valid = MIN(NR, Fg - first);
    const size_t modules = (size_t)s->My * s->Mx;
    if (valid < NR) memset(to, 0, (size_t)s->N * NR * sizeof(float));
    for (int n0 = 0; n0 < s->N; n0 += 16)
        for (int j = 0; j < valid; j++) {
            const float *from = grad + ((size_t)(q * Fg + first + j) * modules + module) * s->N;
            for (int n = n0; n < MIN(n0 + 16, s->N); n++) to[(size_t)n * NR + j] = from[n];
        }
}

static inline void outer_product(const float *const x[MR], const float *grad, int N, vec acc[MR][NV]) {
    for (int n = 0; n < N; n++, grad += NR) {
        vec g[NV];
        for (int v = 0; v < NV; v++) g[v] = *(const vec *)(grad + v * VW);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) acc[i][v] += x[i][n] * g[v];
    }
}

/* As outer_product where only the first vector of filters is real. */
static inline void outer_product_half(const float *const x[MR], const float *grad, int N, vec acc[MR][NV]) {
    for (int n = 0; n < N; n++, grad += NR) {
        vec g = *(const vec *)grad;
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) acc[i][0] += x[i][n] * g;
    }
}

/* Add one tile of rows times one tile of filters, over ``pixels`` windows from ``module`` on. */
static void weight_tile(const ConvShape *s, const Rows *r, const float *images, const float *zeros, const float *transposed,
                        size_t pixel_stride, int module, int pixels, int first, float st) {
    const int valid = MIN(NR, s->F / s->groups - first);
    vec acc[MR][NV];
    for (int i = 0; i < MR; i++)
        for (int v = 0; v < NV; v++) acc[i][v] = (vec){0};
    for (int p = 0; p < pixels; p++) {
        const float *x[MR];
        if (!find_cases(s, r, module + p, images, zeros, x)) continue;
        if (valid > VW)
            outer_product(x, transposed + p * pixel_stride, s->N, acc);
        else
            outer_product_half(x, transposed + p * pixel_stride, s->N, acc);
    }
    for (int i = 0; i < r->valid; i++) store_row(r->into[i] + first, acc[i], valid, st, s->so);
}

static int conv_weight_grad(const ConvShape *s, const float *images, const float *grad, float *into) {
    const int Fg = s->F / s->groups, strips = (Fg + NR - 1) / NR, K = s->k * s->k * s->Cf, tiles = (K + MR - 1) / MR;
    const int modules = s->My * s->Mx;
    const size_t strip = (size_t)s->N * NR, pixel = (size_t)s->groups * strips * strip;
    const size_t weights = (size_t)K * s->F;
    /* As many windows at a time as keep their transposed gradients in the second-level cache. */
    const int fit = MAX(1, (int)((size_t)(96 * 1024) / pixel));
    const int step = s->local ? 1 : MIN(MIN(fit, MAX_PIXELS), modules);
    float *transposed = scratch(step * pixel), *zeros = scratch(s->N);
    if (!transposed || !zeros) {
        free(transposed), free(zeros);
        return 0;
    }
    memset(zeros, 0, s->N * sizeof(float));
#pragma omp parallel
    for (int module = 0; module < modules; module += step) {
        const int pixels = MIN(step, modules - module);
        float *target = into + (s->local ? module * weights : 0);
        const float st = s->local || module == 0 ? s->st : 1.0f;
#pragma omp for collapse(3) schedule(static)
        for (int p = 0; p < pixels; p++)
            for (int q = 0; q < s->groups; q++)
                for (int b = 0; b < strips; b++)
                    transpose_grad(s, grad, q, b * NR, module + p, transposed + p * pixel + ((size_t)q * strips + b) * strip);
#pragma omp for collapse(2) schedule(static)
        for (int t = 0; t < s->groups * tiles; t++)
            for (int b = 0; b < strips; b++) {
                Rows r;
                find_rows(s, t, tiles, target, &r);
                const float *mine = transposed + ((size_t)r.q * strips + b) * strip;
                weight_tile(s, &r, images, zeros, mine, pixel, module, pixels, b * NR, st);
            }
    }
    free(transposed), free(zeros);
    return 1;
}
