/* The cost of a softmax with one label for each case, and its gradient (numerics 12.1).
 *
 *   costs = -sum over n of log y[label[n], n], and how many cases the first 1 and k guesses miss, ties shared
 *   input_grad[j, n] = coeff * ([j == label] - y[j, n]) through the softmax, else coeff / y where j is the label
 *
 * y[j, n], labels[n]. One thread: a thousand classes of a minibatch lie in its cache. Replaces 2012's kLogregCost,
 * kLogregCostGrads and kLogregSoftmaxGrads.
 */

/* The class that a label names; of a label that is none, no class. */
static inline float class_of(float label) { return label >= 0.0f ? truncf(label) : -1.0f; }

/* The share of the label among ``guesses``, where classes of its score are as likely to be guessed. */
static inline double share_of_label(int guesses, float above, float level) {
    return MIN(MAX((guesses - (double)above) / MAX(level, 1.0f), 0.0), 1.0);
}

static void logreg(int rows, int N, const float *labels, const float *y, int k, double costs[3]) {
    costs[0] = 0.0, costs[1] = costs[2] = N;
    for (int n0 = 0; n0 < N; n0 += BLOCK) {
        const int cases = cases_at(N, n0);
        float label[BLOCK], score[BLOCK] = {0}, above[BLOCK] = {0}, level[BLOCK] = {0};
        for (int n = 0; n < cases; n++) label[n] = class_of(labels[n0 + n]);
        for (int j = 0; j < rows; j++) /* a product, so that NaN of any class is seen */
            SIMD for (int n = 0; n < cases; n++) score[n] += y[(size_t)j * N + n0 + n] * (label[n] == (float)j ? 1.0f : 0.0f);
        for (int j = 0; j < rows; j++)
            SIMD for (int n = 0; n < cases; n++) {
                const float value = y[(size_t)j * N + n0 + n];
                above[n] += value > score[n] ? 1.0f : 0.0f;
                level[n] += value == score[n] ? 1.0f : 0.0f;
            }
        for (int n = 0; n < cases; n++) {
            costs[0] -= log(score[n]);
            costs[1] -= share_of_label(1, above[n], level[n]);
            costs[2] -= share_of_label(k, above[n], level[n]);
        }
    }
}

static void logreg_grad(int rows, int N, const float *labels, const float *y, float coeff, int fused, float *input_grad, float st) {
    for (int j = 0; j < rows; j++) {
        const float *values = y + (size_t)j * N;
        float *to = input_grad + (size_t)j * N;
        SIMD for (int n = 0; n < N; n++) {
            const int hot = class_of(labels[n]) == (float)j;
            const float result = fused ? coeff * (hot - values[n]) : hot ? coeff / values[n] : 0.0f;
            to[n] = st == 0.0f ? result : st * to[n] + result;
        }
    }
}
