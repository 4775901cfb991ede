/* fc and sfc: the gradient of the weights (numerics 4).
 *
 *   weight_grad[f, k] = sum over n of grad[f, n] * x[k, n]
 *
 * Both factors are transposed: gradients, times scale_output, in tiles of up to TH outputs, once, and inputs in panels of NR, by
 * the tasks that want them. Each tile of weight_grad is then read and written once for every FC_CASES cases. It is far larger
 * than a cache, so that tiles to come are prefetched. Threads share the tiles; sums over cases follow each other in an order
 * that sizes alone decide.
 * Replaces 2012's products by cuBLAS.
 */

#define WEIGHT_PANELS 8 /* of inputs, in a task: they stay in the second-level cache */
#define WEIGHT_TASKS 16 /* about, for threads to share; in more, inputs would be transposed again */
#define WEIGHT_AHEAD 4  /* panels from a tile to the one that is prefetched, some rows before each run: see Ahead in fc.c */
#define WEIGHT_RUN 8    /* cases of a run */
#define TILE_ROW (ceil_div(TH, VW) * VW) /* floats of a row of gradients: whole vectors, to transpose them */

typedef struct {
    const FcShape *s;
    int tiles, panels; /* of a part */
    float *grad;       /* grad[part, tile, n, TILE_ROW] */
    const float *x;
    float *weight_grad;
} FcWeightGrad;

static void pack_grad(const FcWeightGrad *w, int part, int tile, const float *grad) {
    const FcShape *s = w->s;
    const size_t floats = (size_t)s->N * TILE_ROW;
    float *to = w->grad + ((size_t)part * w->tiles + tile) * floats;
    transpose(grad + ((size_t)part * s->F + tile_first(s->F, tile)) * s->N, s->N, s->N, tile_height(s->F, tile), TILE_ROW, to,
              TILE_ROW);
    for (size_t i = 0; i < floats; i++) to[i] *= s->so;
}

/* to[panel, n, NR] = the inputs of panels p0 to p1 - 1 of a part, with zeros past the last. */
static void pack_inputs(const FcWeightGrad *w, int part, int p0, int p1, float *to) {
    const FcShape *s = w->s;
    for (int p = p0; p < p1; p++, to += (size_t)s->N * NR)
        transpose(w->x + ((size_t)part * s->K + p * NR) * s->N, s->N, s->N, MIN(NR, s->K - p * NR), NR, to, NR);
}

/* out = st * out + the tile's sums, of which ``valid`` columns are there. */
static void partial_tile(const Tile *tile, const Run *runs, int count, float *out, size_t stride, float st, int valid) {
    float sums[TH * NR];
    tile_product(tile, runs, count, sums, NR, 0);
    for (int i = 0; i < tile->height; i++) store_grad(NULL, i * stride, st, valid, sums + i * NR, out);
}

/* Add the terms of ``runs`` to panels p0 to p1 - 1 of a tile, which are neighbours in memory; those of tile ``next`` follow. */
static void weight_tile(const FcWeightGrad *w, int part, int t, int next, int p0, int p1, const Run *runs, int count, float st) {
    const FcShape *s = w->s;
    const size_t stride = (size_t)s->K * s->parts;
    float *out = w->weight_grad + (size_t)part * s->K, *after = out + tile_first(s->F, next) * stride;
    Tile tile = {.height = tile_height(s->F, t), .weights = w->grad + ((size_t)part * w->tiles + t) * s->N * TILE_ROW,
                 .weight_row = TILE_ROW, .weight_step = TILE_ROW, .case_step = NR, .ahead_step = stride};
    tile.fetched = ceil_div(tile.height, count);
    out += tile_first(s->F, t) * stride;
    for (int p = p0; p < p1; p++, tile.case_offset += (size_t)s->N * NR) {
        const int valid = MIN(NR, s->K - p * NR), ahead = p + WEIGHT_AHEAD;
        tile.vectors = valid > VW ? NV : 1;
        tile.ahead = ahead < p1 ? out + ahead * NR : after + MIN(p0 + ahead - p1, p1 - 1) * NR;
        if (valid % VW == 0)
            tile_product(&tile, runs, count, out + p * NR, stride, st);
        else
            partial_tile(&tile, runs, count, out + p * NR, stride, st, valid);
    }
}

/* Tiles t0 to t1 - 1 and panels p0 to p1 - 1 of a part, with memory for these. The runs are stored once for all tiles: stores to
 * the weights' gradients wait for memory, and others wait behind them. */
static void weight_task(const FcWeightGrad *w, int part, int t0, int t1, int p0, int p1, float *packed) {
    const int N = w->s->N, depth = even_piece(N, FC_CASES);
    pack_inputs(w, part, p0, p1, packed);
    for (int n0 = 0; n0 < N; n0 += depth) {
        Run runs[FC_CASES / WEIGHT_RUN];
        int count = 0;
        for (int n = n0, end = MIN(N, n0 + depth); n < end; n += WEIGHT_RUN)
            runs[count++] = (Run){n, MIN(WEIGHT_RUN, end - n), packed + n * NR};
        for (int t = t0; t < t1; t++) weight_tile(w, part, t, MIN(t + 1, t1 - 1), p0, p1, runs, count, n0 ? 1.0f : w->s->st);
    }
}

static int fc_weight_grad(const FcShape *s, const float *x, const float *grad, float *weight_grad) {
    FcWeightGrad w = {.s = s, .tiles = tile_count(s->F), .panels = ceil_div(s->K, NR), .x = x, .weight_grad = weight_grad};
    const int down = ceil_div(w.tiles, ceil_div(WEIGHT_TASKS, s->parts * ceil_div(w.panels, WEIGHT_PANELS)));
    w.grad = scratch((size_t)s->parts * w.tiles * s->N * TILE_ROW);
    int failed = !w.grad;
#pragma omp parallel reduction(| : failed)
    {
        float *packed = scratch((size_t)WEIGHT_PANELS * s->N * NR);
        failed |= !packed;
#pragma omp for collapse(2) schedule(static)
        for (int part = 0; part < s->parts; part++)
            for (int t = 0; t < w.tiles; t++)
                if (w.grad) pack_grad(&w, part, t, grad);

#pragma omp for collapse(3) schedule(dynamic, 1)
        for (int part = 0; part < s->parts; part++)
            for (int t = 0; t < w.tiles; t += down)
                for (int p = 0; p < w.panels; p += WEIGHT_PANELS)
                    if (w.grad && packed)
                        weight_task(&w, part, t, MIN(w.tiles, t + down), p, MIN(w.panels, p + WEIGHT_PANELS), packed);
        give_back(packed);
    }
    give_back(w.grad);
    return !failed;
}
