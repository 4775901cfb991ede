/* conv and local: forward, and the gradient of the input (numerics 2.4, 2.9).
 *
 *   forward     out[f, my, mx, n]        = sum over c, ky, kx of weights[c, ky, kx, f] * images[c, y, x, n]
 *   input grad  input_grad[c, y, x, n]   = sum over f, ky, kx of weights[c, ky, kx, f] * grad[f, my, mx, n]
 *
 * with y = -padding + my*stride + ky, x alike; taps outside the image are left out, not multiplied by zero.
 *
 * Both are one routine, "gather": each target pixel is a matrix product of packed weights (see tile.h) and the columns of
 * the source that it sees, packed as rows of NR cases. Neighbouring targets share columns, so a thread that sweeps a band
 * of target rows keeps the last columns in a ring and packs only the new ones, once for all rows of the band. Threads share
 * bands, chunks of cases and, in local, strips of a band. Replaces 2012's filterActs_* and img_acts_* kernels.
 */

/* How work is cut; measured on layers-imagenet and layers-cifar10-18pct with 1 MiB of second-level cache. */
#define RING_FLOATS (240 << 10) /* of packed columns; a smaller ring leaves weights more cache, but has them read more often */
#define MIN_CHUNK 32            /* cases that are swept together */
#define MAX_CHUNK 128
#define ROW_COST 32             /* what a row of the source costs to pack beside its cases, in cases */
#define STREAM_FLOATS (1 << 20) /* a target of so many or more is streamed: caches would not keep it until it is read */
#define MIN_SHARES 8            /* into which work is cut, if its size allows: threads then end at about the same time */

/* store_target for a number of cases that the compiler may know. */
static INLINE void store_cases(const Gather *g, int channel, size_t pixel, int n, int valid, float *RESTRICT row) {
    const size_t pixels = (size_t)g->rows * g->cols, at = (channel * pixels + pixel) * g->s->N + n;
    blend_row(g->slope, at, g->st, valid, row, g->target);
    if (g->ending) finish_row(g->ending, channel, pixel, pixels, valid, row);
    memcpy(g->target + at, row, valid * sizeof(float));
}

/* Cases n to n + NR of target[channel, pixel]: forward with the ending, backward times the slope. */
static void store_target(const Gather *g, int channel, size_t pixel, int n, float *RESTRICT row) {
    if (n + NR <= g->s->N)
        store_cases(g, channel, pixel, n, NR, row);
    else
        store_cases(g, channel, pixel, n, g->s->N - n, row);
}

/* The runs of row ``r`` of the band at the current column, for the first block of cases. Taps that follow each other in
 * both packings join into one run. Weights that are read in place have one for each tap. */
static void make_runs(const Gather *g, Sweep *w, int r) {
    const ConvShape *s = g->s;
    const int C = g->source_channels, in_place = s->local && !g->input_grad;
    const Taps ys = w->ys[r], xs = w->xs;
    const int joined = !in_place && (ys.step == 1 || ys.step == -1) ? ys.count : 1;
    Run *run = w->runs + (size_t)r * s->k * s->k;
    for (int a = 0; a < xs.count; a++) {
        const float *column = ring_column(g, w, xs.source + a);
        for (int t = 0; t < ys.count; t += joined) {
            const int ky = ys.tap + t * ys.step, kx = xs.tap + a * xs.step;
            const int row = in_place ? ky * s->k + kx : (int)tap_row(g, ky, kx);
            *run++ = (Run){row, joined * C, column + (size_t)(ys.source - w->y0 + t) * C * NR};
        }
    }
    w->run_count[r] = run - (w->runs + (size_t)r * s->k * s->k);
}

/* local: pack the weights of one tile for a pixel of input_grad, at the rows that its runs name. */
static void pack_pixel(const Gather *g, Sweep *w, int first, int height, int r) {
    const Taps ys = w->ys[r], xs = w->xs;
    for (int a = 0; a < xs.count; a++)
        for (int t = 0; t < ys.count; t++) {
            const int ky = ys.tap + t * ys.step, kx = xs.tap + a * xs.step;
            const int module = (ys.source + t) * g->s->Mx + xs.source + a;
            pack_tap(g, w->q, first, height, ky, kx, module, w->weights + tap_row(g, ky, kx) * height);
        }
}

/* The weights of a tile for row ``r`` of the band: packed, or for local's forward where they are. */
static Tile find_weights(const Gather *g, Sweep *w, int first, int height, int r, int col) {
    const ConvShape *s = g->s;
    if (!s->local) return packed_tile(height, NR, g->packed + ((size_t)w->q * g->target_channels + first) * g->K);
    Tile tile = packed_tile(height, NR, w->weights);
    if (g->input_grad) {
        pack_pixel(g, w, first, height, r);
    } else {
        const size_t taps = (size_t)s->k * s->k, module = (size_t)(w->row + r) * g->cols + col;
        /* weights[module, 0, 0, 0, first filter of the tile] */
        tile.weights = g->weights + module * s->Cf * taps * s->F + w->q * g->target_channels + first;
        tile.weight_row = s->F, tile.weight_step = taps * s->F;
    }
    return tile;
}

/* Prefetch the lines of the target from ``at`` on, unless they are streamed, and the outputs that their slope depends on. */
static INLINE void prefetch_target(const Gather *g, size_t at) {
    for (int j = 0; j < NR; j += LINE) {
        if (!g->streams) __builtin_prefetch(g->target + at + j, 1);
        if (g->slope) __builtin_prefetch(g->slope->y + at + j);
    }
}

/* Where the rows of a tile go: target[channel, pixel, n]. */
typedef struct {
    size_t pixel;
    int n, height;
    int channel[TH];
    float biases[TH]; /* of the channels */
} Place;

static inline size_t place_at(const Gather *g, const Place *p, int i) {
    return ((size_t)p->channel[i] * g->rows * g->cols + p->pixel) * g->s->N + p->n;
}

/* Put a tile's sums in their place. Most go there from registers: as they are, or through a relu or its slope. */
static void place_tile(const Gather *g, const Place *p, const Tile *tile, const Run *runs, int count) {
    const ConvShape *s = g->s;
    const Ending *e = g->ending;
    const int kind = e ? e->f.kind : g->slope ? g->slope->f.kind : IDENT, relu = kind == RELU;
    /* Whole blocks whose channels follow each other: input gradients with random connections scatter theirs. */
    if (p->n + NR <= s->N && !(g->input_grad && s->conns) && (relu || kind == IDENT)) {
        const size_t at = place_at(g, p, 0);
        const float *ys = g->slope && relu ? g->slope->y + at : NULL;
        const Finish finish = {ys, e ? p->biases : NULL, e && relu, g->streams};
        finished_product(tile, runs, count, g->target + at, (size_t)g->rows * g->cols * s->N, g->st, &finish);
        return;
    }
    float sums[TH * NR];
    tile_product(tile, runs, count, sums, NR, 0);
    for (int i = 0; i < p->height; i++) store_target(g, p->channel[i], p->pixel, p->n, sums + i * NR);
}

/* All channels of the group at one column of the band, whose source columns lie in the ring. The next ones are packed, and
 * lines of the target are asked for, while there is arithmetic to do. */
static void gather_pixels(const Gather *g, Sweep *w, int col) {
    const ConvShape *s = g->s;
    const size_t block = (size_t)w->height * g->source_channels * NR;
    const int tiles = tile_count(g->target_channels), products = tiles * w->rows * w->blocks;
    const int share = (w->pack.left + products - 1) / products;
    for (int r = 0; r < w->rows; r++) make_runs(g, w, r);
    for (int t = 0; t < tiles; t++) {
        const int first = tile_first(g->target_channels, t);
        Place p = {.height = tile_height(g->target_channels, t)};
        for (int i = 0; i < p.height; i++)
            p.channel[i] = g->input_grad ? image_channel(s, w->q, first + i) : w->q * g->target_channels + first + i;
        for (int r = 0; r < w->rows; r++) {
            Tile tile = find_weights(g, w, first, p.height, r, col);
            p.pixel = (size_t)(w->row + r) * g->cols + col;
            for (int i = 0; g->ending && i < p.height; i++)
                p.biases[i] = bias_at(g->ending, p.channel[i], p.pixel, (size_t)g->rows * g->cols);
            for (int b = 0; b < w->blocks; b++) {
                p.n = w->n0 + b * NR;
                tile.case_offset = b * block;
                tile.vectors = s->N - p.n > VW ? NV : 1;
                pack_ahead(g, w, share);
                for (int i = 0; i < p.height; i++) prefetch_target(g, place_at(g, &p, i));
                place_tile(g, &p, &tile, w->runs + (size_t)r * s->k * s->k, w->run_count[r]);
            }
        }
    }
}

/* Columns ``first`` to ``last`` of a band. Source columns that the ring does not hold yet are packed on the way. */
static void gather_band(const Gather *g, Sweep *w, int first, int last) {
    int y1 = 0;
    w->y0 = g->source_h;
    for (int r = 0; r < w->rows; r++) {
        w->ys[r] = find_taps(g->s, g->input_grad, w->row + r, g->source_h);
        if (w->ys[r].count == 0) continue;
        w->y0 = MIN(w->y0, w->ys[r].source), y1 = MAX(y1, w->ys[r].source + w->ys[r].count);
    }
    w->height = MAX(0, y1 - w->y0);
    look_at(g, w, find_taps(g->s, g->input_grad, first, g->source_w), 0);
    for (int col = first; col < last; col++) {
        pack_rows(g, w, w->pack.left);
        w->xs = find_taps(g->s, g->input_grad, col, g->source_w);
        look_at(g, w, find_taps(g->s, g->input_grad, MIN(col + 1, last - 1), g->source_w), w->xs.source + w->xs.count);
        gather_pixels(g, w, col);
    }
}

/* Cut the work, so that the ring fits its share of the cache and shares stay many: cases in chunks and target rows in bands.
 * High bands pack fewer rows of the source for each target, wide chunks do so at less cost for each row. Local, whose
 * weights are new for each pixel, uses them for as many cases as it may. */
static void cut(Gather *g) {
    const int all = (g->s->N + NR - 1) / NR;
    float least = INFINITY;
    g->width = g->cols;
    for (int cases = MAX(NR, g->s->local ? MAX_CHUNK : MIN_CHUNK); cases <= MAX(NR, MAX_CHUNK); cases *= 2) {
        Gather trial = *g;
        trial.blocks = MIN(all, cases / NR), trial.band = MIN(MAX_BAND, g->rows);
        const int chunks = (all + trial.blocks - 1) / trial.blocks;
        while (trial.band > 1 && (ring_floats(&trial, trial.band) > RING_FLOATS ||
                                  (g->rows + trial.band - 1) / trial.band * chunks < MIN_SHARES))
            trial.band--;
        const float cost = (float)band_height(g, trial.band) / trial.band * (1 + (float)ROW_COST / (trial.blocks * NR));
        if (cost < least && (least == INFINITY || ring_floats(&trial, trial.band) <= RING_FLOATS)) {
            g->blocks = trial.blocks, g->band = trial.band, least = cost;
        }
    }
    if (g->s->local)
        while (g->width > 1 && g->rows * ((g->cols + g->width - 1) / g->width) < MIN_SHARES) g->width = (g->width + 1) / 2;
}

/* Both directions: sweep every band of targets for every chunk of cases. */
static int gather(Gather *g) {
    const ConvShape *s = g->s;
    cut(g);
    const int chunks = (s->N + g->blocks * NR - 1) / (g->blocks * NR), bands = (g->rows + g->band - 1) / g->band;
    const int strips = (g->cols + g->width - 1) / g->width;
    int failed = 0;

    /* Random connections can reach a channel from several groups: scale once, then add. */
    if (g->input_grad && s->conns) {
        const size_t count = (size_t)s->C * s->H * s->W * s->N;
        if (s->st == 0.0f) memset(g->target, 0, count * sizeof(float));
        if (s->st != 0.0f && s->st != 1.0f)
            for (size_t i = 0; i < count; i++) g->target[i] *= s->st;
        g->st = 1.0f;
    }
    g->streams = g->st == 0.0f && NR >= LINE && s->N % LINE == 0 && (uintptr_t)g->target % (LINE * sizeof(float)) == 0 &&
                 (size_t)s->groups * g->target_channels * g->rows * g->cols * s->N >= STREAM_FLOATS;

    /* The weights of a convolution are the same for every pixel. */
    if (!s->local) {
        g->packed = scratch((size_t)s->groups * g->target_channels * g->K);
        if (!g->packed) return 0;
        pack_all(g);
    }

    /* Threads take bands, chunks and strips as they come; if one cannot allocate its memory, the op fails. */
#pragma omp parallel reduction(| : failed)
    {
        Sweep w = {0};
        failed = !sweep_open(&w, g);
#pragma omp for collapse(3) schedule(dynamic, 1) nowait
        for (int band = 0; band < bands; band++)
            for (int chunk = 0; chunk < chunks; chunk++)
                for (int strip = 0; strip < strips; strip++) {
                    if (failed) continue;
                    w.n0 = chunk * g->blocks * NR;
                    w.blocks = MIN(g->blocks, (s->N - w.n0 + NR - 1) / NR);
                    w.row = (int)((int64_t)g->rows * band / bands);
                    w.rows = (int)((int64_t)g->rows * (band + 1) / bands) - w.row;
                    for (w.q = 0; w.q < s->groups; w.q++)
                        gather_band(g, &w, strip * g->width, MIN((strip + 1) * g->width, g->cols));
                }
        fence_streams();
        sweep_close(&w);
    }
    give_back(g->packed);
    return !failed;
}

static Gather forward_gather(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    return (Gather){
        .s = s, .st = s->st, .weights = weights, .ending = ending,
        .target = out, .rows = s->My, .cols = s->Mx, .target_channels = s->F / s->groups,
        .source = images, .source_h = s->H, .source_w = s->W, .source_channels = s->Cf, .K = s->k * s->k * s->Cf,
    };
}

static Gather input_grad_gather(const ConvShape *s, const float *grad, const float *weights, const Slope *slope,
                                float *input_grad) {
    const int Fg = s->F / s->groups;
    return (Gather){
        .s = s, .st = s->st, .weights = weights, .input_grad = 1, .slope = slope,
        .target = input_grad, .rows = s->H, .cols = s->W, .target_channels = s->Cf,
        .source = grad, .source_h = s->My, .source_w = s->Mx, .source_channels = Fg, .K = s->k * s->k * Fg,
    };
}

static int direct_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    Gather g = forward_gather(s, images, weights, ending, out);
    return gather(&g);
}

/* Random connections can add to a channel from several groups: they take no slope, which would have to come last. */
static int direct_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    Gather g = input_grad_gather(s, grad, weights, slope, input_grad);
    return gather(&g);
}
