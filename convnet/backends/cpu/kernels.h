/* Kernels of the cpu backend, and the table through which Python reaches the set compiled for this machine.
 *
 * Every family (conv.c, norm.c, ...) is compiled once per instruction set, through isa_*.c; select.c picks a table at
 * run time. Arrays are C-ordered float32. The contract of scale_targets (st) and scale_output (so):
 * out = st * out + so * result, and out is not read when st is 0.
 *
 * Letters: C channels, H, W height and width, N cases, F filters, M output side, k filter side.
 */
#ifndef CONVNET_KERNELS_H
#define CONVNET_KERNELS_H

#include <stdint.h>

typedef struct {
    int C, H, W, N;        /* images[c, y, x, n] */
    int F, My, Mx;         /* out[f, my, mx, n] */
    int k, padding, stride, groups;
    int Cf;                /* channels that each group reads */
    int local;             /* filters[m, c, ky, kx, f] instead of filters[c, ky, kx, f] */
    const int32_t *conns;  /* channel of each slot of each group, or NULL */
    float st, so;
} ConvShape;

typedef struct {
    int C, H, W, N, Oy, Ox; /* images[c, y, x, n], out[c, oy, ox, n] */
    int size, start, stride;
    int mode;               /* forward: 0 max, 1 maxabs, 2 avg, 3 sum */
    float st;
} PoolShape;

typedef struct {
    int C, H, W, N;
    int size, blocked;
    float scale, power, min_div, st;
} NormShape;

enum Neuron { IDENT, LOGISTIC, RELU, BRELU, ABS, TANH, DRELU, SOFTRELU, SQUARE, SQRT, LINEAR, LOG };

typedef struct {
    const char *name;
    int vector_floats;
    int (*conv_forward)(const ConvShape *, const float *images, const float *filters, float *out);
    int (*conv_input_grad)(const ConvShape *, const float *grad, const float *filters, float *into);
    int (*conv_weight_grad)(const ConvShape *, const float *images, const float *grad, float *into);
    void (*pool_forward)(const PoolShape *, const float *images, float *out);
    void (*pool_max_input_grad)(const PoolShape *, const float *images, const float *out, const float *grad, float *into);
    void (*pool_avg_input_grad)(const PoolShape *, const float *grad, float *into);
    int (*cmrnorm_forward)(const NormShape *, const float *images, float *out);
    int (*cmrnorm_input_grad)(const NormShape *, const float *images, const float *grad, float *into);
    int (*rnorm_forward)(const NormShape *, int around_mean, const float *images, float *out);
    int (*rnorm_input_grad)(const NormShape *, int around_mean, const float *images, const float *grad, float *into);
    void (*neuron_forward)(int kind, float a, float b, int64_t count, const float *x, float *out);
    void (*neuron_input_grad)(int kind, float a, float b, int64_t count, const float *x, const float *y, const float *grad,
                              float *into, float st);
    int (*softmax_forward)(int rows, int N, const float *x, float *out);
    int (*softmax_input_grad)(int rows, int N, const float *y, const float *grad, float *into, float st);
    void (*dropout)(int64_t count, const float *x, float *out, float keep, float gain, const uint32_t key[4], float st);
    void (*add)(int64_t count, const float *x, float *out, float st, float so);
    void (*add_bias)(int64_t rows, int64_t columns, float *out, const float *biases);
    void (*sum_rows)(int64_t rows, int64_t columns, const float *x, float *out, float st, float so);
    void (*eltmax_forward)(int64_t count, const float *x, float *out);
    void (*eltmax_input_grad)(int64_t count, const float *x, const float *y, const float *grad, float *into, float st);
    void (*update)(int64_t count, float *w, float *inc, const float *grad, float momentum, float rate, float decay);
    int (*limit_norm)(int64_t outer, int64_t K, int64_t inner, float *w, float limit, int hard);
    double (*sum_magnitude)(int64_t count, const float *x);
    int (*all_finite)(int64_t count, const float *x);
    int (*blur)(int C, int H, int W, int N, const float *images, float *out, const float *taps, int size, float st);
    void (*resize)(int C, int H, int W, int Ty, int Tx, int N, const float *images, float *out, double scale);
} Kernels;

/* The best table that this processor runs; ``wanted`` names one, or is NULL. NULL if it does not run here. */
const Kernels *convnet_select(const char *wanted);

#endif
