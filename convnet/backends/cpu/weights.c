/* Weight updates, constraints and sums over whole arrays (numerics section 13). */

static void update(int64_t count, float *w, float *inc, const float *grad, float momentum, float rate, float decay) {
    if (grad)
        EACH {
            float v = momentum * inc[i] + rate * grad[i] - decay * w[i];
            inc[i] = v;
            w[i] += v;
        }
    else
        EACH {
            float v = inc[i] - decay * w[i];
            inc[i] = v;
            w[i] += v;
        }
}

/* Scale each column over K of w[outer, K, inner] to ``limit`` where it is longer; ``hard``: every column that is not zero. */
static void limit_norm(int64_t outer, int64_t K, int64_t inner, float *w, float limit, int hard) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            float *column = w + o * K * inner + i;
            double sum = 0.0;
            for (int64_t k = 0; k < K; k++) sum += (double)column[k * inner] * column[k * inner];
            const double norm = sqrt(sum);
            if (norm == 0.0 || (!hard && norm <= limit)) continue;
            const float factor = (float)(limit / norm);
            for (int64_t k = 0; k < K; k++) column[k * inner] *= factor;
        }
}

/* sum = sum of |x|, chunk by chunk, so that it does not depend on the number of threads. */
static int sum_magnitude(int64_t count, const float *x, double *sum) {
    const int64_t chunk = 1 << 16, chunks = (count + chunk - 1) / chunk;
    double *parts = (double *)scratch(2 * MAX(chunks, 1));
    if (!parts) return 0;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        double sums[8] = {0};
        for (int64_t i = c * chunk; i < MIN((c + 1) * chunk, count); i++) sums[i & 7] += fabsf(x[i]);
        parts[c] = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
    }
    *sum = 0.0;
    for (int64_t c = 0; c < chunks; c++) *sum += parts[c];
    give_back((float *)parts);
    return 1;
}

/* Infinities and NaN are the numbers whose exponent is all ones. */
static int all_finite(int64_t count, const float *x) {
    int bad = 0;
#pragma omp parallel for reduction(| : bad) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        union { float f; uint32_t u; } bits = {.f = x[i]};
        bad |= (bits.u & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}
