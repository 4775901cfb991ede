/* conv and local: which method computes an op, and what runs it (numerics 2).
 *
 * Direct sums (conv.c, conv_weight_grad.c) suit every shape. Where cases would leave much of their vectors empty, those of
 * conv_narrow.c run over filters.
 */

/* Whether the narrow method can be used: the offsets of its copies are of 32 bits. */
static int narrow_fits(const ConvShape *s) {
    const double side_y = MAX(s->H, s->My * s->stride) + 2.0 * (s->padding + s->k);
    const double side_x = MAX(s->W, s->Mx * s->stride) + 2.0 * (s->padding + s->k);
    return !s->local && side_y * side_x * s->N * MAX(s->C, s->F) <= INT32_MAX;
}

/* Whether its vectors of ``columns`` are fuller than those of direct sums, of NR cases: a narrow tile runs at 0.9 of the
 * speed of a direct one (measured on a Zen 5). */
static int narrow_is_fuller(const ConvShape *s, int columns) {
    const double narrow = (double)s->N * ((columns + VW - 1) / VW * VW);
    const double direct = (double)((s->N + NR - 1) / NR * NR) * ((columns + MR - 1) / MR * MR);
    return narrow_fits(s) && narrow < 0.9 * direct;
}

static int conv_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    const int Fg = s->F / s->groups;
    if (Fg >= VW && narrow_is_fuller(s, Fg)) return narrow_forward(s, images, weights, ending, out);
    return direct_forward(s, images, weights, ending, out);
}

static int conv_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    if (s->stride == 1 && !s->conns && narrow_is_fuller(s, s->Cf)) return narrow_input_grad(s, grad, weights, slope, input_grad);
    return direct_input_grad(s, grad, weights, slope, input_grad);
}

static int conv_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    if (s->N < VW && narrow_fits(s)) return narrow_weight_grad(s, images, grad, weight_grad);
    return direct_weight_grad(s, images, grad, weight_grad);
}
