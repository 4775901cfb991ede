/* Blur and resize (numerics 11.1 and 11.3), for maps images[c, y, x, n]. */

/* Rows first, into a buffer of one map for BLOCK cases, then columns; zeros outside. */
static int blur(int C, int H, int W, int N, const float *images, float *out, const float *taps, int size, float st) {
    const int radius = size / 2, blocks = case_blocks(N);
    int failed = 0;
#pragma omp parallel
    {
        float *half = scratch((size_t)H * W * BLOCK);
        if (!half) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
        if (!failed)
#pragma omp for collapse(2) schedule(static) nowait
            for (int c = 0; c < C; c++)
                for (int b = 0; b < blocks; b++) {
                    const int n0 = b * BLOCK, cases = cases_at(N, n0);
                    const size_t map = (size_t)c * H * W * N + n0;
                    for (int y = 0; y < H; y++)
                        for (int x = 0; x < W; x++) {
                            float *RESTRICT to = half + ((size_t)y * W + x) * BLOCK;
                            for (int n = 0; n < BLOCK; n++) to[n] = 0.0f;
                            for (int t = MAX(0, radius - x); t < MIN(size, W + radius - x); t++) {
                                const float *from = images + map + ((size_t)y * W + x + t - radius) * N;
                                SIMD for (int n = 0; n < cases; n++) to[n] += taps[t] * from[n];
                            }
                        }
                    for (int y = 0; y < H; y++)
                        for (int x = 0; x < W; x++) {
                            float sum[BLOCK] = {0}, *to = out + map + ((size_t)y * W + x) * N;
                            for (int t = MAX(0, radius - y); t < MIN(size, H + radius - y); t++) {
                                const float *from = half + ((size_t)(y + t - radius) * W + x) * BLOCK;
                                SIMD for (int n = 0; n < cases; n++) sum[n] += taps[t] * from[n];
                            }
                            for (int n = 0; n < cases; n++) to[n] = st == 0.0f ? sum[n] : st * to[n] + sum[n];
                        }
                }
        free(half);
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

static void resize(int C, int H, int W, int Ty, int Tx, int N, const float *images, float *out, double scale) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int c = 0; c < C; c++)
        for (int oy = 0; oy < Ty; oy++) {
            int y0, y1, x0, x1;
            float fy, fx;
            resize_source(oy, H, Ty, scale, &y0, &y1, &fy);
            const float *top = images + ((size_t)c * H + y0) * W * N, *bottom = images + ((size_t)c * H + y1) * W * N;
            for (int ox = 0; ox < Tx; ox++) {
                resize_source(ox, W, Tx, scale, &x0, &x1, &fx);
                float *RESTRICT to = out + (((size_t)c * Ty + oy) * Tx + ox) * N;
                SIMD for (int n = 0; n < N; n++) {
                    float upper = top[(size_t)x0 * N + n] * (1 - fx) + top[(size_t)x1 * N + n] * fx;
                    float lower = bottom[(size_t)x0 * N + n] * (1 - fx) + bottom[(size_t)x1 * N + n] * fx;
                    to[n] = upper * (1 - fy) + lower * fy;
                }
            }
        }
}
