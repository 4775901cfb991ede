/* Pools and norms within maps, of few cases: channels lie beside cases, so that vectors are full.
 *
 *   spread[pixel, c, n] = maps[c, pixel, n]
 *
 * for a block of channels and all cases, as many as a vector holds; to the kernels of pool.c and norm.c these are the cases
 * of a single channel. Threads share blocks of channels.
 */

/* An op on blocks of channels: its operands maps[i][c, pixel, n], of pixels[i] each, and its target. */
typedef struct {
    const void *shape; /* PoolShape or NormShape */
    int (*run)(const void *shape, float *const maps[3], float *result); /* the op, on the spread maps of one block */
    int C, N, operands;
    const float *maps[3];
    size_t pixels[3], target_pixels;
    const Activation *f; /* forward */
    const Slope *slope;  /* backward, as st */
    float st, *target;
} Spread;

/* Whether N cases leave so much of a vector empty that moving maps to and fro costs less. */
static inline int spreads(int C, int N) { return C > 1 && N <= VW / 2; }

static void spread_maps(const float *maps, int channels, size_t pixels, int N, float *RESTRICT to) {
    if (channels * N < VW) memset(to, 0, pixels * VW * sizeof(float));
    for (size_t from = 0; from < pixels; from += 16) /* a block of the target, which stays in cache */
        for (int c = 0; c < channels; c++)
            for (size_t p = from; p < MIN(from + 16, pixels); p++)
                for (int n = 0; n < N; n++) to[p * VW + c * N + n] = maps[(c * pixels + p) * N + n];
}

/* Store the channels from ``first`` on of a block's result. ``row`` is working memory for one. */
static INLINE void collect_maps(const Spread *s, const int N, const float *result, int first, int channels,
                                float *RESTRICT row) {
    const size_t count = s->target_pixels * N;
    for (int c = 0; c < channels; c++) {
        for (size_t p = 0; p < s->target_pixels; p++)
            for (int n = 0; n < N; n++) row[p * N + n] = result[p * VW + c * N + n];
        if (s->f && s->f->kind != IDENT) activate_row(s->f, (int)count, row);
        store_grad(s->slope, (first + c) * count, s->st, (int)count, row, s->target);
    }
}

/* Returns 0 if memory ran out; pools, which need no more than this takes first, have then written nothing. */
static int spread_op(const Spread *s) {
    const int block = VW / s->N;
    size_t floats = s->target_pixels * (VW + s->N);
    for (int i = 0; i < s->operands; i++) floats += s->pixels[i] * VW;
    int failed = 0;
#pragma omp parallel
    {
        float *memory = scratch(floats);
        if (!memory)
#pragma omp atomic write
            failed = 1;
#pragma omp barrier
        const int all_have = !failed;
#pragma omp for schedule(dynamic, 1)
        for (int c = 0; c < s->C; c += block) {
            if (!all_have) continue;
            const int channels = MIN(block, s->C - c);
            float *maps[3] = {NULL}, *next = memory;
            for (int i = 0; i < s->operands; i++) {
                maps[i] = next, next += s->pixels[i] * VW;
                const float *from = s->maps[i] + c * s->pixels[i] * s->N;
                if (s->N == 1)
                    transpose(from, s->pixels[i], (int)s->pixels[i], channels, VW, maps[i], VW);
                else
                    spread_maps(from, channels, s->pixels[i], s->N, maps[i]);
            }
            if (s->run(s->shape, maps, next)) {
                float *row = next + s->target_pixels * VW;
                if (s->N == 1)
                    collect_maps(s, 1, next, c, channels, row);
                else
                    collect_maps(s, s->N, next, c, channels, row);
            } else {
#pragma omp atomic write
                failed = 1;
            }
        }
        give_back(memory);
    }
    return !failed;
}

/* The shape of a block: vectors of cases of one channel, which overwrite the result. */
static PoolShape pool_block(const PoolShape *s) {
    PoolShape block = *s;
    block.C = 1, block.N = VW, block.st = 0.0f;
    return block;
}

static NormShape norm_block(const NormShape *s) {
    NormShape block = *s;
    block.C = 1, block.N = VW, block.st = 0.0f;
    return block;
}

static int run_pool(const void *shape, float *const maps[3], float *result) {
    const PoolShape s = pool_block(shape);
    full_pool_forward(&s, maps[0], &(Activation){IDENT, 0, 0}, result);
    return 1;
}

static int run_pool_grad(const void *shape, float *const maps[3], float *result) {
    const PoolShape s = pool_block(shape);
    full_pool_input_grad(&s, maps[1], maps[2], maps[0], NULL, result);
    return 1;
}

static int run_norm(const void *shape, float *const maps[3], float *result) {
    const NormShape s = norm_block(shape);
    return within(&s, maps[0], NULL, NULL, result);
}

static int run_norm_grad(const void *shape, float *const maps[3], float *result) {
    const NormShape s = norm_block(shape);
    return within(&s, maps[0], maps[1], NULL, result);
}

static void pool_forward(const PoolShape *s, const float *images, const Activation *f, float *out) {
    const Spread spread = {
        .shape = s, .run = run_pool, .C = s->C, .N = s->N, .operands = 1, .maps = {images}, .f = f, .target = out,
        .pixels = {(size_t)s->H * s->W}, .target_pixels = (size_t)s->Oy * s->Ox,
    };
    if (pools_rows(s) && row_pool_forward(s, images, f, out)) return;
    if (!spreads(s->C, s->N) || !spread_op(&spread)) full_pool_forward(s, images, f, out);
}

static void pool_input_grad(const PoolShape *s, const float *images, const float *out, const float *grad, const Slope *slope,
                            float *input_grad) {
    const size_t pixels = (size_t)s->H * s->W, places = (size_t)s->Oy * s->Ox;
    const Spread spread = {
        .shape = s, .run = run_pool_grad, .C = s->C, .N = s->N, .operands = s->kind == POOL_MAX ? 3 : 1,
        .maps = {grad, images, out}, .pixels = {places, pixels, places}, .target_pixels = pixels,
        .slope = slope, .st = s->st, .target = input_grad,
    };
    if (!spreads(s->C, s->N) || !spread_op(&spread)) full_pool_input_grad(s, images, out, grad, slope, input_grad);
}

static int norm_forward(const NormShape *s, const float *images, float *out) {
    const size_t pixels = (size_t)s->H * s->W;
    const Spread spread = {
        .shape = s, .run = run_norm, .C = s->C, .N = s->N, .operands = 1, .maps = {images}, .target = out,
        .pixels = {pixels}, .target_pixels = pixels,
    };
    if (s->kind == CMRNORM) return across_forward(s, images, out);
    return spreads(s->C, s->N) ? spread_op(&spread) : within(s, images, NULL, NULL, out);
}

static int norm_input_grad(const NormShape *s, const float *images, const float *grad, const Slope *slope, float *input_grad) {
    const size_t pixels = (size_t)s->H * s->W;
    const Spread spread = {
        .shape = s, .run = run_norm_grad, .C = s->C, .N = s->N, .operands = 2, .maps = {images, grad},
        .pixels = {pixels, pixels}, .target_pixels = pixels, .slope = slope, .st = s->st, .target = input_grad,
    };
    if (s->kind == CMRNORM) return across_input_grad(s, images, grad, slope, input_grad);
    return spreads(s->C, s->N) ? spread_op(&spread) : within(s, images, grad, slope, input_grad);
}
