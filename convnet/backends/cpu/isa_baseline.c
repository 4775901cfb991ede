/* The kernels for any processor: vectors as the compiler makes them. */
#define ISA baseline
#define VW 4
#define MR 4
#define NV 2
#define WIDEST 2
#define HIGHEST 4
#define MOST_ROWS(v) 4
#include "isa.h"
