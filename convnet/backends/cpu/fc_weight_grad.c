/* fc and sfc: the gradient of the weights (numerics 4).
 *
 *   weight_grad[f, k] = sum over n of grad[f, n] * x[k, n]
 *
 * Both factors are transposed once: gradients, times scale_output, in tiles of up to TH outputs, and inputs in panels of NR.
 * Each tile of weight_grad is then read and written once. It is far larger than a cache, so that tiles to come are fetched.
 * Threads share the tiles; sums over cases follow each other in an order that sizes alone decide.
 * Replaces 2012's products by cuBLAS.
 */

#define WEIGHT_TILES 37 /* of a task: their gradients stay in the second-level cache */
#define WEIGHT_PANELS 8 /* of inputs, in a task, for the same reason */
#define SHORT_SUM 48    /* sums of fewer cases take the time of their stores, which then go along whole rows, */
#define SHORT_AHEAD 4   /* and are fetched so many panels ahead */
#define TILE_ROW (ceil_div(TH, VW) * VW) /* floats of a row of gradients: whole vectors, to transpose them */

typedef struct {
    const FcShape *s;
    int tiles, panels; /* of a part */
    float *grad;       /* grad[part, tile, n, TILE_ROW] */
    float *x;          /* x[part, panel, n, NR] */
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

static void pack_inputs(const FcWeightGrad *w, int part, int panel, const float *x) {
    const FcShape *s = w->s;
    transpose(x + ((size_t)part * s->K + panel * NR) * s->N, s->N, s->N, MIN(NR, s->K - panel * NR), NR,
              w->x + ((size_t)part * w->panels + panel) * s->N * NR, NR);
}

/* Where a tile of the weights' gradients begins. */
static float *sums_at(const FcWeightGrad *w, int part, int tile, int panel) {
    const FcShape *s = w->s;
    return w->weight_grad + ((size_t)tile_first(s->F, tile) * s->parts + part) * s->K + panel * NR;
}

/* Add the terms n to n + depth - 1 of a tile's sums. Tiles that end within a vector go by a copy. */
static void weight_tile(const FcWeightGrad *w, int part, int tile, int panel, int n, int depth) {
    const FcShape *s = w->s;
    const size_t stride = (size_t)s->K * s->parts;
    const int height = tile_height(s->F, tile), valid = MIN(NR, s->K - panel * NR);
    const float st = n ? 1.0f : s->st;
    const float *factors = w->grad + (((size_t)part * w->tiles + tile) * s->N + n) * TILE_ROW;
    const Tile product = {height, valid > VW ? NV : 1, factors, TILE_ROW, TILE_ROW, 0, NR};
    const Run run = {0, MIN(depth, s->N - n), w->x + (((size_t)part * w->panels + panel) * s->N + n) * NR};
    float *to = sums_at(w, part, tile, panel);
    if (valid % VW == 0) {
        tile_product(&product, &run, 1, to, stride, st);
        return;
    }
    float sums[TH * NR];
    tile_product(&product, &run, 1, sums, NR, 0);
    for (int i = 0; i < height; i++)
        for (int j = 0; j < valid; j++) to[i * stride + j] = (st == 0.0f ? 0.0f : st * to[i * stride + j]) + sums[i * NR + j];
}

/* Into the second-level cache: in the first, rows that lie apart by a power of two would drive each other out. */
static void fetch_weights(const FcWeightGrad *w, int part, int tile, int panel) {
    if (tile >= w->tiles || panel >= w->panels) return;
    const size_t stride = (size_t)w->s->K * w->s->parts;
    const float *at = sums_at(w, part, tile, panel);
    for (int i = 0; i < tile_height(w->s->F, tile); i++)
        for (int j = 0; j < NR; j += LINE) __builtin_prefetch(at + i * stride + j, 0, 2);
}

/* Tiles t0 to t1 - 1 and panels p0 to p1 - 1 of a part. Panel by panel, because those of a tile are neighbours in memory. */
static void weight_task(const FcWeightGrad *w, int part, int t0, int t1, int p0, int p1) {
    const int depth = even_piece(w->s->N, FC_CASES);
    for (int n = 0; n < w->s->N; n += depth)
        for (int t = t0; t < t1; t++)
            for (int p = p0; p < p1; p++) {
                const int next = p + (w->s->N < SHORT_SUM ? SHORT_AHEAD : 1);
                if (next < p1) fetch_weights(w, part, t, next);
                else fetch_weights(w, part, t + 1, p0);
                weight_tile(w, part, t, p, n, depth);
            }
}

static int fc_weight_grad(const FcShape *s, const float *x, const float *grad, float *weight_grad) {
    FcWeightGrad w = {.s = s, .tiles = tile_count(s->F), .panels = ceil_div(s->K, NR), .weight_grad = weight_grad};
    const int down = s->N < SHORT_SUM ? 1 : WEIGHT_TILES, across = s->N < SHORT_SUM ? w.panels : WEIGHT_PANELS;
    w.grad = scratch((size_t)s->parts * w.tiles * s->N * TILE_ROW);
    w.x = scratch((size_t)s->parts * w.panels * s->N * NR);
    if (!w.grad || !w.x) {
        give_back(w.grad), give_back(w.x);
        return 0;
    }
#pragma omp parallel
    {
#pragma omp for collapse(2) schedule(static) nowait
        for (int part = 0; part < s->parts; part++)
            for (int t = 0; t < w.tiles; t++) pack_grad(&w, part, t, grad);

#pragma omp for collapse(2) schedule(static)
        for (int part = 0; part < s->parts; part++)
            for (int p = 0; p < w.panels; p++) pack_inputs(&w, part, p, x);

#pragma omp for collapse(3) schedule(dynamic, 1)
        for (int part = 0; part < s->parts; part++)
            for (int t = 0; t < w.tiles; t += down)
                for (int p = 0; p < w.panels; p += across)
                    weight_task(&w, part, t, MIN(w.tiles, t + down), p, MIN(w.panels, p + across));
    }
    give_back(w.grad), give_back(w.x);
    return 1;
}
