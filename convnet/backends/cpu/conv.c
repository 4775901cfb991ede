/* conv and local: forward, and the gradient of the input (numerics 2.4, 2.9).
 *
 *   forward     out[f, my, mx, n]        = sum over c, ky, kx of weights[c, ky, kx, f] * images[c, y, x, n]
 *   input grad  input_grad[c, y, x, n]   = sum over f, ky, kx of weights[c, ky, kx, f] * grad[f, my, mx, n]
 *
 * with y = -padding + my*stride + ky, x alike; taps outside the image are left out, not multiplied by zero.
 *
 * Both are one routine, "gather": each target pixel is a matrix product of packed weights (see tile.h) and the
 * columns of the source that it sees, packed as rows of NR cases. Neighbouring targets share columns, so a thread that
 * sweeps a row of targets keeps the last columns in a ring and packs only the new ones. Replaces 2012's filterActs_* and
 * img_acts_* kernels.
 */

/* Which source indices (and kernel taps) a target index sees along one axis. */
typedef struct {
    int count;
    int *tap, *source;
} Taps;

/* A convolution in terms of target and source: out and images forward, input_grad and grad backward. */
typedef struct {
    const ConvShape *s;
    int input_grad;          /* whether the target is input_grad */
    int rows, cols;          /* of the target */
    int source_h, source_w;
    int target_channels, source_channels; /* per group */
    int K;                   /* rows of a tile: k * k * source_channels, ordered (kx, ky, channel) */
    const float *source, *weights;
    float *target, *packed;  /* packed[group, tile, K, height of the tile]; local packs per pixel */
    float st;
    const Ending *ending;    /* forward */
    const Slope *slope;      /* backward, or NULL */
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

/* Pack the weights of one tile and one tap: packed[channel, height]. */
static void pack_tap(const Gather *g, int q, int first, int height, int ky, int kx, int module, float *RESTRICT packed) {
    const ConvShape *s = g->s;
    const size_t taps = (size_t)s->k * s->k, Fg = s->F / s->groups;
    /* weights[module, 0, ky, kx, q*Fg] */
    const float *w = g->weights + (s->local ? (size_t)module * s->Cf * taps * s->F : 0) + ((size_t)ky * s->k + kx) * s->F + q * Fg;
    for (int j = 0; j < g->source_channels; j++)
        for (int i = 0; i < height; i++) {
            int c = g->input_grad ? first + i : j, f = g->input_grad ? j : first + i;
            packed[(size_t)j * height + i] = w[(size_t)c * taps * s->F + f];
        }
}

/* Pack all of a convolution's weights, once per call. */
static void pack_all(const Gather *g) {
    const ConvShape *s = g->s;
    const int tiles = tile_count(g->target_channels);
#pragma omp parallel for collapse(2) schedule(static)
    for (int q = 0; q < s->groups; q++)
        for (int t = 0; t < tiles; t++)
            for (int kx = 0; kx < s->k; kx++)
                for (int ky = 0; ky < s->k; ky++) {
                    const int first = tile_first(g->target_channels, t), height = tile_height(g->target_channels, t);
                    /* packed[q, t, (kx, ky, 0)] */
                    size_t at = ((size_t)q * g->target_channels + first) * g->K + (kx * s->k + ky) * g->source_channels * height;
                    pack_tap(g, q, first, height, ky, kx, 0, g->packed + at);
                }
}

/* One thread's sweep over a row of targets, for one group and some blocks of NR cases; and its working memory. */
typedef struct {
    int q, n0, blocks;
    Taps ys, xs; /* of the current row and pixel of the target */
    Run *runs;
    float *ring;    /* ring[slot, block, ky, channel, NR], k slots */
    int *column;    /* source column in each slot, or -1 */
    float *weights; /* local: packed weights of one pixel and tile */
} Sweep;

static int sweep_open(Sweep *w, const Gather *g, int blocks) {
    const ConvShape *s = g->s;
    int *ints = (int *)scratch((size_t)5 * s->k * sizeof(int) / sizeof(float));
    w->runs = (Run *)scratch((size_t)s->k * s->k * sizeof(Run) / sizeof(float));
    w->ring = scratch((size_t)s->k * blocks * s->k * g->source_channels * NR);
    w->weights = s->local ? scratch((size_t)g->K * TH) : NULL;
    w->ys.tap = ints;
    if (!ints || !w->runs || !w->ring || (s->local && !w->weights)) return 0;
    w->ys.source = ints + s->k, w->xs.tap = ints + 2 * s->k, w->xs.source = ints + 3 * s->k, w->column = ints + 4 * s->k;
    return 1;
}

static void sweep_close(Sweep *w) {
    give_back((float *)w->ys.tap), give_back((float *)w->runs), give_back(w->ring), give_back(w->weights);
}

/* Pack one source column for a row of targets: packed[block of NR cases, ky, channel, NR], zeros past the last case. */
static void pack_column(const Gather *g, const Sweep *w, int column, float *RESTRICT packed) {
    const ConvShape *s = g->s;
    const size_t plane = (size_t)g->source_h * g->source_w * s->N;
    const int height = w->ys.count * g->source_channels;
    for (int t = 0; t < w->ys.count; t++) {
        const size_t at = ((size_t)w->ys.source[t] * g->source_w + column) * s->N + w->n0;
        for (int j = 0; j < g->source_channels; j++) {
            int channel = g->input_grad ? w->q * g->source_channels + j : image_channel(s, w->q, j);
            const float *row = g->source + channel * plane + at; /* source[channel, ys[t], column, n0] */
            for (int b = 0; b < w->blocks; b++) {
                float *RESTRICT to = packed + ((size_t)b * height + (size_t)t * g->source_channels + j) * NR;
                int valid = MIN(NR, s->N - w->n0 - b * NR);
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

/* out = st * out + so * row; ``st`` 0 does not read out. */
static inline void store_row(float *RESTRICT out, const vec *acc, int valid, float st, float so) {
    float row[NR];
    memcpy(row, acc, sizeof row);
    if (st == 0.0f)
        for (int j = 0; j < valid; j++) out[j] = so * row[j];
    else
        for (int j = 0; j < valid; j++) out[j] = st * out[j] + so * row[j];
}

/* Cases n to n + NR of target[channel, pixel]: forward with the ending, backward times the slope. */
static inline void store_target(const Gather *g, int channel, size_t pixel, int n, float *row) {
    const ConvShape *s = g->s;
    const size_t pixels = (size_t)g->rows * g->cols, at = (channel * pixels + pixel) * s->N + n;
    const int valid = MIN(NR, s->N - n);
    float *out = g->target + at;
    if (g->slope) slope_row(&g->slope->f, valid, g->slope->y + at, row);
    if (g->st == 0.0f)
        for (int j = 0; j < valid; j++) row[j] = s->so * row[j];
    else
        for (int j = 0; j < valid; j++) row[j] = g->st * out[j] + s->so * row[j];
    if (g->ending) finish_row(g->ending, channel, pixel, pixels, valid, row);
    for (int j = 0; j < valid; j++) out[j] = row[j];
}

/* The runs of the current target pixel, for the first block of cases. Neighbouring taps that follow each other in both
 * packings join into one run. */
static int make_runs(const Gather *g, Sweep *w) {
    const int k = g->s->k, C = g->source_channels;
    int count = 0;
    for (int a = 0; a < w->xs.count; a++) {
        const float *column = w->ring + (size_t)(w->xs.source[a] % k) * w->blocks * k * C * NR;
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

/* local: pack the weights of one tile for the current pixel, at the rows that its runs name. */
static void pack_pixel(const Gather *g, Sweep *w, int first, int height, int row, int col) {
    const ConvShape *s = g->s;
    for (int a = 0; a < w->xs.count; a++)
        for (int t = 0; t < w->ys.count; t++) {
            int module = g->input_grad ? w->ys.source[t] * s->Mx + w->xs.source[a] : row * s->Mx + col;
            size_t at = (size_t)(w->xs.tap[a] * s->k + w->ys.tap[t]) * g->source_channels * height;
            pack_tap(g, w->q, first, height, w->ys.tap[t], w->xs.tap[a], module, w->weights + at);
        }
}

/* One target pixel, whose columns lie in the ring: all channels of the group. */
static void gather_pixel(const Gather *g, Sweep *w, int row, int col) {
    const ConvShape *s = g->s;
    const size_t rows = (size_t)w->ys.count * g->source_channels;
    const int runs = make_runs(g, w);
    for (int t = 0; t < tile_count(g->target_channels); t++) {
        const int first = tile_first(g->target_channels, t), height = tile_height(g->target_channels, t);
        const float *weights = w->weights;
        if (s->local)
            pack_pixel(g, w, first, height, row, col);
        else
            weights = g->packed + ((size_t)w->q * g->target_channels + first) * g->K;
        for (int b = 0; b < w->blocks; b++) {
            const int n = w->n0 + b * NR;
            float sums[TH * NR];
            Tile tile = packed_tile(height, s->N - n, weights);
            tile.case_offset = b * rows * NR;
            tile_product(&tile, w->runs, runs, sums, NR, 0);
            for (int i = 0; i < height; i++) {
                int channel = g->input_grad ? image_channel(s, w->q, first + i) : w->q * g->target_channels + first + i;
                store_target(g, channel, (size_t)row * g->cols + col, n, sums + i * NR);
            }
        }
    }
}

/* Target pixels ``first`` to ``last`` of a row. Columns that the ring does not hold yet are packed on the way. */
static void gather_row(const Gather *g, Sweep *w, int row, int first, int last) {
    const int k = g->s->k;
    const size_t slot = (size_t)w->blocks * k * g->source_channels * NR;
    find_taps(g->s, g->input_grad, row, g->source_h, &w->ys);
    for (int i = 0; i < k; i++) w->column[i] = -1;
    for (int col = first; col < last; col++) {
        find_taps(g->s, g->input_grad, col, g->source_w, &w->xs);
        for (int a = 0; a < w->xs.count; a++) {
            int column = w->xs.source[a];
            if (w->column[column % k] == column) continue;
            pack_column(g, w, column, w->ring + (column % k) * slot);
            w->column[column % k] = column;
        }
        gather_pixel(g, w, row, col);
    }
}

/* Both directions: sweep every row of targets for every chunk of cases. */
static int gather(Gather *g) {
    const ConvShape *s = g->s;
    /* A chunk is as many blocks of NR cases as keep their columns in cache; local goes pixel by pixel instead. */
    const int blocks = s->local ? (MIN(s->N, 128) + NR - 1) / NR : MAX(1, MIN((s->N + NR - 1) / NR, 64 / NR));
    const int chunks = (s->N + blocks * NR - 1) / (blocks * NR);
    const int width = s->local ? 1 : g->cols, strips = (g->cols + width - 1) / width;
    int failed = 0;

    /* Random connections can reach a channel from several groups: scale once, then add. */
    if (g->input_grad && s->conns) {
        const size_t count = (size_t)s->C * s->H * s->W * s->N;
        if (s->st == 0.0f) memset(g->target, 0, count * sizeof(float));
        if (s->st != 0.0f && s->st != 1.0f)
            for (size_t i = 0; i < count; i++) g->target[i] *= s->st;
        g->st = 1.0f;
    }

    /* The weights of a convolution are the same for every pixel. */
    if (!s->local) {
        g->packed = scratch((size_t)s->groups * g->target_channels * g->K);
        if (!g->packed) return 0;
        pack_all(g);
    }

    /* Threads take rows, chunks and strips as they come; if one cannot allocate its memory, the op fails. */
#pragma omp parallel reduction(| : failed)
    {
        Sweep w = {0};
        failed = !sweep_open(&w, g, blocks);
#pragma omp for collapse(3) schedule(dynamic, 1) nowait
        for (int row = 0; row < g->rows; row++)
            for (int chunk = 0; chunk < chunks; chunk++)
                for (int strip = 0; strip < strips; strip++) {
                    if (failed) continue;
                    w.n0 = chunk * blocks * NR;
                    w.blocks = MIN(blocks, (s->N - w.n0 + NR - 1) / NR);
                    for (w.q = 0; w.q < s->groups; w.q++)
                        gather_row(g, &w, row, strip * width, MIN((strip + 1) * width, g->cols));
                }
        sweep_close(&w);
    }
    give_back(g->packed);
    return !failed;
}

static int direct_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    const int Fg = s->F / s->groups;
    Gather g = {
        .s = s, .st = s->st, .weights = weights, .ending = ending,
        .target = out, .rows = s->My, .cols = s->Mx, .target_channels = Fg,
        .source = images, .source_h = s->H, .source_w = s->W, .source_channels = s->Cf, .K = s->k * s->k * s->Cf,
    };
    return gather(&g);
}

/* Random connections can add to a channel from several groups: they take no slope, which would have to come last. */
static int direct_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    const int Fg = s->F / s->groups;
    Gather g = {
        .s = s, .st = s->st, .weights = weights, .input_grad = 1, .slope = slope,
        .target = input_grad, .rows = s->H, .cols = s->W, .target_channels = s->Cf,
        .source = grad, .source_h = s->My, .source_w = s->Mx, .source_channels = Fg, .K = s->k * s->k * Fg,
    };
    return gather(&g);
}
