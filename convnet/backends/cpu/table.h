/* The table of one instruction set, from the families included before; the isa_*.c file defines ISA_NAME and ISA_TABLE. */
const Kernels ISA_TABLE = {
    ISA_NAME, VW,
    conv_forward, conv_input_grad, conv_weight_grad,
    pool_forward, pool_max_input_grad, pool_avg_input_grad,
    cmrnorm_forward, cmrnorm_input_grad, rnorm_forward, rnorm_input_grad,
    neuron_forward, neuron_input_grad, softmax_forward, softmax_input_grad, dropout,
    add, add_bias, sum_rows, eltmax_forward, eltmax_input_grad,
    update, limit_norm, sum_magnitude, all_finite,
    blur, resize,
};
