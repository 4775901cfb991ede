/* The list of the cpu backend's kernels, and the table through which Python reaches those compiled for this machine.
 *
 * Every family (conv.c, norm.c, ...) is compiled once per instruction set, by isa.h; select.c picks a table at run time.
 * Arrays are C-ordered float32. The contract of scale_targets (st) and scale_output (so):
 * out = st * out + so * result, and out is not read when st is 0. A kernel that returns int returns 0 if memory ran out;
 * all_finite returns whether it is so.
 *
 * Letters: C channels, H, W height and width, N cases, F filters, M output side, k filter side.
 */
#ifndef CONVNET_KERNELS_H
#define CONVNET_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int C, H, W, N;        /* images[c, y, x, n] */
    int F, My, Mx;         /* out[f, my, mx, n] */
    int k, padding, stride, groups;
    int Cf;                /* channels that each group reads */
    int local;             /* weights[m, c, ky, kx, f] instead of weights[c, ky, kx, f] */
    const int32_t *conns;  /* channel of each slot of each group, or NULL */
    int math;              /* enum Math */
    const char *method;    /* the name of the method to use where it suits, direct sums elsewhere; or NULL: the cheapest */
    float st, so;
} ConvShape;

typedef struct {
    int K, F;  /* inputs and outputs of each part */
    int N, parts;
    float st, so;
} FcShape;

/* How convolutions may be computed: by direct sums; by Winograd's too, where the error is that of direct sums; or faster. */
enum Math { MATH_EXACT, MATH_FLOAT32, MATH_FAST };

enum Pool { POOL_MAX, POOL_MAXABS, POOL_AVG, POOL_SUM };

typedef struct {
    int C, H, W, N, Oy, Ox; /* images[c, y, x, n], out[c, oy, ox, n] */
    int size, start, stride;
    int kind; /* enum Pool */
    float st;
} PoolShape;

enum Norm { CMRNORM, RNORM, CNORM };

typedef struct {
    int C, H, W, N;
    int kind; /* enum Norm */
    int size, blocked;
    float scale, power, min_div, st;
} NormShape;

typedef struct {
    int kind; /* enum Neuron, in neuron.h */
    float a, b;
} Activation;

/* What follows a blended result before it is stored: biases, if any, then f. */
typedef struct {
    const float *biases; /* biases[f] or biases[f, place], or NULL */
    int per_place;
    Activation f;
} Ending;

/* What a gradient is multiplied by: f' of a neuron with the outputs y, which are where the gradient goes; or 1. */
typedef struct {
    const float *y; /* or NULL */
    Activation f;
} Slope;

typedef struct {
    int C, H, W, N; /* images[c, y, x, n] */
    int Oy, Ox;     /* out[c, oy, ox, n] */
} ImageShape;

typedef struct {
    int C, S, N;                            /* out[c, y, x, n], of sides S */
    int64_t step_n, step_y, step_x, step_c; /* bytes from one value of pixels[n, y, x, c] to the next */
    const int64_t *tops, *lefts;
    const uint8_t *flips;
    const float *mean, *shifts; /* mean[c, y, x], shifts[c, n] */
    float gain;
} Crops;

/* Every kernel: what it returns, its name, what it takes. The struct, the tables and Python's calls follow this list. */
#define KERNELS(X)                                                                                                         \
    X(int, conv_forward, (const ConvShape *, const float *images, const float *weights, const Ending *, float *out))       \
    X(int, conv_input_grad, (const ConvShape *, const float *grad, const float *weights, const Slope *, float *input_grad)) \
    X(int, conv_weight_grad, (const ConvShape *, const float *images, const float *grad, float *weight_grad))              \
    X(const char *, conv_method, (const ConvShape *, int pass))                                                            \
    X(int, fc_forward, (const FcShape *, const float *x, const float *weights, const Ending *, float *out))               \
    X(int, fc_input_grad, (const FcShape *, const float *grad, const float *weights, const Slope *, float *input_grad))   \
    X(int, fc_weight_grad, (const FcShape *, const float *x, const float *grad, float *weight_grad))                      \
    X(void, pool_forward, (const PoolShape *, const float *images, const Activation *, float *out))                        \
    X(void, pool_input_grad,                                                                                               \
      (const PoolShape *, const float *images, const float *out, const float *grad, const Slope *, float *input_grad))     \
    X(int, norm_forward, (const NormShape *, const float *images, float *out))                                             \
    X(int, norm_input_grad,                                                                                                \
      (const NormShape *, const float *images, const float *grad, const Slope *, float *input_grad))                       \
    X(void, neuron_forward, (const Activation *, int64_t count, const float *x, float *out))                               \
    X(void, neuron_input_grad,                                                                                             \
      (const Activation *, int64_t count, const float *x, const float *y, const float *grad, float *input_grad, float st)) \
    X(void, softmax_forward, (int rows, int N, const float *x, float *out))                                                \
    X(void, softmax_input_grad, (int rows, int N, const float *y, const float *grad, float *input_grad, float st))         \
    X(void, logreg, (int rows, int N, const float *labels, const float *y, int k, double costs[3]))                        \
    X(void, logreg_grad,                                                                                                   \
      (int rows, int N, const float *labels, const float *y, float coeff, int fused, float *input_grad, float st))         \
    X(void, dropout,                                                                                                       \
      (const int64_t runs[3], const float *x, float *out, float keep, float gain, const int64_t key[6], float st))         \
    X(void, add, (int64_t count, const float *x, float *out, float st, float so))                                          \
    X(void, add_bias, (int64_t rows, int64_t columns, float *out, const float *biases))                                    \
    X(void, sum_rows, (int64_t rows, int64_t columns, const float *x, float *out, float st, float so))                     \
    X(void, eltmax_forward, (int64_t count, const float *x, float *out))                                                   \
    X(void, eltmax_input_grad,                                                                                             \
      (int64_t count, const float *x, const float *y, const float *grad, float *input_grad, float st))                     \
    X(void, update, (int64_t count, float *w, float *inc, const float *grad, float momentum, float rate, float decay))     \
    X(void, limit_norm, (int64_t outer, int64_t K, int64_t inner, float *w, float limit, int hard))                        \
    X(int, sum_magnitude, (int64_t count, const float *x, double *sum))                                                    \
    X(int, all_finite, (int64_t count, const float *x))                                                                    \
    X(double, multiply_add, (int64_t rounds))                                                                              \
    X(int, blur, (const ImageShape *, const float *images, float *out, const float *taps, int size, float st))             \
    X(void, resize, (const ImageShape *, const float *images, float *out, double scale))                                   \
    X(void, pack_images, (const Crops *, const uint8_t *pixels, float *out))

typedef struct {
    const char *name; /* of the instruction set */
#define MEMBER(result, name, parameters) result(*name) parameters;
    KERNELS(MEMBER)
#undef MEMBER
} Kernels;

/* The best table that this processor runs; ``wanted`` names one, or is NULL. NULL if it does not run here. */
const Kernels *convnet_select(const char *wanted);

/* Working memory of a kernel, 64-byte aligned, or NULL. What is given back is kept for the next kernel that wants about as
 * much, so that a step like the one before allocates nothing. */
float *convnet_scratch(size_t floats);
void convnet_give_back(float *memory);
int64_t convnet_scratch_bytes(void); /* allocated so far, and not freed */
void convnet_trim(void);             /* free what nobody uses */

#endif
