/* fc and sfc: the gradient of the inputs (numerics 4).
 *
 *   input_grad[k, n] = sum over f of weights[f, k] * grad[f, n]
 *
 * Tiles want columns of the weights, whose lines would share a few cache sets: small blocks are copied, row by row, while
 * tiles of the copy before are summed. Threads share the inputs. Replaces 2012's products by cuBLAS.
 */

#define GRAD_CHUNK (256 / STAGE * STAGE) /* inputs of a task, whose sums stay in the second-level cache */

/* One thread's share of an input gradient: ``count`` inputs of a part from k0 on, and its working memory. */
typedef struct {
    const FcShape *s;
    const float *weights;
    int part, k0, count;
    float *sums;   /* sums[input, width] */
    float *stages; /* two copies of weights, in turn */
} GradTask;

/* What is left of a copy when its tiles are wanted. */
static void copy_rest(Stage *b) {
    while (b->done < b->whole) copy_row_ahead(b);
    for (; b->done < b->rows; b->done++)
        memcpy(b->to + b->done * STAGE, b->from + b->done * b->stride, b->columns * sizeof(float));
}

/* Copy number i, of all outputs and inputs of the task; one without rows past the last. */
static Stage stage_at(const GradTask *t, int i) {
    const FcShape *s = t->s;
    const int depth = even_piece(s->F, GRAD_DEPTH), across = ceil_div(t->count, STAGE);
    const int f = i / across * depth, k = i % across * STAGE;
    const int rows = f < s->F ? MIN(depth, s->F - f) : 0;
    const size_t stride = (size_t)s->K * s->parts, at = f * stride + (size_t)t->part * s->K + t->k0 + k, end = s->F * stride;
    return (Stage){.from = t->weights + at, .to = t->stages + i % 2 * GRAD_DEPTH * STAGE, .stride = stride,
                   .rows = rows, .columns = MIN(STAGE, t->count - k),
                   .whole = at + STAGE > end ? 0 : MIN(rows, (int)((end - at - STAGE) / stride) + 1)};
}

static void add_stages(const GradTask *t, const Matrix *grad) {
    const FcShape *s = t->s;
    const int depth = even_piece(s->F, GRAD_DEPTH), across = ceil_div(t->count, STAGE), count = across * ceil_div(s->F, depth);
    const size_t width = (size_t)grad->panels * NR;
    Stage next = stage_at(t, 0);
    next.after = stage_at(t, 1).from;
    for (int i = 0; i < count; i++) {
        copy_rest(&next);
        const Stage now = next;
        next = stage_at(t, i + 1);
        next.after = stage_at(t, i + 2).from;
        const Ahead ahead = {.every = STAGE / FC_ROWS * grad->panels, .stage = &next};
        const int f = i / across * depth, k = i % across * STAGE;
        for (int j = 0; j < now.columns; j += FC_ROWS) {
            const float *w[FC_ROWS];
            find_scalars(now.to + j, 1, FC_ROWS, w);
            for (int p = 0; p < grad->panels; p++) {
                const Panel b = panel_at(grad, p, t->part * s->F + f);
                float *to = t->sums + (k + j) * width + p * NR;
                sum_panel(w, STAGE, &b, now.rows, &ahead, to, width, f > 0);
            }
        }
    }
}

static int fc_input_grad(const FcShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    Matrix c;
    if (!matrix_open(&c, grad, s->F * s->parts, s->N)) return 0;
    const size_t width = (size_t)c.panels * NR;
    const int chunk = MAX(STAGE, MIN(GRAD_CHUNK, (int)((size_t)GRAD_CHUNK * FC_CASES / width) / STAGE * STAGE));
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *memory = scratch((chunk + FC_ROWS) * width + 2 * GRAD_DEPTH * STAGE);
        failed = !memory;
#pragma omp for collapse(2) schedule(dynamic, 1) nowait
        for (int part = 0; part < s->parts; part++)
            for (int k = 0; k < s->K; k += chunk) {
                if (failed) continue;
                const GradTask t = {s, weights, part, k, MIN(chunk, s->K - k), memory + 2 * GRAD_DEPTH * STAGE, memory};
                add_stages(&t, &c);
                for (int i = 0; i < t.count; i++)
                    store_sums(s, NULL, slope, 0, (size_t)(part * s->K + k + i) * s->N, s->N, t.sums + i * width, input_grad);
            }
        give_back(memory);
    }
    give_back(c.packed);
    return !failed;
}
