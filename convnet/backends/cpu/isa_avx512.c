/* The kernels for processors with AVX-512. */
#define ISA avx512
#define VW 16
#define MR 8
#define NV 2
#define TH 14
#define WIDEST 3
#define NARROW_MR 9
#define NARROW_NV 3
#include "isa.h"
