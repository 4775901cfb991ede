// Instructions without a counterpart in C: asynchronous copies to shared memory, and tensor cores (both from sm_80 on).
//
// The emulator of the tests has twins of these, written from the PTX manual; there a copy runs either when it is issued or
// when it is waited for. On older devices a copy is synchronous, and tensor cores are never used.

#ifndef EMULATED
// Start a copy of 16 bytes (4 bytes). Where not `inside`, nothing is read and zeros are written.
__device__ __forceinline__ void copy_async16(float* to, const float* from, bool inside) {
#if __CUDA_ARCH__ >= 800
    const unsigned address = __cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(inside ? 16 : 0));
#else
    float4 v = {0, 0, 0, 0};
    if (inside) v = *reinterpret_cast<const float4*>(from);
    *reinterpret_cast<float4*>(to) = v;
#endif
}

__device__ __forceinline__ void copy_async4(float* to, const float* from, bool inside) {
#if __CUDA_ARCH__ >= 800
    const unsigned address = __cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(inside ? 4 : 0));
#else
    *to = inside ? *from : 0;
#endif
}

// Close a batch: all copies that this thread has started since the previous one.
__device__ __forceinline__ void copy_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until all but the last PENDING batches of this thread are complete.
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// d[16x8] += a[16x8] b[8x8] over a warp; of a and b only the first 10 bits of the mantissa count. The instruction takes four
// (two) neighbouring registers: values of one vector read are in such, others are moved first.
__device__ __forceinline__ void mma_tf32(float d[4], const float a[4], const float b[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
          "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#endif
}

// Keep a value that is the same in all iterations in its register: the compiler would rather compute it again each time.
__device__ __forceinline__ int keep(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

__device__ __forceinline__ const float* keep(const float* value) {
    asm volatile("" : "+l"(value));
    return value;
}
#endif

// Add half of the last bit that counts, so that truncation of the last 13 bits rounds to nearest, ties away from zero.
// Infinity and NaN become NaN: without the product with 0, the NaN of all ones would become -0.
__device__ __forceinline__ float to_tf32(float value) {
    return fmaf(value, 0.0f, __uint_as_float(__float_as_uint(value) + 0x1000u));
}
