/* conv and local: which method computes an op, and what runs it (numerics 2).
 *
 * Direct sums (conv.c, conv_weight_grad.c) suit every shape.
 */

static int conv_forward(const ConvShape *s, const float *images, const float *weights, const Ending *ending, float *out) {
    return direct_forward(s, images, weights, ending, out);
}

static int conv_input_grad(const ConvShape *s, const float *grad, const float *weights, const Slope *slope, float *input_grad) {
    return direct_input_grad(s, grad, weights, slope, input_grad);
}

static int conv_weight_grad(const ConvShape *s, const float *images, const float *grad, float *weight_grad) {
    return direct_weight_grad(s, images, grad, weight_grad);
}
