// As much of cuBLAS as the cuda backend asks for, on the processor, in the order of streams of ``libcuda.cpp``.
#include <dlfcn.h>

#include <cstddef>

struct Handle { void* stream; };
struct Product {
    int transpose_a, transpose_b, m, n, k, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float* c;
};

// Column-major: c[i, j] at i + j ldc.
static void multiply(void* data) {
    const Product& p = *static_cast<Product*>(data);
    for (long j = 0; j < p.n; j++)
        for (long i = 0; i < p.m; i++) {
            double sum = 0;
            for (long l = 0; l < p.k; l++)
                sum += (double)p.a[p.transpose_a ? l + i * p.lda : i + l * p.lda] *
                       p.b[p.transpose_b ? j + l * p.ldb : l + j * p.ldb];
            float& c = p.c[i + j * p.ldc];
            c = p.alpha * sum + (p.beta == 0 ? 0 : p.beta * c);
        }
}

extern "C" {
int cublasLtGetVersion() { return 130000; }
int cublasGetProperty(int, int* value) { return *value = 13, 0; }
int cublasCreate_v2(Handle** handle) { return *handle = new Handle{nullptr}, 0; }
int cublasDestroy_v2(Handle* handle) { return delete handle, 0; }
int cublasSetStream_v2(Handle* handle, void* stream) { return handle->stream = stream, 0; }
int cublasSetMathMode(Handle*, int) { return 0; }
int cublasSetWorkspace_v2(Handle*, void*, size_t) { return 0; }
int cublasSgemm_v2(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k, const float* alpha, const float* a,
                   int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
    if (lda < (transpose_a ? k : m) || ldb < (transpose_b ? n : k) || ldc < m) return 7;
    static const auto issue =
        (void (*)(void*, void (*)(void*), void*))dlsym(dlopen("libcuda.so.1", RTLD_NOW), "libcuda_issue");
    issue(handle->stream, multiply, new Product{transpose_a, transpose_b, m, n, k, lda, ldb, ldc, *alpha, *beta, a, b, c});
    return 0;
}
}
