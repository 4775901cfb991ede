/* The kernels for any processor: vectors as the compiler makes them. */
#define ISA baseline
#define VW 4
#define MR 4
#define NV 2
#define TH 6
#define WIDEST 2
#define NARROW_MR 4
#define NARROW_NV 2
#include "isa.h"
