/* The kernels for processors with AVX-512. */
#define ISA avx512
#define VW 16
#define MR 8
#define NV 2
#define TH 14
#include "isa.h"
