/* All kernels for one instruction set, and their table.
 *
 * An isa_*.c file defines, before it includes this: ISA, the set's name; VW, the floats of a vector; MR and NV, the tile
 * of a convolution: MR filters by NV vectors of cases; and NARROW_MR and NARROW_NV, that of few cases: places by vectors of
 * filters.
 */
#include "kernels.h"
#include "vector.h"
#include "neuron.h"

#include "conv.c"
#include "conv_weight_grad.c"
#include "conv_narrow.c"
#include "conv_method.c"
#include "cost.c"
#include "image.c"
#include "neuron.c"
#include "norm.c"
#include "pool.c"
#include "spread.c"
#include "weights.c"

#define TABLE_OF(isa) convnet_kernels_##isa
#define TABLE(isa) TABLE_OF(isa)
#define TEXT_OF(isa) #isa
#define TEXT(isa) TEXT_OF(isa)
#define MEMBER(result, name, parameters) name,

const Kernels TABLE(ISA) = {TEXT(ISA), KERNELS(MEMBER)};
