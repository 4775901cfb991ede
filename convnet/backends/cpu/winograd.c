/* conv by Winograd's methods: forward and the gradient of the input, for filters that move by one pixel.
 *
 * The target is cut into squares of m x m pixels. For each one the n x n pixels of the source that it sees become values at
 * n x n points, for every channel; at each point the channels' values are multiplied with the filters', which is a matrix
 * product as conv.c has it; and the sums become pixels again (winograd_transforms.h). The gradient of the input is the same
 * routine with filters turned about and channels and filters exchanged.
 *
 * A filter of k taps a side is cut into pieces of r and of r - 1 taps: 5 = 3 + 2. A piece of r - 1 taps is one whose last
 * tap is 0, whose value at infinity is then 0 too, so that it takes n - 1 products. Pieces share their points, so their
 * products are added before they become pixels: more rows of one matrix product.
 *
 * Threads share chunks of columns; a column is NR cases of one square. Sums are cut into parts of SUM_ROWS, which are added
 * one after the other: their error grows with the length of the parts, not of the whole. Replaces nothing of 2012.
 */

#define SUM_ROWS 64               /* products of one part of a sum: the error is then that of direct sums (docs/performance.md) */
#define VALUES_FLOATS (192 << 10) /* of a chunk's columns at all points, in the second-level cache if they fit */
#define SUMS_FLOATS (96 << 10)    /* of the filters that are summed before they become pixels */
#define MAX_COLUMNS 2             /* of a chunk */

/* A convolution cut for a method. */
typedef struct {
    Gather g;
    int method;
    const Winograd *w; /* &WINOGRAD[method] */
    int pieces, full; /* of a filter's side; the first ``full`` have r taps, the others r - 1 */
    int shift;        /* pixel of the source under the first tap of target 0 */
    int across, squares, blocks; /* squares in a row and in all, blocks of NR cases */
    int columns, filter_tiles;   /* of a chunk; of one turn of products */
    int first[GRID + 1]; /* first row of each point, in packed and in values */
} Cut;

/* One thread's working memory. */
typedef struct {
    float *values; /* values[column, row, NR] */
    float *sums;   /* sums[tile, column, TH, point, NR], with a point more */
} Turn;

/* Pieces that count at index i of a point: the short ones are 0 at infinity. */
static inline int pieces_at(const Cut *c, int i) { return i < c->w->n - 1 ? c->pieces : c->full; }

/* First tap of a piece. */
static inline int piece_start(const Cut *c, int piece) { return piece * c->w->r - MAX(0, piece - c->full); }

/* Row of channel 0 of the piece (a, b) at the point (i, j). */
static inline size_t value_row(const Cut *c, int i, int j, int a, int b) {
    return c->first[i * c->w->n + j] + ((size_t)a * pieces_at(c, j) + b) * c->g.source_channels;
}

/* The taps of piece (a, b) for one source channel and some target channels, in the direction of the sums. */
static void load_taps(const Cut *c, int q, int a, int b, int channel, int first, int valid, vec *taps) {
    const ConvShape *s = c->g.s;
    const int r = c->w->r, y0 = piece_start(c, a), x0 = piece_start(c, b), Fg = s->F / s->groups;
    const int height = r - (a >= c->full), width = r - (b >= c->full);
    for (int y = 0; y < r; y++)
        for (int x = 0; x < r; x++) {
            float lanes[VW] = {0};
            for (int i = 0; i < valid && y < height && x < width; i++) {
                int ky = y0 + y, kx = x0 + x, slot = channel, f = first + i;
                if (c->g.input_grad) ky = s->k - 1 - ky, kx = s->k - 1 - kx, slot = first + i, f = channel;
                lanes[i] = c->g.weights[(((size_t)slot * s->k + ky) * s->k + kx) * s->F + q * Fg + f];
            }
            memcpy(&taps[y * MAX_POINTS + x], lanes, sizeof lanes);
        }
}

/* Where the pixels of a piece of a square lie in a plane of the source, and its points in values; -1 for those left out. */
typedef struct {
    ptrdiff_t from[GRID], to[GRID];
} Places;

static void find_places(const Cut *c, int a, int b, int square, Places *places) {
    const Gather *g = &c->g;
    const int n = c->w->n, y0 = square / c->across * c->w->m + c->shift + piece_start(c, a);
    const int x0 = square % c->across * c->w->m + c->shift + piece_start(c, b);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const int y = y0 + i, x = x0 + j, inside = y >= 0 && y < g->source_h && x >= 0 && x < g->source_w;
            places->from[i * n + j] = inside ? ((ptrdiff_t)y * g->source_w + x) * g->s->N : -1;
            places->to[i * n + j] = a < pieces_at(c, i) && b < pieces_at(c, j) ? (ptrdiff_t)value_row(c, i, j, a, b) * NR : -1;
        }
}

/* A pointer that compilers choose without a branch, and do not read twice. */
#define AS_IT_IS(pointer) __asm__("" : "+r"(pointer))

/* Values of one piece, one channel and one vector of cases at all points. Processors do not foresee where the next channel
 * is, which lies ``next`` floats on. */
static INLINE void source_values(const Winograd *w, const Places *places, const float *plane, size_t next, float *values) {
    static const float zeros[VW];
    float unused[VW];
    vec d[GRID] ALIGNED, t[GRID] ALIGNED;
    UNROLL for (int y = 0; y < w->n; y++)
        UNROLL for (int x = 0; x < w->n; x++) {
            const ptrdiff_t from = places->from[y * w->n + x];
            const float *at = from < 0 ? zeros : plane + from;
            AS_IT_IS(at);
            d[y * MAX_POINTS + x] = *(const vec *)at;
            __builtin_prefetch(plane + from + next);
        }
    expand_square(w->B, w->n, w->n, d, t);
    UNROLL for (int i = 0; i < w->n; i++)
        UNROLL for (int j = 0; j < w->n; j++) {
            const ptrdiff_t to = places->to[i * w->n + j];
            float *at = to < 0 ? unused : values + to;
            AS_IT_IS(at);
            *(vec *)at = t[i * MAX_POINTS + j];
            __builtin_prefetch(values + to + NR, 1);
        }
}

/* Pixels of one filter and one vector of cases. */
static INLINE void target_pixels(const Winograd *w, const float *sums, vec *pixels) {
    vec t[GRID] ALIGNED;
    UNROLL for (int i = 0; i < w->n; i++)
        UNROLL for (int j = 0; j < w->n; j++) t[i * MAX_POINTS + j] = *(const vec *)(sums + (i * w->n + j) * NR);
    contract_square(w->A, w->n, w->m, t, pixels);
}

/* Each method by functions of its own, in which the compiler knows its matrices. */
#define METHODS(X) X(F2X2_3X3) X(F4X4_3X3) X(F4X4_5X5)
#define DEFINE(id)                                                                                                         \
    static void weight_values_##id(const vec *taps, vec *values) {                                                         \
        expand_square(WINOGRAD[id].G, WINOGRAD[id].n, WINOGRAD[id].r, taps, values);                                       \
    }                                                                                                                      \
    static void source_values_##id(const Places *places, const float *plane, size_t next, float *values) {                              \
        source_values(&WINOGRAD[id], places, plane, next, values);                                                               \
    }                                                                                                                      \
    static void target_pixels_##id(const float *sums, vec *pixels) { target_pixels(&WINOGRAD[id], sums, pixels); }
METHODS(DEFINE)
#define MEMBERS(id) [id] = {weight_values_##id, source_values_##id, target_pixels_##id},
static const struct {
    void (*weight_values)(const vec *taps, vec *values);
    void (*source_values)(const Places *, const float *plane, size_t next, float *values);
    void (*target_pixels)(const float *sums, vec *pixels);
} TRANSFORM[] = {METHODS(MEMBERS)};

/* Where the weights of a tile lie for a point: packed[group, point, tile, row, height of the tile]. */
static inline size_t weights_at(const Cut *c, int point, int tile) {
    const int rows = c->first[point + 1] - 1 - c->first[point];
    return (size_t)c->first[point] * c->g.target_channels + (size_t)tile_first(c->g.target_channels, tile) * rows;
}

/* Values of the weights of one tile at all points. */
static void pack_values(const Cut *c, int q, int tile, float *RESTRICT packed) {
    const int height = tile_height(c->g.target_channels, tile), first = tile_first(c->g.target_channels, tile), n = c->w->n;
    for (int a = 0; a < c->pieces; a++)
        for (int b = 0; b < c->pieces; b++)
            for (int channel = 0; channel < c->g.source_channels; channel++)
                for (int i0 = 0; i0 < height; i0 += VW) {
                    vec taps[GRID] ALIGNED, values[GRID] ALIGNED;
                    const int lanes = MIN(VW, height - i0);
                    load_taps(c, q, a, b, channel, first + i0, lanes, taps);
                    TRANSFORM[c->method].weight_values(taps, values);
                    for (int i = 0; i < n; i++)
                        for (int j = 0; j < n; j++) {
                            if (a >= pieces_at(c, i) || b >= pieces_at(c, j)) continue;
                            const int point = i * n + j, row = value_row(c, i, j, a, b) + channel - c->first[point];
                            float *to = packed + weights_at(c, point, tile) + row * height + i0;
                            memcpy(to, &values[i * MAX_POINTS + j], lanes * sizeof(float));
                        }
                }
}

/* As source_values for the last cases, of which fewer than a vector are there. */
static void last_values(const Cut *c, const Places *places, const float *plane, int valid, float *values) {
    const int points = c->w->n * c->w->n;
    float cases[GRID * VW] = {0};
    Places copied = *places;
    for (int i = 0; i < points; i++) {
        copied.from[i] = i * VW;
        if (places->from[i] >= 0) memcpy(cases + i * VW, plane + places->from[i], valid * sizeof(float));
    }
    TRANSFORM[c->method].source_values(&copied, cases, 0, values);
}

/* Values of the source for a chunk of columns. */
static void chunk_values(const Cut *c, int q, int first, int count, float *values) {
    const Gather *g = &c->g;
    const int N = g->s->N;
    const size_t plane = (size_t)g->source_h * g->source_w * N, column = (size_t)c->first[c->w->n * c->w->n] * NR;
    for (int a = 0; a < c->pieces; a++)
        for (int b = 0; b < c->pieces; b++) {
            Places places[MAX_COLUMNS];
            for (int i = 0; i < count; i++) find_places(c, a, b, (first + i) / c->blocks, &places[i]);
            for (int channel = 0; channel < g->source_channels; channel++)
                for (int i = 0; i < count; i++)
                    for (int v = 0; v < NV; v++) {
                        const int n0 = (first + i) % c->blocks * NR + v * VW, valid = N - n0;
                        const float *from = g->source + ((size_t)q * g->source_channels + channel) * plane + n0;
                        float *to = values + i * column + (size_t)channel * NR + v * VW;
                        if (valid >= VW)
                            TRANSFORM[c->method].source_values(&places[i], from, plane, to);
                        else if (valid > 0)
                            last_values(c, &places[i], from, valid, to);
                    }
        }
}

/* Floats of one filter's sums at all points. */
static inline int sum_floats(const Cut *c) { return (c->w->n * c->w->n + 1) * NR; }

/* Sums at one point, for some tiles and the columns of a chunk. */
static void point_sums(const Cut *c, int point, int first_tile, int tiles, const float *packed, int first, int count, Turn *turn) {
    const int points = c->w->n * c->w->n, rows = c->first[point + 1] - 1 - c->first[point], row_floats = sum_floats(c);
    for (int i = 0; i < count; i++) {
        const float *values = turn->values + ((size_t)i * c->first[points] + c->first[point]) * NR;
        const int cases = c->g.s->N - (first + i) % c->blocks * NR;
        for (int t = 0; t < tiles; t++) {
            const int height = tile_height(c->g.target_channels, first_tile + t);
            const Tile tile = packed_tile(height, cases, packed + weights_at(c, point, first_tile + t));
            float *sums = turn->sums + ((size_t)t * c->columns + i) * TH * row_floats + point * NR;
            for (int row = 0; row == 0 || row < rows; row += SUM_ROWS) {
                const Run run = {row, MIN(SUM_ROWS, rows - row), values + row * NR};
                for (int j = 0; j < SUM_ROWS * height; j += LINE) /* the weights of the next part or tile */
                    __builtin_prefetch(tile.weights + (row + SUM_ROWS) * height + j);
                tile_product(&tile, &run, 1, sums, row_floats, row > 0);
            }
        }
    }
}

/* Sums of one tile and column become pixels of the target. */
static void store_square(const Cut *c, int q, int tile, int index, const float *sums) {
    const Gather *g = &c->g;
    const int square = index / c->blocks, n0 = index % c->blocks * NR, m = c->w->m, vectors = c->g.s->N - n0 > VW ? NV : 1;
    const int y0 = square / c->across * m, x0 = square % c->across * m, first = tile_first(g->target_channels, tile);
    for (int i = 0; i < tile_height(g->target_channels, tile); i++) {
        vec pixels[NV][GRID] ALIGNED;
        for (int v = 0; v < vectors; v++) TRANSFORM[c->method].target_pixels(sums + i * sum_floats(c) + v * VW, pixels[v]);
        for (int y = 0; y < MIN(m, g->rows - y0); y++)
            for (int x = 0; x < MIN(m, g->cols - x0); x++) {
                float cases[NR];
                for (int v = 0; v < vectors; v++) *(vec *)(cases + v * VW) = pixels[v][y * MAX_POINTS + x];
                const int channel = q * g->target_channels + first + i;
                const size_t pixel = (size_t)(y0 + y) * g->cols + x0 + x;
                /* Where the next channel of this pixel goes. */
                prefetch_target(g, ((channel + 1) * (size_t)g->rows * g->cols + pixel) * g->s->N + n0);
                store_target(g, channel, pixel, n0, cases);
            }
    }
}

/* Columns ``first`` to ``first`` + ``count`` of one group. */
static void winograd_chunk(const Cut *c, Turn *turn, int q, int first, int count) {
    const int points = c->w->n * c->w->n, all = tile_count(c->g.target_channels);
    const float *packed = c->g.packed + (size_t)q * c->g.target_channels * c->first[points];
    chunk_values(c, q, first, count, turn->values);
    for (int t0 = 0; t0 < all; t0 += c->filter_tiles) {
        const int tiles = MIN(c->filter_tiles, all - t0);
        for (int p = 0; p < points; p++) point_sums(c, p, t0, tiles, packed, first, count, turn);
        for (int t = 0; t < tiles; t++)
            for (int i = 0; i < count; i++)
                store_square(c, q, t0 + t, first + i, turn->sums + ((size_t)t * c->columns + i) * TH * sum_floats(c));
    }
}

/* How many pieces a filter of k taps a side makes for pieces of r and r - 1 taps, or 0 where there are none such. */
static int pieces_of(int k, int r) {
    const int pieces = (k + r - 1) / r;
    return k >= (r - 1) * pieces ? pieces : 0;
}

static void cut_for(Cut *c, int method) {
    const ConvShape *s = c->g.s;
    const Winograd *w = c->w = &WINOGRAD[method];
    c->method = method;
    c->pieces = pieces_of(s->k, w->r);
    c->full = s->k - (w->r - 1) * c->pieces;
    c->shift = c->g.input_grad ? s->padding - (s->k - 1) : -s->padding;
    c->across = (c->g.cols + w->m - 1) / w->m;
    c->squares = c->across * ((c->g.rows + w->m - 1) / w->m);
    c->blocks = (s->N + NR - 1) / NR;
    /* One row between points keeps them from falling on the same lines of the first-level cache. */
    for (int i = 0, row = 0; i < w->n; i++)
        for (int j = 0; j < w->n; j++) {
            row += pieces_at(c, i) * pieces_at(c, j) * c->g.source_channels + 1;
            c->first[i * w->n + j + 1] = row;
        }
    const int points = w->n * w->n;
    c->columns = MAX(1, MIN(MAX_COLUMNS, VALUES_FLOATS / (c->first[points] * NR)));
    c->filter_tiles = MAX(1, MIN(tile_count(c->g.target_channels), SUMS_FLOATS / (c->columns * TH * sum_floats(c))));
}

static int winograd(Gather *g, int method) {
    Cut c = {.g = *g};
    cut_for(&c, method);
    const int groups = g->s->groups, points = c.w->n * c.w->n, rows = c.first[points], all = c.squares * c.blocks;
    const size_t group = (size_t)g->target_channels * rows;
    int failed = 0;
    float *packed = scratch(groups * group);
    if (!packed) return 0;
    c.g.packed = packed;
#pragma omp parallel reduction(| : failed)
    {
        Turn turn = {scratch((size_t)c.columns * rows * NR), scratch((size_t)c.filter_tiles * c.columns * TH * sum_floats(&c))};
        failed = !turn.values || !turn.sums;
#pragma omp for collapse(2) schedule(static)
        for (int q = 0; q < groups; q++)
            for (int t = 0; t < tile_count(g->target_channels); t++) pack_values(&c, q, t, packed + q * group);
#pragma omp for collapse(2) schedule(dynamic, 1) nowait
        for (int q = 0; q < groups; q++)
            for (int first = 0; first < all; first += c.columns)
                if (!failed) winograd_chunk(&c, &turn, q, first, MIN(c.columns, all - first));
        give_back(turn.values), give_back(turn.sums);
    }
    give_back(packed);
    return !failed;
}
