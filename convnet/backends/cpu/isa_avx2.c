/* The kernels for processors with AVX2 and FMA. */
#define ISA avx2
#define VW 8
#define MR 6
#define NV 2
#define TH 6
#include "isa.h"
