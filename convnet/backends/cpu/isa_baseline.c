/* The kernels for any processor: vectors as the compiler makes them. */
#define ISA baseline
#define VW 4
#define MR 4
#define NV 2
#define TH 6
#include "isa.h"
