// Neurons: y = f(x), and the slope f'(x), which follows from x or from y (numerics 7). The kind is a constant of the kernel, one
// of the names that the host defines: IDENT, LOGISTIC, RELU, ... Included by neuron.cu, and by kernels that apply the neuron
// that stands behind their layer as they write (NEURON), or multiply the gradient that they write by the slope of the neuron
// before it (SLOPE), so that its map is written once and read once less. Either is IDENT where there is none.
// 2012: the functors of neuron.cuh, which always ran as kernels of their own.

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float neuron(int kind, float x, float a = 0, float b = 0) {
    switch (kind) {
        case LOGISTIC: return logistic(x);
        case RELU: return x < 0 ? 0.0f : x;
        case BRELU: return x < 0 ? 0.0f : x > a ? a : x;
        case ABS: return fabsf(x);
        case TANH: return a * (2.0f / (1.0f + expf(-2.0f * b * x)) - 1.0f);
        case DRELU: return x - a * tanhf(x / a);
        case SOFTRELU: return x > 4.0f ? x : log1pf(expf(x));
        case SQUARE: return x * x;
        case SQRT: return sqrtf(x);
        case LINEAR: return a * x + b;
        case LOG: return logf(a + x);
        default: return x;
    }
}

__device__ __forceinline__ float neuron_slope(int kind, float x, float y, float a = 0, float b = 0) {
    float t;
    switch (kind) {
        case LOGISTIC: return y * (1.0f - y);
        case RELU: return y > 0 ? 1.0f : 0.0f;
        case BRELU: return y > 0 && y < a ? 1.0f : 0.0f;
        case ABS: return x > 0 ? 1.0f : -1.0f;
        case TANH: return b * (a - y * y / a);
        case DRELU: t = tanhf(x / a); return t * t;
        case SOFTRELU: return x > 4.0f ? 1.0f : 1.0f / (1.0f + expf(-x));
        case SQUARE: return 2.0f * x;
        case SQRT: return 1.0f / (2.0f * y);
        case LINEAR: return a;
        case LOG: return 1.0f / (a + x);
        default: return 1.0f;
    }
}
