/* Blur and resize (numerics 11.1 and 11.3), for maps images[c, y, x, n]; blur has zeros outside. */

/* One map of up to BLOCK cases, rows first: half[y, x, BLOCK] = sum over t of taps[t] * map[y, x + t - radius]. */
static void blur_rows(const ImageShape *s, const float *map, int cases, const float *taps, int size, float *half) {
    const int radius = size / 2;
    for (int y = 0; y < s->H; y++)
        for (int x = 0; x < s->W; x++) {
            float *RESTRICT to = half + ((size_t)y * s->W + x) * BLOCK;
            for (int n = 0; n < BLOCK; n++) to[n] = 0.0f;
            for (int t = MAX(0, radius - x); t < MIN(size, s->W + radius - x); t++) {
                const float *from = map + ((size_t)y * s->W + x + t - radius) * s->N;
                SIMD for (int n = 0; n < cases; n++) to[n] += taps[t] * from[n];
            }
        }
}

/* Then columns: out[y, x] = st * out + sum over t of taps[t] * half[y + t - radius, x]. */
static void blur_columns(const ImageShape *s, const float *half, int cases, const float *taps, int size, float st, float *out) {
    const int radius = size / 2;
    for (int y = 0; y < s->H; y++)
        for (int x = 0; x < s->W; x++) {
            float sum[BLOCK] = {0}, *to = out + ((size_t)y * s->W + x) * s->N;
            for (int t = MAX(0, radius - y); t < MIN(size, s->H + radius - y); t++) {
                const float *from = half + ((size_t)(y + t - radius) * s->W + x) * BLOCK;
                SIMD for (int n = 0; n < cases; n++) sum[n] += taps[t] * from[n];
            }
            for (int n = 0; n < cases; n++) to[n] = st == 0.0f ? sum[n] : st * to[n] + sum[n];
        }
}

static int blur(const ImageShape *s, const float *images, float *out, const float *taps, int size, float st) {
    const int blocks = case_blocks(s->N);
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *half = scratch((size_t)s->H * s->W * BLOCK);
        failed = !half;
#pragma omp for collapse(2) schedule(static) nowait
        for (int c = 0; c < s->C; c++)
            for (int b = 0; b < blocks; b++) {
                if (!half) continue;
                const int n0 = b * BLOCK, cases = cases_at(s->N, n0);
                const size_t map = (size_t)c * s->H * s->W * s->N + n0; /* [c, 0, 0, n0] */
                blur_rows(s, images + map, cases, taps, size, half);
                blur_columns(s, half, cases, taps, size, st, out + map);
            }
        give_back(half);
    }
    return !failed;
}

/* The two source pixels of an output position along one axis, and the weight of the second. */
static void resize_source(int o, int side, int target, double scale, int *low, int *high, float *weight) {
    double at = o * scale + (0.5 * side - 0.5 * target * scale);
    at = MIN(MAX(at, 0.0), MAX(side - 1.01, 0.0));
    *low = (int)at;
    *high = MIN(*low + 1, side - 1);
    *weight = (float)(at - *low);
}

static void resize(const ImageShape *s, const float *images, float *out, double scale) {
    const int H = s->H, W = s->W, N = s->N;
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < s->C; c++)
        for (int oy = 0; oy < s->Oy; oy++) {
            int y0, y1, x0, x1;
            float fy, fx;
            resize_source(oy, H, s->Oy, scale, &y0, &y1, &fy);
            const float *top = images + ((size_t)c * H + y0) * W * N, *bottom = images + ((size_t)c * H + y1) * W * N;
            for (int ox = 0; ox < s->Ox; ox++) {
                resize_source(ox, W, s->Ox, scale, &x0, &x1, &fx);
                float *RESTRICT to = out + (((size_t)c * s->Oy + oy) * s->Ox + ox) * N;
                SIMD for (int n = 0; n < N; n++) {
                    float upper = top[(size_t)x0 * N + n] * (1 - fx) + top[(size_t)x1 * N + n] * fx;
                    float lower = bottom[(size_t)x0 * N + n] * (1 - fx) + bottom[(size_t)x1 * N + n] * fx;
                    to[n] = upper * (1 - fy) + lower * fy;
                }
            }
        }
}
