/* The product that conv, local, fc and Winograd are made of: a tile of a matrix product, with its sums in registers.
 *
 *   out[i, j] = sum over all rows of all runs of weights[row, i] * cases[row, j],   i < height <= TH, j < vectors * VW <= NR
 *
 * Weights are packed as rows of ``height`` floats and cases as rows of NR, or either is read in place with a step of its own.
 * A processor starts two multiply-adds in a cycle and each takes four, so a tile wants at least eight sums; and it loads no
 * more than two vectors in a cycle, so the sums should be many more than the loads, height + vectors. TH by NV is what
 * registers allow (see isa_*.c). So that no row is wasted, F filters are cut into as few tiles as possible, which differ by
 * one row at most; and where cases end in the first half of NR, a tile of one vector takes half the time.
 *
 * How to use it: pack the weights of tile ``t`` of F at tile_first(F, t) * K, tile_height(F, t) floats to a row; then
 *
 *   Tile tile = packed_tile(tile_height(F, t), valid_cases, weights);
 *   tile_product(&tile, &(Run){0, K, cases}, 1, out, NR, 0);
 */

/* One stretch of a tile's sum: rows of weights, counted from tile.weights, against rows of cases. */
typedef struct {
    int weight_row, rows;
    const float *cases;
} Run;

typedef struct {
    int height, vectors;
    const float *weights;
    size_t weight_row, weight_step; /* floats from a Run's weight_row to the next, and from a row of a run to the next */
    size_t case_offset, case_step;  /* floats from the runs' cases to those wanted, and from a row of a run to the next */
    const float *ahead;             /* rows that a later tile adds to, ``ahead_step`` floats apart, to be prefetched */
    size_t ahead_step;
    int fetched;                    /* so many of them before each run (see Ahead in fc.c), or 0 */
} Tile;

/* What sums become before they are stored, in this order, which is cheapest while they are in registers. */
typedef struct {
    const float *ys;     /* outputs of a relu, laid out as out: where they are 0, sums become 0; or NULL */
    const float *biases; /* biases[height] that are added after st * out, or NULL */
    int relu, streams;   /* whether a relu follows; and whether stores pass the caches: out, out_step are multiples of a vector */
} Finish;

static inline int tile_count(int F) { return (F + TH - 1) / TH; }
static inline int tile_first(int F, int t) { return piece(F, tile_count(F), t); }
static inline int tile_height(int F, int t) { return tile_first(F, t + 1) - tile_first(F, t); }

/* A tile whose weights and cases are both packed, for ``cases`` cases that are real. */
static inline Tile packed_tile(int height, int cases, const float *weights) {
    return (Tile){height, cases > VW ? NV : 1, weights, height, height, 0, NR};
}

/* What follows for each vector ``acc[i][v]`` of a tile's sums, in registers. */
#define EACH_SUM(...)                               \
    _Pragma("GCC unroll 16")                        \
    for (int i = 0; i < height; i++)                \
        _Pragma("GCC unroll 4")                     \
        for (int v = 0; v < vectors; v++) { __VA_ARGS__; }
#define AT(array) ((array) + i * out_step + v * VW)

/* finished_product for a height and number of vectors that the compiler knows; ``f`` may be NULL. */
static INLINE void fixed_tile(int height, int vectors, const Tile *tile, const Run *runs, int count, float *out, size_t out_step,
                              float st, const Finish *f) {
    vec acc[TH][NV];
    EACH_SUM(acc[i][v] = (vec){0})
    for (int r = 0; r < count; r++) {
        const float *w = tile->weights + runs[r].weight_row * tile->weight_row, *x = runs[r].cases + tile->case_offset;
        for (int i = r * tile->fetched; i < MIN(height, (r + 1) * tile->fetched); i++)
            prefetch_row(tile->ahead + i * tile->ahead_step, NR);
        for (int row = 0; row < runs[r].rows; row++, w += tile->weight_step, x += tile->case_step) {
            vec cases[NV];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) cases[v] = *(const vec *)(x + v * VW);
            EACH_SUM(acc[i][v] += w[i] * cases[v])
        }
    }
    if (f && f->ys) EACH_SUM(acc[i][v] *= choose(*(const vec *)AT(f->ys) > 0.0f, (vec){0} + 1.0f, (vec){0}))
    /* All are read before one is written: processors take rows a multiple of 4 KiB apart for the same. */
    if (st != 0.0f) EACH_SUM(acc[i][v] += st * *(const vec *)AT(out))
    if (f && f->biases) EACH_SUM(acc[i][v] += f->biases[i])
    if (f && f->relu) EACH_SUM(acc[i][v] = choose(acc[i][v] < 0.0f, (vec){0}, acc[i][v]))
    if (f && f->streams)
        EACH_SUM(stream(AT(out), acc[i][v]))
    else
        EACH_SUM(*(vec *)AT(out) = acc[i][v])
}

#define HEIGHT(h, f)                                                             \
    case h:                                                                      \
        if (h > TH) break;                                                       \
        if (tile->vectors == 1)                                                  \
            fixed_tile(MIN(h, TH), 1, tile, runs, count, out, out_step, st, f);  \
        else                                                                     \
            fixed_tile(MIN(h, TH), NV, tile, runs, count, out, out_step, st, f); \
        break;
#define EVERY_HEIGHT(f)                                                                                 \
    switch (tile->height) {                                                                             \
        HEIGHT(1, f) HEIGHT(2, f) HEIGHT(3, f) HEIGHT(4, f) HEIGHT(5, f) HEIGHT(6, f) HEIGHT(7, f)      \
        HEIGHT(8, f) HEIGHT(9, f) HEIGHT(10, f) HEIGHT(11, f) HEIGHT(12, f) HEIGHT(13, f) HEIGHT(14, f) \
    }

/* out[i, 0..vectors * VW) = st * out[i, 0..vectors * VW) + the tile's sums, and out is not read when st is 0; rows of out lie
 * ``out_step`` floats apart. Vectors are 1 or NV. */
static __attribute__((noinline)) void tile_product(const Tile *tile, const Run *runs, int count, float *out, size_t out_step,
                                                   float st) {
    EVERY_HEIGHT(NULL)
}

/* The same with the sums finished first. */
static __attribute__((noinline)) void finished_product(const Tile *tile, const Run *runs, int count, float *out,
                                                       size_t out_step, float st, const Finish *finish) {
    EVERY_HEIGHT(finish)
}
