/* conv and local: the weights of tiles, and the columns of the source, packed for their products (conv.c).
 *
 *   packed[group, tile, (kx, ky, channel), row of the tile]     weights, once per call
 *   ring[slot, block of cases, (y, channel), NR]                columns of the source, as a thread sweeps the target
 *
 * A product of packed rows runs at 97 % of what the processor can multiply, so that the rest is in packing: in rows that
 * come from far. Those that the next column of the target adds are asked for and packed between the products of the
 * current one. Each thread has a ring of its own.
 */

#define MAX_BAND 8 /* target rows that are swept together at most */

/* Which source indices a target index sees along one axis: source, source + 1, ... at the taps tap, tap + step, ... */
typedef struct {
    int count, source, tap, step;
} Taps;

/* A convolution in terms of target and source: out and images forward, input_grad and grad backward. */
typedef struct {
    const ConvShape *s;
    int input_grad;          /* whether the target is input_grad */
    int rows, cols;          /* of the target */
    int source_h, source_w;
    int target_channels, source_channels; /* per group */
    int K;                   /* rows of a tile: k * k * source_channels, by (kx, ky, channel), ky as the source ascends */
    int blocks, band, width; /* a share of the work: blocks of NR cases, target rows and columns */
    const float *source, *weights;
    float *target, *packed;  /* packed[group, tile, K, height of the tile], but for local */
    float st;
    int streams;             /* whether the target is stored past the caches */
    const Ending *ending;    /* forward */
    const Slope *slope;      /* backward, or NULL */
} Gather;

static Taps find_taps(const ConvShape *s, int input_grad, int target, int side) {
    if (!input_grad) {
        const int origin = target * s->stride - s->padding, tap = MAX(0, -origin);
        return (Taps){MAX(0, MIN(s->k, side - origin) - tap), origin + tap, tap, 1};
    }
    const int end = target + s->padding, over = end - (s->k - 1), source = over > 0 ? (over + s->stride - 1) / s->stride : 0;
    const int last = end < 0 ? -1 : MIN(side - 1, end / s->stride); /* a padding may be below zero */
    return (Taps){MAX(0, last - source + 1), source, end - source * s->stride, -s->stride};
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
    const float *w = g->weights + (s->local ? module * s->Cf * taps * s->F : 0) + ((size_t)ky * s->k + kx) * s->F + q * Fg;
    if (!g->input_grad) {
        for (int j = 0; j < g->source_channels; j++)
            for (int i = 0; i < height; i++) packed[(size_t)j * height + i] = w[j * taps * s->F + first + i];
    } else {
        for (int i = 0; i < height; i++)
            for (int j = 0; j < g->source_channels; j++) packed[(size_t)j * height + i] = w[(first + i) * taps * s->F + j];
    }
}

/* First packed row of a tap. */
static inline size_t tap_row(const Gather *g, int ky, int kx) {
    const int k = g->s->k;
    return (size_t)(kx * k + (g->input_grad ? k - 1 - ky : ky)) * g->source_channels;
}

/* Pack all of a convolution's weights, once per call. */
static void pack_all(const Gather *g) {
    const ConvShape *s = g->s;
    const int tiles = tile_count(g->target_channels);
#pragma omp parallel for collapse(3) schedule(static)
    for (int q = 0; q < s->groups; q++)
        for (int t = 0; t < tiles; t++)
            for (int kx = 0; kx < s->k; kx++) {
                const int first = tile_first(g->target_channels, t), height = tile_height(g->target_channels, t);
                float *packed = g->packed + ((size_t)q * g->target_channels + first) * g->K;
                for (int ky = 0; ky < s->k; ky++)
                    pack_tap(g, q, first, height, ky, kx, 0, packed + tap_row(g, ky, kx) * height);
            }
}

/* Rows of the source that are next, channel by channel, then y by y, then column by column: how many are left, which is the
 * first, and where the one before it is, and its copy in the ring. */
typedef struct {
    int left, column, y, channel;
    const float *row;
    float *copy;
} Upcoming;

/* One thread's sweep over a band of target rows, for one group and some blocks of NR cases; and its working memory. */
typedef struct {
    int q, n0, blocks;
    int row, rows, y0, height; /* the band, and the source rows that it sees: height rows from y0 on */
    Taps ys[MAX_BAND], xs;     /* of the band's rows, and of the current column of the target */
    Run *runs;                 /* runs[row of the band, k * k] */
    int run_count[MAX_BAND];
    float *ring;               /* ring[slot of a source column, block, y, channel, NR] */
    Upcoming fetch, pack;      /* to be asked for, and to be packed */
    float *weights;            /* input gradient of local: packed weights of one pixel and tile */
} Sweep;

/* Source rows that a band of ``rows`` sees at most. */
static inline int band_height(const Gather *g, int rows) {
    const ConvShape *s = g->s;
    return g->input_grad ? (rows + s->k - 2) / s->stride + 1 : (rows - 1) * s->stride + s->k;
}

/* Slots of the ring: from the first column that a target sees to the last that the next one does. */
static inline int ring_slots(const Gather *g) { return g->s->k + (g->input_grad ? 1 : g->s->stride); }

static inline size_t ring_floats(const Gather *g, int rows) {
    return (size_t)ring_slots(g) * g->blocks * band_height(g, rows) * g->source_channels * NR;
}

static int sweep_open(Sweep *w, const Gather *g) {
    const ConvShape *s = g->s;
    const size_t taps = (size_t)s->k * s->k;
    w->runs = (Run *)scratch(g->band * taps * sizeof(Run) / sizeof(float));
    w->ring = scratch(ring_floats(g, g->band));
    w->weights = s->local && g->input_grad ? scratch((size_t)g->K * TH) : NULL;
    return w->runs && w->ring && (w->weights || !s->local || !g->input_grad);
}

static void sweep_close(Sweep *w) {
    give_back((float *)w->runs), give_back(w->ring), give_back(w->weights);
}

/* The block of the ring that holds a source column. */
static inline float *ring_column(const Gather *g, const Sweep *w, int column) {
    return w->ring + (size_t)(column % ring_slots(g)) * w->blocks * w->height * g->source_channels * NR;
}

/* Go on to the next row of the source, whose cases n0 on are then at r->row. */
static inline void next_row(const Gather *g, const Sweep *w, Upcoming *r) {
    const ConvShape *s = g->s;
    if (r->channel > 0 && !s->conns) {
        r->row += (size_t)g->source_h * g->source_w * s->N;
    } else {
        const int channel = g->input_grad ? w->q * g->source_channels + r->channel : image_channel(s, w->q, r->channel);
        r->row = g->source + (((size_t)channel * g->source_h + w->y0 + r->y) * g->source_w + r->column) * s->N + w->n0;
    }
    r->copy = r->channel + r->y > 0 ? r->copy + NR : ring_column(g, w, r->column);
    r->left--;
    if (++r->channel == g->source_channels) r->channel = 0, r->y++;
    if (r->y == w->height) r->y = 0, r->column++;
}

/* Pack the next ``count`` rows into the ring, zeros past the last case. */
static void pack_rows(const Gather *g, Sweep *w, int count) {
    const size_t block = (size_t)w->height * g->source_channels * NR;
    for (; count > 0; count--) {
        next_row(g, w, &w->pack);
        const float *from = w->pack.row;
        float *to = w->pack.copy;
        for (int b = 0; b < w->blocks; b++, from += NR, to += block) {
            const int valid = MIN(NR, g->s->N - w->n0 - b * NR);
            if (valid == NR) {
                for (int v = 0; v < NV; v++) *(vec *)(to + v * VW) = *(const vec *)(from + v * VW);
            } else {
                memcpy(to, from, valid * sizeof(float));
                memset(to + valid, 0, (NR - valid) * sizeof(float));
            }
        }
    }
}

/* Pack the rows that were asked for, and ask for ``count`` more, which come from far while a tile is computed. */
static void pack_ahead(const Gather *g, Sweep *w, int count) {
    const int floats = MIN(w->blocks * NR, g->s->N - w->n0);
    pack_rows(g, w, w->pack.left - w->fetch.left);
    for (count = MIN(count, w->fetch.left); count > 0; count--) {
        next_row(g, w, &w->fetch);
        prefetch_row(w->fetch.row, floats);
    }
}

/* Let the columns that a target sees be next, from ``column`` on. */
static void look_at(const Gather *g, Sweep *w, Taps xs, int column) {
    const int columns = MAX(0, xs.source + xs.count - MAX(column, xs.source));
    w->fetch = w->pack = (Upcoming){columns * w->height * g->source_channels, MAX(column, xs.source), 0, 0, NULL, NULL};
}
