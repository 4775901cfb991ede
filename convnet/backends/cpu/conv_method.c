/* conv and local: which method computes an op, and what runs it (numerics 2).
 *
 * Direct sums (conv.c, conv_weight_grad.c) suit every shape; Winograd's methods (winograd.c) suit filters that move by one
 * pixel and are the same everywhere. The choice is by counts alone, so that it is the same on every machine and for any
 * number of threads. One unit is a multiplication and addition of a direct sum.
 */

/* What else costs, in units; all measured with AVX-512 on a Zen 5 core, at the layers of layers-imagenet and of
 * layers-cifar10-18pct. */
#define PRODUCT_COST 1.4    /* of a product of Winograd's, whose sums are shorter */
#define TRANSFORM_COST 18.0 /* of a value of the source at a point, or of a sum that becomes pixels */
#define WEIGHT_COST 100.0   /* of a value of the weights at a point, once for all cases */

/* As CONV_PASSES in _kernels.pyx. */
enum Pass { FORWARD, INPUT_GRAD, WEIGHT_GRAD };

#define DIRECT -1

/* Pairs of a target and a tap along one axis of which the source has the pixel. */
static double count_taps(const Gather *g, int targets, int source, int shift) {
    double count = 0;
    for (int tap = shift; tap < shift + g->s->k; tap++) count += MAX(0, MIN(targets, source - tap) - MAX(0, -tap));
    return count;
}

/* Units of direct sums of one group of a convolution of stride 1. */
static double direct_cost(const Gather *g, int cases) {
    const int shift = g->input_grad ? g->s->padding - (g->s->k - 1) : -g->s->padding;
    return count_taps(g, g->rows, g->source_h, shift) * count_taps(g, g->cols, g->source_w, shift) * cases *
           g->source_channels * g->target_channels;
}

static double winograd_cost(const Gather *g, int method, int cases) {
    Cut c = {.g = *g};
    cut_for(&c, method);
    const double points = c.w->n * c.w->n, rows = c.first[c.w->n * c.w->n] - points;
    const double values = points * c.pieces * c.pieces * g->source_channels, sums = points * g->target_channels;
    const double square = PRODUCT_COST * rows * g->target_channels + TRANSFORM_COST * (values + sums);
    return square * c.squares * cases + WEIGHT_COST * values * g->target_channels;
}

/* The cheapest method that the shape and its math allow: DIRECT or an index of WINOGRAD. */
static int best_method(const Gather *g) {
    const ConvShape *s = g->s;
    if (s->math == MATH_EXACT || s->local || s->conns || s->stride != 1) return DIRECT;
    int best = DIRECT;
    for (int method = 0; s->method && method < WINOGRADS; method++)
        if (!strcmp(s->method, WINOGRAD[method].name) && pieces_of(s->k, WINOGRAD[method].r)) return method;
    if (s->method) return DIRECT;
    const int cases = (s->N + VW - 1) / VW * VW;
    double least = direct_cost(g, cases);
    for (int method = 0; method < WINOGRADS; method++) {
        if (s->math < WINOGRAD[method].math || !pieces_of(s->k, WINOGRAD[method].r)) continue;
        const double cost = winograd_cost(g, method, cases);
        if (cost < least) least = cost, best = method;
    }
    return best;
}

static int conv_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    Gather g = forward_gather(s, images, weights, ending, out);
    const int method = best_method(&g);
    return method == DIRECT ? direct_forward(s, images, weights, ending, out) : winograd(&g, method);
}

static int conv_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    Gather g = input_grad_gather(s, grad, weights, slope, input_grad);
    const int method = best_method(&g);
    return method == DIRECT ? direct_input_grad(s, grad, weights, slope, input_grad) : winograd(&g, method);
}

static int conv_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    return direct_weight_grad(s, images, grad, weight_grad);
}

/* The name of the method that computes a pass. */
static const char *conv_method(const ConvShape *s, int pass) {
    if (pass == WEIGHT_GRAD) return "direct";
    const Gather g = pass == FORWARD ? forward_gather(s, NULL, NULL, NULL, NULL) : input_grad_gather(s, NULL, NULL, NULL, NULL);
    const int method = best_method(&g);
    return method == DIRECT ? "direct" : WINOGRAD[method].name;
}
