/* Working memory for kernels: blocks that are given back wait for the next kernel that wants about as much.
 *
 * One pool for the process; threads take turns. A step asks for the same sizes every time, so that after the first one
 * nothing is allocated.
 */
#include <stdlib.h>

#include "kernels.h"

#define MAX_FREE 64 /* blocks that wait */
#define ALIGNMENT 64

/* What stands before a block's memory, a cache line of its own. */
typedef struct {
    size_t bytes; /* of the memory behind it */
} Header;

static Header *waiting[MAX_FREE];
static int count;
static int64_t allocated;

/* The smallest block that holds ``bytes`` and is not over twice as large, or -1. */
static int find(size_t bytes) {
    int best = -1;
    for (int i = 0; i < count; i++) {
        const size_t has = waiting[i]->bytes;
        if (has >= bytes && has / 2 <= bytes && (best < 0 || has < waiting[best]->bytes)) best = i;
    }
    return best;
}

float *convnet_scratch(size_t floats) {
    const size_t bytes = (floats * sizeof(float) / ALIGNMENT + 1) * ALIGNMENT;
    Header *block = NULL;
#pragma omp critical(convnet_scratch)
    {
        const int at = find(bytes);
        if (at >= 0) {
            block = waiting[at];
            waiting[at] = waiting[--count];
        }
    }
    if (!block) {
        void *memory = NULL;
        if (posix_memalign(&memory, ALIGNMENT, bytes + ALIGNMENT)) {
            convnet_trim(); /* what waits may be what is missing */
            if (posix_memalign(&memory, ALIGNMENT, bytes + ALIGNMENT)) return NULL;
        }
        block = memory;
        block->bytes = bytes;
#pragma omp atomic
        allocated += (int64_t)bytes;
    }
    return (float *)((char *)block + ALIGNMENT);
}

static void release(Header *block) {
#pragma omp atomic
    allocated -= (int64_t)block->bytes;
    free(block);
}

void convnet_give_back(float *memory) {
    if (!memory) return;
    Header *block = (Header *)((char *)memory - ALIGNMENT), *surplus = NULL;
#pragma omp critical(convnet_scratch)
    {
        if (count < MAX_FREE) {
            waiting[count++] = block;
        } else { /* the oldest goes */
            surplus = waiting[0];
            waiting[0] = block;
        }
    }
    if (surplus) release(surplus);
}

int64_t convnet_scratch_bytes(void) {
    int64_t bytes;
#pragma omp atomic read
    bytes = allocated;
    return bytes;
}

void convnet_trim(void) {
#pragma omp critical(convnet_scratch)
    while (count) release(waiting[--count]);
}
