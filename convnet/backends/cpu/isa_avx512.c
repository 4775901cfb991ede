/* The kernels for processors with AVX-512. */
#define ISA avx512
#define VW 16
#define MR 8
#define NV 2
#ifndef WIDEST
#define WIDEST 3
#endif
#ifndef HIGHEST
#define HIGHEST 12
#endif
#ifndef MOST_ROWS
#define MOST_ROWS(v) ((v) == 3 ? 8 : 12)
#endif
#include "isa.h"
