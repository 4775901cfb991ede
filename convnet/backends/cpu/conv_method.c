/* conv and local: which method computes an op, and what runs it (numerics 2).
 *
 * Direct sums (conv.c, conv_weight_grad.c) suit every shape. Where cases would leave much of their vectors empty, direct sums
 * whose vectors run over filters are faster (conv_narrow.c). Winograd's methods (winograd*.c) suit filters that move by one
 * pixel and are the same everywhere. The choice is by counts alone, so that it is the same on every machine and for any
 * number of threads. One unit is a multiplication and addition of a direct sum.
 */

/* What else costs, in units; all measured with AVX-512 on a Zen 5 core, at the layers of layers-imagenet and of
 * layers-cifar10-18pct. */
#define PRODUCT_COST 1.1    /* of a product of Winograd's, whose sums are shorter */
#define TRANSFORM_COST 15.0 /* of a value of the source at a point, or of a sum that becomes pixels */
#define RAGGED_COST 8.0     /* more of each where cases are no multiple of a vector */
#define WEIGHT_COST 70.0    /* of a value of the weights at a point, once for all cases */
#define NARROW_COST 1.2     /* of a product over filters */
#define TAIL_COST 1.3       /* of a product of a tile of one vector, which loads as much for half the work */
#define PARTIAL_COST 1.2    /* of one of a tile of more that cases do not fill */

/* As CONV_PASSES in _kernels.pyx. */
enum Pass { FORWARD, INPUT_GRAD, WEIGHT_GRAD };

/* What best_method returns beside the indices of WINOGRAD. */
enum Method { NARROW = -2, DIRECT };

/* Pairs of a target and a tap along one axis of which the source has the pixel. */
static double count_taps(const Gather *g, int targets, int source, int shift) {
    double count = 0;
    for (int tap = shift; tap < shift + g->s->k; tap++) count += MAX(0, MIN(targets, source - tap) - MAX(0, -tap));
    return count;
}

/* Units of direct sums of one group of a convolution of stride 1, for ``cases``. */
static double direct_cost(const Gather *g, double cases) {
    const int shift = g->input_grad ? g->s->padding - (g->s->k - 1) : -g->s->padding;
    return count_taps(g, g->rows, g->source_h, shift) * count_taps(g, g->cols, g->source_w, shift) * cases *
           g->source_channels * g->target_channels;
}

static double winograd_cost(const Gather *g, int method, int cases) {
    Cut c = {.g = *g};
    cut_for(&c, method);
    const double points = c.w->n * c.w->n, rows = c.first[c.w->n * c.w->n] - points;
    const double values = points * c.pieces * c.pieces * g->source_channels, sums = points * g->target_channels;
    const double transform = TRANSFORM_COST + (g->s->N % VW ? RAGGED_COST : 0);
    const double square = PRODUCT_COST * rows * g->target_channels + transform * (values + sums);
    return square * c.squares * cases + WEIGHT_COST * values * g->target_channels;
}

/* As many cases of full tiles as take as long as N. */
static double full_cases(int N) {
    const int left = N % NR;
    return N - left + (left > VW ? PARTIAL_COST * NR : (left ? TAIL_COST * VW : 0));
}

/* As many as take as long with vectors over the target's channels. */
static double narrow_cases(const Gather *g) {
    const int columns = g->target_channels;
    return NARROW_COST * g->s->N * ((columns + VW - 1) / VW * VW) / columns;
}

/* Whether vectors can run over filters: the offsets of the copies of the maps are of 32 bits. */
static int narrow_fits(const ConvShape *s) {
    const double side_y = MAX(s->H, s->My * s->stride) + 2.0 * (s->padding + s->k);
    const double side_x = MAX(s->W, s->Mx * s->stride) + 2.0 * (s->padding + s->k);
    return !s->local && side_y * side_x * s->N * MAX(s->C, s->F) <= INT32_MAX;
}

/* Forward reads whole vectors of weights in place; the gradient scatters over strides and random connections. */
static int can_be_narrow(const Gather *g) {
    const ConvShape *s = g->s;
    return narrow_fits(s) && (g->input_grad ? s->stride == 1 && !s->conns : g->target_channels >= VW);
}

/* The method that ``s->method`` names, or direct sums where that does not suit. */
static int named_method(const Gather *g) {
    const ConvShape *s = g->s;
    if (!strcmp(s->method, "narrow")) return can_be_narrow(g) ? NARROW : DIRECT;
    if (s->local || s->conns || s->stride != 1) return DIRECT;
    for (int method = 0; method < WINOGRADS; method++)
        if (!strcmp(s->method, WINOGRAD[method].name) && pieces_of(s->k, WINOGRAD[method].r)) return method;
    return DIRECT;
}

/* The cheapest method of Winograd's that the shape and its math allow, or ``best`` where that takes ``least`` or less. */
static int cheapest(const Gather *g, int best, double least, int cases) {
    const ConvShape *s = g->s;
    if (s->math == MATH_EXACT || s->local || s->conns || s->stride != 1) return best;
    for (int method = 0; method < WINOGRADS; method++) {
        if (s->math < WINOGRAD[method].math || !pieces_of(s->k, WINOGRAD[method].r)) continue;
        const double cost = winograd_cost(g, method, cases);
        if (cost < least) least = cost, best = method;
    }
    return best;
}

/* The method of a forward pass or of an input gradient. */
static int best_method(const Gather *g) {
    const int N = g->s->N;
    if (g->s->method) return named_method(g);
    const double full = full_cases(N), narrow = can_be_narrow(g) ? narrow_cases(g) : full;
    return cheapest(g, narrow < full ? NARROW : DIRECT, direct_cost(g, MIN(narrow, full)), (N + VW - 1) / VW * VW);
}

/* The method of a gradient of the weights, whose products and transforms are those of the forward pass. */
static int weight_grad_method(const ConvShape *s) {
    const Gather g = forward_gather(s, NULL, NULL, NULL, NULL);
    const int sums = s->N < VW && narrow_fits(s) ? NARROW : DIRECT;
    if (s->method) return named_method(&g) < 0 ? sums : named_method(&g);
    return cheapest(&g, sums, direct_cost(&g, s->N), (s->N + NR - 1) / NR * NR);
}

static int conv_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    Gather g = forward_gather(s, images, weights, ending, out);
    const int method = best_method(&g);
    if (method == NARROW) return narrow_forward(s, images, weights, ending, out);
    return method == DIRECT ? direct_forward(s, images, weights, ending, out) : winograd(&g, method);
}

static int conv_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    Gather g = input_grad_gather(s, grad, weights, slope, input_grad);
    const int method = best_method(&g);
    if (method == NARROW) return narrow_input_grad(s, grad, weights, slope, input_grad);
    return method == DIRECT ? direct_input_grad(s, grad, weights, slope, input_grad) : winograd(&g, method);
}

static int conv_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    const int method = weight_grad_method(s);
    if (method == NARROW) return narrow_weight_grad(s, images, grad, weight_grad);
    return method == DIRECT ? direct_weight_grad(s, images, grad, weight_grad)
                            : winograd_weight_grad(s, images, grad, weight_grad, method);
}

static int method_of(const ConvShape *s, int pass) {
    if (pass == WEIGHT_GRAD) return weight_grad_method(s);
    const Gather g = pass == FORWARD ? forward_gather(s, NULL, NULL, NULL, NULL) : input_grad_gather(s, NULL, NULL, NULL, NULL);
    return best_method(&g);
}

/* The name of the method that computes a pass. */
static const char *conv_method(const ConvShape *s, int pass) {
    const int method = method_of(s, pass);
    return method == NARROW ? "narrow" : method == DIRECT ? "direct" : WINOGRAD[method].name;
}
