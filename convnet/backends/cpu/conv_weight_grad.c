/* conv and local: the gradient of the weights (numerics 2.10).
 *
 *   weight_grad[c, ky, kx, f] = sum over my, mx, n of images[c, y, x, n] * grad[f, my, mx, n]
 *
 * with y = -padding + my*stride + ky, x alike; local keeps the windows apart and sums over n alone. The gradients of a few
 * windows are transposed at a time, so that filters are contiguous, and multiplied with scalars of the images in place:
 * tiles of MR rows (ky, kx, channel) by NR filters. Replaces 2012's conv_weight_acts_* kernels.
 */

#define MAX_WINDOWS 16              /* whose gradients are transposed at a time */
#define TRANSPOSED_FLOATS (96 << 10) /* of them, which stay in the second-level cache */

/* Rows of one tile: MR of a group's (ky, kx, channel) rows. */
typedef struct {
    int q, valid;
    int ky[MR], kx[MR], channel[MR];
    float *out[MR]; /* weight_grad[c, ky, kx, first filter of the group] */
} Rows;

/* The windows at hand and their gradients, transposed: grad[window, q, strip of NR filters, n, NR]. */
typedef struct {
    int module, count; /* the first window, and how many */
    size_t floats;     /* of one window's gradients */
    float *grad;
} Windows;

static void find_rows(const ConvShape *s, int tile, int tiles, float *weight_grad, Rows *r) {
    const int K = s->k * s->k * s->Cf, first = tile % tiles * MR;
    r->q = tile / tiles;
    r->valid = MIN(MR, K - first);
    for (int i = 0; i < r->valid; i++) {
        int row = first + i, j = row % s->Cf, tap = row / s->Cf;
        r->ky[i] = tap / s->k, r->kx[i] = tap % s->k;
        r->channel[i] = image_channel(s, r->q, j);
        r->out[i] = weight_grad + ((size_t)j * s->k * s->k + tap) * s->F + (size_t)r->q * (s->F / s->groups);
    }
}

/* Where each row's cases lie for one window; rows whose tap is outside read zeros. Returns 0 if all are outside. */
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

/* to[n, j] = grad[first + j, module, n] for NR filters, zeros past the group's last. */
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

/* Add one tile of rows times strip ``b`` of NR filters, over the windows at hand. */
static void weight_tile(const ConvShape *s, const Rows *r, const Windows *w, const float *images, const float *zeros, int b,
                        float st) {
    const int Fg = s->F / s->groups, strips = (Fg + NR - 1) / NR, valid = MIN(NR, Fg - b * NR);
    const float *grad = w->grad + ((size_t)r->q * strips + b) * s->N * NR;
    vec acc[MR][NV];
    for (int i = 0; i < MR; i++)
        for (int v = 0; v < NV; v++) acc[i][v] = (vec){0};
    for (int p = 0; p < w->count; p++) {
        const float *x[MR];
        if (!find_cases(s, r, w->module + p, images, zeros, x)) continue;
        if (valid > VW)
            outer_product(x, grad + p * w->floats, s->N, acc);
        else
            outer_product_half(x, grad + p * w->floats, s->N, acc);
    }
    for (int i = 0; i < r->valid; i++) store_row(r->out[i] + b * NR, acc[i], valid, st, s->so);
}

static int direct_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    const int Fg = s->F / s->groups, strips = (Fg + NR - 1) / NR, K = s->k * s->k * s->Cf, tiles = (K + MR - 1) / MR;
    const int modules = s->My * s->Mx;
    const size_t strip = (size_t)s->N * NR, window = (size_t)s->groups * strips * strip;
    const int fit = MAX(1, (int)(TRANSPOSED_FLOATS / window));
    const int step = s->local ? 1 : MIN(MIN(fit, MAX_WINDOWS), modules);
    float *transposed = scratch(step * window), *zeros = scratch(s->N);
    if (!transposed || !zeros) {
        give_back(transposed), give_back(zeros);
        return 0;
    }
    memset(zeros, 0, s->N * sizeof(float));
#pragma omp parallel
    for (int module = 0; module < modules; module += step) {
        const Windows w = {module, MIN(step, modules - module), window, transposed};
        float *out = weight_grad + (s->local ? (size_t)module * K * s->F : 0);
        const float st = s->local || module == 0 ? s->st : 1.0f;

        /* Transpose the gradients of the next windows. */
#pragma omp for collapse(3) schedule(static)
        for (int p = 0; p < w.count; p++)
            for (int q = 0; q < s->groups; q++)
                for (int b = 0; b < strips; b++)
                    transpose_grad(s, grad, q, b * NR, module + p, w.grad + p * window + ((size_t)q * strips + b) * strip);

        /* Every thread adds to tiles of its own. */
#pragma omp for collapse(2) schedule(static)
        for (int t = 0; t < s->groups * tiles; t++)
            for (int b = 0; b < strips; b++) {
                Rows r;
                find_rows(s, t, tiles, out, &r);
                weight_tile(s, &r, &w, images, zeros, b, st);
            }
    }
    give_back(transposed), give_back(zeros);
    return 1;
}
