/* Chooses the kernels for this processor when the backend starts. */
#include <stddef.h>
#include <string.h>

#include "kernels.h"

extern const Kernels convnet_kernels_baseline;
#if defined(__x86_64__)
extern const Kernels convnet_kernels_avx2, convnet_kernels_avx512;
#endif

const Kernels *convnet_select(const char *wanted) {
    const Kernels *tables[3];
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        tables[count++] = &convnet_kernels_avx512;
    if (avx2) tables[count++] = &convnet_kernels_avx2;
#endif
    tables[count++] = &convnet_kernels_baseline;
    for (int i = 0; i < count; i++)
        if (!wanted || !strcmp(wanted, tables[i]->name)) return tables[i];
    return NULL;
}
