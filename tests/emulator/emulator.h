// CUDA on a processor: just enough to run the unchanged kernels of cuda/ and to find their mistakes.
//
// The threads of a block are fibers of one thread. A barrier suspends a fiber until all have come; the order in which
// fibers run is shuffled by a seed, so that a missing barrier shows. Shared memory starts as NaN. Errors are reported,
// not survived: a divergent barrier, a wild address (the allocator keeps every array against a guard page).
#pragma once
#include <csetjmp>
#include <csignal>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "races.h"

#define EMULATED 1
#define __global__
#define __device__ static
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("emulated_shared")))
#define __align__(n) __attribute__((aligned(n)))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emu::dynamic_shared.data())

using std::isfinite;
using std::isnan;

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern char __start_emulated_shared[] __attribute__((weak));
extern char __stop_emulated_shared[] __attribute__((weak));

namespace emu {

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Copy { void* to; const void* from; size_t bytes; unsigned batch; };  // `from` null: zeros

struct Fiber {
    std::deque<Copy> copies;  // begun and not done
    unsigned batches = 0;
    void* stack_pointer = nullptr;
    char* stack = nullptr;
    void* racer = nullptr;
    State state = READY;
    int line = 0;
    unsigned barriers = 0, warp_barriers = 0;
    dim3 thread;
    unsigned rank = 0;
};

constexpr size_t STACK = 128 << 10;
struct Thread { char* stack; void* racer; };
inline std::vector<Thread> threads[races::TEAMS];  // used by one launch after the other
inline std::vector<Fiber> fibers;
inline Fiber* current;
inline void *scheduler_pointer, *scheduler_racer;
inline unsigned team;                                // of threads that the block is made of
inline char launched, finished, passed[races::TEAMS][2];  // places where threads wait for each other
inline dim3 block_index, block_extent, grid_extent;
inline std::vector<char> dynamic_shared;
inline std::function<void()> body;
inline char message[512];
inline sigjmp_buf escape;

[[noreturn]] inline void fail(const char* text) {
    snprintf(message, sizeof message, "%s", text);
    siglongjmp(escape, 1);
}

#if defined(__x86_64__)
// Saves the callee's registers on the old stack, takes them from the new one.
__attribute__((naked, noinline)) inline void switch_to(void** /*from: rdi*/, void* /*to: rsi*/) {
    __asm__("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15;"
            "mov %rsp, (%rdi); mov %rsi, %rsp;"
            "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret");
}
inline void* prepare(char* stack, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + STACK);
    *--top = nullptr;  // keeps the stack aligned as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    return top;
}
#else
#include <ucontext.h>
inline void switch_to(void** from, void* to) {
    ucontext_t* own = new ucontext_t;
    *from = own;
    swapcontext(own, static_cast<ucontext_t*>(to));
    delete own;
}
inline void* prepare(char* stack, void (*entry)()) {
    ucontext_t* context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = STACK;
    makecontext(context, entry, 0);
    return context;
}
#endif

UNSEEN inline void give_way(State state) {
    current->state = state;
    races::become(scheduler_racer);
    switch_to(&current->stack_pointer, scheduler_pointer);
}

UNSEEN inline void run_fiber() {
    races::go_on(&launched);
    body();
    races::come(&finished);
    give_way(DONE);
}

// Whoever is at a barrier has left the one before the last: two places are enough.
inline void barrier(int line) {
    races::Unwatched here;
    char* place = &passed[team][current->barriers++ % 2];
    races::come(place);
    current->line = line;
    give_way(AT_BARRIER);
    races::go_on(place);
}

// -- warps: a collective ends when all 32 lanes (or the last ones of the block) have arrived

struct Warp {
    unsigned arrived = 0, size = 0;
    uint64_t slots[32];
    float fragments[32][8];
    char passed[races::TEAMS][2];
};
inline std::vector<Warp> warps;

inline Warp& warp() { return warps[current->rank / 32]; }
inline unsigned lane() { return current->rank % 32; }

inline void warp_barrier(int line) {
    Warp& own = warp();
    if (++own.arrived < own.size) {
        current->line = line;
        give_way(AT_WARP);
        return;
    }
    own.arrived = 0;
    for (unsigned i = 0; i < own.size; i++) {
        Fiber& other = fibers[current->rank / 32 * 32 + i];
        if (other.state == AT_WARP) other.state = READY;
    }
}

// The one that also orders what lanes do with memory; a shuffle or a vote does not.
inline void sync_warp(int line) {
    races::Unwatched here;
    char* place = &warp().passed[team][current->warp_barriers++ % 2];
    races::come(place);
    warp_barrier(line);
    races::go_on(place);
}

template <typename T>
T exchange(T value, unsigned from, int line) {
    static_assert(sizeof(T) <= 8);
    races::Unwatched here;
    memcpy(&warp().slots[lane()], &value, sizeof(T));
    warp_barrier(line);
    T taken;
    memcpy(&taken, &warp().slots[from < warp().size ? from : lane()], sizeof(T));
    warp_barrier(line);
    return taken;
}

inline unsigned ballot(bool vote, int line) {
    races::Unwatched here;
    warp().slots[lane()] = vote;
    warp_barrier(line);
    unsigned votes = 0;
    for (unsigned i = 0; i < warp().size; i++) votes |= (unsigned)(warp().slots[i] & 1) << i;
    warp_barrier(line);
    return votes;
}

// -- asynchronous copies: in every other block done when they are begun, else not before they are waited for

inline bool early;

inline void finish(unsigned batch) {
    for (;;) {
        Copy copy;
        {
            races::Unwatched here;
            if (current->copies.empty() || current->copies.front().batch >= batch) return;
            copy = current->copies.front();
            current->copies.pop_front();
        }
        copy.from ? memcpy(copy.to, copy.from, copy.bytes) : memset(copy.to, 0, copy.bytes);
    }
}

inline void copy(void* to, const void* from, size_t bytes, bool inside) {
    if ((uintptr_t)to % bytes || (inside && (uintptr_t)from % bytes)) fail("an asynchronous copy that is not aligned");
    races::writes(to, bytes);  // now, or whenever it pleases until the copy is waited for
    races::Unwatched here;
    current->copies.push_back({to, inside ? from : nullptr, bytes, current->batches});
    if (early) finish(current->batches + 1);
}

// -- running

inline void release_barrier() {
    int line = -1, waiting = 0, done = 0;
    for (Fiber& fiber : fibers) {
        if (fiber.state == DONE) { done++; continue; }
        if (fiber.state == AT_WARP) {
            char text[200];
            snprintf(text, sizeof text, "a warp waits at line %d for lanes that never come", fiber.line);
            fail(text);
        }
        if (line >= 0 && fiber.line != line) fail("threads of a block wait at different barriers");
        line = fiber.line, waiting++;
    }
    if (done && waiting) {
        char text[200];
        snprintf(text, sizeof text, "divergent barrier: %d of %zu threads wait at line %d, the others have left", waiting,
                 fibers.size(), line);
        fail(text);
    }
    for (Fiber& fiber : fibers)
        if (fiber.state == AT_BARRIER) fiber.state = READY;
}

// NaN; between the arrays lies what a sanitizer watches.
__attribute__((no_sanitize_address, noinline, optimize("no-tree-loop-distribute-patterns"))) inline void forget(
    char* start, size_t count) {
    for (size_t i = 0; i < count; i++) start[i] = (char)0xFF;
}

inline void run_block(const std::vector<unsigned>& order) {
    const size_t shared = __stop_emulated_shared - __start_emulated_shared;
    if (__start_emulated_shared) forget(__start_emulated_shared, shared);
    memset(dynamic_shared.data(), 0xFF, dynamic_shared.size());
    races::renew(__start_emulated_shared, __stop_emulated_shared);
    races::renew(dynamic_shared.data(), dynamic_shared.data() + dynamic_shared.size());
    team = (team + 1) % races::TEAMS;
    for (Fiber& fiber : fibers) {
        const Thread& thread = threads[team][fiber.rank];
        fiber.stack = thread.stack, fiber.racer = thread.racer;
        fiber.state = READY;
        fiber.barriers = fiber.warp_barriers = 0;
        fiber.stack_pointer = prepare(fiber.stack, run_fiber);
        fiber.copies.clear();
        fiber.batches = 0;
    }
    for (Warp& own : warps) own.arrived = 0;
    for (;;) {
        bool ran = false, left = false;
        for (unsigned i : order) {
            Fiber& fiber = fibers[i];
            if (fiber.state == READY) {
                current = &fiber;
                races::become(fiber.racer);
                switch_to(&scheduler_pointer, fiber.stack_pointer);
                ran = true;
            }
            left |= fiber.state != DONE;
        }
        if (!left) return;
        if (!ran) release_barrier();
    }
}

inline void wild_address(int, siginfo_t* info, void*) {
    snprintf(message, sizeof message, "access out of bounds at %p by thread (%u, %u, %u) of block (%u, %u, %u)", info->si_addr,
             current->thread.x, current->thread.y, current->thread.z, block_index.x, block_index.y, block_index.z);
    siglongjmp(escape, 1);
}

// Runs `kernel` over a grid; returns nullptr or what went wrong.
inline const char* run(dim3 grid, dim3 block, size_t shared, unsigned seed, std::function<void()> kernel) {
    races::come(&launched);
    races::Unwatched here;
    scheduler_racer = races::this_thread();
    const unsigned count = block.x * block.y * block.z;
    for (std::vector<Thread>& all : threads)
        while (all.size() < count) all.push_back({static_cast<char*>(aligned_alloc(64, STACK)), races::new_thread()});
    fibers.assign(count, Fiber());
    warps.assign((count + 31) / 32, Warp());
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; i++) {
        fibers[i].rank = i;
        fibers[i].thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
        warps[i / 32].size++;
        order[i] = i;
    }
    for (unsigned i = count; i > 1; i--) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(order[i - 1], order[(seed >> 8) % i]);
    }
    body = std::move(kernel);
    block_extent = block, grid_extent = grid;
    dynamic_shared.assign(shared, 0);

    struct sigaction act = {}, old_segv, old_bus;
    act.sa_sigaction = wild_address;
    act.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &act, &old_segv);
    sigaction(SIGBUS, &act, &old_bus);
    const char* error = nullptr;
    if (sigsetjmp(escape, 1)) {
        error = message;
    } else {
        for (unsigned z = 0; z < grid.z; z++)
            for (unsigned y = 0; y < grid.y; y++)
                for (unsigned x = 0; x < grid.x; x++) {
                    block_index = {x, y, z};
                    early = (x + y + z + seed) % 2;
                    run_block(order);
                }
    }
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    races::go_on(&finished);
    return error;
}

// As tensor cores see a number.
inline float as_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits &= 0xFFFFE000u;
    memcpy(&value, &bits, 4);
    return value;
}

}  // namespace emu

#define threadIdx (emu::current->thread)
#define blockIdx (emu::block_index)
#define blockDim (emu::block_extent)
#define gridDim (emu::grid_extent)
#define __syncthreads() emu::barrier(__LINE__)
#define __syncwarp(...) emu::sync_warp(__LINE__)
#define __shfl_sync(mask, value, from) emu::exchange(value, (from) & 31, __LINE__)
#define __shfl_down_sync(mask, value, by) emu::exchange(value, emu::lane() + (by), __LINE__)
#define __shfl_up_sync(mask, value, by) emu::exchange(value, emu::lane() - (by), __LINE__)
#define __shfl_xor_sync(mask, value, by) emu::exchange(value, emu::lane() ^ (by), __LINE__)
#define __ballot_sync(mask, vote) emu::ballot(vote, __LINE__)

template <typename T> inline T __ldg(const T* p) { return *p; }
inline float sinpif(float x) { return (float)sin(3.14159265358979323846 * (double)x); }
inline float cospif(float x) { return (float)cos(3.14159265358979323846 * (double)x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
template <typename T> inline T atomicAdd(T* p, T value) {
    races::Unwatched here;
    T old = *p;
    *p += value;
    return old;
}

inline unsigned __float_as_uint(float x) { unsigned bits; memcpy(&bits, &x, 4); return bits; }
inline float __uint_as_float(unsigned bits) { float x; memcpy(&x, &bits, 4); return x; }

// The instructions that cuda/tensor.cuh wraps.
template <typename T> inline T keep(T value) { return value; }
inline void copy_async16(void* to, const void* from, bool inside) { emu::copy(to, from, 16, inside); }
inline void copy_async4(void* to, const void* from, bool inside) { emu::copy(to, from, 4, inside); }
inline void copy_commit() {
    races::Unwatched here;
    emu::current->batches++;
}
template <unsigned PENDING> inline void copy_wait() {
    if (emu::current->batches > PENDING) emu::finish(emu::current->batches - PENDING);
}

// d[16x8] += a[16x8] b[8x8] over a warp; fragments as in the PTX manual for m16n8k8 with .tf32 operands.
inline void mma_tf32(float d[4], const float a[4], const float b[2]) {
    races::Unwatched here;
    emu::Warp& own = emu::warp();
    const unsigned lane = emu::lane(), group = lane / 4, member = lane % 4;
    float* slot = own.fragments[lane];
    memcpy(slot, a, 16);
    memcpy(slot + 4, b, 8);
    emu::warp_barrier(__LINE__);
    for (int i = 0; i < 4; i++) {
        const unsigned row = group + (i / 2) * 8, column = member * 2 + i % 2;
        float sum = d[i];
        for (unsigned k = 0; k < 8; k++) {
            const float x = own.fragments[row % 8 * 4 + k % 4][row / 8 + 2 * (k / 4)];
            const float y = own.fragments[column * 4 + k % 4][4 + k / 4];
            sum += emu::as_tf32(x) * emu::as_tf32(y);
        }
        d[i] = sum;
    }
    emu::warp_barrier(__LINE__);
}
