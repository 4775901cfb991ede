/* The kernels for processors with AVX2 and FMA. */
#define ISA avx2
#define VW 8
#define MR 6
#define NV 2
#define TH 6
#define WIDEST 2
#define NARROW_MR 6
#define NARROW_NV 2
#include "isa.h"
