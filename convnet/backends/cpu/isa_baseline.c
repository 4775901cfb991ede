/* The kernels for one instruction set: vectors of VW floats, tiles of MR filters by NV vectors of cases. */
#include "kernels.h"
#define VW 4
#define MR 4
#define NV 2
#include "vector.h"
#include "conv.c"
#include "pool.c"
#include "norm.c"
#include "neuron.c"
#include "weights.c"
#include "image.c"
#define ISA_NAME "baseline"
#define ISA_TABLE convnet_kernels_baseline
#include "table.h"
